"""The events of a run as server-sent events: what is on record, then what comes, until the run is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from fastapi import Response
from fastapi.responses import StreamingResponse
from pydantic_core import to_json
from starlette.requests import ClientDisconnect

from orchkit.errors import OrchkitError
from orchkit.gateway.workflows.commits import Commits, Follower
from orchkit.gateway.workflows.record import RunRecords
from orchkit.gateway.workflows.refusals import Refusal
from orchkit.gateway.workflows.settings import WorkflowSettings
from orchkit.model import event as ev
from orchkit.store import codec
from orchkit.store.log import StoredRow
from orchkit.store.store import Store

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_PAGE: Final = 500
_RECONNECT: Final = b"retry: 2000\n\n"
_HEARTBEAT: Final = b": still here\n\n"
_LEAVING: Final = b": the server stops\n\n"
_CUT_OFF: Final = b'event: cut_off\ndata: {"cut_off":true}\n\n'
_UNREADABLE: Final = ("NaN", "Infinity", "\n", "\r")
"""What may stand in a recorded payload and not in a line of JSON."""


class EventStreams:
    """The clients that follow runs."""

    def __init__(
        self, store: Store, records: RunRecords, commits: Commits, settings: WorkflowSettings
    ) -> None:
        self._store, self._records, self._commits, self._settings = store, records, commits, settings
        self.count = 0
        """How many there are."""

    async def open(self, run_id: str, after: int) -> Response:
        """The events of a run after a place in the order.

        A client that has got all of them is answered 204, which tells it not to ask again. Raises a 429 when
        too many follow already, a 503 when the server stops, and `UnknownNameError`.
        """
        again = {"Retry-After": str(self._settings.retry_after_s)}
        if self._commits.closed:
            raise Refusal(503, "stopping", "the server stops", headers=again)
        if self.count >= self._settings.max_streams:
            told = f"{self.count:,} clients follow events, as many as are allowed"
            raise Refusal(429, "too-many-streams", told, headers=again)
        self.count += 1
        try:
            standing, rows = await asyncio.to_thread(self._records.look, run_id, after, 1)
        except BaseException:
            self.count -= 1
            raise
        if standing.over and not rows and after:
            self.count -= 1
            return Response(status_code=204)
        return EventResponse(self._of(run_id, after), self._left)

    def _left(self) -> None:
        self.count -= 1

    async def _of(self, run_id: str, after: int) -> AsyncIterator[bytes]:
        """The events as text for the wire; ends when the run is over.

        What does not fit into the buffer of a slow client is read from the record when it is there again, so
        that it misses nothing and nobody waits for it.
        """
        with self._commits.follow(lambda row: row[3] == run_id, self._settings.stream_buffer) as follower:
            yield _RECONNECT
            # The store was closed, or the run removed: who asks again is told.
            with suppress(OrchkitError):
                async for text in self._followed(run_id, _Place(after), follower):
                    yield text
            if follower.closed:
                yield _LEAVING

    async def _followed(self, run_id: str, place: _Place, follower: Follower) -> AsyncIterator[bytes]:
        """From the record and as it comes, in turn, until the run is over."""
        while not follower.closed:
            standing, rows = await asyncio.to_thread(self._records.look, run_id, place.seq, _PAGE)
            if text := place.told(rows):
                yield text
            if len(rows) == _PAGE:
                continue
            if standing.over:
                if standing.cut_off:
                    yield _CUT_OFF
                return
            async for text in self._live(follower, place, ours=standing.ours):
                yield text

    async def _live(self, follower: Follower, place: _Place, *, ours: bool) -> AsyncIterator[bytes]:
        """What is committed in this process; ends when the record is to be read (again)."""
        heartbeat = self._settings.heartbeat_s
        while not follower.closed:
            rows = await follower.next(min(self._settings.poll_s, heartbeat))
            if rows is None:
                return
            if text := place.told(rows):
                yield text
            if any(row[2] == ev.RUN_FINISHED for row in rows):
                return
            if place.quiet_s >= heartbeat:
                place.heard()
                yield _HEARTBEAT
                return  # and look whether somebody still works on it
            if not ours:
                return
            if not rows and self._store.log.pending:
                # What a step that takes its time has told is only buffered.
                await asyncio.to_thread(self._store.commit)


class EventResponse(StreamingResponse):
    """A stream whose source is closed with it, however it ends."""

    def __init__(self, events: AsyncIterator[bytes], left: Callable[[], None]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self._events, self._left = events, left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them; a client that goes away is no error."""
        try:
            with suppress(ClientDisconnect):
                await super().__call__(scope, receive, send)
        finally:
            self._left()
            # Cancelled while it was sending, the generator would wait to be collected.
            await self._events.aclose()  # type: ignore[attr-defined]


class _Place:
    """How far a client has come."""

    def __init__(self, seq: int) -> None:
        self.seq = seq
        self._time = asyncio.get_running_loop().time
        self.heard()

    def heard(self) -> None:
        """Something is being sent to it."""
        self._quiet_since = self._time()

    @property
    def quiet_s(self) -> float:
        """For so many seconds nothing was."""
        return self._time() - self._quiet_since

    def told(self, rows: Iterable[StoredRow]) -> bytes:
        """The rows that it has not got yet, as text; it has them then."""
        found = []
        for row in rows:
            if row[0] > self.seq:
                found.append(told(row))
                self.seq = row[0]
        if found:
            self.heard()
        return "".join(found).encode(errors="replace")


def told(row: StoredRow) -> str:
    """A committed row as a server-sent event: its number as id, its kind as event, and all of it as data."""
    seq, ts, kind, run_id, step_id, attempt, payload = row
    if any(text in payload for text in _UNREADABLE):
        payload = to_json(codec.loads(payload), inf_nan_mode="null").decode()
    facts = {"seq": seq, "ts": ts, "kind": kind, "run_id": run_id, "step_id": step_id, "attempt": attempt}
    head = codec.dumps(facts)
    name = kind.replace("\n", " ").replace("\r", " ")
    return f'id: {seq}\nevent: {name}\ndata: {head[:-1]},"payload":{payload}}}\n\n'
