#!/usr/bin/python3
"""heddle connect against OpenSSL's s_server and Python's ssl.

usage: connect_test.py [HEDDLE] [unittest arguments]; without HEDDLE, $HEDDLE_PROGRAM is run.
"""

import fcntl
import hashlib
import os
import pathlib
import random
import re
import shutil
import socket
import ssl
import subprocess
import unittest
from unittest import mock

import connect_support
from connect_support import (KEYS, TIMEOUT, VERSIONS, ConnectTestCase, Server, echo, receive_all,
                             say, tcp_listener)


class SessionTest(ConnectTestCase):
    """What is negotiated, and what is said about it."""

    def s_server(self, key: str, version: str) -> tuple:
        """Starts `openssl s_server -rev`, which answers each line in reverse; returns its port."""
        process = subprocess.Popen(
            ['openssl', 's_server', '-accept', '127.0.0.1:0', '-naccept', '1', '-rev',
             '-cert', self.certificates[key + '.pem'], '-key', self.certificates[key + '.key'],
             '-tls' + version.replace('.', '_')],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        for line in process.stdout:
            if found := re.match(rb'ACCEPT .*:(\d+)', line):
                return process, int(found[1])
        raise AssertionError('s_server does not listen')

    def test_openssl_answers_in_each_version_with_each_kind_of_key(self) -> None:
        for key in KEYS:
            for version in VERSIONS:
                with self.subTest(key=key, version=version):
                    self.check_openssl(key, version)

    def check_openssl(self, key: str, version: str) -> None:
        server, port = self.s_server(key, version)
        client = self.start_connect(f'127.0.0.1:{port}', *self.trust(), '--half-close', stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE)
        client.stdin.write(b'heddle\n')
        client.stdin.flush()
        self.assertEqual(b'elddeh\n', client.stdout.readline())
        client.stdin.close()
        said = client.stderr.read().decode()
        self.assertEqual(0, client.wait(TIMEOUT), said)
        client.stdout.close()
        client.stderr.close()
        server.kill()
        self.assertIn(f'TLSv{version}', said)
        self.assertIn(f'CN=heddle test {key}', said)
        self.assertIn('DNS:localhost', said)

    def test_fingerprint_and_chain_are_those_of_the_certificates(self) -> None:
        with self.server(say(b'')) as server:
            done = self.run_connect(server.target, *self.trust())
        said = done.stderr.decode()
        self.assertEqual(0, done.returncode, said)
        for name in ('ecdsa.pem', 'ca.pem'):
            der = ssl.PEM_cert_to_DER_cert(self.certificates.read(name))
            digest = hashlib.sha256(der).hexdigest().upper()
            self.assertIn(':'.join(re.findall('..', digest)), said)
        self.assertLess(said.index('certificate 0'), said.index('certificate 1'))

    def test_first_protocol_in_common_is_chosen(self) -> None:
        context = self.context()
        context.set_alpn_protocols(['http/1.1'])
        with Server(tcp_listener(), say(b''), context) as server:
            done = self.run_connect(server.target, *self.trust(), '--alpn', 'h2,http/1.1')
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn('ALPN http/1.1', done.stderr.decode())

    def test_version_options_limit_the_version(self) -> None:
        for option, version in (('--tls12', 'TLSv1.2'), ('--tls13', 'TLSv1.3')):
            with self.subTest(option=option), self.server(say(b'')) as server:
                done = self.run_connect(server.target, *self.trust(), option)
                self.assertEqual(0, done.returncode, done.stderr)
                self.assertIn(version, done.stderr.decode())

    def test_keys_are_logged_where_sslkeylogfile_says(self) -> None:
        folder = pathlib.Path(self.folder.name)
        for version, quiet in (('1.2', []), ('1.3', ['-q'])):
            logs = [folder / f'{end}-{version}.keys' for end in ('server', 'client')]
            context = self.context(version=version)
            context.keylog_filename = str(logs[0])
            with Server(tcp_listener(), say(b'hello'), context) as server:
                with mock.patch.dict(os.environ, SSLKEYLOGFILE=str(logs[1])):
                    done = self.run_connect(server.target, *self.trust(), *quiet)
            self.assertEqual((0, b'hello'), (done.returncode, done.stdout), done.stderr)
            self.assertEqual(not quiet, f'SSLKEYLOGFILE is set; who reads {logs[1]}' in done.stderr.decode())
            lines = [{line for line in log.read_text().splitlines() if not line.startswith('#')}
                     for log in logs]
            self.assertTrue(lines[0])
            self.assertEqual(*lines)
        with mock.patch.dict(os.environ, SSLKEYLOGFILE='/nowhere/keys'):
            done = self.run_connect('localhost:1')
        self.assert_fails(done, 2, 'SSLKEYLOGFILE=/nowhere/keys', 'No such file')

    def test_environment_names_what_is_trusted(self) -> None:
        folder = pathlib.Path(self.folder.name)
        for name in ('hashed', 'empty'):
            (folder / name).mkdir()
        shutil.copy(self.certificates['ca.pem'], folder / 'hashed')
        subprocess.run(['openssl', 'rehash', folder / 'hashed'], check=True)
        other = self.certificates['other.pem']
        for file, cas, trusted in ((self.certificates['ca.pem'], 'empty', True),
                                   (other, 'hashed', True), (other, 'empty', False)):
            environment = {'SSL_CERT_FILE': file, 'SSL_CERT_DIR': str(folder / cas)}
            with self.subTest(environment=environment), self.server(say(b'hello')) as server:
                with mock.patch.dict(os.environ, environment):
                    done = self.run_connect(server.target, '-q')
                if trusted:
                    self.assertEqual((0, b'hello'), (done.returncode, done.stdout), done.stderr)
                else:
                    self.assert_fails(done, 1, 'not trusted')

    def test_server_that_wants_a_certificate_gets_ours(self) -> None:
        context = self.context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.certificates['ca.pem'])

        def tell_subject(stream) -> None:
            stream.sendall(stream.getpeercert()['subject'][0][0][1].encode())
            stream.unwrap()

        with Server(tcp_listener(), tell_subject, context) as server:
            done = self.run_connect(server.target, *self.trust(), '-q',
                                    '--cert', self.certificates['client.pem'],
                                    '--key', self.certificates['client.key'])
        self.assertEqual((0, b'heddle test client'), (done.returncode, done.stdout), done.stderr)

    def test_ipv6_address_is_reached(self) -> None:
        try:
            listener = tcp_listener('::1')
        except OSError as error:
            self.skipTest(f'no IPv6 here: {error}')
        with Server(listener, say(b'six'), self.context()) as server:
            done = self.run_connect(server.target, *self.trust(), '-q')
        self.assertEqual((0, b'six'), (done.returncode, done.stdout), done.stderr)

    def test_host_name_is_resolved(self) -> None:
        # c-ares 1.18 leaks the name when /etc/hosts has localhost without an IPv6 address.
        suppressions = pathlib.Path(self.certificates['lsan'])
        suppressions.write_text('leak:libcares.so\n')
        options = {'LSAN_OPTIONS': f'suppressions={suppressions}:print_suppressions=0'}
        with self.server(say(b'name')) as server, mock.patch.dict(os.environ, options):
            port = server.target.rpartition(':')[2]
            done = self.run_connect(f'localhost:{port}', *self.trust(), '-q')
        self.assertEqual((0, b'name'), (done.returncode, done.stdout), done.stderr)

    def test_unix_socket_is_reached(self) -> None:
        path = self.certificates['socket']
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        with Server(listener, say(b'unix'), self.context()):
            done = self.run_connect('unix:' + path, *self.trust(), '--servername', 'localhost',
                                    '-q')
        self.assertEqual((0, b'unix'), (done.returncode, done.stdout), done.stderr)


