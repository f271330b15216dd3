"""Locks that careless code in this process cannot drop, beside those that SQLite takes."""

from __future__ import annotations

import os
import struct
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Range(NamedTuple):
    """Some bytes of a file that stand for a lock."""

    start: int
    length: int


# What SQLite locks while a connection uses the file: SHARED_FIRST of its os.h, UNIX_SHM_DMS of its os_unix.c.
DATABASE_IN_USE = Range(0x40000002, 510)
INDEX_IN_USE = Range(128, 1)
"""In the ``-shm`` file."""


class _Held:
    def __init__(self, descriptor: int, what: Range) -> None:
        self.descriptor, self.what, self.users = descriptor, what, 0

    def lock(self, wanted: bool) -> None:
        """Take the lock or give it back; without one where the file system has no such locks."""
        if sys.platform == "linux":
            import fcntl

            kind = fcntl.F_RDLCK if wanted else fcntl.F_UNLCK
            with suppress(OSError):
                flock = struct.pack("hhqqi4x", kind, os.SEEK_SET, *self.what, 0)
                fcntl.fcntl(self.descriptor, fcntl.F_OFD_SETLK, flock)


_held: dict[tuple[int, int], _Held] = {}
"""By device and inode."""
_lock = threading.Lock()


class Guard:
    """Says to other processes that this one uses some files, whatever else happens to their locks here.

    The locks that SQLite takes belong to the process: when anything in it opens one of the files and closes
    it again (to copy it, say), they are gone without a word. The next process that closes the store would
    take itself for the last one and delete the write-ahead log that we go on writing to. A lock that belongs
    to an open file (Linux knows such) stays. Closing that file would in turn drop SQLite's, so it is kept
    open until nobody in this process uses it any more.
    """

    def __init__(self, files: Iterable[tuple[Path, Range]]) -> None:
        self._keys: list[tuple[int, int]] = []
        if sys.platform == "linux":
            for path, what in files:
                self._hold(path, what)

    def _hold(self, path: Path, what: Range) -> None:
        with _lock:
            try:
                found = path.stat()
                key = found.st_dev, found.st_ino
                held = _held.get(key) or _Held(os.open(path, os.O_RDONLY | os.O_CLOEXEC), what)
            except OSError:
                return  # a file that cannot be opened has no careless reader either
            _held[key] = held
            held.users += 1
            if held.users == 1:
                held.lock(True)
            self._keys.append(key)

    def release(self) -> None:
        """Let SQLite do what only the last user of the files does; before its connections are closed."""
        with _lock:
            for held in map(_held.__getitem__, self._keys):
                held.users -= 1
                if held.users == 0:
                    held.lock(False)

    def close(self) -> None:
        """Close what was opened; after SQLite's connections are closed."""
        with _lock:
            for key in self._keys:
                if key in _held and _held[key].users == 0:
                    os.close(_held.pop(key).descriptor)
        self._keys = []


def _forget() -> None:
    """In a forked child: the files are the parent's, and so are their locks."""
    global _lock  # noqa: PLW0603 - it may be held by a thread that does not exist here
    _lock = threading.Lock()
    for held in _held.values():
        os.close(held.descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
