#!/usr/bin/env python3
"""Runs clang-tidy over src/, several files in one translation unit: most of its time goes into headers.

usage: clang_tidy.py [--all] ROOT TREE [FILE]...

TREE is a build tree of clang's. Checks every file of ROOT/src that TREE builds, or those that are named; not
those that it found clean before (TREE/../tidy/clean) and that nothing has changed for since: neither they, nor
headers of ours that they include, nor their command, nor .clang-tidy, nor clang-tidy. --all checks these, too.

clang's analyzer leaves a function after NODES_MAX steps, by default after 225,000. It goes through nineteen functions
in twenty whole with either. With --all it has its default.

Files that are compiled alike are put together if no name of theirs clashes. A group that is not
clean is halved, and at last checked file by file, and that is what is reported: a group can make no finding of its own.
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

GROUP_MAX = 24
NODES_MAX = 20000
# A name that is declared at the left margin, where clang-format puts all that is in a namespace.
DECLARED = re.compile(r'^(?:(?:class|struct|enum class|enum) (?:HEDDLE_\w+ )?(\w+)[^;]*\{$|'
                      r'(?!namespace|class|struct|enum)(?:[\w:<>,&*\[\]]+ )+[*&]*(\w+)\s*[({=;])', re.M)
MACRO = re.compile(r'^\s*#\s*define\s+(\w+)', re.M)
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)


class Source:
    """A file, with the command that compiles it."""

    def __init__(self, root: pathlib.Path, entry: dict) -> None:
        self.path = pathlib.Path(os.path.normpath(pathlib.Path(entry['directory'], entry['file'])))
        self.directory = entry['directory']
        self.flags = flags_of(entry['command'])
        text = self.path.read_text()
        self.names = {a or b for a, b in DECLARED.findall(text)} | set(MACRO.findall(text))

    @functools.cached_property
    def key(self) -> tuple:
        """What is the same for files that may be put together."""
        return self.directory, *self.flags


def flags_of(command: str) -> list:
    """The options that decide what the compiler sees. Without sanitizers: code under test for one is rare. Without
    a target's own folder (NAME.p): nothing is generated there."""
    flags = []
    words = iter(shlex.split(command)[1:])
    for word in words:
        if word in ('-o', '-MF', '-MQ', '-c'):
            next(words, None)
        elif word.startswith(('-I', '-isystem', '-D', '-U', '-W', '-std', '-f')):
            generated = word.startswith('-I') and word.endswith('.p')
            if not generated and not word.startswith(('-fsanitize', '-fno-omit')):
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
        digest = hashlib.sha256(self.common + repr(source.key).encode())
        for path in sorted(self.closure(source.path, set())):
            digest.update(f'{path}\n'.encode() + hashlib.sha256(self.content(path)).digest())
        return digest.hexdigest()


# --- Groups -------------------------------------------------------------------------------------


def groups_of(sources: list) -> list:
    """Puts together what is compiled in the same way and declares nothing twice; large groups first."""
    by_key = collections.defaultdict(list)
    for source in sources:
        groups = by_key[source.key]
        for group in groups:
            if len(group) < GROUP_MAX and not any(source.names & other.names for other in group):
                group.append(source)
                break
        else:
            groups.append([source])
    return sorted((group for groups in by_key.values() for group in groups), key=len, reverse=True)


def run(path: pathlib.Path, like: Source, options: list) -> subprocess.CompletedProcess:
    return subprocess.run(['clang-tidy', '-quiet', *options, str(path), '--', *like.flags], cwd=like.directory,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)


def check_alone(source: Source, options: list) -> tuple:
    done = run(source.path, source, options)
    return source, done.returncode == 0, done.stdout


def check_group(folder: pathlib.Path, group: list, options: list) -> list:
    """Returns (source, whether it is clean, what clang-tidy said) for each of the group."""
    if len(group) == 1:
        return [check_alone(group[0], options)]
    # The name matters: clang's analyzer looks at what a "UnifiedSource" includes as at the file itself.
    unified = folder / f'UnifiedSource_{group[0].path.parent.name}_{group[0].path.stem}_{len(group)}.cpp'
    unified.write_text(''.join(f'#include "{source.path}"  // NOLINT(bugprone-suspicious-include)\n'
                               for source in group))
    done = run(unified, group[0], options)
    if done.returncode == 0:
        return [(source, True, '') for source in group]
    if 'clang-diagnostic-error' in done.stdout or len(group) > 4:  # Names clash after all, or whose finding is it?
        half = len(group) // 2
        return check_group(folder, group[:half], options) + check_group(folder, group[half:], options)
    return [check_alone(source, options) for source in group]


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

    options = []
    if not arguments.all:
        for word in ('-Xclang', '-analyzer-config', '-Xclang', f'max-nodes={NODES_MAX}'):
            options.append(f'--extra-arg={word}')
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        tasks = [pool.submit(check_group, folder, group, options) for group in groups]
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
