"""A gevent program for guard_test.py: greenlets that read from idle TLS connections, in one of which a module is
careless. Prints how many healthy connections were called dead."""

from gevent import monkey

monkey.patch_all()

import socket
import ssl
import sys

import gevent

CERTIFICATE, KEY, COUNT = sys.argv[1], sys.argv[2], 20


def serve(context: ssl.SSLContext, plain: socket.socket, told: gevent.event.Event) -> None:
    with context.wrap_socket(plain, server_side=True) as stream:
        stream.sendall(b'x')
        stream.recv(1)
        told.wait()  # Nothing to read for the client until everybody has been careless.
        stream.sendall(b'y')
        stream.recv(1)


def consume(plain: socket.socket, reading: list) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(CERTIFICATE)
    with context.wrap_socket(plain, server_hostname='localhost') as stream:
        stream.recv(1)
        stream.sendall(b'x')
        reading.append(stream)
        gevent.sleep(0)
        # With the bad Ciphersuites of its openssl.cnf this succeeds, and leaves an entry (OpenSSL 3.0 to 3.6).
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            return stream.recv(1) == b'y'
        except ssl.SSLError:
            return False


def main() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE, KEY)
    told = gevent.event.Event()
    reading, clients, servers = [], [], []
    for _ in range(COUNT):
        left, right = socket.socketpair()
        servers.append(gevent.spawn(serve, context, left, told))
        clients.append(gevent.spawn(consume, right, reading))
    while len(reading) < COUNT:
        gevent.sleep(0)
    for _ in range(3):
        gevent.sleep(0)  # Everybody reads, or has been told something.
    told.set()
    gevent.joinall(clients, raise_error=True)
    print(sum(not client.value for client in clients))


main()
