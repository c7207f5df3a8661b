#!/usr/bin/env python3
"""Adds up what `./dev test` did: names what failed and how to repeat it, prints one closing line.

Reads BUILD/results (one line per stage, written by ./dev) and, for each tree in which tests ran,
Meson's logs: testlog.json has one line per program, testlog.junit.xml GoogleTest's single cases.
"""

import collections
import json
import pathlib
import sys
import xml.etree.ElementTree as ElementTree

OUTPUT_LINES = 20  # Of a failed test.


class Summary:
    def __init__(self) -> None:
        self.counts = collections.Counter()

    def failed(self, name: str, remark: str, output: str = '') -> None:
        self.counts['failed'] += 1
        print(f'\nFAILED {name}\n    {remark}')
        for line in output.strip().splitlines()[-OUTPUT_LINES:]:
            print(f'    | {line}')

    def skipped(self, name: str, why: str, count: int = 1) -> None:
        self.counts['skipped'] += count
        print(f'\nskipped {name}: {why}')

    def add_tree(self, tree: pathlib.Path) -> None:
        """Adds every test that ran in `tree`."""
        programs = read_programs(tree)
        if not programs:
            self.failed(f'{tree.name}: no test ran', f'see {tree}/test.log')
        cases = read_cases(tree)
        for program in programs:
            self.add_program(tree, program, cases.get(program['name'], []))

    def add_program(self, tree: pathlib.Path, program: dict, cases: list) -> None:
        name = program['name'].split(' / ')[-1]  # Meson logs 'project:suite / name'.
        result = program['result']
        repeat = f'repeat: meson test -v -C {tree} {name}'
        failures = 0
        skipped = collections.defaultdict(list)
        for case in cases:
            case_name = f"{case.get('classname')}.{case.get('name')}"
            failure = case.find('failure')
            if failure is not None:
                failures += 1
                self.failed(f'{tree.name}: {name} {case_name}',
                            f'{repeat} --test-args=--gtest_filter={case_name}',
                            failure.get('message') or failure.text or '')
            elif case.find('skipped') is not None:
                skipped[reason(case)].append(case_name)
            elif case.get('status') != 'notrun':
                self.counts['passed'] += 1
        for why, names in skipped.items():
            which = names[0] if len(names) == 1 else f'{len(names)} cases'
            self.skipped(f'{tree.name}: {name} {which}', why, len(names))
        if result in ('OK', 'EXPECTEDFAIL'):
            if not cases:
                self.counts['passed'] += 1
        elif result == 'SKIP':
            self.skipped(f'{tree.name}: {name}', last_words(program))
        elif failures == 0:  # A crash, a time-out, a sanitizer's complaint at exit.
            output = program.get('stdout', '') + '\n' + program.get('stderr', '')
            self.failed(f"{tree.name}: {name} ({result}, status {program.get('returncode')})",
                        repeat, output)


def last_words(program: dict) -> str:
    """Why a program without cases was skipped: the last line that it printed, wherever to."""
    for stream in ('stdout', 'stderr'):
        if said := program.get(stream, '').strip().splitlines():
            return said[-1]
    return 'it does not say why'


def reason(case: ElementTree.Element) -> str:
    """What GTEST_SKIP() was given; the place comes before it."""
    said = (case.find('skipped').get('message') or '').strip().splitlines()
    return said[-1].strip() if said else 'it does not say why'


def read_programs(tree: pathlib.Path) -> list:
    log = tree / 'meson-logs' / 'testlog.json'
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def read_cases(tree: pathlib.Path) -> dict:
    """Returns the GoogleTest cases of each program."""
    log = tree / 'meson-logs' / 'testlog.junit.xml'
    cases = collections.defaultdict(list)
    if log.exists():
        for suite in ElementTree.parse(log).iter('testsuite'):
            name = suite.get('name', '').split('.')  # project.program.Suite
            if len(name) > 2:
                cases[name[1]] += suite.iter('testcase')
    return cases


def main(build: pathlib.Path) -> int:
    summary = Summary()
    for line in (build / 'results').read_text().splitlines():
        what, name, remark = (line.split('\t') + [''])[:3]
        if what == 'ran':
            summary.add_tree(build / name)
        elif what == 'failed':
            summary.failed(name, remark)
        elif what == 'skipped':
            summary.skipped(name, remark)
        else:
            summary.counts['passed'] += 1
    if not summary.counts:
        summary.failed('no test ran', 'see build/results')
    passed, failed, skipped = (summary.counts[what] for what in ('passed', 'failed', 'skipped'))
    print(f'\n{passed} passed, {failed} failed' + (f', {skipped} skipped' if skipped else ''))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main(pathlib.Path(sys.argv[1])))
