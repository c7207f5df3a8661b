#!/usr/bin/python3
"""heddle stale: its options, its exit status, and that every format can be read.

usage: stale_test.py [HEDDLE] [unittest arguments]; without HEDDLE, $HEDDLE_PROGRAM is run.
"""

import collections
import errno
import html.parser
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

PROGRAM = os.environ.get('HEDDLE_PROGRAM', '')
TIMEOUT = 240  # Seconds; generous, for sanitizer builds on busy machines.
POLICIES = ['shared', 'clear', 'isolated']
ONE = 'pem-junk/read@bio-read'  # The same on every OpenSSL before 4.0, and never wrong when isolated.
SOME = '*/read@*'
VOID = {'meta'}  # Of the elements that the page uses, those without an end tag.


def stale(*arguments: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run([PROGRAM, 'stale', *arguments], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=TIMEOUT, check=False,
                          env={**os.environ, **variables})


def on_a_terminal(*arguments: str, **variables: str) -> str:
    """What `heddle stale` writes to a terminal."""
    master, slave = os.openpty()
    with open(master, 'rb', buffering=0) as terminal:
        try:
            process = subprocess.Popen([PROGRAM, 'stale', *arguments], stdin=subprocess.DEVNULL,
                                       stdout=slave, stderr=subprocess.DEVNULL,
                                       env={**os.environ, 'TERM': 'xterm', **variables})
        finally:
            os.close(slave)
        text = b''
        try:
            while piece := terminal.read(4096):
                text += piece
        except OSError as error:  # How Linux says that nobody has the other end any more.
            if error.errno != errno.EIO:
                raise
        process.wait(TIMEOUT)
    return text.decode()


class Page(html.parser.HTMLParser):
    """Reads a page, and fails unless its elements nest as they should."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open = []
        self.elements = collections.Counter()
        self.ids = []
        self.targets = []
        self.scopes = collections.Counter()
        self.addresses = []
        self.words = []
        self.feed(text)
        self.close()
        if self.open:
            raise ValueError(f'never closed: {self.open}')

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.elements[tag] += 1
        values = dict(attrs)
        if len(values) != len(attrs):
            raise ValueError(f'an attribute of {tag} is there twice')
        if 'id' in values:
            self.ids.append(values['id'])
        if 'scope' in values:
            self.scopes[values['scope']] += 1
        for name in ('href', 'src', 'action', 'data', 'poster', 'srcset'):
            if name in values:
                (self.targets if tag == 'a' else self.addresses).append(values[name])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            raise ValueError(f'</{tag}> ends nothing at line {self.getpos()[0]}')

    def handle_data(self, data: str) -> None:
        self.words.append(data)


class WholeRunTest(unittest.TestCase):
    """One run of everything, looked at from several sides."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.done = stale('--format', 'json')
        cls.report = json.loads(cls.done.stdout)
        cls.listed = json.loads(stale('--list', '--format', 'json').stdout)

    def test_it_is_as_expected_and_succeeds(self) -> None:
        self.assertEqual(0, self.done.returncode, self.done.stderr)
        self.assertTrue(self.report['as_expected'])
        self.assertEqual([], [cell['id'] for cell in self.report['cells'] if cell['failure']])

    def test_every_listed_scenario_is_played_under_every_policy(self) -> None:
        self.assertEqual(POLICIES, [stack['name'] for stack in self.report['stacks']])
        for policy in POLICIES:
            played = [cell['id'] for cell in self.report['cells'] if cell['stack'] == policy]
            self.assertEqual(self.listed['scenarios'], played)

    def test_totals_are_those_of_the_cells(self) -> None:
        for stack in self.report['stacks']:
            cells = [cell for cell in self.report['cells'] if cell['stack'] == stack['name']]
            verdicts = collections.Counter(cell['verdict'] for cell in cells)
            self.assertEqual(len(cells), stack['cells'])
            for verdict in ('healthy', 'spurious', 'lost', 'skipped', 'broken'):
                self.assertEqual(verdicts[verdict], stack[verdict], (stack['name'], verdict))

    def test_shared_and_clear_fail_and_isolated_does_not(self) -> None:
        stacks = {stack['name']: stack for stack in self.report['stacks']}
        for name in ('shared', 'clear'):
            self.assertGreater(stacks[name]['spurious'] + stacks[name]['lost'], 0, name)
        self.assertEqual(0, stacks['isolated']['spurious'] + stacks['isolated']['lost'])

    def test_every_spurious_failure_names_the_entry_and_who_left_it(self) -> None:
        for cell in self.report['cells']:
            if cell['verdict'] != 'spurious' or not cell['entry']:
                continue
            with self.subTest(cell=cell['id'], stack=cell['stack']):
                self.assertRegex(cell['entry']['code'], r'\A[0-9A-F]{8,}\Z')
                self.assertTrue(cell['entry']['message'])
                self.assertTrue(cell['left_by']['operation'])
                self.assertTrue(cell['left_by']['fiber'])
                self.assertGreater(cell['left_by']['line'], 0)

    def test_ids_are_made_of_listed_parts(self) -> None:
        names = {kind: {part['name'] for part in self.listed[kind]}
                 for kind in ('leakers', 'victims', 'switch_points')}
        for scenario in self.listed['scenarios']:
            leaker, victim, switch_point = re.split('[/@]', scenario)
            self.assertIn(leaker, names['leakers'])
            self.assertIn(victim, names['victims'])
            self.assertIn(switch_point, names['switch_points'])
        for kind in names:
            for part in self.listed[kind]:
                self.assertTrue(part['description'], part)


class FormatTest(unittest.TestCase):
    def test_junit_counts_what_it_holds(self) -> None:
        done = stale('--scenario', SOME, '--format', 'junit')
        self.assertEqual(0, done.returncode, done.stderr)
        root = xml.etree.ElementTree.fromstring(done.stdout.encode())
        self.assertEqual('testsuites', root.tag)
        suites = root.findall('testsuite')
        self.assertEqual(['heddle.stale.' + policy for policy in POLICIES],
                         [suite.get('name') for suite in suites])
        self.assertEqual(int(root.get('tests')), sum(int(suite.get('tests')) for suite in suites))
        for suite in suites:
            cases = suite.findall('testcase')
            self.assertEqual(int(suite.get('tests')), len(cases))
            self.assertEqual('0', suite.get('failures'))
            self.assertEqual([], suite.findall('testcase/failure'))
            self.assertEqual(int(suite.get('skipped')), len(suite.findall('testcase/skipped')))
            self.assertEqual(len(cases), len({case.get('name') for case in cases}))
            properties = {each.get('name'): each.get('value')
                          for each in suite.findall('properties/property')}
            self.assertIn('OpenSSL', properties['openssl'])
            self.assertEqual('1', properties['seed'])
        self.assertTrue(suites[0].findall('testcase/system-out'))

    def test_html_is_one_well_formed_page_that_fetches_nothing(self) -> None:
        done = stale('--scenario', SOME, '--format', 'html')
        self.assertEqual(0, done.returncode, done.stderr)
        page = Page(done.stdout)
        cells = json.loads(stale('--scenario', SOME, '--format', 'json').stdout)['cells']
        columns = {re.sub('.*/', '', cell['id']) for cell in cells}
        self.assertEqual(len(cells), page.elements['td'])
        self.assertEqual(len(page.ids), len(set(page.ids)))
        self.assertEqual(sorted('#' + name for name in page.ids), sorted(page.targets))
        self.assertEqual(1 + 3 * len(columns), page.scopes['col'])
        self.assertEqual(3, page.scopes['colgroup'])
        self.assertEqual(len({cell['id'].split('/')[0] for cell in cells}), page.scopes['row'])
        self.assertEqual([], page.addresses)
        self.assertEqual(0, page.elements['script'] + page.elements['link'] + page.elements['img'])
        self.assertNotRegex(done.stdout, r'@import|url\(|https?:')
        words = ' '.join(page.words)
        for cell in cells:
            self.assertIn(cell['id'], words)
            self.assertIn(cell['saw'], words)

    def test_html_shows_all_columns_on_a_screen_of_1280_pixels(self) -> None:
        page = stale('--scenario', ONE, '--format', 'html').stdout
        lists = json.loads(stale('--list', '--format', 'json').stdout)
        columns = 3 * len({each.split('/')[1] for each in lists['scenarios']})
        longest = max(len(each['name']) for each in lists['leakers'])
        rem = 16
        cell, gap, between = (float(re.search(fr'--{name}: ([\d.]+)', page)[1])
                              for name in ('cell', 'gap', 'between'))
        names = longest * 0.62 * 0.75 * rem + 1.25 * rem  # No monospaced font is wider than that.
        width = names + columns * (cell * rem + gap) + 3 * between * rem
        self.assertLess(width, 1280 - 3 * rem - 20)  # Beside the margins and a scroll bar.

    def test_table_has_a_block_for_each_policy_and_ends_with_the_verdict(self) -> None:
        done = stale('--scenario', SOME)
        self.assertEqual(0, done.returncode, done.stderr)
        for policy in POLICIES:
            self.assertRegex(done.stdout, fr'(?m)^{policy}: .* declared dead, ')
        self.assertIn('\nAs expected: ', done.stdout)
        self.assertNotIn('\033', done.stdout)
        self.assertLessEqual(max(map(len, done.stdout.splitlines())), 120)

    def test_table_of_few_cells_explains_each(self) -> None:
        done = stale('--scenario', ONE)
        for policy in POLICIES:
            self.assertIn(f'{ONE} [{policy}]: ', done.stdout)

    def test_verbose_explains_all_that_failed(self) -> None:
        cells = json.loads(stale('--scenario', SOME, '--format', 'json').stdout)['cells']
        text = ' '.join(stale('--scenario', SOME, '--verbose').stdout.split())
        for cell in cells:
            if cell['verdict'] in ('spurious', 'lost'):
                self.assertIn(f'{cell["id"]} [{cell["stack"]}]: ', text)

    def test_colour_is_for_terminals_and_who_asks(self) -> None:
        for wanted, coloured in (('always', True), ('never', False), ('auto', False)):
            done = stale('--scenario', ONE, '--color', wanted, TERM='xterm')
            self.assertEqual(coloured, '\033[' in done.stdout, wanted)
        for wanted, refused, coloured in (('auto', '', True), ('auto', '1', False),
                                          ('never', '', False), ('always', '1', True)):
            text = on_a_terminal('--scenario', ONE, '--color', wanted, NO_COLOR=refused)
            self.assertEqual(coloured, '\033[' in text, (wanted, refused))


class SelectionTest(unittest.TestCase):
    def cells(self, *arguments: str) -> list:
        done = stale('--format', 'json', *arguments)
        self.assertIn(done.returncode, (0, 1), done.stderr)
        return json.loads(done.stdout)['cells']

    def test_patterns_add_up_and_nothing_is_played_twice(self) -> None:
        cells = self.cells('--policy', 'isolated', '--scenario', ONE,
                           '--scenario', 'pem-junk/*@bio-read', '--scenario', 'txt2obj/read@*')
        ids = [cell['id'] for cell in cells]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertIn('pem-junk/handshake@bio-read', ids)
        self.assertIn('txt2obj/read@between-calls', ids)
        listed = json.loads(stale('--list', '--format', 'json').stdout)['scenarios']
        self.assertEqual([name for name in listed if name in ids], ids)

    def test_policies_are_played_in_their_order(self) -> None:
        cells = self.cells('--scenario', ONE, '--policy', 'isolated', '--policy', 'shared')
        self.assertEqual(['shared', 'isolated'], [cell['claims'] for cell in cells])

    def test_seed_is_passed_on(self) -> None:
        done = stale('--scenario', ONE, '--seed', '18446744073709551615', '--format', 'json')
        self.assertEqual(18446744073709551615, json.loads(done.stdout)['seed'])

    def test_the_same_seed_gives_the_same_report(self) -> None:
        first, second = (stale('--scenario', 'bad-record/*', '--seed', '5', '--format', 'json')
                         for _ in range(2))
        self.assertEqual(first.stdout, second.stdout)

    def test_plain_openssl_is_one_stack_that_shows_the_bug(self) -> None:
        done = stale('--stack', 'openssl', '--scenario', 'pem-junk/*', '--format', 'json')
        self.assertEqual(0, done.returncode, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(1, len(report['stacks']))
        self.assertEqual('shared', report['stacks'][0]['claims'])
        self.assertGreater(report['stacks'][0]['spurious'] + report['stacks'][0]['lost'], 0)

    def test_list_shows_parts_and_ids_of_what_was_asked_for(self) -> None:
        done = stale('--list', '--scenario', ONE)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn('Scenarios (1):\n  ' + ONE + '\n', done.stdout)
        for word in ('pem-junk', 'read', 'bio-read'):
            self.assertRegex(done.stdout, fr'(?m)^  {word} +\S')

    def test_openssl_is_described(self) -> None:
        done = stale('--openssl')
        self.assertEqual(0, done.returncode, done.stderr)
        version = re.search(r'(?m)^running with +OpenSSL (\d+)', done.stdout)
        self.assertTrue(version, done.stdout)
        first = 'error queue' if int(version[1]) < 4 else 'connection'
        self.assertIn(f'SSL_get_error  looks at the {first} first\n', done.stdout)
        self.assertRegex(done.stdout, r'(?m)^compiled with +OpenSSL \d')
        self.assertRegex(done.stdout, r'expected to fail in [1-9]\d* of [1-9]\d* scenarios\n\Z')


class OutputTest(unittest.TestCase):
    def test_report_goes_to_the_file_and_nothing_to_standard_output(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'report.xml')
            done = stale('--scenario', ONE, '--format', 'junit', '--output', str(path))
            self.assertEqual((0, ''), (done.returncode, done.stdout), done.stderr)
            self.assertEqual('testsuites', xml.etree.ElementTree.parse(path).getroot().tag)

    def test_table_in_a_file_has_no_colour(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'report.txt')
            self.assertEqual('', on_a_terminal('--scenario', ONE, '--output', str(path),
                                               NO_COLOR=''))
            self.assertIn(ONE, path.read_text())
            self.assertNotIn('\033', path.read_text())

    def test_full_disk_is_one_line_and_a_failure(self) -> None:
        done = stale('--scenario', ONE, '--output', '/dev/full')
        self.assertEqual((1, ''), (done.returncode, done.stdout))
        self.assertRegex(done.stderr, r'(?m)^heddle stale: /dev/full: No space left on device\n\Z')

    def test_file_that_cannot_be_opened_is_known_before_anything_runs(self) -> None:
        done = stale('--output', '/nowhere/report.xml')
        self.assertEqual((1, ''), (done.returncode, done.stdout))
        self.assertEqual('heddle stale: /nowhere/report.xml: No such file or directory\n',
                         done.stderr)

    def test_full_standard_output_is_a_failure(self) -> None:
        with open('/dev/full', 'w', encoding='ascii') as full:
            command = [PROGRAM, 'stale', '--list', '--scenario', ONE]  # Less than a buffer.
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=full,
                                  stderr=subprocess.PIPE, text=True, timeout=TIMEOUT, check=False)
        self.assertEqual(1, done.returncode)
        self.assertEqual('heddle stale: standard output: No space left on device\n', done.stderr)


class UnexpectedTest(unittest.TestCase):
    """Under a configuration of OpenSSL's with which no handshake can succeed."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.config = pathlib.Path(folder.name, 'openssl.cnf')
        self.config.write_text('openssl_conf = init\n[init]\nssl_conf = ssl\n'
                               '[ssl]\nsystem_default = all\n[all]\nMaxProtocol = TLSv1.1\n')

    def stale(self, *arguments: str) -> subprocess.CompletedProcess:
        return stale('--scenario', ONE, '--policy', 'isolated', *arguments,
                     OPENSSL_CONF=str(self.config))

    def test_table_says_so_and_the_status_is_1(self) -> None:
        done = self.stale()
        self.assertEqual(1, done.returncode, done.stdout)
        self.assertIn(f'\n[!] {ONE} [isolated]: broken', done.stdout)
        self.assertIn('\nNot as expected: 1 cell. ', done.stdout)
        self.assertNotIn('Not as expected', done.stderr)

    def test_other_formats_say_it_in_one_line_as_well(self) -> None:
        for form in ('json', 'junit', 'html'):
            done = self.stale('--format', form)
            self.assertEqual(1, done.returncode, done.stdout)
            self.assertRegex(done.stderr, r'(?m)^heddle stale: Not as expected: 1 cell\. .*\n\Z')
        self.assertFalse(json.loads(self.stale('--format', 'json').stdout)['as_expected'])
        root = xml.etree.ElementTree.fromstring(self.stale('--format', 'junit').stdout.encode())
        self.assertEqual('1', root.get('failures'))
        self.assertEqual('broken', root.find('testsuite/testcase/failure').get('type'))


class UsageTest(unittest.TestCase):
    def check_refused(self, reason: str, *arguments: str) -> None:
        done = stale(*arguments)
        self.assertEqual((2, ''), (done.returncode, done.stdout))
        self.assertRegex(done.stderr, fr'\Aheddle stale: .*{reason}.*\n\Z')

    def test_pattern_that_matches_nothing(self) -> None:
        self.check_refused('--scenario nobody/.*: no scenario matches; --list', '--scenario', ONE,
                           '--scenario', 'nobody/*')

    def test_unknown_words(self) -> None:
        for option in ('--policy', '--format', '--color', '--stack'):
            with self.subTest(option=option):
                self.check_refused(option, option, 'nonsense')
        self.check_refused('--seed', '--seed', '-1')

    def test_what_does_not_go_together(self) -> None:
        self.check_refused('--policy', '--stack', 'openssl', '--policy', 'clear')
        self.check_refused('--list', '--list', '--format', 'html')
        self.check_refused('--list', '--list', '--openssl')
        self.check_refused('--openssl', '--openssl', '--format', 'json')


if __name__ == '__main__':
    if len(sys.argv) > 1 and os.path.isfile(sys.argv[1]):
        PROGRAM = os.path.abspath(sys.argv.pop(1))
    if not PROGRAM:
        sys.exit('stale_test.py: needs a heddle program')
    unittest.main()
