#!/usr/bin/env python3
"""What README.md shows is what is compiled. The server is run by examples_servers_test.py."""

import pathlib
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Readme(unittest.TestCase):
    def test_readme_shows_the_code_that_is_compiled(self):
        source = (ROOT / 'tests/examples/echo_server.cpp').read_text()
        code = source.split('\n', 1)[1].replace(
            '  // NOLINT(google-build-using-namespace): it is an example.', '')
        blocks = (ROOT / 'README.md').read_text().split('```cpp\n')
        self.assertEqual(blocks[1].split('```')[0].strip(), code.strip())  # The first one.

    def test_readme_shows_the_transports_that_are_compiled(self):
        source = (ROOT / 'tests/integration/readme_transports.cpp').read_text()
        code = source.split('// --- As in the README. ---\n')[1]
        self.assertIn(code.strip(), (ROOT / 'README.md').read_text())

    def test_readme_shows_how_keys_are_offloaded(self):
        source = (ROOT / 'tests/integration/offload_signer_test.cpp').read_text()
        begin = source.index('void use_key_on_threads')
        code = source[begin:source.index('\n}\n', begin)]
        self.assertIn(code, (ROOT / 'README.md').read_text())

    def test_readme_shows_how_certificates_are_watched(self):
        source = (ROOT / 'tests/integration/certificate_watcher_test.cpp').read_text()
        begin = source.index('Result<void> keep_certificate')
        code = source[begin:source.index('\n}\n', begin)]
        self.assertIn(code, (ROOT / 'README.md').read_text())

    def test_readme_shows_the_kernel_tls_that_is_run(self):
        code = (ROOT / 'tests/support/readme_ktls.h').read_text()
        code = code.split('// README\n')[1].split('\n}\n')[0]
        self.assertIn(code, (ROOT / 'README.md').read_text())


if __name__ == '__main__':
    sys.exit(unittest.main())
