"""What the tests of `heddle connect` share: the program under test, certificates, and servers.

Every server listens on a port that the kernel chooses; certificates live in a temporary folder.
"""

import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest

PROGRAM = os.environ.get('HEDDLE_PROGRAM', '')
TIMEOUT = 60  # Seconds; generous, for sanitizer builds on busy machines.

OPENSSL_CONFIG = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[sloppy]
basicConstraints = critical, CA:TRUE
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
[client]
basicConstraints = critical, CA:FALSE
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""

KEYS = {
    'rsa': ['-newkey', 'rsa:2048'],
    'ecdsa': ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'],
}

VERSIONS = {'1.2': ssl.TLSVersion.TLSv1_2, '1.3': ssl.TLSVersion.TLSv1_3}


class Certificates:
    """CAs and what they have signed: `other` nothing that is used; `sloppy` is one without keyUsage,
    against RFC 5280, 4.2.1.3."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        (folder / 'openssl.cnf').write_text(OPENSSL_CONFIG)
        self.make('ca', 'ca', 'ecdsa')
        self.make('other', 'ca', 'ecdsa')
        for key in KEYS:
            self.make(key, 'server', key, 'ca')
            chain = self.read(key + '.pem') + self.read('ca.pem')
            (folder / f'{key}-chain.pem').write_text(chain)
        self.make('client', 'client', 'ecdsa', 'ca')
        self.make('sloppy', 'sloppy', 'ecdsa')
        self.make('of-sloppy', 'server', 'ecdsa', 'sloppy')
        (folder / 'of-sloppy-chain.pem').write_text(self.read('of-sloppy.pem'))

    def make(self, name: str, extensions: str, key: str, issuer: str = '',
             subject: str = '') -> None:
        command = ['openssl', 'req', '-x509', '-config', 'openssl.cnf', '-extensions', extensions,
                   '-days', '2', '-nodes', '-utf8', '-subj',
                   f'/CN={subject or "heddle test " + name}', '-keyout',
                   f'{name}.key', '-out', f'{name}.pem', *KEYS[key]]
        if issuer:
            command += ['-CA', f'{issuer}.pem', '-CAkey', f'{issuer}.key']
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def __getitem__(self, name: str) -> str:
        return str(self.folder / name)


class Server:
    """Accepts one connection and runs `handle(connection)` on it, in a thread."""

    def __init__(self, listener: socket.socket, handle, context=None) -> None:
        self.listener = listener
        self.handle = handle
        self.context = context
        self.error = None
        self.target = ''
        if listener.family != socket.AF_UNIX:
            host, port = listener.getsockname()[:2]
            self.target = f'[{host}]:{port}' if ':' in host else f'{host}:{port}'
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def serve(self) -> None:
        try:
            connection, _ = self.listener.accept()
            with connection:
                connection.settimeout(TIMEOUT)
                if self.context:
                    with self.context.wrap_socket(connection, server_side=True) as stream:
                        self.handle(stream)
                else:
                    self.handle(connection)
        except Exception as error:  # Kept for the test to judge.
            self.error = error

    def __enter__(self):
        self.listener.listen()
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.thread.join(TIMEOUT)
        self.listener.close()


def tcp_listener(host: str = '127.0.0.1') -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET)
    listener.bind((host, 0))
    listener.settimeout(TIMEOUT)
    return listener


def receive_all(stream) -> bytes:
    pieces = []
    while piece := stream.recv(65536):
        pieces.append(piece)
    return b''.join(pieces)


def echo(stream) -> None:
    while piece := stream.recv(65536):
        stream.sendall(piece)
    stream.unwrap()


def say(text: bytes):
    """A handler that sends `text`, says goodbye, and hears the peer out."""
    def handle(stream) -> None:
        stream.sendall(text)
        stream.unwrap()
    return handle


class ConnectTestCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory(prefix='heddle-connect-')
        cls.certificates = Certificates(pathlib.Path(cls.folder.name))

    @classmethod
    def tearDownClass(cls) -> None:
        cls.folder.cleanup()

    def context(self, key: str = 'ecdsa', version: str = '') -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificates[key + '-chain.pem'],
                                self.certificates[key + '.key'])
        if version:
            context.minimum_version = context.maximum_version = VERSIONS[version]
        return context

    def server(self, handle, **options) -> Server:
        return Server(tcp_listener(), handle, self.context(**options))

    def trust(self) -> list:
        return ['--cafile', self.certificates['ca.pem']]

    def run_connect(self, *arguments: str, given: bytes = b'') -> subprocess.CompletedProcess:
        return subprocess.run([PROGRAM, 'connect', *arguments], input=given, timeout=TIMEOUT,
                              capture_output=True, check=False)

    def start_connect(self, *arguments: str, **options) -> subprocess.Popen:
        process = subprocess.Popen([PROGRAM, 'connect', *arguments], stderr=subprocess.PIPE,
                                   **options)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def assert_fails(self, done: subprocess.CompletedProcess, status: int, *words: str) -> None:
        """Checks the status, and that standard error ends with one line that holds all `words`. Only
        the certificates of a refused peer may stand before it."""
        message = done.stderr.decode()
        self.assertEqual(status, done.returncode, message)
        *report, line = message.splitlines()
        self.assertTrue(line.startswith('heddle connect: '), message)
        for word in words:
            self.assertIn(word, line)
        if report:
            self.assertTrue(report[0].startswith('NOT connected to '), message)
            for each in report[1:]:
                self.assertRegex(each, r'\A(certificate \d+|  \S.*)\Z')


def main() -> None:
    """Runs the tests of the calling script: [HEDDLE] [unittest arguments]."""
    global PROGRAM
    if len(sys.argv) > 1 and os.path.isfile(sys.argv[1]):
        PROGRAM = os.path.abspath(sys.argv.pop(1))
    if not PROGRAM or not shutil.which('openssl'):
        sys.exit(f'{sys.argv[0]}: needs a heddle program and openssl')
    unittest.main()
