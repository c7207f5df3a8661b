"""A RabbitMQ of the test's own: below a temporary folder, on ports of its own, TLS only, and gone afterwards."""

import os
import pathlib
import signal
import socket
import subprocess

# Debian's commands in /usr/sbin are wrappers that change to the packaged service's user and folder.
COMMANDS = pathlib.Path('/usr/lib/rabbitmq/bin')
PATIENCE = 120  # Seconds; only a failing test waits so long.

# Whatever ends this process, even SIGKILL, ends the servers with it.
DIE_WITH_US = ['setpriv', '--pdeathsig', 'KILL']

CONFIG = """\
listeners.tcp = none
listeners.ssl.1 = 127.0.0.1:{port}
ssl_options.cacertfile = {folder}/broker.pem
ssl_options.certfile = {folder}/broker.pem
ssl_options.keyfile = {folder}/broker.key
ssl_options.verify = verify_none
ssl_options.fail_if_no_peer_cert = false
log.console.level = warning
"""


def free_ports(count: int) -> list:
    """Returns ports that the kernel has just given, all different because all are held until the end."""
    sockets = [socket.create_server(('127.0.0.1', 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


class Broker:
    """RabbitMQ and the port mapper (epmd) that Erlang cannot do without."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.processes = []
        self.begun = 0  # Where in its output the server was ready.
        self.certificate = folder / 'broker.pem'
        self.output = folder / 'output'
        self.port, names_port, distribution_port = free_ports(3)
        subprocess.run(
            ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256',
             '-nodes', '-days', '2', '-subj', '/CN=broker', '-addext',
             'subjectAltName = IP:127.0.0.1', '-keyout', folder / 'broker.key', '-out',
             self.certificate], check=True, capture_output=True)
        (folder / 'rabbitmq.conf').write_text(CONFIG.format(port=self.port, folder=folder))
        (folder / 'plugins').write_text('[].\n')
        self.environment = {
            'HOME': str(folder),  # Erlang keeps its cookie there.
            'PATH': os.environ['PATH'],
            'LANG': 'C.UTF-8',
            'ERL_EPMD_ADDRESS': '127.0.0.1',
            'ERL_EPMD_PORT': str(names_port),
            'RABBITMQ_ALLOW_INPUT': 'yes',  # Else a shell stays between us and the server.
            'RABBITMQ_CONFIG_FILE': str(folder / 'rabbitmq.conf'),
            'RABBITMQ_CONF_ENV_FILE': '/dev/null',
            'RABBITMQ_DIST_PORT': str(distribution_port),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(folder / 'plugins'),
            'RABBITMQ_LOGS': '-',
            'RABBITMQ_LOG_BASE': str(folder / 'log'),
            'RABBITMQ_MNESIA_BASE': str(folder / 'data'),
            'RABBITMQ_NODENAME': f'heddle{names_port}@localhost',
            'RABBITMQ_PID_FILE': str(folder / 'pid'),
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS': '-kernel inet_dist_use_interface {127,0,0,1}',
        }

    def start(self) -> None:
        """Returns once RabbitMQ says that it is ready."""
        with open(self.output, 'wb') as output:
            self._launch(['epmd'], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            # The server ends when its standard input does, hence a pipe that stays open.
            server = self._launch([COMMANDS / 'rabbitmq-server'], stdin=subprocess.PIPE,
                                  stdout=output, stderr=output)
        waited = subprocess.run(
            [COMMANDS / 'rabbitmqctl', 'wait', '--timeout', str(PATIENCE), self.folder / 'pid'],
            env=self.environment, cwd=self.folder, capture_output=True, text=True, check=False)
        if waited.returncode != 0 or server.poll() is not None:
            raise AssertionError(f'RabbitMQ does not start: {waited.stderr}\n{self.said()}')
        self.begun = self.output.stat().st_size

    def _launch(self, command: list, **streams) -> subprocess.Popen:
        process = subprocess.Popen(DIE_WITH_US + command, env=self.environment, cwd=self.folder,
                                   **streams)
        self.processes.append(process)
        return process

    def said(self) -> str:
        """What RabbitMQ has complained about since it was ready; before that, all it said."""
        return self.output.read_bytes()[self.begun:].decode(errors='replace')

    def stop(self) -> None:
        """Ends what was started, the server first, in order if it can."""
        while self.processes:
            process = self.processes.pop()
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdin:
                process.stdin.close()
