"""What the tests in this folder share: running a program with and without `heddle guard`, and judging what came of it."""

import importlib.util
import json
import os
import pathlib
import re
import ssl
import subprocess
import sys
import tempfile
import unittest

import certificates

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent))

from guard_pushes import SEES_PUSHES

PROGRAM = os.environ.get('HEDDLE_PROGRAM', 'heddle')
TIMEOUT = 120  # Seconds; only a failing test needs them.
SKIPPED = 77  # What Meson takes for it.
CONNECTIONS = 5


class World:
    """The certificates, in a folder that is removed at the end."""

    def __init__(self) -> None:
        self.temporary = tempfile.TemporaryDirectory(prefix='heddle-gevent-')
        self.path = pathlib.Path(self.temporary.name)
        certificates.make(self.path)


WORLD = World()


class Run:
    """A program that ran to its end, and what the guard wrote about it."""

    def __init__(self, program: str, *arguments: str, guard: tuple = ()) -> None:
        command = [sys.executable, str(HERE / program), str(WORLD.path), *arguments]
        log = WORLD.path / 'guard.json'
        log.unlink(missing_ok=True)
        if guard:
            command = [PROGRAM, 'guard', *guard[1:], '--json', '--log', str(log), '--', *command]
        environment = dict(os.environ)
        if program == 'ciphersuites.py':
            environment['OPENSSL_CONF'] = str(WORLD.path / 'ciphersuites.cnf')
        self.process = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                                      text=True, timeout=TIMEOUT)
        self.status = self.process.returncode
        self.output = self.process.stdout
        self.records = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def of_kind(self, kind: str) -> list:
        return [record for record in self.records if record['event'] == kind]

    def count(self, what: str) -> int:
        """Adds up what the guard counted. Its counts are repeated as they grow."""
        last = {(record['pid'], record['place']): record[what] for record in self.of_kind('count')}
        return sum(last.values())

    def __str__(self) -> str:
        return f'status {self.status}\n{self.output}{self.process.stderr[-4000:]}'


DETECT = ('detect',)
CURE = ('cure', '--cure')


class Program:
    """A program that shows the bug. The subclasses say which."""

    program = ''
    arguments: tuple = ()
    error = ''  # What the healthy connections are said to have: a regular expression.

    def run_it(self, guard: tuple = ()) -> Run:
        return Run(self.program, *self.arguments, guard=guard)

    def check_harmed(self, run: Run) -> None:
        harmed = re.findall(f'^healthy connection [0-9]+: {self.error}', run.output, re.MULTILINE)
        self.assertEqual(len(harmed), CONNECTIONS, run)
        self.assertIn(f'{CONNECTIONS} of {CONNECTIONS} healthy connections failed', run.output)
        self.assertEqual(run.status, 1, run)

    def check_unharmed(self, run: Run) -> None:
        self.assertIn(f'0 of {CONNECTIONS} healthy connections failed', run.output, run)
        self.assertEqual(run.status, 0, run)

    def test_plain_it_harms_healthy_connections(self) -> None:
        self.check_harmed(self.run_it())


class CurableProgram(Program):
    """What the guard can see and mend."""

    entry: tuple = ()  # The library and the reason of the entry to blame.
    call = 'SSL_read_ex'  # The call that finds it.
    leak = ''  # The line of the program that leaves it.
    reader = ('healthy.py', 'piece = connection.recv(count)')  # The line that meets it, and in which file.
    entries = CONNECTIONS  # How often it is left. Most spoil one call; those that CPython does not take out, all that follow.

    def test_detect_names_entry_and_victim(self) -> None:
        run = self.run_it(DETECT)
        self.check_harmed(run)  # To watch is not to touch.
        self.check_named(run, 'spurious')
        self.assertEqual(run.count('spurious'), CONNECTIONS, run)
        self.assertEqual(run.count('saved'), 0, run)

    def test_cure_saves_every_connection(self) -> None:
        run = self.run_it(CURE)
        self.check_unharmed(run)
        self.check_named(run, 'saved')
        self.assertEqual(run.count('saved'), self.entries, run)
        self.assertEqual(run.count('spurious'), 0, run)

    def check_named(self, run: Run, outcome: str) -> None:
        found = {(first['library'], first['reason']) for record in run.of_kind('dirty')
                 for first in record['entries'][:1] if record['call'] == self.call}
        self.assertIn(self.entry, found, run)
        self.check_lines(run)
        outcomes = {(record['call'], record['outcome']) for record in run.of_kind('outcome')}
        self.assertIn((self.call, outcome), outcomes, run)


    def check_lines(self, run: Run) -> None:
        """The program's own lines stand in the report, the log and the summary."""
        if not SEES_PUSHES:
            return
        leaker = place(self.program, self.leak)
        for record in run.of_kind('dirty'):
            if record['call'] != self.call:
                continue
            self.assertIn(leaker, lines(record['entries'][0]['origin']['python']), run)
            self.assertIn(place(*self.reader), lines(record['python']), run)
        self.assertRegex(run.process.stderr, rf'left by: \S*{leaker[0]}:{leaker[1]} in ', run)


def place(name: str, text: str) -> tuple:
    """Returns file and number of the line that holds `text`."""
    numbers = [number for number, line in enumerate((HERE / name).read_text().splitlines(), 1) if text in line]
    assert len(numbers) == 1, (name, text, numbers)
    return name, numbers[0]


def lines(stack: list) -> list:
    return [(pathlib.Path(frame['file']).name, frame['line']) for frame in stack]


def main(reason_to_skip: str = '') -> None:
    """Runs the tests of the program that was started."""
    if not importlib.util.find_spec('gevent'):
        reason_to_skip = 'python3-gevent is not installed'
    print(f'{ssl.OPENSSL_VERSION}, Python {sys.version.split()[0]}', file=sys.stderr)
    if reason_to_skip:
        print(f'skipped: {reason_to_skip}', file=sys.stderr)
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
