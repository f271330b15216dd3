"""Starting the runs that are submitted, and holding them while they go on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from orchkit.engine.handle import RunHandle
from orchkit.errors import (
    Difference,
    DuplicateRequestError,
    IdempotencyConflictError,
    OrchestrationError,
    StoreClosedError,
)
from orchkit.gateway.workflows.commits import Commits, Follower
from orchkit.gateway.workflows.intake import Order
from orchkit.gateway.workflows.refusals import Refusal
from orchkit.gateway.workflows.settings import WorkflowSettings
from orchkit.kit import Kit
from orchkit.model import event as ev
from orchkit.model.differences import MISSING
from orchkit.model.result import WorkflowResult
from orchkit.store.log import StoredRow

_LOOK_S: Final = 0.05
"""After so long the beginning of a run that nobody has committed is committed here."""
_ROOM: Final = 10_000
_MOST_DIFFERENCES: Final = 100


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that is on the record."""

    run_id: str
    name: str
    status: str
    replayed: bool = False


class Desk:
    """At most so many submitted runs go on at the same time."""

    def __init__(self, kit: Kit, commits: Commits, settings: WorkflowSettings) -> None:
        self._kit, self._commits, self._settings = kit, commits, settings
        self._lock = threading.Lock()
        self._starting = 0
        self._handles: list[RunHandle] = []
        self._tasks: set[asyncio.Task[Accepted]] = set()

    async def submit(self, order: Order, user_id: str | None, request_id: str | None) -> Accepted:
        """Start it; returns when its beginning is on the record, or with the run that its key names.

        Whoever gives up waiting does not stop it. Raises a 429 when too many go on, a 409 when its
        idempotency key is in use, and a 422 when the key stands for another request.
        """
        # Shielded: half started, it would go on without being held here.
        task = asyncio.ensure_future(self._placed(order, user_id, request_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _placed(self, order: Order, user_id: str | None, request_id: str | None) -> Accepted:
        with self._place(), self._commits.follow(_begins, _ROOM) as follower:
            handle = await asyncio.to_thread(self._start, order, user_id, request_id)
            return await _accepted(handle, follower, self._kit)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Until its handle is held, it counts as starting."""
        with self._lock:
            self._handles = [handle for handle in self._handles if not handle.done]
            if len(self._handles) + self._starting >= self._settings.max_running:
                told = f"{self._settings.max_running:,} submitted runs are going on, as many as are allowed"
                again = {"Retry-After": str(self._settings.retry_after_s)}
                raise Refusal(429, "too-many-runs", told, headers=again)
            self._starting += 1
        try:
            yield
        finally:
            with self._lock:
                self._starting -= 1

    def _start(self, order: Order, user_id: str | None, request_id: str | None) -> RunHandle:
        arguments: dict[str, Any] = {"directives": order.directives, "request_id": request_id}
        if order.key is not None:
            arguments |= {
                "idempotency_key": order.key.key,
                "ttl_hours": order.key.ttl_hours,
                "on_in_flight": order.key.on_in_flight,
                "on_failed": order.key.on_failed,
            }
        handle = self._kit.start(order.workflow, user_id, order.context, **arguments)
        with self._lock:
            self._handles.append(handle)
        return handle

    def find(self, run_id: str) -> RunHandle | None:
        """The run of this id, if it was submitted here and goes on."""
        with self._lock:
            return next((one for one in self._handles if one.run_id == run_id and not one.done), None)

    @property
    def running(self) -> int:
        """How many submitted runs go on."""
        with self._lock:
            return sum(not handle.done for handle in self._handles)


def _begins(row: StoredRow) -> bool:
    return row[2] in (ev.RUN_STARTED, ev.RUN_RESUMED)


async def _accepted(handle: RunHandle, follower: Follower, kit: Kit) -> Accepted:
    """Wait until its beginning is committed, or it is answered."""
    ended = asyncio.ensure_future(_result(handle))
    ended.add_done_callback(lambda _: follower.wake())
    begun: set[str | None] = set()
    while not ended.done():
        rows = await follower.next(_LOOK_S)
        begun |= {row[3] for row in rows or ()}
        # One that is over may be an earlier run, which is the answer: the result tells, and is about to come.
        if handle.run_id in begun and handle.status in ("running", "paused"):
            ended.add_done_callback(lambda task: task.cancelled() or task.exception())
            return Accepted(handle.run_id, handle.name, handle.status)
        if not rows and handle.status != "pending":
            await asyncio.to_thread(kit.store.commit)
    try:
        result = ended.result()
    except OrchestrationError as error:
        raise _conflict(error) from error
    except asyncio.CancelledError:
        raise StoreClosedError("the run was cancelled before it had begun") from None
    return Accepted(result.run_id, result.name, result.status, result.replayed)


async def _result(handle: RunHandle) -> WorkflowResult:
    return await handle


def _conflict(error: OrchestrationError) -> Refusal:
    """422: what was done under the key before is not what is asked for; 409: it failed, or is not over."""
    facts: dict[str, Any] = {"idempotency_key": error.request_id, "run_id": error.run_id}
    match error:
        case IdempotencyConflictError(differences=differences):
            shown = [_difference(difference) for difference in differences[:_MOST_DIFFERENCES]]
            name, facts = "idempotency-conflict", {**facts, "differences": shown}
            return Refusal(422, name, str(error), **facts)
        case DuplicateRequestError():
            told = "a run with this key is going on: ask for it"
            return Refusal(409, "in-flight", told, headers={"Retry-After": "1"}, **facts)
    return Refusal(409, "failed-before", str(error), **facts)


def _difference(difference: Difference) -> dict[str, Any]:
    """One field; what one of the two has not is left out."""
    values = {"recorded": difference.recorded, "given": difference.given}
    return {"path": difference.path} | {name: value for name, value in values.items() if value is not MISSING}
