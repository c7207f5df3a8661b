#!/usr/bin/env python3
"""The servers among the examples, as one would run them: deadlines, drain, reload, errors told."""

import http.server
import pathlib
import re
import signal
import socket
import ssl
import struct
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


class EchoServer(unittest.TestCase):
    def setUp(self):
        self.ca, key = CERTIFICATES.make('echo')
        self.server = Program(self, 'echo_server', '127.0.0.1:0', self.ca, key)

    def echo(self, stream, text):
        stream.sendall(text)
        received = b''
        while len(received) < len(text):
            received += stream.recv(len(text) - len(received))
        self.assertEqual(received, text)

    def test_it_echoes_until_the_client_says_goodbye(self):
        with self.server.tls(self.ca) as stream:
            self.echo(stream, b'hello')
            self.echo(stream, b'x' * 100_000)
            stream.unwrap().close()  # It answers close_notify with its own.

    def test_it_tells_who_does_not_speak_tls(self):
        with self.server.tcp() as plain:
            plain.sendall(b'GET / HTTP/1.1\r\n\r\n')
            self.assertIn(read_all(plain)[:1], (b'', b'\x15'))
            port = plain.getsockname()[1]
        self.assertIn('HTTP', self.server.errors.find(rf'127.0.0.1:{port}: (.*)')[1].upper())

    def test_sigterm_lets_clients_finish_and_nobody_in(self):
        with self.server.tls(self.ca) as stream:
            self.echo(stream, b'before')
            self.server.signal()
            wait_until(self.server.refuses, 'it has stopped listening')
            self.echo(stream, b'after')
            self.assertIsNone(self.server.process.poll())
            port = stream.getsockname()[1]
            stream.unwrap().close()
        self.assertEqual(self.server.wait(), 0)
        self.assertNotIn(f':{port}: ', '\n'.join(self.server.errors.rest()))

    def test_a_second_sigterm_ends_it_at_once(self):
        with self.server.tls(self.ca) as stream:
            self.echo(stream, b'before')
            self.server.signal()
            wait_until(self.server.refuses, 'it has stopped listening')
            self.server.signal()
            self.assertEqual(self.server.wait(), -signal.SIGTERM)

    def test_unusable_arguments_are_told(self):
        done = subprocess.run([self.server.process.args[0], '127.0.0.1:0', '/nowhere', '/nowhere'],
                              capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r'^echo_server: .*No such file')


class Backend:
    """A plain HTTP server that answers with its name; /slow waits in the middle until it is released."""

    def __init__(self, case, name):
        self.released = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                body = name.encode() * 1000
                handler.send_response(200)
                handler.send_header('Content-Length', str(len(body)))
                handler.end_headers()
                handler.wfile.write(body[:100])
                if handler.path == '/slow' and not self.released.wait(PATIENCE):
                    return
                handler.wfile.write(body[100:])

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.server.daemon_threads = True
        thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        thread.start()
        case.addCleanup(self.server.server_close)
        case.addCleanup(thread.join)
        case.addCleanup(self.server.shutdown)
        case.addCleanup(self.released.set)
        self.address = f'127.0.0.1:{self.server.server_port}'


