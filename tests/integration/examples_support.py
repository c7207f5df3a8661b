"""What the tests of examples share: the built programs, certificates, and clients in Python."""

import os
import pathlib
import queue
import re
import signal
import socket
import ssl
import subprocess
import tempfile
import threading

from serve_support import PATIENCE

PROGRAMS = pathlib.Path(os.environ['HEDDLE_EXAMPLES'])


class Certificates:
    """A folder with certificates that are their own CAs, and their keys."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix='heddle-examples-')
        self.path = pathlib.Path(self.folder.name)

    def make(self, name, *names):
        """Makes NAME.pem and NAME.key for the DNS names, and returns the two paths."""
        alt = ','.join(f'DNS:{each}' for each in names or ('localhost',)) + ',IP:127.0.0.1'
        subprocess.run(
            ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout',
             f'{name}.key.new', '-out', f'{name}.pem', '-days', '2', '-subj', f'/CN={name}', '-addext',
             f'subjectAltName={alt}'], check=True, capture_output=True, cwd=self.path)
        os.replace(self.path / f'{name}.key.new', self.path / f'{name}.key')
        return str(self.path / f'{name}.pem'), str(self.path / f'{name}.key')


class Lines:
    """The lines of a pipe, read in the background so that its writer never waits."""

    def __init__(self, pipe):
        self.seen = []
        self.queue = queue.Queue()
        self.thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self.thread.start()

    def _read(self, pipe):
        with pipe:
            for line in pipe:
                self.queue.put(line.rstrip('\n'))
        self.queue.put(None)

    def next(self):
        """The next line, or None at the end."""
        line = self.queue.get(timeout=PATIENCE)
        self.seen.append(line)
        return line

    def find(self, pattern):
        """Reads lines until one matches, and returns the match."""
        while (line := self.next()) is not None:
            if match := re.search(pattern, line):
                return match
        raise AssertionError(f'no line with {pattern!r}: {self.seen}')

    def rest(self):
        lines = []
        while (line := self.next()) is not None:
            lines.append(line)
        return lines


class Program:
    """A running example that says `listening on 127.0.0.1:PORT`."""

    def __init__(self, case, name, *arguments):
        self.process = subprocess.Popen([PROGRAMS / name, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)
        case.addCleanup(self._end)
        self.out = Lines(self.process.stdout)
        self.errors = Lines(self.process.stderr)
        try:
            self.port = int(self.out.find(r'listening on 127\.0\.0\.1:(\d+)')[1])
        except AssertionError as error:
            raise AssertionError(f'{error}; {self.errors.rest()}') from None

    def _end(self):
        self.process.kill()
        self.process.wait()
        self.out.thread.join()
        self.errors.thread.join()

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self):
        return self.process.wait(PATIENCE)

    def tcp(self):
        return socket.create_connection(('127.0.0.1', self.port), PATIENCE)

    def tls(self, ca, name='localhost', identity=None):
        """A connected client that trusts `ca`; `identity`: its certificate and key."""
        context = ssl.create_default_context(cafile=ca)
        if identity:
            context.load_cert_chain(*identity)
        # Python 3.10 and 3.11 take a cut connection for an orderly end unless told otherwise.
        context.options &= ~getattr(ssl, 'OP_IGNORE_UNEXPECTED_EOF', 0)
        return context.wrap_socket(self.tcp(), server_hostname=name, suppress_ragged_eofs=False)

    def refuses(self):
        """Whether nobody listens any more."""
        try:
            self.tcp().close()
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
        return False
