"""What a log that was deleted while it was open still holds, brought into a new one."""

from __future__ import annotations

import sqlite3

_EVENTS = "SELECT ts, kind, run_id, step_id, attempt, payload FROM event WHERE seq > ? ORDER BY seq"
_INSERT = "INSERT INTO event (ts, kind, run_id, step_id, attempt, payload) VALUES (?, ?, ?, ?, ?, ?)"
_TABLES = """
SELECT name FROM sqlite_master WHERE type = 'table'
AND name NOT LIKE 'sqlite_%' AND name NOT IN ('meta', 'lease', 'event')
"""


def bring_over(old: sqlite3.Connection, new: sqlite3.Connection, after: int) -> int:
    """Move all events behind ``after``, and what the other tables hold; returns the number of events.

    Both connections are in a write transaction. Events get new numbers, in their order. Where both logs know
    a key, the new one is right: somebody works with it already.
    """
    count = new.executemany(_INSERT, old.execute(_EVENTS, (after,))).rowcount
    for (table,) in old.execute(_TABLES).fetchall():
        rows = old.execute(f"SELECT * FROM {table}")  # noqa: S608 - names of ours
        names = [column[0] for column in rows.description]
        places = ", ".join("?" * len(names))
        new.executemany(f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({places})", rows)  # noqa: S608
        old.execute(f"DELETE FROM {table}")  # noqa: S608
    old.execute("DELETE FROM event")  # so that nobody else who still has it open brings them over again
    return max(count, 0)
