"""Recorded outputs that later calls with the same code and the same input use instead of computing them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from orchkit.clock import Clock
from orchkit.errors import UnknownNameError
from orchkit.model.display import Displayable
from orchkit.store import codec
from orchkit.store.log import Row, SqliteLog

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = "key, method, code_hash, input_hash, run_id, step_id, output, created_us, used_us, hits"
_READ = f"SELECT {_COLUMNS} FROM cache"  # noqa: S608 - only names of ours
_WRITE = f"INSERT OR REPLACE INTO cache ({_COLUMNS}) VALUES ({', '.join('?' * 10)})"  # noqa: S608
_SHOWN = 300
"""Characters of an input in an explanation."""

Query = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]


class CacheEntry(NamedTuple):
    """One recorded output."""

    key: str
    method: str
    code_hash: str
    input_hash: str
    run_id: str
    """Where it was computed; with the step."""
    step_id: str
    output: str | None
    """JSON of the value and its type notes; None when it is large: then it is in the record of the step."""
    created_us: int
    used_us: int | None = None
    hits: int = 0


def cache_key(code_hash: str, input_hash: str) -> str:
    """What an output is found by."""
    return codec.content_hash(f"{code_hash}\n{input_hash}")


class Cache(Displayable):
    """What methods with ``cache="inputs"`` have recorded: listed, explained, forgotten. Thread-safe."""

    def __init__(self, log: SqliteLog, clock: Clock, query: Query) -> None:
        self._log, self._clock, self._query = log, clock, query

    # --- what the engine uses ---------------------------------------------------------------

    def find(self, key: str) -> CacheEntry | None:
        """The entry of a key, committed; a single look-up."""
        rows = self._log.read(f"{_READ} WHERE key = ?", (key,))
        return CacheEntry._make(rows[0]) if rows else None

    def put(self, entry: CacheEntry) -> None:
        """Keep an output; written with the events that are appended next."""
        self._change(_WRITE, entry)

    def hit(self, key: str) -> None:
        """Note that an output was used; written with the events that are appended next."""
        now_us = self._clock.now_us()
        self._change("UPDATE cache SET hits = hits + 1, used_us = ? WHERE key = ?", (now_us, key))

    def _change(self, sql: str, params: tuple[Any, ...]) -> None:
        def change(connection: sqlite3.Connection) -> list[Row]:
            connection.execute(sql, params)
            return []

        self._log.attach(change)

    def output_of(self, entry: CacheEntry) -> tuple[Any] | None:
        """The output in a one-tuple; None when the record that has it is gone: the entry is dropped then.

        A large one is read from the history, which takes some milliseconds.
        """
        if entry.output is not None:
            recorded = codec.loads(entry.output)
            return (codec.unpack(recorded["value"], recorded["types"]),)
        rows = self._query(_RECORDED, [entry.run_id, entry.step_id])
        if not rows:
            self.forget(key=entry.key)
            return None
        payload = codec.loads(rows[0][0])
        return (codec.unpack(self._whole(payload.get("output")), payload.get("types")),)

    def _whole(self, value: Any) -> Any:
        if not (isinstance(value, dict) and value.keys() == {"$blob", "bytes"}):
            return value
        return codec.loads(
            self._query("SELECT data FROM blob WHERE hash = ? LIMIT 1", [value["$blob"]])[0][0]
        )

    # --- what people use --------------------------------------------------------------------

    def entries(self, method: str | None = None) -> list[CacheEntry]:
        """All of them, or those of a method, the newest first."""
        rows = self._log.read(
            f"{_READ} WHERE ? IS NULL OR method = ? ORDER BY created_us DESC, key", (method, method)
        )
        return [CacheEntry._make(row) for row in rows]

    def frame(self) -> pd.DataFrame:
        """One row per output, the newest first.

        Columns: ``method``, ``run_id`` and ``step_id`` (where it was computed), ``created_at``,
        ``last_used``, ``hits``, ``bytes`` (missing for large ones), ``key``.
        """
        import pandas as pd

        columns = ["method", "run_id", "step_id", "created_at", "last_used", "hits", "bytes", "key"]
        rows = [
            (
                e.method,
                e.run_id,
                e.step_id,
                e.created_us,
                e.used_us,
                e.hits,
                e.output and len(e.output),
                e.key,
            )
            for e in self.entries()
        ]
        frame = pd.DataFrame(rows, columns=columns).astype({"hits": "int64", "bytes": "Int64"})
        for name in ("created_at", "last_used"):
            frame[name] = pd.to_datetime(frame[name].astype("Int64"), unit="us", utc=True)
        return frame

    def explain(self, what: str) -> str:
        """In words: the outputs of a method, or the one of a key (or the begin of one).

        Raises `UnknownNameError` when there is none.
        """
        found = self.entries(what) or [entry for entry in self.entries() if entry.key.startswith(what)]
        if not found:
            raise UnknownNameError("cached method or key", what, {entry.method for entry in self.entries()})
        return "\n".join(map(self._words, found))

    def _words(self, entry: CacheEntry) -> str:
        rows = self._query(_SCHEDULED, [entry.run_id, entry.step_id])
        given = "its input is not on record any more"
        if rows:
            text = codec.dumps(self._whole(codec.loads(rows[0][0]).get("input")))
            given = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"
        times = {0: "not used since", 1: "used once since"}.get(entry.hits, f"used {entry.hits} times since")
        return (
            f"{entry.method} with {given}: computed by step {entry.step_id} of {entry.run_id} "
            f"with the code {entry.code_hash[:12]}, {times}."
        )

    def forget(
        self, method: str | None = None, *, key: str | None = None, older_than: timedelta | None = None
    ) -> int:
        """Drop the outputs of a method, of a key, or older than that; without arguments all. How many."""
        before_us = None
        if older_than is not None:
            before_us = self._clock.now_us() - older_than // timedelta(microseconds=1)
        chosen = (method, method, key, key, before_us, before_us)

        def decide(connection: sqlite3.Connection) -> tuple[int, list[Row]]:
            return connection.execute(_FORGET, chosen).rowcount, []

        return self._log.transact(decide)

    def __len__(self) -> int:
        return int(self._log.read("SELECT count(*) FROM cache")[0][0])

    def __repr__(self) -> str:
        count = len(self)
        return f"<Cache: {count:,} recorded output{'' if count == 1 else 's'}>"


_FORGET = """
DELETE FROM cache WHERE (? IS NULL OR method = ?) AND (? IS NULL OR key = ?) AND (? IS NULL OR created_us < ?)
"""
_RECORDED = """
SELECT payload FROM event WHERE run_id = ? AND step_id = ? AND kind = 'step.finished'
AND payload ->> '$.status' = 'success' ORDER BY seq DESC LIMIT 1
"""
_SCHEDULED = """
SELECT payload FROM event WHERE run_id = ? AND step_id = ? AND kind = 'step.scheduled'
ORDER BY seq DESC LIMIT 1
"""
