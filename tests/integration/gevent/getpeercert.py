#!/usr/bin/python3
"""A monitor that looks at a peer's certificate, beside connections that have nothing to do with it.

usage: getpeercert.py FOLDER

The peer is verified, and getpeercert() raises nothing. It walks the authorityInfoAccess extension, which does
not parse, and leaves what OpenSSL says about that in the thread's error queue.
"""

from gevent import monkey

monkey.patch_all()

import sys

import healthy


def main(folder: str) -> None:
    context = healthy.client_context(folder)
    report = healthy.Report()
    with healthy.Server(folder, 'server') as server, healthy.Server(folder, 'aia') as odd:
        connections = [healthy.connect(context, server.port) for _ in range(healthy.CONNECTIONS)]
        with healthy.connect(context, odd.port) as monitored:
            for connection in connections:
                monitored.getpeercert()
                report.ask(connection)
    report.end()


if __name__ == '__main__':
    main(sys.argv[1])
