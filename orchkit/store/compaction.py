"""The history's file made as small as what is in it: DuckDB's files do not shrink by deleting.

Everything is copied into a new file beside it, which then takes its place in one step. Whatever ends the
process meanwhile, one of the two files is there under the name, complete; a copy that was not finished is
removed by the next attempt.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchkit.store.history import History
from orchkit.store.lease import Lease

if TYPE_CHECKING:
    import duckdb

SUFFIX = ".compact"
SPARE_BYTES = 4 << 20
"""What is to be left on the disk, beside the room for the copy."""


def compact(history: History, lease: Lease, connection: duckdb.DuckDBPyConnection) -> str | None:
    """Copy the history and put the copy in its place; why that was not possible, None when it was.

    To be called within `History.borrow`, whose connection is closed afterwards, by one thread at a time.
    Nothing is lost when it is not possible.
    """
    import duckdb

    assert history.path is not None
    path = history.path.resolve()  # a link stays one
    copy = path.with_name(path.name + SUFFIX)
    _remove(copy)
    history.keep_others_out()
    try:
        connection.execute("CHECKPOINT")
        if (shortage := _shortage(connection, path)) is not None:
            return shortage
        _copy(connection, copy)
        connection.close()
        history.close_file()
        return _put_in_place(history.path, path, copy, lease)
    except (duckdb.Error, OSError) as error:
        return f"the history could not be copied: {error}"
    finally:
        _remove(copy)


def _shortage(connection: duckdb.DuckDBPyConnection, path: Path) -> str | None:
    row = connection.execute(
        "SELECT used_blocks * block_size FROM pragma_database_size() WHERE database_name = current_database()"
    ).fetchone()
    needed = (int(row[0]) if row else path.stat().st_size) + SPARE_BYTES
    free = shutil.disk_usage(path.parent).free
    if free >= needed:
        return None
    return f"that takes {needed / 1e6:,.0f} MB beside the file, and {free / 1e6:,.0f} MB are free"


def _copy(connection: duckdb.DuckDBPyConnection, copy: Path) -> None:
    row = connection.execute("SELECT current_database()").fetchone()
    assert row is not None
    name, other = (_quoted(text) for text in (row[0], f"{row[0]}{SUFFIX}"))
    connection.execute(f"ATTACH '{str(copy).replace(chr(39), chr(39) * 2)}' AS {other}")
    try:
        connection.execute(f"COPY FROM DATABASE {name} TO {other}")
        connection.execute(f"CHECKPOINT {other}")
    finally:
        connection.execute(f"DETACH {other}")
    with copy.open("rb+") as file:
        os.fsync(file.fileno())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _put_in_place(name: Path, path: Path, copy: Path, lease: Lease) -> str | None:
    """The step after which the copy is the history."""
    with _untouched(path) as untouched, lease.kept() as ours:
        if not ours:
            return "another process took over while the file was being copied"
        if not untouched or _has_unwritten(name) or _has_unwritten(path):
            return "another program opened it while it was being copied"
        shutil.copymode(path, copy)
        copy.replace(path)
    with suppress(OSError):  # some file systems have no such thing, nor does Windows
        _sync_folder(path.parent)
    return None


@contextmanager
def _untouched(path: Path) -> Iterator[bool]:
    """Whether nobody has the file open; inside nobody can open it: the lock is the one that DuckDB takes.

    The history is closed by now, and a plain shell does not know of the lease.
    """
    try:
        import fcntl
    except ImportError:  # Windows itself replaces no file that is open
        yield True
        return
    with path.open("rb+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True


def _has_unwritten(path: Path) -> bool:
    """Whether there are changes in a write-ahead log, which would be read into the copy."""
    return path.with_name(f"{path.name}.wal").exists()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(copy: Path) -> None:
    for file in (copy, copy.with_name(f"{copy.name}.wal")):
        with suppress(OSError):  # what cannot be removed now is in the way of the next attempt, which says so
            file.unlink(missing_ok=True)
