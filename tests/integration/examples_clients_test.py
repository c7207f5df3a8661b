#!/usr/bin/env python3
"""The examples that are clients, and servers with certificates by name, HTTP/2 and WebSocket."""

import contextlib
import os
import pathlib
import signal
import socket
import ssl
import subprocess
import threading
import unittest

from examples_support import PROGRAMS, Certificates, Program
from serve_support import PATIENCE, read_all, wait_until

CERTIFICATES = None


def setUpModule():
    global CERTIFICATES
    CERTIFICATES = Certificates()


def tearDownModule():
    CERTIFICATES.folder.cleanup()


def run(name, *arguments, text=''):
    return subprocess.run([PROGRAMS / name, *map(str, arguments)], input=text, capture_output=True, text=True,
                          timeout=PATIENCE)


class Origin:
    """A TLS server of one thread for each client: `serve` is called with its connection."""

    def __init__(self, case, name, serve, alpn=()):
        self.ca, key = CERTIFICATES.make(name)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.ca, key)
        if alpn:
            self.context.set_alpn_protocols(alpn)
        self.serve = serve
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()
        case.addCleanup(self._end)

    def _accept(self):
        while True:
            connection = self.listener.accept()[0]
            connection.settimeout(PATIENCE)
            if self.ending:
                return connection.close()
            self.threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self.threads[-1].start()

    ending = False

    def _serve(self, connection):
        # Clients leave as they like: some are meant to.
        with contextlib.suppress(OSError), self.context.wrap_socket(connection, server_side=True) as stream:
            self.serve(stream)

    def _end(self):
        self.ending = True
        socket.create_connection(('127.0.0.1', self.port)).close()
        for thread in self.threads:
            thread.join()
        self.listener.close()


def read_head(stream):
    head = b''
    while not head.endswith(b'\r\n\r\n'):
        piece = stream.recv(1)
        if not piece:
            break
        head += piece
    return head.decode()


class Client(unittest.TestCase):
    def origin(self, answer, say_goodbye=True):
        def serve(stream):
            self.protocol = stream.selected_alpn_protocol()
            self.head = read_head(stream)
            stream.sendall(answer)
            if say_goodbye:
                stream.unwrap().close()

        return Origin(self, 'origin', serve, ['http/1.1'])

    def get(self, answer, say_goodbye=True):
        origin = self.origin(answer, say_goodbye)
        return run('client', '127.0.0.1', origin.port, '/there', PATIENCE, origin.ca)

    def test_answers_of_each_kind_are_printed_whole(self):
        for fields, body in (('Content-Length: 5\r\n', 'hello'), ('', 'hello'), ('content-length: 0\r\n', ''),
                             ('Transfer-Encoding: chunked\r\n', '3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n')):
            done = self.get(f'HTTP/1.1 200 OK\r\n{fields}\r\n{body}'.encode())
            expected = 'hello' if body else ''
            self.assertEqual((done.stdout, done.stderr, done.returncode), (expected, '', 0))
            self.assertEqual(self.protocol, 'http/1.1')
            self.assertEqual(self.head.splitlines()[:2], ['GET /there HTTP/1.1', 'Host: 127.0.0.1'])

    def test_answers_that_are_cut_off_are_failures(self):
        for fields, body, say_goodbye in (('Content-Length: 6\r\n', 'hello', True), ('', 'hello', False),
                                          ('Transfer-Encoding: chunked\r\n', '5\r\nhello\r\n', True)):
            done = self.get(f'HTTP/1.1 200 OK\r\n{fields}\r\n{body}'.encode(), say_goodbye)
            self.assertEqual(done.returncode, 1, done)
            self.assertRegex(done.stderr, '^client: .*(cut off|trunc|close_notify)')

    def test_other_answers_are_failures(self):
        for answer, why in (('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n', 'status 404'),
                            ('junk\r\n\r\n', 'no HTTP answer'), ('', 'said nothing'),
                            ('HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello', 'size that is none'),
                            ('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nlong\r\n', 'longer')):
            done = self.get(answer.encode())
            self.assertEqual(done.returncode, 1, done)
            self.assertIn(why, done.stderr)

    def test_unknown_certificates_and_other_names_are_explained(self):
        origin = self.origin(b'')
        for host, ca in (('127.0.0.1', CERTIFICATES.make('other')[0]), ('127.0.0.2', origin.ca)):
            done = run('client', host, origin.port, '/', PATIENCE, ca)
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, '^client: .*(certificate|refused)')

    def test_one_deadline_is_for_all(self):
        silence = threading.Event()
        origin = Origin(self, 'origin', lambda _: silence.wait(PATIENCE))
        self.addCleanup(silence.set)  # Before the origin ends.
        done = run('client', '127.0.0.1', origin.port, '/', 1, origin.ca)
        self.assertRegex(done.stderr, '^client: .*(timed out|deadline)')


