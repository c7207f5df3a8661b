"""Lets a program run out of things: what the module support/failing.c is told, and by whom."""

import errno
import mmap
import os
import struct

MODULE = os.environ.get('HEDDLE_FAILING_MODULE', 'failing.so')

# As in failing.c.
MEMORY, DESCRIPTORS, MAPPINGS, THREADS = range(4)
_KINDS = 4


class Faults:
    """Orders for one program. What is ordered holds until stop()."""

    _ONE_IN, _UNTIL, _ERROR, _FAILED = (4 * _KINDS * i for i in range(4))
    _BYTES_MIN = 4 * _KINDS * 4
    _SEED = _BYTES_MIN + 4

    def __init__(self, folder):
        self.path = folder / f'faults-{os.getpid()}-{id(self)}'
        self.path.write_bytes(bytes(4096))
        with open(self.path, 'r+b') as file:
            self.memory = mmap.mmap(file.fileno(), 4096)

    def environment(self):
        return {**os.environ, 'LD_PRELOAD': MODULE, 'HEDDLE_FAULTS': str(self.path)}

    def _put(self, offset, number):
        struct.pack_into('I', self.memory, offset, number)

    def start(self, kind, one_in=0, nth=0, error=errno.ENOMEM, bytes_min=0, seed=0):
        """Of `one_in` calls one fails, at random; and the `nth` from now."""
        self._put(self._SEED, seed)
        self._put(self._BYTES_MIN, bytes_min)
        self._put(self._ERROR + 4 * kind, error)
        self._put(self._UNTIL + 4 * kind, nth)
        self._put(self._ONE_IN + 4 * kind, one_in)

    def stop(self):
        self.memory[self._ONE_IN:self._ERROR] = bytes(self._ERROR - self._ONE_IN)

    def failed(self, kind):
        """How many calls have failed so far."""
        return struct.unpack_from('I', self.memory, self._FAILED + 4 * kind)[0]
