"""Where checks are written down: an event for each, and beside it how the service stands."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple

from orchkit.errors import StoreClosedError, StoreError
from orchkit.health.service import Service
from orchkit.health.standing import Check, Standing, read
from orchkit.model import event as ev
from orchkit.model.health import FOUND
from orchkit.store import codec
from orchkit.store.log import Row
from orchkit.store.store import Store

KIND: Final = "health"
MOST_KEPT: Final = 10_000
"""So many checks wait in memory for a disk that is full; beyond that the oldest are dropped."""

INGEST_EVERY: Final = 500
"""After so many checks they are moved to the history, where nobody else does anything that would."""

MOST_READ: Final = 500
"""So many checks are looked at for the last hundred that were performed."""
_LAST: Final = """
SELECT epoch_us(checked_at), CASE WHEN performed THEN status END, reason, response_ms, error, details
FROM health_checks WHERE service = ? ORDER BY seq DESC LIMIT ?
"""


class Latest(NamedTuple):
    """How a service stands by the record, and which monitor looked at it last."""

    standing: Standing
    by: str
    target: str
    """What it asked."""


class Note(NamedTuple):
    """A check that is to be written."""

    service: Service
    check: Check
    circuit: str
    before: Standing
    """What is gone on from when nothing is written yet."""


class Recorder:
    """Writes for one monitor. What cannot be written waits, and is told of in ``trouble``."""

    def __init__(self, store: Store, me: str) -> None:
        self._store, self.me = store, me
        self._waiting: deque[Note] = deque()
        self._dropped = self._written = 0
        self._attached = False
        self._lock = threading.Lock()
        self.trouble: str | None = None
        """What keeps checks from being recorded; None: nothing."""

    @property
    def closed(self) -> bool:
        """Whether nothing will ever be written any more."""
        return self._store.closed

    def latest(self, name: str) -> Latest | None:
        """How a service stands by the record; None when there is nothing (that can be read)."""
        record = self._store.get_state(KIND, name)
        return None if record is None else _latest(record.value)

    def recorded(self, name: str) -> Standing:
        """How a service stands by the checks in the history, where the log knows nothing of it."""
        standing = Standing()
        if self._store.log.last_seq():
            for at_us, status, reason, ms, error, details in self._store.query(_LAST, [name, MOST_READ])[
                ::-1
            ]:
                found = status if status in FOUND else None
                kept = _json(details) if details else None
                check = Check(at_us, found, None if found else reason or "unknown", ms, error, kept or {})
                standing = standing.after(check)
        return standing

    @property
    def idle(self) -> bool:
        """Whether nothing waits to be written."""
        return not (self._waiting or self._attached)

    def note(self, note: Note) -> None:
        """Take a check; on disk after `flush`."""
        self._waiting.append(note)
        if len(self._waiting) > MOST_KEPT:
            self._waiting.popleft()
            self._dropped += 1

    def flush(self) -> None:
        """Write what waits in one transaction, unless that cannot be done now."""
        if self._store.closed:
            self.trouble = "the store is closed: nothing is watched any more"
            raise StoreClosedError(f"{self._store!r} is closed")
        with self._lock:  # one that was left behind when the monitor was stopped may still be at it
            self._flush()

    def _flush(self) -> None:
        try:
            if self._attached:  # what an earlier attempt has left in the log goes first
                self._store.commit()
                self._attached = False
            self._attach()
            self._store.commit()
            self._attached = False
            if self._written >= INGEST_EVERY:
                self._written = 0
                self._store.ingest_soon()
        except StoreClosedError:
            raise
        except StoreError as error:
            self.trouble = self._told(error)
        else:
            self.trouble = self._dropped_text()

    def _attach(self) -> None:
        while self._waiting:
            self._attached = True
            self._written += 1
            note = self._waiting.popleft()
            self._store.log.attach(partial(self._change, note))

    def _change(self, note: Note, connection: sqlite3.Connection) -> Sequence[Row]:
        try:
            return self._write(note, connection)
        except sqlite3.Error:
            raise
        except Exception:  # in this transaction there are also the events of others, who must not suffer
            self._dropped += 1
            return ()

    def _write(self, note: Note, connection: sqlite3.Connection) -> Sequence[Row]:
        """Write one check beside its event, going on from what all monitors of this store have found."""
        name = note.service.name
        known = connection.execute(
            "SELECT version, value FROM state WHERE kind = ? AND key = ?", (KIND, name)
        )
        row = known.fetchone()
        latest = _latest(_json(row[1])) if row else None
        standing = (note.before if latest is None else latest.standing).after(note.check)
        value = {**standing.written(), "by": self.me, "target": note.service.target}
        connection.execute(
            "INSERT INTO state VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET "
            "version = excluded.version, value = excluded.value, updated_us = excluded.updated_us",
            (KIND, name, (row[0] if row else 0) + 1, codec.dumps(value), note.check.at_us),
        )
        payload = codec.dumps(_payload(note, standing))
        return [(note.check.at_us, ev.HEALTH_CHECK, None, None, None, payload)]

    def _told(self, error: StoreError) -> str:
        many = len(self._waiting)
        more = f", {many} checks wait in memory" if many else ""
        return f"checks are not recorded now: {error}{more}{self._dropped_more()}"

    def _dropped_text(self) -> str | None:
        return f"not everything is on record{self._dropped_more()}" if self._dropped else None

    def _dropped_more(self) -> str:
        return f", {self._dropped:,} were dropped" if self._dropped else ""


def _payload(note: Note, standing: Standing) -> dict[str, Any]:
    service, check = note.service, note.check
    status = "maintenance" if check.reason == "maintenance" else check.found
    return {
        "service": service.name,
        "status": status,
        "performed": check.performed,
        "reason": check.reason,
        "response_ms": check.response_ms,
        "error": check.error,
        "circuit_state": note.circuit,
        "consecutive_failures": standing.failures,
        "holds_us": service.holds_us,
        "details": check.details or None,
    }


def _latest(value: Any) -> Latest | None:
    with suppress(KeyError, TypeError, ValueError):
        return Latest(read(value), str(value["by"]), str(value["target"]))
    return None


def _json(text: str) -> Any:
    with suppress(ValueError):
        return json.loads(text)
    return None
