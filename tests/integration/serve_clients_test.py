"""What `heddle serve` negotiates and with whom: clients with certificates, CRLs, several certificates of its own,
ciphers and groups."""

import signal
import ssl
import subprocess
import unittest

from connect_support import Certificates
from serve_support import PATIENCE, PROGRAM, Server, World, read_all, wait_until

WORLD = None
CERTIFICATES = None

CA_CONFIG = """
[ca]
default_ca = this
[this]
database = index.txt
default_md = sha256
default_crl_days = 2
"""

GET = b'GET /small.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'


class SmallWorld(World):
    BIG_BYTES = 0


def setUpModule():
    global WORLD, CERTIFICATES
    WORLD = SmallWorld()
    CERTIFICATES = Certificates(WORLD.path)
    CERTIFICATES.make('second', 'client', 'ecdsa', 'ca', 'second, "quoted"')
    CERTIFICATES.make('stranger', 'client', 'ecdsa', 'other')
    (WORLD.path / 'ca.cnf').write_text(CA_CONFIG)
    (WORLD.path / 'index.txt').write_text('')
    make_crl('none.crl')
    openssl('ca', '-config', 'ca.cnf', '-keyfile', 'ca.key', '-cert', 'ca.pem', '-revoke', 'client.pem')
    make_crl('client.crl')


def tearDownModule():
    WORLD.remove()


def openssl(*arguments):
    subprocess.run(['openssl', *arguments], cwd=WORLD.path, check=True, capture_output=True)


def make_crl(name):
    openssl('ca', '-config', 'ca.cnf', '-keyfile', 'ca.key', '-cert', 'ca.pem', '-gencrl', '-out', name)


def client_context(certificate=None, version=None, ca='ca.pem'):
    context = ssl.create_default_context(cafile=CERTIFICATES[ca])
    if certificate:
        context.load_cert_chain(CERTIFICATES[certificate + '.pem'], CERTIFICATES[certificate + '.key'])
    if version:
        context.minimum_version = context.maximum_version = version
    return context


