#!/usr/bin/python3
"""libheddle-guard.so and heddle guard, on programs of plain OpenSSL with and without the stale-error bug.

usage: guard_test.py [unittest arguments]; guard_support.py says what it needs of the environment.
"""

import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import unittest

import guard_support
from guard_pushes import SEES_PUSHES
from guard_support import (CALLED_DEAD, HERE, MISLED, MODULE, PEM_ENTRY, PROGRAM, PYTHON, TIMEOUT, TRUTH,
                           GuardTestCase, host, of_kind)


class DetectTest(GuardTestCase):
    """HEDDLE_GUARD=detect."""

    def test_the_call_the_entry_and_the_consequence_are_named(self) -> None:
        done = self.preload(host('guard_host'), 'often')
        self.assertEqual(CALLED_DEAD if MISLED else TRUTH, done.returncode)
        self.assertRegex(done.stderr, r'heddle-guard: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z pid \d+ '
                                      r'thread \d+: SSL_read on SSL 0x[0-9a-f]+ is called with '
                                      r'1 stale entry')
        self.assertRegex(done.stderr, r'error:[0-9a-f]{8}:PEM routines::no start line:.*, '
                                      r'pushed by \w+\(\) at .*pem_lib\.c:\d+')
        if MISLED:
            self.assertIn('only wants to read, but the stale entry makes it say SSL_ERROR_SSL',
                          done.stderr)

    def test_each_place_is_reported_once_and_counted(self) -> None:
        events = self.events(host('guard_host'), 'often', expected=CALLED_DEAD if MISLED else TRUTH)
        found = of_kind(events, 'dirty')
        self.assertEqual(['SSL_read', 'SSL_peek'], [event['call'] for event in found])
        counts = {event['place']: event for event in of_kind(events, 'count')}
        self.assertEqual((10, 1), (counts[1]['times'], counts[2]['times']))
        self.assertEqual(10 if MISLED else 0, counts[1]['spurious'])
        self.assertEqual(11, of_kind(events, 'exit')[0]['times'])

    def test_the_backtrace_reaches_the_start_of_the_program(self) -> None:
        events = self.events(host('guard_host'), 'often', expected=CALLED_DEAD if MISLED else TRUTH)
        frames = of_kind(events, 'dirty')[0]['backtrace']
        self.assertEqual('guard_host', frames[0]['module'])
        self.assertIn('__libc_start_main', [frame.get('function') for frame in frames])

    def test_the_call_that_left_the_entry_is_named(self) -> None:
        events = self.events(host('guard_host'), 'left-by-call',
                             expected=CALLED_DEAD if MISLED else TRUTH)
        [found] = of_kind(events, 'dirty')
        self.assertEqual(('by', 'SSL_shutdown'), (found['left']['when'], found['left']['call']))
        self.assertEqual('shutdown while in init', found['entries'][0]['reason'])
        self.assertNotEqual(found['ssl'], found['left']['ssl'])

    def test_a_true_failure_is_not_called_spurious(self) -> None:
        for scenario in ('true-failure', 'vanished-peer'):
            with self.subTest(scenario):
                events = self.events(host('guard_host'), scenario, expected=TRUTH)
                [outcome] = of_kind(events, 'outcome')
                self.assertEqual('failed', outcome['outcome'])
                self.log.unlink()

    def test_what_the_same_connection_left_is_no_alarm(self) -> None:
        self.assertEqual(['exit'], [event['event'] for event in
                                    self.events(host('guard_host'), 'own', expected=TRUTH)])

    def test_but_if_the_connection_is_healthy_it_is(self) -> None:
        events = self.events(host('guard_host'), 'own-healthy',
                             expected=CALLED_DEAD if MISLED else TRUTH)
        self.assertEqual(['SSL_read'] if MISLED else [],
                         [event['call'] for event in of_kind(events, 'dirty')])
        self.assertEqual(['spurious'] if MISLED else [],
                         [event['outcome'] for event in of_kind(events, 'outcome')])

    def test_what_came_instead_of_it_is_a_strangers(self) -> None:
        events = self.events(host('guard_host'), 'own-gone', expected=TRUTH)
        self.assertEqual([PEM_ENTRY], [event['entries'][0]['library'] for event in
                                       of_kind(events, 'dirty')])

    def test_handshakes_empty_the_queue_themselves_and_are_only_counted(self) -> None:
        events = self.events(host('guard_host'), 'handshake', expected=TRUTH)
        self.assertEqual([], of_kind(events, 'dirty'))
        [end] = of_kind(events, 'exit')
        self.assertEqual((1, 0), (end['handshakes'], end['times']))

    def test_a_call_within_a_call_is_the_outer_one(self) -> None:
        for scenario, handshakes in (('nested', 0), ('nested-dirty', 1)):
            with self.subTest(scenario):
                events = self.events(host('guard_host'), scenario,
                                     expected=CALLED_DEAD if MISLED else TRUTH)
                [end] = of_kind(events, 'exit')
                self.assertEqual((handshakes, 1), (end['handshakes'], end['times']))
                [found] = of_kind(events, 'dirty')
                left = found['left']
                self.assertEqual(('by', 'SSL_connect', 'guard_host'),
                                 (left['when'], left['call'], left['site']['module']))
                self.log.unlink()

    def test_dead_entries_are_not_reported(self) -> None:
        events = self.events(host('guard_host'), 'dead-entry', expected=TRUTH)
        self.assertEqual(['exit'], [event['event'] for event in events])
        self.assertTrue(events[0]['saw_calls'])

    def test_dead_entries_between_living_ones_are_left_out(self) -> None:
        events = self.events(host('guard_host'), 'dead-between',
                             expected=CALLED_DEAD if MISLED else TRUTH)
        [found] = of_kind(events, 'dirty')
        self.assertEqual([PEM_ENTRY] * 2, [entry['library'] for entry in found['entries']])

    def test_a_child_reports_and_counts_for_itself(self) -> None:
        events = self.events(host('guard_host'), 'fork', expected=CALLED_DEAD if MISLED else TRUTH)
        found = of_kind(events, 'dirty')
        self.assertEqual([1, 1], [event['place'] for event in found])
        parent, child = (event['pid'] for event in found)
        self.assertNotEqual(parent, child)
        times = {event['pid']: event['times'] for event in of_kind(events, 'exit')}
        self.assertEqual({parent: 1, child: 2}, times)

    def test_threads_are_counted_together(self) -> None:
        events = self.events(host('guard_host'), 'threads', expected=TRUTH)
        self.assertEqual(1, len(of_kind(events, 'dirty')))
        self.assertEqual(400, of_kind(events, 'exit')[0]['times'])

    def test_off_passes_calls_on_and_says_nothing(self) -> None:
        for mode in ('off', ''):
            done = self.preload(host('guard_host'), 'often', mode=mode)
            self.assertEqual((CALLED_DEAD if MISLED else TRUTH, ''), (done.returncode, done.stderr))

    def test_a_mode_that_does_not_exist_is_told(self) -> None:
        self.assertIn('HEDDLE_GUARD=cured means nothing', self.preload('true', mode='cured').stderr)


