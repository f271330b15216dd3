"""What every request passes first: it gets its correlation id, and what nobody should see is refused."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from orchkit.gateway.auth import is_loopback
from orchkit.gateway.config import LimitSettings
from orchkit.gateway.headers import CORRELATION, RawHeaders, correlation_id, is_host, values_of
from orchkit.gateway.paths import fault_of, query_fault
from orchkit.gateway.problems import HttpProblem

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


_CLOSE = ((b"connection", b"close"),)


class Gate:
    """ASGI middleware; bodies pass through it untouched, both ways."""

    def __init__(self, app: ASGIApp, *, limits: LimitSettings, only_local: bool = False) -> None:
        self._app, self._limits = app, limits
        self._only_local = only_local
        self._far: dict[str, bool] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through with its ``correlation_id`` in the state, or answer what is wrong."""
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "no websockets here"})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: RawHeaders = scope["headers"]
        name = correlation_id(headers)
        scope.setdefault("raw_path", scope["path"].encode())
        scope["state"] = {**scope.get("state", {}), "correlation_id": name}
        pair = (CORRELATION, name.encode())

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), pair]
            await send(message)

        problem = self._problem(scope, headers)
        if problem is None:
            await self._app(scope, receive, named)
            return
        body = problem.body(name)
        start = {"type": "http.response.start", "status": problem.status}
        await named({**start, "headers": problem.raw_headers(len(body))})
        await send({"type": "http.response.body", "body": body})

    def _problem(self, scope: Scope, headers: RawHeaders) -> HttpProblem | None:
        if self._only_local and self._is_far(scope):
            detail = "it is bound beyond this machine, and has no tokens: see auth in its configuration"
            return HttpProblem("token-needed", detail)
        raw_path, query, limits = scope["raw_path"], scope["query_string"], self._limits
        line = len(raw_path) + len(query)
        if line > limits.url_bytes:
            return HttpProblem("url-too-long", f"path and query may have {limits.url_bytes:,} bytes")
        size = line + sum(len(name) + len(value) + 4 for name, value in headers)
        if size > limits.header_bytes:
            return HttpProblem("headers-too-large", f"all headers may have {limits.header_bytes:,} bytes")
        fault = fault_of(raw_path)
        if fault is not None:
            return HttpProblem("bad-path", fault)
        fault = query_fault(query) or _framing_fault(headers)
        return None if fault is None else HttpProblem("bad-request", fault, headers=_CLOSE)

    def _is_far(self, scope: Scope) -> bool:
        """Whether the address that was connected to can be reached from elsewhere."""
        host = (scope.get("server") or ("",))[0]
        far = self._far.get(host)
        if far is None:
            far = self._far[host] = _is_address(host) and not is_loopback(host)
        return far


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _framing_fault(headers: RawHeaders) -> str | None:
    """Why nobody can be sure where a request ends, or for whom it is; None when it is clear."""
    hosts = values_of(headers, b"host")
    if len(hosts) > 1 or not all(map(is_host, hosts)):
        return "Host is not one name"
    if values_of(headers, b"transfer-encoding") and values_of(headers, b"content-length"):
        return "with Transfer-Encoding there is no Content-Length"
    return None
