"""Where the log and the history do not meet: what is missing is said, and no number is given twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchkit.store.log import SqliteLog

if TYPE_CHECKING:
    import duckdb

FETCH_ROWS = 30_000
_SAME = """
SELECT min(l.seq) FROM leftover l LEFT JOIN (SELECT seq, ts, kind FROM event WHERE seq BETWEEN ? AND ?) e
    ON e.seq = l.seq AND e.ts = l.ts AND e.kind = l.kind
WHERE e.seq IS NULL
"""


def reconcile(connection: duckdb.DuckDBPyConnection, log: SqliteLog) -> str | None:
    """Make a history that was just opened and its log fit together; what is missing, in words.

    Events leave the log when they are in the history. When the history has fewer than that (it was deleted,
    or its last changes could not be read), they are gone: the gap is closed and told. When the log is older
    than the history (it was put back from a copy, or its own last changes could not be read), it gives
    numbers that are in use, which the ingest would take for known: its events get new ones, in their order.
    """
    ((known,),) = connection.execute("SELECT coalesce(max(seq), 0) FROM ingest").fetchall()
    first = log.read("SELECT min(seq) FROM event")[0][0]
    if first is not None and first <= known:
        doubtful = _first_other(connection, log, known)
        if doubtful is not None:
            _renumber(log, doubtful, known)
        return None
    last = log.last_seq()
    if last < known:
        _go_on_after(log, known)
        return None
    forgotten = last if first is None else first - 1
    if forgotten == known:
        return None
    connection.execute("INSERT INTO ingest VALUES (?, ?)", [log.log_id, forgotten])
    count = forgotten - known
    missing = "1 event is missing" if count == 1 else f"{count:,} events are missing"
    return f"{missing} that had been moved into it, seq {known + 1} to {forgotten}"


def _first_other(connection: duckdb.DuckDBPyConnection, log: SqliteLog, known: int) -> int | None:
    """The first event of the log whose number stands for another one in the history, or for none."""
    import numpy as np

    after = 0
    while rows := [row for row in log.read_after(after, FETCH_ROWS) if row[0] <= known]:
        seq, ts, kind = tuple(zip(*rows, strict=True))[:3]
        arrays = {"seq": np.array(seq), "ts": np.array(ts), "kind": np.array(kind, dtype=object)}
        connection.register("leftover", arrays)
        ((found,),) = connection.execute(_SAME, [rows[0][0], rows[-1][0]]).fetchall()
        connection.unregister("leftover")
        if found is not None:
            return int(found)
        after = rows[-1][0]
    return None


def _renumber(log: SqliteLog, first: int, after: int) -> None:
    """Move the events from ``first`` on behind ``after``."""
    with log.exclusive() as connection:
        # By way of negative numbers: SQLite checks after each row that no number is there twice.
        connection.execute("UPDATE event SET seq = -(seq + ?) WHERE seq >= ?", (after + 1 - first, first))
        connection.execute("UPDATE event SET seq = -seq WHERE seq < 0")
        connection.execute(
            "UPDATE sqlite_sequence SET seq = (SELECT max(seq) FROM event) WHERE name = 'event'"
        )


def _go_on_after(log: SqliteLog, seq: int) -> None:
    with log.exclusive() as connection:
        connection.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'event'", (seq,))