class Proxy(unittest.TestCase):
    NAMES = ('one.test', 'two.test')

    def start(self, *more_routes, client_ca='-'):
        self.ca, self.key = CERTIFICATES.make('proxy', *self.NAMES, 'cut.test')
        self.backends = [Backend(self, name) for name in self.NAMES]
        routes = [f'{name}={backend.address}' for name, backend in zip(self.NAMES, self.backends)]
        self.proxy = Program(self, 'proxy', '127.0.0.1:0', self.ca, self.key, client_ca, *routes,
                             *more_routes)

    def curl(self, name, *options):
        return subprocess.run(
            ['curl', '--silent', '--show-error', '--max-time', str(PATIENCE), '--cacert', self.ca, '--connect-to',
             f'::127.0.0.1:{self.proxy.port}', *options, f'https://{name}/'], capture_output=True, text=True)

    def serial(self):
        """The certificate that a new connection gets."""
        context = ssl._create_unverified_context()
        with context.wrap_socket(self.proxy.tcp(), server_hostname='one.test') as stream:
            return stream.getpeercert(binary_form=True)

    def ask_slowly(self):
        """Asks for what comes only half until the backend is released; returns after the first half."""
        stream = self.proxy.tls(self.ca, 'one.test')
        self.addCleanup(stream.close)
        stream.sendall(b'GET /slow HTTP/1.0\r\n\r\n')
        received = b''
        while b'\r\n\r\none.test' not in received:
            received += stream.recv(1000)
        return stream, received

    def release(self, stream, received):
        self.backends[0].released.set()
        received += read_all(stream)
        self.assertTrue(received.endswith(b'\r\n\r\n' + b'one.test' * 1000))

    def test_names_lead_to_their_backends(self):
        self.start()
        for name in (*self.NAMES, 'ONE.test'):
            done = self.curl(name)
            self.assertEqual((done.stdout, done.returncode), (name.lower() * 1000, 0), done.stderr)

    def test_other_names_and_none_are_refused(self):
        self.start()
        for name in ('three.test', None):
            context = ssl._create_unverified_context()
            with self.assertRaisesRegex(ssl.SSLError, 'UNRECOGNIZED_NAME'):
                context.wrap_socket(self.proxy.tcp(), server_hostname=name)
            self.proxy.errors.find('127.0.0.1:')

    def test_with_a_client_ca_only_its_clients_are_let_in(self):
        client = CERTIFICATES.make('client')
        self.start(client_ca=client[0])
        self.assertEqual(self.curl('two.test', '--cert', client[0], '--key', client[1]).stdout, 'two.test' * 1000)
        self.assertNotEqual(self.curl('two.test').returncode, 0)
        self.proxy.errors.find('127.0.0.1:.*certificate')

    def test_sighup_takes_a_new_certificate_while_transfers_go_on(self):
        self.start()
        before = self.serial()
        stream, received = self.ask_slowly()
        CERTIFICATES.make('proxy', *self.NAMES)
        self.proxy.signal(signal.SIGHUP)
        self.proxy.errors.find('reload: done')
        # Both threads get the new one before they let anybody in who connects now, but not at once.
        wait_until(lambda: all(self.serial() != before for _ in range(8)), 'both threads have the new one')
        self.assertEqual(self.curl('two.test').stdout, 'two.test' * 1000)
        self.release(stream, received)

    def test_an_unusable_certificate_is_told_and_the_old_one_stays(self):
        self.start()
        before = self.serial()
        for file in (self.ca, self.key):
            with open(file, 'w') as junk:
                junk.write('junk')
        self.proxy.signal(signal.SIGHUP)
        self.proxy.errors.find('reload: (?!done)')
        self.assertEqual(self.serial(), before)

    def test_sigterm_lets_a_transfer_end(self):
        self.start()
        stream, received = self.ask_slowly()
        self.proxy.signal()
        wait_until(self.proxy.refuses, 'it has stopped listening')
        self.assertIsNone(self.proxy.process.poll())
        self.release(stream, received)
        stream.unwrap().close()
        self.assertEqual(self.proxy.wait(), 0)

    def test_a_client_sees_when_its_answer_was_cut_off(self):
        with socket.create_server(('127.0.0.1', 0)) as listener:
            listener.settimeout(PATIENCE)
            self.start(f'cut.test=127.0.0.1:{listener.getsockname()[1]}')
            with self.proxy.tls(self.ca, 'cut.test') as stream:
                backend, _ = listener.accept()
                backend.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                backend.sendall(b'half')
                self.assertEqual(stream.recv(4), b'half')
                backend.close()  # A reset.
                with self.assertRaises((ssl.SSLError, ConnectionError)):
                    read_all(stream)
        self.proxy.errors.find('127.0.0.1:.*reset')

    def test_a_backend_that_is_down_is_told(self):
        self.start()
        self.backends[1].server.shutdown()
        self.backends[1].server.server_close()
        self.assertNotEqual(self.curl('two.test').returncode, 0)
        self.proxy.errors.find('127.0.0.1:.*refused')
        self.assertEqual(self.curl('one.test').returncode, 0)

    def test_two_threads_listen(self):
        self.start()
        listening = [line for line in pathlib.Path('/proc/net/tcp').read_text().splitlines()
                     if re.match(rf'\s*\d+: 0100007F:{self.proxy.port:04X} \S+ 0A ', line)]
        self.assertEqual(len(listening), 2)


