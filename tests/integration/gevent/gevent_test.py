#!/usr/bin/python3
"""The stale-error bug in unmodified CPython and gevent: it shows, `heddle guard` names it, `--cure` cures it.

usage: gevent_test.py [unittest arguments]; $HEDDLE_PROGRAM is run. README.md says what each program shows.
"""

import importlib.util
import unittest

import guarded


class GetPeerCertificate(guarded.CurableProgram, unittest.TestCase):
    program = 'getpeercert.py'
    leak = 'monitored.getpeercert()'
    error = r'SSLError: \[ASN1\] nested asn1 error .*; SO_ERROR 0, connected$'
    entry = ('asn1 encoding routines', 'too long')

    def test_an_ordinary_certificate_does_no_harm_and_is_not_reported(self) -> None:
        for suffix in ('pem', 'key'):
            odd, ordinary = (guarded.WORLD.path / f'{name}.{suffix}' for name in ('aia', 'server'))
            self.addCleanup(odd.write_bytes, odd.read_bytes())
            odd.write_bytes(ordinary.read_bytes())
        run = self.run_it(guarded.DETECT)
        self.check_unharmed(run)
        self.assertEqual(run.of_kind('dirty'), [])
        self.assertTrue(any(record['saw_calls'] for record in run.of_kind('exit')), run)


class MisspeltCipherSuite(guarded.CurableProgram, unittest.TestCase):
    program = 'ciphersuites.py'
    leak = '            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)'
    error = r'SSLError: \[SSL: NO_CIPHER_MATCH\] .*; SO_ERROR 0, connected$'
    entry = ('SSL routines', 'no cipher match')


@unittest.skipUnless(importlib.util.find_spec('psycopg2'), 'python3-psycopg2 is not installed')
class DatabaseDriver(guarded.CurableProgram, unittest.TestCase):
    program = 'libpq.py'
    leak = 'state = connection.poll()'
    error = r'SSLError: \[SSL: SHUTDOWN_WHILE_IN_INIT\] .*; SO_ERROR 0, connected$'
    entry = ('SSL routines', 'shutdown while in init')


class Asyncio(guarded.CurableProgram, unittest.TestCase):
    program = 'asyncio_client.py'
    leak = 'asyncio.run(main(sys.argv[1]))'  # All else is asyncio's.
    reader = ('asyncio_client.py', leak)
    error = r'SSLError: \[ASN1\] nested asn1 error '
    entry = ('asn1 encoding routines', 'too long')


class SwitchInsideSniCallback(guarded.CurableProgram, unittest.TestCase):
    """The entry arrives during the call: SSL_get_error() is where that is seen, and mended."""

    program = 'sni_callback.py'
    leak = 'self.peer.getpeercert()'
    reader = ('sni_callback.py', 'stream.do_handshake()')
    error = r'SSLError: \[ASN1\] nested asn1 error .*; SO_ERROR 0, connected$'
    entry = ('asn1 encoding routines', 'too long')
    call = 'SSL_get_error'


if __name__ == '__main__':
    guarded.main()
