"""One proxied request: its attempts, each passing the answer on to the client as it comes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import httpx

from orchkit.clock import Clock
from orchkit.errors import TimeoutExceededError
from orchkit.gateway.client import Body, Client
from orchkit.gateway.config import GatewayConfig
from orchkit.gateway.faults import (
    Answer,
    AnswerCutError,
    FailedAnswerError,
    NotFinalError,
    NotRepeatableError,
    ServiceFaultError,
)
from orchkit.gateway.headers import RawHeaders, to_client
from orchkit.gateway.paths import Rewrite
from orchkit.gateway.patience import Patience
from orchkit.gateway.service import Sending, Service, when_to_come_back
from orchkit.gateway.tracecontext import outgoing
from orchkit.reliability.call import Call

NO_BODY: Final = (204, 304)
NOT_TO_KEEP: Final = frozenset({401, 403, 407, 408, 409, 421, 423, 425, 429})
"""Answers that say something of the moment or of who asks, so that the same request may be answered otherwise
later: they are passed on, and not kept under an idempotency key."""
_NOT_RECORDED: Final = ("set-cookie", "via")
"""Headers of a kept answer: the one is for who was answered first, the other for the way it took."""
_CORS: Final = frozenset(
    b"access-control-" + name
    for name in (
        b"allow-origin",
        b"allow-credentials",
        b"allow-methods",
        b"allow-headers",
        b"expose-headers",
        b"max-age",
    )
)
_LENGTH: Final = frozenset({b"content-length"})
NOTHING: Final[frozenset[bytes]] = frozenset()


@dataclass(frozen=True, slots=True)
class Asked:
    """What the client asks for, as far as it is the same in every attempt."""

    method: str
    target: bytes
    headers: RawHeaders
    """As the service gets them, without those of the trace."""
    has_body: bool
    repeats: bool
    """Whether another attempt does no harm."""
    key: str | None
    """Its idempotency key: the answer is kept under it, and given to the client when it is on the record."""


class Came:
    """What has come of the body of an answer."""

    __slots__ = ("_hash", "size")

    def __init__(self) -> None:
        self.size = 0
        self._hash = sha256()

    def take(self, chunk: bytes) -> bytes:
        """Count it."""
        self.size += len(chunk)
        self._hash.update(chunk)
        return chunk

    @property
    def facts(self) -> dict[str, Any]:
        """For the record."""
        return {"bytes": self.size, "sha256": self._hash.hexdigest() if self.size else None}


class Exchange:
    """One request with everything that belongs to it; `try_once` is what the policies stand around."""

    def __init__(
        self,
        service: Service,
        rewrite: Rewrite,
        config: GatewayConfig,
        clock: Clock,
        via: bytes,
        silence: float | None,
    ) -> None:
        self.service, self._rewrite, self._config, self._clock = service, rewrite, config, clock
        self._via, self._silence = via, silence
        self._without = _CORS if config.cors.origins else NOTHING
        self.asked: Asked
        self.client: Client
        self.body: Body
        self.call: Call | None = None
        self.answer: Answer | None = None
        """What is to be sent to the client when the record has it."""

    # --- an attempt --------------------------------------------------------------------------

    async def try_once(self) -> dict[str, Any]:
        """Ask the service once, and pass its answer on; returns what is recorded of it.

        Raises `TimeoutExceededError`, a `ServiceFaultError` or a `ClientFaultError`.
        """
        patience = Patience(self._clock, self._silence)
        try:
            async with patience:
                return await self._ask(patience)
        except TimeoutExceededError as error:
            raised = self._final(error)
            if self.call is not None and error is patience.error:
                self.call.deadline = raised
            raise raised from error
        except ServiceFaultError as error:
            raised = self._final(error)
            if raised is error:
                raise
            raise raised from error

    def _final(self, error: Exception) -> Exception:
        """The same, or another one where it cannot be tried again."""
        name = self.service.name
        if self.client.begun and not self.client.done:
            return AnswerCutError(name, f"the answer ended in its midst: {error}")
        if self.body.spent and self.asked.repeats:
            return NotRepeatableError(name, error, self._config.limits.buffer_bytes)
        return error

    async def _ask(self, patience: Patience) -> dict[str, Any]:
        asked = self.asked
        trace = outgoing()
        more = (
            []
            if trace is None
            else [(name.encode(), value.encode()) for name, value in trace.headers.items()]
        )
        content = self.body.chunks(patience) if asked.has_body else None
        sending = Sending(asked.method, asked.target, [*asked.headers, *more], content)
        async with self.service.send(sending) as response:
            patience.heard()
            status = response.status_code
            facts = {"status": status, "content_type": response.headers.get("content-type")}
            came = Came()
            if status in self.service.config.failures:
                await self._failed(response, patience, came)
            elif asked.key is not None:
                facts |= await self._keep(response, patience, came)
            else:
                await self._pass_on(response, self._chunks(response, patience, came), patience)
            facts |= came.facts
        if asked.has_body:
            facts |= {"request_bytes": self.body.size, "request_sha256": self.body.digest}
        return facts

    def _headers(self, response: httpx.Response) -> RawHeaders:
        def location(value: bytes) -> bytes:
            return self._rewrite.location(value, self.service.origins)

        # With chunks a length means nothing, and is not to be believed by who reads it next.
        without = self._without | _LENGTH if "transfer-encoding" in response.headers else self._without
        return to_client(response.headers.raw, self._via, without=without, location=location)

    async def _chunks(self, response: httpx.Response, patience: Patience, came: Came) -> AsyncIterator[bytes]:
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        async for chunk in stream:
            patience.heard()
            yield came.take(chunk)

    # --- what becomes of the answer ------------------------------------------------------------

    async def _pass_on(
        self, response: httpx.Response, chunks: AsyncIterator[bytes], patience: Patience, held: bytes = b""
    ) -> None:
        """Send it to the client as it comes; what is ``held`` first."""
        client, status = self.client, response.status_code
        length = _length(response) if self.asked.method != "HEAD" and status not in NO_BODY else None
        sent = 0
        patience.pause()
        await client.start(status, self._headers(response))
        if held:
            sent += len(held)
            await client.body(held)
        patience.resume()
        async for chunk in chunks:
            sent += len(chunk)
            patience.pause()
            # Where the end is known, the last piece says so: one message less.
            await (client.end(chunk) if sent == length else client.body(chunk))
            patience.resume()
        if not client.done:
            patience.pause()
            await client.end()

    async def _hold(self, chunks: AsyncIterator[bytes], most: int) -> tuple[bytes, bool]:
        """As much of it as may be held, and whether that is all."""
        held: list[bytes] = []
        size = 0
        async for chunk in chunks:
            held.append(chunk)
            size += len(chunk)
            if size > most:
                return b"".join(held), False
        return b"".join(held), True

    async def _failed(self, response: httpx.Response, patience: Patience, came: Came) -> None:
        """Raise `FailedAnswerError`: with the answer, or when there is no other try, after passing it on."""
        chunks, status = self._chunks(response, patience, came), response.status_code
        held, complete = b"", False
        if self.asked.repeats and not self.body.spent:
            held, complete = await self._hold(chunks, self._config.limits.buffer_bytes)
        answer = self._held(response, held) if complete else None
        if answer is None:
            await self._pass_on(response, chunks, patience, held)
        raise FailedAnswerError(self.service.name, status, answer, when_to_come_back(response.headers))

    async def _keep(self, response: httpx.Response, patience: Patience, came: Came) -> dict[str, Any]:
        """Hold the answer for the record; one that is too long is passed on."""
        chunks = self._chunks(response, patience, came)
        held, complete = await self._hold(chunks, self._config.idempotency.answer_bytes)
        if not complete:
            await self._pass_on(response, chunks, patience, held)
            return {"kept": False}
        answer = self._held(response, held)
        if response.status_code in NOT_TO_KEEP:
            raise NotFinalError(self.service.name, answer)
        self.answer = answer
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in answer.headers]
        kept = [pair for pair in headers if pair[0] not in _NOT_RECORDED]
        return {"kept": True, "headers": kept, "body": held}

    def _held(self, response: httpx.Response, body: bytes) -> Answer:
        headers = list(self._headers(response))
        if self.asked.method != "HEAD" and response.status_code not in NO_BODY:
            headers = [pair for pair in headers if pair[0] != b"content-length"]
            headers.append((b"content-length", str(len(body)).encode()))
        return Answer(response.status_code, headers, body)


def _length(response: httpx.Response) -> int | None:
    text = response.headers.get("content-length", "")
    return int(text) if text.isdecimal() and "transfer-encoding" not in response.headers else None
