#!/usr/bin/python3
"""The guard beside what else gets loaded: sanitizers' runtimes, preloaded libraries, dlopen() and dlmopen().

usage: guard_loading_test.py [unittest arguments]; guard_support.py says what it needs of the environment.
"""

import platform
import subprocess
import unittest

import guard_support
from guard_support import CALLED_DEAD, HOSTS, MISLED, MODULE, PROGRAM, TIMEOUT, TRUTH, GuardTestCase, host, of_kind

CARELESS = CALLED_DEAD if MISLED else TRUTH  # What a program with the bug exits with, if not cured.
PLUGIN = host('libguard_plugin.so')
INTERPOSER = host('libguard_interposer.so')


class UnlinkedTest(GuardTestCase):
    """A plugin that is not linked with libcrypto, in a program that has it, and no libssl."""

    def test_its_calls_arrive(self) -> None:
        for mode in ('off', 'detect', 'cure'):
            done = self.preload(host('guard_loader'), host('libguard_unlinked.so'), mode=mode,
                                LD_PRELOAD=f'{MODULE}:libcrypto.so.3')
            self.assertEqual(0, done.returncode, done.stderr)


class SanitizerTest(GuardTestCase):
    """Programs with AddressSanitizer's runtime, which ends a program if another library comes first."""

    def setUp(self) -> None:
        super().setUp()
        if not (HOSTS / 'guard_asan').exists():
            self.skipTest('the compiler has no AddressSanitizer')
        self.variables = {'ASAN_OPTIONS': 'detect_leaks=0'}

    def runtime(self) -> str:
        """The path of the runtime that guard_asan is linked with; none if it is linked statically."""
        listed = subprocess.run(['ldd', host('guard_asan')], capture_output=True, text=True, check=True)
        paths = [line.split()[2] for line in listed.stdout.splitlines() if 'asan' in line]
        return paths[0] if paths else ''

    def test_it_starts_and_is_watched(self) -> None:
        for mode, status in (([], CARELESS), (['--cure'], TRUTH)):
            with self.subTest(mode=mode):
                done = self.guard(*mode, '--', host('guard_asan'), variables=self.variables)
                self.assertEqual(status, done.returncode, done.stderr)
                self.assertIn('1 place where', done.stderr)

    def test_so_does_one_that_a_script_starts(self) -> None:
        script = f'exec {host("guard_asan")}'
        done = self.guard('--', 'sh', '-c', script, variables=self.variables)
        self.assertEqual(CARELESS, done.returncode, done.stderr)
        self.assertIn('1 place where', done.stderr)

    def test_so_does_one_whose_runtime_the_user_preloads(self) -> None:
        if not self.runtime():
            self.skipTest('the runtime is linked statically')
        variables = {**self.variables, 'LD_PRELOAD': self.runtime()}
        done = self.guard('--', host('guard_asan'), variables=variables)
        self.assertEqual(CARELESS, done.returncode, done.stderr)
        self.assertIn('1 place where', done.stderr)

    def test_behind_a_preloaded_runtime_no_option_is_needed(self) -> None:
        if not self.runtime():
            self.skipTest('the runtime is linked statically')
        variables = {**self.variables, 'LD_PRELOAD': self.runtime()}
        script = f'ASAN_OPTIONS=detect_leaks=0 exec {host("guard_asan")}'
        done = self.guard('--', 'sh', '-c', script, variables=variables)
        self.assertIn('1 place where', done.stderr)

    def test_the_users_options_stay(self) -> None:
        added = 'verify_asan_link_order=0'
        for given, expected in ((None, added), ('', added),
                                ('detect_leaks=0:abort_on_error=1',
                                 f'detect_leaks=0:abort_on_error=1:{added}')):
            with self.subTest(given=given):
                variables = {} if given is None else {'ASAN_OPTIONS': given}
                done = self.guard('--', 'printenv', 'ASAN_OPTIONS', variables=variables)
                self.assertEqual(expected + '\n', done.stdout)


