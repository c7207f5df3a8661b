#!/usr/bin/env python3
"""The examples of TLS in other people's loops, as their users would run them: against curl, openssl and heddle serve."""

import os
import pathlib
import re
import select
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import unittest

from serve_support import PATIENCE, Server, read_all, wait_until

POLL_CLIENT = os.path.join(os.environ['HEDDLE_EXAMPLES'], 'poll_client')
LIBUV_SERVER = os.environ.get('HEDDLE_LIBUV_SERVER', '')
LIBUV_CLIENT = os.environ.get('HEDDLE_LIBUV_CLIENT', '')
TEN_MEGABYTES = 10_000_000

WORLD = None


class World:
    """A folder with a site, and a certificate for localhost that is its own CA."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix='heddle-examples-')
        self.path = pathlib.Path(self.folder.name)
        self.site = self.path / 'site'
        self.site.mkdir()
        (self.site / 'small').write_bytes(b'hello\n')
        (self.site / 'big').write_bytes(os.urandom(TEN_MEGABYTES))
        for name in ('own', 'other'):
            subprocess.run(
                ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
                 '-nodes', '-keyout', f'{name}.key', '-out', f'{name}.pem', '-days', '2', '-subj',
                 '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
                check=True, capture_output=True, cwd=self.path)
        self.certificate = str(self.path / 'own.pem')
        self.key = str(self.path / 'own.key')
        self.other = str(self.path / 'other.pem')


def setUpModule():
    global WORLD
    WORLD = World()


def tearDownModule():
    WORLD.folder.cleanup()


def first_match(stream, pattern):
    """Reads lines of an unbuffered stream until one matches, and returns the match."""
    while select.select([stream], [], [], PATIENCE)[0]:
        line = stream.readline()
        if match := re.search(pattern, line):
            return match
        if not line:
            break
    raise AssertionError(f'no line with {pattern!r}')


@unittest.skipUnless(LIBUV_CLIENT, 'built without libuv (Debian: libuv1-dev)')
class LibuvClient(unittest.TestCase):
    def run_client(self, server, *targets, ca=None, host='localhost'):
        return subprocess.run([LIBUV_CLIENT, ca or server.ca, host, '127.0.0.1', str(server.port),
                               *targets], capture_output=True, text=True, timeout=PATIENCE)

    def test_many_requests_at_once(self):
        with Server(WORLD) as server:
            done = self.run_client(server, *['/small'] * 50, '/big', '/none')
            self.assertEqual(done.returncode, 0, done.stderr)
            lines = done.stdout.splitlines()
            self.assertEqual(lines.count('200 6 /small'), 50)
            self.assertIn(f'200 {TEN_MEGABYTES} /big', lines)
            self.assertEqual(sum(line.startswith('404 ') for line in lines), 1, lines)

    def test_failures_are_told_and_counted(self):
        with Server(WORLD) as server:
            done = self.run_client(server, '/small', '/small', ca=WORLD.certificate)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn('not trusted', done.stderr)
            done = self.run_client(server, '/small', host='other.test')
            self.assertIn('hostname mismatch', done.stderr.lower())
            server.stop()
            done = self.run_client(server, '/small')
            self.assertEqual(done.returncode, 1)
            self.assertIn('connection refused', done.stderr)

    def test_a_peer_that_ends_without_goodbye_is_a_failure(self):
        listener = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(listener.close)
        listener.settimeout(PATIENCE)
        address = listener.getsockname()
        client = subprocess.Popen([LIBUV_CLIENT, WORLD.certificate, 'localhost', '127.0.0.1', str(address[1]),
                                   '/x'], stderr=subprocess.PIPE, text=True)
        peer, _ = listener.accept()
        peer.recv(100)
        peer.close()
        self.assertEqual(client.wait(PATIENCE), 1)
        self.assertIn('/x: ', client.stderr.read())
        client.stderr.close()


@unittest.skipUnless(LIBUV_SERVER, 'built without libuv (Debian: libuv1-dev)')
class LibuvServer(unittest.TestCase):
    def setUp(self):
        self.process = subprocess.Popen([LIBUV_SERVER, WORLD.certificate, WORLD.key, '0'],
                                        stdout=subprocess.PIPE, bufsize=0)
        self.addCleanup(self.process.stdout.close)
        self.addCleanup(self.process.wait)
        self.addCleanup(self.process.kill)
        self.port = int(first_match(self.process.stdout, rb'https://127.0.0.1:(\d+)')[1])
        self.url = f'https://localhost:{self.port}'
        self.idle = self.descriptors()

    def descriptors(self):
        return len(os.listdir(f'/proc/{self.process.pid}/fd'))

    def assert_all_closed(self):
        wait_until(lambda: self.descriptors() == self.idle, 'the server has closed everything')
        self.assertIsNone(self.process.poll())

    def curl(self, *arguments):
        done = subprocess.run(['curl', '--silent', '--show-error', '--max-time', str(PATIENCE),
                               '--cacert', WORLD.certificate, *arguments], capture_output=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def tcp(self):
        return socket.create_connection(('127.0.0.1', self.port), PATIENCE)

    def tls(self):
        context = ssl.create_default_context(cafile=WORLD.certificate)
        return context.wrap_socket(self.tcp(), server_hostname='localhost')

    def test_curl_gets_what_it_asks_for_in_each_version(self):
        for version in (['--tls-max', '1.2'], ['--tlsv1.3']):
            self.assertEqual(self.curl(*version, f'{self.url}/5'), b'xxxxx')
            self.assertEqual(self.curl(*version, f'{self.url}/0'), b'')
        self.assert_all_closed()

    def test_a_connection_is_kept_alive(self):
        urls = [f'{self.url}/{size}' for size in (1, 2, 30_000, 3)]
        out = self.curl('--write-out', '[%{num_connects}]', *urls)
        self.assertEqual(out, b'x[1]xx[0]' + b'x' * 30_000 + b'[0]xxx[0]')

    def test_ten_megabytes(self):
        self.assertEqual(self.curl(f'{self.url}/{TEN_MEGABYTES}'), b'x' * TEN_MEGABYTES)
        self.assert_all_closed()

    def test_requests_in_a_row_and_in_pieces(self):
        with self.tls() as stream:
            stream.sendall(b'GET /3 HTTP/1.1\r\n\r\nGET /4 HTTP/1.1\r\nHost: a')
            head = b'HTTP/1.1 200 OK\r\nContent-Length: '
            expected = head + b'3\r\n\r\nxxx'
            self.assertEqual(self.receive(stream, len(expected)), expected)
            for piece in (b'\r', b'\n', b'\r', b'\n'):
                stream.sendall(piece)
            expected = head + b'4\r\n\r\nxxxx'
            self.assertEqual(self.receive(stream, len(expected)), expected)
            stream.unwrap()  # It answers close_notify with its own.

    def receive(self, stream, count):
        received = b''
        while len(received) < count:
            piece = stream.recv(count - len(received))
            self.assertTrue(piece, received)
            received += piece
        return received

    def test_openssl_s_client(self):
        client = subprocess.Popen(
            ['openssl', 's_client', '-connect', f'127.0.0.1:{self.port}', '-CAfile',
             WORLD.certificate, '-verify_return_error', '-quiet', '-no_ign_eof'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
        with client:
            client.stdin.write(b'GET /7 HTTP/1.1\r\n\r\n')
            first_match(client.stdout, b'Content-Length: 7')
            self.assertEqual(client.stdout.readline(), b'\r\n')
            self.assertEqual(client.stdout.read(7), b'x' * 7)
            client.stdin.close()
            self.assertEqual(client.wait(PATIENCE), 0)
        self.assert_all_closed()

    def test_many_at_once(self):
        streams = [self.tls() for _ in range(50)]
        for stream in streams:
            stream.sendall(b'GET /100000 HTTP/1.1\r\n\r\n')
        for stream in reversed(streams):
            self.assertIn(b'Content-Length: 100000\r\n\r\nxxx', self.receive(stream, 100_000))
            stream.close()
        self.assert_all_closed()

    def test_peers_that_go_away_in_the_middle(self):
        for reset in (False, True):
            stream = self.tls()
            stream.sendall(b'GET /%d HTTP/1.1\r\n\r\n' % TEN_MEGABYTES)
            self.receive(stream, 100_000)
            if reset:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            stream.close()
        self.assert_all_closed()
        self.assertEqual(self.curl(f'{self.url}/5'), b'xxxxx')

    def test_a_peer_that_does_not_read_does_not_disturb_others(self):
        with self.tls() as stream:
            stream.sendall(b'GET /50000000 HTTP/1.1\r\n\r\n' * 3)
            self.receive(stream, 1)
            self.assertEqual(self.curl(f'{self.url}/{TEN_MEGABYTES}'), b'x' * TEN_MEGABYTES)
        self.assert_all_closed()

    def test_junk_is_answered_with_an_alert_and_the_end(self):
        for junk in (b'GET / HTTP/1.1\r\n\r\n', bytes(1000), b'\x16\x03\x01\x00\x05hello'):
            with self.tcp() as connection:
                connection.sendall(junk)
                answer = read_all(connection)
                self.assertIn(answer[:1], (b'', b'\x15'))
        self.assert_all_closed()
        self.assertEqual(self.curl(f'{self.url}/5'), b'xxxxx')

    def test_silence_and_half_a_handshake_end_with_the_connection(self):
        hello = ssl.MemoryBIO()
        client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), hello,
                                                       server_hostname='localhost')
        self.assertRaises(ssl.SSLWantReadError, client.do_handshake)
        for sent in (b'', hello.read()[:100]):
            with self.tcp() as connection:
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
                read_all(connection)
        self.assert_all_closed()

    def test_a_request_without_an_end_is_cut_off(self):
        with self.tls() as stream:
            with self.assertRaises((ssl.SSLError, OSError)):
                while True:
                    stream.sendall(b'GET ' + b'a' * 10_000)
        self.assert_all_closed()


class PollClient(unittest.TestCase):
    def get(self, port, path, ca=None, host='localhost'):
        return subprocess.run([POLL_CLIENT, host, str(port), path, ca or WORLD.certificate],
                              capture_output=True, timeout=PATIENCE)

    def test_the_readme_shows_it(self):
        root = pathlib.Path(__file__).resolve().parents[2]
        readme = (root / 'README.md').read_text()
        source = iter((root / 'tests/examples/poll_client.cpp').read_text().splitlines())
        code = re.search(r'poll_client\.cpp.*?```cpp\n(.*?)```', readme, re.DOTALL)[1]
        for line in filter(None, code.splitlines()):
            self.assertIn(line, source)  # Behind the one before.

    def test_it_fetches_from_heddle_serve(self):
        with Server(WORLD) as server:
            for name in ('small', 'big'):
                done = self.get(server.port, f'/{name}', str(server.ca), host='127.0.0.1')
                self.assertEqual(done.returncode, 0, done.stderr)
                head, _, body = done.stdout.partition(b'\r\n\r\n')
                self.assertTrue(head.startswith(b'HTTP/1.1 200'), head)
                self.assertEqual(body, (WORLD.site / name).read_bytes())
            self.assertRegex(done.stderr, rb'^TLSv1.3 TLS_\w+\n$')

    def test_it_fetches_from_openssl_s_server(self):
        for version in ('-tls1_2', '-tls1_3'):
            server = subprocess.Popen(
                ['openssl', 's_server', '-accept', '127.0.0.1:0', '-naccept', '1', '-WWW', version,
                 '-cert', WORLD.certificate, '-key', WORLD.key],
                cwd=WORLD.site, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0)
            self.addCleanup(server.stdout.close)
            self.addCleanup(server.wait)
            self.addCleanup(server.kill)
            port = int(first_match(server.stdout, rb'ACCEPT .*:(\d+)')[1])
            done = self.get(port, '/big', host='127.0.0.1')
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(done.stdout.endswith((WORLD.site / 'big').read_bytes()))

    def serve_once(self, handle):
        """Runs `handle` with the one connection that comes, in a thread; returns the port."""
        listener = socket.create_server(('127.0.0.1', 0))
        listener.settimeout(PATIENCE)

        def serve():
            with listener, listener.accept()[0] as connection:
                connection.settimeout(PATIENCE)
                handle(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        self.addCleanup(thread.join)
        return listener.getsockname()[1]

    def server_tls(self, connection):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(WORLD.certificate, WORLD.key)
        return context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False)

    def assert_fails(self, done, words):
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(words, done.stderr)

    def test_an_untrusted_server_is_refused_and_told(self):
        alerts = []

        def handle(connection):
            try:
                self.server_tls(connection)
            except ssl.SSLError as error:
                alerts.append(error.reason)

        port = self.serve_once(handle)
        self.assert_fails(self.get(port, '/', WORLD.other, host='127.0.0.1'), b'certificate')
        self.doCleanups()
        self.assertEqual(alerts, ['TLSV1_ALERT_UNKNOWN_CA'])

    def test_an_answer_that_is_cut_off_is_no_answer(self):
        def handle(connection):
            with self.server_tls(connection) as stream:
                stream.recv(1000)
                stream.sendall(b'HTTP/1.1 200 OK\r\n\r\nhalf of')
                stream.shutdown(socket.SHUT_RDWR)  # Without close_notify.

        done = self.get(self.serve_once(handle), '/', host='127.0.0.1')
        self.assert_fails(done, b'cut off')

    def test_a_server_that_does_not_speak_tls_is_refused(self):
        def handle(connection):
            connection.sendall(b'220 mail.test ESMTP\r\n')
            read_all(connection)

        self.assert_fails(self.get(self.serve_once(handle), '/', host='127.0.0.1'), b'SSL')

    def test_nobody_there(self):
        with socket.socket() as bound:
            bound.bind(('127.0.0.1', 0))  # And does not listen.
            self.assert_fails(self.get(bound.getsockname()[1], '/', host='127.0.0.1'), b'connect')


if __name__ == '__main__':
    unittest.main()
