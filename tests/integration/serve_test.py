#!/usr/bin/env python3
"""heddle serve from the outside: curl, openssl, Python and gevent as clients."""

import hashlib
import os
import re
import signal
import ssl
import subprocess
import sys
import unittest

from serve_support import PATIENCE, PROGRAM, Server, World, read_all, wait_until

WORLD = None


def setUpModule():
    global WORLD
    WORLD = World()


def tearDownModule():
    WORLD.remove()


class Files(unittest.TestCase):
    """What a browser or curl sees."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(WORLD)
        cls.addClassCleanup(cls.server.__exit__)

    def status(self, target, *options):
        done = self.server.curl(target, '--output', '/dev/null', '--write-out', '%{http_code}',
                                *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return int(done.stdout)

    def test_a_large_file_arrives_as_it_is(self):
        done = self.server.curl('/big')
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(hashlib.sha256(done.stdout).digest(),
                         hashlib.sha256((WORLD.site / 'big').read_bytes()).digest())

    def test_ranges(self):
        self.assertEqual(self.server.curl('/small.txt', '--range', '2-4').stdout, b'234')
        self.assertEqual(self.server.curl('/small.txt', '--range', '-3').stdout, b'789')
        self.assertEqual(self.server.curl('/small.txt', '--range', '8-').stdout, b'89')
        self.assertEqual(self.status('/small.txt', '--range', '2-4'), 206)
        self.assertEqual(self.status('/small.txt', '--range', '10-'), 416)
        with open(WORLD.site / 'big', 'rb') as big:
            big.seek(70_000_000)
            expected = big.read(5_000_000)
        self.assertEqual(self.server.curl('/big', '--range', '70000000-74999999').stdout, expected)

    def test_head_has_the_length_and_no_body(self):
        done = self.server.curl('/big', '--head')
        self.assertIn(f'Content-Length: {WORLD.BIG_BYTES}\r\n'.encode(), done.stdout)
        self.assertTrue(done.stdout.endswith(b'\r\n\r\n'))

    def test_folders(self):
        self.assertEqual(self.server.curl('/indexed/').stdout, b'<p>index')
        self.assertIn(b'<a href="./a%20%26%20b.txt">a &amp; b.txt</a>',
                      self.server.curl('/folder/').stdout)
        self.assertEqual(self.status('/folder'), 301)
        self.assertEqual(self.server.curl('/indexed', '--location').stdout, b'<p>index')
        self.assertEqual(self.server.curl('/folder/a%20%26%20b.txt').stdout, b'listed')

    def test_what_is_not_there_or_outside_is_not_found(self):
        self.assertEqual(self.status('/none'), 404)
        for target in ('/../secret', '/%2e%2e/secret', '/folder/../../secret', '/..%2fsecret'):
            self.assertEqual(self.status(target, '--path-as-is'), 404, target)

    def test_a_cached_copy_is_not_sent_again(self):
        connection = self.server.http()
        status, _, headers = self.server.get(connection)
        self.assertEqual(status, 200)
        for field, value in (('If-None-Match', headers['ETag']),
                             ('If-Modified-Since', headers['Last-Modified'])):
            status, body, _ = self.server.get(connection, headers={field: value})
            self.assertEqual((status, body), (304, b''))
        connection.close()

    def test_a_stranger_s_certificate_is_refused(self):
        with Server(WORLD) as other:
            done = self.server.curl('/', ca=other.ca)
            self.assertEqual(done.returncode, 60, done.stderr)
        self.assertEqual(self.server.curl('/small.txt').stdout, b'0123456789')


class Protocol(unittest.TestCase):
    """HTTP/1.1 at the level of bytes."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server(WORLD)
        cls.addClassCleanup(cls.server.__exit__)

    GET = b'GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n'
    LAST = b'GET /small.txt HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'

    def statuses(self, *pieces):
        received = self.server.exchange(*pieces)
        return [int(part[:3]) for part in received.split(b'HTTP/1.1 ')[1:]]

    def test_requests_may_be_pipelined_and_cut_anywhere(self):
        self.assertEqual(self.statuses(self.GET * 3 + self.LAST), [200] * 4)
        self.assertEqual(self.statuses(self.GET * 200 + self.LAST), [200] * 201)
        both = self.GET + self.LAST
        self.assertEqual(self.statuses(*(both[i:i + 1] for i in range(len(both)))), [200] * 2)

    def test_a_connection_serves_many_requests(self):
        connection = self.server.http()
        for _ in range(500):
            self.assertEqual(self.server.get(connection)[:2], (200, b'0123456789'))
        connection.close()

    def test_bodies_are_skipped(self):
        sized = b'GET /small.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n'
        chunked = b'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n'
        self.assertEqual(self.statuses(sized, b'x' * 300000, self.LAST), [200, 200])
        self.assertEqual(self.statuses(chunked, b'5\r\nhello\r\n' * 1000, b'0\r\n\r\n', self.LAST),
                         [405, 200])
        self.assertEqual(self.statuses(b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1048577\r\n\r\n'),
                         [413])

    def test_a_client_that_asks_before_it_sends_is_answered(self):
        head = b' HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n'
        with self.server.tls() as stream:
            stream.sendall(b'GET /small.txt' + head)
            self.assertEqual(stream.recv(1000), b'HTTP/1.1 100 Continue\r\n\r\n')
            stream.sendall(b'abc' + self.LAST)
            self.assertEqual(read_all(stream).count(b'HTTP/1.1 200 OK'), 2)
        self.assertEqual(self.statuses(b'PUT /small.txt' + head), [405])

    def test_old_clients(self):
        self.assertEqual(self.statuses(b'GET /small.txt HTTP/1.0\r\n\r\n'), [200])
        keep = self.server.exchange(
            b'GET /small.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n')
        self.assertEqual(keep.count(b'HTTP/1.1 200'), 2)
        self.assertEqual(keep.count(b'Connection: keep-alive'), 1)

    def test_refusals(self):
        long = b'x' * 20000
        for request, status in (
                (b'nonsense\r\n\r\n', 400), (b'GET / HTTP/1.1\r\n\r\n', 400),
                (b'GET / HTTP/3.0\r\n\r\n', 505), (b'DELETE / HTTP/1.0\r\n\r\n', 405),
                (b'FROB / HTTP/1.0\r\n\r\n', 501), (b'GET /' + long + b' HTTP/1.1\r\n\r\n', 414),
                (b'GET / HTTP/1.1\r\nA: ' + long + b'\r\n\r\n', 431)):
            self.assertEqual(self.statuses(request), [status], request[:40])
        self.assertIn(b'Allow: GET, HEAD', self.server.exchange(b'PUT / HTTP/1.0\r\n\r\n'))

    def test_the_end_is_announced(self):
        with self.server.tls() as stream:
            stream.sendall(self.LAST)
            read_all(stream)  # Python raises unless close_notify came.


class Interoperation(unittest.TestCase):
    """TLS 1.2 and 1.3, each kind of key, clients of other makes."""

    def test_versions_and_keys(self):
        for key in ('ecdsa', 'rsa', 'ed25519'):
            with Server(WORLD, '--key-type', key) as server:
                for version in ('1.2', '1.3'):
                    with self.subTest(key=key, version=version):
                        self.check_curl(server, version)
                        self.check_openssl(server, version)
                        self.check_python(server, version)
                        self.check_gevent(server, version)
                self.assertEqual(server.stop(), 0, server.stderr())

    def check_curl(self, server, version):
        done = server.curl('/small.txt', '--tlsv' + version, '--tls-max', version)
        self.assertEqual(done.stdout, b'0123456789', done.stderr)

    def check_openssl(self, server, version):
        done = subprocess.run(
            ['openssl', 's_client', '-connect', f'127.0.0.1:{server.port}', '-CAfile', server.ca,
             '-verify_return_error', '-verify_hostname', 'localhost', '-alpn', 'http/1.1',
             '-tls' + version.replace('.', '_'), '-ign_eof'],
            input=b'GET /small.txt HTTP/1.0\r\n\r\n', capture_output=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b'\r\n\r\n0123456789', done.stdout)
        self.assertIn(b'ALPN protocol: http/1.1', done.stdout)

    def check_python(self, server, version):
        context = server.context()
        context.maximum_version = context.minimum_version = ssl.TLSVersion['TLSv' + version.replace('.', '_')]
        with server.tls(context) as stream:
            self.assertEqual(stream.version(), 'TLSv' + version)
            stream.sendall(b'GET /small.txt HTTP/1.0\r\n\r\n')
            self.assertTrue(read_all(stream).endswith(b'0123456789'))

    GEVENT = '''
import gevent.monkey
gevent.monkey.patch_all()
import gevent, ssl, sys
from gevent.pool import Pool
import http.client
port, ca, version = int(sys.argv[1]), sys.argv[2], ssl.TLSVersion[sys.argv[3]]
def fetch(_):
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = context.maximum_version = version
    connection = http.client.HTTPSConnection('localhost', port, context=context, timeout=30)
    for _ in range(5):
        connection.request('GET', '/small.txt')
        assert connection.getresponse().read() == b'0123456789'
    connection.close()
    return 1
print(sum(Pool(20).map(fetch, range(40))))
'''

    def check_gevent(self, server, version):
        if subprocess.run([sys.executable, '-c', 'import gevent'], capture_output=True).returncode:
            self.skipTest('gevent is not installed')
        done = subprocess.run(
            [sys.executable, '-c', self.GEVENT, str(server.port), server.ca,
             'TLSv' + version.replace('.', '_')], capture_output=True, timeout=2 * PATIENCE)
        self.assertEqual((done.returncode, done.stdout), (0, b'40\n'), done.stderr)

    def test_versions_can_be_narrowed(self):
        with Server(WORLD, '--min-tls', '1.3') as server:
            self.assertEqual(server.curl('/small.txt', '--tls-max', '1.2').returncode, 35)
            self.assertEqual(server.curl('/small.txt').stdout, b'0123456789')

    def test_the_user_s_own_certificate(self):
        cert, key = WORLD.path / 'own.pem', WORLD.path / 'own.key'
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=own',
                        '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', cert],
                       check=True, capture_output=True)
        with Server(WORLD, '--cert', str(cert), '--key', str(key)) as server:
            self.assertEqual(server.curl('/small.txt', ca=cert).stdout, b'0123456789')
            self.assertEqual(server.stop(), 0)
            self.assertNotIn('SHA-256', server.stderr())
        both = WORLD.path / 'both.pem'
        both.write_text(cert.read_text() + key.read_text())
        with Server(WORLD, '--cert', str(both)) as server:
            self.assertEqual(server.curl('/small.txt', ca=cert).stdout, b'0123456789')


