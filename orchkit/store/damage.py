"""Files that cannot be read: put aside, never deleted."""

from __future__ import annotations

import re
import shutil
import time
from contextlib import suppress
from pathlib import Path


def set_aside(file: Path, why: str = "damaged") -> Path:
    """Rename a file so that it is out of the way; its new name."""
    return file.rename(_aside(file, why))


def _aside(file: Path, why: str) -> Path:
    return file.with_name(f"{file.name.removesuffix('.kept')}.{why}-{time.time_ns()}")


def copy_aside(file: Path, why: str = "damaged") -> Path | None:
    """A copy of a file that is about to be overwritten; None where there is no room."""
    aside = _aside(file, why)
    return aside if _copied(file, aside) else None


def keep_wal(history: Path) -> Path | None:
    """A copy of the write-ahead log that a killed process left behind, until it is known to be readable.

    DuckDB reads it, up to a damage if there is one, and deletes it. The copy of a process that was killed
    before it knew is found again. None when there is none, or no room for it.
    """
    wal = wal_of(history)
    kept = wal.with_name(f"{wal.name}.kept")
    with suppress(FileNotFoundError):
        if wal.stat().st_size > 0 and not _copied(wal, kept):
            return None
    return kept if kept.exists() else None


def _copied(file: Path, copy: Path) -> bool:
    try:
        shutil.copyfile(file, copy)
    except OSError:
        with suppress(OSError):
            copy.unlink(missing_ok=True)
        return False
    return True


def wal_of(history: Path) -> Path:
    """DuckDB's write-ahead log of a file."""
    return history.with_name(f"{history.name}.wal")


def cut_wal(history: Path, message: str) -> Path | None:
    """Make a write-ahead log readable that DuckDB refuses with this message: without its damaged end.

    The file as it was is kept; its new name. None when the message is about something else.
    """
    wal = wal_of(history)
    if "Failure while replaying WAL file" not in message or not wal.exists():
        return None
    found = re.search(r"Corrupt WAL file: entry at byte position (\d+)", message)
    if found is None:
        # It belongs to another state of the file, or nothing of it can be read.
        return set_aside(wal) if "Corrupt" in message or "does not match" in message else None
    place = int(found[1])
    aside = copy_aside(wal) if 0 < place < wal.stat().st_size else None
    if aside is None:
        return set_aside(wal)
    with wal.open("r+b") as file:
        file.truncate(place)
    return aside
