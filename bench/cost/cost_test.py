#!/usr/bin/env python3
"""The usual paths cost no more instructions and system calls than is recorded in recorded.json.

Skipped, with the reason, where the recorded figures do not hold: another compiler, OpenSSL or optimization, no
valgrind, no strace.
"""

import json
import os
import pathlib
import subprocess
import sys
import unittest

import cost

BUILD = pathlib.Path(os.environ['HEDDLE_BUILD'])
REMEDY = ('; if that is meant, say why in the commit, and record it: '
          'bench/cost/cost.py build/release --record (./dev bench builds what it needs)')

# How often a server looks for bytes, and waits for them, depends on how what the client sends happens to be cut: not
# with one request at a time, but in the course of a connection. All else it does as often as was recorded.
ARRIVALS_SLACK = {'epoll_wait': 1000, 'recvfrom': 2}
SLACK = 0.1


def excuse(tool: str) -> str:
    """Why the recorded figures say nothing here, or nothing."""
    optimization = os.environ.get('HEDDLE_OPTIMIZATION', '')
    if optimization != '3':
        return f'recorded with optimization 3, this is {optimization}'
    if reason := cost.missing(tool):
        return reason
    here, recorded = cost.versions(BUILD), json.loads(cost.RECORDED.read_text())
    for name in ('compiler', 'openssl'):
        if here[name] != recorded[name]:
            return f'recorded with {name} {recorded[name]}, this is {here[name]}'
    return ''


class Cost(unittest.TestCase):
    def setUp(self) -> None:
        self.recorded = json.loads(cost.RECORDED.read_text())

    def test_instructions(self) -> None:
        if reason := excuse('valgrind'):
            self.skipTest(reason)
        for path, costs in cost.measure_instructions(BUILD).items():
            for kind, now in costs.items():
                with self.subTest(path=path, instructions=kind):
                    was = self.recorded['instructions'][path][kind]
                    self.assertLessEqual(
                        now, was * (1 + cost.GROWTH_MAX),
                        f'{path} takes {now:,} instructions ({kind}), {now / was - 1:.1%} more than {was:,}{REMEDY}')

    def test_system_calls(self) -> None:
        if reason := excuse('strace'):
            self.skipTest(reason)
        if subprocess.run(['strace', '-o', '/dev/null', 'true'], capture_output=True, check=False).returncode:
            self.skipTest('strace may not trace here')
        for what, calls in cost.measure_calls(BUILD).items():
            with self.subTest(what=what):
                recorded = self.recorded['system_calls'][what]
                self.assertEqual({}, grown(calls, recorded, what), f'{what}: {calls}, recorded {recorded}{REMEDY}')


def grown(calls: dict, recorded: dict, what: str) -> dict:
    """Which calls are more than was recorded, and by how much."""
    loose = ARRIVALS_SLACK if what.endswith('connection') else {}
    more = {name: round(count - recorded.get(name, 0), 2) for name, count in calls.items()}
    return {name: count for name, count in more.items() if count > loose.get(name, SLACK)}


class Reading(unittest.TestCase):
    def test_calls_are_not_counted_twice(self) -> None:
        profile = '''ob=(1) /x/cost_paths
fn=(1) outer
10 5
cob=(2) /x/libcrypto.so
cfn=(2) inner
calls=3 20
11 700
+1 2
ob=(2)
fn=(2)
20 700
ob=(1)
* 1
'''
        self.assertEqual({'/x/cost_paths': 8, '/x/libcrypto.so': 700}, cost.self_costs(profile))

    def test_table_of_strace_is_read_with_and_without_errors(self) -> None:
        table = '''% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 50.00    0.000100           1       101           sendto
 50.00    0.000100           1       110         9 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.000200           1       211         9 total
'''
        self.assertEqual({'sendto': 101, 'recvfrom': 110}, cost.parse_strace(table))

    def test_one_call_more_has_grown(self) -> None:
        recorded = {'recvfrom': 1.0, 'sendto': 1.0}
        self.assertEqual({}, grown(recorded, recorded, 'x, request'))
        self.assertEqual({'sendto': 1.0}, grown({'recvfrom': 1.0, 'sendto': 2.0}, recorded, 'x, connection'))
        self.assertEqual({'recvfrom': 1.0}, grown({'recvfrom': 2.0}, recorded, 'x, request'))
        self.assertEqual({}, grown({'recvfrom': 2.0}, recorded, 'x, connection'))
        self.assertEqual({'fstat': 1.0}, grown({'fstat': 1.0}, recorded, 'x, request'))


if __name__ == '__main__':
    sys.exit(unittest.main())
