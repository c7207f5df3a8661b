#!/usr/bin/python3
"""CPython issue 148594: writing to a peer that has gone, beside connections that have nothing to do with it.

usage: vanished_peer.py FOLDER write|unwrap

One connection is reset by its server. Writing to it, or ending TLS on it, fails, as it should. From OpenSSL 3.4 on this
leaves an entry in the thread's error queue, and from 3.12 on CPython does not take it out.
"""

from gevent import monkey

monkey.patch_all()

import ssl
import sys

from gevent import socket

import healthy


def vanish(connection: ssl.SSLSocket) -> None:
    """Returns when the kernel knows that the server has reset the connection."""
    connection.sendall(b'die')
    socket.wait_read(connection.fileno())


def fail(connection: ssl.SSLSocket, how: str) -> None:
    try:
        if how == 'unwrap':
            connection.unwrap()
        else:
            connection.sendall(b'anybody there?')
            connection.sendall(b'anybody there?')
    except OSError as error:
        print(f'the connection that was reset: {type(error).__name__}: {error}')
    else:
        raise AssertionError('the peer has not gone')


def main(folder: str, how: str) -> None:
    context = healthy.client_context(folder)
    report = healthy.Report()
    with healthy.Server(folder, 'server') as server:
        connections = [healthy.connect(context, server.port) for _ in range(healthy.CONNECTIONS)]
        with healthy.connect(context, server.port) as doomed:
            vanish(doomed)
            fail(doomed, how)
            for connection in connections:
                report.ask(connection)
    report.end()


if __name__ == '__main__':
    main(*sys.argv[1:])
