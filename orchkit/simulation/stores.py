"""Where simulated runs are recorded, and how they get into another store."""

from __future__ import annotations

from orchkit.store.holdings import Renewer
from orchkit.store.openruns import OpenRuns
from orchkit.store.store import Store
from orchkit.testing.clock import FakeClock

COPIED = 5_000
"""Events that are copied at a time into another store."""


class SimulatedStore(Store):
    """A store in memory that has no threads: nobody else sees it, and there is nothing to do meanwhile."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self._open_runs = OpenRuns(self.log, clock, renewer=_NoRenewer())

    def ingest_soon(self) -> None:
        """Every read ingests what was written before."""


class _NoRenewer(Renewer):
    def wake(self) -> None:
        """A lease that nobody sees need not be renewed."""


def copy(source: Store, target: Store) -> int:
    """Copy the whole record of one store into another, times as they are; returns the number of events."""
    for digest, data in source.query("SELECT hash, data FROM blob"):
        target.put_blob(data, digest)
    seq = copied = 0
    while rows := source.query(_PAGE, [seq, COPIED]):
        seq = rows[-1][0]
        with target.together():
            for row in rows:
                target.log.append(row[1:], durable=True)
        target.commit()
        copied += len(rows)
    target.ingest_soon()
    return copied


_PAGE = """
SELECT seq, ts, kind, run_id, step_id, attempt, payload FROM event
WHERE seq > ? AND run_id IS NOT NULL ORDER BY seq LIMIT ?
"""
