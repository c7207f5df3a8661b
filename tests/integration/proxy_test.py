#!/usr/bin/python3
"""heddle connect through an HTTPS proxy: tinyproxy, to which stunnel lends TLS.

usage: proxy_test.py [HEDDLE] [unittest arguments]; without HEDDLE, $HEDDLE_PROGRAM is run.
Neither of them can be told to take any free port and say which: one is looked up, and another one
tried if somebody else was faster.
"""

import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import connect_support
from connect_support import TIMEOUT, ConnectTestCase, Server, say, echo, tcp_listener

TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 60
LogLevel Error
Allow 127.0.0.1
{extra}
"""

STUNNEL = """
foreground = yes
pid =
syslog = no
[proxy]
accept = 127.0.0.1:{port}
connect = 127.0.0.1:{below}
cert = {cert}
key = {key}
"""


def start_on_a_free_port(case: unittest.TestCase, command) -> int:
    """Starts `command(port)` until one listens on the port; returns that."""
    for _ in range(10):
        with tcp_listener() as bound:
            port = bound.getsockname()[1]
        process = subprocess.Popen(command(port), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        case.addCleanup(process.wait)
        case.addCleanup(process.kill)
        deadline = time.monotonic() + TIMEOUT
        while process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(('127.0.0.1', port), TIMEOUT).close()
                return port
            except ConnectionRefusedError:
                time.sleep(0.01)  # Not yet: there is nothing to wait on.
        process.kill()
    raise AssertionError(f'{command(0)[0]} does not listen')


@unittest.skipUnless(shutil.which('stunnel4') and shutil.which('tinyproxy'),
                     'stunnel4 or tinyproxy is not installed')
class ProxyTest(ConnectTestCase):
    def start_proxy(self, extra: str = '') -> int:
        """Returns the port of a new proxy that speaks HTTPS."""
        with tempfile.NamedTemporaryFile(dir=self.folder.name, delete=False) as file:
            configuration = pathlib.Path(file.name)

        def tinyproxy(port: int) -> list:
            configuration.write_text(TINYPROXY.format(port=port, extra=extra))
            return ['tinyproxy', '-d', '-c', str(configuration)]

        below = start_on_a_free_port(self, tinyproxy)
        tls = pathlib.Path(str(configuration) + '.stunnel')

        def stunnel(port: int) -> list:
            tls.write_text(STUNNEL.format(port=port, below=below,
                                          cert=self.certificates['rsa-chain.pem'],
                                          key=self.certificates['rsa.key']))
            return ['stunnel4', str(tls)]

        return start_on_a_free_port(self, stunnel)

    def through(self, port: int, credentials: str = '') -> list:
        return ['--proxy', f'https://{credentials}127.0.0.1:{port}', '--proxy-cafile',
                self.certificates['ca.pem']]

    def test_heddle_serve_is_reached(self) -> None:
        site = pathlib.Path(self.folder.name) / 'site'
        site.mkdir()
        (site / 'big').write_bytes(random.Random(3).randbytes(3_000_000))
        server = subprocess.Popen(
            [connect_support.PROGRAM, 'serve', str(site), '--listen', '127.0.0.1:0', '--cert',
             self.certificates['ecdsa-chain.pem'], '--key', self.certificates['ecdsa.key']],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        found = next(filter(None, (re.search(rb'127\.0\.0\.1:(\d+)', line)
                                   for line in server.stdout)))
        target = '127.0.0.1:%d' % int(found[1])
        proxy = self.start_proxy()
        done = self.run_connect(target, *self.trust(), *self.through(proxy),
                                given=b'GET /big HTTP/1.0\r\n\r\n')
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn(f'{target} through proxy 127.0.0.1:{proxy}', done.stderr.decode())
        self.assertIn('CN=heddle test ecdsa', done.stderr.decode())  # And not the proxy's.
        head, _, body = done.stdout.partition(b'\r\n\r\n')
        self.assertIn(b' 200 ', head)
        self.assertTrue(body == (site / 'big').read_bytes(), f'{len(body)} bytes came')

    def test_openssl_is_reached(self) -> None:
        server = subprocess.Popen(
            ['openssl', 's_server', '-accept', '127.0.0.1:0', '-naccept', '1', '-rev', '-cert',
             self.certificates['ecdsa.pem'], '-key', self.certificates['ecdsa.key']],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        found = next(filter(None, (re.match(rb'ACCEPT .*:(\d+)', line) for line in server.stdout)))
        client = self.start_connect('127.0.0.1:%d' % int(found[1]), *self.trust(), '-q', '--half-close',
                                    *self.through(self.start_proxy()), stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE)
        client.stdin.write(b'heddle\n')
        client.stdin.flush()
        self.assertEqual(b'elddeh\n', client.stdout.readline())
        client.stdin.close()
        self.assertEqual((0, b''), (client.wait(TIMEOUT), client.stderr.read()))
        client.stdout.close()
        client.stderr.close()

    def test_ten_megabytes_pass_unchanged_both_ways_at_once(self) -> None:
        data = random.Random(4).randbytes(10_000_000)
        proxy = self.start_proxy()
        for version in connect_support.VERSIONS:
            with self.subTest(version=version), self.server(echo, version=version) as server:
                done = self.run_connect(server.target, *self.trust(), '-q', '--half-close',
                                        *self.through(proxy), given=data)
                self.assertEqual((0, b''), (done.returncode, done.stderr))
                self.assertTrue(data == done.stdout, f'{len(done.stdout)} bytes came back')

    def test_credentials_are_sent(self) -> None:
        proxy = self.start_proxy('BasicAuth user secret')
        with self.server(say(b'hello')) as server:
            done = self.run_connect(server.target, *self.trust(), '-q',
                                    *self.through(proxy, 'user:secret@'))
        self.assertEqual((0, b'hello'), (done.returncode, done.stdout), done.stderr)
        for wrong in ('', 'user:guess@'):
            done = self.run_connect('127.0.0.1:1', *self.through(proxy, wrong))
            self.assert_fails(done, 2, f'proxy 127.0.0.1:{proxy}', 'the proxy answers 40')

    def test_refusals_and_dead_origins_are_one_line(self) -> None:
        with tcp_listener() as bound:  # And never listens.
            port = bound.getsockname()[1]
            done = self.run_connect(f'127.0.0.1:{port}', *self.through(self.start_proxy()))
            self.assert_fails(done, 1, 'proxy 127.0.0.1:', 'the proxy answers 50')
        done = self.run_connect('127.0.0.1:1', *self.through(self.start_proxy('ConnectPort 443')))
        self.assert_fails(done, 2, 'the proxy answers 403')

    def test_proxy_and_origin_must_each_be_trusted(self) -> None:
        proxy = self.start_proxy()
        with self.server(say(b'secret')) as server:
            done = self.run_connect(server.target, *self.through(proxy), '--cafile',
                                    self.certificates['other.pem'])
        self.assert_fails(done, 1, server.target, 'not trusted')
        self.assertRegex(str(server.error), 'UNKNOWN_CA')  # Told through the tunnel.
        done = self.run_connect('127.0.0.1:1', '--proxy', f'https://127.0.0.1:{proxy}',
                                '--proxy-cafile', self.certificates['other.pem'], *self.trust())
        self.assert_fails(done, 1, f'proxy 127.0.0.1:{proxy}', 'not trusted')

    def test_cut_origin_is_truncated(self) -> None:
        def cut(stream) -> None:
            stream.sendall(b'half of it')
            stream.shutdown(socket.SHUT_RDWR)

        with self.server(cut) as server:
            done = self.run_connect(server.target, *self.trust(), '-q',
                                    *self.through(self.start_proxy()))
        self.assert_fails(done, 1, 'may be cut short')
        self.assertEqual(b'half of it', done.stdout)

    def test_unusable_proxies_are_one_line_and_status_2(self) -> None:
        for url in ('http://localhost:1', 'localhost:1', 'https://', 'https://user@localhost:1',
                    'https://localhost', 'https://unix:/x'):
            with self.subTest(url=url):
                done = self.run_connect('127.0.0.1:1', '--proxy', url)
                self.assert_fails(done, 2, '--proxy', 'HOST:PORT')
        self.assert_fails(self.run_connect('unix:/x', '--proxy', 'https://localhost:1'), 2,
                          '--proxy')
        self.assert_fails(self.run_connect('127.0.0.1:1', '--proxy', 'https://localhost:1',
                                           '--proxy-cafile', '/nowhere'), 2, '/nowhere')


if __name__ == '__main__':
    if len(sys.argv) > 1 and os.path.isfile(sys.argv[1]):
        connect_support.PROGRAM = sys.argv.pop(1)
    unittest.main()
