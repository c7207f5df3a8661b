"""A program for guard_provoke_test.py: clients and servers that talk over TLS in this process, in greenlets of one thread or in
threads, or one client after the other ("sequel"). Nothing in it leaves entries. Prints how many of them were told of a failure, and fails if there are any.

usage: guard_turns.py CERTIFICATE KEY gevent|threads|sequel [forgiving]
"""

import sys

CERTIFICATE, KEY, HOW = sys.argv[1:4]
COUNT, ROUNDS = 5, 40

if HOW == 'gevent':
    from gevent import monkey
    monkey.patch_all()

import socket
import ssl
import threading

failures = []


def attempt(function, *arguments) -> None:
    try:
        function(*arguments)
    except (OSError, EOFError) as error:
        failures.append(error)


def serve(context: ssl.SSLContext, plain: socket.socket) -> None:
    with context.wrap_socket(plain, server_side=True) as stream:
        while data := stream.recv(1):
            stream.sendall(data)


def talk(context: ssl.SSLContext, plain: socket.socket) -> None:
    with context.wrap_socket(plain, server_hostname='localhost') as stream:
        for _ in range(ROUNDS):
            stream.sendall(b'x')
            if stream.recv(1) != b'x':
                raise EOFError


def main() -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(CERTIFICATE, KEY)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.load_verify_locations(CERTIFICATE)
    tasks = []
    for _ in range(COUNT):
        left, right = socket.socketpair()
        tasks.append(threading.Thread(target=attempt, args=(serve, server_context, left)))
        tasks.append(threading.Thread(target=attempt, args=(talk, client_context, right)))
    if HOW == 'sequel':
        servers, clients = tasks[::2], tasks[1::2]
        tasks = [*servers, threading.Thread(target=lambda: [client.run() for client in clients])]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    print(len(failures))
    sys.exit(1 if failures and 'forgiving' not in sys.argv else 0)


main()
