"""From the events of runs to OpenTelemetry spans; needs the extra ``otel``, see `orchkit.interop.otel`."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    TracerProvider,
    TraceState,
    set_span_in_context,
)

from orchkit.model import event as ev
from orchkit.model.event import Event
from orchkit.model.tracecontext import TraceContext, span_id_of, trace_id_of

SCOPE: Final = "orchkit"
"""The name of the instrumentation scope."""
FORGOTTEN: Final = 10_000
"""So many runs that have ended are remembered, so that what is said of them later begins no new span."""
_BAD: Final = ("failed", "timeout", "partial")
_FACTS: Final = {
    "kind": "orchkit.run.kind",
    "workflow_id": "orchkit.workflow.id",
    "definition_hash": "orchkit.workflow.definition_hash",
    "request_id": "orchkit.request.id",
    "casefile_id": "orchkit.casefile.id",
    "user_id": "user.id",
    "session_id": "session.id",
    "pid": "process.pid",
    "host": "host.name",
    "durability": "orchkit.run.durability",
}
_DECISION: Final = {
    "point": "orchkit.decision.point",
    "decision": "orchkit.decision.outcome",
    "rationale": "orchkit.decision.rationale",
    "origin": "orchkit.decision.origin",
}
_BREAKER: Final = {
    "name": "orchkit.breaker.name",
    "from_state": "orchkit.breaker.from_state",
    "to_state": "orchkit.breaker.to_state",
    "reason": "orchkit.breaker.reason",
}


class RecordedIds:
    """Gives spans the ids that follow from the record; others those of the provider."""

    def __init__(self, others: Any) -> None:
        self._others, self._next = others, threading.local()

    def set(self, trace_id: str, span_id: str) -> None:
        """The ids of the span that this thread begins next."""
        self._next.ids = int(trace_id, 16), int(span_id, 16)

    def generate_trace_id(self) -> int:
        """The id of a new trace."""
        ids = getattr(self._next, "ids", None)
        found: int = self._others.generate_trace_id() if ids is None else ids[0]
        return found

    def generate_span_id(self) -> int:
        """The id of a new span."""
        ids = getattr(self._next, "ids", None)
        self._next.ids = None
        found: int = self._others.generate_span_id() if ids is None else ids[1]
        return found

    def is_trace_id_random(self) -> bool:
        """Whether trace ids are random: those made of the id of a run are as good as that."""
        return True


def tracer_of(provider: TracerProvider) -> tuple[Tracer, RecordedIds | None]:
    """Our tracer of a provider, and what sets the ids of its spans; None where it lets nobody do so."""
    tracer = provider.get_tracer(SCOPE)
    others = getattr(tracer, "id_generator", None)
    if others is None or isinstance(others, RecordedIds):
        return tracer, others
    ids = RecordedIds(others)
    tracer.id_generator = ids  # type: ignore[attr-defined]
    return tracer, ids


@dataclass(slots=True)
class _Step:
    span: Span
    name: str
    attempts: dict[int, Span] = field(default_factory=dict)
    """Those that go on."""

    @property
    def inner(self) -> Span:
        """Where what begins inside of it belongs: to the attempt that goes on, if there is one."""
        return next(reversed(self.attempts.values()), self.span)


@dataclass(slots=True)
class _Run:
    """One run as far as it has been told."""

    run_id: str
    facts: Mapping[str, Any]
    trace_id: str
    parent: Context
    """In what its span begins."""
    remote: bool
    """Whether a request from elsewhere began it."""
    span: Span | None = None
    steps: dict[str, _Step] = field(default_factory=dict)
    """Those that go on."""
    began: dict[str, int] = field(default_factory=dict)
    """How often each step has begun."""
    lives: int = 0
    seq: int = 0
    last_ns: int = 0


class SpanWriter:
    """Takes events in the order of the record, and begins and ends spans at their times. For one thread."""

    def __init__(self, provider: TracerProvider, *, forgetful: bool = False) -> None:
        self._tracer, self._ids = tracer_of(provider)
        self._forgetful = forgetful
        """Whether a run that has ended is let go of; what comes then begins with `recall`."""
        self._runs: dict[str, _Run] = {}
        self._over: OrderedDict[str, int] = OrderedDict()

    def take(self, event: Event, *, aloud: bool = True) -> None:
        """One more event of a run; what was taken already, and what comes after its end, is passed over.

        Not ``aloud``: it is only remembered, for what follows.
        """
        run = self._runs.get(event.run_id or "")
        if event.kind == ev.RUN_STARTED and run is None and event.run_id not in self._over:
            run = self._runs[event.run_id or ""] = self._begun(event)
            run.seq = event.seq - 1
        if run is None or event.seq <= run.seq:
            return
        run.seq = event.seq
        handle = _HANDLERS.get(event.kind)
        if handle is not None:
            handle(self, run, event, aloud)
        run.last_ns = event.ts * 1000
        if event.kind == ev.RUN_FINISHED and aloud and self._forgetful:
            self._forget(run)

    def knows(self, event: Event) -> bool:
        """Whether the run of an event was told from its beginning; or the event is none that needs that."""
        return event.run_id in self._runs or event.run_id in self._over or event.kind not in _HANDLERS

    def recall(self, run_id: str) -> None:
        """A run goes on that had ended."""
        self._over.pop(run_id, None)

    def leave(self, run_id: str, error: str | None) -> None:
        """End what goes on in a run of which nothing comes any more, at the time of its last event.

        ``error``: why nothing comes; None when it only goes on.
        """
        run = self._runs.get(run_id)
        if run is not None:
            self._end_all(run, error)
            self._forget(run)

    def _forget(self, run: _Run) -> None:
        del self._runs[run.run_id]
        # Runs below that were only remembered.
        for below in [one for one in self._runs.values() if one.facts.get("parent_run_id") == run.run_id]:
            self._forget(below)
        self._over[run.run_id] = run.lives
        if len(self._over) > FORGOTTEN:
            self._over.popitem(last=False)

    # --- runs --------------------------------------------------------------------------------

    def _begun(self, event: Event) -> _Run:
        facts, run_id = event.payload, event.run_id or ""
        above = self._runs.get(facts.get("parent_run_id") or "")
        if above is not None:
            step = above.steps.get(facts.get("parent_step_id") or "")
            span = step.inner if step is not None else above.span
            if span is not None:
                return _Run(run_id, facts, above.trace_id, set_span_in_context(span, Context()), remote=False)
        trace = TraceContext.from_dict(facts.get("trace")) or TraceContext(trace_id_of(run_id), None)
        return _Run(run_id, facts, trace.trace_id, context_of(trace), remote=trace.span_id is not None)

    def _run_started(self, run: _Run, event: Event, aloud: bool) -> None:
        run.lives = 1
        if aloud:
            self._begin_life(run, event)

    def _begin_life(self, run: _Run, event: Event) -> None:
        facts = run.facts
        attributes: dict[str, Any] = {
            "orchkit.run.id": run.run_id,
            "orchkit.run.name": str(facts.get("name", "")),
        }
        attributes |= _picked(facts, _FACTS)
        if run.lives > 1:
            attributes["orchkit.run.life"] = run.lives
        run.span = self._start(
            (run, *_life(run.lives)),
            f"{facts.get('kind', 'workflow')} {facts.get('name', '')}".rstrip(),
            run.parent,
            event,
            attributes,
            kind=SpanKind.SERVER if run.remote else SpanKind.INTERNAL,
            links=[]
            if run.lives == 1
            else [Link(_context(run.trace_id, span_id_of(run.run_id, *_life(run.lives - 1))))],
        )

    def _run_finished(self, run: _Run, event: Event, aloud: bool) -> None:
        self._end_all(run, None, event)

    def _run_resumed(self, run: _Run, event: Event, aloud: bool) -> None:
        if "pid" not in event.payload:  # it was only paused
            self._tell(run.span, "run.resumed", event, {})
            return
        self._end_all(run, "the process that ran it ended")
        run.lives += 1
        if aloud:
            self._begin_life(run, event)

    def _run_paused(self, run: _Run, event: Event, aloud: bool) -> None:
        self._tell(run.span, event.kind, event, {})

    def _end_all(self, run: _Run, error: str | None, event: Event | None = None) -> None:
        """End the run and what goes on in it: with its last event, or because nothing more is known."""
        end_ns, facts = run.last_ns, {"orchkit.cut_off" if error else "orchkit.incomplete": True}
        if event is not None:
            end_ns, facts = event.ts * 1000, {}
        for step in run.steps.values():
            for span in (*step.attempts.values(), step.span):
                _end(span, end_ns, facts, error)
        run.steps.clear()
        if run.span is None:
            return
        if event is not None:
            _fail(run.span, event.payload, event)
            _end(run.span, end_ns, _picked(event.payload, _RUN_END), _told(event.payload))
        else:
            _end(run.span, end_ns, facts, error)
        run.span = None

    # --- steps -------------------------------------------------------------------------------

    def _step_scheduled(self, run: _Run, event: Event, aloud: bool) -> None:
        step_id, payload = event.step_id or "", event.payload
        number = run.began[step_id] = run.began.get(step_id, 0) + 1
        if not aloud or run.span is None:
            return
        above = run.steps.get(payload.get("parent") or "")
        parent = above.inner if above is not None else run.span
        called = str(payload.get("name") or payload.get("node_type") or "step")
        attributes = {
            "orchkit.run.id": run.run_id,
            "orchkit.step.id": step_id,
            "orchkit.step.tool": called,
            "orchkit.step.node_type": str(payload.get("node_type", "task")),
        }
        again = (f"again {number}",) if number > 1 else ()
        span = self._start(
            (run, step_id, *again),
            f"step {called}",
            set_span_in_context(parent, Context()),
            event,
            attributes,
        )
        run.steps[step_id] = _Step(span, called)

    def _step_finished(self, run: _Run, event: Event, aloud: bool) -> None:
        payload = event.payload
        step = run.steps.pop(event.step_id or "", None)
        if step is None:  # it was skipped, and had not begun
            facts = {"orchkit.step.id": str(event.step_id)} | _picked(payload, _STEP_END)
            self._tell(run.span, "step.skipped", event, facts)
            return
        for span in step.attempts.values():
            _end(span, event.ts * 1000, {})
        _fail(step.span, payload, event)
        _end(step.span, event.ts * 1000, _picked(payload, _STEP_END), _told(payload))

    def _attempt_started(self, run: _Run, event: Event, aloud: bool) -> None:
        step, number = run.steps.get(event.step_id or ""), event.attempt or 1
        if step is None:
            return
        attributes = {
            "orchkit.run.id": run.run_id,
            "orchkit.step.id": event.step_id or "",
            "orchkit.attempt.number": number,
        }
        calls_out = run.facts.get("kind") == "operation" and str(run.facts.get("name")).startswith("gateway.")
        step.attempts[number] = self._start(
            (run, event.step_id or "", number),
            f"attempt {step.name}",
            set_span_in_context(step.span, Context()),
            event,
            attributes,
            kind=SpanKind.CLIENT if calls_out else SpanKind.INTERNAL,
        )

    def _attempt_finished(self, run: _Run, event: Event, aloud: bool) -> None:
        step = run.steps.get(event.step_id or "")
        span = step.attempts.pop(event.attempt or 1, None) if step is not None else None
        if span is not None:
            _fail(span, event.payload, event)
            _end(span, event.ts * 1000, _picked(event.payload, _ATTEMPT_END), _told(event.payload))

    # --- what happens on the way -------------------------------------------------------------

    def _decision(self, run: _Run, event: Event, aloud: bool) -> None:
        self._tell(self._where(run, event), "decision", event, _picked(event.payload, _DECISION))

    def _evidence(self, run: _Run, event: Event, aloud: bool) -> None:
        facts = {"evidence_id": "orchkit.evidence.id", "type": "orchkit.evidence.type"}
        self._tell(self._where(run, event), "evidence", event, _picked(event.payload, facts))

    def _step_reused(self, run: _Run, event: Event, aloud: bool) -> None:
        facts = {"orchkit.step.id": str(event.step_id)} | _picked(event.payload, _SOURCE)
        self._tell(self._where(run, event), event.kind, event, facts)

    def _breaker(self, run: _Run, event: Event, aloud: bool) -> None:
        self._tell(self._where(run, event), event.kind, event, _picked(event.payload, _BREAKER))

    def _where(self, run: _Run, event: Event) -> Span | None:
        """The innermost span that goes on and that the event is about."""
        step = run.steps.get(event.step_id or "")
        if step is None:
            return run.span
        return step.attempts.get(event.attempt or 0, step.span)

    def _tell(self, span: Span | None, name: str, event: Event, attributes: Mapping[str, Any]) -> None:
        if span is not None:
            span.add_event(name, dict(attributes), event.ts * 1000)

    def _start(
        self,
        whose: tuple[Any, ...],
        name: str,
        parent: Context,
        event: Event,
        attributes: Mapping[str, Any],
        **more: Any,
    ) -> Span:
        run: _Run = whose[0]
        if self._ids is not None:
            self._ids.set(run.trace_id, span_id_of(run.run_id, *whose[1:]))
        return self._tracer.start_span(
            name, parent, attributes=dict(attributes), start_time=event.ts * 1000, **more
        )


_SOURCE: Final = {
    "how": "orchkit.source.how",
    "run_id": "orchkit.source.run.id",
    "step_id": "orchkit.source.step.id",
}
_RUN_END: Final = {"status": "orchkit.run.status"}
_STEP_END: Final = {
    "status": "orchkit.step.status",
    "reason": "orchkit.step.reason",
    "attempts": "orchkit.step.attempts",
    "error_type": "error.type",
}
_ATTEMPT_END: Final = {
    "status": "orchkit.attempt.status",
    "abandoned": "orchkit.attempt.abandoned",
    "injected": "orchkit.attempt.injected",
    "error_type": "error.type",
}
_HANDLERS: Final = {
    ev.RUN_STARTED: SpanWriter._run_started,
    ev.RUN_FINISHED: SpanWriter._run_finished,
    ev.RUN_RESUMED: SpanWriter._run_resumed,
    ev.RUN_PAUSED: SpanWriter._run_paused,
    ev.STEP_SCHEDULED: SpanWriter._step_scheduled,
    ev.STEP_FINISHED: SpanWriter._step_finished,
    ev.STEP_REUSED: SpanWriter._step_reused,
    ev.ATTEMPT_STARTED: SpanWriter._attempt_started,
    ev.ATTEMPT_FINISHED: SpanWriter._attempt_finished,
    ev.DECISION: SpanWriter._decision,
    ev.EVIDENCE: SpanWriter._evidence,
    ev.BREAKER_TRANSITION: SpanWriter._breaker,
}


def context_of(trace: TraceContext) -> Context:
    """What a run begins in: the caller's span, or nothing (and nothing of whoever exports it)."""
    if trace.span_id is None:
        return Context()
    state = TraceState.from_header([trace.state]) if trace.state else None
    caller = _context(trace.trace_id, trace.span_id, trace.flags, state, remote=True)
    return set_span_in_context(NonRecordingSpan(caller), Context())


