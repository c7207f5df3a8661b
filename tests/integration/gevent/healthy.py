"""What the programs share: healthy connections to an echo server, and what happens to them.

Every program makes its connections first, then does something that has nothing to do with them, then asks each one.
"""

import pathlib
import socket
import ssl
import subprocess
import sys

import gevent

QUESTION = b'question'
CONNECTIONS = 5
HERE = pathlib.Path(__file__).parent


class Server:
    """server.py, running."""

    def __init__(self, folder: str, name: str, *kind: str) -> None:
        command = [sys.executable, str(HERE / 'server.py'), f'{folder}/{name}.pem', f'{folder}/{name}.key', *kind]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline())

    def __enter__(self) -> 'Server':
        return self

    def __exit__(self, *_) -> None:
        self.process.communicate()


def client_context(folder: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=f'{folder}/ca.pem')


def connect(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    """Returns a connection on which everything has been said that follows a handshake."""
    plain = socket.create_connection(('127.0.0.1', port))
    connection = context.wrap_socket(plain, server_hostname='localhost')
    ask(connection)
    return connection


def ask(connection: ssl.SSLSocket) -> None:
    """Waits for a message that is on its way only once the wait has begun, as a consumer's messages are."""
    question = gevent.spawn(connection.sendall, QUESTION)  # Begins when this greenlet first waits.
    try:
        receive(connection, len(QUESTION))
    finally:
        question.get()


def receive(connection: ssl.SSLSocket, count: int) -> None:
    while count > 0:
        piece = connection.recv(count)
        if not piece:
            raise EOFError('the server hung up')
        count -= len(piece)


def describe(error: OSError, connection: socket.socket) -> str:
    """Returns the error, and what the kernel says about the connection that is said to have it."""
    so_error = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    connected = connection.fileno() >= 0 and connection.getpeername() is not None
    return f'{type(error).__name__}: {error}; SO_ERROR {so_error}, {"connected" if connected else "closed"}'


class Report:
    """Prints what became of each healthy connection, and makes it the exit status: 1 when one failed."""

    def __init__(self) -> None:
        self.asked = 0
        self.failed = 0

    def ask(self, connection: ssl.SSLSocket) -> None:
        try:
            ask(connection)
            self.add('answered')
        except OSError as error:
            self.add_failure(describe(error, connection))

    def add(self, text: str) -> None:
        self.asked += 1
        print(f'healthy connection {self.asked}: {text}')

    def add_failure(self, text: str) -> None:
        self.failed += 1
        self.add(text)

    def end(self) -> None:
        print(f'{self.failed} of {self.asked} healthy connections failed')
        sys.exit(1 if self.failed else 0)
