#!/usr/bin/env python3
"""The shared libraries export what the public headers declare, and nothing else.

HEDDLE_SHARED and HEDDLE_STATIC are the libraries, separated by colons.
"""

import functools
import os
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = os.environ['HEDDLE_SHARED'].split(':')
STATIC = os.environ['HEDDLE_STATIC'].split(':')

TOKEN = re.compile(
    r'(?:inline\s+)?namespace\s+(?P<namespace>[\w:]+)\s*\{'
    r'|(?P<template>template\s*<)'
    r'|(?P<kind>class|struct)\s+(?:\[\[\w+\]\]\s*)?(?P<mark>HEDDLE_API\s+)?(?P<type>\w+)[^;{()]*\{'
    r'|\s*(?P<marked>HEDDLE_API\s+)?[\w:<>,*& ]*?[\w>*&]\s+[*&]?(?P<function>\w+)\s*'
    r'\((?:[^{};]|\{\})*\)[^{};()]*;'
    r'|(?P<open>\{)|(?P<close>\})|(?P<end>;)')


class Header:
    """What one public header declares at namespace scope: qualified name -> whether it is marked."""

    def __init__(self, path: pathlib.Path):
        self.text = re.sub(r'//[^\n]*|/\*.*?\*/|^\s*#[^\n]*|"[^"\n]*"', '', path.read_text(),
                           flags=re.DOTALL | re.MULTILINE)
        self.marks = {}
        self.templates = set()
        scopes = []  # A namespace's name, or None for any other brace.
        template = False
        for found in TOKEN.finditer(self.text):
            outside = None not in scopes
            name = '::'.join([scope for scope in scopes if scope] +
                             [found['type'] or found['function'] or ''])
            if found['namespace']:
                scopes.append(found['namespace'])
            elif found['template']:
                template = template or outside
                continue
            elif found['type'] or found['function']:
                if outside and template:
                    self.templates.add(name)
                elif outside and not re.match(r'\s*(return|using|friend|inline|constexpr)\b', found[0]):
                    self.marks[name] = bool(found['mark'] or found['marked'])
                scopes += [None] if found['type'] else []
            elif found['open']:
                scopes.append(None if scopes and scopes != [''] else '')  # extern "C" is no scope.
            elif found['close']:
                scopes.pop()
            template = template and not outside


@functools.lru_cache
def symbols(path: str, *options: str) -> list:
    """Returns (kind, name) for what `path` defines, as nm(1) shows it."""
    lines = subprocess.run(['nm', '-C', '--defined-only', *options, path], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    return [(line.split()[1], line.split(maxsplit=2)[2]) for line in lines
            if re.match(r'[0-9a-f]+ \w ', line)]


def qualified(symbol: str) -> str:
    """Returns the name alone: "heddle::Stream::read" of what is a function of it."""
    symbol = re.sub(r'^(vtable|typeinfo|typeinfo name|VTT|guard variable) for |^(non-)?virtual thunk to ',
                    '', symbol)
    return re.split(r'[(\[<]', symbol.replace('operator()', 'operator'))[0].split(' ')[-1]


class Exports(unittest.TestCase):
    def setUp(self):
        self.headers = [Header(path) for path in sorted((ROOT / 'include').rglob('*.h*'))
                        if path.suffix in ('.h', '.in')]
        self.marks = {}
        for header in self.headers:
            for name, marked in header.marks.items():
                self.marks[name] = self.marks.get(name, False) or marked
        self.marked = {name for name, marked in self.marks.items() if marked}
        self.templates = set().union(*(header.templates for header in self.headers))
        self.assertGreater(len(self.marked), 80)  # Else the headers were not understood.

    def declared(self, name: str):
        """Returns the declaration at namespace scope that `name` belongs to, or None."""
        parts = name.split('::')
        for end in range(len(parts), 0, -1):
            whole = '::'.join(parts[:end])
            if whole in self.marks or whole in self.templates:
                return whole
        return None

    def is_public(self, name: str) -> bool:
        whole = self.declared(name)
        if whole is None or not (whole in self.marked or whole in self.templates):
            return False
        # A class within a class is public only if a header shows what is in it.
        inside = name[len(whole):].split('::')[1:-1]
        return all(re.search(rf'\b(class|struct)\s+{nested}\b[^;{{()]*\{{', header.text) or
                   nested.startswith('operator')
                   for nested in inside
                   for header in self.headers if whole in header.marks)

    def test_nothing_else_is_exported(self):
        for path in SHARED:
            offences = []
            for kind, symbol in symbols(path, '-D'):
                name = qualified(symbol)
                # The standard library's templates are weak, and the same in every program.
                if kind in 'WVu' and not name.startswith('heddle'):
                    continue
                if not self.is_public(name):
                    offences.append(f'{kind} {symbol}')
            self.assertEqual(offences, [], f'{path} exports what no public header marks HEDDLE_API')

    def test_everything_that_headers_mark_is_exported(self):
        exported = set()
        for path in SHARED:
            exported |= {self.declared(qualified(symbol)) for _, symbol in symbols(path, '-D')}
        self.assertEqual(self.marked - exported, set(), 'marked HEDDLE_API, but exported nowhere')

    def test_everything_that_headers_declare_is_marked(self):
        hidden = set()
        for path in STATIC:
            for kind, symbol in symbols(path):
                name = self.declared(qualified(symbol))
                if kind in 'TDBR' and name in self.marks and name not in self.marked:
                    hidden.add(name)
        self.assertEqual(hidden, set(), 'declared in a public header, but not marked HEDDLE_API')

    def test_the_harness_carries_no_second_library(self):
        stale = [path for path in SHARED if 'stale' in path]
        self.assertEqual(len(stale), 1)
        needed = subprocess.run(['readelf', '-d', *stale], check=True, capture_output=True,
                                text=True).stdout
        self.assertRegex(needed, r'\[libheddle\.so\.\d+\.\d+\]')
        inside = [symbol for kind, symbol in symbols(stale[0]) if kind in 'Tt'
                  and re.match(r'heddle::(fiber|tls|io|transport|Stream|Runtime|Context)::', symbol)]
        self.assertEqual(inside, [])


if __name__ == '__main__':
    sys.exit(unittest.main())
