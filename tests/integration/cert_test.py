#!/usr/bin/python3
"""heddle cert make, show and check, with Python's ssl, openssl and `heddle connect` as judges.

usage: cert_test.py [HEDDLE] [unittest arguments]; without HEDDLE, $HEDDLE_PROGRAM is run.
"""

import json
import os
import pathlib
import re
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import unittest

import connect_support
from connect_support import TIMEOUT, Server, say, tcp_listener

BROKEN = {  # --broken KIND: what `check` says, as a regular expression.
    'expired': r'expired \d+ day',
    'not-yet-valid': 'is not valid before',
    'wrong-name': 'is not for a.test: it is for wrong.invalid',
    'self-signed': 'is self-signed and not trusted',
    'unknown-ca': 'the issuer of .* is neither there nor trusted',
    'wrong-usage': 'may not be used by a server',
    'no-aki': 'has no authority key identifier',
    'no-san': 'it is for nobody',
    'bad-signature': 'the signature of .* is wrong',
}


class CertTestCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix='heddle-cert-')
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def path(self, name: str) -> str:
        return str(self.folder / name)

    def cert(self, *arguments: str, given: bytes = b'', **options) -> subprocess.CompletedProcess:
        return subprocess.run([connect_support.PROGRAM, 'cert', *arguments], input=given, timeout=TIMEOUT,
                              capture_output=True, check=False, cwd=self.folder, **options)

    def make(self, *arguments: str) -> str:
        return self.assert_succeeds(self.cert('make', *arguments))

    def openssl(self, *arguments: str, given: bytes = b'') -> bytes:
        return subprocess.run(['openssl', *arguments], cwd=self.folder, check=True, input=given,
                              capture_output=True, timeout=TIMEOUT).stdout

    def assert_succeeds(self, done: subprocess.CompletedProcess) -> str:
        self.assertEqual((0, b''), (done.returncode, done.stderr), done.stdout)
        return done.stdout.decode()

    def assert_refused(self, done: subprocess.CompletedProcess, *words: str, status: int = 2) -> None:
        message = done.stderr.decode()
        self.assertEqual((status, b''), (done.returncode, done.stdout), message)
        self.assertRegex(message, r'\Aheddle cert( make| show| check)?: [^\n]+\n\Z')
        for word in words:
            self.assertIn(word, message)

    def assert_problems(self, done: subprocess.CompletedProcess, *patterns: str) -> None:
        """Checks that `heddle cert check` names these problems, and no others."""
        said = done.stdout.decode()
        self.assertEqual((1, b''), (done.returncode, done.stderr), said)
        problems = re.findall('^  - (.*)$', said, re.MULTILINE)
        self.assertEqual(len(patterns), len(problems), said)
        for pattern in patterns:
            self.assertTrue(any(re.search(pattern, each) for each in problems), f'{pattern}: {said}')


