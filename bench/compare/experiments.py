"""What compare.py measures, in which sizes."""

import dataclasses

import contestants as c
from measure import Experiment, Load, Row

NGINX = c.NGINX.name


@dataclasses.dataclass(frozen=True)
class Scale:
    """How much of everything."""

    rounds: int
    seconds: float
    connections: int = 64
    memory: tuple = (1000,)
    idle: int = 1000
    growth: tuple = (10, 1000)
    few: bool = False  # Heddle's own servers only.
    keys: tuple = ()   # Of the experiments; none: all.


SHORT = Scale(rounds=3, seconds=1.0,
              keys=('small', 'medium', 'large', 'full', 'resumed', 'upload', 'memory', 'policies', 'slow-link'))
FULL = Scale(rounds=9, seconds=3.0, memory=(1000, 9000), idle=10_000, growth=(10, 100, 1000, 9000))
MINIATURE = Scale(rounds=1, seconds=0.05, connections=4, memory=(20,), idle=20, growth=(2, 10), few=True)


def against_nginx(contestants: list, load: Load) -> tuple:
    return tuple(Row(each.name, each, load, NGINX) for each in contestants)


def basic(scale: Scale, contestants: list) -> list:
    """Each contestant under one load after the other."""
    many, some = scale.connections, max(scale.connections // 4, 1)
    full = ('--handshakes', 'full')
    resumed = ('--handshakes', 'resumed')
    loads = [
        ('small', '13 bytes, keep-alive, TLS 1.3', Load('/13', many, ('--tls13',)), 'request'),
        ('small-12', '13 bytes, keep-alive, TLS 1.2', Load('/13', many, ('--tls12',)), 'request'),
        ('medium', '16 KiB, keep-alive, TLS 1.3', Load('/16384', many, ('--tls13',)), 'request'),
        ('large', '1 MiB, keep-alive, TLS 1.3', Load('/1048576', some, ('--tls13',)), 'request'),
        ('full', 'connect, full handshake, request, close, TLS 1.3', Load('/13', some, (*full, '--tls13')),
         'connection'),
        ('full-12', 'connect, full handshake, request, close, TLS 1.2', Load('/13', some, (*full, '--tls12')),
         'connection'),
        ('resumed', 'connect, resumed handshake, request, close, TLS 1.3', Load('/13', some, (*resumed, '--tls13')),
         'connection'),
        ('resumed-12', 'connect, resumed handshake, request, close, TLS 1.2',
         Load('/13', some, (*resumed, '--tls12')), 'connection'),
        ('upload', '64 KiB uploaded, keep-alive, TLS 1.3', Load('/0', some, ('--upload', '65536', '--tls13')),
         'request'),
    ]
    return [Experiment(key, title, against_nginx(contestants, load), f'us of CPU per {unit}')
            for key, title, load, unit in loads]


def memory(scale: Scale, contestants: list) -> list:
    return [Experiment('memory' if count == scale.memory[0] else f'memory-{count}',
                       f'{count:,} idle connections', against_nginx(contestants, Load(idle=count, memory=True)),
                       'KiB of resident memory per connection',
                       'The difference in resident size between 2 idle connections and so many. What the kernel holds '
                       'is not in it.')
            for count in scale.memory]


def beside_idle(scale: Scale, contestants: list) -> Experiment:
    """Each is compared with itself."""
    rows = []
    for each in contestants:
        alone = Load('/13', scale.connections, ('--tls13',))
        rows.append(Row(f'{each.name}, alone', each, alone, f'{each.name}, alone'))
        rows.append(Row(f'{each.name}, beside idle', each, dataclasses.replace(alone, idle=scale.idle),
                        f'{each.name}, alone'))
    return Experiment('beside-idle', f'{scale.connections} active connections beside {scale.idle:,} idle ones',
                      tuple(rows), note='The ratio is to the same server without the idle ones.')


def growth(scale: Scale, contestants: list) -> Experiment:
    rows = []
    for each in contestants:
        for count in scale.growth:
            rows.append(Row(f'{each.name}, {count}', each, Load('/13', count, ('--tls13',)),
                            f'{each.name}, {scale.growth[0]}'))
    return Experiment('growth', '13 bytes, keep-alive, with more and more connections', tuple(rows),
                      note=f'The ratio is to the same server with {scale.growth[0]} connections.')


def policies(scale: Scale) -> list:
    made = []
    for key, title, load, unit in (
            ('policies', 'Isolation policies: 13 bytes, keep-alive', Load('/13', scale.connections, ('--tls13',)), 'request'),
            ('policies-full', 'Isolation policies: full handshakes',
             Load('/13', max(scale.connections // 4, 1), ('--handshakes', 'full', '--tls13')), 'connection')):
        rows = tuple(Row(name, server, load, 'shared') for name, server in c.POLICIES.items())
        made.append(Experiment(key, title, rows, f'us of CPU per {unit}', 'The ratio is to the policy shared.'))
    return made


def threads(scale: Scale, both_cores: str) -> Experiment:
    rows = tuple(Row(server.name, server, Load('/13', scale.connections, ('--tls13',)), c.THREADS[1].name, both_cores)
                 for server in c.THREADS.values())
    return Experiment('threads', 'One thread against two: 13 bytes, keep-alive', rows,
                      note='The server has both cores, and shares one of them with the load. The ratio is to one thread.')


def slow_link(scale: Scale, contestants: list) -> Experiment:
    rows = []
    for each in contestants:
        for name, path, options in (('16 KiB at 100/s', '/16384', ('--rate', '100')), ('1 MiB', '/1048576', ())):
            rows.append(Row(f'{each.name}, {name}', each, Load(path, 8, options), f'{NGINX}, {name}'))
    return Experiment('slow-link', 'A slow link: 20 ms there, 20 ms back, 0.5 % of packets lost', tuple(rows),
                      slow_link=True,
                      note='At the rate, latency counts from when a request was due; without, it is one after the other.')


def experiments(scale: Scale, both_cores: str, others: list) -> list:
    """All of `scale`, in the order in which they are measured and shown; with `others` taking part."""
    everyone = [*others, *([c.SERVE, c.MEMORY, c.FLOOR] if scale.few else c.ALL)]
    fast = everyone if scale.few else [*others, c.SERVE, c.MEMORY, c.NGINX, c.FLOOR]
    made = [*basic(scale, everyone), *memory(scale, everyone), beside_idle(scale, fast), growth(scale, fast),
            *policies(scale), threads(scale, both_cores), slow_link(scale, fast)]
    return [each for each in made if not scale.keys or each.key in scale.keys]
