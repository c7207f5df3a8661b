#!/usr/bin/env python3
"""The pool of fetchers among the examples, against `heddle serve` and a server that misbehaves."""

import collections
import http.server
import pathlib
import socket
import ssl
import subprocess
import threading
import unittest

from examples_support import PROGRAMS, Certificates
from serve_support import PATIENCE, Server

CERTIFICATES = None
AT_ONCE = 20


def setUpModule():
    global CERTIFICATES
    CERTIFICATES = Certificates()


def tearDownModule():
    CERTIFICATES.folder.cleanup()


def fetch(urls, ca, seconds=600, at_once=AT_ONCE):
    return subprocess.run([PROGRAMS / 'fetch_pool', str(at_once), str(seconds), ca], input='\n'.join(urls) + '\n',
                          capture_output=True, text=True, timeout=8 * PATIENCE)


class Site:
    def __init__(self, path):
        self.path = path
        self.site = path / 'site'
        self.site.mkdir()
        for size in range(10):
            (self.site / str(size)).write_bytes(b'x' * 1000 * size)


class FetchPool(unittest.TestCase):
    def odd_server(self):
        """A server with redirects, an answer that is cut off and one that does not come."""
        ca, key = CERTIFICATES.make('odd')
        silence = threading.Event()
        self.addCleanup(silence.set)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path == '/silent':
                    silence.wait(PATIENCE)
                elif self.path in REDIRECTS:
                    self.send_response(302)
                    self.send_header('Location', REDIRECTS[self.path])
                    self.send_header('Content-Length', '0')
                    self.end_headers()
                else:
                    self.send_response(200)
                    self.send_header('Content-Length', '7')
                    self.end_headers()
                    self.wfile.write(b'arrived' if self.path == '/there' else b'cut')

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # Clients that leave: some are meant to.
        url = f'https://127.0.0.1:{server.server_port}'
        REDIRECTS = {'/path': '/there', '/absolute': f'{url}/path', '/loop': '/loop', '/plain': 'http://127.0.0.1/'}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(ca, key)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        return ca, url

    def test_two_thousand_urls_and_nearly_all_are_resumed(self):
        path = pathlib.Path(CERTIFICATES.folder.name)
        with Server(Site(path)) as server:
            urls = [f'{server.url}/{i % 10}' for i in range(2000)]
            done = fetch(urls, str(server.ca))
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        lines = [line.split() for line in done.stdout.splitlines()]
        expected = collections.Counter((url, '200', str(i % 10 * 1000)) for i, url in enumerate(urls))
        self.assertEqual(collections.Counter(tuple(line[:3]) for line in lines), expected)
        how = collections.Counter(line[3] for line in lines)
        self.assertEqual(how['resumed'] + how['full'], 2000)
        self.assertLessEqual(how['full'], AT_ONCE)  # One for each fiber that fetches.

    def test_redirects_are_followed_and_loops_are_not(self):
        ca, url = self.odd_server()
        done = fetch([f'{url}/path', f'{url}/absolute', f'{url}/there#part', f'{url}/loop', f'{url}/plain'], ca)
        self.assertEqual(done.returncode, 1)
        lines = dict(line.split(' ', 1) for line in done.stdout.splitlines())
        for path in ('/path', '/absolute', '/there#part'):
            self.assertRegex(lines[url + path], '^200 7 (full|resumed)$')
        self.assertEqual(lines[f'{url}/loop'], 'failed: too many redirects')
        self.assertEqual(lines[f'{url}/plain'], 'failed: not an https URL')

    def test_a_server_that_does_not_answer_times_out(self):
        ca, url = self.odd_server()
        done = fetch([f'{url}/silent'], ca, seconds=1)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stdout, f'^{url}/silent failed: .*(timed out|deadline)')

    def test_other_failures_are_told_and_the_rest_goes_on(self):
        ca, url = self.odd_server()
        with socket.socket() as bound:
            bound.bind(('127.0.0.1', 0))  # And does not listen.
            nobody = f'https://127.0.0.1:{bound.getsockname()[1]}/'
            done = fetch([nobody, f'{url}/short', 'https://[::1]:99999/', 'junk', f'{url}/there'], ca, at_once=1)
        self.assertEqual(done.returncode, 1)
        lines = done.stdout.splitlines()
        self.assertRegex(lines[0], f'^{nobody} failed: .*refused')
        self.assertRegex(lines[1], f'^{url}/short failed: .*cut off')
        self.assertEqual(lines[2], 'https://[::1]:99999/ failed: not a port')
        self.assertEqual(lines[3], 'junk failed: not an https URL')
        self.assertRegex(lines[4], '/there 200 7 ')

    def test_an_untrusted_server_is_refused(self):
        _, url = self.odd_server()
        other, _ = CERTIFICATES.make('other')
        done = fetch([f'{url}/there'], other)
        self.assertRegex(done.stdout, 'failed: .*certificate')

    def test_a_line_without_end_is_told(self):
        ca, _ = CERTIFICATES.make('unused')
        done = fetch(['x' * 10_000], ca)
        self.assertEqual((done.returncode, done.stdout), (2, ''))
        self.assertRegex(done.stderr, '^fetch_pool: ')


if __name__ == '__main__':
    unittest.main()
