"""What went wrong, as an HTTP answer: problem details for people and programs (RFC 9457)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MEDIA_TYPE: Final = "application/problem+json"
PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Problem",
    "description": "Problem details (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
    },
    "example": {
        "type": "urn:orchkit:problem:breaker-open",
        "title": "The service is being left alone",
        "status": 503,
        "detail": "research failed repeatedly",
        "instance": "urn:orchkit:request:req_1",
        "service": "research",
    },
}
"""The schema of such a body, without its further members."""

TITLES: Final[Mapping[str, tuple[int, str]]] = {
    "bad-request": (400, "The request cannot be read"),
    "bad-path": (400, "The path is refused"),
    "bad-idempotency-key": (400, "The idempotency key is refused"),
    "token-needed": (403, "A token is needed"),
    "not-found": (404, "There is nothing here"),
    "unknown-service": (404, "There is no such service"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "client-too-slow": (408, "The request took too long to come in"),
    "request-in-flight": (409, "The same request is being carried out"),
    "answer-not-kept": (409, "The request was carried out, its answer was not kept"),
    "body-too-large": (413, "The body is too large"),
    "url-too-long": (414, "The URL is too long"),
    "key-used-otherwise": (422, "The idempotency key was used for another request"),
    "invalid-input": (422, "The request does not fit"),
    "headers-too-large": (431, "The headers are too large"),
    "internal-error": (500, "The gateway failed"),
    "service-unreachable": (502, "The service cannot be reached"),
    "service-died": (502, "The service closed the connection before it answered"),
    "invalid-answer": (502, "The answer of the service is not valid"),
    "breaker-open": (503, "The service is being left alone"),
    "overloaded": (503, "There is too much to do"),
    "not-recorded": (503, "The request cannot be recorded"),
    "service-timeout": (504, "The service did not answer in time"),
    "loop-detected": (508, "The request has been here before"),
}
"""Every kind of problem with its status and title; its ``type`` is ``urn:orchkit:problem:`` and the kind."""


@dataclass(frozen=True, slots=True)
class HttpProblem:
    """One answer of this form."""

    kind: str
    detail: str
    retry_after: float | None = None
    """Seconds after which it may be different."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further members, such as ``service``."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        return TITLES[self.kind][0]

    def document(self, instance: str | None = None) -> dict[str, Any]:
        """The body; ``instance`` is the correlation id."""
        status, title = TITLES[self.kind]
        found: dict[str, Any] = {
            "type": f"urn:orchkit:problem:{self.kind}",
            "title": title,
            "status": status,
            "detail": self.detail,
        }
        if instance is not None:
            found["instance"] = f"urn:orchkit:request:{instance}"
        return found | dict(self.more)

    def body(self, instance: str | None = None) -> bytes:
        """The same as bytes."""
        return json.dumps(self.document(instance), ensure_ascii=True).encode()

    def raw_headers(self, length: int) -> list[tuple[bytes, bytes]]:
        """The headers of the answer."""
        found = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(length).encode()),
            (b"cache-control", b"no-store"),
            *self.headers,
        ]
        if self.retry_after is not None:
            found.append((b"retry-after", str(max(0, math.ceil(self.retry_after))).encode()))
        return found


class RefusedError(Exception):
    """A request that is answered with a problem before anything was tried."""

    def __init__(self, problem: HttpProblem) -> None:
        self.problem = problem
        super().__init__(problem.detail)
