"""Certificates of `heddle serve` that are renewed while it runs."""

import hashlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import unittest

import serve_support
from serve_support import PATIENCE, Server, wait_until

WORLD = None
REPLACEMENTS = int(os.environ.get('HEDDLE_REPLACEMENTS', '40'))


def setUpModule():
    global WORLD
    WORLD = serve_support.World()


def tearDownModule():
    WORLD.remove()


class Pair:
    """A certificate and its key, and where they are."""

    made = 0

    def __init__(self, days='30'):
        Pair.made += 1
        self.cert = WORLD.path / f'pair-{Pair.made}.pem'
        self.key = WORLD.path / f'pair-{Pair.made}.key'
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
                        '-nodes', '-subj', f'/CN=pair {Pair.made}', '-days', days,
                        '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1',
                        '-keyout', self.key, '-out', self.cert], check=True, capture_output=True)

    def digest(self):
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.cert.read_text())).digest()


def put(text, path):
    """As careful programs replace a file."""
    new = path.with_suffix('.new')
    new.write_text(text)
    os.rename(new, path)


class Reload(unittest.TestCase):

    def setUp(self):
        self.cert, self.key = WORLD.path / 'live.pem', WORLD.path / 'live.key'
        self.first = Pair()
        shutil.copy(self.first.cert, self.cert)
        shutil.copy(self.first.key, self.key)

    def serve(self, *options):
        return Server(WORLD, '--cert', str(self.cert), '--key', str(self.key), *options)

    def shown(self, server):
        context = ssl._create_unverified_context()
        with socket.create_connection(('127.0.0.1', server.port), PATIENCE) as plain:
            with context.wrap_socket(plain, server_hostname='localhost') as tls:
                return hashlib.sha256(tls.getpeercert(binary_form=True)).digest()

    def replace(self, pair):
        put(pair.key.read_text(), self.key)
        put(pair.cert.read_text(), self.cert)

    def wait_for(self, server, pair):
        wait_until(lambda: self.shown(server) == pair.digest(), 'the new certificate is shown')

    def test_a_renewed_certificate_is_shown_by_all_threads(self):
        with self.serve('--threads', '2') as server:
            self.assertEqual(self.shown(server), self.first.digest())
            second = Pair()
            self.replace(second)
            self.wait_for(server, second)
            wait_until(lambda: 'the certificate was read anew' in server.stderr(), 'it is told')
            self.assertEqual({self.shown(server) for _ in range(8)}, {second.digest()})
            self.assertEqual(server.stop(), 0)

    def test_a_connection_stays_as_it_is(self):
        with self.serve() as server:
            server.ca = self.first.cert
            connection = server.http()
            self.assertEqual(server.get(connection)[0], 200)
            second = Pair()
            self.replace(second)
            self.wait_for(server, second)
            self.assertEqual(server.get(connection)[0], 200)
            connection.close()

    def test_what_cannot_be_used_leaves_the_old_one(self):
        with self.serve() as server:
            other = Pair()
            half = other.cert.read_text()
            for bad in (other.cert.read_text(), half[:len(half) // 2], ''):
                told = server.stderr().count('cannot use the new certificate')
                put(bad, self.cert)
                wait_until(lambda: server.stderr().count('cannot use the new certificate') > told,
                           'the refusal is told')
                self.assertEqual(self.shown(server), self.first.digest())
            self.replace(other)
            self.wait_for(server, other)

    def test_hanging_up_reads_it_at_once(self):
        with self.serve() as server:
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: 'the certificate was read anew' in server.stderr(), 'it is told')
            self.assertEqual(server.stop(), 0)

    def test_an_end_that_is_near_is_told(self):
        soon = Pair(days='3')
        self.replace(soon)
        with self.serve() as server:
            wait_until(lambda: 'only; renew it' in server.stderr(), 'it is told')

    @unittest.skipUnless(shutil.which('wrk'), 'no wrk here')
    def test_replaced_under_load(self):
        """A fifth of what it is replaced by is broken: no request fails, and nothing mixed is shown."""
        pairs = [Pair() for _ in range(3)]
        with self.serve('--threads', '2') as server:
            load = subprocess.Popen(['wrk', '-c', '64', '-t', '1', '-d', str(PATIENCE * 20),
                                     server.url + '/small.txt'], stdout=subprocess.PIPE, text=True)
            try:
                good = self.first
                for i in range(REPLACEMENTS):
                    if i % 5 == 4:
                        put(pairs[(i + 1) % 3].key.read_text(), self.key)  # Another's.
                        self.assertEqual(self.shown(server), good.digest())
                    else:
                        good = pairs[i % 3]
                        self.replace(good)
                        self.wait_for(server, good)
            finally:
                load.send_signal(signal.SIGINT)
                report = load.communicate(timeout=PATIENCE)[0]
            self.assertRegex(report, r'\d+ requests in')
            self.assertNotIn('Socket errors', report)
            self.assertNotIn('Non-2xx', report)
            self.assertEqual(server.stop(), 0)


if __name__ == '__main__':
    unittest.main()
