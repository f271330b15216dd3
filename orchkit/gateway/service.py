"""The side of the service: one attempt to get an answer, with what can go wrong told apart."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import httpx

from orchkit.gateway.config import ServiceConfig
from orchkit.gateway.faults import (
    ClientFaultError,
    ConnectTimeoutError,
    InvalidAnswerError,
    NoAnswerError,
    NoConnectionFreeError,
    NotReachedError,
    ServiceFaultError,
)
from orchkit.gateway.headers import RawHeaders

SHARD: Final = 8
"""A pool looks at each of its connections for each request, so that a large one is many small ones."""
_CAME_BACK: Final = ("retry-after", "retry-after-ms", "x-amz-retry-after")


@dataclass(slots=True)
class Shard:
    """Some of the connections to a service."""

    transport: httpx.AsyncHTTPTransport
    most: int
    active: int = 0


@dataclass(frozen=True, slots=True)
class Sending:
    """One request as it goes to the service."""

    method: str
    target: bytes
    headers: RawHeaders
    content: AsyncIterator[bytes] | None


class _Stream(httpx.AsyncByteStream):
    """What comes from a generator, for httpx."""

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks


class Service:
    """One service: its connections, which are kept and reused. On one event loop.

    It speaks to httpx below its client: that would keep cookies of one caller for the next, follow redirects,
    and write paths and queries in a form of its own.
    """

    def __init__(self, name: str, config: ServiceConfig) -> None:
        self.name, self.config = name, config
        parts = config.parts
        self._url = httpx.URL(f"{parts.scheme}://{parts.netloc}/")
        self.path = parts.path
        host = self._url.netloc
        self.fixed: RawHeaders = (
            (b"host", host),
            *(
                (key.lower().encode(), secret.get_secret_value().encode())
                for key, secret in config.headers.items()
            ),
        )
        """Headers of every request."""
        self.origins = (f"{parts.scheme}://".encode() + host, b"//" + host)
        """How addresses of it begin."""
        connect, queue = config.connect_timeout, config.queue_time
        self._timeout = {"connect": connect, "pool": queue, "read": None, "write": None}
        self._verify: ssl.SSLContext | bool | None = None
        self._shards: list[Shard] = []

    @property
    def active(self) -> int:
        """Requests that are with it."""
        return sum(shard.active for shard in self._shards)

    @asynccontextmanager
    async def send(self, sending: Sending) -> AsyncIterator[httpx.Response]:
        """The answer, its body to be read from ``stream``. Raises `ServiceFaultError`, also from inside."""
        extensions = {"timeout": self._timeout, "target": sending.target}
        stream = httpx.ByteStream(b"") if sending.content is None else _Stream(sending.content)
        request = httpx.Request(
            sending.method, self._url, headers=sending.headers, stream=stream, extensions=extensions
        )
        shard = self._shard()
        shard.active += 1
        response = None
        try:
            response = await shard.transport.handle_async_request(request)
            if not 200 <= response.status_code <= 599:
                raise InvalidAnswerError(
                    self.name, f"{self.name} answered with status {response.status_code}"
                )
            yield response
        except httpx.HTTPError as error:
            raise self._fault(error) from error
        finally:
            shard.active -= 1
            if response is not None:
                with suppress(httpx.HTTPError):
                    await response.stream.aclose()  # type: ignore[union-attr]

    def _fault(self, error: httpx.HTTPError) -> ServiceFaultError | ClientFaultError:
        """What httpx says, in our words."""
        name, why = self.name, str(error) or type(error).__name__
        match error:
            case httpx.PoolTimeout():
                most = self.config.max_connections
                return NoConnectionFreeError(name, f"{most:,} requests are with {name} already")
            case httpx.ConnectTimeout():
                seconds = self.config.connect_timeout
                return ConnectTimeoutError(name, f"{name} took no connection within {seconds or 0:g} s")
            case httpx.ConnectError():
                return NotReachedError(name, f"{name} cannot be reached: {why}")
            case httpx.LocalProtocolError():
                return ClientFaultError(f"the request cannot be passed on: {why}")
            case httpx.RemoteProtocolError() if "disconnected" not in why and "closed" not in why:
                return InvalidAnswerError(name, f"the answer of {name} is not valid: {why}")
            case _:
                return NoAnswerError(
                    name, f"{name} closed the connection before its answer was complete: {why}"
                )

    def _shard(self) -> Shard:
        """The first with room, so that few connections are kept where few are needed."""
        for shard in self._shards:
            if shard.active < shard.most:
                return shard
        room = self.config.max_connections - sum(shard.most for shard in self._shards)
        if room > 0:
            most = min(SHARD, room)
            self._shards.append(Shard(self._transport(most), most))
            return self._shards[-1]
        return min(self._shards, key=lambda shard: shard.active)

    def _transport(self, most: int) -> httpx.AsyncHTTPTransport:
        if self._verify is None:
            self._verify = _trust(self.config)
        limits = httpx.Limits(
            max_connections=most, max_keepalive_connections=most, keepalive_expiry=self.config.keep_alive
        )
        return httpx.AsyncHTTPTransport(verify=self._verify, trust_env=False, limits=limits)

    async def close(self) -> None:
        """Close its connections."""
        shards, self._shards = self._shards, []
        for shard in shards:
            await shard.transport.aclose()


def _trust(config: ServiceConfig) -> ssl.SSLContext | bool:
    """Whose certificates are believed; one for all connections, because loading them takes a while."""
    if config.parts.scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used
    if config.verify is False:
        return False
    return ssl.create_default_context(cafile=None if config.verify is True else str(config.verify))


def when_to_come_back(headers: httpx.Headers) -> Mapping[str, str]:
    """The headers that say so."""
    return {name: headers[name] for name in _CAME_BACK if name in headers}
