"""Recorded outputs that later calls may use: of methods with ``cache="inputs"``, by code and input."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from orchkit.clock import Clock
from orchkit.errors import CodecError, StoreError, UnknownNameError
from orchkit.model import event as ev
from orchkit.model.display import Displayable
from orchkit.store import codec
from orchkit.store.log import Row, SqliteLog
from orchkit.store.notes import Note
from orchkit.store.sweepreport import Age, microseconds

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = "key, method, code_hash, input_hash, run_id, step_id, output, created_us, used_us, hits"
_READ = f"SELECT {_COLUMNS} FROM cache"  # noqa: S608 - only names of ours, here and below
_WRITE = f"INSERT OR REPLACE INTO cache ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_HIT = "UPDATE cache SET used_us = ?, hits = hits + 1 WHERE key = ?"
_RECORD = "SELECT payload FROM event WHERE run_id = ? AND step_id = ? AND kind = ? ORDER BY seq DESC LIMIT 1"
_SIZES = """
SELECT run_id, step_id, CASE WHEN payload->>'$.output."$blob"' IS NULL THEN strlen(payload->>'$.output')
                        ELSE TRY_CAST(payload->>'$.output.bytes' AS BIGINT) END
FROM event WHERE kind = 'step.finished'
    AND (run_id, step_id) IN (SELECT (unnest(?::VARCHAR[]), unnest(?::VARCHAR[])))
"""
_SHORTEST_KEY = 8
_MOST = 20
_INPUT_CHARS = 500


def cache_key(code_hash: str, input_hash: str) -> str:
    """What an output is found by: the same code and the same input."""
    return codec.content_hash(f"{code_hash}\n{input_hash}")


class CacheEntry(NamedTuple):
    """An output, or where it is: the row of the table."""

    key: str
    method: str
    code_hash: str
    input_hash: str
    run_id: str
    step_id: str
    """Of which run and step it is the recorded output."""
    output: str | None
    """JSON of its value and type notes; None when it is large: then it is in the record of the step."""
    created_us: int
    used_us: int | None = None
    hits: int = 0

    @classmethod
    def of(
        cls, method: str, code_hash: str, input_hash: str, step: tuple[str, str], output: codec.Packed
    ) -> Self:
        """A new one; ``step`` is its run and step. When it was made is filled in by `Cache.put`."""
        text = codec.dumps({"value": output.value, "types": output.notes})
        small = text if len(text) <= codec.BLOB_BYTES else None
        return cls(cache_key(code_hash, input_hash), method, code_hash, input_hash, *step, small, 0)


class Recalled(NamedTuple):
    """An output that was found."""

    value: Any
    """As the type it was."""
    packed: codec.Packed
    """As it is recorded."""


class Record(Protocol):
    """What the cache needs of the store that it is part of."""

    log: SqliteLog
    clock: Clock

    def query(self, query: str, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Rows of the history."""
        ...

    def blob(self, digest: str) -> str:
        """The text of a large value. Raises `StoreError`."""
        ...


