#!/usr/bin/env python3
"""Consumers of a real RabbitMQ beside HTTPS servers whose clients vanish: README.md tells the story.

usage: production_test.py [PROGRAM] [unittest arguments]; without PROGRAM, $HEDDLE_PRODUCTION is run.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

from broker import Broker

PROGRAM = os.environ.get('HEDDLE_PRODUCTION', '')
PATIENCE = 150  # Seconds; the program gives up on its own before.

# What the vanished clients of a phase make of a thread without isolation: whether OpenSSL, from the
# first version on and before the second, leaves an entry in its error queue *and* believes it later.
HARMFUL = {
    # Heddle collects what OpenSSL writes and sends it itself, so OpenSSL never sees a write fail.
    'download_aborted': None,
    # "unexpected eof while reading", since 3.0.
    'left_without_goodbye': ((3, 0), (4, 0)),
    # A failed write has left an entry since 3.4. CPython issue #148594 is this one.
    'careless_download_aborted': ((3, 4), (4, 0)),
}

WHOLE_ANSWERS = {'left_without_goodbye'}  # In the other phases, all answers are cut.


def is_harmful(phase: str, openssl: str) -> bool:
    versions = HARMFUL[phase]
    version = tuple(int(part) for part in openssl.split('.')[:2])
    return versions is not None and versions[0] <= version < versions[1]


class ProductionTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory(prefix='heddle-rabbitmq-')
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.broker = Broker(cls.folder)
        cls.addClassCleanup(cls.broker.stop)
        cls.broker.start()

    def report(self, policy: str) -> dict:
        """Runs the program, and checks what holds under every policy."""
        site = self.folder / f'site-{policy}'
        site.mkdir()
        done = subprocess.run(
            [PROGRAM, policy, f'127.0.0.1:{self.broker.port}', self.broker.certificate, site],
            capture_output=True, text=True, timeout=PATIENCE, check=False)
        self.assertEqual(0, done.returncode, done.stderr + self.broker.said())
        report = json.loads(done.stdout)
        self.assertEqual(list(HARMFUL), [phase['name'] for phase in report['phases']])
        for phase in report['phases']:
            print(f"{policy}, OpenSSL {report['openssl']}, {phase['name']}: {phase['spurious']} "
                  f"connections declared dead, {phase['reasons']}", file=sys.stderr)
            with self.subTest(policy=policy, phase=phase['name']):
                self.check_phase(phase)
        # All that was acknowledged has arrived at RabbitMQ.
        self.assertEqual(0, report['left_in_queues'])
        return report

    def check_phase(self, phase: dict) -> None:
        whole = phase['name'] in WHOLE_ANSWERS
        self.assertEqual(phase['clients'], phase['answers_complete' if whole else 'answers_cut'])
        self.assertEqual(0, phase['answers_cut' if whole else 'answers_complete'])
        self.assertEqual(phase['published'], phase['delivered'])
        self.assertEqual(0, phase['broken'], self.broker.said())

    def test_isolated_consumers_notice_nothing(self) -> None:
        self.check_that_nothing_is_noticed('isolated')

    def test_cleared_consumers_notice_nothing(self) -> None:
        self.check_that_nothing_is_noticed('clear')

    def check_that_nothing_is_noticed(self, policy: str) -> None:
        for phase in self.report(policy)['phases']:
            with self.subTest(phase=phase['name']):
                self.assertEqual(({}, 0, 0),
                                 (phase['reasons'], phase['spurious'], phase['duplicates']))

    def test_shared_consumers_are_declared_dead_where_openssl_leaves_an_entry(self) -> None:
        report = self.report('shared')
        for phase in report['phases']:
            with self.subTest(phase=phase['name'], openssl=report['openssl']):
                if is_harmful(phase['name'], report['openssl']):
                    # Each round leaves an entry, and somebody finds it.
                    self.assertGreaterEqual(phase['spurious'], phase['rounds'])
                else:
                    self.assertEqual(({}, 0), (phase['reasons'], phase['spurious']))


if __name__ == '__main__':
    if len(sys.argv) > 1 and not sys.argv[1].startswith('-'):
        PROGRAM = sys.argv.pop(1)
    # As what unittest does not catch, so that the clean-up comes at once.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        unittest.main(verbosity=2)
    finally:
        ProductionTest.doClassCleanups()  # Interrupted, unittest has not done them.