class Tunnel(unittest.TestCase):
    def proxy(self, status='200 OK'):
        """A proxy that connects to whom it is asked for."""
        def serve(stream):
            self.head = read_head(stream)
            stream.sendall(f'HTTP/1.1 {status}\r\n\r\n'.encode())
            host, port = self.head.split()[1].rsplit(':', 1)
            with socket.create_connection((host, int(port)), PATIENCE) as origin:
                lock = threading.Lock()  # Python's SSLSocket is not for two threads at once.
                stream.setblocking(False)

                def forward():
                    while piece := origin.recv(65536):
                        while piece:
                            with lock, contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                                piece = piece[stream.send(piece):]

                back = threading.Thread(target=forward)
                back.start()
                while back.is_alive():
                    with lock, contextlib.suppress(ssl.SSLWantReadError):
                        if piece := stream.recv(65536):
                            origin.sendall(piece)
                            continue
                        break
                    back.join(0.01)
                back.join()

        return Origin(self, 'proxy', serve)

    def trust(self, *origins):
        both = pathlib.Path(CERTIFICATES.folder.name) / 'both.pem'
        both.write_text(''.join(pathlib.Path(origin.ca).read_text() for origin in origins))
        return both

    def test_bytes_pass_both_ways_until_both_have_ended(self):
        def serve(stream):
            received = b''
            while piece := stream.recv(65536):
                received += piece
            stream.sendall(received.upper())
            stream.unwrap().close()

        origin, proxy = Origin(self, 'origin', serve), self.proxy()
        done = run('tunnel', '127.0.0.1', proxy.port, 'localhost', origin.port, PATIENCE,
                   self.trust(origin, proxy), text='hello ' * 10000)
        self.assertEqual((done.stdout, done.stderr, done.returncode), ('HELLO ' * 10000, '', 0))
        self.assertTrue(self.head.startswith(f'CONNECT localhost:{origin.port} HTTP/1.1\r\n'))

    def test_proxies_that_refuse_and_those_nobody_knows_are_told(self):
        proxy = self.proxy('403 Forbidden')
        done = run('tunnel', '127.0.0.1', proxy.port, 'localhost', 1, PATIENCE, proxy.ca)
        self.assertEqual(done.returncode, 1)
        self.assertIn('403', done.stderr)
        done = run('tunnel', '127.0.0.1', proxy.port, 'localhost', 1, PATIENCE, CERTIFICATES.make('other')[0])
        self.assertRegex(done.stderr, '^tunnel: proxy: .*certificate')


class Sni(unittest.TestCase):
    def setUp(self):
        self.identities = {name: CERTIFICATES.make(name, name) for name in ('one.test', 'two.test')}
        arguments = [part for name, identity in self.identities.items() for part in (name, *identity)]
        self.server = Program(self, 'sni', '127.0.0.1:0', *arguments)

    def certificate(self, name):
        context = ssl._create_unverified_context()
        with context.wrap_socket(self.server.tcp(), server_hostname=name) as stream:
            return stream.getpeercert(binary_form=True)

    def test_each_name_has_its_certificate(self):
        for name, (ca, _) in self.identities.items():
            with self.server.tls(ca, name) as stream:
                self.assertEqual(read_all(stream), f'{name}\n'.encode())

    def test_no_name_gets_the_first_and_others_are_refused(self):
        self.assertEqual(self.certificate(None), self.certificate('one.test'))
        self.assertNotEqual(self.certificate(None), self.certificate('two.test'))
        with self.assertRaisesRegex(ssl.SSLError, 'UNRECOGNIZED_NAME'):
            self.certificate('three.test')

    def test_sighup_takes_new_certificates_or_keeps_the_old_ones(self):
        before = {name: self.certificate(name) for name in self.identities}
        CERTIFICATES.make('two.test', 'two.test')
        self.server.signal(signal.SIGHUP)
        self.server.errors.find('reload: done')
        self.assertEqual(self.certificate('one.test'), before['one.test'])
        after = self.certificate('two.test')
        self.assertNotEqual(after, before['two.test'])
        pathlib.Path(self.identities['two.test'][0]).write_text('junk')
        self.server.signal(signal.SIGHUP)
        self.server.errors.find('reload: (?!done)')
        self.assertEqual(self.certificate('two.test'), after)

    def test_sigterm_ends_it(self):
        self.server.signal()
        wait_until(self.server.refuses, 'it has stopped listening')
        self.assertEqual(self.server.wait(), 0)


