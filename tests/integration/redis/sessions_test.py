#!/usr/bin/env python3
"""Two server processes share their TLS sessions in a real Redis, and do without when it is gone."""

import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

SERVER = os.environ['HEDDLE_SESSIONS_SERVER']
PATIENCE = 60  # Seconds; only a failing test waits so long.
REQUEST = b'GET / HTTP/1.0\r\n\r\n'

# What the servers allow Redis: long enough that only a bug reaches it, and nothing to speak of.
LONG_MS = 30_000
SHORT_MS = 20

# Whatever ends this process, even SIGKILL, ends the others with it.
DIE_WITH_US = ['setpriv', '--pdeathsig', 'KILL']


def wait_until(condition, what):
    """Polls `condition` until it is true, and fails when PATIENCE is at its end."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f'waited in vain until {what}')
        time.sleep(0.02)


class Redis:
    """A redis-server of the test's own: a Unix socket in its folder, nothing on disk, no port."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.path = folder / 'redis'
        self.process = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [*DIE_WITH_US, 'redis-server', '--port', '0', '--unixsocket', self.path, '--save', '',
             '--appendonly', 'no', '--dir', self.path.parent, '--daemonize', 'no'],
            stdout=subprocess.DEVNULL)
        wait_until(self.answers, 'Redis answers')

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as plain:
            plain.connect(str(self.path))
            plain.sendall(b'PING\r\n')
            return plain.recv(100).startswith(b'+PONG')
        return False

    def keys(self) -> int:
        with socket.socket(socket.AF_UNIX) as plain:
            plain.connect(str(self.path))
            plain.sendall(b'DBSIZE\r\n')
            return int(plain.recv(100)[1:])

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