class Served(unittest.TestCase):

    def serve(self, *options):
        server = Server(WORLD, '--cert', CERTIFICATES['ecdsa-chain.pem'], '--key', CERTIFICATES['ecdsa.key'],
                        '--access-log', *options)
        self.addCleanup(server.__exit__)
        return server

    def exchange(self, server, context, session=None):
        """Returns what comes for GET, whether it was resumed, and the session."""
        with server.tcp() as plain:
            with context.wrap_socket(plain, server_hostname='localhost', session=session) as tls:
                tls.sendall(GET)
                received = read_all(tls)
                return received, tls.session_reused, tls.session

    def is_served(self, server, certificate=None, version=None):
        try:
            return self.exchange(server, client_context(certificate, version))[0].endswith(b'0123456789')
        except (ssl.SSLError, ConnectionError):
            return False

    def assert_refused(self, *options, says):
        done = subprocess.run([PROGRAM, 'serve', str(WORLD.site), '--listen', '127.0.0.1:0', *options],
                              capture_output=True, text=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertEqual(done.stderr.count('\n'), 1, done.stderr)
        self.assertTrue(done.stderr.startswith('heddle serve: '), done.stderr)
        self.assertIn(says, done.stderr)
        self.assertEqual(done.stdout, '')


class Clients(Served):

    def test_without_client_ca_nobody_is_asked(self):
        server = self.serve()
        self.assertTrue(self.is_served(server, 'stranger'))
        self.assertEqual(server.stop(), 0)
        self.assertNotIn('client', server.stderr())

    def test_a_certificate_is_required_unless_it_is_optional(self):
        for options, without in (((), False), (('--client-auth', 'required'), False),
                                 (('--client-auth', 'optional'), True)):
            server = self.serve('--client-ca', CERTIFICATES['ca.pem'], *options)
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                with self.subTest(options=options, version=version):
                    self.assertEqual(self.is_served(server, None, version), without)
                    self.assertFalse(self.is_served(server, 'stranger', version))
                    self.assertTrue(self.is_served(server, 'client', version))
            self.assertEqual(server.stop(), 0)

    def test_the_access_log_names_the_client(self):
        server = self.serve('--client-ca', CERTIFICATES['ca.pem'], '--client-auth', 'optional')
        for certificate in (None, 'client', 'second'):
            self.assertTrue(self.is_served(server, certificate))
        context = client_context('client', ssl.TLSVersion.TLSv1_2)
        session = self.exchange(server, context)[2]
        self.assertTrue(self.exchange(server, context, session)[1], 'resumed')
        self.assertEqual(server.stop(), 0)
        lines = [line for line in server.stderr().splitlines() if '/small.txt' in line]
        known = '200 10 client "CN=heddle test client"'
        self.assertEqual([line[line.index('200'):] for line in lines],
                         ['200 10', known, r'200 10 client "CN=second\x5c, \x5c\x22quoted\x5c\x22"', known, known])

    def test_clients_are_told_which_authorities_are_trusted(self):
        server = self.serve('--client-ca', CERTIFICATES['ca.pem'])
        done = subprocess.run(['openssl', 's_client', '-connect', f'127.0.0.1:{server.port}', '-tls1_2'],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
        self.assertIn('Acceptable client certificate CA names\nCN = heddle test ca\n', done.stdout)

    def test_a_revoked_certificate_is_refused(self):
        server = self.serve('--client-ca', CERTIFICATES['ca.pem'], '--crl', CERTIFICATES['client.crl'])
        self.assertFalse(self.is_served(server, 'client'))
        self.assertTrue(self.is_served(server, 'second'))

    def test_what_cannot_be_used_is_one_line_and_status_2(self):
        ca, key = CERTIFICATES['ca.pem'], CERTIFICATES['ca.key']
        self.assert_refused('--client-ca', CERTIFICATES['none.pem'], says='none.pem')
        self.assert_refused('--client-ca', key, says='ca.key')
        self.assert_refused('--client-ca', ca, '--crl', key, says='ca.key')
        self.assert_refused('--client-ca', ca, '--client-auth', 'perhaps', says='--client-auth')
        self.assert_refused('--crl', CERTIFICATES['none.crl'], says='--client-ca')
        self.assert_refused('--client-auth', 'optional', says='--client-ca')
        self.assert_refused('--client-ca', '', says='--client-ca')
        self.assert_refused('--client-ca', ca, '--crl', '', says='--crl')


class Renewal(Served):
    """The files of --client-ca and --crl are replaced while it runs."""

    def setUp(self):
        self.ca, self.crl = WORLD.path / 'live-ca.pem', WORLD.path / 'live.crl'
        self.put(self.ca, 'ca.pem')
        self.put(self.crl, 'none.crl')

    def put(self, path, name):
        new = path.with_suffix('.new')
        new.write_text(CERTIFICATES.read(name))
        new.rename(path)

    def reload(self, server, says='were read anew'):
        told = server.stderr().count(says)
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.stderr().count(says) > told, f'it says {says!r}')

    def test_hanging_up_reads_crls_anew(self):
        server = self.serve('--client-ca', str(self.ca), '--crl', str(self.crl), '--threads', '2')
        self.assertTrue(self.is_served(server, 'client'))
        self.put(self.crl, 'client.crl')
        self.reload(server)
        self.assertFalse(self.is_served(server, 'client'))
        self.assertTrue(self.is_served(server, 'second'))
        self.assertEqual(server.stop(), 0)

    def test_a_change_is_noticed_without_a_signal(self):
        server = self.serve('--client-ca', str(self.ca), '--crl', str(self.crl))
        self.put(self.crl, 'client.crl')
        wait_until(lambda: not self.is_served(server, 'client'), 'the new CRL is in use')
        self.put(self.ca, 'other.pem')
        wait_until(lambda: not self.is_served(server, 'second'), 'the new CA is in use')

    def test_what_cannot_be_used_leaves_what_is_in_use(self):
        server = self.serve('--client-ca', str(self.ca), '--crl', str(self.crl))
        for path, name in ((self.crl, 'client.key'), (self.ca, 'client.key')):
            self.put(path, name)
            self.reload(server, 'goes on with the old ones')
            self.assertTrue(self.is_served(server, 'client'))
        self.assertIn(str(self.crl), server.stderr())

    def test_a_session_is_resumed_only_under_the_same_rules(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            with self.subTest(version=version):
                self.setUp()
                server = self.serve('--client-ca', str(self.ca), '--crl', str(self.crl))
                context = client_context('client', version)
                session = self.exchange(server, context)[2]
                self.reload(server)
                _, resumed, session = self.exchange(server, context, session)
                self.assertTrue(resumed, 'nothing has changed')
                self.put(self.crl, 'client.crl')
                self.reload(server)
                with self.assertRaises((ssl.SSLError, ConnectionError)):
                    self.exchange(server, context, session)

    def test_the_rest_stays_as_the_options_say(self):
        server = self.serve('--client-ca', str(self.ca), '--ciphersuites', 'TLS_AES_128_GCM_SHA256',
                            '--ciphers', 'ECDHE-ECDSA-CHACHA20-POLY1305', '--groups', 'P-384:P-256')
        for _ in range(2):
            for version, cipher in ((ssl.TLSVersion.TLSv1_2, 'ECDHE-ECDSA-CHACHA20-POLY1305'),
                                    (ssl.TLSVersion.TLSv1_3, 'TLS_AES_128_GCM_SHA256')):
                with server.tls(client_context('client', version)) as tls:
                    self.assertEqual(tls.cipher()[0], cipher)
            self.reload(server)


class Certificate(Served):
    """Several certificates of its own, as one set."""

    RSA, ECDSA = 'ECDHE-RSA-AES128-GCM-SHA256', 'ECDHE-ECDSA-AES128-GCM-SHA256'

    def shown(self, server, cipher):
        """The common name that a client sees that can use this cipher alone."""
        context = client_context(version=ssl.TLSVersion.TLSv1_2)
        context.set_ciphers(cipher)
        with server.tls(context) as tls:
            return tls.getpeercert()['subject'][0][0][1]

    def pairs(self, *names):
        options = []
        for name in names:
            options += ['--cert', CERTIFICATES[f'{name}-chain.pem'], '--key', CERTIFICATES[f'{name}.key']]
        return options

    def test_each_client_is_shown_the_one_that_it_can_use(self):
        with Server(WORLD, *self.pairs('rsa', 'ecdsa')) as server:
            self.assertEqual(self.shown(server, self.RSA), 'heddle test rsa')
            self.assertEqual(self.shown(server, self.ECDSA), 'heddle test ecdsa')

    def test_keys_may_be_in_the_certificates_files(self):
        options = []
        for name in ('rsa', 'ecdsa'):
            both = WORLD.path / f'{name}-both.pem'
            both.write_text(CERTIFICATES.read(f'{name}-chain.pem') + CERTIFICATES.read(f'{name}.key'))
            options += ['--cert', str(both)]
        with Server(WORLD, *options) as server:
            self.assertEqual(self.shown(server, self.RSA), 'heddle test rsa')
            self.assertEqual(self.shown(server, self.ECDSA), 'heddle test ecdsa')

    def test_each_is_renewed(self):
        options = []
        for name in ('rsa', 'ecdsa'):
            for end in ('pem', 'key'):
                source = f'{name}-chain.pem' if end == 'pem' else f'{name}.key'
                (WORLD.path / f'live-{name}.{end}').write_text(CERTIFICATES.read(source))
            options += ['--cert', CERTIFICATES[f'live-{name}.pem'], '--key', CERTIFICATES[f'live-{name}.key']]
        CERTIFICATES.make('renewed', 'server', 'ecdsa', 'ca')
        with Server(WORLD, *options) as server:
            for end in ('key', 'pem'):
                (WORLD.path / f'live-ecdsa.{end}').write_text(CERTIFICATES.read(f'renewed.{end}'))
            wait_until(lambda: self.shown(server, self.ECDSA) == 'heddle test renewed', 'the new one is shown')
            self.assertEqual(self.shown(server, self.RSA), 'heddle test rsa')

    def test_no_key_is_served(self):
        options = []
        for name in ('rsa', 'ecdsa'):
            key = WORLD.site / f'{name}.key'
            key.write_text(CERTIFICATES.read(f'{name}.key'))
            self.addCleanup(key.unlink)
            options += ['--cert', CERTIFICATES[f'{name}-chain.pem'], '--key', str(key)]
        with Server(WORLD, *options) as server:
            server.ca = CERTIFICATES['ca.pem']
            for name in ('rsa', 'ecdsa'):
                self.assertIn(b' 404 ', server.curl(f'/{name}.key', '--include').stdout.splitlines()[0] + b' ')
                self.assertIn(f'the key {WORLD.site}/{name}.key is in the folder', server.stderr())

    def test_what_cannot_be_used_together_is_told(self):
        CERTIFICATES.make('twin', 'server', 'ecdsa', 'ca')
        self.assert_refused(*self.pairs('ecdsa'), '--cert', CERTIFICATES['twin.pem'], '--key',
                            CERTIFICATES['twin.key'], says='each --cert must be for another type of key')
        self.assert_refused(*self.pairs('ecdsa'), '--cert', CERTIFICATES['rsa.pem'],
                            says='2 --cert, but 1 --key')
        self.assert_refused(*self.pairs('ecdsa'), '--cert', CERTIFICATES['rsa.pem'], '--key',
                            CERTIFICATES['twin.key'], says='twin.key')
        self.assert_refused('--cert', '', says='--cert')


class Negotiation(Served):

    def s_client(self, server, *options):
        done = subprocess.run(['openssl', 's_client', '-connect', f'127.0.0.1:{server.port}', *options],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
        return done.stdout

    def test_groups_are_those_of_the_option(self):
        server = self.serve('--groups', '?no-such-group:P-384')
        self.assertIn('Server Temp Key: ECDH, secp384r1', self.s_client(server).replace('P-384', 'secp384r1'))
        self.assertIn('no peer certificate available', self.s_client(server, '-groups', 'X25519'))

    def test_ciphers_are_those_of_the_options(self):
        server = self.serve('--ciphers', 'ECDHE+CHACHA20', '--ciphersuites',
                            'TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256')
        with server.tls(client_context(version=ssl.TLSVersion.TLSv1_2)) as tls:
            self.assertEqual(tls.cipher()[0], 'ECDHE-ECDSA-CHACHA20-POLY1305')
        self.assertIn('TLS_AES_128_GCM_SHA256', self.s_client(server, '-ciphersuites', 'TLS_AES_128_GCM_SHA256'))
        self.assertIn('no peer certificate available',
                      self.s_client(server, '-tls1_3', '-ciphersuites', 'TLS_AES_256_GCM_SHA384'))

    def test_what_cannot_be_used_is_one_line_and_status_2(self):
        for option in ('--groups', '--ciphers', '--ciphersuites'):
            self.assert_refused(option, 'bogus', says=f'cannot use {option} bogus')
            self.assert_refused(option, '', says=option)
        self.assert_refused('--ciphers', 'AES', '--min-tls', '1.3', says='--ciphers is without effect')
        self.assert_refused('--ciphersuites', 'TLS_AES_128_GCM_SHA256', '--max-tls', '1.2',
                            says='--ciphersuites is without effect')


if __name__ == '__main__':
    unittest.main()
