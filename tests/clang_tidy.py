#!/usr/bin/env python3
"""Runs clang-tidy over src/, several files in one translation unit: most of its time goes into headers.

usage: clang_tidy.py [--all] ROOT TREE [FILE]...

TREE is a build tree of clang's. Checks every file of ROOT/src that TREE builds, or those that are named; not
those that it found clean before (TREE/../tidy/clean) and that nothing has changed for since: neither they, nor
headers of ours that they include, nor their command, nor .clang-tidy, nor clang-tidy. --all checks these, too.

Files of one layer are put together if no name of theirs clashes. What such a group does not pass is checked
again file by file, and that is what is reported: a group can make no finding of its own.
"""

import argparse
import collections
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

GROUP_MAX = 12
# A name that is declared at the left margin, where clang-format puts all that is in a namespace.
DECLARED = re.compile(r'^(?:(?:class|struct|enum class|enum) (\w+)[^;]*\{$|'
                      r'(?!namespace|class|struct|enum)(?:[\w:<>,&*\[\]]+ )+[*&]*(\w+)\s*[({=;])', re.M)
MACRO = re.compile(r'^\s*#\s*define\s+(\w+)', re.M)
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)


class Source:
    """A file, with the command that compiles it."""

    def __init__(self, root: pathlib.Path, entry: dict) -> None:
        self.path = pathlib.Path(os.path.normpath(pathlib.Path(entry['directory'], entry['file'])))
        self.layer = self.path.relative_to(root).parts[1]
        self.directory = entry['directory']
        self.flags = flags_of(entry['command'])
        text = self.path.read_text()
        self.names = {a or b for a, b in DECLARED.findall(text)} | set(MACRO.findall(text))

    @functools.cached_property
    def root_key(self) -> tuple:
        return self.layer, self.directory, tuple(self.flags)


def flags_of(command: str) -> list:
    """The options that decide what the compiler sees. Without sanitizers: code under test for one is rare."""
    flags = []
    words = iter(shlex.split(command)[1:])
    for word in words:
        if word in ('-o', '-MF', '-MQ', '-c'):
            next(words, None)
        elif word.startswith(('-I', '-isystem', '-D', '-U', '-W', '-std', '-f')):
            if not word.startswith(('-fsanitize', '-fno-omit')):
                flags.append(word + next(words) if word in ('-I', '-isystem', '-D') else word)
    return flags


def sources_of(root: pathlib.Path, tree: pathlib.Path) -> list:
    found = {}
    for entry in json.loads((tree / 'compile_commands.json').read_text()):
        path = pathlib.Path(os.path.normpath(pathlib.Path(entry['directory'], entry['file'])))
        if path.is_relative_to(root / 'src') and path.suffix == '.cpp':
            found.setdefault(path, Source(root, entry))
    return [found[path] for path in sorted(found)]


# --- What has not changed -----------------------------------------------------------------------


class Digests:
    def __init__(self, root: pathlib.Path) -> None:
        self.roots = [root / 'include', root / 'src']
        version = subprocess.run(['clang-tidy', '--version'], capture_output=True, check=True).stdout
        self.common = version + (root / '.clang-tidy').read_bytes() + pathlib.Path(__file__).read_bytes()

    @functools.cache
    def content(self, path: pathlib.Path) -> bytes:
        return path.read_bytes()

    def closure(self, path: pathlib.Path, seen: set) -> set:
        """`path` and what it includes of ours."""
        if path not in seen:
            seen.add(path)
            for name in INCLUDE.findall(self.content(path).decode()):
                for found in (top / name for top in self.roots):
                    if found.exists():
                        self.closure(found, seen)
        return seen

    def of(self, source: Source) -> str:
        digest = hashlib.sha256(self.common + repr(source.root_key).encode())
        for path in sorted(self.closure(source.path, set())):
            digest.update(f'{path}\n'.encode() + hashlib.sha256(self.content(path)).digest())
        return digest.hexdigest()


# --- Groups -------------------------------------------------------------------------------------


def groups_of(sources: list) -> list:
    """Puts together what is compiled in the same way and declares nothing twice; large groups first."""
    by_key = collections.defaultdict(list)
    for source in sources:
        groups = by_key[source.root_key]
        for group in groups:
            if len(group) < GROUP_MAX and not any(source.names & other.names for other in group):
                group.append(source)
                break
        else:
            groups.append([source])
    return sorted((group for groups in by_key.values() for group in groups), key=len, reverse=True)


def run(path: pathlib.Path, like: Source) -> subprocess.CompletedProcess:
    return subprocess.run(['clang-tidy', '-quiet', str(path), '--', *like.flags], cwd=like.directory,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def check_alone(source: Source) -> tuple:
    done = run(source.path, source)
    return source, done.returncode == 0, done.stdout


def check_group(folder: pathlib.Path, group: list) -> list:
    """Returns (source, whether it is clean, what clang-tidy said) for each of the group."""
    if len(group) == 1:
        return [check_alone(group[0])]
    # The name matters: clang's analyzer looks at what a "UnifiedSource" includes as at the file itself.
    unified = folder / f'UnifiedSource_{group[0].layer}_{group[0].path.stem}_{len(group)}.cpp'
    unified.write_text(''.join(f'#include "{source.path}"  // NOLINT(bugprone-suspicious-include)\n'
                               for source in group))
    done = run(unified, group[0])
    if done.returncode == 0:
        return [(source, True, '') for source in group]
    if 'clang-diagnostic-error' in done.stdout:  # Names clash after all.
        half = len(group) // 2
        return check_group(folder, group[:half]) + check_group(folder, group[half:])
    return [check_alone(source) for source in group]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--all', action='store_true')
    parser.add_argument('root', type=pathlib.Path)
    parser.add_argument('tree', type=pathlib.Path)
    parser.add_argument('files', type=pathlib.Path, nargs='*')
    arguments = parser.parse_args()
    root, tree = arguments.root.resolve(), arguments.tree.resolve()

    sources = sources_of(root, tree)
    if arguments.files:
        wanted = {path.resolve() for path in arguments.files}
        sources = [source for source in sources if source.path in wanted]
    if not sources:
        print(f'clang_tidy: {tree} builds none of the files')
        return 1
    folder = tree.parent / 'tidy'
    folder.mkdir(exist_ok=True)
    memory = folder / 'clean'
    digests = Digests(root)
    digest_of = {source: digests.of(source) for source in sources}
    clean = set(memory.read_text().split()) if memory.exists() and not arguments.all else set()
    changed = [source for source in sources if digest_of[source] not in clean]
    groups = groups_of(changed)
    print(f'clang_tidy: {len(changed)} of {len(sources)} files in {len(groups)} groups', flush=True)

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        tasks = [pool.submit(check_group, folder, group) for group in groups]
        for task in concurrent.futures.as_completed(tasks):
            for source, is_clean, said in task.result():
                if is_clean:
                    clean.add(digest_of[source])
                else:
                    failed += 1
                    print(said, flush=True)
    memory.write_text('\n'.join(sorted(clean)) + '\n')
    print(f'clang_tidy: {failed} files with findings')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
