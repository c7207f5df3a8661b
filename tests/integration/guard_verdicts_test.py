#!/usr/bin/python3
"""The guard in SSL_get_error(): entries that come during a call, and failures that are the connection's own.

usage: guard_verdicts_test.py [unittest arguments]; guard_support.py says what it needs of the environment.
"""

import subprocess
import unittest

import guard_support
from guard_support import CALLED_DEAD, MISLED, PEM_ENTRY, TIMEOUT, TRUTH, GuardTestCase, host, of_kind

HOST = host('guard_verdicts')


@unittest.skipUnless(MISLED, 'OpenSSL 4 looks at the connection first')
class DuringTest(GuardTestCase):
    """Entries that come during a call or between it and SSL_get_error()."""

    def check(self, scenario: str, times: int, left: str) -> None:
        for mode, status, outcome in (('detect', CALLED_DEAD, 'spurious'), ('cure', TRUTH, 'saved')):
            with self.subTest(mode=mode):
                events = self.events(HOST, scenario, mode=mode, expected=status)
                [found] = of_kind(events, 'dirty')
                self.assertEqual(('SSL_get_error', PEM_ENTRY, mode == 'cure'),
                                 (found['call'], found['entries'][0]['library'], found['cleared']))
                self.assertEqual(left, found['left']['call'])
                count = of_kind(events, 'count')[-1]
                self.assertEqual((times, times), (count['times'], count[outcome]))
                [told] = of_kind(events, 'outcome')
                self.assertEqual((outcome, 'read'), (told['outcome'], told['wanted']))
                self.log.unlink()

    def test_during_a_read(self) -> None:
        self.check('during', 10, 'SSL_read')

    def test_during_a_handshake_that_is_asked_about_twice(self) -> None:
        self.check('during-handshake', 1, 'SSL_accept')

    def test_after_the_call(self) -> None:
        self.check('between', 1, 'SSL_read')

    def test_an_entry_of_an_exchanged_queue_has_no_origin_of_anothers(self) -> None:
        [found] = of_kind(self.events(HOST, 'exchanged', expected=CALLED_DEAD), 'dirty')
        self.assertEqual(PEM_ENTRY, found['entries'][0]['library'])
        self.assertIsNone(found['entries'][0]['origin'])

    def test_in_words(self) -> None:
        done = self.preload(HOST, 'during')
        self.assertRegex(done.stderr, r'SSL_get_error on SSL 0x\w+ is called with 1 stale entry')
        self.assertRegex(done.stderr, r'SSL_get_error on SSL 0x\w+ \(place 1\) is asked about a call that '
                                      r'returned -1: OpenSSL only wants to read, but')

    def test_the_summary_counts_them(self) -> None:
        done = self.guard('--fail', '--cure', '--', HOST, 'during')
        self.assertEqual(1, done.returncode)
        self.assertRegex(done.stderr, r'SSL_get_error called from guard_verdicts')
        self.assertIn('10 times a healthy connection was saved', done.stderr)


@unittest.skipUnless(MISLED, 'OpenSSL 4 looks at the connection first')
class EndTest(GuardTestCase):
    """The peer ends TLS, and an entry makes that look like a failure."""

    def test_it_is_seen_and_cured(self) -> None:
        for mode, status, places in (('detect', CALLED_DEAD, {1: 1, 2: 1, 3: 0, 4: 1}),
                                     ('cure', TRUTH, {1: 1, 2: 1, 3: 1})):
            with self.subTest(mode=mode):
                events = self.events(HOST, 'ended', mode=mode, expected=status)
                self.assertEqual({'ended'}, {event['outcome'] for event in of_kind(events, 'outcome')})
                self.assertEqual(places, {event['place']: event['ended'] for event in
                                          of_kind(events, 'count')})
                self.log.unlink()

    def test_it_is_told_in_words(self) -> None:
        for mode, words, sums in (([], 'but the stale entry makes it say SSL_ERROR_SSL', 'was called a failure'),
                                  (['--cure'], 'and OpenSSL says so', 'was saved from being called a failure')):
            with self.subTest(mode=mode):
                done = self.guard(*mode, '--', HOST, 'ended')
                self.assertIn(f'the peer has ended the connection in good order, {words}', done.stderr)
                self.assertIn(f'1 times an end in good order {sums}', done.stderr)

    def test_the_reason_why_a_write_fails_thereafter_stays(self) -> None:
        for mode in ('detect', 'cure'):
            with self.subTest(mode=mode):
                events = self.events(HOST, 'ended-unwritable', mode=mode, expected=TRUTH)
                self.assertEqual([], of_kind(events, 'dirty'))
                self.log.unlink()


