"""Where circuit breakers are written down, so that they survive their process and are shared with others."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from orchkit.errors import StoreClosedError, StoreError
from orchkit.store import codec
from orchkit.store.log import StateConflictError
from orchkit.store.process import Process, Standing, standing, this_process
from orchkit.store.store import Store

KIND: Final = "breaker"

Subject = tuple[str | None, str | None, int | None]
"""Run, step and attempt."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The state of a breaker as it is written down; times are microseconds since the Unix epoch."""

    version: int
    state: str
    generation: int
    since_us: int
    until_us: int
    """When an open one lets probes through, and when the lease of the process that probes is over."""
    owner: Process | None
    """The process that wrote it."""
    reason: str | None = None
    """What was given by whoever set it by hand."""

    @property
    def orphaned(self) -> bool:
        """Whether the process that wrote it is known to be gone."""
        return self.owner is not None and standing(self.owner) is Standing.GONE


class Ledger(Protocol):
    """What a breaker needs of a store."""

    shared: bool
    """Whether other processes may write, too."""

    def read(self, name: str) -> Stored | None:
        """What is written down; None: nothing."""
        ...

    def write(self, name: str, value: Mapping[str, Any], version: int) -> int | None:
        """Replace ``version`` (0: nothing was there) and return the new one; None: somebody was faster."""
        ...

    def note(self, kind: str, payload: Mapping[str, Any], subject: Subject) -> None:
        """Append an event about an attempt of a step of a run."""
        ...

    def commit(self) -> None:
        """Put on disk what was noted outside of runs."""
        ...

    def names(self) -> Sequence[str]:
        """All breakers that are written down."""
        ...


class StoreLedger:
    """The ledger in the log of a store: a row per breaker, replaced by compare-and-set."""

    def __init__(self, store: Store) -> None:
        self._reference = weakref.ref(store)  # the store keeps its breakers, not they the store
        self.shared = store.path is not None

    @property
    def _store(self) -> Store:
        store = self._reference()
        if store is None:
            raise StoreClosedError("the store of this breaker is gone")
        return store

    def read(self, name: str) -> Stored | None:
        """What is written down; None: nothing, or nothing that can be read."""
        record = self._store.get_state(KIND, name)
        return None if record is None else _stored(record.version, record.value)

    def names(self) -> Sequence[str]:
        """All breakers that are written down; none when the store cannot be read any more."""
        with suppress(StoreError):
            return [key for key, _, _ in self._store.list_state(KIND)]
        return ()

    def write(self, name: str, value: Mapping[str, Any], version: int) -> int | None:
        """Replace ``version`` and return the new one; None: somebody was faster."""
        owner = this_process()
        try:
            return self._store.put_state(KIND, name, {**value, **owner.facts}, expect_version=version)
        except StateConflictError:
            return None

    def note(self, kind: str, payload: Mapping[str, Any], subject: Subject) -> None:
        """Append an event; it is on disk with the next commit, which a run has soon."""
        run_id, step_id, attempt = subject
        text = codec.dumps(payload)
        self._store.append(kind, text, run_id=run_id, step_id=step_id, attempt=attempt)

    def commit(self) -> None:
        """Put on disk what was noted."""
        self._store.commit()


class NoLedger:
    """Nothing is written down."""

    shared = False

    def read(self, name: str) -> Stored | None:
        """Nothing."""
        return None

    def write(self, name: str, value: Mapping[str, Any], version: int) -> int | None:
        """Nobody is ever faster."""
        return version + 1

    def note(self, kind: str, payload: Mapping[str, Any], subject: Subject) -> None:
        """Forget it."""

    def commit(self) -> None:
        """Nothing to do."""

    def names(self) -> Sequence[str]:
        """None."""
        return ()


def _stored(version: int, value: Mapping[str, Any]) -> Stored:
    owner = None
    if value.get("pid") is not None:
        owner = Process(int(value["pid"]), str(value.get("host")), value.get("born"))
    return Stored(
        version,
        str(value.get("state", "closed")),
        int(value.get("generation", 0)),
        int(value.get("since_us", 0)),
        int(value.get("until_us", 0)),
        owner,
        value.get("by_hand"),
    )
