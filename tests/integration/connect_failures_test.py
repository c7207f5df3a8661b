#!/usr/bin/python3
"""heddle connect where it cannot: peers that it refuses, and what it says of that.

usage: connect_failures_test.py [HEDDLE] [unittest arguments]; without HEDDLE, $HEDDLE_PROGRAM is run.
"""

import base64

import connect_support
from connect_support import (VERSIONS, ConnectTestCase, Server, receive_all, say, tcp_listener)


class RefusalTest(ConnectTestCase):
    """What is not accepted, and how that is said."""

    def test_wrong_ca_is_refused_with_the_reason(self) -> None:
        for version in VERSIONS:
            with self.subTest(version=version):
                with self.server(say(b'secret'), version=version) as server:
                    done = self.run_connect(server.target, '--cafile',
                                            self.certificates['other.pem'])
                self.assert_fails(done, 1, server.target, 'not trusted', '--cafile')
                self.assertEqual(b'', done.stdout)
                self.assertRegex(str(server.error), 'UNKNOWN_CA')  # The server is told why.

    def test_wrong_host_name_is_refused(self) -> None:
        with self.server(say(b'secret')) as server:
            done = self.run_connect(server.target, *self.trust(), '--servername', 'elsewhere.test')
        self.assert_fails(done, 1, 'not trusted', '--servername')
        self.assertEqual(b'', done.stdout)

    def test_insecure_accepts_anybody_and_says_so(self) -> None:
        with self.server(say(b'whatever')) as server:
            done = self.run_connect(server.target, '--insecure')
        self.assertEqual((0, b'whatever'), (done.returncode, done.stdout), done.stderr)
        self.assertIn('NOT verified', done.stderr.decode())

    def test_no_version_in_common_is_one_line(self) -> None:
        with self.server(say(b''), version='1.3') as server:
            done = self.run_connect(server.target, *self.trust(), '--tls12')
        self.assert_fails(done, 1, server.target, 'protocol version')

    def test_peer_that_speaks_no_tls_is_quoted(self) -> None:
        for greeting, shown in ((b'220 mail ready\r\n', '"220 mail ready"'),
                                (b'HTTP/1.1 400 Bad\r\nA: b\r\n\r\n', '"HTTP/1.1 400 Bad"'),
                                (b'x\x1b[2J\xe2\x80\xae\xff\n', r'"x\1B[2J\E2\80\AE\FF"')):
            def greet(peer, greeting=greeting) -> None:
                peer.sendall(greeting)
                receive_all(peer)

            with self.subTest(greeting=greeting), Server(tcp_listener(), greet) as server:
                done = self.run_connect(server.target, *self.trust())
                self.assert_fails(done, 1, server.target, 'does not speak TLS', shown)

    def test_certificates_of_a_refused_peer_are_shown_unless_quiet(self) -> None:
        for version in VERSIONS:
            for quiet in ([], ['-q']):
                with self.subTest(version=version, quiet=quiet):
                    with self.server(say(b'secret'), version=version) as server:
                        done = self.run_connect(server.target, '--cafile',
                                                self.certificates['other.pem'], *quiet)
                    self.assert_fails(done, 1, 'certificate 1, CN=heddle test ca: ', '(19)')
                    message = done.stderr.decode()
                    self.assertEqual(not quiet, 'subject  CN=heddle test ecdsa' in message, message)
                    self.assertEqual(not quiet, 'subject  CN=heddle test ca' in message, message)

    def test_subject_cannot_forge_what_is_shown(self) -> None:
        self.certificates.make('forger', 'server', 'ecdsa', 'ca',
                               'a\u202eb\u2066c' + 'x' * 40 + '/OU=' + 'y' * 60 + '/O=' + 'z' * 60)
        (self.certificates.folder / 'forger-chain.pem').write_text(
            self.certificates.read('forger.pem'))
        with self.server(say(b'secret'), key='forger') as server:
            done = self.run_connect(server.target, '--cafile', self.certificates['other.pem'])
        self.assert_fails(done, 1, r'a\E2\80\AEb\E2\81\A6cxxx', '...')
        message = done.stderr.decode()
        self.assertIn(r'a\E2\80\AEb\E2\81\A6cxxx', message.splitlines()[2])
        self.assertTrue(message.isascii(), message)

    def test_certificate_that_breaks_rfc_5280_is_accepted_only_without_strictness(self) -> None:
        sloppy = ['--cafile', self.certificates['sloppy.pem']]
        with self.server(say(b'secret'), key='of-sloppy') as server:
            done = self.run_connect(server.target, *sloppy)
        self.assert_fails(done, 1, 'certificate 1, CN=heddle test sloppy: ', 'RFC 5280',
                          'issued anew', '--no-strict')
        self.assertNotIn('--insecure', done.stderr.decode())
        with self.server(say(b'hello'), key='of-sloppy') as server:
            done = self.run_connect(server.target, *sloppy, '--no-strict')
        self.assertEqual((0, b'hello'), (done.returncode, done.stdout), done.stderr)
        with self.server(say(b'secret')) as server:  # It still verifies.
            done = self.run_connect(server.target, *sloppy, '--no-strict')
        self.assert_fails(done, 1, 'not trusted', '--cafile')

    def test_refused_connection_is_one_line(self) -> None:
        with tcp_listener() as bound:  # And never listens, so nobody else can take the port.
            port = bound.getsockname()[1]
            done = self.run_connect(f'127.0.0.1:{port}')
        self.assert_fails(done, 1, f'127.0.0.1:{port}', 'refused')

    def test_mute_peer_is_given_up_at_the_deadline(self) -> None:
        with Server(tcp_listener(), receive_all) as server:
            done = self.run_connect(server.target, *self.trust(), '--timeout', '0.3')
        self.assert_fails(done, 1, '--timeout')

    def test_help_is_no_error(self) -> None:
        done = self.run_connect('--help')
        self.assertEqual((0, b''), (done.returncode, done.stderr))
        self.assertIn(b'Exit status:', done.stdout)

    def test_unusable_input_is_one_line_and_status_2(self) -> None:
        junk = self.certificates['openssl.cnf']
        cases = (
            ([], ['target']),
            (['localhost'], ['HOST:PORT']),
            (['localhost:0'], ['HOST:PORT']),
            (['unix:/nowhere'], ['--servername']),
            (['localhost:1', '--nonsense'], ['--nonsense']),
            (['localhost:1', '--timeout', 'soon'], ['--timeout']),
            (['localhost:1', '--tls12', '--tls13'], ['--tls1']),
            (['localhost:1', '--cafile', '/nowhere'], ['/nowhere', 'No such file']),
            (['localhost:1', '--cafile', junk], [junk]),
            (['localhost:1', '--cert', junk], [junk]),
            (['localhost:1', '--cert', self.certificates['client.pem'],
              '--key', self.certificates['ca.key']], ['ca.key']),
        )
        for arguments, words in cases:
            with self.subTest(arguments=arguments):
                self.assert_fails(self.run_connect(*arguments), 2, *words)