class Server:
    """A process of sessions_server."""

    def __init__(self, folder: pathlib.Path, name: str, patience_ms: int, retry_ms: int) -> None:
        self.path = folder / name
        self.metrics_path = folder / f'{name}.metrics'
        self.process = subprocess.Popen(
            [*DIE_WITH_US, SERVER, folder / 'cert.pem', folder / 'key.pem',
             f'unix:{folder}/redis', f'unix:{self.path}', f'unix:{self.metrics_path}',
             str(patience_ms), str(retry_ms)],
            stdout=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == 'listening\n'

    def metric(self, name: str, label: str = '') -> int:
        with socket.socket(socket.AF_UNIX) as plain:
            plain.settimeout(PATIENCE)
            plain.connect(str(self.metrics_path))
            plain.sendall(REQUEST)
            text = b''.join(iter(lambda: plain.recv(65536), b'')).decode()
        full = f'{name}{{{label}}}' if label else name
        return int(re.search(rf'^{re.escape(full)} (\d+)$', text, re.M)[1])

    def lookups(self, outcome: str) -> int:
        return self.metric('tls_session_cache_lookups_total', f'outcome="{outcome}"')

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class SessionsInRedis(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='heddle-redis-'))
        self.addCleanup(shutil.rmtree, self.folder)
        subprocess.run(
            ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
             '-nodes', '-keyout', 'key.pem', '-out', 'cert.pem', '-days', '2', '-subj',
             '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'],
            check=True, capture_output=True, cwd=self.folder)
        self.redis = Redis(self.folder)
        self.addCleanup(self.redis.kill)
        self.redis.start()

    def server(self, name: str, patience_ms: int = LONG_MS, retry_ms: int = 100) -> Server:
        server = Server(self.folder, name, patience_ms, retry_ms)
        self.addCleanup(server.stop)
        return server

    def s_client(self, server: Server, version: str, *options: str) -> str:
        """Returns how the connection came about, as client and server agree."""
        done = subprocess.run(
            ['openssl', 's_client', '-unix', server.path, '-CAfile', self.folder / 'cert.pem',
             '-servername', 'localhost', '-verify_return_error', f'-{version}', '-ign_eof',
             *options], input=REQUEST, capture_output=True, timeout=PATIENCE, check=False)
        output = done.stdout.decode(errors='replace')
        self.assertEqual(done.returncode, 0, output + done.stderr.decode(errors='replace'))
        how = re.search(r'\r\n\r\n(full|resumed)\n', output)[1]
        seen = re.search(r'^(New|Reused), TLSv', output, re.M)[1]
        self.assertEqual(seen, {'full': 'New', 'resumed': 'Reused'}[how])
        return how

    def make_session(self, server: Server, version: str) -> pathlib.Path:
        path = self.folder / f'session-{version}'
        self.assertEqual(self.s_client(server, version, '-sess_out', str(path)), 'full')
        return path

    def test_a_session_of_one_process_resumes_on_the_other(self):
        a, b = self.server('a'), self.server('b')
        for version in ('tls1_2', 'tls1_3'):
            with self.subTest(version):
                session = self.make_session(a, version)
                hits = b.lookups('hit')
                self.assertEqual(self.s_client(b, version, '-sess_in', str(session)), 'resumed')
                self.assertEqual(b.lookups('hit'), hits + 1)
        self.assertEqual(b.metric('tls_handshakes_total', 'kind="resumed"'), 2)
        self.assertEqual(a.metric('tls_session_cache_stores_total', 'outcome="ok"'), 2)
        self.assertGreaterEqual(self.redis.keys(), 2)
        # No tickets: what the client holds is a number, and Redis has the rest.
        self.assertEqual(a.lookups('error') + b.lookups('error'), 0)

    def test_a_session_that_redis_does_not_have_is_a_miss(self):
        a, b = self.server('a'), self.server('b')
        self.make_session(b, 'tls1_2')  # So b has a connection to a Redis that will be gone.
        session = self.make_session(a, 'tls1_2')
        self.redis.kill()
        self.redis.start()  # Empty.
        self.assertEqual(self.s_client(b, 'tls1_2', '-sess_in', str(session)), 'full')
        self.assertEqual(b.lookups('miss'), 1)
        self.assertEqual(b.lookups('error'), 0)
        self.assertEqual(b.metric('tls_session_cache_up'), 1)

    def test_a_killed_redis_means_full_handshakes_until_it_is_back(self):
        a, b = self.server('a'), self.server('b')
        for version in ('tls1_2', 'tls1_3'):
            with self.subTest(version):
                session = self.make_session(a, version)
                self.assertEqual(self.s_client(b, version, '-sess_in', str(session)), 'resumed')
                self.redis.kill()
                failures = b.lookups('error') + b.lookups('skipped')
                for count in range(1, 4):
                    self.assertEqual(self.s_client(b, version, '-sess_in', str(session)), 'full')
                    self.assertEqual(b.lookups('error') + b.lookups('skipped'), failures + count)
                self.assertGreater(b.lookups('error'), 0)
                self.assertEqual(b.metric('tls_session_cache_up'), 0)

                self.redis.start()
                wait_until(lambda v=version: self.resumes(a, b, v), 'sessions resume again')
                self.assertEqual(b.metric('tls_session_cache_up'), 1)
        for server in (a, b):
            self.assertEqual(server.metric('tls_handshakes_total', 'kind="failed"'), 0)

    def test_a_dead_redis_is_asked_once_and_then_let_be(self):
        a, b = self.server('a'), self.server('b', retry_ms=3_600_000)
        session = self.make_session(a, 'tls1_2')
        self.redis.kill()
        for _ in range(4):
            self.assertEqual(self.s_client(b, 'tls1_2', '-sess_in', str(session)), 'full')
        self.assertEqual((b.lookups('error'), b.lookups('skipped')), (1, 3))
        self.assertEqual(b.metric('tls_session_cache_stores_total', 'outcome="skipped"'), 4)

    def resumes(self, a: Server, b: Server, version: str) -> bool:
        session = self.make_session(a, version)
        return self.s_client(b, version, '-sess_in', str(session)) == 'resumed'

    def test_a_redis_that_hangs_costs_one_client_its_patience(self):
        a, b = self.server('a'), self.server('b', SHORT_MS)
        session = self.make_session(a, 'tls1_2')
        self.redis.process.send_signal(signal.SIGSTOP)
        for _ in range(5):
            self.assertEqual(self.s_client(b, 'tls1_2', '-sess_in', str(session)), 'full')
        self.assertGreater(b.lookups('error'), 0)
        self.assertEqual(b.lookups('error') + b.lookups('skipped'), 5)

    def test_no_connection_fails_when_redis_dies_under_load(self):
        servers = [self.server('a'), self.server('b')]
        failed, counts = [], {'full': 0, 'resumed': 0}
        stop = threading.Event()

        def connections() -> None:
            context = ssl.create_default_context(cafile=self.folder / 'cert.pem')
            context.maximum_version = ssl.TLSVersion.TLSv1_2  # Python's sessions are of TLS 1.2.
            session, turn = None, 0
            while not stop.is_set():
                turn += 1
                try:
                    with socket.socket(socket.AF_UNIX) as plain:
                        plain.settimeout(PATIENCE)
                        plain.connect(str(servers[turn % 2].path))
                        with context.wrap_socket(plain, server_hostname='localhost',
                                                 session=session) as stream:
                            stream.sendall(REQUEST)
                            while stream.recv(4096):
                                pass
                            session = stream.session
                            counts['resumed' if stream.session_reused else 'full'] += 1
                except OSError as error:
                    failed.append(error)

        threads = [threading.Thread(target=connections) for _ in range(6)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: counts['resumed'] > 50, 'connections resume')
            self.redis.kill()
            full = counts['full']
            wait_until(lambda: counts['full'] > full + 50, 'connections are made without Redis')
            self.redis.start()
            resumed = counts['resumed']
            wait_until(lambda: counts['resumed'] > resumed + 50, 'connections resume again')
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(failed, [])
        for server in servers:
            self.assertEqual(server.metric('tls_handshakes_total', 'kind="failed"'), 0)


if __name__ == '__main__':
    sys.exit(unittest.main())