class PreloadTest(GuardTestCase):
    """Libraries that are preloaded, too."""

    def test_the_guard_comes_first_but_for_sanitizers(self) -> None:
        for given, expected in (
                ('', MODULE),
                ('libm.so.6', f'{MODULE}:libm.so.6'),
                ('libm.so.6 librt.so.1', f'{MODULE}:libm.so.6 librt.so.1'),
                ('/nowhere/libasan.so.8', f'/nowhere/libasan.so.8:{MODULE}'),
                ('/nowhere/libtsan.so:libm.so.6', f'/nowhere/libtsan.so:{MODULE}:libm.so.6'),
                ('/a/libclang_rt.asan-x86_64.so libm.so.6',
                 f'/a/libclang_rt.asan-x86_64.so:{MODULE}:libm.so.6'),
                ('libm.so.6:liblsan.so', f'libm.so.6:liblsan.so:{MODULE}')):
            with self.subTest(given=given):
                done = self.guard('--', 'printenv', 'LD_PRELOAD', variables={'LD_PRELOAD': given})
                self.assertEqual(expected + '\n', done.stdout)

    def test_another_exit_function_is_called_too(self) -> None:
        for order in ([MODULE, host('libguard_exit.so')], [host('libguard_exit.so'), MODULE]):
            with self.subTest(order):
                environment = {**self.environment('cure'), 'LD_PRELOAD': ':'.join(order)}
                done = subprocess.run([host('guard_host'), 'fork'], env=environment, text=True,
                                      capture_output=True, timeout=TIMEOUT, check=False)
                self.assertEqual((TRUTH, 'guard_exit: seen\n'), (done.returncode, done.stdout))


    def test_another_that_stands_before_openssl_is_called_too(self) -> None:
        for mode, status in (('off', CARELESS), ('detect', CARELESS), ('cure', TRUTH)):
            for order in ([MODULE, INTERPOSER], [INTERPOSER, MODULE]):
                with self.subTest(mode=mode, order=order):
                    environment = {**self.environment(mode), 'LD_PRELOAD': ':'.join(order)}
                    done = subprocess.run([host('guard_host'), 'often'], env=environment, text=True,
                                          capture_output=True, timeout=TIMEOUT, check=False)
                    self.assertEqual((status, 'read asked'), (done.returncode, done.stdout))
                    self.assertNotIn('not watched', done.stderr)

    def test_one_that_stands_behind_openssl_is_not(self) -> None:
        for order in (['libssl.so.3', INTERPOSER], [MODULE, 'libssl.so.3', INTERPOSER]):
            with self.subTest(order=order):
                environment = {**self.environment('cure'), 'LD_PRELOAD': ':'.join(order)}
                done = subprocess.run([host('guard_host'), 'often'], env=environment, text=True,
                                      capture_output=True, timeout=TIMEOUT, check=False)
                self.assertEqual('', done.stdout)

    def test_a_preloaded_openssl_gets_its_own_calls_alone(self) -> None:
        environment = {**self.environment('cure'), 'LD_PRELOAD': f'{MODULE}:libssl.so.3'}
        done = subprocess.run([host('guard_loader'), host('libguard_other_user.so')], env=environment,
                              capture_output=True, timeout=TIMEOUT, check=False)
        self.assertEqual(47, done.returncode)

    def test_it_is_not_taken_for_an_openssl(self) -> None:
        done = self.guard('--fail', '--', 'true', variables={'LD_PRELOAD': INTERPOSER})
        self.assertEqual(3, done.returncode)
        self.assertIn('no libssl was loaded in true', done.stderr)


class DeepbindTest(GuardTestCase):
    """dlopen() with RTLD_DEEPBIND, which would look past the guard."""

    def test_it_is_seen(self) -> None:
        done = self.guard('--fail', '--cure', '--', host('guard_loader'), '--deepbind', PLUGIN)
        self.assertEqual(1, done.returncode, done.stderr)
        self.assertIn('1 place where', done.stderr)

    def test_it_is_said_once_that_the_flag_is_left_out(self) -> None:
        events = self.events(host('guard_loader'), '--deepbind', PLUGIN, PLUGIN, mode='cure',
                             expected=TRUTH)
        [note] = of_kind(events, 'note')
        self.assertIn(f'dlopen({PLUGIN}) asks for RTLD_DEEPBIND: that is left out', note['text'])

    def test_off_leaves_the_flag(self) -> None:
        # Past the guard, which would say that a library is not one of OpenSSL 3 or 4.
        done = self.preload(host('guard_loader'), '--deepbind', PLUGIN, mode='off')
        self.assertEqual((CARELESS, ''), (done.returncode, done.stderr))

    @unittest.skipIf(platform.machine() != 'x86_64', 'elsewhere the guard is the caller')
    def test_the_callers_runpath_is_searched(self) -> None:
        for how in ([], ['--deepbind']):
            with self.subTest(how=how):
                environment = self.environment('cure')
                environment.pop('LD_LIBRARY_PATH', None)
                done = subprocess.run([host('guard_loader'), *how, 'libguard_plugin.so'],
                                      env=environment, capture_output=True, text=True, timeout=TIMEOUT,
                                      check=False)
                self.assertEqual(TRUTH, done.returncode, done.stderr)


class NamespaceTest(GuardTestCase):
    """dlmopen(): nothing is preloaded into a new namespace."""

    def test_the_summary_names_it(self) -> None:
        done = self.guard('--', host('guard_loader'), '--namespace', PLUGIN)
        self.assertEqual(CARELESS, done.returncode, done.stderr)
        self.assertRegex(done.stderr, r'Not seen: .*dlmopen\(\).* in guard_loader\n')

    def test_it_is_told_where_it_happens_and_at_the_end(self) -> None:
        done = self.preload(host('guard_loader'), '--both', PLUGIN)
        self.assertEqual(CARELESS, done.returncode, done.stderr)
        self.assertIn(f'dlmopen({PLUGIN}) loads into a namespace of its own', done.stderr)
        self.assertRegex(done.stderr, r'no TLS call was seen: .*dlmopen\(\)')
        self.assertNotIn('DEEPBIND', done.stderr)


if __name__ == '__main__':
    guard_support.main('guard_loading_test.py')
