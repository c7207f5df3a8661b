#!/usr/bin/python3
"""The Python lines that leave entries and meet them, as heddle guard names them: in every CPython that is installed.

usage: guard_python_test.py [unittest arguments]; guard_support.py says what it needs of the environment. Interpreters are
python3.8 to python3.14 in PATH, and those that HEDDLE_PYTHONS names (separated by colons).
"""

import json
import os
import pathlib
import shutil
import subprocess
import unittest

import guard_support
from guard_pushes import SEES_PUSHES
from guard_support import HERE, MISLED, MODULE, PYTHON, TIMEOUT, GuardTestCase, host, of_kind

PROGRAM = HERE / 'guard_python.py'


def line_of(mark: str) -> int:
    lines = PROGRAM.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f'# {mark}'))


def interpreters() -> list:
    found = [shutil.which(f'python3.{minor}') for minor in range(8, 15)]
    named = os.environ.get('HEDDLE_PYTHONS', '').split(':')
    known = {}
    for path in [PYTHON, *found, *named]:
        if path and os.path.exists(path):
            known.setdefault(os.path.realpath(path), path)
    return list(known.values())


def is_usable(python: str) -> bool:
    """It must use the libssl that the misspelt configuration harms: 3.0 to 3.6, loaded dynamically."""
    check = 'import ssl, sys; assert sys.version_info >= (3, 8) and (3,) <= ssl.OPENSSL_VERSION_INFO < (3, 6)'
    return subprocess.run([python, '-c', check], capture_output=True, timeout=TIMEOUT).returncode == 0


@unittest.skipUnless(MISLED and SEES_PUSHES, 'needs a libcrypto that shows who pushes')
class PythonTest(GuardTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.certificate, self.key = self.folder / 'cert.pem', self.folder / 'key.pem'
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes',
                        '-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout',
                        self.key, '-out', self.certificate], check=True, capture_output=True)
        self.config = self.folder / 'openssl.cnf'
        self.config.write_text('openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\n'
                               'system_default = defaults\n[defaults]\nCiphersuites = nonsense\n')

    def run_program(self, python: str, how: str, *guard: str):
        variables = {'OPENSSL_CONF': str(self.config)}
        return self.guard(*guard, '--', python, str(PROGRAM), str(self.certificate), str(self.key), how,
                          variables=variables)

    def found(self, python: str, how: str) -> list:
        self.log.unlink(missing_ok=True)
        done = self.run_program(python, how, '--json', '--log', str(self.log))
        self.assertEqual((0, 'called dead\n'), (done.returncode, done.stdout), done.stderr)
        return of_kind([json.loads(line) for line in self.log.read_text().splitlines()], 'dirty')

    def check_lines(self, event: dict, leak: str = 'LEAK') -> None:
        origin = event['entries'][0]['origin']
        self.assertEqual('pushed', origin['how'])
        self.assertIn(('guard_python.py', line_of(leak), 'careless'), self.lines(origin['python']))
        self.assertIn(('guard_python.py', line_of('VICTIM'), 'read'), self.lines(event['python']))

    @staticmethod
    def lines(stack: list) -> list:
        """Files, lines and functions; from CPython 3.11 on with the classes and functions that these are in."""
        return [(pathlib.Path(frame['file']).name, frame['line'], frame['function'].rpartition('.')[2]) for frame in stack]

    def test_leaker_and_victim_in_each_version(self) -> None:
        usable = [python for python in interpreters() if is_usable(python)]
        self.assertTrue(usable)
        for python in usable:
            for how in ('plain', 'thread'):
                with self.subTest(python=python, how=how):
                    [event] = self.found(python, how)
                    self.check_lines(event)

    def test_where_pushes_are_hidden_the_call_that_left_it(self) -> None:
        # As with a libcrypto that does not call itself by way of others.
        preloaded = f'{host("libguard_hidden_pushes.so")}:{MODULE}'
        for how, mark in (('plain', 'LEAK'), ('greenlet', 'LEAK WITH LOCK')):
            with self.subTest(how=how):
                self.log.unlink(missing_ok=True)
                command = [PYTHON, str(PROGRAM), str(self.certificate), str(self.key), how]
                [event] = of_kind(self.events(*command, expected=0, LD_PRELOAD=preloaded,
                                              OPENSSL_CONF=str(self.config)), 'dirty')
                origin = event['entries'][0]['origin']
                self.assertEqual('called', origin['how'])
                self.assertIn(('guard_python.py', line_of(mark)), [line[:2] for line in self.lines(origin['python'])])

    def test_the_outermost_line_of_a_deep_stack_is_kept(self) -> None:
        for python in filter(is_usable, interpreters()):
            with self.subTest(python=python):
                [event] = self.found(python, 'deep')
                self.check_lines(event)
                self.assertEqual('<module>', event['python'][-1]['function'])
                self.assertEqual(24, len(event['python']))

    def test_the_greenlet_that_left_it(self) -> None:
        has_greenlet = subprocess.run([PYTHON, '-c', 'import greenlet'], capture_output=True, timeout=TIMEOUT)
        if has_greenlet.returncode != 0:
            self.skipTest('python3-greenlet is not installed')
        [event] = self.found(PYTHON, 'greenlet')
        self.check_lines(event, 'LEAK WITH LOCK')
        greenlet = event['entries'][0]['origin']['greenlet']
        self.assertEqual('greenlet.greenlet', greenlet['type'])
        self.assertRegex(greenlet['address'], r'^0x[0-9a-f]+$')
        # A greenlet's stack begins with the function that it runs.
        self.assertEqual('careless_greenlet', event['entries'][0]['origin']['python'][-1]['function'])

    def test_in_words(self) -> None:
        done = self.run_program(PYTHON, 'plain')
        leak, victim = line_of('LEAK'), line_of('VICTIM')
        self.assertRegex(done.stderr, rf'python: .*(\n.*)*guard_python.py:{leak} in careless')
        self.assertRegex(done.stderr, rf'1\. left by: \S+guard_python.py:{leak} in careless')
        self.assertRegex(done.stderr, rf'- SSL_read_ex called from \S+guard_python.py:{victim} in read, by way of \S+ssl.py:')
        self.assertIn('In Python: ', done.stderr)
        self.assertIn('a client of localhost, TLSv1.3', done.stderr)


if __name__ == '__main__':
    guard_support.main('guard_python_test.py')
