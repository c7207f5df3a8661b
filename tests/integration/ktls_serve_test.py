#!/usr/bin/env python3
"""`heddle serve --ktls`: other people's clients get whole files, and the kernel's counters say who encrypted.

Runs under a kernel that has kernel TLS (tests/ktls_vm.sh); elsewhere only the answer "no" is tested.
"""

import pathlib
import re
import subprocess
import tempfile
import unittest

from serve_support import PATIENCE, PROGRAM, Server, World

STAT = pathlib.Path('/proc/net/tls_stat')
HAS_KERNEL_TLS = STAT.exists()


class SmallWorld(World):
    BIG_BYTES = 8_000_000  # In whole blocks of a million.


class StoppedServer(Server):
    """A server whose last words are kept."""

    def stop(self):
        self.process.terminate()
        self.words = self.process.communicate(timeout=PATIENCE)[0]
        return self.process.returncode


def counters():
    return {name: int(value) for name, value in map(str.split, STAT.read_text().splitlines())}


class KtlsServeTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = SmallWorld()
        cls.addClassCleanup(cls.world.remove)
        cls.big = (cls.world.site / 'big').read_bytes()
        cls.middle = cls.big[:500_000]
        (cls.world.site / 'middle').write_bytes(cls.middle)

    def stop(self, server):
        self.assertEqual(server.stop(), 0, server.stderr())
        return server.words

    @unittest.skipUnless(HAS_KERNEL_TLS, 'this kernel has no TLS')
    def test_curl_gets_the_file_that_the_kernel_encrypted(self):
        for version in '1.2', '1.3':
            with self.subTest(version), StoppedServer(self.world, '--ktls', 'on') as server:
                before = counters()
                got = server.curl('/big', f'--tlsv{version}', '--tls-max', version)
                self.assertEqual(got.returncode, 0, got.stderr)
                self.assertTrue(got.stdout == self.big)
                part = server.curl('/big', f'--tlsv{version}', '--tls-max', version,
                                   '--range', '1000-6999999')
                self.assertTrue(part.stdout == self.big[1000:7_000_000])
                after = counters()
                words = self.stop(server)
                self.assertIn('kernel TLS: 2 of 2 connections sent by it', words)
                # The first piece of a file goes out with the head.
                by_sendfile = int(re.search(r'(\d+) bytes by sendfile, 0 copied', words)[1])
                self.assertGreater(by_sendfile, len(self.big))
                self.assertEqual(after['TlsTxSw'] - before['TlsTxSw'], 2)
                self.assertEqual(after['TlsDecryptError'], before['TlsDecryptError'])

    @unittest.skipUnless(HAS_KERNEL_TLS, 'this kernel has no TLS')
    def test_openssl_gets_the_file_whatever_the_cipher(self):
        suites = [('-tls1_3', '-ciphersuites', 'TLS_AES_128_GCM_SHA256'),
                  ('-tls1_3', '-ciphersuites', 'TLS_AES_256_GCM_SHA384'),
                  ('-tls1_3', '-ciphersuites', 'TLS_CHACHA20_POLY1305_SHA256'),
                  ('-tls1_2', '-cipher', 'ECDHE-ECDSA-AES128-GCM-SHA256'),
                  ('-tls1_2', '-cipher', 'ECDHE-ECDSA-AES256-GCM-SHA384'),
                  ('-tls1_2', '-cipher', 'ECDHE-ECDSA-CHACHA20-POLY1305')]
        before = counters()
        with StoppedServer(self.world, '--ktls', 'on') as server:
            for suite in suites:
                with self.subTest(suite[-1]):
                    self.assertTrue(self.s_client(server, '/middle', *suite) == self.middle)
            self.assertTrue(self.s_client(server, '/big', *suites[0]) == self.big)
            self.assertIn('kernel TLS: 7 of 7 connections sent by it', self.stop(server))
        after = counters()
        self.assertEqual(after['TlsTxSw'] - before['TlsTxSw'], 7)
        self.assertEqual(after['TlsDecryptError'], before['TlsDecryptError'])

    @unittest.skipUnless(HAS_KERNEL_TLS, 'this kernel has no TLS')
    def test_where_the_kernel_cannot_automatic_serves_all_the_same(self):
        with StoppedServer(self.world, '--ktls', 'auto') as server:
            got = self.s_client(server, '/middle', '-tls1_2', '-cipher',
                                'ECDHE-ECDSA-AES128-SHA256')
            self.assertTrue(got == self.middle)
            words = self.stop(server)
        self.assertIn('kernel TLS: 0 of 1 connections sent by it', words)
        self.assertIn('1 not sent: kernel TLS: OpenSSL does not hand this cipher', words)

    @unittest.skipUnless(HAS_KERNEL_TLS, 'this kernel has no TLS')
    def test_client_that_asks_for_new_keys_is_never_sent_garbage(self):
        for mode in 'on', 'auto':
            with self.subTest(mode), StoppedServer(self.world, '--ktls', mode) as server:
                got, errors = self.ask_with_new_keys(server, '/middle')
                self.assertNotIn('bad record mac', errors)
                words = self.stop(server)
                if '1 connections ended for a KeyUpdate' in words:
                    self.assertEqual(mode, 'on')
                    self.assertNotIn(b'HTTP/1.1 200', got)
                else:
                    self.assertIn(self.middle, got)

    def ask_with_new_keys(self, server, target):
        """Has s_client update its keys and ask the server for the same, then for a file."""
        with tempfile.TemporaryFile() as output, subprocess.Popen(
                self.s_client_command(server, '-tls1_3'), stdin=subprocess.PIPE, stdout=output,
                stderr=subprocess.PIPE, text=True) as client:
            client.stdin.write('K\n')  # A line that begins with K.
            client.stdin.flush()
            errors = ''
            while 'KEYUPDATE' not in errors:
                line = client.stderr.readline()
                self.assertTrue(line, errors)
                errors += line
            # Input stays open: its end would be the client's.
            client.stdin.write(self.request(target))
            client.stdin.flush()
            errors += client.stderr.read()
            client.wait(PATIENCE)
            output.seek(0)
            return output.read(), errors

    @unittest.skipIf(HAS_KERNEL_TLS, 'this kernel has TLS')
    def test_without_the_module_on_is_refused_and_auto_goes_on(self):
        refused = subprocess.run(
            [PROGRAM, 'serve', str(self.world.site), '--listen', '127.0.0.1:0',
             '--ktls', 'on'], capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(refused.returncode, 2)
        self.assertRegex(refused.stderr, r'^heddle serve: cannot use --ktls on: .*module')
        with StoppedServer(self.world, '--ktls', 'auto') as server:
            self.assertTrue(server.curl('/big').stdout == self.big)
            words = self.stop(server)
        self.assertIn('kernel TLS: the kernel has no module tls', words)
        self.assertIn('kernel TLS: 0 of 1 connections', words)

    @staticmethod
    def request(target):
        return f'GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'

    @staticmethod
    def s_client_command(server, *options):
        return ['openssl', 's_client', '-connect', f'127.0.0.1:{server.port}', '-CAfile',
                str(server.ca), *options]

    def s_client(self, server, target, *options):
        """Returns the body. -quiet also makes s_client wait for the server's end."""
        got = subprocess.run(self.s_client_command(server, '-quiet', *options),
                             input=self.request(target).encode(), capture_output=True,
                             timeout=PATIENCE)
        head, _, body = got.stdout.partition(b'\r\n\r\n')
        self.assertTrue(head.startswith(b'HTTP/1.1 200 OK'), (head, got.stderr))
        return body


if __name__ == '__main__':
    unittest.main(verbosity=2)