class CureTest(GuardTestCase):
    """HEDDLE_GUARD=cure."""

    def test_the_failing_program_succeeds(self) -> None:
        events = self.events(host('guard_host'), 'often', mode='cure', expected=TRUTH)
        self.assertTrue(all(event['cleared'] for event in of_kind(events, 'dirty')))
        counts = {event['place']: event for event in of_kind(events, 'count')}
        self.assertEqual((10, 0), (counts[1]['times'], counts[1]['spurious']))
        self.assertEqual(10 if MISLED else 0, counts[1]['saved'])

    def test_the_programs_own_reason_is_left_to_it(self) -> None:
        alone = subprocess.run([host('guard_host'), 'own'], capture_output=True, text=True,
                               timeout=TIMEOUT, check=True)
        self.assertGreater(int(alone.stdout), 0)
        self.assertEqual(alone.stdout, self.preload(host('guard_host'), 'own', mode='cure').stdout)

    def test_but_not_where_it_would_mislead(self) -> None:
        events = self.events(host('guard_host'), 'own-healthy', mode='cure', expected=TRUTH)
        self.assertEqual(['saved'] if MISLED else [],
                         [event['outcome'] for event in of_kind(events, 'outcome')])

    def test_an_entry_of_the_call_itself_is_left_to_the_program(self) -> None:
        events = self.events(host('guard_host'), 'true-failure', mode='cure', expected=TRUTH)
        self.assertEqual([], of_kind(events, 'outcome'))


