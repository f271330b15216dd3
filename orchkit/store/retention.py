"""What leaves the record: runs whose time is over, with everything about them.

====================== =========================================================================
goes                   with
====================== =========================================================================
a run                  its time: with its sub-workflows, steps, attempts, decisions, evidence, events
an idempotency key     its time; what is on record of it, with the run that it was claimed for
a cached output        the run in which it was computed
a large value          the last event that names it
an event               its run; at once when the beginning of that is not on record
sessions and audits    stay, except for what was recorded within a run: they are of no run
====================== =========================================================================
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from orchkit.clock import Clock
from orchkit.errors import UnknownNameError
from orchkit.model import event as ev
from orchkit.store import arrivals, codec
from orchkit.store.claims import Claims
from orchkit.store.compaction import compact
from orchkit.store.history import History
from orchkit.store.ingest import Ingest, roll_back
from orchkit.store.lease import Lease
from orchkit.store.log import COUNT_SWEEP, Row, SqliteLog
from orchkit.store.openruns import OpenRuns
from orchkit.store.process import this_process
from orchkit.store.schema import migrations, script, statements
from orchkit.store.sweepreport import Asked, SweepReport

if TYPE_CHECKING:
    import duckdb

ALIVE, LATE, NEEDED = "alive", "still being written", "needed by an idempotency key"
_INPUTS = """
CREATE OR REPLACE TEMP TABLE asked AS
SELECT $cutoff_us::BIGINT AS cutoff_us, $newest::BIGINT AS newest, $runs::BOOLEAN AS runs,
       $checks_us::BIGINT AS checks_us;
CREATE OR REPLACE TEMP TABLE wished AS SELECT unnest($wished::VARCHAR[]) AS run_id;
CREATE OR REPLACE TEMP TABLE held AS
SELECT unnest($held::VARCHAR[]) AS run_id, unnest($whys::VARCHAR[]) AS why;
CREATE OR REPLACE TEMP TABLE late AS SELECT unnest($late::VARCHAR[]) AS payload;
"""
_COUNTS = """
SELECT count(*) FILTER (on_top) AS runs, count(*) FILTER (NOT on_top) AS sub_runs,
       (SELECT count(*) FROM doomed_event) AS events,
       (SELECT count(*) FROM evidence WHERE seq IN (SELECT seq FROM doomed_event)) AS evidence,
       (SELECT count(*) FROM doomed_blob) AS large_values,
       (SELECT count(*) FROM health_check WHERE seq IN (SELECT seq FROM doomed_event)) AS checks
