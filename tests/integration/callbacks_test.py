#!/usr/bin/env python3
"""Other people's clients against a server whose every callback parks."""

import os
import pathlib
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import time
import unittest

SERVER = os.environ['HEDDLE_CALLBACKS_SERVER']
ROOT = pathlib.Path(__file__).resolve().parents[2]
SOCKET = 'socket'


class ReadmeNames(unittest.TestCase):
    def test_readme_shows_the_code_that_is_compiled(self):
        source = (ROOT / 'tests/integration/readme_names.h').read_text()
        code = source.split('as in the README.\n', 1)[1]
        self.assertIn(code.strip(), (ROOT / 'README.md').read_text())


class Callbacks(unittest.TestCase):
    default_certificate = True

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        names = ['one.test', 'two.test'] + (['default'] if self.default_certificate else [])
        for name in names:
            self.run_in_folder(
                'openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
                '-nodes', '-keyout', 'key', '-out', f'{name}.crt', '-days', '2', '-subj',
                f'/CN={name}', '-addext', f'subjectAltName=DNS:{name}')
            pem = (self.folder / f'{name}.crt').read_text() + (self.folder / 'key').read_text()
            (self.folder / f'{name}.pem').write_text(pem)
        (self.folder / 'ticket.key').write_bytes(os.urandom(80))
        (self.folder / 'ocsp.der').write_bytes(self.ocsp_response())
        self.start()

    def ocsp_response(self) -> bytes:
        """A response that says "try later": complete, and needs no responder."""
        return bytes.fromhex('30030a0103')

    def start(self):
        # A Unix socket: no port to choose.
        server = subprocess.Popen([SERVER, f'unix:{SOCKET}'], cwd=self.folder)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        self.server = server
        deadline = time.monotonic() + 30
        while True:
            try:
                self.connect().close()
                return
            except OSError:
                self.assertLess(time.monotonic(), deadline, 'server does not listen')
                time.sleep(0.02)

    def restart(self):
        self.server.kill()
        self.server.wait()
        self.start()

    def connect(self) -> socket.socket:
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(60)
        try:
            plain.connect(str(self.folder / SOCKET))
        except OSError:
            plain.close()
            raise
        return plain

    def run_in_folder(self, *command: str, text: str = '', check: bool = True) -> str:
        done = subprocess.run(command, cwd=self.folder, input=text, text=True, timeout=60,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if check:
            self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def s_client(self, *options: str, check: bool = True) -> str:
        return self.run_in_folder('openssl', 's_client', '-unix', SOCKET, '-ign_eof', *options,
                                  text='GET / HTTP/1.1\r\nHost: one.test\r\n\r\n', check=check)


class RealClients(Callbacks):
    def test_s_client_gets_the_certificate_of_the_name(self):
        for name in 'one.test', 'two.test':
            for version in '-tls1_2', '-tls1_3':
                said = self.s_client('-servername', name, '-CAfile', f'{name}.crt',
                                     '-verify_return_error', version)
                self.assertIn(f'subject=CN = {name}', said)
                self.assertIn(f'name={name} ', said)

    def test_s_client_sees_the_alert_for_a_name_that_nobody_has(self):
        said = self.s_client('-servername', 'nobody.test', check=False)
        self.assertIn('unrecognized name', said)

    def test_s_client_without_a_name_gets_the_default_certificate(self):
        self.assertIn('subject=CN = default', self.s_client('-noservername'))

    def test_s_client_gets_the_protocol_that_was_chosen(self):
        said = self.s_client('-noservername', '-alpn', 'h2,http/1.1')
        self.assertIn('ALPN protocol: http/1.1', said)
        self.assertIn('alpn=http/1.1 ', said)

    def test_s_client_gets_the_ocsp_response(self):
        self.assertIn('OCSP Response Status: trylater', self.s_client('-noservername', '-status'))

    def test_s_client_resumes_its_session_on_another_process_with_the_same_ticket_key(self):
        for version in '-tls1_2', '-tls1_3':
            made = self.s_client('-noservername', version, '-sess_out', 'session')
            self.assertIn('reused=no', made)
            self.restart()
            self.assertIn('reused=yes', self.s_client('-noservername', version, '-sess_in', 'session'))

    def test_curl_gets_the_certificate_of_the_name(self):
        for name in 'one.test', 'two.test':
            said = self.run_in_folder('curl', '-sS', '--unix-socket', SOCKET, '--cacert',
                                      f'{name}.crt', '--http1.1', f'https://{name}/')
            self.assertEqual(said.split()[0], f'name={name}')

    def test_python_and_the_server_log_the_same_keys(self):
        context = ssl.create_default_context(cafile=str(self.folder / 'default.crt'))
        context.check_hostname = False
        context.keylog_filename = str(self.folder / 'client.keys')
        with context.wrap_socket(self.connect()) as stream:
            stream.sendall(b'GET / HTTP/1.1\r\n\r\n')
            self.assertIn(b'200 OK', stream.recv(4096))

        def secrets(file: str) -> set:
            lines = (self.folder / file).read_text().splitlines()
            return {line for line in lines if not line.startswith('#')}

        self.assertEqual(secrets('client.keys'), secrets('server.keys'))
        self.assertGreaterEqual(len(secrets('server.keys')), 4)
        mode = (self.folder / 'server.keys').stat().st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)


class PreSharedKeys(Callbacks):
    """A server without a certificate of its own."""
    default_certificate = False

    def test_s_client_with_the_key_needs_no_certificate(self):
        for version in '-tls1_2', '-tls1_3':
            said = self.s_client('-noservername', version, '-psk', b'k'.hex() * 32)
            self.assertIn('200 OK', said)
            self.assertIn('no peer certificate available', said)

    def test_s_client_with_another_key_is_refused(self):
        for version in '-tls1_2', '-tls1_3':
            said = self.s_client('-noservername', version, '-psk', b'x'.hex() * 32, check=False)
            self.assertIn('alert', said)
            self.assertNotIn('200 OK', said)


if __name__ == '__main__':
    sys.exit(unittest.main())
