"""Which trace a run belongs to: W3C trace context, and the ids of spans that follow from the record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from hashlib import blake2b
from secrets import token_hex
from typing import Any, Final, Self, TypeGuard

SAMPLED: Final = 0x01
RANDOM: Final = 0x02
"""The trace id is random (level 2 of the recommendation)."""
_KNOWN_FLAGS: Final = SAMPLED | RANDOM
_PARENT: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_MEMBER: Final = re.compile(
    r"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_MOST_MEMBERS: Final = 32
LONGEST_STATE: Final = 512
"""As many characters of ``tracestate`` are carried; one that is longer is not."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace. Without a ``span_id`` it is the trace alone: what begins in it has no parent."""

    trace_id: str
    """32 hexadecimal digits, not all zero."""
    span_id: str | None
    """16 hexadecimal digits, not all zero; that of the caller."""
    flags: int = SAMPLED
    state: str = ""
    """The value of ``tracestate``, as it came."""

    @classmethod
    def parse(cls, traceparent: str | None, tracestate: str | None = None) -> Self | None:
        """What two headers say; None when ``traceparent`` is missing or malformed.

        A malformed or too long ``tracestate`` is left out. A later version than 00 is read as far as this
        one goes, as the recommendation asks.
        """
        found = _PARENT.fullmatch((traceparent or "").strip(" \t"))
        if found is None:
            return None
        version, trace_id, span_id, flags, more = found.groups()
        if version == "ff" or (version == "00" and more) or not (int(trace_id, 16) and int(span_id, 16)):
            return None
        return cls(trace_id, span_id, int(flags, 16) & _KNOWN_FLAGS, _state(tracestate or ""))

    @classmethod
    def new(cls) -> Self:
        """A new trace, in which nothing has begun."""
        return cls(token_hex(16), None, SAMPLED | RANDOM)

    @property
    def sampled(self) -> bool:
        """Whether the caller may have recorded it."""
        return bool(self.flags & SAMPLED)

    def at(self, span_id: str) -> Self:
        """The same trace, at another span."""
        return replace(self, span_id=span_id)

    @property
    def traceparent(self) -> str:
        """The value of the header, in version 00. Raises ValueError for a trace without a span."""
        if self.span_id is None:
            raise ValueError("no span of this trace has begun: use at(span_id)")
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    @property
    def headers(self) -> dict[str, str]:
        """``traceparent`` and, where there is one, ``tracestate``, to be sent with a request."""
        found = {"traceparent": self.traceparent}
        if self.state:
            found["tracestate"] = self.state
        return found

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the record of a run (``trace`` of its ``run.started``)."""
        facts: dict[str, Any] = {"trace_id": self.trace_id, "parent_id": self.span_id, "flags": self.flags}
        return {**facts, "state": self.state} if self.state else facts

    @classmethod
    def from_dict(cls, facts: Any) -> Self | None:
        """What `to_dict` gave; None for anything else, since a record may have been written by others."""
        if not isinstance(facts, Mapping):
            return None
        trace_id, span_id, flags = (facts.get(name) for name in ("trace_id", "parent_id", "flags"))
        if not _is_id(trace_id, 32) or not (span_id is None or _is_id(span_id, 16)):
            return None
        flags = flags & _KNOWN_FLAGS if isinstance(flags, int) else SAMPLED
        return cls(trace_id, span_id, flags, _state(str(facts.get("state") or "")))


def trace_id_of(run_id: str) -> str:
    """The trace of a run that was started without one: always the same, so that it can be exported twice."""
    return _digest("trace", run_id, size=16)


def span_id_of(run_id: str, *parts: str | int) -> str:
    """The span of a run, of a step (``run_id, step_id``) or of an attempt (``run_id, step_id, number``).

    It follows from the record alone: what is sent with a call while an attempt goes on is what is exported
    of that attempt later.
    """
    return _digest("span", run_id, *parts, size=8)


def _digest(*parts: str | int, size: int) -> str:
    text = "\x00".join(map(str, parts)).encode(errors="surrogatepass")
    found = blake2b(text, digest_size=size).hexdigest()
    return found if int(found, 16) else f"{1:0{2 * size}x}"


def _is_id(value: Any, digits: int) -> TypeGuard[str]:
    return (
        isinstance(value, str)
        and re.fullmatch(rf"[0-9a-f]{{{digits}}}", value) is not None
        and int(value, 16) > 0
    )


def _state(text: str) -> str:
    """A ``tracestate`` that may be sent on; empty when it is not one."""
    members = [member.strip(" \t") for member in text.split(",")]
    members = [member for member in members if member]
    keys = [member.partition("=")[0] for member in members]
    sound = (
        len(members) <= _MOST_MEMBERS
        and len(set(keys)) == len(keys)
        and all(_MEMBER.fullmatch(member) for member in members)
    )
    carried = ",".join(members)
    return carried if sound and len(carried) <= LONGEST_STATE else ""


current_trace: ContextVar[TraceContext | None] = ContextVar("orchkit_trace", default=None)
"""The trace that a run which begins now is part of; set by who was called with one."""


def trace_facts() -> dict[str, Any]:
    """For the record of a run that begins now: the trace that it is part of, or nothing."""
    trace = current_trace.get()
    return {} if trace is None else {"trace": trace.to_dict()}