FROM doomed
"""


class _TakenUpError(Exception):
    """A run that was about to be removed goes on."""


class _Found(NamedTuple):
    """What is to go, beside what is in the temporary tables."""

    report: SweepReport
    cut_off: list[str]
    """Runs that the log still lists as open."""
    sources: list[str]
    """Runs that cached outputs come from."""
    arrivals: list[str]
    """Runs that came from another store."""


class Parts(NamedTuple):
    """Of a store: what a sweep works on."""

    log: SqliteLog
    history: History
    ingest: Ingest
    lease: Lease | None
    claims: Claims
    open_runs: OpenRuns
    clock: Clock


def sweep(parts: Parts, asked: Asked, *, dry_run: bool) -> SweepReport:
    """Remove what is due, give the space back, and say what was done: see `Store.sweep`."""
    before = _bytes(parts)
    keys = parts.claims.expired() if dry_run else parts.claims.remove_expired()
    if not dry_run:
        parts.log.begin_sweep()
    parts.log.commit()
    one = _Sweep(parts, asked, keys)
    why_not = None
    with parts.ingest.complete() as (connection, _):
        found = one.run(connection, dry_run=dry_run)
        if not dry_run and parts.lease is not None:
            why_not = compact(parts.history, parts.lease, connection)
    if dry_run:
        return replace(found.report, dry_run=True, bytes_before=before)
    parts.open_runs.forget(found.cut_off)
    parts.log.shrink()
    return replace(found.report, bytes_before=before, bytes_after=_bytes(parts), not_compacted=why_not)


def _bytes(parts: Parts) -> int | None:
    """What both files take, with what belongs to them; None in memory."""
    history, log = parts.history.path, parts.log.path
    if history is None or log is None:
        return None
    files = (history, history.with_name(f"{history.name}.wal"), log, log.with_name(f"{log.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


class _Sweep:
    """One sweep. Made before everything in the log is moved to the history."""

    def __init__(self, parts: Parts, asked: Asked, keys: int) -> None:
        self._parts, self._asked, self._keys = parts, asked, keys
        self._now_us = parts.clock.now_us()
        # The runs of these are on record as soon as the log is ingested, unless their record was removed.
        open_runs = parts.open_runs
        self._cut_off = [run.run_id for run in open_runs.all() if open_runs.is_cut_off(run)]
        self._sources = [row[0] for row in parts.log.read("SELECT DISTINCT run_id FROM cache")]
        self._arrivals = [row[0] for row in parts.log.read(arrivals.LISTED)]

    def run(self, connection: duckdb.DuckDBPyConnection, *, dry_run: bool) -> _Found:
        """Remove everything in one transaction of the history; in a trial, only look."""
        while True:
            connection.execute("BEGIN")
            try:
                self._look(connection)
                found = self._found(connection)
                if not dry_run:
                    self._remove(connection)
                    tell = partial(self._tell, connection, found)
                    self._parts.log.transact(tell, strict=True)
                connection.execute("ROLLBACK" if dry_run else "COMMIT")
            except _TakenUpError:
                roll_back(connection)
            except BaseException:
                roll_back(connection)
                raise
            else:
                return found

    def _look(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Put down in temporary tables what is to go."""
        asked, late = self._asked, self._late("run_id, payload")
        held = [
            *((run_id, ALIVE) for run_id in self._parts.open_runs.alive()),
            *((run_id, LATE) for run_id in {row[0] for row in late if row[0] is not None}),
            *((run_id, NEEDED) for run_id in self._parts.claims.runs()),
        ]
        inputs: dict[str, Any] = {
            "cutoff_us": None if asked.age_us is None else self._now_us - asked.age_us,
            "newest": asked.newest,
            "runs": asked.runs,
            "checks_us": None if asked.checks_us is None else self._now_us - asked.checks_us,
            "wished": asked.run_ids,
            "held": [run_id for run_id, _ in held],
            "whys": [why for _, why in held],
            "late": [payload for _, payload in late],
        }
        for statement in statements(_INPUTS):
            names = re.findall(r"\$(\w+)", statement)
            connection.execute(statement, {name: inputs[name] for name in names})
        connection.execute(script("sweep.sql"))

    def _late(self, columns: str) -> list[tuple[Any, ...]]:
        """Of the events that came after everything was moved to the history."""
        query = f"SELECT {columns} FROM event WHERE seq > ?"  # noqa: S608 - names of ours
        return self._parts.log.read(query, (self._parts.ingest.watermark,))

    def _found(self, connection: duckdb.DuckDBPyConnection) -> _Found:
        unknown = connection.execute(
            "SELECT run_id FROM wished WHERE run_id NOT IN (SELECT run_id FROM member)"
        ).fetchone()
        if unknown is not None:
            raise UnknownNameError("run", unknown[0], self._known(connection))
        result = connection.execute(_COUNTS)
        names = [column[0] for column in result.description or ()]
        counts = dict(zip(names, result.fetchone() or (), strict=True))
        kept = dict(connection.execute("SELECT run_id, why FROM spared ORDER BY place").fetchall())
        sources = _gone(connection, self._sources)
        entries = sum(self._entries(run_id) for run_id in sources)
        report = SweepReport(**counts, keys=self._keys, cache_entries=entries, kept=kept)
        return _Found(report, _gone(connection, self._cut_off), sources, _gone(connection, self._arrivals))

    def _known(self, connection: duckdb.DuckDBPyConnection) -> list[str]:
        rows = connection.execute("SELECT run_id FROM member ORDER BY seq DESC LIMIT 1000").fetchall()
        return [run_id for (run_id,) in rows]

    def _entries(self, run_id: str) -> int:
        rows = self._parts.log.read("SELECT count(*) FROM cache WHERE run_id = ?", (run_id,))
        return int(rows[0][0])

    def _remove(self, connection: duckdb.DuckDBPyConnection) -> None:
        for table in numbered_tables():
            connection.execute(f"DELETE FROM {table} WHERE seq IN (SELECT seq FROM doomed_event)")  # noqa: S608
        connection.execute("DELETE FROM blob WHERE hash IN (SELECT hash FROM doomed_blob)")
        connection.execute(
            "DELETE FROM ingest WHERE (log_id, seq) NOT IN "
            "(SELECT (log_id, max(seq)) FROM ingest GROUP BY log_id)"
        )

    def _tell(
        self, connection: duckdb.DuckDBPyConnection, found: _Found, log: sqlite3.Connection
    ) -> tuple[None, list[Row]]:
        """In a transaction of the log, just before the history forgets: the last look, and the record of it.

        If the process is killed in between, the record tells of a sweep that the next one has to repeat: none
        is ever kept from it.
        """
        busy = self._parts.open_runs.alive() | {run_id for (run_id,) in self._late("run_id")}
        if _among(connection, "doomed", busy):
            raise _TakenUpError
        log.execute(COUNT_SWEEP)
        log.executemany("DELETE FROM cache WHERE run_id = ?", [(run_id,) for run_id in found.sources])
        log.executemany(arrivals.FORGET, [(run_id,) for run_id in found.arrivals])
        if found.report.empty:
            return None, []
        payload = codec.dumps({**self._facts(), **found.report.counts})
        return None, [(self._now_us, ev.STORE_SWEPT, None, None, None, payload)]

    def _facts(self) -> dict[str, Any]:
        """What was asked, and by which process."""
        asked, process = self._asked, this_process()
        return {
            "older_than_s": None if asked.age_us is None else asked.age_us / 1e6,
            "keep": asked.newest if asked.newest is not None else asked.run_ids,
            "checks_older_than_s": None if asked.checks_us is None else asked.checks_us / 1e6,
            "pid": process.pid,
            "host": process.host,
        }


def numbered_tables() -> list[str]:
    """The tables of the history whose rows are made of events, and have their numbers."""
    scripts = "\n".join(sql for _, sql in migrations("history"))
    return re.findall(r"CREATE TABLE (\w+) \(\s*seq BIGINT\b", scripts)


def _gone(connection: duckdb.DuckDBPyConnection, run_ids: Collection[str]) -> list[str]:
    """Those of some runs that are about to go, or have gone before."""
    known = _among(connection, "member", run_ids)
    return [*_among(connection, "doomed", run_ids), *(run_id for run_id in run_ids if run_id not in known)]


def _among(connection: duckdb.DuckDBPyConnection, table: str, run_ids: Collection[str]) -> set[str]:
    """Those of some runs that are in a temporary table."""
    query = f"SELECT run_id FROM {table} WHERE run_id IN (SELECT unnest(?::VARCHAR[]))"  # noqa: S608 - ours
    return {run_id for (run_id,) in connection.execute(query, [list(run_ids)]).fetchall()}