class OwnFailureTest(GuardTestCase):
    """What fails is told so, and why, though OpenSSL seems to want something."""

    def test_a_refused_call_and_its_reason(self) -> None:
        for mode in ('detect', 'cure'):
            with self.subTest(mode=mode):
                self.assertEqual([], of_kind(self.events(HOST, 'refused', mode=mode, expected=TRUTH), 'dirty'))
                self.log.unlink()

    def test_a_refused_call_beside_a_strangers_entry_is_a_true_failure(self) -> None:
        events = self.events(HOST, 'refused-dirty', expected=TRUTH)
        self.assertEqual(['failed'], [event['outcome'] for event in of_kind(events, 'outcome')])
        self.log.unlink()
        self.assertEqual([], of_kind(self.events(HOST, 'refused-dirty', mode='cure', expected=TRUTH),
                                     'outcome'))

    def test_a_dead_connection_whose_alert_has_to_wait(self) -> None:
        for mode in ('detect', 'cure'):
            with self.subTest(mode=mode):
                events = self.events(HOST, 'blocked-alert', mode=mode, expected=TRUTH)
                self.assertEqual([], of_kind(events, 'dirty'))
                self.log.unlink()

    def test_a_failure_that_an_entry_precedes_keeps_all_reasons(self) -> None:
        alone = subprocess.run([HOST, 'failure-during'], capture_output=True, text=True, timeout=TIMEOUT,
                               check=True)
        self.assertGreater(int(alone.stdout), 1)
        for mode in ('detect', 'cure'):
            self.assertEqual(alone.stdout, self.preload(HOST, 'failure-during', mode=mode).stdout)


@unittest.skipUnless(MISLED, 'OpenSSL 4 looks at the connection first')
class LaterTest(GuardTestCase):
    """The cure empties the queue before a call that would not have suffered, but the next verdict would have."""

    def saved(self, scenario: str, expected: int = TRUTH) -> list:
        """Of each place: the call, how often, how many connections were saved there."""
        events = self.events(HOST, scenario, mode='cure', expected=expected)
        last = {event['place']: (event['call'], event['times'], event['saved'])
                for event in of_kind(events, 'count')}
        return [last[place] for place in sorted(last)]

    def test_the_place_that_was_cured_is_told_of_it(self) -> None:
        self.assertEqual([('SSL_write', 10, 10)], self.saved('later'))

    def test_no_more_than_would_have_died(self) -> None:
        for scenario in ('later-emptied', 'later-taken'):
            with self.subTest(scenario):
                alone = subprocess.run([HOST, scenario], timeout=TIMEOUT, check=False)
                self.assertEqual(TRUTH, alone.returncode)
                self.assertEqual([('SSL_write', 1, 0)], self.saved(scenario))
                self.log.unlink()

    def test_it_is_the_first_entry_that_would_have_misled(self) -> None:
        self.assertEqual([('SSL_write', 1, 1), ('SSL_write_ex', 1, 0)], self.saved('later-first'))

    def test_but_for_one_that_had_gone(self) -> None:
        self.assertEqual([('SSL_write', 1, 0), ('SSL_write_ex', 1, 1)], self.saved('later-anew'))

    def test_a_child_does_not_report_for_its_parent(self) -> None:
        events = self.events(HOST, 'later-child', mode='cure', expected=TRUTH)
        self.assertEqual([], of_kind(events, 'outcome'))

    def test_the_summary_says_how_many_would_have_died(self) -> None:
        done = self.guard('--cure', '--', HOST, 'later')
        self.assertEqual(TRUTH, done.returncode)
        self.assertRegex(done.stderr, r'heddle guard: 1 place where .*; they were cleared.*\n'
                                      r'  Without the cure, healthy connections would have been called dead at least 10 '
                                      r'times\.\n')
        done = self.guard('--cure', '--', HOST, 'later-anew')
        self.assertRegex(done.stderr, r'  1\. (.*\n)+ +- SSL_write_ex called(.*\n)+  2\. (.*\n)+ +- SSL_write called')  # The worst first.
        done = self.guard('--cure', '--', HOST, 'later-emptied')
        self.assertIn('No healthy connection is known that would have been called dead.\n', done.stderr)
        self.assertIn('1 calls; no harm is known that would have come of it', done.stderr)


if __name__ == '__main__':
    guard_support.main('guard_verdicts_test.py')
