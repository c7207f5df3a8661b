#!/usr/bin/python3
"""Begins downloads from an HTTPS server and resets each connection in the middle, as impatient people's browsers do.

usage: downloads.py FOLDER PORT COUNT
"""

import socket
import ssl
import struct
import sys

ENOUGH_BYTES = 100_000


def abort_one(context: ssl.SSLContext, port: int) -> None:
    plain = socket.create_connection(('127.0.0.1', port))
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    with context.wrap_socket(plain, server_hostname='localhost') as connection:
        connection.sendall(b'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
        received = 0
        while received < ENOUGH_BYTES:
            piece = connection.recv(65536)
            if not piece:
                raise EOFError('the server hung up')
            received += len(piece)


def main(folder: str, port: str, count: str) -> None:
    context = ssl.create_default_context(cafile=f'{folder}/ca.pem')
    for _ in range(int(count)):
        abort_one(context, int(port))


if __name__ == '__main__':
    main(*sys.argv[1:])
