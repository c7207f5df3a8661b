#!/usr/bin/python3
"""Measures what `heddle guard` costs: a gevent HTTPS server and its keep-alive clients, with and without it.

usage: slowdown.py HEDDLE [ROUNDS [REQUESTS]]

A round is one run without the guard, one under it and one under its cure, in an order that changes. What counts is the
processor time that the serving process takes for REQUESTS requests: unlike the clock it does not see other programs.
Both sides of every connection are in that process. Printed are the median of the ratios to the same round's run without, and
the ratio of the shortest runs, which other programs disturb least.
"""

from gevent import monkey

monkey.patch_all()

import http.client
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import gevent
from gevent import pywsgi

import certificates
import healthy

CLIENTS = 8
BODY = bytes(1000)


def answer(_, start_response):
    start_response('200 OK', [('Content-Length', str(len(BODY)))])
    return [BODY]


class Server(pywsgi.WSGIServer):
    def handle(self, client, address):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # Header and body are two writes: no 40 ms for each.
        super().handle(client, address)


def talk(connection: http.client.HTTPSConnection, requests: int) -> None:
    for _ in range(requests):
        connection.request('GET', '/')
        body = connection.getresponse().read()
        assert body == BODY


def serve_and_ask(folder: str, requests: int) -> float:
    """Returns the processor time in seconds."""
    server = Server(('127.0.0.1', 0), answer, log=None, certfile=f'{folder}/server.pem',
                    keyfile=f'{folder}/server.key')
    server.start()
    context = healthy.client_context(folder)
    connections = [http.client.HTTPSConnection('localhost', server.server_port, context=context) for _ in range(CLIENTS)]
    for connection in connections:
        talk(connection, 20)  # Handshakes and warming up are not what is measured.
    start = time.process_time()
    gevent.joinall([gevent.spawn(talk, connection, requests // CLIENTS) for connection in connections],
                   raise_error=True)
    used = time.process_time() - start
    for connection in connections:
        connection.close()
    server.stop()
    return used


def measure(guard: list, folder: str, requests: str) -> float:
    command = [*guard, sys.executable, __file__, '--serve', folder, requests]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[0])


def main(heddle: str, rounds: str = '30', requests: str = '8000') -> None:
    log = ['--log', '/dev/null', '--']
    kinds = {'without': [], 'detect': [heddle, 'guard', *log], 'cure': [heddle, 'guard', '--cure', *log]}
    times = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        certificates.make(pathlib.Path(folder))
        for _ in range(int(rounds)):
            for kind in random.sample(list(kinds), len(kinds)):
                times[kind].append(measure(kinds[kind], folder, requests))
    for kind, taken in times.items():
        ratios = sorted(mine / plain for mine, plain in zip(taken, times['without']))
        quarter = len(ratios) // 4
        print(f'{kind:8} {statistics.median(taken) / int(requests) * 1e6:7.2f} us per request; ratio: median '
              f'{statistics.median(ratios):.4f} (quartiles {ratios[quarter]:.4f} to {ratios[-1 - quarter]:.4f}), '
              f'shortest {min(taken) / min(times["without"]):.4f}')


if __name__ == '__main__':
    if sys.argv[1] == '--serve':
        print(serve_and_ask(sys.argv[2], int(sys.argv[3])))
    else:
        main(*sys.argv[1:])
