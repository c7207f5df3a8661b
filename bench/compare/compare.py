#!/usr/bin/env python3
"""Compares servers: what one request, connection or idle client costs each of them.

    bench/compare/compare.py build/release [--full] [--only KEY]... [--out FOLDER] [--results FILE]
    bench/compare/compare.py build/release --only small --against ../other/build/release

The server runs on one core, `heddle load` on another; the contestants take turns within each experiment. What counts
is the server's CPU time for a unit of work, from /proc, as a ratio to another contestant's in the same round: the
median of these ratios, and their range. Absolute times say little on a machine that others use.

Writes compare.json and compare.html (plots, nothing else needed) into FOLDER, and what --results names in Markdown.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time

import contestants as c
import experiments as e
import measure
import page
import statistic


class Progress:
    """A bar on a terminal, a line for each experiment elsewhere."""

    def __init__(self, steps: int):
        self.steps, self.done, self.title = steps, 0, ''
        self.terminal = sys.stderr.isatty() and os.environ.get('TERM', 'dumb') != 'dumb'

    def begin(self, title: str) -> None:
        self.title = title
        if not self.terminal:
            print(f'compare: {title}', file=sys.stderr, flush=True)

    def step(self, label: str) -> None:
        share = min(self.done / max(self.steps, 1), 1)
        self.done += 1
        if self.terminal:
            bar = '#' * int(share * 24)
            print(f'\r\033[K[{bar:.<24}] {share * 100:3.0f} %  {self.title}: {label}', end='', file=sys.stderr, flush=True)

    def finish(self) -> None:
        if self.terminal:
            print('\r\033[K', end='', file=sys.stderr, flush=True)


def cores(wanted: str) -> list:
    """Of the processors that we may use: the first for servers, the last for the load."""
    if wanted:
        return wanted.split(',')
    allowed = sorted(os.sched_getaffinity(0))
    return [str(allowed[0]), str(allowed[-1])]


def machine() -> dict:
    """What the figures depend on. No names of hosts or folders: results are published."""
    cpu = re.search(r'model name\s*:\s*(.+)', pathlib.Path('/proc/cpuinfo').read_text())
    return {'cpu': cpu[1] if cpu else platform.machine(), 'processors': os.cpu_count(),
            'kernel': f'{platform.system()} {platform.release()}', 'openssl': c.first_line(['openssl', 'version'])}


def compiler(build: pathlib.Path) -> str:
    """As Meson found it."""
    ran = subprocess.run(['meson', 'introspect', '--compilers', str(build)], capture_output=True, text=True, check=False)
    try:
        found = json.loads(ran.stdout)['host']['cpp']
        return f'{found["id"]} {found["version"]}'
    except (ValueError, KeyError):
        return 'unknown'


def programs(build: pathlib.Path) -> dict:
    found = {name: str(build / 'bench' / 'compare' / name) for name in ('memory_server', 'epoll_floor', 'asio_server')}
    return {'heddle': str(build / 'src' / 'heddle'), **found}


def all_programs(options: argparse.Namespace) -> dict:
    other = programs(options.against) if options.against else {}
    return {**programs(options.build), **{f'other {name}': path for name, path in other.items()}}


def run_all(world: c.World, scale: e.Scale, chosen: list) -> list:
    """Measures everything; returns one dictionary for each experiment."""
    progress = Progress(sum(len(each.rows) * (scale.rounds + 1) for each in chosen))
    results = []
    for experiment in chosen:
        progress.begin(experiment.title)
        prefix, skipped, link = [], '', None
        if experiment.slow_link:
            link = measure.SlowLink(20, 0.5)
            skipped, prefix = link.open(), link.prefix
        try:
            seen = {} if skipped else measure.measure(world, experiment, scale.rounds, scale.seconds, prefix,
                                                      progress.step)
        finally:
            if link:
                link.close()
        results.append(statistic.of(experiment, seen, skipped))
    progress.finish()
    return results


def parse(arguments: list) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('build', type=pathlib.Path, help='a build folder of Meson, with the benchmarks')
    size = parser.add_mutually_exclusive_group()
    size.add_argument('--full', action='store_true', help='everything: about an hour and a half')
    size.add_argument('--miniature', action='store_true', help='everything, so small that it measures nothing')
    parser.add_argument('--only', action='append', default=[], metavar='KEY', help='one experiment; may be repeated')
    parser.add_argument('--against', type=pathlib.Path, metavar='BUILD', help='another build of Heddle takes part, too')
    parser.add_argument('--rounds', type=int, help='how often each takes its turn')
    parser.add_argument('--seconds', type=float, help='how long each load lasts')
    parser.add_argument('--cores', default='', metavar='SERVER,LOAD', help='processors to use')
    parser.add_argument('--out', type=pathlib.Path, help='folder for compare.json and compare.html (build/bench)')
    parser.add_argument('--results', type=pathlib.Path, help='Markdown file to write')
    return parser.parse_args(arguments)


def scale_of(options: argparse.Namespace) -> e.Scale:
    scale = e.FULL if options.full else e.MINIATURE if options.miniature else e.SHORT
    changes = {name: value for name in ('rounds', 'seconds') if (value := getattr(options, name)) is not None}
    if options.only:
        changes['keys'] = tuple(options.only)
    return e.dataclasses.replace(scale, **changes)


def main(arguments: list) -> int:
    options = parse(arguments)
    scale = scale_of(options)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server_core, load_core = cores(options.cores)
    chosen = e.experiments(scale, f'{server_core},{load_core}', c.OTHERS if options.against else [])
    if options.only and {each.key for each in chosen} != set(options.only):
        known = ', '.join(each.key for each in e.experiments(e.dataclasses.replace(scale, keys=()), '', []))
        print(f'compare: --only: one of {known}', file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix='heddle-compare-') as folder:
        world = c.World(pathlib.Path(folder), all_programs(options), server_core, load_core)
        taking_part = {row.contestant.name: row.contestant for each in chosen for row in each.rows}
        absent = {name: reason for name, each in taking_part.items() if (reason := each.why_not(world))}
        for name, reason in absent.items():
            print(f'compare: without {name}: {reason}', file=sys.stderr)
        report = {'date': time.strftime('%Y-%m-%d', time.gmtime()),
                  'command': 'bench/compare/compare.py ' + ' '.join(['BUILD', *arguments_shown(options)]),
                  'machine': {**machine(), 'compiler': compiler(options.build)},
                  'one_core': server_core == load_core,
                  'rounds': scale.rounds, 'seconds': scale.seconds,
                  'versions': {name: each.version(world) for name, each in taking_part.items() if name not in absent},
                  'absent': absent, 'experiments': run_all(world, scale, chosen)}
    out = options.out or options.build.parent / 'bench'
    out.mkdir(parents=True, exist_ok=True)
    (out / 'compare.json').write_text(json.dumps(report, indent=1) + '\n')
    (out / 'compare.html').write_text(page.as_html(report))
    if options.results:
        options.results.write_text(page.as_markdown(report))
    print(page.as_text(report))
    print(f'plots: {out / "compare.html"}')
    return 0 if statistic.complete(report) else 1


def arguments_shown(options: argparse.Namespace) -> list:
    """The command line without folders."""
    shown = ['--full'] if options.full else ['--miniature'] if options.miniature else []
    for key in options.only:
        shown += ['--only', key]
    for name in ('rounds', 'seconds'):
        if getattr(options, name) is not None:
            shown += [f'--{name}', f'{getattr(options, name):g}']
    return shown


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
