#!/usr/bin/env python3
"""Heddle in other people's builds: installed, and as a subproject. The files are those of README.md.

HEDDLE_BUILD is a build tree with everything built that is installed.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = os.environ['HEDDLE_BUILD']
STRICT = ['-Wall', '-Wextra', '-Werror']

HARNESS = '''#include <cstdio>
#include "heddle/stale.h"
int main() { std::puts(heddle::stale::openssl_version().c_str()); }
'''
HARNESS_CMAKE = '''
find_package(heddle 0.1 REQUIRED COMPONENTS stale static)
add_executable(harness harness.cpp)
target_link_libraries(harness PRIVATE heddle::stale)
add_executable(user_static user.cpp)
target_link_libraries(user_static PRIVATE heddle::heddle_static)
add_executable(harness_static harness.cpp)
target_link_libraries(harness_static PRIVATE heddle::stale_static)
'''


def readme(language: str, begin: str) -> str:
    """Returns the block of code in README.md's part on builds that begins with `begin`."""
    part = (ROOT / 'README.md').read_text().split('\n## In your build\n')[1].split('\n## ')[0]
    blocks = re.findall(rf'^```{language}\n({re.escape(begin)}.*?)^```$', part,
                        re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1, f'README.md has {len(blocks)} blocks of {language} with {begin}'
    return blocks[0]


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix='heddle-packaging-'))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        root = cls.folder / 'root'
        subprocess.run(['meson', 'install', '-C', BUILD, '--no-rebuild', '--quiet', '--destdir', root],
                       check=True, stdout=subprocess.DEVNULL)
        [config] = root.rglob('heddleConfig.cmake')
        cls.libdir = config.parents[2]
        [header] = root.rglob('version.h')
        cls.prefix = header.parents[2]
        for file in (cls.libdir / 'pkgconfig').glob('*.pc'):  # DESTDIR is no prefix.
            file.write_text(re.sub('^prefix=.*', f'prefix={cls.prefix}', file.read_text(),
                                   flags=re.MULTILINE))
        cls.environment = os.environ | {
            'PKG_CONFIG_PATH': str(cls.libdir / 'pkgconfig'),
            'LD_LIBRARY_PATH': str(cls.libdir),
            'CXXFLAGS': ' '.join(STRICT),
        }

    def project(self, name: str, **files: str) -> pathlib.Path:
        folder = self.folder / name
        folder.mkdir()
        (folder / 'user.cpp').write_text(readme('cpp', '#include'))
        (folder / 'harness.cpp').write_text(HARNESS)
        for file, text in files.items():
            (folder / file.replace('_', '.')).write_text(text)
        return folder

    def run_in(self, folder: pathlib.Path, *command) -> str:
        done = subprocess.run(command, cwd=folder, env=self.environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, f'{command}:\n{done.stdout}{done.stderr}')
        return done.stdout

    def check_user(self, folder: pathlib.Path, program: str = './user'):
        self.assertRegex(self.run_in(folder, program), r'^Heddle \d+\.\d+\.\d+\n$')

    def check_harness(self, folder: pathlib.Path, program: str):
        self.assertRegex(self.run_in(folder, program), '^OpenSSL ')

    def test_cmake_finds_it(self):
        folder = self.project('cmake', CMakeLists_txt=readme('cmake', 'cmake_minimum') + HARNESS_CMAKE)
        self.run_in(folder, 'cmake', '-S', '.', '-B', 'build', f'-Dheddle_DIR={self.libdir}/cmake/heddle')
        self.run_in(folder, 'cmake', '--build', 'build')
        self.check_user(folder, 'build/user')
        self.check_user(folder, 'build/user_static')
        self.check_harness(folder, 'build/harness')
        self.check_harness(folder, 'build/harness_static')

    def test_cmake_refuses_another_minor_version(self):
        lists = readme('cmake', 'cmake_minimum').replace('heddle 0.1', 'heddle 0.2')
        folder = self.project('cmake-version', CMakeLists_txt=lists)
        done = subprocess.run(
            ['cmake', '-S', '.', '-B', 'build', f'-Dheddle_DIR={self.libdir}/cmake/heddle'],
            cwd=folder, capture_output=True, text=True)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('0.1.0', done.stderr)

    def test_meson_finds_it(self):
        folder = self.project('meson', meson_build=readme('meson', 'project'))
        self.run_in(folder, 'meson', 'setup', 'build')
        self.run_in(folder, 'ninja', '-C', 'build')
        self.check_user(folder, 'build/user')

    def test_pkg_config_finds_it(self):
        folder = self.project('pkg-config')
        command = readme('', 'g++').replace('g++', ' '.join(['g++', *STRICT]))
        self.run_in(folder, 'sh', '-c', command)
        self.check_user(folder)
        self.run_in(folder, 'sh', '-c', command.replace('user', 'harness')
                    .replace('--libs heddle', '--libs heddle-stale'))
        self.check_harness(folder, './harness')

    def test_manual_pages_and_completions_are_installed(self):
        there = {path.name for path in self.prefix.rglob('*') if path.parent.name in (
            'man1', 'completions', 'site-functions')}
        pages = {f'heddle{name}.1' for name in ('', '-serve', '-connect', '-cert', '-demo', '-stale',
                                                     '-guard')}
        self.assertEqual(there, pages | {'heddle', '_heddle'})

    def test_every_public_header_is_installed_and_nothing_else(self):
        include = ROOT / 'include'
        public = {str(path.relative_to(include)) for path in include.rglob('*.h')}
        there = {str(path.relative_to(self.prefix / 'include'))
                 for path in (self.prefix / 'include').rglob('*') if path.is_file()}
        self.assertEqual(there, public | {'heddle/version.h'})


