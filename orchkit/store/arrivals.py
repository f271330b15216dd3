"""Runs that come from another store: written whole or not at all, and once."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

from orchkit.store.log import Row, SqliteLog

_KIND = "import"
LISTED = f"SELECT key FROM state WHERE kind = '{_KIND}'"  # noqa: S608 - ours
FORGET = f"DELETE FROM state WHERE kind = '{_KIND}' AND key = ?"  # noqa: S608
_VERSION = "SELECT version FROM state WHERE kind = ? AND key = ?"
_BUMP = (
    "INSERT INTO state VALUES (?, ?, 1, '{}', ?) ON CONFLICT (kind, key) DO UPDATE SET "
    "version = version + 1, updated_us = excluded.updated_us"
)


class Arrivals:
    """A compare-and-set over runs: what is written fits what was found before, or is not written."""

    def __init__(self, log: SqliteLog) -> None:
        self._log = log
        self._sweeps = 0

    def versions(self, run_ids: Iterable[str]) -> dict[str, int]:
        """How often something of each of these runs has arrived; to be asked before looking what is there."""
        self._sweeps = self._log.sweeps()
        found = {run_id: self._log.read(_VERSION, (_KIND, run_id)) for run_id in run_ids}
        return {run_id: rows[0][0] if rows else 0 for run_id, rows in found.items()}

    def write(
        self, rows: list[Row], blobs: Iterable[tuple[str, str]], seen: Mapping[str, int], now_us: int
    ) -> bool:
        """Append these events and large values in one transaction, on disk when it returns.

        False, and nothing is written, when since ``seen`` more of one of these runs has arrived, or somebody
        has taken it up here, or a sweep removed something. Raises `StoreError`, and what ``blobs`` raises.
        """

        def decide(connection: sqlite3.Connection) -> tuple[bool, list[Row]]:
            if self._log.sweeps() != self._sweeps:
                return False, []
            for run_id, version in seen.items():
                found = connection.execute(_VERSION, (_KIND, run_id)).fetchone()
                if (found[0] if found else 0) != version or _is_open(connection, run_id):
                    return False, []
            connection.executemany("INSERT OR IGNORE INTO blob VALUES (?, ?)", blobs)
            connection.executemany(_BUMP, [(_KIND, run_id, now_us) for run_id in seen])
            return True, rows

        return self._log.transact(decide, strict=True)


def _is_open(connection: sqlite3.Connection, run_id: str) -> bool:
    return connection.execute("SELECT 1 FROM open_run WHERE run_id = ?", (run_id,)).fetchone() is not None
