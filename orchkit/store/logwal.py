"""What SQLite does not say of its write-ahead log: that it could not read all of it.

SQLite reads the file up to the first frame that does not check, and overwrites the rest. For the last commit
that is right: a process was ended while it wrote it, and never said that it was done. Commits behind one that
cannot be read were done; they are lost to a damage.
"""

from __future__ import annotations

import itertools
import struct
from io import SEEK_CUR, RawIOBase
from pathlib import Path
from typing import NamedTuple

_HEADER = struct.Struct(">8xI4x8s8x")  # page size, salts
_FRAME = struct.Struct(">4xI8s8x")  # size of the database after a commit, else 0; salts
_SUMS = struct.Struct(">2I")
PAGE_SIZE = 4096
"""SQLite's default, where the header does not tell."""


class Written(NamedTuple):
    """The commits in a write-ahead log, as the headers of its frames tell: whether readable or not."""

    salts: bytes
    """They change each time the file is begun anew."""
    commits: tuple[int, ...]
    """Which frames, from 1, end one."""

    def lost(self, readable: int, now: Written | None) -> int:
        """How many of them are behind the last readable frame, and not for being the last.

        A negative ``readable``: SQLite did not tell, because another process is asking it at this moment.
        """
        if readable < 0 or now is None or now.salts != self.salts:
            return 0  # in the second case the file was begun anew meanwhile, so all of it had been read
        behind = sum(frame > readable for frame in self.commits)
        return behind if behind > 1 else 0


def read_commits(wal: Path) -> Written | None:
    """The commits in a write-ahead log that somebody left behind or uses; None when there is none."""
    try:
        with wal.open("rb", buffering=0) as file:  # a few bytes of each page: a buffer would read them all
            return _read(file)
    except OSError:
        return None


def _read(file: RawIOBase) -> Written | None:
    header = file.read(_HEADER.size)
    if header is None or len(header) < _HEADER.size:
        return None
    page_size, salts = _HEADER.unpack(header) if _is_sound(header) else (PAGE_SIZE, None)
    commits = []
    frame = 0
    while len(head := file.read(_FRAME.size) or b"") == _FRAME.size:
        frame += 1
        size_after, its_salts = _FRAME.unpack(head)
        salts = salts or its_salts
        if its_salts == salts and size_after > 0:
            commits.append(frame)
        file.seek(page_size, SEEK_CUR)
    return Written(salts or b"", tuple(commits))


def count_sound(wal: Path) -> int:
    """How many frames check, from the first one on: what SQLite would read, had it only the file to go by."""
    try:
        with wal.open("rb") as file:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size or not _is_sound(header):
                return 0
            page_size, salts = _HEADER.unpack(header)
            sums = _SUMS.unpack(header[24:])
            for count in itertools.count():
                head, page = file.read(_FRAME.size), file.read(page_size)
                sums = _checksum(head[:8] + page, header, sums)
                if len(page) < page_size or head[8:] != salts + _SUMS.pack(*sums):
                    return count
    except OSError:
        return 0
    return 0


def _is_sound(header: bytes) -> bool:
    return _checksum(header[:24], header, (0, 0)) == _SUMS.unpack(header[24:])


def _checksum(data: bytes, header: bytes, sums: tuple[int, int]) -> tuple[int, int]:
    """Each number is added to one of two sums in turn; the file's header tells the order of their bytes."""
    first, second = sums
    for even, odd in struct.iter_unpack(">2I" if header[3] & 1 else "<2I", data[: len(data) // 8 * 8]):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
