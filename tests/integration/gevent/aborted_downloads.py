#!/usr/bin/python3
"""CPython issue 148594 as it meets a service: an HTTPS server that also consumes messages over TLS.

usage: aborted_downloads.py FOLDER [COUNT]

COUNT clients begin a download and reset the connection, one after the other. Meanwhile a consumer gets its messages over a
connection to another server, and connects again whenever it is told that the connection is broken.
"""

from gevent import monkey

monkey.patch_all()

import collections
import socket
import ssl
import subprocess
import sys

import gevent
from gevent import pywsgi

import healthy

PIECE = bytes(16384)
PIECES = 4000


def download(_, start_response):
    start_response('200 OK', [('Content-Length', str(len(PIECE) * PIECES))])
    for _ in range(PIECES):
        gevent.sleep(0)  # As if it came from a disk or another server: others get their turn.
        yield PIECE


class Consumer:
    """Asks for one message after the other, for as long as it is let."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        self.context = context
        self.port = port
        self.messages = 0
        self.spurious = collections.Counter()

    def run(self) -> None:
        while True:
            with healthy.connect(self.context, self.port) as connection:
                self.consume(connection)

    def consume(self, connection: ssl.SSLSocket) -> None:
        try:
            while True:
                healthy.ask(connection)
                self.messages += 1
        except OSError as error:
            if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
                raise
            self.spurious[str(error)] += 1


def main(folder: str, count: str = '50') -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f'{folder}/server.pem', f'{folder}/server.key')
    web = pywsgi.WSGIServer(('127.0.0.1', 0), download, log=None, error_log=None, ssl_context=context)
    web.start()
    with healthy.Server(folder, 'server') as messages:
        consumer = Consumer(healthy.client_context(folder), messages.port)
        greenlet = gevent.spawn(consumer.run)
        command = [sys.executable, str(healthy.HERE / 'downloads.py'), folder, str(web.server_port), count]
        subprocess.run(command, check=True)
        if greenlet.dead:
            greenlet.get()  # Raises what it died of.
        greenlet.kill()
        web.stop()
    for error, times in consumer.spurious.items():
        print(f'healthy consumer: {error}; SO_ERROR 0: {times} times')
    print(f'{count} downloads aborted, {consumer.messages} messages, {consumer.spurious.total()} spurious errors')
    sys.exit(1 if consumer.spurious else 0)


if __name__ == '__main__':
    main(*sys.argv[1:])
