#!/usr/bin/env python3
"""heddle serve and peers that misbehave: each harms itself only."""

import os
import socket
import ssl
import struct
import subprocess
import unittest

from serve_support import PROGRAM, Server, World, read_all, wait_until

WORLD = None


def setUpModule():
    global WORLD
    WORLD = World()


def tearDownModule():
    WORLD.remove()


class BadPeers(unittest.TestCase):
    """A peer that behaves badly harms itself only."""

    def test_nothing_of_it_reaches_a_healthy_connection(self):
        with Server(WORLD) as server:
            healthy = server.http()
            self.assertEqual(server.get(healthy)[0], 200)
            before = server.descriptors()
            silent = [self.half_a_record(server) for _ in range(20)]
            mute = [server.tcp() for _ in range(20)]
            for _ in range(20):
                self.killed_download(server)
                self.reset_in_handshake(server)
                self.reset_in_download(server)
                self.junk(server)
                self.plain_http(server)
                self.assertEqual(server.get(healthy)[:2], (200, b'0123456789'))
            for stream in silent[:10]:
                stream.close()
            for connection in silent[10:] + mute:
                self.assertEqual(self.read_to_end(connection), b'')  # The handshake's deadline.
                connection.close()
            wait_until(lambda: server.descriptors() <= before, 'descriptors are given back')
            self.assertEqual(server.get(healthy)[:2], (200, b'0123456789'))
            healthy.close()
            self.assertEqual(server.stop(), 0)
            self.assertEqual(server.stderr(), '')

    @staticmethod
    def read_to_end(connection):
        try:
            return read_all(connection)
        except ConnectionError:
            return b''

    @staticmethod
    def abort(connection):
        """Closes with a reset instead of a FIN."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        connection.close()

    @staticmethod
    def client_hello(server):
        outgoing = ssl.MemoryBIO()
        client = server.context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname='localhost')
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            return outgoing.read()

    def killed_download(self, server):
        curl = subprocess.Popen(['curl', '--silent', '--cacert', server.ca, '--limit-rate', '1M',
                                 server.url + '/big'], stdout=subprocess.PIPE)
        curl.stdout.read(100)
        curl.kill()
        curl.wait()
        curl.stdout.close()

    def reset_in_handshake(self, server):
        connection = server.tcp()
        connection.sendall(self.client_hello(server))
        connection.recv(100)
        self.abort(connection)

    def reset_in_download(self, server):
        stream = server.tls()
        stream.sendall(b'GET /big HTTP/1.1\r\nHost: x\r\n\r\n')
        stream.recv(100)
        self.abort(stream)

    def half_a_record(self, server):
        connection = server.tcp()
        hello = self.client_hello(server)
        connection.sendall(hello[:len(hello) // 2])
        return connection

    def junk(self, server):
        with server.tcp() as connection:
            connection.sendall(os.urandom(500))
            self.read_to_end(connection)

    def plain_http(self, server):
        with server.tcp() as connection:
            connection.sendall(b'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
            self.read_to_end(connection)

    def test_a_crowd_that_says_nothing_shuts_nobody_out(self):
        with Server(WORLD, descriptors=64) as server:
            crowd = [server.tcp() for _ in range(80)]
            for _ in range(3):
                connection = server.http()
                self.assertEqual(server.get(connection)[:2], (200, b'0123456789'))
                connection.close()
            for connection in crowd:
                connection.close()
            self.assertEqual(server.stop(), 0)
            self.assertEqual(server.stderr(), '')

    def test_without_descriptors_it_says_so_once_and_recovers(self):
        with open(PROGRAM, 'rb') as program:
            if b'__ubsan_handle' in program.read():
                self.skipTest("UBSan looks at the type of an object through a pipe: it takes descriptors")
        with Server(WORLD, '--max-connections', '1000', descriptors=64) as server:
            crowd = [server.tcp() for _ in range(80)]
            wait_until(lambda: 'have to wait' in server.stderr(), 'it says that it is full')
            self.assertIn('ulimit -n', server.stderr())
            for connection in crowd:
                connection.close()
            again = server.http()
            self.assertEqual(server.get(again)[0], 200)
            again.close()
            self.assertEqual(server.stop(), 0)
            self.assertEqual(server.stderr().count('\n'), 1, server.stderr())


if __name__ == '__main__':
    unittest.main(verbosity=2)
