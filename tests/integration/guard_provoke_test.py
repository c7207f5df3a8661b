#!/usr/bin/python3
"""heddle guard --provoke: programs that have the bug fail, others do not notice.

usage: guard_provoke_test.py [unittest arguments]; guard_support.py says what it needs of the environment.
"""

import importlib.util
import json
import re
import subprocess
import unittest

import guard_support
from guard_support import HERE, MISLED, PROGRAM, PYTHON, TRUTH, GuardTestCase, host, of_kind
from serve_support import Server, World

PROGRAM_IN_TURNS = str(HERE / 'guard_turns.py')
SEEDS = range(1, 6)
has_gevent = unittest.skipUnless(importlib.util.find_spec('gevent'), 'python3-gevent is not installed')
can_be_misled = unittest.skipUnless(MISLED, 'OpenSSL 4 looks at the connection first')


def provoked(done) -> int:
    """How often entries were left, as the summary says."""
    return int(re.search(r'Provoked (\d+) time', done.stderr)[1])


class ProvokeTestCase(GuardTestCase):
    def events_of(self, *arguments: str) -> list:
        self.log.unlink(missing_ok=True)
        self.guard('--json', '--log', str(self.log), *arguments)
        return [json.loads(line) for line in self.log.read_text().splitlines()]


class PythonTest(ProvokeTestCase):
    """Connections in greenlets of one thread, and the same in threads."""

    def setUp(self) -> None:
        super().setUp()
        self.certificate, self.key = str(self.folder / 'cert.pem'), str(self.folder / 'key.pem')
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                        '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout',
                        self.key, '-out', self.certificate], check=True, capture_output=True)

    def program(self, *arguments: str) -> list:
        return ['--', PYTHON, PROGRAM_IN_TURNS, self.certificate, self.key, *arguments]

    @has_gevent
    @can_be_misled
    def test_a_gevent_program_has_the_bug(self) -> None:
        for seed in SEEDS:
            with self.subTest(seed=seed):
                done = self.guard('--provoke', str(seed), *self.program('gevent'))
                self.assertEqual(1, done.returncode, done.stderr)
                self.assertGreater(int(done.stdout), 0)
                self.assertIn('left by: heddle guard --provoke', done.stderr)
                self.assertRegex(done.stderr, r'Provoked \d+ times?: \d+ verdicts? (was|were) changed by it')

    @has_gevent
    @can_be_misled
    def test_it_fails_though_the_program_hides_it(self) -> None:
        done = self.guard('--provoke', '1', *self.program('gevent', 'forgiving'))
        self.assertEqual(1, done.returncode, done.stderr)

    @has_gevent
    def test_without_being_provoked_it_does_nothing(self) -> None:
        done = self.guard(*self.program('gevent'), variables={'HEDDLE_GUARD_PROVOKE': '1'})
        self.assertEqual((0, '0\n'), (done.returncode, done.stdout), done.stderr)
        self.assertNotIn('Provoked', done.stderr)

    @has_gevent
    def test_the_cure_cures_it(self) -> None:
        for seed in SEEDS:
            with self.subTest(seed=seed):
                done = self.guard('--provoke', str(seed), '--cure', *self.program('gevent'))
                self.assertEqual((0, '0\n'), (done.returncode, done.stdout), done.stderr)
                self.assertGreater(provoked(done), 0)
                self.assertIn('no verdict was changed', done.stderr)

    def test_its_threaded_twin_is_immune(self) -> None:
        for seed in SEEDS:
            with self.subTest(seed=seed):
                done = self.guard('--provoke', str(seed), *self.program('threads'))
                self.assertEqual((0, '0\n'), (done.returncode, done.stdout), done.stderr)
                self.assertIn('no thread serves two connections in turns', done.stderr)


    def test_so_is_a_thread_that_serves_one_after_the_other(self) -> None:
        done = self.guard('--provoke', '1', *self.program('sequel'))
        self.assertEqual((0, '0\n'), (done.returncode, done.stdout), done.stderr)
        self.assertIn('no thread serves two connections in turns', done.stderr)


