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


def copy_aside(file: Path, why: str = "damaged") -> Path | None:
    """A copy of a file that is about to be changed; None when there is no such file, or no room."""
    aside = _aside(file, why)
    try:
        if file.stat().st_size == 0:
            return None
        shutil.copyfile(file, aside)
    except OSError:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        return None
    return aside


def _aside(file: Path, why: str) -> Path:
    return file.with_name(f"{file.name}.{why}-{time.time_ns()}")


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