def _context(
    trace_id: str, span_id: str, flags: int = 1, state: TraceState | None = None, *, remote: bool = False
) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), remote, TraceFlags(flags), state)


def _life(number: int) -> tuple[str, ...]:
    """What tells the span of a run from that of its first life."""
    return (f"life {number}",) if number > 1 else ()


def _picked(payload: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """The facts that are there, under their names as attributes."""
    found = {attribute: payload.get(name) for name, attribute in names.items()}
    return {
        attribute: value if isinstance(value, bool | int | float | str) else str(value)
        for attribute, value in found.items()
        if value is not None
    }


def _told(payload: Mapping[str, Any]) -> str | None:
    """What is said of a failure; None for what did not fail."""
    return str(payload.get("error") or payload.get("status")) if payload.get("status") in _BAD else None


def _fail(span: Span, payload: Mapping[str, Any], event: Event) -> None:
    """Put the error of something that failed on its span, as an exception event."""
    if payload.get("status") not in _BAD or not payload.get("error"):
        return
    facts = {
        "exception.type": str(payload.get("error_type") or "Error"),
        "exception.message": str(payload["error"]),
    }
    if where := payload.get("where"):
        facts["exception.stacktrace"] = "\n".join(map(str, where))
    span.add_event("exception", facts, event.ts * 1000)


def _end(span: Span, end_ns: int, facts: Mapping[str, Any], error: str | None = None) -> None:
    for name, value in facts.items():
        span.set_attribute(name, value)
    if error is not None:
        span.set_status(Status(StatusCode.ERROR, error))
    span.end(end_ns)
