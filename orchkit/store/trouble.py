"""What an error of SQLite, DuckDB or the operating system means for a store, and what to do about it."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path

from orchkit.errors import StoreError, StoreFullError

LITTLE_BYTES = 1 << 20
"""An error of reading or writing where less is free is put down to that."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FORBIDDEN_TEXTS = tuple(map(os.strerror, sorted(_FORBIDDEN)))


def of_log(error: sqlite3.Error, path: Path | None) -> StoreError:
    """The error to raise for one that SQLite raised."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte: the others say more exactly why
    if path is None:
        return StoreError(f"log in memory: {error}")
    if code == sqlite3.SQLITE_FULL or (
        code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _is_full(path.parent)
    ):
        # SQLite says so only of the file itself, not of the shared memory beside it, nor of a new file.
        return StoreFullError(f"no space left for {path}: nothing acknowledged is lost; free space and go on")
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN) and _is_forbidden(
        path
    ):
        return _forbidden(path, error)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreError(
            f"log {path}: {error}. It is damaged, or something else; move it away, together with the files "
            "beside it whose names begin with its own, and open the store again: the history stays as it is"
        )
    return StoreError(f"log {path}: {error}")


def of_history(error: Exception, path: Path | None) -> StoreError:
    """The error to raise for one that DuckDB raised, or the operating system for a file of the history."""
    text = str(error)
    number = error.errno if isinstance(error, OSError) else None
    if number in _FULL or "No space left" in text or "disk is full" in text.lower():
        return StoreFullError(
            f"no space left for the history: nothing acknowledged is lost; free space: {text}"
        )
    if path is not None and (number in _FORBIDDEN or any(words in text for words in _FORBIDDEN_TEXTS)):
        return _forbidden(path, error)
    if "not a valid DuckDB database" in text or "Extension" in text.split("\n", 1)[0]:
        return StoreError(f"{path} is no DuckDB database: name another file, or a new one")
    return StoreError(f"history {path}: {text}" if path else text)


def _forbidden(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"{path} cannot be written ({error}), and a store has to write beside its files even to be read: "
        f"copy the files whose names begin with {path.name.removesuffix('-log')} to a folder of your own, "
        "and open that copy"
    )


def _is_forbidden(path: Path) -> bool:
    return not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK))


def _is_full(folder: Path) -> bool:
    with suppress(OSError):
        if hasattr(os, "statvfs") and (found := os.statvfs(folder)).f_files > 0 and found.f_favail == 0:
            return True
        return shutil.disk_usage(folder).free < LITTLE_BYTES
    return False
