#!/usr/bin/env python3
"""heddle serve while memory, descriptors, mappings and threads run out: only the connections that
are hit end, and it says what there was too little of."""

import errno
import http.client
import os
import pathlib
import subprocess
import unittest

from fault_support import DESCRIPTORS, MAPPINGS, MEMORY, MODULE, THREADS, Faults
from serve_support import PATIENCE, PROGRAM, Server, World, wait_until

WORLD = None
OF_MEMORY = 'give it more memory'
OF_DESCRIPTORS = 'ulimit -n'


def setUpModule():
    global WORLD
    with open(PROGRAM, 'rb') as program:
        contents = program.read()
    if b'__asan_init' in contents or b'__tsan_init' in contents:
        raise unittest.SkipTest("a sanitizer's malloc() cannot be made to fail from outside")
    World.BIG_BYTES = 3_000_000
    WORLD = World()


def tearDownModule():
    if WORLD is not None:
        WORLD.remove()


class Client:
    """Asks for files, on one connection for as long as that lives and on short ones."""

    TARGETS = ['/small.txt', '/', '/folder/', '/missing', '/big']

    def __init__(self, server):
        self.server = server
        self.context = server.context()
        self.kept = self.connection()
        self.answered = 0
        self.cut = 0

    def connection(self):
        return http.client.HTTPSConnection('localhost', self.server.port, context=self.context,
                                           timeout=PATIENCE)

    def ask(self, connection, target):
        try:
            self.server.get(connection, target)
            self.answered += 1
        except TimeoutError:
            raise AssertionError(f'no answer and no end for {target}') from None
        except (OSError, http.client.HTTPException):
            self.cut += 1
            connection.close()

    def run(self, rounds):
        for i in range(rounds):
            target = self.TARGETS[i % len(self.TARGETS)]
            self.ask(self.kept, target)
            short = self.connection()
            self.ask(short, target)
            short.close()

    def close(self):
        self.kept.close()


def resident_kib(server):
    for line in pathlib.Path(f'/proc/{server.process.pid}/status').read_text().splitlines():
        if line.startswith('VmRSS:'):
            return int(line.split()[1])
    raise AssertionError('no VmRSS')