class CallsTest(ProvokeTestCase):
    """Plain OpenSSL: two connections in turns, on one thread."""

    @can_be_misled
    def test_a_careless_program_is_misled(self) -> None:
        for seed in SEEDS:
            with self.subTest(seed=seed):
                done = self.guard('--provoke', str(seed), '--', host('guard_turns'), 'careless')
                self.assertEqual(1, done.returncode, done.stderr)
                self.assertIn('left by --provoke, after the call here', done.stderr)

    def test_one_that_empties_the_queue_before_each_call_is_not(self) -> None:
        for seed in SEEDS:
            with self.subTest(seed=seed):
                done = self.guard('--provoke', str(seed), '--', host('guard_turns'), 'careful')
                self.assertEqual(0, done.returncode, done.stderr)
                self.assertGreater(provoked(done), 0)

    def test_the_same_seed_leaves_the_same_at_the_same_points(self) -> None:
        def points(seed: int) -> list:
            events = self.events_of('--provoke', str(seed), '--', host('guard_turns'), 'careless')
            return [(event['call'], [entry['reason'] for entry in event['entries']])
                    for event in of_kind(events, 'dirty')] + [of_kind(events, 'exit')[0]['provoked']]
        runs = [points(seed) for seed in SEEDS]
        self.assertEqual(runs, [points(seed) for seed in SEEDS])
        self.assertGreater(len({str(run) for run in runs}), 1)

    def test_all_kinds_of_failures_are_left(self) -> None:
        reasons = set()
        for seed in range(1, 100):
            if len(reasons) == 5:
                break
            events = self.events_of('--provoke', str(seed), '--', host('guard_turns'), 'careless')
            reasons |= {event['entries'][0]['function'] for event in of_kind(events, 'dirty')}
        self.assertEqual(5, len(reasons), reasons)

    def test_between_a_call_and_its_verdict_nothing_comes(self) -> None:
        for seed in SEEDS:
            with self.subTest(seed=seed):
                done = self.guard('--provoke', str(seed), '--', host('guard_turns'), 'verdicts')
                self.assertEqual(0, done.returncode, done.stderr)
                self.assertGreater(provoked(done), 0)

    def test_a_connection_that_begins_is_not_one_that_goes_on(self) -> None:
        done = self.guard('--provoke', '1', '--', host('guard_turns'), 'anew')
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn('no thread serves two connections in turns', done.stderr)

    @can_be_misled
    def test_during_a_call(self) -> None:
        """Each callback of the program's is one where an entry may come, and the handshake waits for more."""
        for callback in ('name', 'alpn', 'certificate'):
            with self.subTest(callback=callback):
                found = []
                for seed in SEEDS:
                    events = self.events_of('--provoke', str(seed), '--', host('guard_turns'), callback)
                    found += [event['call'] for event in of_kind(events, 'dirty')]
                self.assertIn('SSL_get_error', found)

    def test_a_callback_is_called_as_without(self) -> None:
        for callback in ('name', 'alpn', 'certificate'):
            alone = subprocess.run([host('guard_turns'), callback], capture_output=True, text=True, check=True)
            done = self.guard('--provoke', '1', '--cure', '--', host('guard_turns'), callback)
            self.assertEqual((0, alone.stdout), (done.returncode, done.stdout), done.stderr)

    def test_what_watches_nothing_proves_nothing(self) -> None:
        self.assertEqual(3, self.guard('--provoke', '1', '--', 'true').returncode)

    def test_a_seed_is_a_number(self) -> None:
        for seed in ('one', '1x', '-1', ''):
            done = self.guard(f'--provoke={seed}', '--', 'true')
            self.assertEqual(2, done.returncode, (seed, done.stderr))


class OwnTest(ProvokeTestCase):
    """heddle serve: fibers, each with an error queue of its own."""

    def test_heddle_does_not_notice(self) -> None:
        world = World()
        self.addCleanup(world.remove)
        for seed in SEEDS:
            with self.subTest(seed=seed), Server(world, guard=('--provoke', str(seed))) as server:
                connections = [server.http() for _ in range(3)]
                for _ in range(20):
                    for connection in connections:
                        self.assertEqual(b'0123456789', server.get(connection)[1])
                for connection in connections:
                    connection.close()
                self.assertEqual(0, server.stop(), server.stderr())
                self.assertRegex(server.stderr(), r'Provoked \d+ times?: no verdict was changed')


if __name__ == '__main__':
    guard_support.main('guard_provoke_test.py')
