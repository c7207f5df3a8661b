#!/usr/bin/python3
"""The guard's log and tally: they reach whom they are for, and nobody else can read, fill or replace them.

usage: guard_files_test.py [unittest arguments]; guard_support.py says what it needs of the environment.
"""

import json
import os
import stat
import unittest

import guard_support
from guard_support import CALLED_DEAD, MISLED, PEM_ENTRY, TRUTH, GuardTestCase, host, of_kind

CARELESS = CALLED_DEAD if MISLED else TRUTH  # What a program with the bug exits with, if not cured.
NOBODY = 65534
AS_NOBODY = ['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups']

for_root = unittest.skipIf(os.geteuid() != 0, 'needs to be root to become somebody else')


class LogTest(GuardTestCase):
    """--log and HEDDLE_GUARD_LOG."""

    def setUp(self) -> None:
        super().setUp()
        self.folder.chmod(0o711)
        self.victim = self.folder / 'victim'
        self.victim.write_text('untouched')

    def refused(self, words: str) -> None:
        """The log is not used: neither by the command, which says why, nor by the library, which reports elsewhere."""
        done = self.guard('--log', str(self.log), '--', host('guard_host'), 'often')
        self.assertEqual(2, done.returncode)
        self.assertRegex(done.stderr, rf'\Aheddle guard: --log {self.log}: {words}.*\n\Z')
        done = self.preload(host('guard_host'), 'often', HEDDLE_GUARD_LOG=str(self.log))
        self.assertIn(PEM_ENTRY, done.stderr)
        self.assertEqual('untouched', self.victim.read_text())

    def test_a_new_one_is_private(self) -> None:
        def run_command() -> None:
            self.guard('--log', str(self.log), '--', host('guard_host'), 'often')

        def run_library() -> None:
            self.preload(host('guard_host'), 'often', HEDDLE_GUARD_LOG=str(self.log))

        for run in (run_command, run_library):
            with self.subTest(run.__name__):
                before = os.umask(0)
                self.addCleanup(os.umask, before)
                run()
                self.assertEqual(0o600, stat.S_IMODE(self.log.stat().st_mode))
                self.assertIn(PEM_ENTRY, self.log.read_text())
                self.log.unlink()

    def test_the_mode_that_the_user_gave_it_stays(self) -> None:
        self.log.touch(0o644)
        self.guard('--log', str(self.log), '--', host('guard_host'), 'often')
        self.assertEqual(0o644, stat.S_IMODE(self.log.stat().st_mode))
        self.assertIn(PEM_ENTRY, self.log.read_text())

    def test_a_symbolic_link_is_not_followed(self) -> None:
        self.log.symlink_to(self.victim)
        self.refused('is a symbolic link')

    def test_nor_one_to_nothing(self) -> None:
        self.log.symlink_to(self.folder / 'nothing')
        self.refused('is a symbolic link')
        self.assertFalse((self.folder / 'nothing').exists())

    def test_a_file_with_a_second_name_is_not_used(self) -> None:
        self.log.hardlink_to(self.victim)
        self.refused('has a second name')

    @for_root
    def test_a_file_of_another_user_is_not_used(self) -> None:
        self.victim = self.log
        self.log.write_text('untouched')
        self.log.chmod(0o666)
        os.chown(self.log, NOBODY, NOBODY)
        self.refused('belongs to another user')

    def test_a_link_that_comes_later_is_not_followed(self) -> None:
        # The command itself replaces it: anybody who may write the folder could.
        script = f'ln -sf {self.victim} {self.log}; exec {host("guard_host")} often'
        done = self.preload('sh', '-c', script, HEDDLE_GUARD_LOG=str(self.log))
        self.assertIn(PEM_ENTRY, done.stderr)
        self.assertEqual('untouched', self.victim.read_text())

    def test_a_device_may_be_the_log(self) -> None:
        done = self.guard('--log', '/dev/full', '--', host('guard_host'), 'often')
        self.assertEqual(CARELESS, done.returncode)
        self.assertIn('2 places', done.stderr)

    @for_root
    def test_so_may_the_terminal_of_another_user(self) -> None:
        ours, theirs = os.openpty()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        os.fchown(theirs, NOBODY, NOBODY)
        done = self.guard('--log', os.ttyname(theirs), '--', host('guard_host'), 'left-by-call')
        self.assertEqual(CARELESS, done.returncode, done.stderr)
        self.assertTrue(done.stderr.startswith('heddle guard: 1 place '), done.stderr)
        self.assertIn('heddle-guard: ', os.read(ours, 1 << 16).decode())


