#!/usr/bin/env python3
"""Counts the instructions and system calls of the usual paths, and records them.

    bench/cost/cost.py build/release             what they cost, beside what is recorded
    bench/cost/cost.py build/release --record    writes bench/cost/recorded.json anew

Instructions are those that valgrind's callgrind counts: they do not depend on the machine's speed or load. `own` are
those of Heddle's code, `all` includes OpenSSL and libc, for which the processor's newer instructions are switched off
so that every x86-64 machine runs the same code. System calls are those of a server under strace -f, for one connection
at a time. Both depend on the compiler and on OpenSSL, which are recorded with them.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'compare'))

import contestants as c  # noqa: E402

RECORDED = HERE / 'recorded.json'
GROWTH_MAX = 0.03

# How often each path is gone: enough for what varies (numbers in ECDSA, sizes of tickets) to be small.
PATHS = {'switch': 2000, 'park-and-wake': 2000, 'small-request': 300, 'answer-of-16-KiB': 60, 'full-handshake': 40,
         'resumed-handshake': 40}

# AES and carry-less multiplication stay; AVX and all that came after it goes (OPENSSL_ia32cap(3)). `meson test` has
# malloc() fill what it gives and takes, which would count, too.
SAME_EVERYWHERE = {'MALLOC_PERTURB_': '0',
                   'OPENSSL_ia32cap': '~0x1000000000000000:0x0',
                   'GLIBC_TUNABLES': 'glibc.cpu.hwcaps=-AVX,-AVX2,-AVX2_Usable,-ERMS,-FSRM,-AVX_Fast_Unaligned_Load'}

# Of a server, for one unit, by how many units are made beyond the first ones.
SERVERS = {'memory_server': c.MEMORY, 'heddle serve': c.SERVE}
UNITS = {'request': ((), 100, 400), 'connection': (('--handshakes', 'full'), 20, 60)}


def program(build: pathlib.Path) -> str:
    return str(build / 'bench' / 'cost' / 'cost_paths')


def versions(build: pathlib.Path) -> dict:
    lines = subprocess.run([program(build), '--versions'], capture_output=True, text=True, check=True).stdout
    return dict(line.split(' ', 1) for line in lines.splitlines())


# --- Instructions ---------------------------------------------------------------------------------


def self_costs(profile: str) -> dict:
    """Instructions by object file, from what callgrind has written (its manual: 'Callgrind Format Specification')."""
    names, costs, current, skip = {}, {}, '', False
    for line in profile.splitlines():
        if match := re.match(r'ob=\((\d+)\)(?: (.*))?$', line):
            current = names.setdefault(match[1], match[2])
        elif match := re.match(r'cob=\((\d+)\)(?: (.*))?$', line):
            if match[2]:
                names.setdefault(match[1], match[2])
        elif line.startswith('calls='):
            skip = True  # The next line is what the function that is called costs.
        elif re.match(r'[\d+*-]', line):
            if not skip:
                costs[current] = costs.get(current, 0) + int(line.split()[1])
            skip = False
    return costs


def instructions(build: pathlib.Path, path: str, count: int) -> dict:
    with tempfile.TemporaryDirectory(prefix='heddle-cost-') as folder:
        profile = pathlib.Path(folder) / 'out'
        subprocess.run(['valgrind', '--tool=callgrind', '--collect-atstart=no', f'--callgrind-out-file={profile}',
                        program(build), path, str(count)], env={**os.environ, **SAME_EVERYWHERE}, check=True,
                       capture_output=True)
        costs = self_costs(profile.read_text())
    own = sum(cost for name, cost in costs.items() if pathlib.Path(name).name == 'cost_paths')
    return {'all': round(sum(costs.values()) / count), 'own': round(own / count)}


# --- System calls ---------------------------------------------------------------------------------


def parse_strace(table: str) -> dict:
    """Calls by name, from the table of strace -c."""
    found = {}
    for line in table.splitlines():
        match = re.match(r'\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$', line)
        if match and match[2] != 'total':
            found[match[2]] = int(match[1])
    return found


def traced(world: c.World, server: c.Contestant, options: tuple, units: int) -> dict:
    """All calls of a server that is started, asked for so many units, and stopped."""
    table = world.folder / 'strace'
    running = server.start(world, world.server_core, ['strace', '-f', '-c', '-o', str(table)])
    try:
        subprocess.run([world.programs['heddle'], 'load', f'https://127.0.0.1:{running.port}/13', '--cafile',
                        str(world.certificate), '-c', '1', '-n', str(units), '-q', '--tls13', *options], check=True,
                       capture_output=True)
    finally:
        # strace would detach itself, and leave it.
        inner = running.pids()[-1]
        os.kill(inner, 15)
        running.process.wait()
        running.process.stdout.close()
    return parse_strace(table.read_text())


def system_calls(world: c.World, server: c.Contestant, unit: str) -> dict:
    """Calls for one unit: what more units cost more."""
    options, few, many = UNITS[unit]
    before, after = (traced(world, server, options, units) for units in (few, many))
    each = {name: round((after.get(name, 0) - before.get(name, 0)) / (many - few), 2) for name in after}
    return {name: count for name, count in sorted(each.items()) if count >= 0.01}


def world_of(build: pathlib.Path, folder: str) -> c.World:
    programs = {'heddle': str(build / 'src' / 'heddle'), 'memory_server': str(build / 'bench' / 'compare' / 'memory_server')}
    core = str(min(os.sched_getaffinity(0)))
    return c.World(pathlib.Path(folder), programs, core, core)


# --- Both -----------------------------------------------------------------------------------------


def measure_instructions(build: pathlib.Path) -> dict:
    return {path: instructions(build, path, count) for path, count in PATHS.items()}


def measure_calls(build: pathlib.Path) -> dict:
    with tempfile.TemporaryDirectory(prefix='heddle-cost-') as folder:
        world = world_of(build, folder)
        return {f'{name}, {unit}': system_calls(world, server, unit) for name, server in SERVERS.items() for unit in UNITS}


def missing(tool: str) -> str:
    return '' if shutil.which(tool) else f'{tool} is not installed'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('build', type=pathlib.Path, help='a build folder of Meson, with optimization 3')
    parser.add_argument('--record', action='store_true', help='write recorded.json anew')
    options = parser.parse_args()
    for tool in ('valgrind', 'strace'):
        if reason := missing(tool):
            print(f'cost: {reason}', file=sys.stderr)
            return 1
    seen = {**versions(options.build), 'instructions': measure_instructions(options.build),
            'system_calls': measure_calls(options.build)}
    if options.record:
        RECORDED.write_text(json.dumps(seen, indent=2) + '\n')
        return 0
    recorded = json.loads(RECORDED.read_text())
    for path, costs in seen['instructions'].items():
        was = recorded['instructions'].get(path, {})
        text = ', '.join(f'{kind} {cost:,} ({cost / was[kind] - 1:+.1%})' if was.get(kind) else f'{kind} {cost:,}'
                         for kind, cost in costs.items())
        print(f'{path:20} {text}')
    for what, calls in seen['system_calls'].items():
        print(f'{what:28} {sum(calls.values()):.2f} (recorded {sum(recorded["system_calls"].get(what, {}).values()):.2f}): '
              + ', '.join(f'{name} {count:g}' for name, count in calls.items()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
