#!/usr/bin/python3
"""`heddle cert show --json` and CPython decode the same 200 certificates, and say the same of them.

The certificates are written here, byte by byte, by a seeded generator: every kind of alternative
name, sets of several attributes, each string type, NUL bytes, broken encodings, years 1 to 9999.
Where the two differ, the difference is in KNOWN, with the reason. Signatures are junk: nobody verifies.

usage: cert_python_test.py [HEDDLE] [unittest arguments]; without HEDDLE, $HEDDLE_PROGRAM is run.
"""

import base64
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import subprocess
import ssl
import sys
import tempfile
import unittest

PROGRAM = os.environ.get('HEDDLE_PROGRAM', '')
SEED = int(os.environ.get('HEDDLE_CERT_SEED', '1'))
COUNT = 200
TIMEOUT = 60

# --- DER -----------------------------------------------------------------------------------------


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b''.join(parts)
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, 'big')
    return bytes([tag, 0x80 | len(length)]) + length + content


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def oid_content(text: str) -> bytes:
    first, second, *rest = map(int, text.split('.'))
    content = b''
    for arc in [40 * first + second, *rest]:
        digits = [arc & 0x7f]
        while arc := arc >> 7:
            digits.append(0x80 | arc & 0x7f)
        content += bytes(reversed(digits))
    return content


def oid(text: str) -> bytes:
    return tlv(6, oid_content(text))


