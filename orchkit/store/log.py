"""The durable hot path: an append-only SQLite log that any number of processes may share."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from orchkit.clock import Clock, SystemClock
from orchkit.errors import StoreClosedError, StoreError, StoreFullError, StoreVersionError
from orchkit.ids import new_id
from orchkit.store.schema import migrations, statements

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = tuple[int, str, str | None, str | None, int | None, str]
"""``(ts, kind, run_id, step_id, attempt, payload)``: an event on its way into the log."""
StoredRow = tuple[int, int, str, str | None, str | None, int | None, str]
"""The same with its ``seq`` in front."""
Listener = Callable[[list[StoredRow]], None]

BUSY_TIMEOUT_S = 60.0
TRIM_CHUNK = 5_000
WAL_PAGES = 1_000
"""SQLite's own default for `wal_autocheckpoint`."""
_INSERT = "INSERT INTO event (ts, kind, run_id, step_id, attempt, payload) VALUES (?, ?, ?, ?, ?, ?)"


class StateRecord(NamedTuple):
    """A small durable value and the version to name when replacing it."""

    version: int
    value: dict[str, Any]


class StateConflictError(StoreError):
    """A compare-and-set found another version than expected."""

    def __init__(self, kind: str, key: str, expected: int, found: int) -> None:
        self.kind, self.key, self.expected, self.found = kind, key, expected, found
        super().__init__(f"{kind} {key!r} is at version {found}, not {expected}: read it again and retry")


class EventLog(Protocol):
    """The port: what orchkit needs of a log; SQLite implements it for one machine."""

    log_id: str

    def append(self, row: Row, *, durable: bool) -> None:
        """Buffer one event; it is on disk after the next `commit`."""
        ...

    def put_blob(self, digest: str, data: str) -> None:
        """Buffer a large value under its content hash; written once, before the events that name it."""
        ...

    def commit(self) -> None:
        """Write everything buffered in one transaction, as durably as the strictest of it asks."""
        ...

    def read_after(self, seq: int, limit: int) -> list[StoredRow]:
        """Up to ``limit`` committed events with a larger ``seq``, in order."""
        ...

    def trim(self, seq: int) -> None:
        """Forget events up to ``seq``: they are in the history."""
        ...


