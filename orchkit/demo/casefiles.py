"""A stored domain record to which sessions, runs and messages are linked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from pydantic import Field

from orchkit.clock import Clock, SystemClock
from orchkit.demo.mail import Message
from orchkit.errors import ParameterError, Problem, UnknownNameError
from orchkit.ids import new_id
from orchkit.model.base import Record
from orchkit.store.log import StateConflictError

_KIND = "casefile"
_MOST_CONFLICTS = 100


class StateStore(Protocol):
    """What casefiles need of a store: small durable values with compare-and-set."""

    def put_state(
        self, kind: str, key: str, value: dict[str, Any], *, expect_version: int | None = None
    ) -> int:
        """Set a value and return its version.

        Raises `StateConflictError` when the one there is not of ``expect_version`` (0: nothing there).
        """
        ...

    def get_state(self, kind: str, key: str) -> tuple[int, dict[str, Any]] | None:
        """The version and the value, or None."""
        ...

    def list_state(self, kind: str) -> list[tuple[str, int, dict[str, Any]]]:
        """All keys, versions and values of a kind."""
        ...


class Casefile(Record):
    """What a case is about, and what belongs to it."""

    casefile_id: str
    title: str = Field(min_length=1)
    description: str = ""
    metadata: dict[str, Any] = Field(default_factory=dict)
    status: Literal["open", "closed"] = "open"
    created_at: datetime
    """UTC."""
    session_ids: tuple[str, ...] = ()
    """Linked sessions, in the order of linking."""
    run_ids: tuple[str, ...] = ()
    """Linked runs, in the order of linking."""


class CasefileStore:
    """Casefiles in the store's durable table; safe for several threads and processes.

    Every change is a compare-and-set on the whole record, made again on what the other one wrote when
    somebody was faster.
    """

    def __init__(self, store: StateStore, clock: Clock | None = None) -> None:
        self._store = store
        self._clock = SystemClock() if clock is None else clock

    def create(
        self, title: str, description: str = "", metadata: Mapping[str, Any] | None = None
    ) -> Casefile:
        """A new open casefile. Raises `ParameterError` without a title."""
        if not title.strip():
            raise ParameterError("create_casefile", [Problem("title", "is empty")])
        casefile = Casefile(
            casefile_id=new_id("cf"),
            title=title,
            description=description,
            metadata=dict(metadata or {}),
            created_at=datetime.fromtimestamp(self._clock.now_us() / 1e6, UTC),
        )
        self._store.put_state(_KIND, casefile.casefile_id, casefile.model_dump(mode="json"), expect_version=0)
        return casefile

    def get(self, casefile_id: str) -> Casefile:
        """The casefile. Raises `UnknownNameError` if there is none."""
        return self._get(casefile_id)[1]

    def find(self, status: Literal["open", "closed"] | None = None) -> list[Casefile]:
        """All casefiles, or those of a status, oldest first."""
        found = [Casefile.model_validate(value) for _, _, value in self._store.list_state(_KIND)]
        wanted = [casefile for casefile in found if status in (None, casefile.status)]
        return sorted(wanted, key=lambda casefile: (casefile.created_at, casefile.casefile_id))

    def link_session(self, casefile_id: str, session_id: str) -> Casefile:
        """Add a session; linking it again changes nothing."""
        return self._link(casefile_id, "session_ids", session_id)

    def link_run(self, casefile_id: str, run_id: str) -> Casefile:
        """Add a run; linking it again changes nothing."""
        return self._link(casefile_id, "run_ids", run_id)

    def close(self, casefile_id: str) -> Casefile:
        """Mark the casefile as closed."""
        return self._change(casefile_id, lambda casefile: casefile.model_copy(update={"status": "closed"}))

    def store_messages(self, casefile_id: str, messages: Iterable[Message]) -> int:
        """Add messages by their ids and return how many were new; storing one again changes nothing."""
        self.get(casefile_id)
        kind = _messages_kind(casefile_id)
        known = {key for key, _, _ in self._store.list_state(kind)}
        new = {message.message_id: message for message in messages if message.message_id not in known}
        for message_id, message in new.items():
            self._store.put_state(kind, message_id, message.model_dump(mode="json"))
        return len(new)

    def messages(self, casefile_id: str) -> list[Message]:
        """The stored messages by date, undated ones last."""
        self.get(casefile_id)
        stored = self._store.list_state(_messages_kind(casefile_id))
        found = [Message.model_validate(value) for _, _, value in stored]
        last = datetime.max.replace(tzinfo=UTC)
        return sorted(found, key=lambda message: (message.date or last, message.message_id))

    def _get(self, casefile_id: str) -> tuple[int, Casefile]:
        found = self._store.get_state(_KIND, casefile_id)
        if found is None:
            known = (key for key, _, _ in self._store.list_state(_KIND))
            raise UnknownNameError("casefile", casefile_id, known)
        version, value = found
        return version, Casefile.model_validate(value)

    def _link(self, casefile_id: str, field: Literal["session_ids", "run_ids"], item: str) -> Casefile:
        def added(casefile: Casefile) -> Casefile:
            items: tuple[str, ...] = getattr(casefile, field)
            return casefile if item in items else casefile.model_copy(update={field: (*items, item)})

        return self._change(casefile_id, added)

    def _change(self, casefile_id: str, change: Callable[[Casefile], Casefile]) -> Casefile:
        for left in reversed(range(_MOST_CONFLICTS)):
            version, casefile = self._get(casefile_id)
            changed = change(casefile)
            if changed is casefile:
                return casefile
            try:
                self._store.put_state(
                    _KIND, casefile_id, changed.model_dump(mode="json"), expect_version=version
                )
            except StateConflictError:
                if not left:
                    raise
            else:
                return changed
        raise AssertionError("unreachable: the last conflict is raised")


def _messages_kind(casefile_id: str) -> str:
    return f"casefile.messages/{casefile_id}"
