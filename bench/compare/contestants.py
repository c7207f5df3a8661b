"""The servers that compare.py compares: how each is started, and why one cannot take part."""

import contextlib
import os
import pathlib
import re
import resource
import shutil
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = 30  # Seconds, for a server to listen.
SIZES = (13, 16384, 1 << 20)  # Answers that are files where a server has files.


class World:
    """A folder with a certificate, files to serve and configurations; and how programs are started."""

    def __init__(self, folder: pathlib.Path, programs: dict, server_core: str, load_core: str):
        self.folder = folder
        self.programs = programs  # Of Heddle: heddle, and the contestants that Meson builds.
        self.server_core, self.load_core = server_core, load_core
        folder.chmod(0o755)  # nginx's worker may be another user.
        self.certificate, self.key = folder / 'cert.pem', folder / 'key.pem'
        self.files = folder / 'www'
        self.files.mkdir()
        for size in SIZES:
            (self.files / str(size)).write_bytes(b'x' * size)
        subprocess.run(
            ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
             '-keyout', str(self.key), '-out', str(self.certificate), '-days', '2', '-subj', '/CN=localhost',
             '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'], check=True, capture_output=True)

    def start(self, command: list, cores: str, prefix: list = (), environment: dict = None,
              errors: int = subprocess.DEVNULL) -> subprocess.Popen:
        pinned = ['taskset', '-c', cores] if shutil.which('taskset') else []
        return subprocess.Popen([*prefix, *pinned, *map(str, command)], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=errors, text=True,
                                env={**os.environ, **(environment or {})})


class Server:
    """A contestant that runs."""

    def __init__(self, process: subprocess.Popen, port: int):
        self.process, self.port = process, port

    def pids(self) -> list:
        """Its process and all below it."""
        found, open_ones = [], [self.process.pid]
        while open_ones:
            pid = open_ones.pop()
            found.append(pid)
            for children in pathlib.Path(f'/proc/{pid}/task').glob('*/children'):
                with contextlib.suppress(OSError):
                    open_ones += map(int, children.read_text().split())
        return found

    def cpu_seconds(self) -> float:
        """User and system time, with that of children that have ended."""
        ticks = 0
        for pid in self.pids():
            fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
            ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf('SC_CLK_TCK')

    def resident_kib(self) -> int:
        text = ''.join(pathlib.Path(f'/proc/{pid}/status').read_text() for pid in self.pids())
        return sum(map(int, re.findall(r'VmRSS:\s+(\d+)', text)))

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Contestant:
    """One of the servers, with its options."""

    uploads = True    # Whether it reads the body of a POST and answers it.
    largest = 1 << 30  # Bytes of an answer.

    def __init__(self, name: str):
        self.name = name

    def why_not(self, world: World) -> str:
        """The reason why it cannot take part, or nothing."""
        raise NotImplementedError

    def version(self, world: World) -> str:
        raise NotImplementedError

    def start(self, world: World, cores: str, prefix: list = ()) -> Server:
        raise NotImplementedError


def listening_on(process: subprocess.Popen) -> Server:
    """For servers that take any free port and say which: `listening on ...:PORT`."""
    match = re.search(r':(\d+)/?$', process.stdout.readline().strip())
    if match is None:
        process.kill()
        process.wait()
        raise RuntimeError(f'{process.args}: does not say where it listens')
    return Server(process, int(match[1]))


def await_port(process: subprocess.Popen, port: int, prefix: list) -> Server:
    """For servers that are told a port. Within another network (`prefix`) it cannot be tried from here."""
    end = time.monotonic() + PATIENCE
    probe = [*prefix, sys.executable, '-c',
             f'import socket; socket.create_connection(("127.0.0.1", {port}), 1)']
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f'{process.args}: ended with {process.returncode}')
        if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            return Server(process, port)
        time.sleep(0.05)
    raise RuntimeError(f'{process.args}: does not listen')


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def first_line(command: list) -> str:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return (ran.stdout + ran.stderr).strip().split('\n')[0]


class Program(Contestant):
    """A program that Meson has built and that takes CERTIFICATE KEY and more."""

    def __init__(self, name: str, program: str, *options: str, about: str = ''):
        super().__init__(name)
        self.program, self.options, self.about = program, options, about

    def why_not(self, world):
        path = world.programs.get(self.program)
        return '' if path and os.access(path, os.X_OK) else f'{self.program} is not built'

    def version(self, world):
        return self.about

    def start(self, world, cores, prefix=()):
        return listening_on(world.start([world.programs[self.program], world.certificate, world.key, *self.options],
                                        cores, prefix))


class HeddleServe(Contestant):
    uploads = False  # It serves files: a POST is refused.

    def __init__(self, name: str, program: str = 'heddle'):
        super().__init__(name)
        self.program = program

    def why_not(self, world):
        return '' if os.access(world.programs[self.program], os.X_OK) else 'heddle is not built'

    def version(self, world):
        return first_line([world.programs[self.program], '--version'])

    def start(self, world, cores, prefix=()):
        return listening_on(world.start(
            [world.programs[self.program], 'serve', world.files, '--listen', '127.0.0.1:0', '--cert', world.certificate,
             '--key', world.key, '--idle-timeout', '3600'], cores, prefix))


