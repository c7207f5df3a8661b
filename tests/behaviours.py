"""Keeps BEHAVIOURS.md true: tests that it names exist, and the numbers are those of its rows.

tidy.py calls it.
"""

import ast
import collections
import functools
import pathlib
import re

STATES = ('shown', 'differs', 'absent')
SUM = re.compile(r'(\d+) behaviours: (\d+) shown, (\d+) differ, (\d+) absent')
CPYTHON = re.compile(r'`\w+\.test_\w+`')
FILE = re.compile(r'[\w/]+\.(?:cpp|py)')
TEST = re.compile(r'[A-Z]\w*\.\w+')


@functools.lru_cache(maxsize=None)
def tests_in(path: pathlib.Path) -> set:
    """Returns the tests of a file, "Suite.Name" each."""
    text = path.read_text()
    if path.suffix == '.cpp':
        return {'.'.join(names)
                for names in re.findall(r'^TEST(?:_[FP])?\(\s*(\w+),\s*(\w+)\)', text, re.MULTILINE)}
    return {f'{suite.name}.{test.name}' for suite in ast.parse(text).body
            if isinstance(suite, ast.ClassDef)
            for test in suite.body
            if isinstance(test, ast.FunctionDef) and test.name.startswith('test')}


def named(cell: str):
    """Yields (file, test) for each test that a cell names: a file stands before its tests."""
    file = None
    for word in re.findall(r'`([^`]*)`', cell):
        if FILE.fullmatch(word):
            file = word
        elif file and TEST.fullmatch(word):
            yield file, word


def row_offences(tests: pathlib.Path, cells: list):
    """Yields what is wrong with one row; its last cell names the tests."""
    found = list(named(cells[-1]))
    for file, test in found:
        path = tests / file
        if not path.is_file():
            yield f'there is no tests/{file}'
        elif test not in tests_in(path):
            yield f'tests/{file} has no test {test}'
    if len(cells) != 4 or not CPYTHON.fullmatch(cells[1]):
        return
    if cells[2] not in STATES:
        yield f'"{cells[2]}" is none of {", ".join(STATES)}'
    elif cells[2] == 'shown' and not found:
        yield 'it is said to be shown, and no test is named'
    elif cells[2] != 'shown' and cells[3].startswith(('`unit/', '`sim/', '`integration/')):
        yield 'a reason comes first, and then tests'


def offences(root: pathlib.Path):
    """Yields (path, line number, what is wrong)."""
    path = root / 'tests/BEHAVIOURS.md'
    counted = collections.Counter()
    said = None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if found := SUM.match(line):
            said = (number, [int(each) for each in found.groups()])
        if not line.startswith('| '):
            continue
        cells = [cell.strip() for cell in line.strip('|').split(' | ')]
        if len(cells) == 4 and CPYTHON.fullmatch(cells[1]):
            counted[cells[2]] += 1
        for what in row_offences(path.parent, cells):
            yield path, number, what
    numbers = [sum(counted.values()), *(counted[state] for state in STATES)]
    if said is None:
        yield path, 1, 'it says nowhere "N behaviours: N shown, N differ, N absent"'
    elif said[1] != numbers:
        yield path, said[0], 'counted: {} behaviours: {} shown, {} differ, {} absent'.format(*numbers)
