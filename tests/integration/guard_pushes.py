"""Whether the guard can see who pushes an entry: libcrypto must call its own functions as programs do, by the PLT. No tests."""

import pathlib
import ssl  # For its libcrypto.
import subprocess


def sees_pushes() -> bool:
    maps = pathlib.Path('/proc/self/maps').read_text().splitlines()
    [path] = {line.split()[-1] for line in maps if '/libcrypto.so' in line}
    listed = subprocess.run(['readelf', '-rW', path], capture_output=True, text=True, check=True)
    return 'ERR_set_debug' in listed.stdout


SEES_PUSHES = ssl.OPENSSL_VERSION_INFO[0] == 3 and sees_pushes()
