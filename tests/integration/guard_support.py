"""What the tests of the guard share: the programs, and how the guard is put into them. No tests.

Meson sets $HEDDLE_PROGRAM, $HEDDLE_PYTHON, $HEDDLE_GUARD_MODULE and $HEDDLE_GUARD_HOSTS, the folder of the programs that the
guard is loaded into (guard_host.cpp and its neighbours).
"""

import json
import os
import pathlib
import ssl
import subprocess
import sys
import tempfile
import unittest

PROGRAM = os.environ.get('HEDDLE_PROGRAM', '')
PYTHON = os.environ.get('HEDDLE_PYTHON', sys.executable)
MODULE = os.environ.get('HEDDLE_GUARD_MODULE', '')
HOSTS = pathlib.Path(os.environ.get('HEDDLE_GUARD_HOSTS', '.'))
HERE = pathlib.Path(__file__).parent
TIMEOUT = 60  # Seconds; generous, for busy machines.

TRUTH, CALLED_DEAD = 0, 3  # What guard_host exits with.
PEM_ENTRY = 'PEM routines'

# OpenSSL 4 looks at the connection before the queue, so there nothing is called dead.
MISLED = ssl.OPENSSL_VERSION_INFO[0] == 3


def host(name: str) -> str:
    return str(HOSTS / name)


class GuardTestCase(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix='heddle-guard-test-')
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.log = self.folder / 'log'

    @staticmethod
    def clean_environment() -> dict:
        return {name: value for name, value in os.environ.items()
                if not name.startswith(('HEDDLE_GUARD', 'LD_PRELOAD', 'ASAN_OPTIONS'))}

    def environment(self, mode: str, **more: str) -> dict:
        return {**self.clean_environment(), 'LD_PRELOAD': MODULE, 'HEDDLE_GUARD': mode, **more}

    def preload(self, *command: str, mode: str = 'detect', **more: str):
        """Runs a command with the module loaded; what it reports is in its standard error."""
        return subprocess.run(command, env=self.environment(mode, **more), capture_output=True,
                              text=True, timeout=TIMEOUT, check=False)

    def events(self, *command: str, mode: str = 'detect', expected: int, **more: str) -> list:
        """Runs a command and returns its JSON lines. Every line must be one."""
        done = self.preload(*command, mode=mode, HEDDLE_GUARD_LOG=str(self.log),
                            HEDDLE_GUARD_FORMAT='json', **more)
        self.assertEqual(expected, done.returncode, done.stderr)
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [json.loads(line) for line in lines]

    def guard(self, *arguments: str, variables: dict = {}, **options):
        environment = {**self.clean_environment(), 'HEDDLE_GUARD_LIBRARY': MODULE, **variables}
        return subprocess.run([PROGRAM, 'guard', *arguments], env=environment, capture_output=True,
                              text=True, timeout=TIMEOUT, check=False, **options)


def of_kind(events: list, kind: str) -> list:
    return [event for event in events if event['event'] == kind]


def main(name: str) -> None:
    if not PROGRAM or not MODULE:
        sys.exit(f'{name}: needs HEDDLE_PROGRAM and HEDDLE_GUARD_MODULE; run it with meson test')
    unittest.main()