class Nginx(Contestant):
    def __init__(self, name: str, file_cache: bool):
        super().__init__(name)
        self.file_cache = file_cache

    @staticmethod
    def program() -> str:
        return shutil.which('nginx') or shutil.which('nginx', path='/usr/sbin')

    def why_not(self, world):
        return '' if self.program() else 'nginx is not installed (nginx-light)'

    def version(self, world):
        return first_line([self.program(), '-v'])

    def start(self, world, cores, prefix=()):
        port, folder = free_port(), world.folder
        config = folder / f'{self.name.replace(" ", "-")}-{port}.conf'
        user = 'user root;' if os.geteuid() == 0 else ''
        cache = 'open_file_cache max=64 inactive=60s; open_file_cache_valid 60s;' if self.file_cache else ''
        config.write_text(f'''
            daemon off; worker_processes 1; pid {config}.pid; error_log /dev/null; {user}
            worker_rlimit_nofile 65536;
            events {{ worker_connections 32768; }}
            http {{
              access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};
              fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
              keepalive_requests 1000000000; keepalive_timeout 3600; client_max_body_size 0; {cache}
              server {{
                listen 127.0.0.1:{port} ssl backlog=4096;
                root {world.files};
                ssl_certificate {world.certificate}; ssl_certificate_key {world.key};
                ssl_protocols TLSv1.2 TLSv1.3; ssl_session_cache shared:x:1m;
                location = /0 {{ return 200 ""; }}
              }}
            }}''')
        process = world.start([self.program(), '-c', config, '-e', '/dev/null'], cores, prefix)
        return await_port(process, port, prefix)


class HAProxy(Contestant):
    uploads = False  # It answers before it has read the body.
    largest = 16384  # What it answers by itself has to fit into a buffer.

    def why_not(self, world):
        return '' if shutil.which('haproxy') else 'haproxy is not installed'

    def version(self, world):
        return first_line(['haproxy', '-v'])

    def start(self, world, cores, prefix=()):
        port = free_port()
        config = world.folder / f'haproxy-{port}.conf'
        both = world.folder / 'both.pem'
        both.write_text(world.certificate.read_text() + world.key.read_text())
        returns = '\n'.join(f'  http-request return status 200 content-type application/octet-stream '
                            f'file {world.files}/{size} if {{ path /{size} }}'
                            for size in SIZES if size <= self.largest)
        # It counts two descriptors for each, one of them for a server behind it.
        most = min(30000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2 - 50)
        config.write_text(f'''
global
  nbthread 1
  maxconn {most}
  tune.bufsize 32768
  tune.ssl.default-dh-param 2048
defaults
  mode http
  timeout client 1h
  timeout http-keep-alive 1h
frontend tls
  bind 127.0.0.1:{port} ssl crt {both} alpn http/1.1
{returns}
  http-request return status 200
''')
        return await_port(world.start(['haproxy', '-f', config], cores, prefix), port, prefix)


class Go(Contestant):
    def why_not(self, world):
        return '' if shutil.which('go') else 'go is not installed (golang-go)'

    def version(self, world):
        return first_line(['go', 'version'])

    def start(self, world, cores, prefix=()):
        program = world.folder / 'go-server'
        if not program.exists():
            subprocess.run(['go', 'build', '-o', str(program), 'main.go'], cwd=HERE / 'go', check=True,
                           env={**os.environ, 'GOFLAGS': '-mod=mod'})
        return listening_on(world.start([program, world.certificate, world.key], cores, prefix,
                                        {'GOMAXPROCS': str(cores.count(',') + 1)}))


class Gevent(Contestant):
    @staticmethod
    def python() -> str:
        """Debian's python3 has gevent; another one earlier in PATH need not."""
        return '/usr/bin/python3' if os.access('/usr/bin/python3', os.X_OK) else sys.executable

    def why_not(self, world):
        found = subprocess.run([self.python(), '-c', 'import gevent'], capture_output=True, check=False)
        return 'gevent is not installed (python3-gevent)' if found.returncode else ''

    def version(self, world):
        return first_line([self.python(), '-c',
                           'import gevent, sys; print("gevent", gevent.__version__, "on Python", sys.version.split()[0])'])

    def start(self, world, cores, prefix=()):
        return listening_on(world.start([self.python(), HERE / 'gevent_server.py', world.certificate, world.key],
                                        cores, prefix))


MEMORY = Program('heddle, in memory', 'memory_server', about='bench/compare/memory_server.cpp')
SERVE = HeddleServe('heddle serve')
NGINX = Nginx('nginx', file_cache=True)
FLOOR = Program('epoll floor', 'epoll_floor', about='bench/compare/epoll_floor.cpp')
ALL = [SERVE, MEMORY, NGINX, Nginx('nginx, no file cache', file_cache=False), HAProxy('HAProxy'),
       Go('Go net/http'), Program('Asio spawn', 'asio_server', about='bench/compare/asio_server.cpp'),
       Gevent('gevent'), FLOOR]
OTHERS = [HeddleServe('heddle serve, other build', 'other heddle'),
          Program('heddle, in memory, other build', 'other memory_server', about='of --against')]
POLICIES = {policy: Program(policy, 'memory_server', policy, about=MEMORY.about)
            for policy in ('shared', 'clear', 'isolated')}
THREADS = {count: Program(f'{count} threads' if count > 1 else '1 thread', 'memory_server', 'isolated', str(count),
                          about=MEMORY.about) for count in (1, 2)}