class LeakerTest(GuardTestCase):
    """Who pushed an entry, and who met it."""

    def leaks(self, *arguments: str, **more: str) -> list:
        expected = CALLED_DEAD if MISLED else TRUTH
        return of_kind(self.events(*arguments, expected=expected, **more), 'dirty')

    def test_the_call_chain_of_the_push(self) -> None:
        if not SEES_PUSHES:
            self.skipTest('this libcrypto does not call itself as others do')
        [first, _] = self.leaks(host('guard_host'), 'often')
        origin = first['entries'][0]['origin']
        self.assertEqual(('pushed', [], None), (origin['how'], origin['python'], origin['greenlet']))
        modules = [frame['module'] for frame in origin['native']]
        self.assertEqual('guard_host', modules[origin['outside']])
        self.assertLessEqual({'libcrypto.so.3'}, set(modules[:origin['outside']]))
        self.assertLessEqual(set(modules[:origin['outside']]), {'libcrypto.so.3', 'libheddle-guard.so'})
        self.assertGreater(len(modules), origin['outside'] + 2)

    def test_where_it_is_hidden_the_call_that_left_it(self) -> None:
        # As with a libcrypto that does not call itself by way of others: the guard sees no push.
        hidden = host('libguard_hidden_pushes.so')
        [found] = self.leaks(host('guard_host'), 'left-by-call', LD_PRELOAD=f'{hidden}:{MODULE}')
        origin = found['entries'][0]['origin']
        self.assertEqual(('called', 0), (origin['how'], origin['outside']))
        self.assertEqual('guard_host', origin['native'][0]['module'])
        done = self.preload(host('guard_host'), 'left-by-call', LD_PRELOAD=f'{hidden}:{MODULE}')
        self.assertIn('the call that left the entry was made here (who pushed it, OpenSSL hides)', done.stderr)

    def test_nor_is_that_only_for_tls_calls(self) -> None:
        hidden = host('libguard_hidden_pushes.so')
        [found, _] = self.leaks(host('guard_host'), 'often', LD_PRELOAD=f'{hidden}:{MODULE}')
        origin = found['entries'][0]['origin']
        self.assertEqual(('called', 0), (origin['how'], origin['outside']))  # PEM_read_bio_X509()
        self.assertEqual('guard_host', origin['native'][0]['module'])
        self.assertEqual('during or after', found['left']['when'])

    def test_the_summary_names_it_from_the_symbol_table(self) -> None:
        if not SEES_PUSHES:
            self.skipTest('this libcrypto does not call itself as others do')
        done = self.guard('--', host('guard_host'), 'often')
        self.assertRegex(done.stderr, r'1\. left by: guard_host\+0x\w+ \(guard_hosts::parse_junk\(\)\), called from '
                                      r'guard_host\+0x\w+ \(\(anonymous namespace\)::run_often\(\)\)')

    def test_one_call_that_meets_entries_of_two_has_two_places(self) -> None:
        if not SEES_PUSHES:
            self.skipTest('this libcrypto does not call itself as others do')
        found = self.leaks(host('guard_host'), 'two-leakers')
        self.assertEqual(1, len({event['backtrace'][0]['address'] for event in found}))
        self.assertEqual(2, len({event['place'] for event in found}))
        done = self.guard('--', host('guard_host'), 'two-leakers')
        # The worse first, though it came last.
        self.assertRegex(done.stderr, r'1\. left by: .*leak_often(.*\n)+.*3 calls(.*\n)+  2\. left by: .*leak_once')

    def test_which_connection(self) -> None:
        [first, second] = self.leaks(host('guard_host'), 'often')
        self.assertEqual(('client', 'server'), (first['connection']['role'], second['connection']['role']))
        self.assertEqual((-1, 'TLSv1.3'), (first['connection']['descriptor'], first['connection']['version']))

    def test_a_thread_that_ends_gives_its_memory_back(self) -> None:
        done = self.preload(host('guard_host'), 'many-threads')
        self.assertEqual(TRUTH, done.returncode, done.stderr)