class PipeTest(ConnectTestCase):
    """Standard input to the peer, the peer to standard output."""

    def test_ten_megabytes_pass_unchanged_both_ways_at_once(self) -> None:
        data = random.Random(1).randbytes(10_000_000)
        for version in VERSIONS:
            with self.subTest(version=version), self.server(echo, version=version) as server:
                done = self.run_connect(server.target, *self.trust(), '-q', '--half-close', given=data)
                self.assertEqual(0, done.returncode, done.stderr)
                self.assertTrue(data == done.stdout, f'{len(done.stdout)} bytes came back')

    def test_files_serve_as_standard_input_and_output(self) -> None:
        data = random.Random(2).randbytes(300_000)
        source = pathlib.Path(self.certificates['source'])
        copy = pathlib.Path(self.certificates['copy'])
        source.write_bytes(data)
        with self.server(echo) as server, source.open('rb') as given, copy.open('wb') as taken:
            done = subprocess.run([connect_support.PROGRAM, 'connect', server.target, *self.trust(), '-q',
                                   '--half-close'], stdin=given, stdout=taken, timeout=TIMEOUT, check=False)
        self.assertEqual(0, done.returncode)
        self.assertTrue(data == copy.read_bytes())

    def test_answer_after_the_end_of_input_still_arrives(self) -> None:
        def count(stream) -> None:
            stream.sendall(b'%d' % len(receive_all(stream)))
            stream.unwrap()

        for version in VERSIONS:
            with self.subTest(version=version), self.server(count, version=version) as server:
                done = self.run_connect(server.target, *self.trust(), '-q', '--half-close',
                                        given=b'x' * 70000)
                self.assertEqual((0, b'70000'), (done.returncode, done.stdout), done.stderr)

    def test_peer_learns_of_the_end_of_input_if_it_is_to_or_there_was_none(self) -> None:
        def answer(stream) -> None:
            stream.settimeout(1)
            try:
                asked = stream.recv(100)
            except TimeoutError:
                asked = b'nothing'
            stream.settimeout(0.2)
            try:
                told = stream.recv(100) == b''
            except TimeoutError:
                told = False
            stream.settimeout(TIMEOUT)
            stream.sendall(asked + (b' and the end' if told else b' only'))
            stream.unwrap()

        for options, given, said in (((), b'asked', b'asked only'), (('-N',), b'asked', b'asked only'),
                                     (('--half-close',), b'asked', b'asked and the end'),
                                     ((), b'', b' and the end'), (('-N',), b'', b'nothing only')):
            with self.subTest(options=options, given=given), self.server(answer) as server:
                done = self.run_connect(server.target, *self.trust(), '-q', *options, given=given)
                self.assertEqual((0, said), (done.returncode, done.stdout), done.stderr)

    def test_end_of_the_peer_ends_it_while_input_is_still_open(self) -> None:
        for version in VERSIONS:
            with self.subTest(version=version):
                with self.server(say(b'bye'), version=version) as server:
                    client = self.start_connect(server.target, *self.trust(), '-q',
                                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                    self.assertEqual(b'bye', client.stdout.read())
                    self.assertEqual(0, client.wait(TIMEOUT), client.stderr.read())
                for pipe in (client.stdin, client.stdout, client.stderr):
                    pipe.close()

    def test_cut_connection_is_told_from_an_end(self) -> None:
        def cut(stream) -> None:
            stream.sendall(b'half of i')
            stream.shutdown(socket.SHUT_WR)  # A FIN without close_notify.
            with socket.socket(fileno=stream.detach()) as raw:
                receive_all(raw)

        for version in VERSIONS:
            with self.subTest(version=version):
                with self.server(cut, version=version) as server:
                    done = self.run_connect(server.target, *self.trust(), '-q')
                self.assertEqual(b'half of i', done.stdout)
                self.assert_fails(done, 1, 'cut short')

    def test_reader_that_goes_away_ends_it_quietly(self) -> None:
        def babble(stream) -> None:
            while True:
                stream.sendall(b'bla ' * 4096)

        with self.server(babble) as server:
            client = self.start_connect(server.target, *self.trust(), '-q',
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.assertEqual(b'bla bla ', client.stdout.read(8))
            client.stdout.close()
            self.assertEqual(0, client.wait(TIMEOUT))
            self.assertEqual(b'', client.stderr.read())
            client.stdin.close()
            client.stderr.close()

    def test_standard_streams_stay_blocking(self) -> None:
        ours, theirs = os.pipe(), os.pipe()
        flags = []

        def look(stream) -> None:
            stream.recv(100)
            flags.extend(fcntl.fcntl(end, fcntl.F_GETFL) & os.O_NONBLOCK
                         for end in (ours[0], theirs[1]))
            stream.unwrap()

        with self.server(look) as server:
            os.write(ours[1], b'look now')
            client = self.start_connect(server.target, *self.trust(), '-q', stdin=ours[0],
                                        stdout=theirs[1])
            self.assertEqual(0, client.wait(TIMEOUT), client.stderr.read())
            client.stderr.close()
        for end in (*ours, *theirs):
            os.close(end)
        self.assertEqual([0, 0], flags)

    def test_output_that_cannot_be_written_is_told(self) -> None:
        with self.server(say(b'too much')) as server, open('/dev/full', 'wb') as full:
            client = self.start_connect(server.target, *self.trust(), '-q',
                                        stdin=subprocess.DEVNULL, stdout=full)
            self.assertEqual(1, client.wait(TIMEOUT))
            self.assertRegex(client.stderr.read().decode(),
                             r'\Aheddle connect: standard output: .*No space left.*\n\Z')
            client.stderr.close()

    def test_closed_standard_streams_are_not_taken_by_sockets(self) -> None:
        with self.server(say(b'nowhere to go')) as server:
            command = [connect_support.PROGRAM, 'connect', server.target, *self.trust()]
            done = subprocess.run(['sh', '-c', 'exec "$@" 0<&- 1>&- 2>&-', 'sh', *command],
                                  timeout=TIMEOUT, check=False)
        self.assertEqual(0, done.returncode)
        self.assertIsNone(server.error)

    def test_input_that_cannot_be_read_is_told(self) -> None:
        with self.server(echo) as server, open_folder(self.folder.name) as folder:
            client = self.start_connect(server.target, *self.trust(), '-q', stdin=folder.descriptor,
                                        stdout=subprocess.DEVNULL)
            self.assertEqual(1, client.wait(TIMEOUT))
            self.assertIn(b'standard input', client.stderr.read())
            client.stderr.close()


class open_folder:
    """A descriptor of a folder: read() fails with EISDIR."""

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        os.close(self.descriptor)


if __name__ == '__main__':
    connect_support.main()
