"""HTTP/1.1 as the gateway's own server speaks it: bounds on sending headers, and problems."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from orchkit.gateway.config import LimitSettings
from orchkit.gateway.problems import HttpProblem

if TYPE_CHECKING:
    from uvicorn.config import Config

_REASONS: Final = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class GatewayProtocol(H11Protocol):
    """One connection of a client.

    One that sends its headers too slowly, or sends too many, does not get as far as the application; and one
    that goes on sending a body after it was answered is not listened to for ever.
    """

    def __init__(self, limits: LimitSettings, config: Config, **more: Any) -> None:
        super().__init__(config, **more)
        self.logger = logging.getLogger("orchkit.gateway.server")
        self.access_log = False
        self._limits = limits
        self._timer: asyncio.TimerHandle | None = None
        self._headers_of: Any = None
        """The request whose headers came last."""
        self._said_anything = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, if there is room for it."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            detail = "as many connections as allowed are open"
            self._refuse(HttpProblem("overloaded", detail, self._limits.retry_after_s))
            return
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        """Take what came; the time for headers runs from their first byte."""
        if self.transport.is_closing():
            return
        self._said_anything = True
        if self._timer is None and not self._in_body():
            self._await_headers()
        super().data_received(data)
        if self.cycle is not self._headers_of:
            self._headers_of = self.cycle
            self._stop_timer()
        if self._in_body() and self._current.response_complete:
            self._await_rest()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client has closed its side: it may still be there to read, but nobody can tell for how long.

        What it asked for is answered when that is soon done; else it is taken for gone.
        """
        cycle = self._current
        if cycle is None or cycle.response_complete or cycle.more_body:
            return False
        cycle.keep_alive = False
        self._stop_timer()
        self._timer = self.loop.call_later(self._limits.half_closed, self.transport.abort)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._stop_timer()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or too much of it."""
        error = sys.exc_info()[1]
        if getattr(error, "error_status_hint", None) == 431:
            detail = f"all headers may have {self._limits.header_bytes:,} bytes"
            self._refuse(HttpProblem("headers-too-large", detail))
        else:
            self._refuse(HttpProblem("bad-request", f"this is no HTTP/1.1 request: {error or msg}"))

    def _unsupported_upgrade_warning(self) -> None:
        """Nothing to warn of: whatever a client would like to change to, it is answered in HTTP."""

    def _in_body(self) -> bool:
        cycle = self._current
        return cycle is not None and cycle.more_body

    @property
    def _current(self) -> Any:
        """The request whose headers came last; None: there was none, whatever the type of it says."""
        return self.cycle

    def _await_headers(self) -> None:
        self._timer = self.loop.call_later(self._limits.header_time, self._too_late)

    def _too_late(self) -> None:
        self._timer = None
        cycle = self._current
        if self.transport.is_closing() or (cycle is not None and not cycle.response_complete):
            return  # what came early belongs to the next request, whose turn it is not yet
        if not self._said_anything:
            self.transport.close()
            return
        detail = f"the headers did not come within {self._limits.header_time:g} s"
        self._refuse(HttpProblem("client-too-slow", detail))

    def _await_rest(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self._limits.client_idle, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, problem: HttpProblem) -> None:
        """Answer, unless an answer has begun, and close the connection."""
        self._stop_timer()
        cycle = self._current
        under_way = cycle is not None and not cycle.response_complete
        if under_way:
            cycle.disconnected = True
            cycle.message_event.set()
        if not (under_way and cycle.response_started):
            body = problem.body()
            lines = [f"HTTP/1.1 {problem.status} {_REASONS[problem.status]}".encode(), b"connection: close"]
            lines += [name + b": " + value for name, value in problem.raw_headers(len(body))]
            self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()
