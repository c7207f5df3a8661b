#!/usr/bin/python3
"""CPython issue 148594: writing to a peer that has gone spoils the other connections. OpenSSL 3.4 and CPython 3.12 or newer.

usage: vanished_peer_test.py [unittest arguments]; $HEDDLE_PROGRAM is run. README.md says what each program shows.
"""

import re
import ssl
import sys
import unittest

import guarded

# OpenSSL before 3.4 pushes no entry when a record cannot be written; CPython before 3.12 clears the queue after every error.
HAS_PATH = ssl.OPENSSL_VERSION_INFO[:2] >= (3, 4) and sys.version_info >= (3, 12)


class WriteToVanishedPeer(guarded.CurableProgram, unittest.TestCase):
    program = 'vanished_peer.py'
    arguments = ('write',)
    error = r'(BrokenPipeError|ConnectionResetError): .*; SO_ERROR 0, connected$'
    entry = ('system library', 'Connection reset by peer')
    entries = 1
    leak = "            connection.sendall(b'anybody there?')"
    reader = ('healthy.py', 'piece = connection.recv(count)')


class UnwrapOfVanishedPeer(WriteToVanishedPeer):
    arguments = ('unwrap',)


class AbortedDownloads(unittest.TestCase):
    """The bug in its production shape. How often it shows depends on the schedule; that it shows does not."""

    def spurious(self, run: guarded.Run) -> int:
        last = re.search(r'^([0-9]+) downloads aborted, ([0-9]+) messages, ([0-9]+) spurious errors$', run.output,
                         re.MULTILINE)
        self.assertTrue(last, run)
        self.assertGreater(int(last[2]), 0, run)
        self.assertEqual(run.status, 1 if int(last[3]) else 0, run)
        return int(last[3])

    def test_plain_they_harm_the_consumer(self) -> None:
        self.assertGreater(self.spurious(guarded.Run('aborted_downloads.py')), 0)

    def test_detect_names_the_consumers_call(self) -> None:
        run = guarded.Run('aborted_downloads.py', guard=guarded.DETECT)
        self.assertGreater(self.spurious(run), 0)
        self.check_named(run)
        self.assertGreater(run.count('spurious'), 0, run)

    def test_cure_saves_the_consumer(self) -> None:
        run = guarded.Run('aborted_downloads.py', guard=guarded.CURE)
        self.assertEqual(self.spurious(run), 0, run)
        self.check_named(run)
        self.assertGreater(run.count('times'), 0, run)

    def check_named(self, run: guarded.Run) -> None:
        found = {(record['call'], record['entries'][0]['function']) for record in run.of_kind('dirty')}
        self.assertIn(('SSL_read_ex', 'tls_retry_write_records'), found, run)


if __name__ == '__main__':
    guarded.main('' if HAS_PATH else 'this OpenSSL or this Python does not leave the entry of a failed write')
