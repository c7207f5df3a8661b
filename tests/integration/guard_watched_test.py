#!/usr/bin/python3
"""The summary knows what was watched, and tells it from what was not: forked, killed, going on, without OpenSSL.

usage: guard_watched_test.py [unittest arguments]; guard_support.py says what it needs of the environment.
"""

import subprocess
import unittest

import guard_support
from guard_support import MISLED, MODULE, PROGRAM, TIMEOUT, GuardTestCase, host, of_kind

CLEAN = r'no TLS call was made with a stale error in the queue \(watched: guard_host\)'
NOT_COMPLETE = r'Not complete: 1 process ended without an account .*: guard_host\n'


class WatchedTest(GuardTestCase):
    """Programs that were watched, and were clean."""

    def check(self, scenario: str, *words: str) -> str:
        done = self.guard('--fail', '--', host('guard_host'), scenario)
        self.assertEqual(0, done.returncode, done.stderr)
        for expected in (CLEAN, *words):
            self.assertRegex(done.stderr, expected)
        return done.stderr

    def test_forked_children_count(self) -> None:
        self.assertNotIn('Not complete', self.check('fork-clean'))

    def test_so_do_programs_that_leave_at_once(self) -> None:
        self.check('raw-exit', NOT_COMPLETE)

    def test_and_children_that_do(self) -> None:
        self.check('fork-raw', NOT_COMPLETE)

    def test_a_daemon_is_named_that_still_runs(self) -> None:
        errors = self.folder / 'errors'
        environment = {**self.clean_environment(), 'HEDDLE_GUARD_LIBRARY': MODULE}
        with open(errors, 'wb') as stream, \
                subprocess.Popen([PROGRAM, 'guard', '--fail', '--', host('guard_host'), 'daemon'],
                                 env=environment, stdin=subprocess.PIPE, stderr=stream) as running:
            # It holds the other end of our pipe, so it cannot have ended.
            self.assertEqual(0, running.wait(TIMEOUT))
            self.assertRegex(errors.read_text(), CLEAN)
            self.assertRegex(errors.read_text(), NOT_COMPLETE)

    def test_findings_of_a_killed_program_are_a_lower_bound(self) -> None:
        done = self.guard('--', host('guard_host'), 'killed')
        if MISLED:
            self.assertRegex(done.stderr, NOT_COMPLETE)

    def test_a_program_that_became_another_is_one_process(self) -> None:
        done = self.guard('--', 'sh', '-c', f'exec {host("guard_host")} dead-entry')
        self.assertRegex(done.stderr, CLEAN)
        self.assertNotIn('Not complete', done.stderr)

    def test_the_library_alone_knows_of_its_forked_children(self) -> None:
        done = self.preload(host('guard_host'), 'fork-clean')
        self.assertEqual(1, done.stderr.count('heddle-guard: '), done.stderr)
        self.assertIn('no TLS call was made here; those of forked processes were watched', done.stderr)

    def test_a_child_that_calls_nothing_does_not_write_to_the_log(self) -> None:
        events = self.events(host('guard_host'), 'fork-clean', expected=0)
        self.assertEqual(1, len(of_kind(events, 'exit')))


class NothingWatchedTest(GuardTestCase):
    """Nothing was watched, which is no clean bill."""

    def check(self, *command: str, words: str, status: int = 3) -> None:
        done = self.guard('--fail', '--', *command)
        self.assertEqual(status, done.returncode, done.stderr)
        self.assertRegex(done.stderr, rf'heddle guard: watched nothing: .*{words}')

    def test_no_openssl(self) -> None:
        self.check('true', words='no libssl was loaded in true')

    def test_openssl_that_is_not_called(self) -> None:
        self.check(host('guard_host'), 'idle', words='OpenSSL was loaded in guard_host: it made none')

    def test_the_guard_was_not_loaded(self) -> None:
        self.check(host('guard_static'), status=5, words='the guard was not loaded anywhere')

    def test_the_guard_was_lost_on_the_way(self) -> None:
        script = f'unset LD_PRELOAD; exec {host("guard_host")} often || true'
        self.check('sh', '-c', f'({script}); exit 0', words='no TLS call was seen')

    def test_without_fail_the_status_is_the_commands(self) -> None:
        self.assertEqual(0, self.guard('--', 'true').returncode)

    def test_another_openssl(self) -> None:
        self.check(host('guard_loader'), host('libguard_other_user.so'), status=47,
                   words=r'TLS calls in guard_loader did not go to an OpenSSL 3 or 4')
        done = self.preload(host('guard_loader'), host('libguard_other_user.so'))
        self.assertIn('TLS calls were made, but not to an OpenSSL 3 or 4', done.stderr)

    def test_openssl_inside(self) -> None:
        # As node has it. This one has no plugin to run, but that is after it was loaded.
        plugin = host('libguard_other_ssl.so')
        words = 'has an OpenSSL of its own inside'
        self.check(host('guard_loader'), plugin, status=99, words=f'guard_loader {words}')
        self.assertIn(f'libguard_other_ssl.so {words}', self.preload(host('guard_loader'), plugin).stderr)


if __name__ == '__main__':
    guard_support.main('guard_watched_test.py')
