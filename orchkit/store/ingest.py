"""From the log to the history, in batches and exactly once."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from orchkit.store.history import History
from orchkit.store.log import SqliteLog, StoredRow
from orchkit.store.schema import script, statements

if TYPE_CHECKING:
    import duckdb

# Rows are fetched in pieces small enough to stay in the processor's caches (2.5 -> 1.1 µs per row),
# and committed in transactions large enough that DuckDB writes row groups straight to the file
# instead of through its write-ahead log (that starts at 122,880 rows).
FETCH_ROWS = 10_000
TRANSACTION_ROWS = 150_000


class Ingest:
    """Moves committed events from the log into the history's typed tables.

    The rows and the new watermark are one DuckDB transaction, and the log forgets events only after
    it: a crash at any point repeats nothing and loses nothing.
    """

    def __init__(self, log: SqliteLog, history: History) -> None:
        self._log, self._history = log, history
        self._lock = threading.Lock()
        self._statements = [(sql, _kind_of(sql)) for sql in statements(script("ingest.sql"))]
        self._watermark: int | None = None

    def run(self) -> int:
        """Ingest everything that is committed; returns the number of events."""
        if not self._has_news():
            return 0
        with self._lock, self._history.borrow() as connection:
            total = 0
            while count := self._transaction(connection):
                total += count
        return total

    def _has_news(self) -> bool:
        """Whether the log holds events beyond what is known to be ingested (cheap: SQLite only)."""
        return bool(self._log.read_after(self._watermark or 0, 1))

    def _transaction(self, connection: duckdb.DuckDBPyConnection) -> int:
        watermark = self._read_watermark(connection)
        blobs = self._log.blobs()
        count, seq = 0, watermark
        connection.execute("BEGIN")
        try:
            while count < TRANSACTION_ROWS:
                rows = self._log.read_after(seq, FETCH_ROWS)
                if not rows:
                    break
                self._insert(connection, rows)
                count += len(rows)
                seq = rows[-1][0]
            if count:
                _insert_blobs(connection, blobs)
                connection.execute("INSERT INTO ingest VALUES (?, ?)", [self._log.log_id, seq])
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        self._watermark = seq
        if count or seq > 0:
            self._log.trim(seq, [digest for digest, _ in blobs])
        return count

    def _read_watermark(self, connection: duckdb.DuckDBPyConnection) -> int:
        # Another process may have ingested since we last looked, so only the file itself can tell.
        row = connection.execute(
            "SELECT coalesce(max(seq), 0) FROM ingest WHERE log_id = ?", [self._log.log_id]
        ).fetchone()
        return int(row[0]) if row else 0

    def _insert(self, connection: duckdb.DuckDBPyConnection, rows: list[StoredRow]) -> None:
        import numpy as np

        seq, ts, kind, run_id, step_id, attempt, payload = zip(*rows, strict=True)
        batch = {
            "seq": np.array(seq, dtype=np.int64),
            "ts": np.array(ts, dtype=np.int64),
            "kind": np.array(kind, dtype=object),
            "run_id": np.array(run_id, dtype=object),
            "step_id": np.array(step_id, dtype=object),
            "attempt": np.ma.masked_array(
                [0 if number is None else number for number in attempt],
                mask=[number is None for number in attempt],
                dtype=np.int32,
            ),
            "payload": np.array(payload, dtype=object),
        }
        connection.register("batch", batch)
        kinds = set(kind)
        for statement, wanted in self._statements:
            if wanted is None or wanted in kinds:
                connection.execute(statement)


def _kind_of(statement: str) -> str | None:
    """The one event kind that a statement of ``ingest.sql`` is about; None: all."""
    found = re.search(r"WHERE kind = '([^']+)'", statement)
    return found[1] if found else None


def _insert_blobs(connection: duckdb.DuckDBPyConnection, blobs: list[tuple[str, str]]) -> None:
    for digest, data in blobs:
        known = connection.execute("SELECT 1 FROM blob WHERE hash = ? LIMIT 1", [digest]).fetchone()
        if known is None:
            connection.execute("INSERT INTO blob VALUES (?, ?)", [digest, data])
