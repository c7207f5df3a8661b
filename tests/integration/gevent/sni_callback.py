#!/usr/bin/python3
"""A TLS server whose sni_callback waits for another greenlet, as one that looks certificates up in a store does.

usage: sni_callback.py FOLDER

The other greenlet leaves entries in the thread's error queue (see getpeercert.py) while OpenSSL is in the middle of
the handshake, below the callback. The handshake fails, though the client did nothing wrong.
"""

from gevent import monkey

monkey.patch_all()

import socket
import ssl
import sys

import gevent
from gevent.event import Event

import healthy


class Store:
    """A greenlet that gives an answer, and looks at a peer's certificate for it."""

    def __init__(self, peer: ssl.SSLSocket) -> None:
        self.peer = peer
        self.question = Event()
        self.answer = Event()
        self.greenlet = gevent.spawn(self.run)

    def run(self) -> None:
        while True:
            self.question.wait()
            self.question.clear()
            self.peer.getpeercert()
            self.answer.set()

    def look_up(self, *_) -> None:
        self.answer.clear()
        self.question.set()
        self.answer.wait()


def call(context: ssl.SSLContext, port: int) -> None:
    try:
        with socket.create_connection(('127.0.0.1', port)) as plain:
            context.wrap_socket(plain, server_hostname='localhost').close()
    except OSError:
        pass  # The server gives up. Its side is the one to be seen here.


def serve_one(listener: socket.socket, context: ssl.SSLContext, report: healthy.Report) -> None:
    plain, _ = listener.accept()
    stream = context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
    try:
        stream.do_handshake()
        report.add('shook hands')
    except OSError as error:
        report.add_failure(healthy.describe(error, stream))
    stream.close()


def main(folder: str) -> None:
    report = healthy.Report()
    with healthy.Server(folder, 'aia') as odd, socket.create_server(('127.0.0.1', 0)) as listener:
        client_context = healthy.client_context(folder)
        store = Store(healthy.connect(client_context, odd.port))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(f'{folder}/server.pem', f'{folder}/server.key')
        context.sni_callback = store.look_up
        for _ in range(healthy.CONNECTIONS):
            client = gevent.spawn(call, client_context, listener.getsockname()[1])
            serve_one(listener, context, report)
            client.join()
        store.greenlet.kill()
        store.peer.close()
    report.end()


if __name__ == '__main__':
    main(sys.argv[1])
