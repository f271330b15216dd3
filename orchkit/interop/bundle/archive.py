"""Zip files: written the same each time, and read as if they were made to do harm."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO, Self

from orchkit.errors import BundleError, Problem
from orchkit.ids import new_id
from orchkit.interop.bundle import names

MAX_BYTES = 1 << 30
"""How much a bundle may unpack to unless more is allowed."""
MAX_RATIO = 200
MOST_MEMBERS = 65_000
_TOO_LARGE = f"is larger than a bundle can be (4 GiB packed, {MOST_MEMBERS:,} members)"
_SMALL = 1 << 20
_FIRST_DAY = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_REGULAR = 0o100000
_KIND = 0o170000
_PLAIN_FILE = (_REGULAR | 0o644) << 16
_LEVEL = 6
_UTF8 = 0x800

_END = struct.Struct("<4s4H2LH")
_LOCAL = struct.Struct("<4s5H3L2H")


class Writer:
    """Puts members into a new zip file; the same members give the same bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(file, "w", allowZip64=False, compresslevel=_LEVEL)

    def add(self, name: str, data: bytes) -> None:
        """One member. Raises `zipfile.LargeZipFile` where it becomes larger than bundles can be."""
        if len(self._zip.filelist) >= MOST_MEMBERS:
            raise zipfile.LargeZipFile
        info = zipfile.ZipInfo(name, _FIRST_DAY)
        info.create_system, info.external_attr = _UNIX, _PLAIN_FILE
        info.compress_type = zipfile.ZIP_STORED if _too_small(data) else zipfile.ZIP_DEFLATED
        self._zip.writestr(info, data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the directory; also after an error, or it would be tried again as garbage."""
        with nullcontext() if kind is None else suppress(OSError, zipfile.LargeZipFile):
            self._zip.close()


def _too_small(data: bytes) -> bool:
    """Whether the member would look like one that is made to fill the memory of who reads it."""
    return len(data) > _SMALL and len(zlib.compress(data, _LEVEL)) * MAX_RATIO < len(data) * 2


@contextmanager
def new_file(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file that appears under its name when it is complete and on disk. Raises `BundleError`."""
    if path.is_dir():
        raise BundleError(str(path), [Problem("the path", "is a folder", "name a file in it")])
    if path.exists() and not overwrite:
        raise BundleError(str(path), [Problem("the path", "exists", "name another, or overwrite it")])
    begun = path.with_name(f".{path.name[:100]}.{new_id('part')}")
    try:
        with begun.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        begun.replace(path)
    except OSError as error:
        cause = f"cannot be written: {error.strerror or error}"
        raise BundleError(str(path), [Problem("the file", cause)]) from error
    except zipfile.LargeZipFile:
        raise BundleError(str(path), [Problem("the run", _TOO_LARGE)]) from None
    finally:
        begun.unlink(missing_ok=True)


# --- reading -------------------------------------------------------------------------------


class Reader:
    """The members of a zip file that nobody vouches for. Everything raises `BundleError` and nothing else."""

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        self.path = path
        self._file, self._zip = _opened(path)
        try:
            self._members = self._checked(max_bytes)
        except BaseException:
            self.close()
            raise

    def refused(self, *problems: Problem) -> BundleError:
        """The error to raise."""
        return BundleError(str(self.path), problems)

    @property
    def sizes(self) -> dict[str, int]:
        """The members, and how many bytes each of them says it has."""
        return {name: info.file_size for name, info in self._members.items()}

    def read(self, name: str) -> bytes:
        """All of a member, never more than it says it has."""
        info = self._members.get(name)
        if info is None:
            raise self.refused(Problem(name, "is missing"))
        try:
            with self._zip.open(info) as member:
                data = member.read(info.file_size + 1)
        except Exception as error:  # zipfile raises a dozen kinds over damaged files
            raise self.refused(Problem(name, f"cannot be read: {error}")) from error
        if len(data) != info.file_size:
            raise self.refused(Problem(name, f"has {len(data):,} bytes and says it has {info.file_size:,}"))
        return data

    def _checked(self, max_bytes: int) -> dict[str, zipfile.ZipInfo]:
        infos = self._zip.infolist()
        problems = [problem for info in infos for problem in _harm(info)]
        seen: set[str] = set()
        for info in infos:
            if info.filename in seen:
                problems.append(Problem(info.filename, "is in it twice"))
            seen.add(info.filename)
        total = sum(info.file_size for info in infos)
        if total > max_bytes:
            cause = f"unpacks to {total:,} bytes, and {max_bytes:,} are allowed"
            problems.append(Problem("the file", cause, "if you trust it, allow more with max_bytes"))
        if not problems:
            problems = _hidden(self._file, self._zip, infos)
        if problems:
            raise self.refused(*problems)
        return {info.filename: info for info in infos}

    def close(self) -> None:
        """Let go of the file."""
        self._zip.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _opened(path: Path) -> tuple[BinaryIO, zipfile.ZipFile]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise BundleError(str(path), [Problem("the file", f"cannot be opened: {error.strerror}")]) from error
    try:
        cause = _no_zip(file)
        if cause is None:
            return file, zipfile.ZipFile(file)
    except Exception as error:  # zipfile raises a dozen kinds over damaged files
        cause = f"is damaged: {error}"
    file.close()
    raise BundleError(str(path), [Problem("the file", cause)])


def _no_zip(file: BinaryIO) -> str | None:
    """Why this cannot be a zip file of ours, from its last bytes; their numbers bound what is read of it."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END.size))
    tail = file.read(_END.size)
    if len(tail) < _END.size or tail[:4] != b"PK\x05\x06":
        return "is no zip file, or not all of one, or something was added to its end"
    _, disk, first_disk, here, count, length, start, comment = _END.unpack(tail)
    if (disk, first_disk, comment) != (0, 0, 0) or here != count or start + length + _END.size != size:
        return "is a zip file of another kind than orchkit writes"
    return f"has {count:,} members" if count > MOST_MEMBERS else None


def _harm(info: zipfile.ZipInfo) -> Iterator[Problem]:
    """Why a member is not one that orchkit writes."""
    name = info.orig_filename
    cause = names.cannot_be(name)
    if cause is not None or name != info.filename:
        yield Problem(repr(name), cause or "has a name that is no path")
    if info.external_attr >> 16 & _KIND not in (0, _REGULAR):
        yield Problem(name, "is a link, or something else that is no file")
    if info.flag_bits & ~_UTF8:
        yield Problem(name, "is encrypted, or written in an unusual way")
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        yield Problem(name, f"is compressed by an unusual method ({info.compress_type})")
    if info.file_size > max(_SMALL, MAX_RATIO * info.compress_size):
        yield Problem(name, f"would unpack to more than {MAX_RATIO} times its size")


def _hidden(file: BinaryIO, opened: zipfile.ZipFile, infos: list[zipfile.ZipInfo]) -> list[Problem]:
    """What one program would unpack and another would not: bytes of no member, members that disagree.

    The directory at the end of a zip file is one description of it, the headers between the members another.
    """
    at = 0
    for info in sorted(infos, key=lambda one: one.header_offset):
        if info.header_offset != at:
            return [Problem("the file", f"has bytes that belong to no member before {info.filename}")]
        file.seek(at)
        header = file.read(_LOCAL.size)
        if len(header) < _LOCAL.size:
            return [Problem(info.filename, "is not all there")]
        _, _, flags, method, _, _, crc, packed, size, name_size, extra_size = _LOCAL.unpack(header)
        said = (info.flag_bits, info.compress_type, info.CRC, info.compress_size, info.file_size)
        if (flags, method, crc, packed, size) != said:
            return [Problem(info.filename, "is described in two ways that differ")]
        at += _LOCAL.size + name_size + extra_size + packed
    if at != opened.start_dir:
        return [Problem("the file", "has bytes that belong to no member before its directory")]
    return []
