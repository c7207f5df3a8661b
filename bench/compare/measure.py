"""What compare.py does with a contestant: loads it with `heddle load` and looks at what that costs."""

import contextlib
import dataclasses
import json
import shutil
import subprocess
import threading

import contestants as c


MEMORY_ROUNDS = 3  # It hardly differs from one to the next.


@dataclasses.dataclass(frozen=True)
class Load:
    """What heddle load is told, beside where to, how long, and with which suites."""

    path: str = '/13'
    connections: int = 64
    options: tuple = ()
    idle: int = 0
    memory: bool = False  # Only what idle connections hold: nothing is asked but once for each.


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of an experiment: a contestant under a load, compared with the row called `baseline`."""

    label: str
    contestant: c.Contestant
    load: Load
    baseline: str = ''
    cores: str = ''  # Instead of the server's one.


@dataclasses.dataclass(frozen=True)
class Experiment:
    key: str
    title: str
    rows: tuple
    unit: str = 'us of CPU per request'
    note: str = ''
    slow_link: bool = False


class Pair(threading.Thread):
    """Reads what heddle load says on standard error, and looks at the server's clock when it begins and ends."""

    def __init__(self, process: subprocess.Popen, server: c.Server):
        super().__init__(daemon=True)
        self.process, self.server = process, server
        self.marks, self.resident, self.rest = {}, 0, []

    def run(self) -> None:
        for line in self.process.stderr:
            stage = line.strip()
            if stage in ('sending requests', 'closing connections'):
                self.marks[stage] = self.server.cpu_seconds()
                self.resident = self.resident or self.server.resident_kib()
            else:
                self.rest.append(stage)

    def used(self) -> float:
        return self.marks['closing connections'] - self.marks['sending requests']


class Refused(Exception):
    """A contestant did not do what was asked of it."""


def run_load(world: c.World, server: c.Server, load: Load, seconds: float, prefix: list) -> tuple:
    """Returns the figures of heddle load and the thread that has watched the server."""
    many = ['-d', str(seconds)] if not load.memory else ['-n', '1']
    connections = 1 if load.memory else load.connections
    idle = ['--idle', str(load.idle)] if load.idle else []
    process = world.start(
        [world.programs['heddle'], 'load', f'https://127.0.0.1:{server.port}{load.path}', '--cafile',
         world.certificate, '-c', str(connections), *many, *idle, *load.options, '--timeout', '60', '--json',
         '--ciphersuites', 'TLS_AES_256_GCM_SHA384', '--ciphers', 'ECDHE-ECDSA-AES256-GCM-SHA384'],
        world.load_core, prefix, errors=subprocess.PIPE)
    watcher = Pair(process, server)
    watcher.start()
    text = process.stdout.read()
    process.wait()
    watcher.join()
    process.stdout.close()
    process.stderr.close()
    if process.returncode != 0:
        raise Refused('; '.join(watcher.rest) or f'heddle load ended with {process.returncode}')
    return json.loads(text), watcher


def complaint(figures: dict, load: Load) -> str:
    """What makes figures useless, if anything."""
    bad = sum(each['count'] for each in figures['failures'])
    if bad:
        return f'{bad} failures, the first: {figures["failures"][0]["example"]}'
    others = figures['answers'] - figures['statuses']['2xx']
    if others:
        return f'{others} answers were not 2xx'
    if figures['idle_lost'] or figures['idle'] < load.idle:
        return f'{load.idle - figures["idle"] + figures["idle_lost"]} idle connections were lost'
    return ''


def summary(figures: dict, watcher: Pair) -> dict:
    return {'cpu_us': watcher.used() / max(figures['answers'], 1) * 1e6,
            'answers': figures['answers'], 'per_second': figures['answers_per_second'],
            'latency_us': figures['latency_us'], 'session': figures['session'],
            'handshakes': figures['measured_handshakes'], 'resumed': figures['measured_handshakes_resumed'],
            'load_cpu_us': figures['cpu_seconds'] / max(figures['answers'], 1) * 1e6}


