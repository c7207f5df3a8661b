#!/usr/bin/python3
"""heddle connect --json and --reconnect against Python's ssl.

usage: connect_json_test.py [HEDDLE] [unittest arguments]; without HEDDLE, $HEDDLE_PROGRAM is run.
"""

import hashlib
import json
import re
import socket
import ssl

import connect_support
from connect_support import VERSIONS, ConnectTestCase, Server, echo, say, tcp_listener

MEMBERS = ['target', 'reached', 'error', 'version', 'cipher', 'group', 'signatureAlgorithm', 'alpn', 'serverName',
           'resumed', 'verification', 'certificates', 'verifiedChain', 'reconnect']


class Several(Server):
    """Serves as many connections as it has handlers, one after the other; `resumed` says of each whether it was."""

    def __init__(self, context: ssl.SSLContext, *handlers) -> None:
        super().__init__(tcp_listener(), None, context)
        self.handlers = handlers
        self.resumed = []

    def serve(self) -> None:
        for handler in self.handlers:
            self.handle = self.noting(handler)
            super().serve()

    def noting(self, handler):
        def handle(stream) -> None:
            self.resumed.append(stream.session_reused)
            handler(stream)
        return handle


class JsonTest(ConnectTestCase):

    def digest(self, name: str) -> str:
        der = ssl.PEM_cert_to_DER_cert(self.certificates.read(name))
        return ':'.join(re.findall('..', hashlib.sha256(der).hexdigest().upper()))

    def test_everything_is_in_one_object(self) -> None:
        for version, cipher, group in (('1.3', 'TLS_AES_256_GCM_SHA384', 'x25519'),
                                       ('1.2', 'ECDHE-ECDSA-AES256-GCM-SHA384', 'x25519')):
            context = self.context(version=version)
            context.set_alpn_protocols(['h2'])
            with self.subTest(version=version), Server(tcp_listener(), say(b'not shown'), context) as server:
                done = self.run_connect(server.target, *self.trust(), '--json', '--alpn', 'h2', '--servername',
                                        'localhost', given=b'not sent')
                self.assertEqual((0, b''), (done.returncode, done.stderr))
                self.assertTrue(done.stdout.isascii())
                told = json.loads(done.stdout)
                self.assertEqual(MEMBERS, list(told))
                self.assertEqual((server.target, server.target, None), (told['target'], told['reached'], told['error']))
                self.assertEqual((f'TLSv{version}', cipher, group),
                                 (told['version'], told['cipher'], told['group'].lower()))
                self.assertRegex(told['signatureAlgorithm'], 'ECDSA')
                self.assertEqual(('h2', 'localhost', False, None),
                                 (told['alpn'], told['serverName'], told['resumed'], told['reconnect']))
                self.assertEqual({'requested': True, 'verified': True, 'code': None, 'depth': None, 'subject': None},
                                 told['verification'])
                chain = [self.digest('ecdsa.pem'), self.digest('ca.pem')]
                self.assertEqual(chain, told['verifiedChain'])
                self.assertEqual(chain, [each['sha256'] for each in told['certificates']])
                self.assertIn(['DNS', 'localhost'], told['certificates'][0]['subjectAltName'])

    def test_a_peer_that_is_refused_is_shown_with_the_verdict(self) -> None:
        with self.server(echo) as server:
            done = self.run_connect(server.target, '--cafile', self.certificates['other.pem'], '--json')
        self.assert_fails(done, 1, 'not trusted')
        told = json.loads(done.stdout)
        self.assertEqual(MEMBERS, list(told))
        self.assertIn('not trusted', told['error'])
        self.assertEqual((None, None, None), (told['version'], told['cipher'], told['resumed']))
        verdict = told['verification']
        self.assertEqual((True, False), (verdict['requested'], verdict['verified']))
        self.assertIn(verdict['code'], (19, 20))
        self.assertIsInstance(verdict['depth'], int)
        self.assertTrue(verdict['subject'].startswith('CN=heddle test'))
        self.assertEqual([self.digest('ecdsa.pem'), self.digest('ca.pem')],
                         [each['sha256'] for each in told['certificates']])
        self.assertEqual([], told['verifiedChain'])

    def test_no_verification_is_no_verdict(self) -> None:
        with self.server(say(b'')) as server:
            done = self.run_connect(server.target, '--insecure', '--json')
        told = json.loads(done.stdout)
        self.assertEqual((False, False), (told['verification']['requested'], told['verification']['verified']))

    def test_without_a_handshake_there_is_no_object(self) -> None:
        with socket.create_server(('127.0.0.1', 0)) as taken:
            port = taken.getsockname()[1]
        done = self.run_connect(f'127.0.0.1:{port}', '--json')
        self.assert_fails(done, 1, 'refused')
        self.assertEqual(b'', done.stdout)

    def test_options_for_piping_have_no_effect_and_are_refused(self) -> None:
        for option in ('--half-close', '--no-half-close', '--quiet'):
            self.assert_fails(self.run_connect('localhost:1', '--json', option), 2, '--json')