class MakeTest(CertTestCase):
    def strict_client(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.path('ca.pem'))
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        return context

    def server_context(self, name: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path(name + '.pem'), self.path(name + '.key'))
        return context

    def test_python_accepts_it_strictly_with_each_key(self) -> None:
        for kind in ('ecdsa', 'ecdsa384', 'ed25519', 'rsa'):
            with self.subTest(kind=kind):
                self.make('a.test', '127.0.0.1', '--key-type', kind, '--force')
                with Server(tcp_listener(), say(b'hello'), self.server_context('a.test')) as server:
                    port = int(server.target.split(':')[1])
                    tcp = socket.create_connection(('127.0.0.1', port), TIMEOUT)
                    with self.strict_client().wrap_socket(tcp, server_hostname='a.test') as stream:
                        self.assertEqual(b'hello', stream.recv(100))
                        stream.unwrap()

    def test_what_it_says_to_do_next_works(self) -> None:
        said = self.make()
        self.assertIn('heddle serve . --cert localhost.pem --key localhost.key', said)
        check = re.search('heddle cert (check .*)', said)[1].split()
        self.assert_succeeds(self.cert(*check))
        with Server(tcp_listener(), say(b'hello'), self.server_context('localhost')) as server:
            port = server.target.split(':')[1]
            found = re.search('curl (--cacert .*)', said)[1].replace('8443', port)
            done = subprocess.run(['curl', '--http0.9', '-sS', *found.split()], cwd=self.folder, timeout=TIMEOUT,
                                  capture_output=True, check=False)
        self.assertEqual((0, b'hello'), (done.returncode, done.stdout), done.stderr)

    def test_keys_are_private_whatever_the_umask(self) -> None:
        before = os.umask(0)
        try:
            self.make('a.test')
        finally:
            os.umask(before)
        for name in ('ca.key', 'a.test.key'):
            self.assertEqual(0o600, (self.folder / name).stat().st_mode & 0o777, name)

    def test_nothing_is_overwritten_without_force(self) -> None:
        self.make('a.test')
        before = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        for arguments in (['a.test'], ['--ca']):
            self.assert_refused(self.cert('make', *arguments), 'is there already', '--force')
        (self.folder / 'a.test.pem').unlink()
        self.assert_refused(self.cert('make', 'a.test'), 'a.test.key is there already')
        del before['a.test.pem']
        self.assertEqual(before, {path.name: path.read_bytes() for path in self.folder.iterdir()})
        self.make('a.test', '--force')
        self.assertNotEqual(before['a.test.key'], (self.folder / 'a.test.key').read_bytes())
        self.assertEqual(before['ca.key'], (self.folder / 'ca.key').read_bytes())
        self.assertEqual(0o600, (self.folder / 'a.test.key').stat().st_mode & 0o777)
        self.make('--ca', '--force')
        self.assertNotEqual(before['ca.key'], (self.folder / 'ca.key').read_bytes())
        self.assertFalse([path for path in self.folder.iterdir() if path.suffix == '.new'])

    def test_links_are_not_written_through(self) -> None:
        victim = self.folder / 'victim'
        (self.folder / 'a.test.key').symlink_to(victim)
        self.assert_refused(self.cert('make', 'a.test'), 'is there already')
        self.make('a.test', '--force')
        self.assertFalse(victim.exists())

    def test_full_disk_leaves_all_as_it_was(self) -> None:
        self.make('a.test')
        before = {path.name: path.read_bytes() for path in self.folder.iterdir()}

        def limit() -> None:  # A key is shorter, a chain is not.
            resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
        for arguments in (['b.test'], ['a.test', '--force'], ['--ca', '--force']):
            # SIGXFSZ stays ignored, as Python has it: so writing fails.
            done = self.cert('make', *arguments, preexec_fn=limit, restore_signals=False)
            self.assert_refused(done, 'cannot write', '.pem: File too large')
            self.assertEqual(before, {path.name: path.read_bytes() for path in self.folder.iterdir()})

    def test_one_authority_signs_all(self) -> None:
        self.assertIn('made the authority', self.make('a.test', '--folder', 'new/folder'))
        self.assertNotIn('made the authority', self.make('*.b.test', '--folder', 'new/folder'))
        for name, host in (('a.test', 'a.test'), ('_wildcard.b.test', 'x.b.test')):
            self.assert_succeeds(self.cert('check', f'new/folder/{name}.pem', '--key', f'new/folder/{name}.key',
                                           '--name', host, '--cafile', 'new/folder/ca.pem'))

    def test_clients_are_for_clients(self) -> None:
        self.make('spiffe://a.test/worker', 'who@a.test', '--client')
        (pem,) = self.folder.glob('*-client.pem')
        self.assert_succeeds(self.cert('check', str(pem), '--client', '--cafile', 'ca.pem'))
        self.assert_problems(self.cert('check', str(pem), '--cafile', 'ca.pem'), 'may not be used by a server')

    def test_each_broken_one_is_refused_and_explained(self) -> None:
        for kind, pattern in BROKEN.items():
            with self.subTest(kind=kind):
                self.make('a.test', '--broken', kind)
                name = 'a.test-' + kind
                self.assert_problems(self.cert('check', name + '.pem', '--key', name + '.key', '--name', 'a.test',
                                               '--cafile', 'ca.pem'), pattern)
                with Server(tcp_listener(), say(b'hello'), self.server_context(name)) as server:
                    done = subprocess.run([connect_support.PROGRAM, 'connect', server.target, '--cafile', 'ca.pem',
                                           '--servername', 'a.test'], cwd=self.folder, capture_output=True,
                                          stdin=subprocess.DEVNULL, timeout=TIMEOUT, check=False)
                self.assertEqual((1, b''), (done.returncode, done.stdout), done.stderr)
                self.assertIn(b'certificate', done.stderr)

    def test_expired_is_short_for_broken_expired(self) -> None:
        self.make('a.test', '--expired')
        self.assert_problems(self.cert('check', 'a.test-expired.pem', '--cafile', 'ca.pem'), 'expired')

    def test_days_are_kept_but_never_beyond_the_authority(self) -> None:
        self.make('--ca', '--days', '20')
        self.make('a.test', '--days', '10')
        self.make('b.test', '--days', '400')
        left = [json.loads(self.cert('show', '--json', name).stdout)[0]['notAfter']
                for name in ('ca.pem', 'a.test.pem', 'b.test.pem')]
        authority, short, long = map(ssl.cert_time_to_seconds, left)
        self.assertAlmostEqual(10 * 86400, authority - short, delta=300)
        self.assertLessEqual(long, authority + 2)

    def test_what_cannot_be_made_is_refused_and_leaves_nothing(self) -> None:
        for arguments, word in ((['two words'], 'two words'), (['a.test:443'], 'a.test:443'), ([''], 'not a host'),
                                (['--client'], '--client'), (['--ca', 'a.test'], '--ca'),
                                (['a.test', '--days', '99999'], '--days'),
                                (['a.test', '--broken', 'nonsense'], 'nonsense')):
            with self.subTest(arguments=arguments):
                self.assert_refused(self.cert('make', *arguments), word)
                self.assertEqual([], list(self.folder.iterdir()))
        (self.folder / 'file').write_text('')
        self.assert_refused(self.cert('make', '--folder', 'file'), 'file')

    def test_authority_that_is_unusable_is_refused(self) -> None:
        self.make('--ca')
        good = {name: (self.folder / name).read_bytes() for name in ('ca.pem', 'ca.key')}
        self.make('--ca', '--force')
        for name, content in (('ca.pem', good['ca.pem']), ('ca.key', good['ca.key']), ('ca.key', b'junk'),
                              ('ca.pem', b''), ('ca.pem', good['ca.key'])):
            with self.subTest(name=name, content=content[:30]):
                now = {each: (self.folder / each).read_bytes() for each in good}
                (self.folder / name).write_bytes(content)
                self.assert_refused(self.cert('make', 'a.test'))
                for each, kept in now.items():
                    (self.folder / each).write_bytes(kept)
        self.make('a.test')
        (self.folder / 'ca.pem').write_bytes((self.folder / 'a.test.pem').read_bytes())
        self.assert_refused(self.cert('make', 'b.test'), "no authority's")
        (self.folder / 'ca.pem').unlink()
        self.assert_refused(self.cert('make', 'b.test'), 'ca.pem')


