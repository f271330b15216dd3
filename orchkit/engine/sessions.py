"""Sessions: who works on which casefile; their history is events."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel, ConfigDict

from orchkit.engine.hooks import Hook, HookCall
from orchkit.errors import UnknownNameError
from orchkit.ids import new_id
from orchkit.model import event as ev
from orchkit.model.request import Response
from orchkit.store.log import StateConflictError
from orchkit.store.store import Store

SESSION, OPEN = "session", "session.open"


class Session(BaseModel):
    """A session as it is now."""

    model_config = ConfigDict(frozen=True)

    session_id: str
    user_id: str
    casefile_id: str | None = None
    status: str = "open"
    created_us: int
    closed_us: int | None = None


class SessionService:
    """Create, read, close: the data side of sessions."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create_session(self, user_id: str, casefile_id: str | None = None) -> Session:
        """A new open session."""
        session = Session(
            session_id=new_id("ses"),
            user_id=user_id,
            casefile_id=casefile_id,
            created_us=self._store.clock.now_us(),
        )
        self.save(session, ev.SESSION_CREATED, 0)
        return session

    def get_session(self, session_id: str) -> Session:
        """The session of this id. Raises `UnknownNameError`."""
        return self.load(session_id)[0]

    def list_sessions(self, *, user_id: str | None = None, status: str | None = None) -> list[Session]:
        """Sessions in order of creation, all or those of a user or status."""
        every = (Session.model_validate(value) for _, _, value in self._store.list_state(SESSION))
        found = sorted(every, key=lambda session: session.created_us)
        return [
            session
            for session in found
            if (user_id is None or session.user_id == user_id)
            and (status is None or session.status == status)
        ]

    def close_session(self, session_id: str) -> Session:
        """End a session; closing it twice changes nothing."""
        session, version = self.load(session_id)
        if session.status == "closed":
            return session
        closed = session.model_copy(update={"status": "closed", "closed_us": self._store.clock.now_us()})
        self.save(closed, ev.SESSION_CLOSED, version)
        return closed

    def load(self, session_id: str) -> tuple[Session, int]:
        """The session and the version to name when saving it."""
        record = self._store.get_state(SESSION, session_id)
        if record is None:
            known = [key for key, _, _ in self._store.list_state(SESSION)]
            raise UnknownNameError("session", session_id, known)
        return Session.model_validate(record.value), record.version

    def save(self, session: Session, kind: str, version: int, **more: Any) -> None:
        """Write the session and the event that tells of the change."""
        value = session.model_dump(mode="json")
        self._store.put_state(SESSION, session.session_id, value, expect_version=version)
        self._store.record(kind, {**value, **more})


class SessionOrchestrator:
    """Finds, links and follows sessions: the behaviour on top of `SessionService`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.service = SessionService(store)

    async def find_or_create_session(self, user_id: str, casefile_id: str | None = None) -> Session:
        """The open session of this user on this casefile, or a new one.

        Two callers, also in two processes, get the same session: whoever registers it first wins.
        """
        while True:
            found, version = self._registered(user_id, casefile_id)
            if found is not None:
                return found
            created = self.service.create_session(user_id, casefile_id)
            if self._register(created, version):
                return created
            self.service.close_session(created.session_id)  # somebody was faster: use theirs

    def _registered(self, user_id: str, casefile_id: str | None) -> tuple[Session | None, int]:
        """The open session that is registered for both, and the version of that entry."""
        record = self._store.get_state(OPEN, _key(user_id, casefile_id))
        if record is None:
            return None, 0
        session = self.service.get_session(record.value["session_id"])
        usable = session.status == "open" and session.casefile_id == casefile_id
        return (session if usable else None), record.version

    def _register(self, session: Session, version: int) -> bool:
        """Make it the one that is found from now on, unless somebody else was faster."""
        key, value = _key(session.user_id, session.casefile_id), {"session_id": session.session_id}
        try:
            self._store.put_state(OPEN, key, value, expect_version=version)
        except StateConflictError:
            return False
        return True

    async def link_session_to_casefile(self, session_id: str, casefile_id: str) -> Session:
        """Bind a session to a casefile, where it is found from now on. Raises `UnknownNameError`."""
        session, version = self.service.load(session_id)
        if session.casefile_id == casefile_id:
            return session
        linked = session.model_copy(update={"casefile_id": casefile_id})
        self.service.save(linked, ev.SESSION_LINKED, version)
        other, entry = self._registered(linked.user_id, casefile_id)
        if other is None:
            self._register(linked, entry)
        return linked

    async def track_execution(self, session_id: str, operation: str, result: Any) -> None:
        """Put an execution on the session's history; ``result`` is a `Response` or a status text."""
        self.service.get_session(session_id)
        status = result.status if isinstance(result, Response) else str(result)
        self._store.record(
            ev.SESSION_EXECUTION, {"session_id": session_id, "operation": operation, "status": status}
        )

    def create_session(self, user_id: str, casefile_id: str | None = None) -> Session:
        """A new open session."""
        return self.service.create_session(user_id, casefile_id)

    def get_session(self, session_id: str) -> Session:
        """The session of this id. Raises `UnknownNameError`."""
        return self.service.get_session(session_id)

    def close_session(self, session_id: str) -> Session:
        """End a session."""
        return self.service.close_session(session_id)


def _key(user_id: str, casefile_id: str | None) -> str:
    return json.dumps([user_id, casefile_id])


class SessionLifecycleHook(Hook):
    """Puts every operation of a request with a ``session_id`` on that session's history."""

    def after(self, call: HookCall, response: Response) -> None:
        """Record a success."""
        self._track(call, "success")

    def failed(self, call: HookCall, error: BaseException) -> None:
        """Record a failure."""
        self._track(call, "failed")

    def _track(self, call: HookCall, status: str) -> None:
        session_id = call.request.session_id
        if session_id is not None:
            payload = {"session_id": session_id, "operation": call.operation, "status": status}
            call.scope.recorder.event(ev.SESSION_EXECUTION, payload, call.step_id, call.scope.attempt)
