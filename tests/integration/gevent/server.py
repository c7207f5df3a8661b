#!/usr/bin/python3
"""A TLS echo server in a process of its own, with threads and without gevent.

usage: server.py CERTIFICATE KEY [postgres]

Prints the port that the kernel chose. `die` instead of something to echo: resets the connection.
With `postgres`, connections begin as PostgreSQL's do: a request for TLS, answered with S.
Ends when its standard input does.
"""

import socket
import socketserver
import ssl
import struct
import sys
import threading

POSTGRES_REQUEST_BYTES = 8


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if self.server.postgres:
                self.request.recv(POSTGRES_REQUEST_BYTES, socket.MSG_WAITALL)
                self.request.sendall(b'S')
            with self.server.context.wrap_socket(self.request, server_side=True) as stream:
                while data := stream.recv(65536):
                    if data == b'die':
                        linger = struct.pack('ii', 1, 0)
                        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        return
                    stream.sendall(data)
        except OSError:
            pass  # Clients that go away, or refuse our certificate, are what this server is for.


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 100


def main(certificate: str, key: str, kind: str = '') -> None:
    server = Server(('127.0.0.1', 0), Echo)
    server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.context.load_cert_chain(certificate, key)
    server.postgres = kind == 'postgres'
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == '__main__':
    main(*sys.argv[1:])
