#!/usr/bin/env python3
"""Checks what the compiler cannot: who may include whom, what is banned, what nobody builds.

Run by `meson test --suite tidy`. Prints file:line for each offence.
"""

import pathlib
import re
import sys

import behaviours
import foreign_calls
import header_index

# Layer -> what its files may include, with the delimiter: our private "openssl/..." is not OpenSSL's
# <openssl/...>. Anything in <> that is not RESTRICTED is the standard library or libc, and allowed.
LAYERS = {
    'include/heddle': ['"heddle/'],
    'src/base': ['"heddle/', '"base/'],
    'src/openssl': ['"heddle/', '"base/', '"openssl/', '<openssl/'],
    'src/fiber': ['"heddle/', '"base/', '"fiber/', '<boost/context/',
                  '<valgrind/'],
    'src/transport': ['"heddle/', '"base/', '"fiber/', '"transport/'],
    'src/io': ['"heddle/', '"base/', '"fiber/', '"transport/', '"io/', '<sys/epoll.h', '<ares.h'],
    'src/tls': ['"heddle/', '"base/', '"openssl/', '"fiber/', '"transport/', '"tls/', '<openssl/'],
    'src/watch': ['"heddle/', '"base/', '"fiber/', '"watch/'],
    'src/guard': ['"guard/', '<openssl/'],
    'src/http': ['"heddle/', '"base/', '"http/'],
    'src/stale': ['"heddle/', '"base/', '"openssl/', '"stale/', '<openssl/', '<fmt/'],
    'src/pch': ['"pch/', '<openssl/', '<fmt/'],
    'src/cli': ['"heddle/', '"base/', '"http/', '"cli/', '<CLI/', '<fmt/'],
}
# Rooms of a layer, lowest first: each includes what is in it and in those before it.
ROOMS = {
    'src/tls': ['x509', 'kernel', 'wire', 'machine', 'state', 'keys', 'callbacks', 'context', 'connection',
                'tunnel'],
}
RESTRICTED = ('"', '<heddle/', '<boost/', '<openssl/', '<sys/epoll.h', '<ares', '<valgrind/', '<CLI/',
              '<fmt/')

BANNED = {
    r'(steady|system)_clock::now|\bclock_gettime\b': 'ask the Source for the time',
    r'\bsleep_for\b|\bsleep\(|\busleep\(': 'park on a deadline',
    r'\brand\(|random_device': 'take a seeded generator',
    r'unordered_(map|set)<[^>]*\*|\b(map|set)<[^,>]*\*': 'ordered by address: not reproducible',
    r'\bSSL_get_error\(|\bERR_get_error\(': 'go through Engine::call()',
    r'catch \(\.\.\.\)': 'would swallow a forced unwind',
}
# So heavy that one file includes it for all.
ONCE = {'<CLI/': 'src/cli/command_line.cpp'}
# Layers that call what the program has handed to them.
FOREIGN_CALLERS = ('src/fiber', 'src/transport', 'src/io', 'src/tls', 'src/watch')

# The namespaces of layers: what may not be included must not be declared by hand either. That of `stale`
# is public.
NAMESPACES = [layer.removeprefix('src/') for layer in LAYERS
              if layer not in ('include/heddle', 'src/pch', 'src/stale')]

EXCUSE = 'tidy: '  # `// tidy: why this is fine here` on the line or the one above.

LINES_MAX = 500


def style_offences(path: pathlib.Path, lines: list):
    """Yields (line number, what is wrong) for the rules that hold everywhere."""
    if len(lines) > LINES_MAX:
        yield 1, f'{len(lines)} lines, at most {LINES_MAX}: split it'
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            yield number, 'trailing whitespace'
        if re.search(r'\bTODO\b(?!\(#\d+\))', line):
            yield number, 'such a note names its issue: TODO(#12)'  # tidy: this is the rule itself.


def above(layer: str) -> list:
    """Returns the namespaces of the layers that `layer` does not know."""
    if layer == 'include/heddle':  # It names what its users' objects are made of.
        return []
    return [name for name in NAMESPACES if f'"{name}/' not in LAYERS[layer]]


