#!/usr/bin/python3
"""heddle demo with few connections: its figures must agree with each other.

usage: demo_test.py [HEDDLE] [unittest arguments]; without HEDDLE, $HEDDLE_PROGRAM is run.
"""

import json
import os
import subprocess
import sys
import unittest

PROGRAM = os.environ.get('HEDDLE_PROGRAM', '')
TIMEOUT = 150  # Seconds; generous, for sanitizer builds on busy machines.
CONNECTIONS = 60


def run_demo(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([PROGRAM, 'demo', *arguments], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=TIMEOUT, check=False)


class DemoTest(unittest.TestCase):
    def test_shared_reproduces_and_isolated_does_not(self) -> None:
        done = run_demo('--connections', str(CONNECTIONS), '--seconds', '1', '--json')
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        figures = json.loads(done.stdout)
        self.assertTrue(figures['as_expected'])
        policies = {report['policy']: report for report in figures['policies']}
        self.assertEqual(['shared', 'clear', 'isolated'], list(policies))
        self.assertGreater(policies['shared']['spurious_errors'], 0)
        self.assertEqual(0, policies['isolated']['spurious_errors'])
        for report in policies.values():
            with self.subTest(policy=report['policy']):
                self.check_consistent(report)

    def check_consistent(self, report: dict) -> None:
        self.assertEqual(CONNECTIONS, report['healthy_connections'])
        self.assertLessEqual(report['spurious_errors'], CONNECTIONS)
        self.assertEqual(report['spurious_errors'],
                         sum(report['spurious_errors_by_reason'].values()))
        self.assertEqual(report['misdeeds'], sum(report['misdeeds_by_kind'].values()))
        self.assertGreaterEqual(report['seconds'], 1)
        self.assertAlmostEqual(report['requests_per_second'] * report['seconds'],
                               report['requests_answered'], delta=1)
        if report['policy'] == 'isolated':
            for name, count in report['misdeeds_by_kind'].items():
                self.assertGreater(count, 0, name)
            self.assertGreater(report['requests_answered'], CONNECTIONS)

    def test_plain_output_has_a_line_per_policy_and_ends_with_the_sentence(self) -> None:
        done = run_demo('--connections', str(CONNECTIONS), '--seconds', '0.5')
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        lines = done.stdout.splitlines()
        for number, policy in enumerate(('shared', 'clear', 'isolated'), 1):
            self.assertTrue(lines[number].startswith(policy), done.stdout)
        self.assertTrue(lines[-1].endswith('isolated: none.'), done.stdout)
        self.assertNotIn('\033', done.stdout + done.stderr)
        self.assertNotIn('\r', done.stderr)

    def test_more_connections_than_fit_are_refused_in_one_line(self) -> None:
        done = run_demo('--connections', '1000000')
        self.assertEqual(2, done.returncode)
        self.assertEqual('', done.stdout)
        self.assertRegex(done.stderr, r'\Aheddle demo: 1000000 connections: .* need .*\n\Z')


if __name__ == '__main__':
    if len(sys.argv) > 1 and os.path.isfile(sys.argv[1]):
        PROGRAM = os.path.abspath(sys.argv.pop(1))
    if not PROGRAM:
        sys.exit('demo_test.py: needs a heddle program')
    unittest.main()