class HostTest(GuardTestCase):
    """It does no harm to the program it is in."""

    def test_it_needs_libc_alone(self) -> None:
        listed = subprocess.run(['readelf', '-dW', MODULE], capture_output=True, text=True, check=True)
        self.assertEqual(['libc.so.6'], re.findall(r'\(NEEDED\).*\[(.*)\]', listed.stdout))

    def test_a_hidden_libssl_is_found(self) -> None:
        events = self.events(host('guard_loader'), host('libguard_plugin.so'),
                             expected=CALLED_DEAD if MISLED else TRUTH)
        [found] = of_kind(events, 'dirty')
        self.assertEqual('libguard_plugin.so', found['backtrace'][0]['module'])
        self.log.unlink()
        self.events(host('guard_loader'), host('libguard_plugin.so'), mode='cure', expected=TRUTH)

    def test_two_libraries_get_their_own_calls(self) -> None:
        ours, other = host('libguard_plugin.so'), host('libguard_other_user.so')
        for plugins in ((other, ours, other), (ours, other, other)):
            with self.subTest(plugins):
                events = self.events(host('guard_loader'), *plugins, mode='cure', expected=47 + 47)
                self.assertEqual(1, len(of_kind(events, 'dirty')))
                [note] = of_kind(events, 'note')
                self.assertIn('libguard_other_ssl.so is not watched', note['text'])
                self.log.unlink()

    def test_a_report_within_a_signal_handler_does_not_hang(self) -> None:
        events = self.events(host('guard_host'), 'signal', expected=TRUTH)
        self.assertEqual(2, of_kind(events, 'exit')[0]['times'])

    def test_the_stack_of_a_fiber_is_walked_to_its_end(self) -> None:
        events = self.events(host('guard_host'), 'fiber', mode='cure', expected=TRUTH)
        frames = of_kind(events, 'dirty')[0]['backtrace']
        self.assertGreaterEqual(len(frames), 2)

    def test_garbage_above_the_live_frames_is_survived(self) -> None:
        events = self.events(host('guard_host'), 'garbage', expected=TRUTH)
        depths = [len(event['backtrace']) for event in of_kind(events, 'dirty')]
        self.assertEqual(6, len(depths))
        self.assertLess(max(depths), 10)

    def test_errno_is_what_it_is_without(self) -> None:
        alone = subprocess.run([host('guard_host'), 'errno'], capture_output=True, text=True,
                               timeout=TIMEOUT, check=True)
        for mode in ('detect', 'cure'):
            done = self.preload(host('guard_host'), 'errno', mode=mode, HEDDLE_GUARD_LOG='/dev/full')
            self.assertEqual(alone.stdout, done.stdout)

    def test_a_full_log_does_no_harm(self) -> None:
        done = self.preload(host('guard_host'), 'often', mode='cure', HEDDLE_GUARD_LOG='/dev/full')
        self.assertEqual((TRUTH, ''), (done.returncode, done.stderr))

    def test_a_reader_that_has_gone_does_no_harm(self) -> None:
        ours, theirs = os.pipe()
        os.close(ours)
        command = [host('guard_host'), 'often']
        with os.fdopen(theirs, 'wb') as pipe:
            done = subprocess.run(command, env=self.environment('cure'), stderr=pipe, timeout=TIMEOUT,
                                  check=False)
        self.assertEqual(TRUTH, done.returncode)

    def test_nothing_is_written_to_what_took_the_place_of_standard_error(self) -> None:
        done = self.preload(host('guard_host'), 'descriptor-reused')
        self.assertEqual(0, done.returncode)

    def test_the_log_stays_where_it_was_named(self) -> None:
        done = subprocess.run([host('guard_host'), 'elsewhere'], cwd=self.folder, timeout=TIMEOUT,
                              check=False, env=self.environment('cure', HEDDLE_GUARD_LOG='log'))
        self.assertEqual(TRUTH, done.returncode)
        self.assertIn(PEM_ENTRY, self.log.read_text())