class SqliteLog:
    """The log as one SQLite file in WAL mode (or in memory when ``path`` is None).

    `append` only buffers; `commit` drains the buffer of all threads into one transaction (group
    commit). `synchronous=FULL` is used when any drained event asked for it, else `NORMAL`, which
    survives a killed process but not a power loss.
    """

    def __init__(self, path: Path | None, *, clock: Clock | None = None) -> None:
        self.path = path
        self._clock = clock or SystemClock()
        self._buffer: list[Row] = []
        self._blobs: list[tuple[str, str]] = []
        self._strict = False  # whether something buffered, or being committed, needs FULL
        self._buffer_lock = threading.Lock()
        self._lock = threading.RLock()
        self._closed = False
        self._listeners: list[Listener] = []
        self._connection = self._connect()
        self._synchronous = ""
        # Reading a batch takes milliseconds; on its own connection it does not hold up commits.
        self._reader = self._connection if path is None else self._connect()
        self._reader_lock = self._lock if path is None else threading.RLock()
        self.created = self._migrate()
        self.log_id = self._meta("log_id", lambda: new_id("log"))
        if path is not None:
            self._extend_wal(path)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path or ":memory:", timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        if self.path is not None:
            connection.execute("PRAGMA journal_mode=WAL")
        return connection

    def _extend_wal(self, path: Path) -> None:
        """Give the write-ahead log its full size now, so that commits overwrite it in place.

        Syncing a file that grows costs a metadata commit each time (190 instead of 145 µs measured).
        The write lock is held, so nobody else writes the file, and SQLite ignores what has no valid
        checksum. SQLite starts the file over after `WAL_PAGES` pages.
        """
        wal = path.with_name(path.name + "-wal")
        with self._transaction(strict=False) as connection:
            page_size: int = connection.execute("PRAGMA page_size").fetchone()[0]
            size = wal.stat().st_size if wal.exists() else 0
            missing = WAL_PAGES * (page_size + 24) - size
            if size > 0 and missing > 0:
                try:
                    with wal.open("ab") as file:
                        file.write(bytes(missing))
                        file.flush()
                        os.fsync(file.fileno())
                except OSError as error:
                    # Only speed was at stake; a disk that is really full is reported by the first commit.
                    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                        raise

    def _migrate(self) -> bool:
        scripts = migrations("log")
        newest = scripts[-1][0]
        with self._transaction(strict=True):
            found: int = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if found > newest:
                raise StoreVersionError(str(self.path), found, newest)
            for version, sql in scripts:
                if version > found:
                    for statement in statements(sql):
                        self._connection.execute(statement)
            if found < newest:
                self._connection.execute(f"PRAGMA user_version={newest:d}")
        return found == 0

    def _meta(self, key: str, make: Callable[[], str]) -> str:
        with self._transaction(strict=True):
            self._connection.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (key, make()))
            row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0])

    @contextmanager
    def _transaction(self, *, strict: bool) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if self._closed:
                raise StoreClosedError(f"the store {self.path or 'in memory'} is closed")
            self._set_synchronous("FULL" if strict else "NORMAL")
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise self._translated(error) from error
                raise

    def _set_synchronous(self, mode: str) -> None:
        if mode != getattr(self, "_synchronous", ""):
            self._connection.execute(f"PRAGMA synchronous={mode}")
            self._synchronous = mode

    def _translated(self, error: sqlite3.Error) -> StoreError:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return StoreFullError(f"no space left for {self.path}: nothing acknowledged is lost; free space and go on")
        return StoreError(f"log {self.path or 'in memory'}: {error}")

    # --- events ------------------------------------------------------------------------

    def append(self, row: Row, *, durable: bool) -> None:
        """Buffer one event; with ``durable`` the next commit is a FULL one."""
        with self._buffer_lock:
            self._buffer.append(row)
            if durable:
                self._strict = True

    def put_blob(self, digest: str, data: str) -> None:
        """Buffer a large value under its content hash."""
        with self._buffer_lock:
            self._blobs.append((digest, data))

    @property
    def pending(self) -> int:
        """How many events are buffered and not yet committed."""
        return len(self._buffer)

    def commit(self) -> None:
        """Write everything buffered in one transaction.

        When it returns, everything appended before the call is committed, also what another thread
        was writing at that moment. On failure the events go back to the buffer, so that a later
        commit (after space was freed, say) still writes them. Raises `StoreError`.
        """
        with self._lock:
            with self._buffer_lock:
                rows, blobs, strict = self._buffer, self._blobs, self._strict
                if not rows and not blobs:
                    return
                self._buffer, self._blobs, self._strict = [], [], False
            try:
                first = self._write(rows, blobs, strict=strict)
            except BaseException:
                with self._buffer_lock:
                    self._buffer[:0], self._blobs[:0] = rows, blobs
                    self._strict = self._strict or strict
                raise
            if self._listeners and rows:
                stored = [(first + index, *row) for index, row in enumerate(rows)]
                for listener in self._listeners:
                    listener(stored)

    def _write(self, rows: list[Row], blobs: list[tuple[str, str]], *, strict: bool) -> int:
        with self._transaction(strict=strict) as connection:
            if blobs:
                connection.executemany("INSERT OR IGNORE INTO blob VALUES (?, ?)", blobs)
            connection.executemany(_INSERT, rows)
            # AUTOINCREMENT numbers are consecutive within a transaction, so the last tells the first.
            last: int = connection.execute("SELECT last_insert_rowid()").fetchone()[0]
        return last - len(rows) + 1

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with the rows of every commit of this process; returns the unsubscriber."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def read_after(self, seq: int, limit: int) -> list[StoredRow]:
        """Up to ``limit`` committed events with a larger ``seq``, in order."""
        return self._read(
            "SELECT seq, ts, kind, run_id, step_id, attempt, payload FROM event WHERE seq > ? ORDER BY seq LIMIT ?",
            (seq, limit),
        )

    def _read(self, sql: str, params: tuple[Any, ...] = ()) -> list[Any]:
        with self._reader_lock:
            if self._closed:
                raise StoreClosedError(f"the store {self.path or 'in memory'} is closed")
            try:
                return self._reader.execute(sql, params).fetchall()
            except sqlite3.Error as error:
                raise self._translated(error) from error

    def last_seq(self) -> int:
        """The largest ``seq`` ever given, 0 for a new log."""
        rows = self._read("SELECT seq FROM sqlite_sequence WHERE name = 'event'")
        return int(rows[0][0]) if rows else 0

    def start_after(self, seq: int) -> None:
        """Number the first event of a new log after ``seq`` (of the history that already exists)."""
        with self._transaction(strict=True) as connection:
            connection.execute("DELETE FROM sqlite_sequence WHERE name = 'event'")
            connection.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('event', ?)", (seq,))

    def blobs(self) -> list[tuple[str, str]]:
        """All ``(hash, data)`` that are not yet in the history."""
        return self._read("SELECT hash, data FROM blob")

    def trim(self, seq: int, blob_hashes: Iterable[str] = ()) -> None:
        """Forget events up to ``seq`` and these blobs: they are in the history.

        In small transactions, so that no other writer waits for long.
        """
        first = self._read("SELECT min(seq) FROM event")[0][0]
        if first is not None:
            for upper in range(min(first + TRIM_CHUNK, seq), seq + TRIM_CHUNK, TRIM_CHUNK):
                with self._transaction(strict=False) as connection:
                    connection.execute("DELETE FROM event WHERE seq <= ?", (min(upper, seq),))
        with self._transaction(strict=False) as connection:
            connection.executemany("DELETE FROM blob WHERE hash = ?", [(digest,) for digest in blob_hashes])

    # --- small durable values with compare-and-set ---------------------------------------

    def get_state(self, kind: str, key: str) -> StateRecord | None:
        """The value and its version, or None."""
        rows = self._read("SELECT version, value FROM state WHERE kind = ? AND key = ?", (kind, key))
        return StateRecord(rows[0][0], json.loads(rows[0][1])) if rows else None

    def list_state(self, kind: str) -> list[tuple[str, int, dict[str, Any]]]:
        """All ``(key, version, value)`` of a kind, by key."""
        rows = self._read("SELECT key, version, value FROM state WHERE kind = ? ORDER BY key", (kind,))
        return [(key, version, json.loads(value)) for key, version, value in rows]

    def put_state(self, kind: str, key: str, value: dict[str, Any], *, expect_version: int | None = None) -> int:
        """Set a value; with ``expect_version`` (0: must not exist) only if it is unchanged.

        Returns the new version. Raises `StateConflictError` when somebody else was faster.
        """
        with self._transaction(strict=True) as connection:
            row = connection.execute(
                "SELECT version FROM state WHERE kind = ? AND key = ?", (kind, key)
            ).fetchone()
            found = int(row[0]) if row else 0
            if expect_version is not None and found != expect_version:
                raise StateConflictError(kind, key, expect_version, found)
            connection.execute(
                "INSERT INTO state VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET "
                "version = excluded.version, value = excluded.value, updated_us = excluded.updated_us",
                (kind, key, found + 1, json.dumps(value), self._clock.now_us()),
            )
        return found + 1

    # --- leases: see lease.py ---------------------------------------------------------------

    @contextmanager
    def exclusive(self) -> Iterator[sqlite3.Connection]:
        """A short write transaction for the other tables of the log."""
        with self._transaction(strict=False) as connection:
            yield connection

    def read(self, sql: str, params: tuple[Any, ...] = ()) -> list[Any]:
        """Rows of a read-only statement."""
        return self._read(sql, params)

    def close(self) -> None:
        """Commit what is buffered and close; idempotent."""
        with self._lock:
            if self._closed:
                return
            self.commit()
            with self._reader_lock:
                self._closed = True
                self._reader.close()
                self._connection.close()

