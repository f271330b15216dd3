"""Asking a service over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from orchkit.clock import Clock
from orchkit.errors import MissingExtraError
from orchkit.executors.threads import ThreadWorkers
from orchkit.health.service import Service
from orchkit.model.health import Found, HealthResult, found_in
from orchkit.reliability.retryafter import retry_after

if TYPE_CHECKING:
    import ssl

    import httpx

MOST_REDIRECTS: Final = 3
MOST_BODY: Final = 64 * 1024
"""Bytes of a body that are read; a longer one is not looked into."""
MOST_WAIT_S: Final = 600.0
"""A service that wants to be left alone for longer is asked again after this time."""
_TOO_MANY: Final = 429
_UNAVAILABLE: Final = 503


def client_library() -> Any:
    """The module httpx; raises `MissingExtraError`."""
    try:
        import httpx
    except ImportError as error:
        raise MissingExtraError("httpx", "health") from error
    return httpx


@cache
def _tls() -> ssl.SSLContext:
    context: ssl.SSLContext = client_library().create_ssl_context()
    return context


async def ask(service: Service, clock: Clock, workers: ThreadWorkers) -> HealthResult:
    """One GET. Raises what httpx raises when there is no answer.

    A connection of its own each time: one that was kept would say nothing about whether new ones are
    accepted, and would be a socket that stays behind.
    """
    httpx = client_library()
    # Reading the certificates takes some milliseconds, which nobody else on the loop needs to wait for.
    tls = _tls() if _tls.cache_info().currsize else await workers.run(_tls, {})
    client = httpx.AsyncClient(
        verify=tls,
        timeout=None,  # the whole of it has a limit already
        trust_env=not service.is_local,  # no proxy leads to this machine
        limits=httpx.Limits(max_keepalive_connections=0),
        headers={"user-agent": "orchkit-health", "accept": "application/json, */*;q=0.5"},
    )
    async with client:
        # A packed body would be unpacked as a whole, however large it is then.
        headers = {"accept-encoding": "identity", "connection": "close", **service.headers}
        request = client.build_request("GET", service.url, headers=headers)
        began = clock.monotonic()
        result = await _follow(client, request, clock)
        return replace(result, response_time_ms=(clock.monotonic() - began) * 1000)


async def _follow(client: httpx.AsyncClient, request: httpx.Request, clock: Clock) -> HealthResult:
    for _ in range(MOST_REDIRECTS + 1):
        response = await client.send(request, stream=True)
        try:
            if response.next_request is None:
                return _judged(response, await _body(response), clock.now_us())
            request = response.next_request
        finally:
            await response.aclose()
    # Without its query, in which there may be what is secret.
    text = f"more than {MOST_REDIRECTS} redirects, the last one to {request.url.host}{request.url.path}"
    return HealthResult("unhealthy", error=text)


async def _body(response: httpx.Response) -> bytes:
    """The body, or nothing when it is longer than what is read, or packed."""
    if response.headers.get("content-encoding", "identity") != "identity":
        return b""
    read = bytearray()
    async for part in response.aiter_raw():
        read += part
        if len(read) > MOST_BODY:
            return b""
    return bytes(read)


def _judged(response: httpx.Response, body: bytes, now_us: int) -> HealthResult:
    status = response.status_code
    told = _told(body)
    details = {key: value for key, value in told.items() if key != "status" or found_in(value) is None}
    if response.is_success:
        found = found_in(told.get("status")) or "healthy"
        error = None if found == "healthy" else f"it says of itself: {told['status']}"
        return HealthResult(found, details, error)
    wait = _wait(response, now_us) if status in (_TOO_MANY, _UNAVAILABLE) else None
    if wait is not None:
        details = {**details, "retry_after_s": round(wait, 3)}
    # Too many requests: the service is there, and it is we (or others) who ask too often.
    verdict: Found = "degraded" if status == _TOO_MANY else "unhealthy"
    error = f"HTTP {status} {response.reason_phrase}".rstrip()
    return HealthResult(verdict, details, error, retry_after_s=wait)


def _wait(response: httpx.Response, now_us: int) -> float | None:
    asked = retry_after(_Answer(response.headers), now_us)
    return None if asked is None or asked <= 0 else min(asked, MOST_WAIT_S)


class _Answer(Exception):  # noqa: N818 - what `retry_after` reads headers from
    def __init__(self, headers: Mapping[str, str]) -> None:
        self.headers = headers


def _told(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; empty for everything else."""
    if not body.lstrip().startswith(b"{"):
        return {}
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
