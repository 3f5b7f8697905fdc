"""Freshness across processes: a withdrawal counter and 4,096 shard versions in one mapped file.

A decision reads two eight-byte words instead of asking the store. Whoever withdraws, erases or brings a new policy
raises the withdrawal counter after its commit and before it answers; whoever writes a visitor raises that visitor's
shard. A reader whose words still stand holds nothing stale.
"""

from __future__ import annotations

import errno
import mmap
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from entrenous_consent.errors import Malformed
from entrenous_consent.files import locked, reaching

__all__ = ["SHARDS", "Counters"]

SHARDS = 4096
_MAGIC = b"entrenous counters 1"
_HEADER = 64
_SIZE = _HEADER + 8 * (1 + SHARDS)


class Counters:
    """The mapped counters. Open them after forking, one object a process.

    Attributes:
        words: the counters themselves; `words[0]` is the withdrawal counter, `words[shard_of(handle)]` a shard. Read
            them directly, write them never.

    Raises:
        Malformed: the file is something else. Missing, Unavailable: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._thread = path, threading.Lock()
        with reaching(path):
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                with locked(self._file):
                    if os.fstat(self._file).st_size == 0:
                        self._begin()
                if os.fstat(self._file).st_size != _SIZE or os.pread(self._file, len(_MAGIC), 0) != _MAGIC:
                    raise Malformed("is not a counter file", place=str(path), remedy="remove it while nothing runs")
                self._map = mmap.mmap(self._file, _SIZE)
            except BaseException:
                os.close(self._file)
                raise
        self.words = memoryview(self._map)[_HEADER:].cast("Q")

    def _begin(self) -> None:
        """Write every byte, so that no later write to the map can find the disk full; or none."""
        if os.write(self._file, _MAGIC.ljust(_HEADER, b"\0") + bytes(_SIZE - _HEADER)) != _SIZE:
            os.ftruncate(self._file, 0)
            raise OSError(errno.ENOSPC, "no room for the counters")

    @staticmethod
    def shard_of(handle: bytes) -> int:
        """Return the index of a handle's shard in `words`, in `[1, SHARDS]`."""
        return 1 + ((handle[0] << 4) | (handle[1] >> 4))

    def raise_withdrawals(self) -> None:
        """Tell every process to drop what it holds open."""
        self._raise((0,))

    def raise_shard(self, shard: int) -> None:
        """Tell every process that a visitor of this shard was written."""
        self._raise((shard,))

    def raise_shards(self, shards: Iterable[int]) -> None:
        """Tell every process that visitors of these shards were written."""
        self._raise(shards)

    def _raise(self, indices: Iterable[int]) -> None:
        with self._thread, reaching(self._path), locked(self._file):
            for index in indices:
                self.words[index] += 1

    def close(self) -> None:
        """Release the map and the file."""
        self.words.release()
        self._map.close()
        os.close(self._file)
