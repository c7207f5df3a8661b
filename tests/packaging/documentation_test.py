#!/usr/bin/env python3
"""Manual pages and completions know every subcommand and option that --help shows."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

PROGRAM = os.environ['HEDDLE_PROGRAM']


def output(*args: str) -> str:
    return subprocess.run([PROGRAM, *args], check=True, capture_output=True, text=True).stdout


def commands(*within: str) -> list:
    """Returns the subcommands that --help shows, of the program or `within` a subcommand."""
    _, found, part = output(*within, '--help').partition('Subcommands:\n')
    return re.findall(r'^  ([a-z]+) ', part.split('\n\n')[0], re.MULTILINE) if found else []


def inner_commands() -> list:
    """Returns (command, subcommand) for each subcommand of a subcommand."""
    return [(command, inner) for command in commands() for inner in commands(command)]


def options(text: str) -> list:
    """Returns the options that the help `text` shows, all names of each."""
    part = text.split('Options:\n')[1].split('\n\n')[0]
    lines = re.findall(r'^  (-\S+)', part, re.MULTILINE)
    return [name for line in lines for name in line.split(',')]


def completed(script: str, *words: str) -> list:
    """Returns what bash offers for the last of `words`."""
    code = ('compopt() { :; }\n' + script +
            '\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _heddle; printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(['bash', '-euc', code, 'bash', *words], check=True, capture_output=True,
                          text=True)
    return done.stdout.split()


class Documentation(unittest.TestCase):
    def test_there_are_commands_and_options(self):  # Else what follows would show nothing.
        self.assertIn('serve', commands())
        self.assertIn('--listen', options(output('serve', '--help')))
        self.assertNotIn('documentation', commands())
        self.assertIn(('cert', 'make'), inner_commands())
        self.assertIn('--folder', options(output('cert', 'make', '--help')))

    def test_manual_pages_know_all(self):
        for command in commands():
            self.assertIn(f'\\fB{command}\\fR', output('documentation', 'man'))
            page = output('documentation', 'man', command)
            for option in options(output(command, '--help')):
                bold = '\\fB' + option.replace('-', '\\-') + '\\fR'
                self.assertIn(bold, page, f'{option} is not in the page of {command}')

    def test_manual_pages_know_what_is_within_commands(self):
        for command, inner in inner_commands():
            page = output('documentation', 'man', command)
            part = page.split(f'\n.SH {inner.upper()}\n')[1].split('\n.SH ')[0]
            for option in options(output(command, inner, '--help')):
                bold = '\\fB' + option.replace('-', '\\-') + '\\fR'
                self.assertIn(bold, part, f'{option} is not with {command} {inner}')

    def test_manual_pages_are_sound(self):
        if not shutil.which('groff'):
            self.skipTest('no groff')
        for page in ([], *([command] for command in commands())):
            done = subprocess.run(['groff', '-man', '-Tascii', '-ww', '-rLL=100n'],
                                  input=output('documentation', 'man', *page), capture_output=True,
                                  text=True, check=True)
            self.assertEqual(done.stderr, '')
            self.assertIn('EXIT STATUS', re.sub('\x1b\\[[0-9;]*m|.\b', '', done.stdout))

    def test_bash_completes_all(self):
        script = output('documentation', 'bash')
        self.assertEqual(set(commands()) - set(completed(script, 'heddle', '')), set())
        for command in commands():
            expected = options(output(command, '--help'))
            offered = completed(script, 'heddle', command, '-')
            self.assertEqual(sorted(offered), sorted(expected), command)

    def test_bash_completes_within_commands(self):
        script = output('documentation', 'bash')
        for command in commands():
            if commands(command):
                self.assertEqual(sorted(completed(script, 'heddle', command, '')), sorted(commands(command)))
        for command, inner in inner_commands():
            expected = options(output(command, inner, '--help'))
            offered = completed(script, 'heddle', command, inner, '-')
            self.assertEqual(sorted(offered), sorted(expected), (command, inner))
        self.assertEqual(completed(script, 'heddle', 'cert', 'make', 'a.test', '--key-type', 'rs'),
                         ['rsa', 'rsa4096'])

    def test_bash_completes_words(self):
        script = output('documentation', 'bash')
        self.assertEqual(completed(script, 'heddle', 'stale', '--format', 'j'), ['json', 'junit'])
        self.assertEqual(completed(script, 'heddle', 'stale', '--color', '=', 'al'), ['always'])
        self.assertEqual(completed(script, 'heddle', 'stale', '--color', '='),
                         ['auto', 'always', 'never'])

    def test_bash_completes_file_names(self):
        script = output('documentation', 'bash')
        with tempfile.NamedTemporaryFile(prefix='heddle-completion-') as file:
            self.assertEqual(completed(script, 'heddle', 'serve', '--cert', file.name[:-1]),
                             [file.name])

    def test_zsh_completes_all(self):
        script = output('documentation', 'zsh')
        for command in commands():
            self.assertIn(f"'{command}:", script)
            branch = script.split(f'        {command})\n')[1].split(';;')[0]
            for option in options(output(command, '--help')):
                self.assertRegex(branch, rf"{re.escape(option)}=?\[", command)

    def test_zsh_completes_within_commands(self):
        script = output('documentation', 'zsh')
        for command, inner in inner_commands():
            branch = script.split(f'        {command})\n')[1].split(f'                {inner})\n')[1].split(';;')[0]
            for option in options(output(command, inner, '--help')):
                self.assertRegex(branch, rf"{re.escape(option)}=?\[", (command, inner))

    def test_zsh_reads_its_script(self):
        if not shutil.which('zsh'):
            self.skipTest('no zsh')
        subprocess.run(['zsh', '-n', '/dev/stdin'], input=output('documentation', 'zsh'), check=True,
                       text=True)


if __name__ == '__main__':
    sys.exit(unittest.main())