def layer_offences(layer: str, name: str, lines: list):
    """Yields (line number, what is wrong) for the rules of the product's own code."""
    if not lines or not lines[0].startswith('//'):
        yield 1, 'a file begins with a comment on what it is for'
    for number, line in enumerate(lines, 1):
        include = re.match(r'\s*#\s*include\s*([<"][^>"]+)', line)
        if include and include[1].startswith(RESTRICTED):
            if not include[1].startswith(tuple(LAYERS[layer])):
                yield number, f'{layer} must not include {include[1][1:]}'
        for heavy, user in ONCE.items():
            if include and include[1].startswith(heavy) and name != user:
                yield number, f'only {user} includes {include[1][1:]}'
        code = line.split('//')[0]
        for unknown in above(layer):
            if re.search(rf'\bnamespace (heddle::)?{unknown}\b|(?<![\w:]){unknown}::', code):
                yield number, f'{layer} must not know {unknown}::'
        for pattern, remedy in BANNED.items():
            if re.search(pattern, code):
                yield number, f'banned: {remedy}'


def room_offences(path: pathlib.PurePath, lines: list):
    """Yields (line number, what is wrong) for a layer that has rooms."""
    top, layer, *inside = path.parts
    rooms = ROOMS.get(f'{top}/{layer}')
    if rooms is None:
        return
    if len(inside) != 2 or inside[0] not in rooms:
        yield 1, f'{top}/{layer} has rooms, lowest first: {", ".join(rooms)}'
        return
    for number, line in enumerate(lines, 1):
        include = re.match(rf'\s*#\s*include\s*"{layer}/(\w+)/', line)
        if include and include[1] in rooms and rooms.index(include[1]) > rooms.index(inside[0]):
            yield number, f'{layer}/{inside[0]} is below {layer}/{include[1]}, and must not include it'


def unbuilt(root: pathlib.Path, paths: list):
    """Yields the sources and public headers that no meson.build names."""
    named = set()
    for top in ('src', 'tests', 'bench'):
        for file in (root / top).rglob('meson.build'):
            folder = file.parent.relative_to(root / top)
            code = (line.split('#')[0] for line in file.read_text().splitlines())
            named |= {str(folder / name) for line in code for name in re.findall(r"'([^']*)'", line)}
    for path in paths:
        top, *rest = path.relative_to(root).parts
        name = '/'.join(rest[1:] if top == 'include' else rest)
        if path.suffix == '.cpp' or top == 'include' or name.endswith('_test.py'):
            if not named & {name, name.removesuffix('.cpp'), name.removesuffix('.py')}:
                yield path


def check(root: pathlib.Path) -> int:
    offences = 0

    def report(path: pathlib.Path, number: int, what: str) -> None:
        nonlocal offences
        offences += 1
        print(f'{path}:{number}: {what}')

    paths = [path for top in ('include', 'src', 'tests', 'bench')
             for path in sorted((root / top).rglob('*')) if path.suffix in ('.h', '.cpp', '.py')]
    for path in paths:
        lines = path.read_text().splitlines()
        found = list(style_offences(path, lines))
        top, layer, *_ = path.relative_to(root).parts
        if f'{top}/{layer}' in LAYERS:
            found += layer_offences(f'{top}/{layer}', path.relative_to(root).as_posix(), lines)
            found += room_offences(path.relative_to(root), lines)
        elif top in ('include', 'src'):
            found.append((1, f'{top}/{layer} is no layer: add it to {pathlib.Path(__file__).name}'))
        for number, what in found:
            if not any(EXCUSE in line for line in lines[max(number - 2, 0):number]):
                report(path, number, what)
    for path, number, what in foreign_calls.offences(root, FOREIGN_CALLERS):
        lines = path.read_text().splitlines()
        if not any(EXCUSE in line for line in lines[max(number - 2, 0):number]):
            report(path, number, what)
    for path, number, what in behaviours.offences(root):
        report(path, number, what)
    for path in unbuilt(root, paths):
        report(path, 1, 'no meson.build names it, so nobody compiles it')
    if not header_index.is_true(root):
        report(root / 'include/README.md', 1, 'not what the headers say; mend: tests/header_index.py .')
    return offences


if __name__ == '__main__':
    sys.exit(1 if check(pathlib.Path(sys.argv[1])) else 0)
