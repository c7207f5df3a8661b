"""What the tests of `heddle serve` share: the program under test, clients, and waiting with a bound."""

import http.client
import os
import pathlib
import re
import resource
import select
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

PROGRAM = os.environ.get('HEDDLE_PROGRAM', 'heddle')
PATIENCE = 30  # Seconds; only a failing test waits so long.


def wait_until(condition, what):
    """Polls `condition` until it is true, and fails when PATIENCE is at its end."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f'waited in vain until {what}')
        time.sleep(0.02)


class World:
    """A folder with a site to serve, and room for certificates; removed at the end."""

    BIG_BYTES = 100_000_000

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix='heddle-serve-'))
        self.site = self.path / 'site'
        (self.site / 'folder').mkdir(parents=True)
        (self.site / 'indexed').mkdir()
        (self.path / 'secret').write_text('secret')
        (self.site / 'small.txt').write_text('0123456789')
        (self.site / 'indexed' / 'index.html').write_text('<p>index')
        (self.site / 'folder' / 'a & b.txt').write_text('listed')
        with open(self.site / 'big', 'wb') as big:
            block = os.urandom(1_000_000)
            for i in range(self.BIG_BYTES // len(block)):
                big.write(block[i:] + block[:i])

    def remove(self):
        shutil.rmtree(self.path)


class Server:
    """A running `heddle serve`."""

    def __init__(self, world, *options, descriptors=None, log_pipe=False,
                 environment=None, guard=None):
        self.ca = world.path / f'ca-{time.monotonic_ns()}.pem'
        own_certificate = '--cert' not in options
        arguments = [PROGRAM, 'serve', str(world.site), *options]
        if guard is not None:
            arguments = [PROGRAM, 'guard', *guard, '--', *arguments]
        if '--listen' not in options:
            arguments += ['--listen', '127.0.0.1:0']
        if own_certificate:
            arguments += ['--write-cert', str(self.ca)]

        def limit():
            if descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        self.errors = tempfile.TemporaryFile('w+')
        self.unread, log = os.pipe() if log_pipe else (None, self.errors)
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=log,
                                        text=True, preexec_fn=limit, env=environment)
        if log_pipe:
            os.close(log)
        self.first_line = self._first_line()
        match = re.fullmatch(r'listening on (https://127\.0\.0\.1:(\d+))\n', self.first_line)
        if not match:
            self.process.kill()
            raise AssertionError(f'first line is {self.first_line!r}, errors: {self.stderr()!r}')
        self.url, self.port = match[1], int(match[2])

    def _first_line(self):
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            self.process.kill()
            raise AssertionError('no line on standard output')
        return self.process.stdout.readline()

    def stderr(self):
        self.errors.seek(0)
        return self.errors.read()

    def descriptors(self):
        return len(os.listdir(f'/proc/{self.process.pid}/fd'))

    def stop(self, number=signal.SIGTERM):
        """Ends it in order and returns its exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.close()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        if self.unread is not None:
            os.close(self.unread)
            self.unread = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
        self.errors.close()

    def context(self):
        return ssl.create_default_context(cafile=self.ca)

    def tcp(self):
        return socket.create_connection(('127.0.0.1', self.port), PATIENCE)

    def tls(self, context=None):
        return (context or self.context()).wrap_socket(self.tcp(), server_hostname='localhost')

    def http(self):
        """A keep-alive connection."""
        return http.client.HTTPSConnection('localhost', self.port, context=self.context(),
                                           timeout=PATIENCE)

    def get(self, connection, target='/small.txt', method='GET', headers=None):
        connection.request(method, target, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read(), response.headers

    def exchange(self, *pieces):
        """Sends the pieces on one connection and returns all that comes until its end."""
        with self.tls() as stream:
            for piece in pieces:
                stream.sendall(piece)
            return read_all(stream)

    def curl(self, target, *options, ca=None):
        return subprocess.run(
            ['curl', '--silent', '--show-error', '--max-time', str(PATIENCE), '--cacert',
             str(ca or self.ca), *options, self.url + target], capture_output=True)


def read_all(stream):
    received = b''
    while True:
        got = stream.recv(65536)
        if not got:
            return received
        received += got
