"""From the log to the history, in batches and exactly once."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from orchkit.store.history import History
from orchkit.store.log import SqliteLog, StoredRow
from orchkit.store.schema import script, statements

if TYPE_CHECKING:
    import duckdb

# Each batch costs some milliseconds of planning its statements, whatever is in it; beyond this many rows
# that no longer counts. Rows are large sometimes, so the bytes of a batch are bounded, too.
FETCH_ROWS = 30_000
FETCH_BYTES = 16_000_000
# Transactions are large enough that DuckDB writes row groups straight to the file instead of through
# its write-ahead log (that starts at 122,880 rows).
TRANSACTION_ROWS = 150_000
NO_ATTEMPT = -1


class Ingest:
    """Moves committed events from the log into the history's typed tables.

    The rows and the new watermark are one DuckDB transaction, and the log forgets events only after
    it: a crash at any point repeats nothing and loses nothing.
    """

    def __init__(self, log: SqliteLog, history: History) -> None:
        self._log, self._history = log, history
        self._lock = threading.RLock()
        self._statements = [(sql, _kind_of(sql)) for sql in statements(script("ingest.sql"))]
        self._stage, self._stage_checked = statements(script("stage.sql"))
        self._watermark: int | None = None
        self._fetch_rows = 1_000

    def run(self) -> int:
        """Ingest everything that is committed; returns the number of events."""
        if not self._has_news():
            return 0
        with self.complete() as (_, count):
            return count

    def run_unless_busy(self) -> bool:
        """The same, unless another thread is at it, or at work in `complete`; whether it was done."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self.run()
        finally:
            self._lock.release()
        return True

    @contextmanager
    def complete(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, int]]:
        """The history with everything in it that is committed, and how many events came now.

        Nobody ingests until it is given back.
        """
        with self._lock, self._history.borrow() as connection:
            yield connection, self._everything(connection)

    @property
    def watermark(self) -> int:
        """Within `complete`: up to where events are in the history."""
        return self._watermark or 0

    def _everything(self, connection: duckdb.DuckDBPyConnection) -> int:
        blobs: list[str] = []
        total, more = 0, True
        while more:
            count, more = self._transaction(connection, blobs)
            total += count
        if self._history.in_place:
            self._log.trim(self.watermark, blobs)
        else:
            self._watermark = None  # the file was deleted meanwhile; the log still has all of it
        return total

    def _has_news(self) -> bool:
        """Whether the log holds events beyond what is known to be ingested (cheap: SQLite only)."""
        return bool(self._log.read_after(self.watermark, 1))

    def _transaction(self, connection: duckdb.DuckDBPyConnection, blobs: list[str]) -> tuple[int, bool]:
        """One transaction: how many events it moved, and whether there are more.

        Adds to ``blobs`` the hashes of the large values that are in the history then.
        """
        import duckdb

        try:
            return self._move(connection, blobs, self._stage)
        except (duckdb.InvalidInputException, duckdb.ConversionException):
            # An event that is not what it should be must not hold up all the others.
            return self._move(connection, blobs, self._stage_checked)

    def _move(self, connection: duckdb.DuckDBPyConnection, blobs: list[str], stage: str) -> tuple[int, bool]:
        first = seq = self._read_watermark(connection)
        count, more = 0, True
        moved: list[str] = []
        connection.execute("BEGIN")
        try:
            while count < TRANSACTION_ROWS and more:
                rows = self._log.read_after(seq, self._fetch_rows)
                if rows:
                    self._insert(connection, rows, stage)
                    count += len(rows)
                    seq = rows[-1][0]
                more = bool(rows)
            # After the events, which are committed together with the values that they name or later.
            for digest, data in self._log.blobs():
                _insert_blob(connection, digest, data)
                moved.append(digest)
            if seq > first:
                connection.execute("INSERT INTO ingest VALUES (?, ?)", [self._log.log_id, seq])
                self._log.harden(seq)
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise
        self._watermark = seq
        blobs.extend(moved)
        return count, more

    def _read_watermark(self, connection: duckdb.DuckDBPyConnection) -> int:
        # Another process may have ingested since we last looked, so only the file itself can tell.
        row = connection.execute(
            "SELECT coalesce(max(seq), 0) FROM ingest WHERE log_id = ?", [self._log.log_id]
        ).fetchone()
        return int(row[0]) if row else 0

    def _insert(self, connection: duckdb.DuckDBPyConnection, rows: list[StoredRow], stage: str) -> None:
        columns = tuple(zip(*rows, strict=True))
        connection.register("fetched", _arrays(columns))
        connection.execute(stage)
        kinds = set(columns[2])
        for statement, wanted in self._statements:
            if wanted is None or wanted in kinds:
                connection.execute(statement)
        row_bytes = sum(map(len, columns[6])) // len(rows) + 100
        self._fetch_rows = max(1, min(FETCH_ROWS, FETCH_BYTES // row_bytes))


def _arrays(columns: tuple[tuple[Any, ...], ...]) -> dict[str, Any]:
    import numpy as np

    seq, ts, kind, run_id, step_id, attempt, payload = columns
    return {
        "seq": np.array(seq, dtype=np.int64),
        "ts": np.array(ts, dtype=np.int64),
        "kind": np.array(kind, dtype=object),
        "run_id": np.array(run_id, dtype=object),
        "step_id": np.array(step_id, dtype=object),
        "attempt": np.array([NO_ATTEMPT if number is None else number for number in attempt], dtype=np.int64),
        "payload": np.array(payload, dtype=object),
    }


def _kind_of(statement: str) -> str | None:
    """The one event kind that a statement of ``ingest.sql`` is about; None: all."""
    found = re.search(r"WHERE kind = '([^']+)'", statement)
    return found[1] if found else None


def _insert_blob(connection: duckdb.DuckDBPyConnection, digest: str, data: str) -> None:
    known = connection.execute("SELECT 1 FROM blob WHERE hash = ? LIMIT 1", [digest]).fetchone()
    if known is None:
        connection.execute("INSERT INTO blob VALUES (?, ?)", [digest, data])


def roll_back(connection: duckdb.DuckDBPyConnection) -> None:
    """Leave the transaction, if there is one left."""
    import duckdb

    # After a COMMIT that failed, and one that Ctrl-C interrupted, there is no transaction left.
    with suppress(duckdb.TransactionException):
        connection.execute("ROLLBACK")