class Cache(Displayable):
    """The recorded outputs of a store that may be used again. All methods are thread-safe.

    An entry goes with the run that it comes from (`Store.sweep`), or with `forget`.
    """

    def __init__(self, store: Record) -> None:
        self._store = store

    # --- for the engine --------------------------------------------------------------------

    def find(self, key: str) -> CacheEntry | None:
        """The entry of a `cache_key`, committed; None when there is none. One read of the log."""
        rows = self._store.log.read(f"{_READ} WHERE key = ?", (key,))
        return CacheEntry._make(rows[0]) if rows else None

    def put(self, entry: CacheEntry) -> None:
        """Make or replace an entry, in the transaction of the events that are buffered `together` with it."""
        texts = (_valid(field) if isinstance(field, str) else field for field in entry)
        row = CacheEntry._make(texts)._replace(created_us=self._store.clock.now_us())
        self._change(_WRITE, row)

    def hit(self, key: str) -> None:
        """Note that an entry was used, in the transaction of the events that are buffered now."""
        self._change(_HIT, (self._store.clock.now_us(), key))

    def _change(self, sql: str, params: tuple[Any, ...]) -> None:
        def change(connection: sqlite3.Connection) -> list[Row]:
            connection.execute(sql, params)
            return []

        self._store.log.attach(change)

    def recall(self, entry: CacheEntry) -> Recalled | None:
        """The output of an entry, from the log or from the record of its step.

        None when it cannot be had any more: its run was swept, or its class was changed so that it does not
        fit. The entry is dropped then.
        """
        found = self._recorded(entry)
        if found is not None:
            with suppress(CodecError):
                return Recalled(codec.unpack(found.value, found.notes), found)
        with self._store.log.exclusive() as connection:
            connection.execute("DELETE FROM cache WHERE key = ? AND run_id = ?", (entry.key, entry.run_id))
        return None

    def _recorded(self, entry: CacheEntry) -> codec.Packed | None:
        if entry.output is not None:
            recorded = codec.loads(entry.output)
            return codec.Packed(recorded["value"], recorded["types"])
        payload = self._payload(entry, ev.STEP_FINISHED)
        if payload is None or payload.get("status") != "success":
            return None
        notes: list[Note] = payload.get("types") or []
        return codec.Packed(payload.get("output"), notes)

    def _payload(self, entry: CacheEntry, kind: str) -> dict[str, Any] | None:
        """Of the last event of this kind of the step, large values put back; None when it is gone."""
        rows = self._store.query(_RECORD, [entry.run_id, entry.step_id, kind])
        if not rows:
            return None
        payload: dict[str, Any] = codec.loads(rows[0][0])
        for name, value in payload.items():
            if isinstance(value, dict) and value.keys() == {"$blob", "bytes"}:
                try:
                    payload[name] = codec.loads(self._store.blob(value["$blob"]))
                except StoreError:
                    return None
        return payload

    # --- looking ---------------------------------------------------------------------------

    def entries(self, method: str | None = None) -> list[CacheEntry]:
        """All entries, or those of a method; the oldest first."""
        where, params = ("WHERE method = ?", (method,)) if method is not None else ("", ())
        rows = self._store.log.read(f"{_READ} {where} ORDER BY created_us, key", params)
        return [CacheEntry._make(row) for row in rows]

    def __len__(self) -> int:
        return int(self._store.log.read("SELECT count(*) FROM cache")[0][0])

    def frame(self) -> pd.DataFrame:
        """The entries as a DataFrame, the oldest first.

        Columns: ``method``, ``run_id``, ``step_id`` (where the output was computed), ``created_at``,
        ``used_at`` (times in UTC; NaT when it was never used), ``hits``, ``bytes`` (of the output as JSON;
        <NA> when its run was swept), ``code_hash``, ``input_hash``, ``key``.
        """
        import pandas as pd

        entries = self.entries()
        large = self._large_sizes([entry for entry in entries if entry.output is None])
        sizes = [
            large.get((entry.run_id, entry.step_id)) if entry.output is None else len(entry.output.encode())
            for entry in entries
        ]
        columns: dict[str, Any] = {
            name: pd.Series([getattr(entry, name) for entry in entries], dtype="str")
            for name in ("method", "run_id", "step_id")
        }
        columns["created_at"] = _times([entry.created_us for entry in entries])
        columns["used_at"] = _times([entry.used_us for entry in entries])
        columns["hits"] = pd.Series([entry.hits for entry in entries], dtype="int64")
        columns["bytes"] = pd.Series(sizes, dtype="Int64")
        for name in ("code_hash", "input_hash", "key"):
            columns[name] = pd.Series([getattr(entry, name) for entry in entries], dtype="str")
        return pd.DataFrame(columns)

    def _large_sizes(self, entries: Sequence[CacheEntry]) -> dict[tuple[str, str], int]:
        """By run and step, the sizes of outputs that are not in the log."""
        if not entries:
            return {}
        steps = [[entry.run_id for entry in entries], [entry.step_id for entry in entries]]
        rows = self._store.query(_SIZES, steps)
        return {(run_id, step_id): size for run_id, step_id, size in rows}

    def explain(self, what: str) -> str:
        """In words: where an output comes from, of which input and code, and how often it was used.

        Args:
            what: A method, whose newest entries are explained, or a key, or at least the first eight
                characters of one.

        Raises:
            UnknownNameError: There is no such entry.
        """
        entries = self.entries(what) or self._of_key(what)
        if not entries:
            methods = self._store.log.read("SELECT DISTINCT method FROM cache")
            raise UnknownNameError("cached method or key", what, [name for (name,) in methods])
        told = [self._told(entry) for entry in reversed(entries[-_MOST:])]
        more = len(entries) - len(told)
        return "\n".join([*told, f"And {more:,} older ones."] if more else told)

    def _of_key(self, key: str) -> list[CacheEntry]:
        if len(key) < _SHORTEST_KEY:
            return []
        rows = self._store.log.read(
            f"{_READ} WHERE substr(key, 1, ?) = ? ORDER BY created_us", (len(key), key)
        )
        return [CacheEntry._make(row) for row in rows]

    def _told(self, entry: CacheEntry) -> str:
        record = self._payload(entry, ev.STEP_SCHEDULED)
        source = f"step {entry.step_id!r} of {entry.run_id}"
        computed = f"{entry.method}: computed {_moment(entry.created_us)} by {source}"
        code = f"with its code of that time (hash {entry.code_hash[:12]})"
        given = "of an input that is not on record any more"
        if record is not None:
            text = codec.dumps(record.get("input"))
            shown = (
                text if len(text) <= _INPUT_CHARS else f"{text[:_INPUT_CHARS]}… ({len(text):,} characters)"
            )
            given = f"of the input {shown}"
        used = "never used since"
        if entry.hits and entry.used_us is not None:
            times = "once" if entry.hits == 1 else f"{entry.hits:,} times"
            used = f"used {times} since, the last time {_moment(entry.used_us)}"
        kept = "" if entry.output is not None else " It is large, so it is kept in the record of that run."
        return f"{computed}, {given}, {code}; {used}. Key {entry.key[:12]}.{kept}"

    # --- forgetting ------------------------------------------------------------------------

    def forget(
        self, method: str | None = None, *, key: str | None = None, older_than: Age | None = None
    ) -> int:
        """Drop entries: those to which all that is given applies, or all; returns how many.

        Later calls compute their output again. The runs that the outputs come from stay as they are.

        Args:
            method: Only those of this method.
            key: Only this one.
            older_than: Only those that were neither made nor used for so long: a timedelta, or a text such as
                ``"30d"``.

        Raises:
            ParameterError: ``older_than`` is no span of time.
        """
        conditions: list[tuple[str, Any]] = []
        if method is not None:
            conditions.append(("method = ?", method))
        if key is not None:
            conditions.append(("key = ?", key))
        if older_than is not None:
            cutoff_us = self._store.clock.now_us() - microseconds(older_than, "forget")
            conditions.append(("coalesce(used_us, created_us) <= ?", cutoff_us))
        where = " AND ".join(condition for condition, _ in conditions) or "TRUE"

        def decide(connection: sqlite3.Connection) -> tuple[int, list[Row]]:
            params = [param for _, param in conditions]
            return connection.execute(f"DELETE FROM cache WHERE {where}", params).rowcount, []  # noqa: S608

        return self._store.log.transact(decide)

    def __repr__(self) -> str:
        try:
            rows = self._store.log.read(
                "SELECT count(*), count(DISTINCT method), coalesce(sum(hits), 0) FROM cache"
            )
        except Exception as error:  # a repr must never raise
            return f"<Cache: {error}>"
        count, methods, hits = rows[0]
        outputs = f"{count:,} output{'' if count == 1 else 's'}"
        return f"<Cache: {outputs} of {methods:,} method{'' if methods == 1 else 's'}, used {hits:,} times>"


def _times(microseconds_: list[int | None] | list[int]) -> Any:
    import pandas as pd

    return pd.Series(pd.array(microseconds_, dtype="Int64")).astype("datetime64[us]").dt.tz_localize("UTC")


def _moment(microseconds_: int) -> str:
    return f"on {datetime.fromtimestamp(microseconds_ / 1e6, UTC):%Y-%m-%d at %H:%M:%S} UTC"


def _valid(text: str) -> str:
    """The same with lone surrogates, which could never be written, as question marks."""
    return text if text.isascii() else text.encode(errors="replace").decode()
