#!/usr/bin/env python3
"""compare.py in miniature: every experiment runs and its results are whole; no figure is judged."""

import html.parser
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import page  # noqa: E402
import statistic  # noqa: E402
from measure import Experiment, Row  # noqa: E402

TIMEOUT = 270  # Seconds; for busy machines.


class Tags(html.parser.HTMLParser):
    """Collects what a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen, self.outside = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes) -> None:
        self.seen.append(tag)
        self.outside += [value for name, value in attributes if name in ('src', 'href')]


class Miniature(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory(prefix='heddle-compare-test-')
        out = pathlib.Path(cls.folder.name)
        cls.ran = subprocess.run(
            [sys.executable, str(HERE / 'compare.py'), os.environ['HEDDLE_BUILD'], '--miniature', '--out', str(out),
             '--results', str(out / 'RESULTS.md')], capture_output=True, text=True, timeout=TIMEOUT, check=False)
        if cls.ran.returncode == 0:
            cls.report = json.loads((out / 'compare.json').read_text())
            cls.html = (out / 'compare.html').read_text()
            cls.markdown = (out / 'RESULTS.md').read_text()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.folder.cleanup()

    def setUp(self) -> None:
        self.assertEqual(0, self.ran.returncode, self.ran.stdout + self.ran.stderr)

    def rows(self):
        for experiment in self.report['experiments']:
            if not experiment['skipped']:
                yield from ((experiment['key'], row) for row in experiment['rows'])

    def test_every_experiment_is_there(self) -> None:
        keys = [each['key'] for each in self.report['experiments']]
        self.assertEqual(['small', 'small-12', 'medium', 'large', 'full', 'full-12', 'resumed', 'resumed-12', 'upload',
                          'memory', 'beside-idle', 'growth', 'policies', 'policies-full', 'threads', 'slow-link'], keys)
        for each in self.report['experiments']:
            if each['key'] != 'slow-link':  # It takes rights and a kernel that has it.
                self.assertEqual('', each['skipped'], each['key'])

    def test_every_row_has_figures_and_no_failures(self) -> None:
        for key, row in self.rows():
            with self.subTest(experiment=key, row=row['label']):
                if 'skipped' in row:
                    self.assertEqual(('upload', 'heddle serve'), (key, row['label']), row)
                    continue
                self.assertNotIn('refused', row)
                self.assertIn('value', row)
                for run in row['runs']:
                    self.assertTrue('kib' in run or run['answers'] > 0, run)

    def test_protocols_and_suites_are_as_named(self) -> None:
        for key, row in self.rows():
            if 'session' in row:
                version = 'TLSv1.2 ECDHE-ECDSA-AES256-GCM-SHA384' if key.endswith('-12') else \
                    'TLSv1.3 TLS_AES_256_GCM_SHA384'
                self.assertEqual(version, row['session'], (key, row['label']))

    def test_handshakes_are_of_the_kind_that_is_measured(self) -> None:
        for key, row in self.rows():
            for run in row.get('runs', []):
                if key.startswith('resumed'):
                    self.assertEqual(run['handshakes'], run['resumed'], (key, row['label']))
                    self.assertGreater(run['resumed'], 0)
                if key.startswith('full'):
                    self.assertEqual((run['answers'], 0), (run['handshakes'], run['resumed']), (key, row['label']))

    def test_page_stands_alone_and_has_plots(self) -> None:
        tags = Tags(self.html)
        self.assertEqual([], tags.outside)
        self.assertGreaterEqual(tags.seen.count('svg'), 12)

    def test_results_name_versions_and_no_folders(self) -> None:
        self.assertIn('heddle 0.', self.markdown)
        self.assertIn(self.report['machine']['kernel'], self.markdown)
        for text in (self.markdown, self.html):
            self.assertNotIn(os.environ['HEDDLE_BUILD'], text)
            self.assertNotIn(os.uname().nodename + '.', text)


class Arithmetic(unittest.TestCase):
    def test_ratios_are_of_the_same_round(self) -> None:
        slow_then_fast = [{'cpu_us': 20.0}, {'cpu_us': 10.0}, {'cpu_us': 11.0}]
        base = [{'cpu_us': 40.0}, {'cpu_us': 20.0}, {'refused': 'busy'}]
        self.assertEqual([0.5, 0.5], statistic.ratios(slow_then_fast, base))

    def test_row_that_was_refused_has_no_figure_and_says_why(self) -> None:
        row = statistic.row_of('x', [{'refused': 'because'}, {'refused': 'because'}], [])
        self.assertNotIn('value', row)
        self.assertEqual('2 of 2 rounds: because', row['refused'])
        report = {'experiments': [{'rows': [row]}]}
        self.assertFalse(statistic.complete(report))

    def test_contestant_that_is_absent_is_shown_with_the_reason(self) -> None:
        experiment = Experiment('k', 'A title', (Row('nginx', None, None),))
        result = statistic.of(experiment, {'nginx': {'skipped': 'nginx is not installed'}}, '')
        self.assertEqual([['', 'us of CPU per request', 'ratio'], ['nginx', 'not measured: nginx is not installed', '']],
                         page.cells(result))
        self.assertEqual('', page.plot(result))

    def test_one_that_is_far_slower_does_not_hide_the_others(self) -> None:
        rows = [{'label': str(value), 'value': statistic.spread([value])} for value in (9.0, 10.0, 11.0, 500.0)]
        drawn = page.plot({'title': 't', 'rows': rows})
        self.assertEqual(1, drawn.count('(cut off)'))


if __name__ == '__main__':
    unittest.main()
