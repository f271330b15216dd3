"""Runs as OpenTelemetry spans, made from the record: of runs that are over, and as they go on.

One span per run, step and attempt, with the times of the record; the run of a sub-workflow is below the step
that is it. Choices are span events, and so are errors. Where a run was asked for with a trace context (W3C),
the span of the caller is the parent of the run's. The ids of spans follow from the ids of runs and steps and
the numbers of attempts: what is exported twice is the same, and a service that was called within an attempt
finds its parent there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from orchkit.errors import MissingExtraError, OrchkitError, ParameterError, Problem, UnknownNameError
from orchkit.model import event as ev
from orchkit.model.event import Event
from orchkit.model.notice import tell
from orchkit.model.tracecontext import TraceContext, span_id_of, trace_id_of
from orchkit.store import codec
from orchkit.store.log import StoredRow
from orchkit.store.store import Store

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import TracerProvider

    from orchkit.interop.otelspans import SpanWriter

LOOK_S = 1.0
"""So much later than its store, at most, ends who follows it."""
_CUT_OFF = "the run was cut off"
_ABOVE = "SELECT parent_run_id FROM run_start WHERE run_id = ? ORDER BY seq LIMIT 1"
_FIRST = (
    "SELECT seq, ts, kind, run_id, step_id, attempt, payload FROM event "
    "WHERE run_id = ? AND kind = 'run.started' ORDER BY seq LIMIT 1"
)
_MOST_LEVELS = 100


class Recorded(Protocol):
    """A run that is on record, such as `orchkit.Run`."""

    @property
    def id(self) -> str:
        """Its id."""
        ...

    @property
    def store(self) -> Any:
        """Where it is read from."""
        ...


class HasStore(Protocol):
    """Something that works on a store, such as `orchkit.Kit`."""

    @property
    def store(self) -> Store:
        """It."""
        ...


def export(run: Recorded, to: SpanExporter | TracerProvider) -> int:
    """Export the spans of a run and of the runs below it; returns how many events they were made of.

    What has no end on record ends with the last event of its run: where the run was cut off as an error,
    marked ``orchkit.cut_off``; where it goes on marked ``orchkit.incomplete``.

    Args:
        run: A run, such as ``kit.last``.
        to: A span exporter, or the provider whose processors and sampler are to be used.

    Raises:
        MissingExtraError: The extra ``otel`` is not installed.
        UnknownNameError: There is no such run.
    """
    events = sorted(
        (event for found in run.store.events_below(run.id).values() for event in found),
        key=lambda event: event.seq,
    )
    if not events:
        raise UnknownNameError("run", run.id)
    writer = _writer(_provider(to))
    if (first := events[0]).payload.get("parent_run_id"):
        events[0] = _below(run.store, first)
    for event in events:
        writer.take(event)
    for run_id in reversed(list(dict.fromkeys(event.run_id or "" for event in events))):
        writer.leave(run_id, None if _goes_on(run.store, run_id) else _CUT_OFF)
    return len(events)


def _goes_on(store: Any, run_id: str) -> bool:
    """Whether somebody works on a run, as far as its store can tell."""
    open_runs = getattr(store, "open_runs", None)
    if open_runs is None:
        return False
    return any(run.run_id == run_id and not open_runs.is_cut_off(run) for run in open_runs.all())


def follow(kit: HasStore, tracer_provider: TracerProvider) -> Following:
    """Make spans of all runs of this process as they go on, until `Following.stop`.

    Each span is handed over when it ends. It happens in a thread of its own, so that no run waits for it.

    Raises `MissingExtraError` where the extra ``otel`` is not installed.
    """
    return Following(kit.store, _writer(tracer_provider, forgetful=True))


class Following:
    """What `follow` began."""

    def __init__(self, store: Store, writer: SpanWriter) -> None:
        self._store, self._writer = store, writer
        self._rows: SimpleQueue[list[StoredRow] | None] = SimpleQueue()
        self._stop: Callable[[], None] | None = store.subscribe(self._rows.put)
        self._lock = threading.Lock()
        self._others: set[str] = set()
        self._thread = threading.Thread(target=self._work, name="orchkit-otel", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return self._thread.is_alive()

    def stop(self, timeout: float = 10.0) -> None:
        """Hand over what has ended so far, and follow no more; idempotent.

        Runs that go on are not exported; `export` does that when they are over.
        """
        with self._lock:
            if self._stop is not None:
                self._stop()
                self._stop = None
                self._rows.put(None)
        self._thread.join(timeout)

    def _work(self) -> None:
        while (rows := self._next()) is not None:
            for row in rows:
                try:
                    self._take(row)
                except Exception as error:
                    # A span that cannot be made must not end the making of spans.
                    tell(f"a span could not be made of event {row[0]}: {error!r}")

    def _next(self) -> list[StoredRow] | None:
        """The rows of the next commit; None when it was stopped, or the store was closed."""
        while True:
            try:
                return self._rows.get(timeout=LOOK_S)
            except Empty:
                if self._store.closed:
                    return None

    def _take(self, row: StoredRow) -> None:
        seq, ts, kind, run_id, step_id, attempt, payload = row
        if run_id is None:
            return
        event = Event(seq, ts, kind, run_id, step_id, attempt, codec.loads(payload))
        if kind == ev.RUN_STARTED and not _is_ours(event.payload):
            self._others.add(run_id)
        if run_id in self._others:
            self._others -= {run_id} if kind == ev.RUN_FINISHED else set()
            return
        if kind == ev.RUN_RESUMED and "pid" in event.payload:
            self._writer.recall(run_id)
            self._catch_up(run_id, seq, aloud=False)
        elif kind != ev.RUN_STARTED and not self._writer.knows(event):
            self._catch_up(run_id, seq, aloud=True)
        self._writer.take(event)

    def _catch_up(self, run_id: str, seq: int, *, aloud: bool) -> None:
        """A run that had begun before anybody followed it: with those above it, of which it is part."""
        try:
            found = self._store.events_below(_top(self._store, run_id))
        except OrchkitError:
            return  # without its beginning it has no place
        earlier = [event for events in found.values() for event in events if event.seq < seq]
        for event in sorted(earlier, key=lambda event: event.seq):
            self._writer.take(event, aloud=aloud)


def _is_ours(facts: Mapping[str, Any]) -> bool:
    """Whether a run begins in this process and in real time: it may have been imported, or be simulated."""
    return facts.get("pid") == os.getpid() and not facts.get("simulated")


def _top(store: Any, run_id: str) -> str:
    """The run that is above all others that a run is below of."""
    for _ in range(_MOST_LEVELS):
        rows = store.query(_ABOVE, [run_id])
        if not rows or rows[0][0] is None:
            break
        run_id = rows[0][0]
    return run_id


def _below(store: Any, first: Event) -> Event:
    """The beginning of a run below another one, with the place of the step that it is as its trace."""
    payload = dict(first.payload)
    run_id, step_id = payload["parent_run_id"], payload.get("parent_step_id") or ""
    top = _top(store, run_id)
    rows = store.query(_FIRST, [top])
    recorded = TraceContext.from_dict(codec.loads(rows[0][-1]).get("trace")) if rows else None
    trace = (recorded or TraceContext(trace_id_of(top), None)).at(span_id_of(run_id, step_id))
    payload["trace"] = trace.to_dict()
    return Event(first.seq, first.ts, first.kind, first.run_id, first.step_id, first.attempt, payload)


def _writer(provider: TracerProvider, *, forgetful: bool = False) -> SpanWriter:
    try:
        from orchkit.interop import otelspans
    except ImportError as error:
        raise MissingExtraError("opentelemetry-api", "otel") from error
    return otelspans.SpanWriter(provider, forgetful=forgetful)


def _provider(to: Any) -> TracerProvider:
    """The provider that was given, or one that hands each span to the exporter."""
    if hasattr(to, "get_tracer"):
        provider: TracerProvider = to
        return provider
    if not hasattr(to, "export"):
        cause = f"a {type(to).__name__} is neither a span exporter nor a tracer provider"
        raise ParameterError("export", [Problem("to", cause)])
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider as Provider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.sampling import ALWAYS_ON
    except ImportError as error:
        raise MissingExtraError("opentelemetry-sdk", "otel") from error
    resource = Resource.create({"service.name": "orchkit"})
    # The exporter is its owner's to shut down.
    made = Provider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
    made.add_span_processor(SimpleSpanProcessor(to))
    return made