class Exhaustion(unittest.TestCase):

    def serve_with(self, kind, seed, *options, idle_may_leave=False, rounds=100, **how):
        """Returns what the server has said about it, and its client."""
        faults = Faults(WORLD.path)
        with Server(WORLD, *options, environment=faults.environment()) as server:
            idle = [server.http() for _ in range(10)]
            for connection in idle:
                self.assertEqual(server.get(connection)[0], 200)
            client = Client(server)
            client.run(5)
            before = resident_kib(server)
            descriptors = server.descriptors()
            faults.start(kind, seed=seed, **how)
            client.run(rounds)
            faults.stop()
            self.assertIsNone(server.process.poll(), server.stderr())
            self.assertGreater(faults.failed(kind), 0, 'nothing has failed')
            answered = client.answered
            client.run(10)
            self.assertGreaterEqual(client.answered, answered + 19)  # But for a kept one, cut before.
            self.idle_ones_answer(server, idle, faults.failed(kind) if idle_may_leave else 0)
            client.close()
            wait_until(lambda: server.descriptors() <= descriptors - 1, 'descriptors are given back')
            self.assertLess(resident_kib(server), before + 8 * 1024)
            for connection in idle:
                connection.close()
            self.assertEqual(server.stop(), 0)
            return server.stderr(), client

    def idle_ones_answer(self, server, idle, gone_max):
        gone = 0
        for connection in idle:
            connection.auto_open = 0  # Not a new one.
            try:
                self.assertEqual(server.get(connection)[0], 200)
            except (OSError, http.client.HTTPException):
                gone += 1
        self.assertLessEqual(gone, gone_max)

    def one_report(self, text, what, other):
        """At most one line in ten seconds."""
        self.assertLessEqual(text.count('\n'), 5, text)
        self.assertIn(what, text)
        self.assertNotIn(other, text)

    def test_without_memory_the_connections_concerned_end(self):
        for seed in range(1, 5):
            for one_in in (30, 300, 3000):
                with self.subTest(seed=seed, one_in=one_in):
                    text, client = self.serve_with(MEMORY, seed, one_in=one_in)
                    self.assertGreater(client.cut, 0)
                    self.one_report(text or OF_MEMORY, OF_MEMORY, OF_DESCRIPTORS)

    def test_without_memory_for_large_things_they_end_too(self):
        for seed in range(1, 4):
            with self.subTest(seed=seed):
                text, client = self.serve_with(MEMORY, seed, one_in=8, bytes_min=1000)
                self.assertGreater(client.cut, 0)
                self.one_report(text, OF_MEMORY, OF_DESCRIPTORS)

    def test_a_log_that_finds_no_memory_loses_lines_only(self):
        text, _ = self.serve_with(MEMORY, 1, '--access-log', one_in=300)
        self.assertLess(len(text), 100_000)
        self.assertIn('"GET /small.txt" 200 10', text)

    def test_without_memory_on_several_threads_they_end_too(self):
        text, _ = self.serve_with(MEMORY, 1, '--threads', '3', one_in=300)
        self.assertNotIn(OF_DESCRIPTORS, text)

    def test_without_descriptors_connections_wait_and_idle_ones_give_way(self):
        for error in (errno.EMFILE, errno.ENFILE):
            with self.subTest(error=errno.errorcode[error]):
                text, _ = self.serve_with(DESCRIPTORS, 1, one_in=5, error=error,
                                          idle_may_leave=True, rounds=60)
                self.one_report(text, OF_DESCRIPTORS, OF_MEMORY)

    def test_a_kernel_without_memory_is_not_called_out_of_descriptors(self):
        text, _ = self.serve_with(DESCRIPTORS, 1, one_in=5, error=errno.ENOMEM,
                                  idle_may_leave=True, rounds=60)
        self.one_report(text, OF_MEMORY, OF_DESCRIPTORS)

    def test_without_mappings_for_stacks_connections_are_refused(self):
        # More at once than there are stacks in store.
        faults = Faults(WORLD.path)
        with Server(WORLD, environment=faults.environment()) as server:
            idle = [server.http() for _ in range(5)]
            for connection in idle:
                self.assertEqual(server.get(connection)[0], 200)
            faults.start(MAPPINGS, one_in=2, seed=1)
            crowd = [server.tcp() for _ in range(40)]
            wait_until(lambda: OF_MEMORY in server.stderr(), 'it says so')
            faults.stop()
            self.idle_ones_answer(server, idle, 0)
            again = server.http()
            self.assertEqual(server.get(again)[0], 200)
            for connection in [*crowd, *idle, again]:
                connection.close()
            self.assertEqual(server.stop(), 0)
            self.one_report(server.stderr(), OF_MEMORY, OF_DESCRIPTORS)


class Start(unittest.TestCase):
    """What fails before it serves ends it, with one line that says so."""

    def outcome(self, kind, nth, error, *options):
        faults = Faults(WORLD.path)
        faults.start(kind, nth=nth, error=error)
        run = subprocess.run([PROGRAM, 'serve', str(WORLD.site), '--listen', '127.0.0.1:0', *options],
                             env=faults.environment(), capture_output=True, text=True,
                             timeout=PATIENCE)
        self.assertGreater(faults.failed(kind), 0)
        return run

    def test_without_threads_it_says_so(self):
        for nth in range(1, 3):  # The thread of the log comes with its first line.
            with self.subTest(nth=nth):
                run = self.outcome(THREADS, nth, errno.EAGAIN, '--threads', '3')
                self.assertEqual(run.returncode, 1, run.stderr)
                self.assertEqual(run.stdout, '')
                self.assertRegex(run.stderr, r'\Aheddle[^\n]*thread[^\n]*\n\Z')
                self.assertIn(os.strerror(errno.EAGAIN), run.stderr)


if __name__ == '__main__':
    unittest.main(verbosity=2)
