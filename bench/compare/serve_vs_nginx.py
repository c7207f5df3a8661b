#!/usr/bin/env python3
"""Compares `heddle serve` with nginx: server CPU time per request, as a ratio.

    bench/compare/serve_vs_nginx.py build/release/src/heddle [--rounds 5] [--seconds 3]

Both serve the same small file with the same certificate, one worker each, over
keep-alive TLS connections from wrk. The server runs on one core, wrk on another;
the contestants take turns A B A B, and the ratio of the medians is what counts.
Absolute times say nothing on a machine that others use.
"""

import argparse
import contextlib
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TICKS = os.sysconf('SC_CLK_TCK')
SERVER_CORE, LOAD_CORE = 0, 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of the processes, children that ended included."""
    total = 0
    for pid in pids:
        fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
        total += sum(int(each) for each in fields[11:15])
    return total / TICKS


def children(pid: int) -> list[int]:
    listed = subprocess.run(['pgrep', '-P', str(pid)], capture_output=True, text=True, check=False)
    return [int(each) for each in listed.stdout.split()]


def wait_until_listening(port: int, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(f'server ended with {server.returncode}')
        with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port), 1):
            return
        time.sleep(0.05)
    sys.exit('server does not listen')


class Heddle:
    name = 'heddle'

    def __init__(self, program: str, extra: list[str], folder: pathlib.Path):
        self.port = free_port()
        self.process = subprocess.Popen(
            ['taskset', '-c', str(SERVER_CORE), program, 'serve', str(folder / 'www'),
             '--listen', f'127.0.0.1:{self.port}', '--cert', str(folder / 'cert.pem'),
             '--key', str(folder / 'key.pem'), *extra], stdout=subprocess.DEVNULL)
        wait_until_listening(self.port, self.process)

    def pids(self) -> list[int]:
        return [self.process.pid]


class Nginx:
    name = 'nginx'

    def __init__(self, folder: pathlib.Path):
        self.port = free_port()
        config = folder / 'nginx.conf'
        config.write_text(f'''
            daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
            user root;
            events {{ worker_connections 16384; }}
            http {{
              access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
              fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
              keepalive_requests 100000000;
              server {{
                listen 127.0.0.1:{self.port} ssl backlog=4096;
                root {folder}/www;
                ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
                ssl_protocols TLSv1.2 TLSv1.3;
              }}
            }}''')
        self.process = subprocess.Popen(
            ['taskset', '-c', str(SERVER_CORE), shutil.which('nginx') or '/usr/sbin/nginx',
             '-c', str(config), '-e', str(folder / 'error.log')])
        wait_until_listening(self.port, self.process)

    def pids(self) -> list[int]:
        return children(self.process.pid)


def load(server, path: str, connections: int, seconds: int) -> tuple[float, float]:
    """One run of wrk. Returns CPU microseconds per request, and requests per second."""
    before = cpu_seconds(server.pids())
    ran = subprocess.run(
        ['taskset', '-c', str(LOAD_CORE), 'wrk', '-t1', f'-c{connections}', f'-d{seconds}s',
         f'https://127.0.0.1:{server.port}{path}'], capture_output=True, text=True, check=True)
    used = cpu_seconds(server.pids()) - before
    requests = int(re.search(r'(\d+) requests in', ran.stdout)[1])
    if 'Non-2xx' in ran.stdout or 'Socket errors' in ran.stdout:
        print(ran.stdout, file=sys.stderr)
    return used / requests * 1e6, requests / seconds


def make_files(folder: pathlib.Path) -> None:
    (folder / 'www').mkdir()
    (folder / 'www' / 'small').write_text('Hello, world\n')
    (folder / 'www' / '16k').write_bytes(os.urandom(16384))
    (folder / 'www' / '1m').write_bytes(os.urandom(1 << 20))
    subprocess.run(
        ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
         '-nodes', '-keyout', str(folder / 'key.pem'), '-out', str(folder / 'cert.pem'),
         '-days', '2', '-subj', '/CN=localhost'], check=True, capture_output=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('heddle')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--seconds', type=int, default=3)
    parser.add_argument('--connections', type=int, default=64)
    parser.add_argument('--path', default='/small', choices=['/small', '/16k', '/1m'])
    parser.add_argument('--against', action='append', default=[],
                        help='another heddle program, instead of nginx')
    parser.add_argument('--serve', action='append', default=[], help='an option of heddle serve')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        folder.chmod(0o755)
        make_files(folder)
        contestants = [Heddle(options.heddle, options.serve, folder)]
        for program in options.against:
            contestants.append(Heddle(program, [], folder))
        if not options.against:
            contestants.append(Nginx(folder))
        figures = [[] for _ in contestants]
        try:
            for contestant in contestants:
                load(contestant, options.path, options.connections, 1)  # Warm-up.
            for _ in range(options.rounds):
                for contestant, figure in zip(contestants, figures):
                    figure.append(load(contestant, options.path, options.connections,
                                       options.seconds))
        finally:
            for contestant in contestants:
                contestant.process.terminate()
                contestant.process.wait()
    medians = [statistics.median(cpu for cpu, _ in figure) for figure in figures]
    for contestant, figure, median in zip(contestants, figures, medians):
        runs = ' '.join(f'{cpu:.2f}' for cpu, _ in figure)
        rate = statistics.median(rate for _, rate in figure)
        print(f'{contestant.name:8} {median:8.2f} us CPU per request  {rate:10.0f} requests/s  [{runs}]')
    print(f'ratio of medians: {medians[0] / medians[1]:.3f}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