@unittest.skipUnless('HEDDLE_NGHTTP2_SERVER' in os.environ, 'libnghttp2 is not installed')
class Http2(unittest.TestCase):
    def setUp(self):
        self.ca, key = CERTIFICATES.make('h2')
        self.server = Program(self, 'nghttp2_server', '127.0.0.1:0', self.ca, key)

    def curl(self, *options):
        return subprocess.run(
            ['curl', '--silent', '--show-error', '--max-time', str(PATIENCE), '--cacert', self.ca, '--http2',
             '--write-out', '%{http_version} %{response_code} %{size_download} %{num_connects}\n', '--output',
             '/dev/null', *options], capture_output=True, text=True)

    def url(self, path):
        return f'https://localhost:{self.server.port}/{path}'

    def test_several_streams_share_a_connection(self):
        sizes = [0, 1, 100_000, 3_000_000, 70_000]
        each = [option for size in sizes for option in ('--output', '/dev/null', self.url(size))]
        done = self.curl('--parallel', *each[2:])
        self.assertEqual(done.returncode, 0, done.stderr)
        lines = [line.split() for line in done.stdout.splitlines()]
        self.assertEqual(sorted(line[:3] for line in lines), sorted(['2', '200', str(size)] for size in sizes))
        self.assertEqual(sum(int(line[3]) for line in lines), 1)

    def test_what_is_not_there_is_404(self):
        for path in ('none', '', '1x'):
            self.assertEqual(self.curl(self.url(path)).stdout, '2 404 0 1\n')
        self.assertEqual(self.curl('--data', 'x' * 100_000, self.url('5')).stdout, '2 404 0 1\n')

    def test_clients_that_speak_http_1_only_are_refused(self):
        done = self.curl('--http1.1', self.url('5'))
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(self.server.errors.find('^client: (.*)')[1], '(?i)alpn|protocol')

    def test_junk_ends_its_connection_only(self):
        context = ssl.create_default_context(cafile=self.ca)
        context.set_alpn_protocols(['h2'])
        with context.wrap_socket(self.server.tcp(), server_hostname='localhost') as stream:
            stream.sendall(b'GET / HTTP/1.1\r\n\r\n')
            read_all(stream)
        self.assertEqual(self.curl(self.url('7')).stdout, '2 200 7 1\n')


@unittest.skipUnless('HEDDLE_BEAST_WEBSOCKET' in os.environ, 'Boost.Beast is not installed')
class WebSocket(unittest.TestCase):
    TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

    def setUp(self):
        self.ca, key = CERTIFICATES.make('beast')
        self.server = Program(self, 'beast_websocket', '127.0.0.1:0', self.ca, key)

    def open(self):
        stream = self.server.tls(self.ca)
        self.addCleanup(stream.close)
        stream.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                       b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n')
        head = read_head(stream)
        self.assertTrue(head.startswith('HTTP/1.1 101 '), head)
        self.assertIn('s3pPLMBiTxaQ9kYGzzhZRbK+xOo=', head)  # RFC 6455, 1.3.
        return stream

    def send(self, stream, kind, payload, final=True):
        """A frame of RFC 6455, 5.2, masked with zeros."""
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else bytes([0x80 | 127]) + size.to_bytes(8, 'big')
        stream.sendall(bytes([(0x80 if final else 0) | kind]) + length + bytes(4) + payload)

    def receive(self, stream):
        def exactly(count):
            received = b''
            while len(received) < count:
                piece = stream.recv(count - len(received))
                self.assertTrue(piece, 'cut off')
                received += piece
            return received

        kind, payload = None, b''
        while True:
            first, size = exactly(2)
            kind = kind or first & 15
            if size >= 126:
                size = int.from_bytes(exactly(2 if size == 126 else 8), 'big')
            payload += exactly(size)
            if first & 0x80:
                return kind, payload

    def test_messages_come_back_and_closing_is_orderly(self):
        stream = self.open()
        for kind, payload in ((self.TEXT, b'hello'), (self.BINARY, bytes(range(256)) * 1000), (self.TEXT, b'')):
            self.send(stream, kind, payload)
            self.assertEqual(self.receive(stream), (kind, payload))
        self.send(stream, self.TEXT, b'in ', final=False)
        self.send(stream, self.PING, b'?')
        self.send(stream, 0, b'pieces')
        self.assertEqual(self.receive(stream), (self.PONG, b'?'))
        self.assertEqual(self.receive(stream), (self.TEXT, b'in pieces'))
        self.send(stream, self.CLOSE, b'\x03\xe8')
        self.assertEqual(self.receive(stream)[0], self.CLOSE)
        self.assertEqual(read_all(stream), b'')  # close_notify: anything else would fail.

    def test_clients_are_served_at_the_same_time(self):
        streams = [self.open() for _ in range(3)]
        for stream in reversed(streams):
            self.send(stream, self.TEXT, b'hello')
            self.assertEqual(self.receive(stream), (self.TEXT, b'hello'))

    def test_those_that_vanish_or_speak_otherwise_are_told(self):
        self.open().close()
        self.server.errors.find('^client: ')
        with self.server.tls(self.ca) as stream:
            stream.sendall(b'junk\r\n\r\n')
            with contextlib.suppress(ssl.SSLError):  # Cut off, without a goodbye.
                read_all(stream)
        self.server.errors.find('^client: .*not WebSocket')


if __name__ == '__main__':
    unittest.main()