class ShowTest(CertTestCase):
    def test_files_are_shown_whatever_their_form(self) -> None:
        self.make('a.test', 'b.test')
        self.openssl('x509', '-in', 'a.test.pem', '-outform', 'DER', '-out', 'a.der')
        pem = (self.folder / 'a.test.pem').read_bytes()
        for arguments, given, count in ((['a.test.pem'], b'', 2), (['a.der'], b'', 1), (['-'], pem, 2)):
            with self.subTest(arguments=arguments):
                said = self.assert_succeeds(self.cert('show', *arguments, given=given))
                self.assertEqual(count, said.count('  SHA-256 '))
                self.assertIn('a.test, b.test', said)
                self.assertIn('days left', said)
                shown = json.loads(self.assert_succeeds(self.cert('show', '--json', *arguments, given=given)))
                self.assertEqual(count, len(shown))
                expected = self.openssl('x509', '-in', 'a.test.pem', '-noout', '-fingerprint', '-sha256')
                self.assertIn(shown[0]['sha256'], expected.decode())
                self.assertEqual([['DNS', 'a.test'], ['DNS', 'b.test']], shown[0]['subjectAltName'])
                self.assertEqual({'ca': False}, shown[0]['basicConstraints'])
                self.assertEqual(['digitalSignature'], shown[0]['keyUsage'])
                self.assertEqual('prime256v1', shown[0]['key']['curve'])
                self.assertEqual([], shown[0]['malformed'])
                der = ssl.PEM_cert_to_DER_cert(shown[0]['pem'])
                self.assertEqual((self.folder / 'a.der').read_bytes(), der)

    def test_the_key_has_the_fingerprint_that_openssl_computes(self) -> None:
        self.make('a.test')
        spki = self.openssl('x509', '-in', 'a.test.pem', '-noout', '-pubkey')
        der = self.openssl('pkey', '-pubin', '-outform', 'DER', given=spki)
        digest = self.openssl('dgst', '-sha256', '-c', given=der).decode().split()[-1]
        shown = json.loads(self.cert('show', '--json', 'a.test.pem').stdout)
        self.assertEqual(digest.upper(), shown[0]['spkiSha256'])

    def test_servers_show_their_chain_for_the_name(self) -> None:
        self.make('a.test')
        self.make('b.test')
        contexts = {}
        for name in ('a.test', 'b.test'):
            contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            contexts[name].load_cert_chain(self.path(name + '.pem'), self.path(name + '.key'))

        def switch(stream, name, _context) -> None:
            stream.context = contexts.get(name, contexts['a.test'])
        contexts['a.test'].sni_callback = switch
        for name in contexts:
            with Server(tcp_listener(), say(b''), contexts['a.test']) as server:
                said = self.assert_succeeds(self.cert('show', server.target, '--servername', name))
            self.assertIn('2 certificates with TLSv1.3', said)
            self.assertIn(f'subject     CN={name}\n', said)

    def test_server_that_wants_a_certificate_of_ours_is_shown(self) -> None:
        self.make('a.test')
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path('a.test.pem'), self.path('a.test.key'))
        context.load_verify_locations(self.path('ca.pem'))
        context.verify_mode = ssl.CERT_REQUIRED
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with Server(tcp_listener(), say(b''), context) as server:
            said = self.assert_succeeds(self.cert('show', server.target))
        self.assertIn('CN=a.test', said)

    def test_servers_that_are_none_are_one_line(self) -> None:
        listener = tcp_listener()
        port = listener.getsockname()[1]
        listener.close()
        self.assert_refused(self.cert('show', f'127.0.0.1:{port}'), 'refused', status=1)
        with Server(tcp_listener(), lambda connection: connection.sendall(b'220 not TLS\r\n')) as server:
            self.assert_refused(self.cert('show', server.target), server.target, status=1)
        with tcp_listener() as mute:
            mute.listen()
            target = '127.0.0.1:%d' % mute.getsockname()[1]
            self.assert_refused(self.cert('show', target, '--timeout', '0.1'), '--timeout', status=1)

    def test_what_is_no_certificate_is_named(self) -> None:
        self.make('a.test')
        self.openssl('pkcs12', '-export', '-in', 'a.test.pem', '-inkey', 'a.test.key', '-out', 'a.p12', '-passout',
                     'pass:x')
        self.openssl('crl2pkcs7', '-nocrl', '-certfile', 'a.test.pem', '-out', 'p7.pem')
        self.openssl('crl2pkcs7', '-nocrl', '-certfile', 'a.test.pem', '-outform', 'DER', '-out', 'p7.der')
        self.openssl('req', '-new', '-key', 'a.test.key', '-subj', '/CN=a', '-out', 'request.pem')
        (self.folder / 'empty').write_bytes(b'')
        (self.folder / 'junk').write_bytes(bytes(range(256)) * 10)
        (self.folder / 'large').write_bytes(b'x' * (4 * 1024 * 1024 + 1))
        pem = (self.folder / 'a.test.pem').read_text()
        (self.folder / 'damaged').write_text(pem[:200] + '!!!' + pem[203:])
        (self.folder / 'cut').write_text(pem[:300])
        (self.folder / 'folder').mkdir()
        os.mkfifo(self.folder / 'fifo')
        for name, words in {'a.p12': ['PKCS#12', 'openssl pkcs12 -in'], 'p7.pem': ['PKCS#7', 'openssl pkcs7'],
                            'p7.der': ['PKCS#7', '-inform DER'], 'request.pem': ['request'],
                            'a.test.key': ['private key'], 'empty': ['empty'], 'junk': ['no certificate'],
                            'large': ['4 MiB'], 'damaged': ['damaged'], 'cut': ['damaged'], 'folder': ['folder'],
                            'fifo': ['empty'], 'missing': ['No such file'], '/dev/null': ['empty'],
                            '/dev/zero': ['4 MiB']}.items():
            for command in (['show'], ['show', '--json'], ['check']):
                with self.subTest(name=name, command=command):
                    self.assert_refused(self.cert(*command, name), name, *words)
        self.assert_refused(self.cert('show', '-'), 'empty')

    @unittest.skipIf(os.geteuid() == 0, 'root may read everything')
    def test_file_without_permission_is_named(self) -> None:
        self.make('a.test')
        (self.folder / 'a.test.pem').chmod(0)
        self.assert_refused(self.cert('show', 'a.test.pem'), 'Permission denied')

    def test_strangers_cannot_move_the_cursor(self) -> None:
        config = ('[req]\ndistinguished_name=n\nx509_extensions=x\n[n]\n[x]\nsubjectAltName=URI:http://a\x1b[2J\n'
                  'authorityInfoAccess=OCSP;URI:http://b\x1b[2J\n')
        (self.folder / 'odd.cnf').write_text(config)
        self.openssl('req', '-x509', '-config', 'odd.cnf', '-newkey', 'ed25519', '-nodes', '-keyout', 'odd.key',
                     '-out', 'odd.pem', '-utf8', '-subj', '/CN=\x1b[31mred\u202e')
        for command in (['show'], ['show', '--json'], ['check']):
            done = self.cert(*command, 'odd.pem')
            self.assertNotIn(b'\x1b', done.stdout)
            self.assertNotIn('\u202e'.encode(), done.stdout)