class NothingSeenTest(GuardTestCase):
    """It says when it can see nothing."""

    def test_without_openssl(self) -> None:
        self.assertRegex(self.preload('true').stderr, r'no TLS call was seen: no libssl is loaded.*\n\Z')

    def test_only_once_though_there_are_children(self) -> None:
        done = self.preload('sh', '-c', '(:); (:); :')
        self.assertEqual(1, done.stderr.count('no TLS call was seen'), done.stderr)

    def test_with_openssl_that_is_not_called(self) -> None:
        self.assertRegex(self.preload(host('guard_host'), 'idle').stderr,
                         r'no TLS call was seen: libssl\.so\S* is there.*dlsym')

    def test_static_program(self) -> None:
        done = self.guard('--', host('guard_static'))
        self.assertEqual(5, done.returncode)
        self.assertIn('guard_static: linked statically', done.stderr)

    @unittest.skipIf(os.geteuid() != 0, 'needs to be root to make such a program')
    def test_program_with_other_rights(self) -> None:
        copy = self.folder / 'privileged'
        copy.write_bytes(pathlib.Path('/bin/true').read_bytes())
        os.chown(copy, 1, 1)
        copy.chmod(0o4755)
        self.folder.chmod(0o755)
        done = self.guard('--', str(copy))
        self.assertIn('other rights than yours', done.stderr)

    def test_no_process_with_openssl(self) -> None:
        self.assertIn('no libssl was loaded in true', self.guard('--', 'true').stderr)

    def test_a_clean_program_is_told_from_an_unseen_one(self) -> None:
        self.assertIn('no TLS call was made with a stale error in the queue (watched: guard_host)',
                      self.guard('--', host('guard_host'), 'dead-entry').stderr)