class Subproject(unittest.TestCase):
    """Compiles one file of the library, not all: that takes minutes, and says no more."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='heddle-subproject-'))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / 'subprojects').mkdir()
        (self.folder / 'subprojects/heddle').symlink_to(ROOT)
        (self.folder / 'user.cpp').write_text(readme('cpp', '#include'))
        (self.folder / 'meson.build').write_text(readme('meson', 'project'))

    def run_here(self, *command) -> str:
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, f'{command}:\n{done.stdout}{done.stderr}')
        return done.stdout

    def configure(self, *options: str):
        self.run_here('meson', 'setup', 'build', '--force-fallback-for=heddle,heddle-stale',
                      '-Db_pch=false', *options)

    def introspect(self, what: str):
        return json.loads(self.run_here('meson', 'introspect', 'build', what))

    def targets(self) -> list:
        return sorted((target['name'], target['type']) for target in self.introspect('--targets'))

    def test_parent_gets_the_library_alone(self):
        self.configure()
        self.assertEqual(self.targets(), [('heddle', 'shared library'), ('heddle', 'static library'),
                                          ('user', 'executable')])
        self.assertEqual(self.introspect('--tests'), [])
        installed = {pathlib.Path(path).name for path in self.introspect('--installed').values()}
        self.assertEqual({name for name in installed if not name.startswith('libheddle.')},
                         {'heddle.pc', 'version.h', 'heddle', 'heddleConfig.cmake',
                          'heddleConfigVersion.cmake'})
        needed = {dependency['name'] for dependency in self.introspect('--dependencies')}
        self.assertEqual(needed & {'fmt', 'cli11', 'CLI11', 'nlohmann_json', 'gtest_main'}, set())

        files = self.run_here('ninja', '-C', 'build', '-t', 'targets', 'all')
        [user] = re.findall(r'^(user\.p/.*\.o):', files, re.MULTILINE)
        [library] = re.findall(r'^(.*base_version\.cpp\.o):', files, re.MULTILINE)
        self.run_here('ninja', '-C', 'build', user, library)

    def test_parent_may_ask_for_the_harness_and_shared_libraries(self):
        self.configure('-Dheddle:stale=enabled', '-Ddefault_library=shared')
        self.assertEqual(self.targets(),
                         [('heddle', 'shared library'), ('heddle', 'static library'),
                          ('heddle_stale', 'shared library'), ('heddle_stale', 'static library'),
                          ('user', 'executable')])
        link = self.run_here('ninja', '-C', 'build', '-t', 'commands', 'user').splitlines()[-1]
        self.assertIn('libheddle.so', link)
        self.assertNotIn('libheddle.a', link)


if __name__ == '__main__':
    sys.exit(unittest.main())
