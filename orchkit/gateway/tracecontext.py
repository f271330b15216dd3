"""W3C trace context on its way through: from the request that comes in to the one that goes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from orchkit.engine.recorder import StepScope, current_scope
from orchkit.model.tracecontext import TraceContext, current_trace, span_id_of, trace_id_of

__all__ = ["TraceContext", "carried", "incoming", "outgoing"]

RawHeaders = Iterable[tuple[bytes, bytes]]
"""Headers as ASGI has them: names in lower case."""


def incoming(headers: RawHeaders) -> TraceContext | None:
    """The trace context of a request; None when it has none, or one that is malformed or there twice."""
    parents, states = [], []
    for name, value in headers:
        if name == b"traceparent":
            parents.append(value.decode("latin-1"))
        elif name == b"tracestate":
            states.append(value.decode("latin-1"))
    if len(parents) != 1:
        return None
    return TraceContext.parse(parents[0], ",".join(states))


@contextmanager
def carried(headers: RawHeaders) -> Iterator[TraceContext]:
    """What runs begin inside are part of the trace of this request, or of a new one that begins with it."""
    trace = incoming(headers) or TraceContext.new()
    token = current_trace.set(trace)
    try:
        yield trace
    finally:
        current_trace.reset(token)


def outgoing() -> TraceContext | None:
    """Inside of an attempt: its place in the trace, to be sent with a call (``.headers``); else None.

    The span is the one that `orchkit.interop.otel` exports for that attempt.
    """
    scope = current_scope.get()
    if not isinstance(scope, StepScope) or scope.step_id is None:
        return None
    run_id = scope.recorder.run_id
    trace = current_trace.get() or TraceContext(trace_id_of(run_id), None)
    return trace.at(span_id_of(run_id, scope.step_id, scope.attempt or 1))