class TallyTest(GuardTestCase):
    """What the summary is made of."""

    def test_it_is_the_users_alone(self) -> None:
        script = 'stat -c "%a %u" "$HEDDLE_GUARD_TALLY" "${HEDDLE_GUARD_TALLY%/*}"'
        done = self.guard('--', 'sh', '-c', script)
        user = os.geteuid()
        self.assertEqual(f'600 {user}\n700 {user}\n', done.stdout)

    @for_root
    def test_others_cannot_write_it(self) -> None:
        script = 'echo {} >> "$HEDDLE_GUARD_TALLY"'
        done = self.guard('--', *AS_NOBODY, 'sh', '-c', script)
        self.assertIn('Permission denied', done.stderr)

    @unittest.skipIf(os.geteuid() == 0, 'root may become somebody else, and needs them')
    def test_users_programs_inherit_no_descriptors(self) -> None:
        done = self.guard('--log', str(self.log), '--', 'ls', '/proc/self/fd')
        self.assertEqual('0 1 2 3'.split(), done.stdout.split())

    def test_it_is_not_made_anew_when_it_is_gone(self) -> None:
        script = f'rm "$HEDDLE_GUARD_TALLY"; {host("guard_host")} often; ls "${{HEDDLE_GUARD_TALLY%/*}}"'
        self.assertEqual('', self.guard('--', 'sh', '-c', script).stdout)

    def test_programs_that_close_what_they_do_not_know_are_counted(self) -> None:
        done = self.guard('--log', str(self.log), '--', host('guard_host'), 'closed')
        self.assertIn('2 places', done.stderr)
        self.assertIn(PEM_ENTRY, self.log.read_text())


    @for_root
    def test_it_does_not_grow_when_nobody_will_read_it(self) -> None:
        size = 'stat -Lc %s "/proc/$$/fd/${HEDDLE_GUARD_TALLY_FD%%:*}"'
        script = f'rm "$HEDDLE_GUARD_TALLY"; {size}; {host("guard_host")} often; {size}'
        before, after = self.guard('--', 'sh', '-c', script).stdout.split()
        self.assertEqual(before, after)


@for_root
class DemotedTest(GuardTestCase):
    """Root's command becomes somebody else who may not open the log and the tally."""

    def check(self, *command: str) -> None:
        done = self.guard('--json', '--log', str(self.log), '--', *command, cwd=self.folder)
        self.assertEqual(CARELESS, done.returncode, done.stderr)
        self.assertIn('2 places', done.stderr)
        events = [json.loads(line) for line in self.log.read_text().splitlines()]
        self.assertEqual(2, len(of_kind(events, 'dirty')))

    def test_without_a_new_program(self) -> None:
        self.check(host('guard_host'), 'demoted')

    def test_in_a_new_program(self) -> None:
        self.check(*AS_NOBODY, host('guard_host'), 'often')

    def test_a_number_that_is_another_files_now_is_left_alone(self) -> None:
        other = self.folder / 'other'
        script = ('for name in "$HEDDLE_GUARD_LOG_FD" "$HEDDLE_GUARD_TALLY_FD"; do '
                  f'eval "exec ${{name%%:*}}>>{other}"; done; exec {host("guard_host")} often')
        done = self.guard('--log', str(self.log), '--', 'bash', '-c', script)
        self.assertIn('2 places', done.stderr)
        self.assertEqual('', other.read_text())


if __name__ == '__main__':
    guard_support.main('guard_files_test.py')
