"""A store in memory that a test can ask what was written, without SQL."""

from __future__ import annotations

from orchkit.clock import Clock
from orchkit.model.event import Event
from orchkit.store.log import StoredRow
from orchkit.store.store import Store


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

    `log_events` and `kinds` cost no query and load no DuckDB; they also answer when the store is closed.
    Nothing is moved to the history in the background, only when somebody asks with SQL or for a run's
    tables: those work as ever. All that was ever written is held in memory twice, so it is for tests only.

    Args:
        clock: Time; by default the real one. `FakeClock` makes the times of events predictable.
    """

    def __init__(self, *, clock: Clock | None = None) -> None:
        super().__init__(clock=clock)
        self._rows: list[StoredRow] = []
        self._values: dict[str, str] = {}
        self.subscribe(self._rows.extend)

    def log_events(self, kind: str | None = None, run_id: str | None = None) -> list[Event]:
        """The committed events so far in order, payloads parsed and large values put back.

        Args:
            kind: Only those of this kind, such as ``"attempt.finished"``: the constants of
                `orchkit.model.event`.
            run_id: Only those of this run.
        """
        return [
            Event(seq, ts, what, run, step, attempt, self._payload(text))
            for seq, ts, what, run, step, attempt, text in tuple(self._rows)
            if kind in (None, what) and run_id in (None, run)
        ]

    def kinds(self, run_id: str | None = None) -> list[str]:
        """The kinds of the committed events so far in order, of all or of one run."""
        return [row[2] for row in tuple(self._rows) if run_id in (None, row[3])]

    def put_blob(self, text: str) -> str:
        """Keep a large JSON text under its content hash, once; returns the hash."""
        digest = super().put_blob(text)
        self._values[digest] = text
        return digest

    def blob(self, digest: str) -> str:
        """The text of a large value. Raises `StoreError` when there is none of this hash."""
        kept = self._values.get(digest)
        return super().blob(digest) if kept is None else kept

    def ingest_soon(self) -> None:
        """Nothing: a test that asks for no tables need not pay for the history."""
