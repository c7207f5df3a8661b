#!/usr/bin/env python3
"""heddle load: its figures are those of the server that it has asked, and it tells what went wrong.

usage: load_test.py [HEDDLE] [unittest arguments]; without HEDDLE, $HEDDLE_PROGRAM is run.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest

import connect_support
import serve_support
from connect_support import TIMEOUT, Certificates


class Site:
    """A running `heddle serve` on a folder with the file `small`; stop() returns what it says it has served."""

    def __init__(self, certificates: Certificates, *options: str) -> None:
        self.folder = tempfile.mkdtemp(prefix='heddle-load-')
        (pathlib.Path(self.folder) / 'small').write_text('Hello, world\n')
        self.process = subprocess.Popen(
            [connect_support.PROGRAM, 'serve', self.folder, '--listen', '127.0.0.1:0', '--cert',
             certificates['ecdsa-chain.pem'], '--key', certificates['ecdsa.key'], *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        first = self.process.stdout.readline()
        self.port = int(re.search(r':(\d+)$', first.strip())[1])
        self.url = f'https://127.0.0.1:{self.port}/small'  # A name would make c-ares 1.18 leak.

    def stop(self) -> dict:
        self.process.send_signal(signal.SIGTERM)
        said, _ = self.process.communicate(timeout=TIMEOUT)
        served = re.search(r'served (\d+) requests on (\d+) connections; (\d+) handshakes failed', said)
        return dict(zip(('requests', 'connections', 'failed'), map(int, served.groups())))

    def __enter__(self) -> 'Site':
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()
        shutil.rmtree(self.folder)


class Peer:
    """Accepts connections for as long as it is there, and calls `handle(stream)` for each, one after the other."""

    def __init__(self, certificates: Certificates, handle) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificates['ecdsa-chain.pem'], certificates['ecdsa.key'])
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.url = f'https://127.0.0.1:{self.listener.getsockname()[1]}/'
        self.handle = handle
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:  # It was shut down.
                return
            with connection:
                connection.settimeout(TIMEOUT)
                try:
                    with self.context.wrap_socket(connection, server_side=True) as stream:
                        self.handle(stream)
                except OSError:  # What the client makes of it is what is tested.
                    pass

    def __enter__(self) -> 'Peer':
        return self

    def __exit__(self, *_) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(TIMEOUT)
        self.listener.close()


def read_request(stream) -> tuple:
    """Returns the head of a request and its body, or nothing at the end."""
    text = b''
    while b'\r\n\r\n' not in text:
        piece = stream.recv(65536)
        if not piece:
            return None, None
        text += piece
    head, body = text.split(b'\r\n\r\n', 1)
    length = re.search(rb'Content-Length: (\d+)', head)
    while length and len(body) < int(length[1]):
        body += stream.recv(65536)
    return head.decode(), body


class LoadTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix='heddle-load-'))
        cls.certificates = Certificates(cls.folder)

    @classmethod
    def tearDownClass(cls) -> None:
        shutil.rmtree(cls.folder)

    def start(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen([connect_support.PROGRAM, 'load', *arguments], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def load(self, url: str, *options: str, status: int = 0) -> tuple:
        """Returns the figures and what was said on standard error."""
        process = self.start(url, '--cafile', self.certificates['ca.pem'], '--json', *options)
        out, errors = process.communicate(timeout=TIMEOUT)
        self.assertEqual(status, process.returncode, out + errors)
        return json.loads(out) if out else None, errors

    def check_consistent(self, figures: dict) -> None:
        latency = figures['latency_us']
        self.assertEqual(figures['answers'], latency['count'])
        self.assertEqual(figures['answers'], sum(figures['statuses'].values()))
        ordered = [latency[name] for name in ('min', 'p50', 'p75', 'p90', 'p95', 'p99', 'p99.9', 'p99.99', 'max')]
        self.assertEqual(sorted(ordered), ordered)
        self.assertAlmostEqual(figures['answers_per_second'] * figures['seconds'], figures['answers'], delta=0.01)

    # --- What is counted ---------------------------------------------------------------------------

    def test_server_has_seen_what_the_load_has_counted(self) -> None:
        with Site(self.certificates, '--threads', '2') as site:
            figures, errors = self.load(site.url, '-n', '201', '-c', '5', '-t', '2')
            served = site.stop()
        self.check_consistent(figures)
        self.assertEqual({'requests': 201, 'connections': 5, 'failed': 0}, served)
        self.assertEqual(201, figures['statuses']['2xx'])
        self.assertEqual(5, figures['handshakes'])
        self.assertEqual(5, figures['handshake_us']['count'])
        self.assertGreater(figures['bytes_received'], 201 * len('Hello, world\n'))
        self.assertNotIn('\r', errors)  # The bar is for terminals.
        self.assertNotIn('\033', errors)

    def test_full_handshakes_are_one_for_each_request(self) -> None:
        for version in ('12', '13'):
            with self.subTest(version=version), Site(self.certificates) as site:
                figures, _ = self.load(site.url, '-n', '20', '-c', '3', '--handshakes', 'full', '--tls' + version)
                served = site.stop()
                self.check_consistent(figures)
                self.assertEqual({'requests': 23, 'connections': 23, 'failed': 0}, served)  # 3 do not count.
                self.assertEqual((20, 20, 0), (figures['answers'], figures['measured_handshakes'],
                                               figures['handshakes_resumed']))
                self.assertEqual(20, figures['handshake_us']['count'])
                self.assertTrue(figures['session'].startswith(f'TLSv1.{version[1]} '), figures['session'])

    def test_resumed_handshakes_are_resumed_from_the_first_on(self) -> None:
        for version in ('12', '13'):
            with self.subTest(version=version), Site(self.certificates) as site:
                figures, _ = self.load(site.url, '-n', '20', '-c', '3', '--handshakes', 'resumed', '--tls' + version)
                self.assertEqual(23, site.stop()['connections'])
                self.assertEqual((20, 20), (figures['measured_handshakes'], figures['measured_handshakes_resumed']))

    def test_sessions_that_the_server_does_not_take_are_told(self) -> None:
        def answer(stream) -> None:
            read_request(stream)
            stream.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
            stream.unwrap()

        with Peer(self.certificates, answer) as peer:
            peer.context.num_tickets = 0
            process = self.start(peer.url, '--cafile', self.certificates['ca.pem'], '-n', '3', '-c', '1',
                                 '--handshakes', 'resumed', '--tls13')
            out, errors = process.communicate(timeout=TIMEOUT)
        self.assertEqual(0, process.returncode, errors)
        self.assertRegex(out, r'(?m)^answers +3, ')
        self.assertRegex(out, r'(?m)^resumed +0 of 3 only: ')

    def test_bodies_arrive_whole(self) -> None:
        seen = []

        def collect(stream) -> None:
            while True:
                head, body = read_request(stream)
                if head is None:
                    return
                seen.append((head.split(' ')[0], len(body)))
                stream.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')

        for size in (1, 16384, 200_001):
            seen.clear()
            with self.subTest(size=size), Peer(self.certificates, collect) as peer:
                figures, _ = self.load(peer.url, '-n', '4', '-c', '1', '--upload', str(size), '-X', 'PUT')
                self.assertEqual([('PUT', size)] * 4, seen)
                self.assertGreater(figures['bytes_sent'], 4 * size)

    def test_fields_are_sent_as_they_are(self) -> None:
        heads = []

        def remember(stream) -> None:
            heads.append(read_request(stream)[0])
            stream.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')

        with Peer(self.certificates, remember) as peer:
            self.load(peer.url + 'a?b', '-n', '1', '-c', '1', '-H', 'X-One: 1', '-H', 'host: other')
        self.assertIn('GET /a?b HTTP/1.1\r\n', heads[0])
        self.assertIn('\r\nX-One: 1\r\nhost: other', heads[0])
        self.assertNotIn('Host:', heads[0])

    def test_latency_at_a_rate_counts_from_when_a_request_was_due(self) -> None:
        with Site(self.certificates) as site:
            figures, _ = self.load(site.url, '-n', '200', '-c', '1', '--rate', '1000000')
        self.check_consistent(figures)
        # All were due within 0.2 ms, and the last was answered at the end.
        longest = figures['latency_us']['max'] / 1e6
        self.assertAlmostEqual(figures['seconds'] - 199e-6, longest, delta=figures['seconds'] / 1000)

    def test_a_rate_is_kept(self) -> None:
        with Site(self.certificates) as site:
            figures, _ = self.load(site.url, '-d', '0.5', '-c', '4', '-t', '2', '--rate', '100')
        self.assertEqual(50, figures['answers'] + figures['not_begun'])
        self.assertGreaterEqual(figures['seconds'], 0.5)

    def test_idle_connections_are_there_and_silent(self) -> None:
        with Site(self.certificates) as site:
            figures, _ = self.load(site.url, '-n', '10', '-c', '2', '--idle', '30')
            served = site.stop()
        self.assertEqual((30, 0), (figures['idle'], figures['idle_lost']))
        self.assertEqual((40, 32), (served['requests'], served['connections']))

    def test_connections_that_the_server_closes_in_order_are_no_failures(self) -> None:
        def answer_once(stream) -> None:
            read_request(stream)
            stream.sendall(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall that comes')
            stream.unwrap()

        with Peer(self.certificates, answer_once) as peer:
            figures, _ = self.load(peer.url, '-n', '5', '-c', '1')
        self.assertEqual((5, 5, []), (figures['answers'], figures['handshakes'], figures['failures']))

    def start_beside(self, site: Site, *options: str) -> tuple:
        """Starts a long load; returns it, and what reads the site's log, once there are answers."""
        process = self.start(site.url, '--cafile', self.certificates['ca.pem'], '-d', '600', '-c', '1', *options)
        for _ in range(1000):  # More than the load has begun, whatever is on its way.
            site.process.stderr.readline()
        reader = threading.Thread(target=site.process.stderr.read)
        reader.start()
        return process, reader

    def test_interrupt_ends_it_with_a_report(self) -> None:
        with Site(self.certificates, '--access-log') as site:
            process, reader = self.start_beside(site)
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=TIMEOUT)
            self.assertEqual(0, process.returncode, errors)
            self.assertRegex(out, r'(?m)^answers +[\d,]+, ')
            self.assertRegex(out, r'(?m)^latency +p50 ')
            self.assertNotIn('failed', out)
            site.process.terminate()
            reader.join(TIMEOUT)

    def test_idle_connections_that_are_lost_are_told(self) -> None:
        with Site(self.certificates, '--access-log') as site:
            process, reader = self.start_beside(site, '--idle', '3')
            site.process.kill()
            reader.join(TIMEOUT)
            links = pathlib.Path(f'/proc/{process.pid}/fd')
            serve_support.wait_until(lambda: not any('socket' in os.readlink(each) for each in links.iterdir()),
                                     'the load has noticed')
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=TIMEOUT)
        self.assertRegex(out, r'(?m)^idle +3 of 3 were ended by the server$')
        self.assertRegex(out, r'(?m)^failed +')

    # --- What goes wrong ---------------------------------------------------------------------------

    def check_failure(self, handle, kind: str, requests: int = 3) -> dict:
        with Peer(self.certificates, handle) as peer:
            figures, errors = self.load(peer.url, '-n', str(requests), '-c', '1', status=1)
        self.assertEqual(0, figures['answers'])
        self.assertEqual([(kind, requests)], [(each['kind'], each['count']) for each in figures['failures']])
        self.assertRegex(errors, rf'(?m)^heddle load: {kind}: .*$')
        return figures

    def test_nobody_listens(self) -> None:
        with socket.create_server(('127.0.0.1', 0)) as taken:
            port = taken.getsockname()[1]
        figures, errors = self.load(f'127.0.0.1:{port}', '-n', '3', '-c', '2', status=1)
        self.assertEqual([('connect: unreachable', 2)],
                         [(each['kind'], each['count']) for each in figures['failures']])
        self.assertRegex(errors, r'heddle load: connect: unreachable: .*Connection refused')

    def test_peer_that_is_not_trusted(self) -> None:
        with Site(self.certificates) as site:
            process = self.start(site.url, '--cafile', self.certificates['other.pem'], '-n', '2', '-c', '1')
            out, errors = process.communicate(timeout=TIMEOUT)
            self.assertEqual(1, process.returncode)
            self.assertIn('failed     handshake: certificate not trusted 1, the first: ', out)
            self.assertIn('heddle load: handshake: certificate not trusted: ', errors)
            process = self.start(site.url, '--insecure', '-n', '2', '-c', '1')
            process.communicate(timeout=TIMEOUT)
            self.assertEqual(0, process.returncode)

    def test_answer_that_is_cut_off(self) -> None:
        def cut(stream) -> None:
            read_request(stream)
            stream.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell')
            stream.unwrap()

        self.check_failure(cut, 'receive: truncated')

    def test_answer_that_is_none(self) -> None:
        def chat(stream) -> None:
            read_request(stream)
            stream.sendall(b'220 mail.example.org ESMTP ready\r\n\r\n')
            read_request(stream)

        self.check_failure(chat, 'receive: protocol error')

    def test_more_than_one_answer(self) -> None:
        def twice(stream) -> None:
            read_request(stream)
            stream.sendall(2 * b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
            read_request(stream)

        self.check_failure(twice, 'receive: protocol error')

    def test_silence_times_out(self) -> None:
        with Peer(self.certificates, read_request_twice) as peer:
            figures, _ = self.load(peer.url, '-n', '2', '-c', '1', '--timeout', '0.1', status=1)
        self.assertEqual([('receive: timed out', 2)],
                         [(each['kind'], each['count']) for each in figures['failures']])

    def test_other_statuses_are_counted_and_no_success(self) -> None:
        with Site(self.certificates) as site:
            figures, errors = self.load(site.url + '-not', '-n', '4', '-c', '1', status=1)
        self.assertEqual((4, 4, []), (figures['answers'], figures['statuses']['4xx'], figures['failures']))
        self.assertIn('no request was answered with success', errors)

    def test_wrong_usage_is_told_in_one_line(self) -> None:
        for arguments in (['http://localhost/'], ['localhost'], ['localhost:1', '-c', '1', '-t', '2'],
                          ['localhost:1', '-n', '1', '-d', '1'], ['localhost:1', '-n', '1', '-t', '2'],
                          ['localhost:1', '-H', 'A: b\r\nC: d'], ['localhost:1', '-H', 'Content-Length: 3'],
                          ['localhost:1', '-X', 'G ET'], ['localhost:1', '-c', '1000000'],
                          ['localhost:1', '--cafile', '/does/not/exist'], ['unix:/does/not/exist']):
            with self.subTest(arguments=arguments):
                process = self.start(*arguments)
                out, errors = process.communicate(timeout=TIMEOUT)
                self.assertEqual((2, ''), (process.returncode, out), errors)
                self.assertRegex(errors, r'\Aheddle load: .+\n\Z')


def read_request_twice(stream) -> None:
    read_request(stream)
    read_request(stream)


if __name__ == '__main__':
    if len(sys.argv) > 1 and os.path.isfile(sys.argv[1]):
        connect_support.PROGRAM = os.path.abspath(sys.argv.pop(1))
    if not connect_support.PROGRAM:
        sys.exit('load_test.py: needs a heddle program')
    unittest.main()
