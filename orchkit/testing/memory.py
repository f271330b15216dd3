"""A store in memory that a test can ask what was written, without SQL."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from orchkit.clock import Clock
from orchkit.errors import StoreClosedError
from orchkit.model.event import Event
from orchkit.store.log import SqliteLog, StoredRow
from orchkit.store.store import Store

_EVENTS = "SELECT seq, ts, kind, run_id, step_id, attempt, payload FROM event ORDER BY seq"
_VALUES = "SELECT hash, data FROM blob"


class _KeepingLog(SqliteLog):
    """Forgets nothing, and can be read when it is closed."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._kept: tuple[list[StoredRow], dict[str, str]] | None = None
        super().__init__(*args, **options)

    def rows(self) -> list[StoredRow]:
        """All committed events in order."""
        return self.read(_EVENTS) if self._kept is None else self._kept[0]

    def value(self, digest: str) -> str | None:
        """A large value that is committed."""
        if self._kept is not None:
            return self._kept[1].get(digest)
        rows = self.read(f"{_VALUES} WHERE hash = ?", (digest,))
        return rows[0][1] if rows else None

    def trim(self, seq: int, blob_hashes: Sequence[str] = ()) -> None:
        """Keep them: that the history has them too costs only memory."""

    def close(self) -> None:
        """Commit, keep a copy and close; idempotent."""
        try:
            with suppress(StoreClosedError):  # it is closed already
                self.commit()
                self._kept = self.rows(), dict(self.read(_VALUES))
        finally:
            super().close()


class MemoryStore(Store):
    """A `Store` in memory for tests; give it to ``ok.Kit``, or to an `Orchestrator`.

    >>> import orchkit as ok
    >>> store = MemoryStore()
    >>> with ok.Kit(store) as kit:
    ...     _ = kit.registry.methods.register_method(lambda n: n + 1, name="add_one")
    ...     flow = kit.workflow("sum").add_step("add_one", {"n": 1}).build()
    ...     result = kit.run(flow)
    >>> [event.payload["output"] for event in store.log_events("step.finished")]
    [2]
    >>> store.kinds(result.run_id)[:3]
    ['run.started', 'step.scheduled', 'decision']

    `log_events` and `kinds` read the log itself: they load no DuckDB, and answer also when the store is
    closed. Nothing is moved to the history in the background, only when somebody asks with SQL or for a
    run's tables: those work as ever. The log forgets nothing, so this is for tests only.

    Args:
        clock: Time; by default the real one. `FakeClock` makes the times of events predictable.
    """

    log: _KeepingLog

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock, make_log=_KeepingLog)

    def log_events(self, kind: str | None = None, run_id: str | None = None) -> list[Event]:
        """The committed events so far in order, payloads parsed and large values put back.

        Args:
            kind: Only those of this kind, such as ``"attempt.finished"``: the constants of
                `orchkit.model.event`.
            run_id: Only those of this run.
        """
        return [
            Event(seq, ts, what, run, step, attempt, self._payload(text))
            for seq, ts, what, run, step, attempt, text in self.log.rows()
            if kind in (None, what) and run_id in (None, run)
        ]

    def kinds(self, run_id: str | None = None) -> list[str]:
        """The kinds of the committed events so far in order, of all or of one run."""
        return [row[2] for row in self.log.rows() if run_id in (None, row[3])]

    def blob(self, digest: str) -> str:
        """The text of a large value. Raises `StoreError` when there is none of this hash."""
        kept = self.log.value(digest)
        return super().blob(digest) if kept is None else kept

    def ingest_soon(self) -> None:
        """Nothing: a test that asks for no tables need not pay for the history."""