class ReconnectTest(ConnectTestCase):

    def reconnect(self, context: ssl.SSLContext, first, *options: str):
        server = Several(context, first, say(b'second'))
        with server:
            done = self.run_connect(server.target, *self.trust(), '--reconnect', *options)
        self.assertIsNone(server.error)
        self.assertEqual(0, done.returncode, done.stderr)
        return done, server.resumed

    def test_the_second_connection_resumes_and_is_piped(self) -> None:
        for version in VERSIONS:
            for first in (say(b'dropped'), echo):
                with self.subTest(version=version):
                    done, resumed = self.reconnect(self.context(version=version), first)
                    self.assertEqual([False, True], resumed)
                    self.assertEqual(b'second', done.stdout)
                    self.assertIn(f'connected again: TLSv{version}, ', done.stderr.decode())
                    self.assertTrue(done.stderr.endswith(b', resumed session\n'), done.stderr)

    def test_json_says_whether_it_was_resumed(self) -> None:
        for version in VERSIONS:
            done, _ = self.reconnect(self.context(version=version), echo, '--json')
            told = json.loads(done.stdout)
            self.assertEqual(False, told['resumed'])
            again = told['reconnect']
            self.assertEqual((True, True, f'TLSv{version}'), (again['offered'], again['resumed'], again['version']))
            self.assertEqual(['offered', 'resumed', 'version', 'cipher', 'group'], list(again))

    def test_a_server_that_gives_no_session_is_told(self) -> None:
        context = self.context(version='1.3')
        context.num_tickets = 0
        done, resumed = self.reconnect(context, say(b''))
        self.assertEqual([False, False], resumed)
        self.assertIn('new session: the server gave none to resume\n', done.stderr.decode())

    def test_a_server_that_takes_no_session_is_told(self) -> None:
        context, other = self.context(version='1.3'), self.context(version='1.3')
        server = Several(context)

        def exchange(stream) -> None:
            server.context = other
            echo(stream)

        server.handlers = (exchange, say(b'second'))
        with server:
            done = self.run_connect(server.target, *self.trust(), '--reconnect')
        self.assertEqual([False, False], server.resumed)
        self.assertIn('new session: the server did not resume the one offered\n', done.stderr.decode())

    def test_a_second_connection_that_fails_is_told(self) -> None:
        listener = tcp_listener()

        def close_behind(stream) -> None:
            listener.close()
            say(b'')(stream)

        with Server(listener, close_behind, self.context()) as server:
            done = self.run_connect(server.target, *self.trust(), '--reconnect', '-q')
        self.assertEqual(1, done.returncode, done.stderr)
        self.assertIn(b'refused', done.stderr)


if __name__ == '__main__':
    connect_support.main()