class Program(unittest.TestCase):
    """Start, end, and what it says."""

    def assert_refused(self, *arguments, says):
        done = subprocess.run([PROGRAM, 'serve', *arguments], capture_output=True, text=True,
                              timeout=PATIENCE)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(done.stderr.count('\n'), 1, done.stderr)
        self.assertTrue(done.stderr.startswith('heddle serve: '), done.stderr)
        self.assertIn(says, done.stderr)
        self.assertEqual(done.stdout, '')

    def test_unusable_input_is_one_line_and_status_2(self):
        site, ca, listen = str(WORLD.site), str(WORLD.path / 'own-ca.pem'), '127.0.0.1:0'
        key, other = str(WORLD.path / 'k1'), str(WORLD.path / 'k2')
        for number, path in enumerate((key, other)):
            subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
                            '-nodes', '-subj', f'/CN={number}', '-keyout', path, '-out', path + '.pem'],
                           check=True, capture_output=True)
        self.assert_refused(site + '/none', says='No such file or directory')
        self.assert_refused(site, '--listen', 'nowhere', says='nowhere')
        self.assert_refused(site, '--listen', listen, '--cert', ca, says=ca)
        self.assert_refused(site, '--listen', listen, '--cert', key + '.pem', '--key', key + '.none', says=key)
        self.assert_refused(site, '--listen', listen, '--cert', key + '.pem', '--key', other, says=other)
        self.assert_refused(site, '--key', key, says='--cert')
        self.assert_refused(site, '--cert', key + '.pem', '--write-cert', ca, says='--write-cert')
        self.assert_refused(site, '--write-cert', site + '/none/ca', says='No such file or directory')
        os.mkfifo(WORLD.path / 'fifo')
        self.assert_refused(site, '--write-cert', str(WORLD.path / 'fifo'), says='nobody reads')
        self.assert_refused(site, '--key-type', 'dsa', says='dsa')
        self.assert_refused(site, '--threads', '0', says='0')
        self.assert_refused(site, '--min-tls', '1.3', '--max-tls', '1.2', says='--min-tls')

    def test_a_port_in_use_is_one_line_and_status_2(self):
        with Server(WORLD) as server:
            self.assert_refused(str(WORLD.site), '--listen', f'127.0.0.1:{server.port}',
                                says='Address already in use')
        with Server(WORLD, '--threads', '2') as server:
            self.assert_refused(str(WORLD.site), '--listen', f'127.0.0.1:{server.port}', '--threads', '2',
                                says='Address already in use')

    def test_localhost_and_names(self):
        with Server(WORLD, '--listen', 'localhost:0', '--name', 'files.example') as server:
            done = server.curl('', '--resolve', f'files.example:{server.port}:127.0.0.1',
                               f'https://files.example:{server.port}/small.txt')
            self.assertIn(b'0123456789', done.stdout, done.stderr)

    def own_certificate(self, folder, names='DNS:localhost,IP:127.0.0.1'):
        key, cert = str(folder / 'own.key'), str(WORLD.path / 'own.pem')
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                        '-subj', '/CN=x', '-addext', f'subjectAltName={names}', '-keyout', key, '-out', cert],
                       check=True, capture_output=True)
        return '--cert', cert, '--key', key

    def test_the_key_is_kept(self):
        with Server(WORLD, *self.own_certificate(WORLD.site)) as server:
            os.chmod(WORLD.site / 'own.key', 0o644)
            self.assertIn('is in the folder that is served', server.stderr())
            self.assertNotIn('open to others', server.stderr())
            done = server.curl('/own.key', ca=WORLD.path / 'own.pem')
            self.assertIn(b'404 Not Found', done.stdout, done.stderr)
        options = self.own_certificate(WORLD.path)
        os.chmod(WORLD.path / 'own.key', 0o604)
        with Server(WORLD, *options) as server:
            self.assertIn('open to others (mode 0604)', server.stderr())
        os.remove(WORLD.site / 'own.key')

    def test_a_certificate_for_other_names_is_told(self):
        options = self.own_certificate(WORLD.path)
        with Server(WORLD, *options, '--name', 'localhost', '--name', 'files.example') as server:
            self.assertEqual(server.stderr().count('\n'), 1, server.stderr())
            self.assertIn('is not for files.example', server.stderr())

    def test_hanging_up_is_no_end(self):
        with Server(WORLD) as server:
            server.process.send_signal(signal.SIGHUP)
            connection = server.http()
            self.assertEqual(server.get(connection)[0], 200)
            connection.close()
            self.assertEqual(server.stop(), 0)

    def test_grace_can_be_set(self):
        with Server(WORLD, '--grace', '0.05') as server:
            stalled = server.tls()
            stalled.sendall(b'GET /big HTTP/1.1\r\nHost: x\r\n\r\n')
            stalled.recv(1)
            self.assertEqual(server.stop(), 0)
            stalled.close()

    def test_a_log_that_nobody_reads_stops_nobody(self):
        with Server(WORLD, '--access-log', log_pipe=True) as server:
            connection = server.http()
            for _ in range(200):
                self.assertEqual(server.get(connection, '/' + 'x' * 7000)[0], 404)
            connection.close()
            self.assertEqual(server.stop(), 0)

    def test_failed_handshakes_can_be_logged(self):
        with Server(WORLD, '--handshake-log') as server:
            with server.tcp() as connection:
                connection.sendall(b'\x15\x03\x01\x00\x02\x02\x28')
                read_all(connection)
            self.assertEqual(server.stop(), 0)
            self.assertRegex(server.stderr(), r'^127\.0\.0\.1:\d+ \[.* GMT\] handshake failed: .+\n$')

    def test_keys_are_logged_where_sslkeylogfile_says(self):
        log = WORLD.path / 'server.keys'
        with Server(WORLD, environment={**os.environ, 'SSLKEYLOGFILE': str(log)}) as server:
            self.assertEqual(server.curl('/small.txt').stdout, b'0123456789')
            self.assertEqual(server.stop(), 0)
            self.assertIn(f'SSLKEYLOGFILE is set; who reads {log}', server.stderr())
        self.assertRegex(log.read_text(), r'(?m)^CLIENT_TRAFFIC_SECRET_0 ')

    def test_the_fingerprint_is_the_certificate_s(self):
        with Server(WORLD) as server:
            pem = server.ca.read_text()
            digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest().upper()
            line = server.process.stdout.readline()
            self.assertIn(':'.join(digest[i:i + 2] for i in range(0, 64, 2)), line)

    def test_help_tells_the_exit_status(self):
        done = subprocess.run([PROGRAM, 'serve', '--help'], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0)
        self.assertIn('Exit status', done.stdout)

    def test_a_signal_lets_requests_finish_and_closes_idle_connections(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with Server(WORLD) as server:
                idle = server.http()
                self.assertEqual(server.get(idle)[0], 200)
                busy = server.http()
                busy.request('GET', '/big')
                answer = busy.getresponse()
                received = answer.read(1000)
                server.process.send_signal(number)
                self.assertEqual(idle.sock.recv(1), b'')  # Closed, with close_notify.
                self.assertTrue(self.refuses_connections(server))
                received += answer.read()
                self.assertEqual(len(received), WORLD.BIG_BYTES)
                self.assertEqual(server.wait(), 0, server.stderr())
                idle.close()
                busy.close()

    def test_a_second_signal_ends_it_at_once(self):
        with Server(WORLD) as server:
            stalled = server.tls()
            stalled.sendall(b'GET /big HTTP/1.1\r\nHost: x\r\n\r\n')
            stalled.recv(1)
            server.process.send_signal(signal.SIGTERM)
            wait_until(lambda: self.refuses_connections(server), 'it stops listening')
            self.assertEqual(server.stop(), 128 + signal.SIGTERM)
            stalled.close()

    def test_a_signal_lists_the_fibers_of_every_thread(self):
        with Server(WORLD, '--threads', '2') as server:
            idle = server.http()
            self.assertEqual(server.get(idle)[0], 200)
            host, port = idle.sock.getsockname()
            server.process.send_signal(signal.SIGUSR1)
            connection = rf"'connection', .* waits to read from descriptor \d+ \({host}:{port}\), .* s left"
            wait_until(lambda: re.search(connection, server.stderr()), 'the connection is listed')
            listening = rf"'accept', .* waits to read from descriptor \d+ \({host}:{server.port}\)$"
            wait_until(lambda: len(re.findall(listening, server.stderr(), re.M)) == 2, 'both threads are')
            self.assertEqual(server.get(idle)[0], 200)
            idle.close()
            self.assertEqual(server.stop(), 0)

    @staticmethod
    def refuses_connections(server):
        try:
            server.tcp().close()
            return False
        except ConnectionError:
            return True

    def test_several_threads_share_a_port_and_end_together(self):
        with Server(WORLD, '--threads', '3') as server:
            for _ in range(30):
                connection = server.http()
                self.assertEqual(server.get(connection)[0], 200)
                connection.close()
            self.assertEqual(server.stop(), 0, server.stderr())

    def test_the_access_log_is_one_escaped_line_per_request(self):
        with Server(WORLD, '--access-log') as server:
            server.exchange(b'GET /small.txt HTTP/1.0\r\n\r\n')
            server.exchange(b'GET /"\xc3\xa4 HTTP/1.0\r\n\r\n')
            self.assertEqual(server.stop(), 0)
            lines = server.stderr().splitlines()
            self.assertEqual(len(lines), 2, lines)
            self.assertRegex(lines[0], r'^127\.0\.0\.1:\d+ \[.* GMT\] "GET /small\.txt" 200 10$')
            self.assertIn(r'"GET /\x22\xc3\xa4" 404', lines[1])


if __name__ == '__main__':
    unittest.main(verbosity=2)