def measure_memory(world: c.World, row: Row, prefix: list) -> dict:
    """KiB per idle connection: a fresh server, without and with them."""
    server = row.contestant.start(world, row.cores or world.server_core, prefix)
    try:
        few = dataclasses.replace(row.load, idle=2)
        _, before = run_load(world, server, few, 0, prefix)
        figures, after = run_load(world, server, row.load, 0, prefix)
    finally:
        server.stop()
    wrong = complaint(figures, row.load)
    return {'kib': (after.resident - before.resident) / row.load.idle, **({'refused': wrong} if wrong else {})}


def measure_row(world: c.World, server: c.Server, row: Row, seconds: float, prefix: list) -> dict:
    try:
        if row.load.memory:
            return measure_memory(world, row, prefix)
        figures, watcher = run_load(world, server, row.load, seconds, prefix)
        wrong = complaint(figures, row.load)
        return {**summary(figures, watcher), **({'refused': wrong} if wrong else {})}
    except (Refused, RuntimeError, KeyError, OSError) as error:
        return {'refused': f'{type(error).__name__}: {error}'}


def unable(row: Row, world: c.World) -> str:
    """Why a row cannot be measured, or nothing."""
    reason = row.contestant.why_not(world)
    if reason:
        return reason
    if '--upload' in row.load.options and not row.contestant.uploads:
        return 'does not take uploads'
    if int(row.load.path.lstrip('/')) > row.contestant.largest:
        return f'answers by itself up to {row.contestant.largest} bytes'
    return ''


def measure(world: c.World, experiment: Experiment, rounds: int, seconds: float, prefix: list, tell) -> dict:
    """Measures the rows in turn, `rounds` times. Calls `tell(label)` before each. Returns what was seen by label."""
    seen = {row.label: {'skipped': reason} for row in experiment.rows if (reason := unable(row, world))}
    with contextlib.ExitStack() as stack:
        servers = {}
        for row in experiment.rows:
            key = (row.contestant.name, row.cores)
            if row.label in seen or row.load.memory or key in servers:
                continue
            try:
                servers[key] = row.contestant.start(world, row.cores or world.server_core, prefix)
                stack.callback(servers[key].stop)
            except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
                seen[row.label] = {'skipped': f'does not start: {error}'}
        rows = [row for row in experiment.rows if row.label not in seen]
        for row in rows:
            tell(row.label)
            if not row.load.memory:  # To warm up.
                measure_row(world, servers[row.contestant.name, row.cores], row, min(seconds, 0.5), prefix)
        for number in range(rounds):
            for row in rows:
                if row.load.memory and number >= MEMORY_ROUNDS:
                    continue
                tell(row.label)
                server = servers.get((row.contestant.name, row.cores))
                seen.setdefault(row.label, {'runs': []})['runs'].append(
                    measure_row(world, server, row, seconds, prefix))
    return seen


class SlowLink:
    """A network of our own with delay and loss, for as long as it is open. `prefix` runs a command inside."""

    def __init__(self, delay_ms: int, loss_percent: float):
        self.delay_ms, self.loss_percent = delay_ms, loss_percent
        self.holder, self.prefix = None, []

    def open(self) -> str:
        """Returns why it cannot be, or nothing."""
        for tool in ('unshare', 'nsenter', 'ip', 'tc'):
            if not shutil.which(tool) and not shutil.which(tool, path='/usr/sbin:/sbin'):
                return f'{tool} is not installed (util-linux, iproute2)'
        script = ('export PATH=$PATH:/usr/sbin:/sbin; ip link set lo mtu 1500 up && '
                  f'tc qdisc add dev lo root netem delay {self.delay_ms}ms loss {self.loss_percent}% && '
                  'echo ready && exec sleep infinity')
        self.holder = subprocess.Popen(['unshare', '-rn', 'sh', '-c', script], stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True)
        if self.holder.stdout.readline().strip() != 'ready':
            self.holder.wait()
            reason = self.holder.stderr.read().strip().replace('\n', ' ')
            self.close()
            return f'no network with delay and loss can be made here: {reason}'
        self.prefix = ['nsenter', '-t', str(self.holder.pid), '-U', '-n', '--preserve-credentials']
        return ''

    def close(self) -> None:
        if self.holder is None:
            return
        if self.holder.poll() is None:
            self.holder.terminate()
            self.holder.wait()
        self.holder.stdout.close()
        self.holder.stderr.close()
        self.holder = None