def integer(number: int) -> bytes:
    return tlv(2, number.to_bytes(number.bit_length() // 8 + 1, 'big', signed=True))


# --- Certificates --------------------------------------------------------------------------------

# The generator of P-256: a public key that is the same everywhere.
POINT = bytes.fromhex('046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296'
                      '4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5')
KEY = sequence(sequence(oid('1.2.840.10045.2.1'), oid('1.2.840.10045.3.1.7')),
               tlv(3, b'\0' + POINT))
ALGORITHM = sequence(oid('1.2.840.10045.4.3.2'))

ATTRIBUTES = ['2.5.4.3', '2.5.4.6', '2.5.4.7', '2.5.4.8', '2.5.4.10', '2.5.4.11', '2.5.4.5',
              '0.9.2342.19200300.100.1.1', '0.9.2342.19200300.100.1.25', '1.2.840.113549.1.9.1',
              '1.2.3.4.5.6', '2.999.1234567890123456789012345', '2.5.4.45']
TEXTS = ['example.org', 'a\0b', 'M\u00fcller & S\u00f6hne', '\u65e5\u672c', '', ' padded ', 'a,b+c="d";<e>\\',
         'line\r\nfeed\t\x1b[1m', 'x' * 300, '\u202eright to left', '\U0001f600', '#hash', '*.example.org']
# UTF8String, PrintableString, T61String, IA5String, NumericString; then wide ones.
BYTE_STRINGS = {0x0c: 'utf-8', 0x13: 'ascii', 0x14: 'latin-1', 0x16: 'ascii', 0x12: 'ascii'}
WIDE_STRINGS = {0x1e: 'utf-16-be', 0x1c: 'utf-32-be'}


class Generator:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def chance(self, of: float) -> bool:
        return self.random.random() < of

    def text(self) -> str:
        return self.random.choice(TEXTS)

    def string(self) -> bytes:
        if self.chance(0.03):
            return tlv(3, b'\0\x01\x02')  # A bit string, as x500UniqueIdentifier has it.
        if self.chance(0.01):
            return self.random.choice([tlv(0x0c, b'\xff\xfe'), tlv(0x1e, b'odd'), tlv(0x1a, b'visible')])
        tag, encoding = self.random.choice([*BYTE_STRINGS.items(), *WIDE_STRINGS.items()])
        return tlv(tag, self.text().encode(encoding, 'replace'))

    def name(self) -> bytes:
        sets = []
        for _ in range(self.random.choice([0, 1, 1, 2, 3, 5])):
            attributes = [sequence(oid(self.random.choice(ATTRIBUTES)), self.string())
                          for _ in range(self.random.choice([1, 1, 1, 2, 3]))]
            if self.chance(0.7):
                attributes.sort()
            sets.append(tlv(0x31, *attributes))
        return sequence(*sets)

    def clock(self) -> str:
        pick = self.random.randrange
        return f'{pick(1, 13):02}{pick(1, 29):02}{pick(24):02}{pick(60):02}{pick(60):02}'

    def time(self) -> bytes:
        kind = self.random.random()
        year = self.random.randrange(10000)
        if kind < 0.4:
            return tlv(0x17, f'{year % 100:02}{self.clock()}Z'.encode())
        if kind < 0.8:
            return tlv(0x18, f'{year:04}{self.clock()}Z'.encode())
        if kind < 0.85:
            return tlv(0x18, f'{year:04}{self.clock()}.25Z'.encode())
        if kind < 0.9:
            return tlv(0x17, f'{year % 100:02}{self.clock()}+0130'.encode())
        return tlv(0x17, self.random.choice([b'not-a-UTCTime', b'991332250000Z', b'990230000000Z', b'']))

    def visible(self) -> bytes:
        if self.chance(0.05):
            return b'8-bit \xff\xc3'
        return self.text().encode('utf-8')

    def general_name(self) -> bytes:
        kind = self.random.randrange(13)
        if kind == 0:
            return tlv(0x81, b'who@where.test')
        if kind in (1, 2):
            return tlv(0x82, self.visible())
        if kind == 3:
            return tlv(0x86, b'spiffe://trust.test/worker')
        if kind == 4:
            return tlv(0x87, self.random.randbytes(4))
        if kind == 5:
            return tlv(0x87, self.random.randbytes(16))
        if kind == 6:
            return tlv(0x87, self.random.randbytes(self.random.choice([0, 3, 5, 17])))
        if kind == 7:
            return tlv(0x88, oid_content(self.random.choice(ATTRIBUTES)))
        if kind == 8:
            return tlv(0xa4, self.name())
        if kind in (9, 10):
            types = ['1.3.6.1.4.1.311.20.2.3', '1.3.6.1.5.5.7.8.5', '1.3.6.1.5.5.7.8.7',
                     '1.3.6.1.5.5.7.8.8', '1.3.6.1.5.5.7.8.9', '1.2.3.4']
            value = tlv(self.random.choice([0x0c, 0x16, 0x04]), b'user@realm.test')
            return tlv(0xa0, oid(self.random.choice(types)), tlv(0xa0, value))
        if kind == 11:
            return tlv(0xa5, tlv(0xa1, tlv(0x0c, b'party')))
        return tlv(0x86, self.visible())

    def extension(self, kind: str, content: bytes) -> bytes:
        if self.chance(0.04):
            content = content[:-1] if self.chance(0.5) else b'\x30\x7fjunk'
        critical = tlv(1, b'\xff') if self.chance(0.3) else b''
        return sequence(oid(kind), critical, tlv(4, content))

    def point(self) -> bytes:
        if self.chance(0.15):
            return sequence(tlv(0x81, b'\x01\x06'))  # Reasons only: CVE-2019-5010.
        return sequence(tlv(0xa0, tlv(0xa0, *(self.general_name() for _ in range(self.random.randrange(1, 3))))))

    def extensions(self) -> bytes:
        made = []
        if self.chance(0.8):
            names = [self.general_name() for _ in range(self.random.randrange(7))]
            made += [self.extension('2.5.29.17', sequence(*names))] * (2 if self.chance(0.04) else 1)
        if self.chance(0.5):
            methods = [sequence(oid(self.random.choice(['1.3.6.1.5.5.7.48.1', '1.3.6.1.5.5.7.48.2', '1.2.3'])),
                                self.general_name()) for _ in range(self.random.randrange(5))]
            made.append(self.extension('1.3.6.1.5.5.7.1.1', sequence(*methods)))
        if self.chance(0.5):
            points = [self.point() for _ in range(self.random.randrange(1, 4))]
            made.append(self.extension('2.5.29.31', sequence(*points)))
        if self.chance(0.3):
            made.append(self.extension('1.2.3.4', self.random.randbytes(20)))
        self.random.shuffle(made)
        return tlv(0xa3, sequence(*made)) if made else b''

    def serial(self) -> int:
        return self.random.choice([0, 1, -1, -255, 127, 128, self.random.getrandbits(64),
                                   self.random.getrandbits(159), self.random.getrandbits(500)])

    def certificate(self) -> bytes:
        version = self.random.choice([0, 1, 2, 2, 2, 2])
        signed = sequence(tlv(0xa0, integer(version)) if version else b'', integer(self.serial()),
                          ALGORITHM, self.name(), sequence(self.time(), self.time()), self.name(),
                          KEY, self.extensions())
        return sequence(signed, ALGORITHM, tlv(3, b'\0junk'))


# --- What is known to differ ---------------------------------------------------------------------

def differs_in_time(python: str, heddle) -> str:
    """Returns the name of a known difference, or ''."""
    if python == 'Bad time value':
        return "malformed time: CPython has OpenSSL's remark as a date, JSON has null" if heddle is None else ''
    seconds, fraction, _ = python.partition('.')
    if fraction and heddle == f"{seconds} {python.split()[-2]} GMT":
        return 'fraction of a second: a time point has whole ones'
    return ''


def differs_in_serial(python: str, heddle: str) -> str:
    if python.endswith('\\\n') and heddle.startswith(python[:-2]):
        return "serial of more than 35 bytes: CPython reads the first line of OpenSSL's text"
    return ''


def differs_in_name(python: tuple, heddle: tuple) -> str:
    def as_text(value):
        return '#' + value.hex().upper() if isinstance(value, bytes) else value
    mended = tuple(tuple((name, as_text(value)) for name, value in each) for each in python)
    return 'bit string in a name: CPython has bytes, JSON #HEX as in RFC 4514' if mended == heddle else ''


def differs_in_alternatives(python: tuple, heddle: tuple) -> str:
    mended = tuple((kind, value) if kind != 'DirName' or value == other[1] or
                   not differs_in_name(value, other[1]) else other
                   for (kind, value), other in zip(python, heddle))
    if len(python) == len(heddle) and mended == heddle:
        return 'bit string in a name: CPython has bytes, JSON #HEX as in RFC 4514'
    return ''


KNOWN = {'notBefore': differs_in_time, 'notAfter': differs_in_time, 'serialNumber': differs_in_serial,
         'subject': differs_in_name, 'issuer': differs_in_name, 'subjectAltName': differs_in_alternatives}
# CPython leaves a list out if the extension is not there, and keeps an empty one; JSON leaves both out.
MEMBERS = {'subject': None, 'issuer': None, 'version': None, 'serialNumber': None, 'notBefore': None,
           'notAfter': None, 'subjectAltName': (), 'OCSP': (), 'caIssuers': (), 'crlDistributionPoints': ()}


def as_tuples(value):
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


class Comparison(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory(prefix='heddle-cert-')
        generator = Generator(SEED)
        cls.paths = []
        for number in range(COUNT):
            path = pathlib.Path(cls.folder.name) / f'{number}.pem'
            body = base64.encodebytes(generator.certificate()).decode()
            path.write_text(f'-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n')
            cls.paths.append(path)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            cls.shown = list(pool.map(cls.show, cls.paths))

    @classmethod
    def tearDownClass(cls) -> None:
        cls.folder.cleanup()

    @staticmethod
    def show(path: pathlib.Path) -> subprocess.CompletedProcess:
        return subprocess.run([PROGRAM, 'cert', 'show', '--json', str(path)], capture_output=True,
                              timeout=TIMEOUT, check=False)

    def compare(self, python: dict, heddle: dict, seen: collections.Counter) -> None:
        for member, missing in MEMBERS.items():
            ours, theirs = heddle.get(member, missing), python.get(member, missing)
            if ours == theirs:
                continue
            known = KNOWN[member](theirs, ours) if member in KNOWN else ''
            self.assertTrue(known, f'{member}: CPython has {theirs!r}, we have {ours!r}')
            seen[known] += 1

    def test_both_decode_the_same(self) -> None:
        seen = collections.Counter()
        for path, done in zip(self.paths, self.shown):
            with self.subTest(seed=SEED, certificate=path.stem, pem=path.read_text()):
                message = done.stderr.decode()
                try:
                    python = ssl._ssl._test_decode_cert(str(path))
                except UnicodeDecodeError:
                    # CPython gives nothing then; JSON has U+FFFD for the bytes that are no UTF-8.
                    self.assertEqual(done.returncode, 0, message)
                    self.assertIn(b'\\ufffd', done.stdout)
                    seen['no UTF-8'] += 1
                    continue
                except ssl.SSLError:
                    # OpenSSL does not read it.
                    self.assertEqual(done.returncode, 2, message)
                    self.assertRegex(message, r'\Aheddle cert show: [^\n]+\n\Z')
                    seen['refused'] += 1
                    continue
                self.assertEqual(done.returncode, 0, message)
                (heddle,) = json.loads(done.stdout)
                self.compare(python, {key: as_tuples(value) for key, value in heddle.items()}, seen)
                seen['compared'] += 1
        # A difference that does not occur is none, and a generator that makes junk only shows nothing.
        self.assertGreater(seen['compared'], COUNT // 2)
        self.assertEqual(len(seen), 7, seen)

    def test_output_is_safe_for_terminals(self) -> None:
        for done in self.shown:
            self.assertTrue(all(byte == 10 or 32 <= byte < 127 for byte in done.stdout))


if __name__ == '__main__':
    if len(sys.argv) > 1 and os.path.isfile(sys.argv[1]):
        PROGRAM = os.path.abspath(sys.argv.pop(1))
    if not PROGRAM:
        sys.exit(f'{sys.argv[0]}: needs a heddle program')
    unittest.main()