class CheckTest(CertTestCase):
    def chain_of_three(self) -> None:
        """root.pem, middle.pem and leaf.pem, with keys."""
        config = ('[req]\ndistinguished_name=n\n[n]\n[ca]\nbasicConstraints=critical,CA:TRUE\n'
                  'keyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n'
                  '[leaf]\nsubjectAltName=DNS:a.test\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n'
                  'basicConstraints=critical,CA:FALSE\nauthorityInfoAccess=caIssuers;URI:http://ca.test/middle\n')
        (self.folder / 'chain.cnf').write_text(config)
        for name, issuer, kind in (('root', '', 'ca'), ('middle', 'root', 'ca'), ('leaf', 'middle', 'leaf')):
            signed = ['-CA', issuer + '.pem', '-CAkey', issuer + '.key'] if issuer else []
            self.openssl('req', '-x509', '-config', 'chain.cnf', '-extensions', kind, '-newkey', 'ed25519', '-nodes',
                         '-days', '90', '-subj', f'/CN={name}', '-keyout', f'{name}.key', '-out', f'{name}.pem',
                         *signed)

    def write(self, name: str, *parts: str) -> str:
        (self.folder / name).write_text(''.join((self.folder / f'{part}.pem').read_text() for part in parts))
        return name

    def check(self, *arguments: str) -> subprocess.CompletedProcess:
        return self.cert('check', *arguments, '--cafile', 'root.pem')

    def test_good_chains_are_good(self) -> None:
        self.chain_of_three()
        chain = self.write('chain.pem', 'leaf', 'middle')
        said = self.assert_succeeds(self.check(chain, '--key', 'leaf.key', '--name', 'a.test'))
        self.assertIn('all is well', said)
        self.assertIn('leaf.key belongs to it', said)
        said = self.assert_succeeds(self.check(self.write('long.pem', 'leaf', 'middle', 'root')))
        self.assertIn('note: certificate 2 is the root', said)

    def test_missing_intermediate_is_named_with_its_place(self) -> None:
        self.chain_of_three()
        self.assert_problems(self.check('leaf.pem'),
                             'the issuer of certificate 0.*CN=middle.*intermediate.*http://ca.test/middle')

    def test_wrong_order_is_named_with_the_right_one(self) -> None:
        self.chain_of_three()
        self.assert_problems(self.check(self.write('a.pem', 'middle', 'leaf'), '--key', 'leaf.key', '--name', 'a.test'),
                             'order is wrong.*order 1, 0')
        self.assert_problems(self.check(self.write('b.pem', 'leaf', 'root', 'middle')), 'order 0, 2, 1')

    def test_stranger_in_the_chain_is_named(self) -> None:
        self.chain_of_three()
        self.make('b.test')
        self.assert_problems(self.check(self.write('a.pem', 'leaf', 'middle', 'ca')),
                             'certificate 2 .* does not belong')

    def test_key_that_belongs_to_another_is_named(self) -> None:
        self.chain_of_three()
        chain = self.write('chain.pem', 'leaf', 'middle')
        self.assert_problems(self.check(chain, '--key', 'middle.key'), 'does not belong .*, but to certificate 1')
        self.assert_problems(self.check(chain, '--key', 'root.key'), 'does not belong .*, whose key is ED25519')

    def test_keys_that_cannot_be_read_are_one_line(self) -> None:
        self.chain_of_three()
        self.openssl('pkcs8', '-topk8', '-in', 'leaf.key', '-out', 'closed.key', '-passout', 'pass:open sesame')
        chain = self.write('chain.pem', 'leaf', 'middle')
        for name, content in (('right', 'open sesame\n'), ('wrong', 'close sesame')):
            (self.folder / name).write_text(content)
        self.assert_refused(self.check(chain, '--key', 'closed.key'), 'encrypted', '--password-file')
        self.assert_refused(self.check(chain, '--key', 'closed.key', '--password-file', 'wrong'), 'does not open')
        self.assert_succeeds(self.check(chain, '--key', 'closed.key', '--password-file', 'right'))
        self.assert_refused(self.check(chain, '--key', 'leaf.pem'), 'no private key')
        self.assert_refused(self.check(chain, '--key', 'nowhere'), 'No such file')

    def test_names_are_all_checked(self) -> None:
        self.chain_of_three()
        chain = self.write('chain.pem', 'leaf', 'middle')
        self.assert_problems(self.check(chain, '--name', 'a.test', '--name', 'b.test', '--name', '127.0.0.1'),
                             'not for b.test: it is for a.test', 'not for 127.0.0.1')
        self.assert_refused(self.check(chain, '--name', 'two words'), 'two words')

    def test_near_expiry_is_a_problem(self) -> None:
        self.make('a.test', '--days', '10')
        arguments = ['check', 'a.test.pem', '--cafile', 'ca.pem']
        self.assert_succeeds(self.cert(*arguments))  # A third of its life is left, and more.
        self.assert_problems(self.cert(*arguments, '--days', '20'), r'expires in (9|10) days')
        self.make('b.test', '--days', '30')
        self.assert_problems(self.cert('check', 'b.test.pem', '--cafile', 'ca.pem', '--days', '31'), 'renew it')
        for bad in ('-1', 'x', '1.5', '9' * 30):
            self.assert_refused(self.cert(*arguments, '--days=' + bad), '--days')

    def test_weak_key_is_named(self) -> None:
        self.openssl('req', '-x509', '-newkey', 'rsa:1024', '-nodes', '-subj', '/CN=weak', '-keyout', 'weak.key',
                     '-out', 'weak.pem', '-addext', 'subjectAltName=DNS:a.test')
        done = self.cert('check', 'weak.pem', '--cafile', 'weak.pem')
        self.assertEqual(1, done.returncode, done.stderr)
        self.assertIn(b'too weak: RSA 1024 bits', done.stdout)

    def test_root_that_nobody_trusts_is_named(self) -> None:
        self.make('a.test')
        self.assert_problems(self.cert('check', 'a.test.pem'), 'the root certificate 1 .* is not trusted here')

    def test_server_is_checked_for_its_name(self) -> None:
        self.make('127.0.0.1', 'a.test')
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path('127.0.0.1.pem'), self.path('127.0.0.1.key'))
        for arguments, problems in (([], []), (['--servername', 'b.test'], ['is not for b.test'])):
            with Server(tcp_listener(), say(b''), context) as server:
                done = self.cert('check', server.target, '--cafile', 'ca.pem', *arguments)
            if problems:
                self.assert_problems(done, *problems)
            else:
                self.assert_succeeds(done)

    def test_wrong_command_lines_name_the_command(self) -> None:
        self.assert_refused(self.cert(), 'heddle cert --help')
        self.assert_refused(self.cert('show'), 'heddle cert show --help')
        self.assert_refused(self.cert('check', 'x', '--password-file', 'y'), '--key')
        self.assert_refused(self.cert('check', 'x', '--cafile', 'y'), 'x')


if __name__ == '__main__':
    if not shutil.which('curl'):
        sys.exit('cert_test.py: needs curl')
    connect_support.main()