class CommandTest(GuardTestCase):
    """heddle guard."""

    def test_the_summary_names_entry_and_victim(self) -> None:
        done = self.guard('--', host('guard_host'), 'often')
        self.assertEqual(CALLED_DEAD if MISLED else TRUTH, done.returncode)
        summary = done.stderr[done.stderr.index('heddle guard: '):]
        self.assertIn('2 places', summary)
        self.assertRegex(summary, r'SSL_read called from guard_host\+0x\w+ \(guard_hosts::read_nothing\(ssl_st\*\)\), '
                                  r'in guard_host \(1 process\)')
        self.assertRegex(summary, r'10 calls; ' + ('10 times a healthy connection was called dead'
                                                   if MISLED else 'no harm was seen'))
        self.assertRegex(summary, r'PEM routines::no start line, pushed by \w+\(\) at .*pem_lib.c:\d+')
        self.assertIn('What to do', summary)

    def test_cure_and_log(self) -> None:
        done = self.guard('--cure', '--log', str(self.log), '--json', '--', host('guard_host'), 'often')
        self.assertEqual(TRUTH, done.returncode)
        self.assertTrue(done.stderr.startswith('heddle guard: 2 places'), done.stderr)
        self.assertIn('they were cleared', done.stderr)
        events = [json.loads(line) for line in self.log.read_text().splitlines()]
        self.assertEqual(2, len(of_kind(events, 'dirty')))

    def test_children_are_covered_and_added_up(self) -> None:
        script = f'{host("guard_host")} often; {host("guard_host")} often; true'
        done = self.guard('--cure', '--', 'sh', '-c', script)
        self.assertEqual(0, done.returncode)
        self.assertIn('(2 processes)\n       20 calls', done.stderr)

    def test_counts_of_a_killed_process_are_not_lost(self) -> None:
        done = self.guard('--', host('guard_host'), 'killed')
        self.assertEqual(128 + signal.SIGKILL, done.returncode)
        if MISLED:
            self.assertIn('100 calls; 100 times a healthy connection was called dead', done.stderr)
        self.assertIn('100 calls; no harm was seen', done.stderr)

    def test_fail_is_for_findings_of_a_command_that_succeeded(self) -> None:
        for arguments, expected in (
                (['--fail', '--cure', '--', host('guard_host'), 'often'], 1),
                (['--fail', '--', host('guard_host'), 'dead-entry'], 0),
                (['--fail', '--cure', '--', 'sh', '-c', f'{host("guard_host")} often; exit 9'], 9)):
            with self.subTest(arguments=arguments):
                self.assertEqual(expected, self.guard(*arguments).returncode)

    def test_signals_are_passed_on(self) -> None:
        command = [PROGRAM, 'guard', '--', host('guard_host'), 'wait']
        environment = {**os.environ, 'HEDDLE_GUARD_LIBRARY': MODULE}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) as running:
            self.assertEqual('ready\n', running.stdout.readline())
            running.send_signal(signal.SIGTERM)
            running.communicate(timeout=TIMEOUT)
            self.assertEqual(40, running.returncode)

    def test_arguments_arrive_as_they_are(self) -> None:
        arguments = ['-n', '[x]', '--', '--cure', 'a b', '']
        done = self.guard('--', 'printf', '[%s]', *arguments)
        self.assertEqual(''.join(f'[{argument}]' for argument in arguments), done.stdout)

    def test_what_cannot_be_run_is_one_line(self) -> None:
        for arguments, status, words in (
                (['--', '/nowhere/program'], 127, 'No such file'),
                (['--', '/etc/passwd'], 126, 'Permission denied'),
                ([], 2, 'command'),
                (['--log', '/nowhere/log', '--', 'true'], 2, '/nowhere/log')):
            with self.subTest(arguments=arguments):
                done = self.guard(*arguments)
                self.assertEqual(status, done.returncode)
                self.assertRegex(done.stderr, rf'\Aheddle guard: .*{words}.*\n\Z')

    def test_other_preloaded_libraries_stay(self) -> None:
        environment = {**os.environ, 'HEDDLE_GUARD_LIBRARY': MODULE, 'LD_PRELOAD': 'libm.so.6'}
        done = subprocess.run([PROGRAM, 'guard', '--', 'printenv', 'LD_PRELOAD'], env=environment,
                              capture_output=True, text=True, timeout=TIMEOUT, check=True)
        self.assertEqual(f'{MODULE}:libm.so.6\n', done.stdout)

    def test_no_temporary_file_stays(self) -> None:
        environment = {**os.environ, 'HEDDLE_GUARD_LIBRARY': MODULE, 'TMPDIR': str(self.folder)}
        subprocess.run([PROGRAM, 'guard', '--', 'true'], env=environment, capture_output=True,
                       timeout=TIMEOUT, check=True)
        self.assertEqual([], list(self.folder.iterdir()))


class GeventTest(GuardTestCase):
    """Unmodified CPython and gevent: _ssl is loaded with RTLD_LOCAL, and greenlets move the stack."""

    def setUp(self) -> None:
        super().setUp()
        self.certificate, self.key = self.folder / 'cert.pem', self.folder / 'key.pem'
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
                        'ec_paramgen_curve:P-256', '-nodes', '-days', '2', '-subj', '/CN=localhost',
                        '-addext', 'subjectAltName=DNS:localhost', '-keyout', self.key, '-out',
                        self.certificate], check=True, capture_output=True)
        self.config = self.folder / 'openssl.cnf'
        self.config.write_text('openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\n'
                               'system_default = defaults\n[defaults]\nCiphersuites = nonsense\n')

    def run_program(self, *guard: str):
        return self.guard(*guard, '--', 'env', f'OPENSSL_CONF={self.config}', PYTHON,
                          str(HERE / 'guard_gevent.py'), str(self.certificate), str(self.key))

    @unittest.skipUnless(MISLED, 'OpenSSL 4 looks at the connection first')
    def test_diagnosed_and_cured(self) -> None:
        done = self.run_program()
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertGreater(int(done.stdout), 0)
        self.assertRegex(done.stderr, r'SSL_read(_ex)? called from \S+/guard_gevent.py:\d+ in consume, by way of')
        self.assertIn('a healthy connection was called dead', done.stderr)
        done = self.run_program('--cure')
        self.assertEqual((0, '0\n'), (done.returncode, done.stdout), done.stderr)
        self.assertIn('saved from being called dead', done.stderr)


if __name__ == '__main__':
    guard_support.main('guard_test.py')