class ProxyCredentialsTest(ConnectTestCase):
    """User and password in the URL of a proxy."""

    def through(self, userinfo: str, *arguments: str) -> tuple:
        """Connects through a proxy that refuses; returns how that ended, and what the proxy got."""
        got = []

        def refuse(stream) -> None:
            head = b''
            while not head.endswith(b'\r\n\r\n'):
                head += stream.recv(4096)
            for line in head.split(b'\r\n'):
                name, _, value = line.partition(b': Basic ')
                if name == b'Proxy-Authorization':
                    got.append(base64.b64decode(value).decode())
            stream.sendall(b'HTTP/1.1 407 No\r\n\r\n')
            receive_all(stream)

        with self.server(refuse) as server:
            done = self.run_connect('x.test:443', '--proxy', f'https://{userinfo}@{server.target}',
                                    '--proxy-cafile', self.certificates['ca.pem'], *arguments)
        return done, got

    def test_they_are_percent_decoded(self) -> None:
        done, got = self.through('user%40corp:p%40ss%3Aw%2Ford%25')
        self.assert_fails(done, 2, '407')
        self.assertEqual(['user@corp:p@ss:w/ord%'], got)

    def test_they_are_never_printed(self) -> None:
        for arguments in (['x.test:443', '--proxy', 'https://us%zzer:secret@127.0.0.1:1'],
                          ['x.test:443', '--proxy', 'https://us%00er:secret@127.0.0.1:1'],
                          ['x.test:443', '--proxy', 'https://us%0aer:secret@127.0.0.1:1'],
                          ['x.test:443', '--proxy', 'https://user:secret@127.0.0.1'],
                          ['x.test:443', '--proxy', 'http://user:secret@127.0.0.1:1'],
                          ['x.test:443', 'https://user:secret@127.0.0.1:1'],
                          ['https://user:secret@127.0.0.1:1'],
                          ['user:secret@127.0.0.1:1']):
            with self.subTest(arguments=arguments):
                done = self.run_connect(*arguments)
                self.assert_fails(done, 2)
                self.assertNotIn('secret', done.stderr.decode())

    def test_proxy_that_breaks_rfc_5280_is_accepted_only_without_strictness(self) -> None:
        trust = ['--proxy-cafile', self.certificates['sloppy.pem']]
        for arguments, words in (([], ['sloppy', '--no-strict']), (['--no-strict'], ['407'])):
            with self.server(answer_407, key='of-sloppy') as server:
                done = self.run_connect('x.test:443', '--proxy', f'https://{server.target}',
                                        *trust, *arguments)
            self.assert_fails(done, 2 if arguments else 1, *words)

    def test_proxy_that_is_not_trusted_is_shown_and_has_its_own_advice(self) -> None:
        with self.server(answer_407) as server:
            done = self.run_connect('x.test:443', '--proxy', f'https://{server.target}',
                                    '--proxy-cafile', self.certificates['other.pem'])
        self.assert_fails(done, 1, 'proxy ', 'CN=heddle test ca', '--proxy-cafile')
        self.assertIn('subject  CN=heddle test ecdsa', done.stderr.decode())


def answer_407(stream) -> None:
    stream.recv(4096)
    stream.sendall(b'HTTP/1.1 407 No\r\n\r\n')
    receive_all(stream)


if __name__ == '__main__':
    connect_support.main()
