#!/usr/bin/env python3
"""gevent_server.py CERTIFICATE KEY: a contestant of compare.py. The same server with gevent's pywsgi."""

import sys

from gevent.pywsgi import WSGIServer

BODY = b'x' * (64 << 20)
ANSWERS = {}


def answer(environ, start_response):
    body = environ['wsgi.input']
    while body.read(65536):
        pass
    path = environ['PATH_INFO']
    if path not in ANSWERS:
        ANSWERS[path] = BODY[:int(path[1:])]
    start_response('200 OK', [('Content-Type', 'application/octet-stream'),
                              ('Content-Length', str(len(ANSWERS[path])))])
    return [ANSWERS[path]]


def main() -> None:
    server = WSGIServer(('127.0.0.1', 0), answer, certfile=sys.argv[1], keyfile=sys.argv[2], log=None,
                        error_log=None, backlog=4096)
    server.start()
    print(f'listening on 127.0.0.1:{server.server_port}', flush=True)
    server.serve_forever()


if __name__ == '__main__':
    main()
