#!/usr/bin/python3
"""A program that makes an SSLContext now and then, under a configuration with a misspelt cipher suite.

usage: OPENSSL_CONF=FOLDER/ciphersuites.cnf ciphersuites.py FOLDER

OpenSSL ignores the misspelt line, makes the context, and leaves a note about it in the thread's error queue.
"""

from gevent import monkey

monkey.patch_all()

import ssl
import sys

import healthy


def main(folder: str) -> None:
    context = healthy.client_context(folder)
    report = healthy.Report()
    with healthy.Server(folder, 'server') as server:
        connections = [healthy.connect(context, server.port) for _ in range(healthy.CONNECTIONS)]
        for connection in connections:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            report.ask(connection)
    report.end()


if __name__ == '__main__':
    main(sys.argv[1])
