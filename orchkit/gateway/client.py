"""The side of the client: its body as it comes in, remembered as far as allowed, and the answer to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from orchkit.clock import Alarm, Clock
from orchkit.gateway.config import LimitSettings
from orchkit.gateway.faults import BodyTooLargeError, ClientGoneError, ClientSlowError, NoLengthError
from orchkit.gateway.patience import Patience
from orchkit.gateway.problems import HttpProblem

if TYPE_CHECKING:
    from starlette.types import Receive, Send

WATCH_S: Final = 1.0
"""Whether the client is still there is looked at from so many seconds on: most requests are over by then."""
GONE: Final = "the client closed the connection"


class Body:
    """The body of a request: read once, remembered up to a limit, so that it can be sent once more."""

    def __init__(self, receive: Receive, clock: Clock, limits: LimitSettings, length: int | None) -> None:
        self._receive, self._clock, self._limits = receive, clock, limits
        self._length = length
        self._held: list[bytes] = []
        self._hash = sha256()
        self.size = 0
        """Bytes that came so far."""
        self.complete = False
        """Whether all of it has come."""
        self.spent = False
        """Whether it is not held any more: what was read was passed on, and is gone."""

    @property
    def digest(self) -> str:
        """SHA-256 of what came so far."""
        return self._hash.hexdigest()

    async def whole(self, most: int) -> bytes:
        """All of it, to be held whatever is remembered else. Raises a `ClientFaultError`."""
        while not self.complete:
            chunk = await self._next()
            self._held.append(chunk)
            if self.size > most:
                raise BodyTooLargeError(f"with an Idempotency-Key a body may have {most:,} bytes")
        self._held = [b"".join(self._held)]
        return self._held[0]

    async def chunks(self, patience: Patience) -> AsyncIterator[bytes]:
        """From its begin: what is remembered, then what comes. Not to be called when it is `spent`."""
        for chunk in tuple(self._held):
            if chunk:
                yield chunk
        while not self.complete:
            patience.pause()
            chunk = await self._next()
            patience.resume()
            if not self.spent:
                self._remember(chunk)
            if chunk:
                yield chunk

    def _remember(self, chunk: bytes) -> None:
        if self.size > self._limits.buffer_bytes:
            self.spent = True
            self._held.clear()
        else:
            self._held.append(chunk)

    async def _next(self) -> bytes:
        """The next piece. Raises a `ClientFaultError` when there is none."""
        idle = self._limits.client_idle
        limit = self._clock.timeout(idle)
        try:
            async with limit:
                message = await self._receive()
        except TimeoutError:
            if not limit.expired():
                raise
            raise ClientSlowError(f"nothing of the body came for {idle:g} s") from None
        if message["type"] == "http.disconnect":
            raise ClientGoneError(f"{GONE} in the midst of its body")
        chunk: bytes = message.get("body", b"")
        self.complete = not message.get("more_body", False)
        self.size += len(chunk)
        self._hash.update(chunk)
        if self.size > self._limits.body_bytes:
            raise BodyTooLargeError(f"the body has more than {self._limits.body_bytes:,} bytes")
        if self._length is not None and (
            self.size != self._length if self.complete else self.size > self._length
        ):
            raise NoLengthError(f"the body is not of {self._length:,} bytes, as Content-Length says")
        return chunk


class Client:
    """Who asked: gets one answer, and may go away before."""

    def __init__(self, receive: Receive, send: Send, clock: Clock, idle: float) -> None:
        self._receive, self._send, self._clock, self._idle = receive, send, clock, idle
        self._task = asyncio.current_task()
        self._alarm: Alarm | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.begun = False
        """Whether the head of the answer was sent."""
        self.done = False
        """Whether all of it was."""
        self.gone = False
        """Whether it went away while somebody worked for it."""

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the head of the answer."""
        self.begun = True
        await self._sent({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def body(self, chunk: bytes) -> None:
        """Send a piece of it; waits while the client is slow. Raises `ClientGoneError`."""
        await self._sent({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self, chunk: bytes = b"") -> None:
        """Send the last piece."""
        self.leave()  # it may go now, and what it asked for is still to be recorded
        self.done = True
        await self._sent({"type": "http.response.body", "body": chunk, "more_body": False})

    async def whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Send an answer that is known as a whole."""
        await self.start(status, headers)
        await self.end(body)

    async def problem(self, problem: HttpProblem, instance: str | None) -> None:
        """Send a problem."""
        body = problem.body(instance)
        await self.whole(problem.status, problem.raw_headers(len(body)), body)

    async def _sent(self, message: dict[str, object]) -> None:
        limit = self._clock.timeout(self._idle)
        try:
            async with limit:
                await self._send(message)
        except TimeoutError:
            if not limit.expired():
                raise
            raise ClientGoneError(f"the client left its answer unread for {self._idle:g} s") from None
        except OSError as error:  # how servers of newer ASGI say so
            raise ClientGoneError(GONE) from error

    # --- is it still there? ------------------------------------------------------------------

    def watch(self, body: Body) -> None:
        """From now on the task of the request is cancelled when the client goes away."""
        self._alarm = self._clock.alarm(WATCH_S, lambda: self._look(body))

    def _look(self, body: Body) -> None:
        if not body.complete:  # it is read by somebody else, who will notice
            self.watch(body)
            return
        self._watcher = asyncio.get_running_loop().create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._task is not None:
            self._task.cancel(GONE)

    def leave(self) -> None:
        """Look no more."""
        if self._alarm is not None:
            self._alarm.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
