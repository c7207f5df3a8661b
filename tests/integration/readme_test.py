#!/usr/bin/env python3
"""The server in README.md is the one that is compiled here, and it works."""

import os
import pathlib
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest

SERVER = os.environ['HEDDLE_README_SERVER']
ROOT = pathlib.Path(__file__).resolve().parents[2]


class ReadmeServer(unittest.TestCase):
    def test_readme_shows_the_code_that_is_compiled(self):
        source = (ROOT / 'tests/integration/readme_server.cpp').read_text()
        code = source.split('\n', 1)[1].replace(
            '  // NOLINT(google-build-using-namespace): as in the README.', '')
        self.assertIn(code.strip(), (ROOT / 'README.md').read_text())

    def test_readme_shows_the_transports_that_are_compiled(self):
        source = (ROOT / 'tests/integration/readme_transports.cpp').read_text()
        code = source.split('// --- As in the README. ---\n')[1]
        self.assertIn(code.strip(), (ROOT / 'README.md').read_text())

    def test_readme_shows_how_keys_are_offloaded(self):
        source = (ROOT / 'tests/integration/offload_signer_test.cpp').read_text()
        begin = source.index('void use_key_on_threads')
        code = source[begin:source.index('\n}\n', begin)]
        self.assertIn(code, (ROOT / 'README.md').read_text())

    def test_readme_shows_the_kernel_tls_that_is_run(self):
        code = (ROOT / 'tests/support/readme_ktls.h').read_text()
        code = code.split('// README\n')[1].split('\n}\n')[0]
        self.assertIn(code, (ROOT / 'README.md').read_text())

    def test_it_echoes(self):
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
                 '-nodes', '-keyout', 'key.pem', '-out', 'cert.pem', '-days', '2', '-subj',
                 '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'],
                check=True, capture_output=True, cwd=folder)
            # A Unix socket: no port to choose.
            path = f'{folder}/socket'
            server = subprocess.Popen([SERVER, f'unix:{path}'], cwd=folder)
            try:
                self.echo(path, f'{folder}/cert.pem')
            finally:
                server.kill()
                server.wait()

    def echo(self, path: str, ca: str):
        plain = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 30
        while True:
            try:
                plain.connect(path)
                break
            except OSError:
                self.assertLess(time.monotonic(), deadline, 'server does not listen')
                time.sleep(0.02)
        context = ssl.create_default_context(cafile=ca)
        with context.wrap_socket(plain, server_hostname='localhost') as stream:
            stream.sendall(b'hello')
            self.assertEqual(stream.recv(5), b'hello')


if __name__ == '__main__':
    sys.exit(unittest.main())