class Chat(unittest.TestCase):
    def setUp(self):
        self.ca, key = CERTIFICATES.make('chat')
        self.chat = Program(self, 'chat', '127.0.0.1:0', self.ca, key)

    def join(self, *others, receive_buffer=None):
        """A client that is in: the others have heard it."""
        stream = self.chat.tls(self.ca)
        self.addCleanup(stream.close)
        if receive_buffer:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        member = stream.makefile('rwb')
        self.addCleanup(member.close)
        member.port = stream.getsockname()[1]
        self.say(member, 'in', *others)
        return member

    def say(self, member, text, *others):
        member.write(f'{text}\n'.encode())
        member.flush()
        for other in others:
            self.assertEqual(other.readline().decode(), f'127.0.0.1:{member.port}: {text}\n')

    def test_everybody_hears_the_others_while_talking(self):
        one = self.join()
        two = self.join(one)
        three = self.join(one, two)
        for number in range(100):
            self.say(one, f'one {number}', two, three)
            self.say(three, f'three {number}', one, two)

    def test_whoever_sends_much_at_once_drops_nobody_who_reads(self):
        one = self.join()
        two = self.join(one)
        one.write(b''.join(b'%d\n' % number for number in range(1000)))
        one.flush()
        for number in range(1000):
            self.assertTrue(two.readline().endswith(b': %d\n' % number))

    def test_whoever_does_not_read_is_dropped_and_the_others_go_on(self):
        one = self.join()
        two = self.join(one)
        silent = self.join(one, two, receive_buffer=4096)
        text = 'x' * 1000
        for _ in range(20_000):
            self.say(one, text, two)
            if not self.chat.errors.queue.empty():
                break
        self.chat.errors.find(f'^127.0.0.1:{silent.port}: dropped, does not read$')
        self.say(two, 'still here', one)

    def test_a_line_without_end_ends_its_client_only(self):
        one = self.join()
        two = self.join(one)
        three = self.join(one, two)
        three.write(b'x' * 2000)
        three.flush()
        self.chat.errors.find(f'^127.0.0.1:{three.port}: ')
        self.say(two, 'still here', one)

    def test_sigterm_says_goodbye(self):
        one = self.join()
        two = self.join(one)
        self.chat.signal()
        for member in (one, two):
            self.assertEqual(member.read(), b'')  # close_notify: anything else would fail.
            member.close()
        self.assertEqual(self.chat.wait(), 0)


class StartTls(unittest.TestCase):
    def setUp(self):
        self.ca, self.key = CERTIFICATES.make('starttls')

    def serve(self):
        self.server = Program(self, 'starttls', 'serve', '127.0.0.1:0', self.ca, self.key)
        return self.server.port

    def send(self, port, text, ca=None):
        return subprocess.run([PROGRAMS / 'starttls', f'127.0.0.1:{port}', 'localhost', ca or self.ca, text],
                              capture_output=True, text=True, timeout=PATIENCE)

    def plain(self):
        """A connection that has been greeted and has said EHLO."""
        plain = self.server.tcp()
        self.addCleanup(plain.close)
        self.ask(plain, b'', b'220 ready\r\n')
        self.ask(plain, b'EHLO me\r\n', b'250 ok\r\n')
        return plain

    def ask(self, stream, command, answer):
        stream.sendall(command)
        received = b''
        while not received.endswith(b'\n'):
            got = stream.recv(1)
            self.assertTrue(got, received)
            received += got
        self.assertEqual(received, answer)

    def test_its_client_sends_a_message_over_tls(self):
        port = self.serve()
        for text in ('hello', '.', '..dots'):
            done = self.send(port, text)
            self.assertEqual((done.returncode, done.stderr), (0, ''))
            self.assertEqual(self.server.out.next(), text)

    def test_python_talks_to_it(self):
        self.serve()
        plain = self.plain()
        self.ask(plain, b'DATA\r\n', b'530 STARTTLS comes first\r\n')
        self.ask(plain, b'STARTTLS\r\n', b'220 go ahead\r\n')
        context = ssl.create_default_context(cafile=self.ca)
        with context.wrap_socket(plain, server_hostname='localhost') as stream:
            self.ask(stream, b'DATA\r\n', b'354 go on\r\n')
            self.ask(stream, b'one\r\ntwo\r\n.\r\n', b'250 ok\r\n')
            self.ask(stream, b'QUIT\r\n', b'221 goodbye\r\n')
            stream.unwrap()
        self.assertEqual([self.server.out.next() for _ in range(2)], ['one', 'two'])

    def test_commands_that_are_injected_before_tls_are_refused(self):
        self.serve()
        plain = self.plain()
        plain.sendall(b'STARTTLS\r\nDATA\r\nevil\r\n.\r\n')
        try:
            self.assertEqual(read_all(plain), b'')  # No go-ahead, and no handshake.
        except ConnectionError:
            pass
        self.server.errors.find('injected behind STARTTLS')
        self.assertEqual(self.send(self.server.port, 'still there').returncode, 0)
        self.assertEqual(self.server.out.next(), 'still there')

    def test_its_client_refuses_answers_that_are_injected_before_tls(self):
        with socket.create_server(('127.0.0.1', 0)) as listener:
            listener.settimeout(PATIENCE)

            def inject():
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(PATIENCE)
                    for answer in (b'220 hi\r\n', b'250-me\r\n250 STARTTLS\r\n', b'220 go\r\n250 evil\r\n'):
                        connection.sendall(answer)
                        connection.recv(100)

            thread = threading.Thread(target=inject)
            thread.start()
            done = self.send(listener.getsockname()[1], 'secret')
            thread.join()
        self.assertEqual(done.returncode, 1)
        self.assertIn('injected behind the answer', done.stderr)

    def test_its_client_refuses_a_server_that_it_does_not_trust(self):
        other, _ = CERTIFICATES.make('other')
        done = self.send(self.serve(), 'secret', other)
        self.assertEqual(done.returncode, 1)
        self.assertIn('certificate', done.stderr)


if __name__ == '__main__':
    unittest.main()
