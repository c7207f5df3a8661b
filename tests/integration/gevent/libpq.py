#!/usr/bin/python3
"""A database driver that refuses a server's certificate, beside connections that have nothing to do with it.

usage: libpq.py FOLDER

psycopg2 waits in gevent's loop, as psycogreen makes it. libpq fails in the handshake and then calls SSL_shutdown(),
whose complaint (`shutdown while in init`) stays in the thread's error queue. The database need not exist.
"""

from gevent import monkey

monkey.patch_all()

import sys

import psycopg2
from gevent import socket
from psycopg2 import extensions

import healthy


def wait(connection: extensions.connection) -> None:
    while True:
        state = connection.poll()
        if state == extensions.POLL_OK:
            return
        if state == extensions.POLL_READ:
            socket.wait_read(connection.fileno())
        else:
            socket.wait_write(connection.fileno())


def refuse(folder: str, port: int) -> None:
    try:
        psycopg2.connect(host='127.0.0.1', port=port, user='nobody', dbname='none', gssencmode='disable',
                         sslmode='verify-full', sslrootcert=f'{folder}/ca.pem')
    except psycopg2.OperationalError as error:
        if 'certificate verify failed' not in str(error):
            raise


def main(folder: str) -> None:
    extensions.set_wait_callback(wait)
    context = healthy.client_context(folder)
    report = healthy.Report()
    with healthy.Server(folder, 'server') as server, healthy.Server(folder, 'stranger', 'postgres') as database:
        connections = [healthy.connect(context, server.port) for _ in range(healthy.CONNECTIONS)]
        for connection in connections:
            refuse(folder, database.port)
            report.ask(connection)
    report.end()


if __name__ == '__main__':
    main(sys.argv[1])
