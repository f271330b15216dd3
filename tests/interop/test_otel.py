"""Runs as OpenTelemetry spans: of the record, and as they go on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import SpanKind, StatusCode

import orchkit as ok
from orchkit.errors import MissingExtraError, ParameterError, UnknownNameError
from orchkit.gateway.tracecontext import carried, outgoing
from orchkit.interop import otel
from orchkit.kit import Kit
from orchkit.model.tracecontext import span_id_of, trace_id_of
from orchkit.registry.registry import Registry

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADERS = [(b"traceparent", f"00-{TRACE}-{SPAN}-01".encode()), (b"tracestate", b"vendor=1")]


@pytest.fixture
def kit() -> Iterator[Kit]:
    """A kit in memory, with tools of every kind."""
    with ok.open(registry=Registry()) as kit:
        register(kit)
        yield kit


def register(kit: Kit) -> None:
    """Tools that succeed, fail, and fail at first."""
    failures = [ValueError("first"), ValueError("second")]
    sent: list[Any] = []

    def good(n: int = 0) -> int:
        """Succeed, and say why."""
        ok.trace_decision("path", "left", "it is shorter")
        ok.bundle_evidence("map", {"n": n})
        sent.append(outgoing())
        return n

    def shaky() -> str:
        """Fail twice."""
        if failures:
            raise failures.pop(0)
        return "done"

    def bad() -> None:
        """Fail."""
        raise KeyError("lost")

    for function in (good, shaky, bad):
        kit.registry.methods.register_method(function)
    kit.sent = sent  # type: ignore[attr-defined]


def until(there: Callable[[], Any]) -> None:
    """Wait until something is so, but not for ever."""
    deadline = time.monotonic() + 20
    while not there():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.005)


def exported(run: Any) -> list[ReadableSpan]:
    """The spans of a run, as an exporter gets them."""
    exporter = InMemorySpanExporter()
    otel.export(run, exporter)
    return list(exporter.get_finished_spans())


def by_name(spans: list[ReadableSpan]) -> dict[str, ReadableSpan]:
    """The last span of each name."""
    return {span.name: span for span in sorted(spans, key=lambda span: span.start_time or 0)}


def flow_of(kit: Kit, name: str = "flow") -> Any:
    """A workflow with retries, a map and a sub-workflow."""
    inner = kit.workflow("inner").add_step("good").build()
    return (
        kit.workflow(name)
        .add_step("shaky", retry={"max_attempts": 3, "delay": 0})
        .add_map("good", [1, 2], {"n": "${item}"}, step_id="each")
        .add_workflow(inner, step_id="sub")
        .build()
    )


# --- of the record -------------------------------------------------------------------------


def test_parents_and_children_are_those_of_the_run(kit: Kit) -> None:
    """Attempts are below steps, items below maps, sub-workflows below their step, all in one trace."""
    spans = exported(kit.run(flow_of(kit)).run)
    by_id = {span.context.span_id: span for span in spans}
    roots = [span.name for span in spans if span.parent is None]
    pairs = sorted((by_id[span.parent.span_id].name, span.name) for span in spans if span.parent is not None)
    assert roots == ["workflow flow"]
    assert pairs == sorted(
        [
            ("workflow flow", "step shaky"),
            ("workflow flow", "step good"),
            ("workflow flow", "step inner"),
            *[("step shaky", "attempt shaky")] * 3,
            *[("step good", "step good")] * 2,
            *[("step good", "attempt good")] * 3,
            ("step inner", "workflow inner"),
            ("workflow inner", "step good"),
        ]
    )
    assert len({span.context.trace_id for span in spans}) == 1


def test_times_are_those_of_the_record(kit: Kit) -> None:
    """Spans begin and end at the times of their events, however much later they are exported."""
    run = kit.run(flow_of(kit)).run
    state, spans = run.state, by_name(exported(run))
    root, shaky = spans["workflow flow"], spans["step shaky"]
    assert (root.start_time, root.end_time) == (state.started_us * 1000, state.finished_us * 1000)
    step = state.steps["shaky"]
    assert (shaky.start_time, shaky.end_time) == (step.scheduled_us * 1000, step.finished_us * 1000)
    last = spans["attempt shaky"]
    assert last.start_time == step.attempts[-1].started_us * 1000


def test_failures_are_statuses_with_exceptions(kit: Kit) -> None:
    """What failed is an error with an exception event and error.type; what was skipped is told of."""
    flow = kit.workflow("flow").add_step("bad").add_step("good", depends_on=["bad"]).build()
    spans = by_name(exported(kit.run(flow).run))
    for name in ("attempt bad", "step bad"):
        span = spans[name]
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes is not None
        assert span.attributes["error.type"] == "KeyError"
        facts = [event.attributes for event in span.events if event.name == "exception"]
        assert facts[0] is not None
        assert facts[0]["exception.type"] == "KeyError"
        assert "lost" in str(facts[0]["exception.message"])
    root = spans["workflow flow"]
    assert root.status.status_code is StatusCode.ERROR
    assert "step good" not in spans
    skipped = next(event.attributes for event in root.events if event.name == "step.skipped")
    assert skipped is not None
    assert skipped["orchkit.step.id"] == "good"


def test_what_succeeds_has_no_status(kit: Kit) -> None:
    """The status of what succeeded is unset, as the conventions ask; how it ended is an attribute."""
    spans = by_name(exported(kit.run(flow_of(kit)).run))
    for name in ("workflow flow", "step shaky", "attempt shaky"):
        assert spans[name].status.status_code is StatusCode.UNSET
    attributes = spans["step shaky"].attributes
    assert attributes is not None
    assert (attributes["orchkit.step.status"], attributes["orchkit.step.attempts"]) == ("success", 3)


def test_decisions_are_events_of_what_they_are_about(kit: Kit) -> None:
    """A decision of the code is an event of its attempt, one of the engine of the step; with evidence."""
    spans = by_name(exported(kit.run(flow_of(kit)).run))
    told = {
        e.attributes.get("orchkit.decision.point"): e for e in spans["attempt good"].events if e.attributes
    }
    facts = told["path"].attributes
    assert facts is not None
    assert (facts["orchkit.decision.outcome"], facts["orchkit.decision.rationale"]) == (
        "left",
        "it is shorter",
    )
    assert "evidence" in [event.name for event in spans["attempt good"].events]
    points = [e.attributes["orchkit.decision.point"] for e in spans["step shaky"].events if e.attributes]
    assert points.count("retry") >= 2


def test_the_caller_is_the_parent(kit: Kit) -> None:
    """A run that was asked for with a trace context is below its caller, in that trace."""
    with carried(HEADERS):
        handle = kit.start(flow_of(kit))
    handle.result(20)
    spans = exported(handle.run)
    root = by_name(spans)["workflow flow"]
    assert root.parent is not None
    assert (f"{root.parent.trace_id:032x}", f"{root.parent.span_id:016x}") == (TRACE, SPAN)
    assert root.parent.is_remote
    assert root.kind is SpanKind.SERVER
    assert root.context.trace_state.get("vendor") == "1"
    assert {f"{span.context.trace_id:032x}" for span in spans} == {TRACE}


def test_what_was_sent_with_a_call_is_what_is_exported(kit: Kit) -> None:
    """The span id that went out with a call is that of the attempt's span."""
    with carried(HEADERS):
        handle = kit.start(kit.workflow("flow").add_step("good").build())
    handle.result(20)
    attempt = by_name(exported(handle.run))["attempt good"]
    sent = kit.sent[0]  # type: ignore[attr-defined]
    assert f"{attempt.context.span_id:016x}" == sent.span_id == span_id_of(handle.run_id, "good", 1)
    assert sent.traceparent.startswith(f"00-{TRACE}-")


def test_exporting_twice_gives_the_same_spans(kit: Kit) -> None:
    """A run that was asked for without a trace has one of its own, which is always the same."""
    run = kit.run(flow_of(kit)).run
    one, two = exported(run), exported(run)
    assert [(s.context.trace_id, s.context.span_id) for s in one] == [
        (s.context.trace_id, s.context.span_id) for s in two
    ]
    assert f"{one[-1].context.trace_id:032x}" == trace_id_of(run.id)
    assert one[-1].resource.attributes["service.name"] == "orchkit"


def test_a_fork_tells_what_it_has_from_the_other_run(kit: Kit) -> None:
    """What a fork reuses has no attempt in it; whose result it is, is told in the span of its run."""
    retry = {"max_attempts": 3, "delay": 0}
    flow = kit.workflow("flow").add_step("good").add_step("shaky", depends_on=["good"], retry=retry).build()
    first = kit.run(flow)
    fork = kit.fork(first.run_id, from_step="shaky")
    fork.result(20)
    spans = by_name(exported(fork.run))
    assert set(spans) == {"workflow flow", "step good", "step shaky", "attempt shaky"}
    reused = next(event.attributes for event in spans["workflow flow"].events if event.name == "step.reused")
    assert reused is not None
    assert (reused["orchkit.source.run.id"], reused["orchkit.source.step.id"]) == (first.run_id, "good")


def test_a_sub_workflow_alone_is_below_its_step(kit: Kit) -> None:
    """The run of a sub-workflow exported by itself has its place in the trace of the run above."""
    run = kit.run(flow_of(kit)).run
    whole = {span.name: span for span in exported(run)}
    below = next(run_id for run_id in kit.store.events_below(run.id) if run_id != run.id)
    alone = {span.name: span for span in exported(kit.runs[below])}
    assert sorted(alone) == ["attempt good", "step good", "workflow inner"]
    for span in (alone["workflow inner"], whole["workflow inner"]):
        assert span.parent is not None
        assert (span.parent.span_id, span.context.span_id) == (
            whole["step inner"].context.span_id,
            whole["workflow inner"].context.span_id,
        )


def test_a_provider_decides_what_is_sampled(kit: Kit) -> None:
    """With a provider its sampler is asked: what its caller did not sample is not exported."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ParentBased(ALWAYS_OFF), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    flow = kit.workflow("flow").add_step("good").build()
    for flags in ("00", "01"):
        with carried([(b"traceparent", f"00-{TRACE}-{SPAN}-{flags}".encode())]):
            handle = kit.start(flow)
        handle.result(20)
        assert otel.export(handle.run, provider) > 0
        assert len(exporter.get_finished_spans()) == (3 if flags == "01" else 0)
    assert otel.export(kit.run(flow).run, provider) > 0
    assert len(exporter.get_finished_spans()) == 3


def test_spans_of_others_keep_their_own_ids(kit: Kit) -> None:
    """Exporting changes nothing for other spans, neither those around it nor their ids."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    run = kit.run(kit.workflow("flow").add_step("good").build()).run
    with provider.get_tracer("mine").start_as_current_span("around"):
        otel.export(run, provider)
        provider.get_tracer("mine").start_span("beside").end()
    spans = by_name(list(exporter.get_finished_spans()))
    assert spans["workflow flow"].parent is None
    assert spans["beside"].parent is not None
    assert spans["beside"].parent.span_id == spans["around"].context.span_id


KILLED = """
import os, sys
import orchkit as ok

kit = ok.open(sys.argv[1])

def die() -> None:
    os._exit(9)

kit.registry.methods.register_method(die)
kit.run(kit.workflow("doomed").add_step("die").build())
"""


def test_what_was_cut_off_ends_with_its_last_event(tmp_path: Path) -> None:
    """What was cut off is an error that ends where the record ends; resumed, it has two lives."""
    path = tmp_path / "runs.duckdb"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=60, check=False)
    with ok.open(path, registry=Registry()) as kit:
        kit.registry.methods.register_method(lambda: None, name="die")
        run = kit.runs[-1]
        spans = by_name(exported(run))
        assert {"workflow doomed", "step die", "attempt die"} == set(spans)
        for span in spans.values():
            assert span.status.status_code is StatusCode.ERROR
            assert span.attributes is not None
            assert span.attributes["orchkit.cut_off"] is True
            assert span.end_time == run.state.last_us * 1000
        kit.resume(run.id).result(20)
        again = exported(run)
    lives = [span for span in again if span.name == "workflow doomed"]
    assert [span.status.status_code for span in lives] == [StatusCode.ERROR, StatusCode.UNSET]
    assert lives[1].links[0].context.span_id == lives[0].context.span_id
    assert len({span.context.span_id for span in again}) == len(again) == 6


def test_a_run_that_goes_on_is_incomplete(kit: Kit) -> None:
    """What goes on is exported up to now, marked as incomplete, and is no error."""
    gate = threading.Event()
    kit.registry.methods.register_method(lambda: gate.wait(20), name="hold")
    handle = kit.start(kit.workflow("flow").add_step("hold").build())
    until(lambda: len(kit.store.events(handle.run_id)) >= 4)
    spans = exported(handle.run)
    gate.set()
    handle.result(20)
    assert {span.name for span in spans} == {"workflow flow", "step hold", "attempt hold"}
    for span in spans:
        assert span.status.status_code is StatusCode.UNSET
        assert span.attributes is not None
        assert span.attributes["orchkit.incomplete"] is True


def test_what_cannot_be_exported_is_told(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown run, what is no exporter, and a missing extra are errors that say so."""
    with pytest.raises(UnknownNameError):
        otel.export(ok.Run(kit.store, "run_0"), InMemorySpanExporter())
    run = kit.run(kit.workflow("flow").add_step("good").build()).run
    with pytest.raises(ParameterError, match="neither a span exporter"):
        otel.export(run, object())  # type: ignore[arg-type]
    monkeypatch.delattr("orchkit.interop.otelspans")
    monkeypatch.setitem(sys.modules, "orchkit.interop.otelspans", None)
    with pytest.raises(MissingExtraError, match=r"orchkit\[otel\]"):
        otel.export(run, InMemorySpanExporter())


# --- as they go on -------------------------------------------------------------------------


@pytest.fixture
def live(kit: Kit) -> Iterator[tuple[otel.Following, InMemorySpanExporter]]:
    """The spans of the kit as they end."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    following = otel.follow(kit, provider)
    yield following, exporter
    following.stop()


def key(spans: Any) -> list[tuple[Any, ...]]:
    """What makes a span what it is, in an order of its own."""
    return sorted(
        (
            span.name,
            span.context.trace_id,
            span.context.span_id,
            span.parent.span_id if span.parent else 0,
            span.start_time,
            span.end_time,
            span.status.status_code.name,
            tuple(sorted((name, str(value)) for name, value in (span.attributes or {}).items())),
            tuple((event.name, event.timestamp) for event in span.events),
        )
        for span in spans
    )


def test_live_spans_are_those_of_the_record(kit: Kit, live: Any) -> None:
    """What is followed gives the same spans as what is exported afterwards."""
    following, exporter = live
    runs = [kit.run(flow_of(kit, f"flow{n}")).run for n in range(3)]
    runs.append(kit.run(kit.workflow("bad").add_step("bad").build()).run)
    following.stop()
    afterwards = InMemorySpanExporter()
    for run in runs:
        otel.export(run, afterwards)
    assert key(exporter.get_finished_spans()) == key(afterwards.get_finished_spans())


def test_spans_come_when_they_end(kit: Kit, live: Any) -> None:
    """The span of a step is there while its run goes on; what goes on when following stops is not."""
    following, exporter = live
    gate = threading.Event()
    kit.registry.methods.register_method(lambda: gate.wait(20), name="hold")
    handle = kit.start(kit.workflow("flow").add_step("good").add_step("hold", depends_on=["good"]).build())
    until(lambda: "step good" in {span.name for span in exporter.get_finished_spans()})
    following.stop()
    following.stop()
    gate.set()
    handle.result(20)
    assert {span.name for span in exporter.get_finished_spans()} == {"attempt good", "step good"}
    assert not following.running
    assert "orchkit-otel" not in {thread.name for thread in threading.enumerate()}


def test_runs_that_had_begun_before_are_caught_up_with(kit: Kit) -> None:
    """Following begins in the midst of a run: its spans are whole all the same."""
    gate = threading.Event()
    kit.registry.methods.register_method(lambda: gate.wait(20), name="hold")
    inner = kit.workflow("inner").add_step("hold").build()
    flow = (
        kit.workflow("flow").add_step("good").add_workflow(inner, step_id="sub", depends_on=["good"]).build()
    )
    handle = kit.start(flow)
    until(lambda: len(kit.store.events_below(handle.run_id)) >= 2)
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    following = otel.follow(kit, provider)
    gate.set()
    handle.result(20)
    following.stop()
    assert key(exporter.get_finished_spans()) == key(exported(handle.run))


def test_a_run_that_is_taken_up_again_has_another_life(kit: Kit, live: Any) -> None:
    """A run that had ended and is resumed gives the spans of its second life, and those of the first once."""
    following, exporter = live
    first = kit.run(kit.workflow("flow").add_step("good").add_step("shaky", depends_on=["good"]).build())
    kit.resume(first.run_id).result(20)
    following.stop()
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans].count("workflow flow") == 2
    assert key(spans) == key(exported(first.run))


def test_following_ends_with_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the kit is closed and nobody has stopped it, the thread ends by itself."""
    monkeypatch.setattr(otel, "LOOK_S", 0.01)
    with ok.open(registry=Registry()) as kit:
        following = otel.follow(kit, TracerProvider(shutdown_on_exit=False))
        assert following.running
    until(lambda: not following.running)


def test_following_goes_on_over_what_it_cannot_read(kit: Kit, live: Any) -> None:
    """A record that is not what it should be makes no span, and does not end the making of spans."""
    following, exporter = live
    kit.store.record("step.scheduled", {"name": 1}, run_id="run_unknown")
    kit.store.record("run.started", {"trace": [], "name": None, "kind": 3}, run_id="run_odd")
    kit.run(kit.workflow("flow").add_step("good").build())
    following.stop()
    assert "workflow flow" in {span.name for span in exporter.get_finished_spans()}


def test_a_provider_of_the_api_alone_is_enough(kit: Kit) -> None:
    """A provider that records nothing is accepted."""
    following = otel.follow(kit, trace.NoOpTracerProvider())
    run = kit.run(kit.workflow("flow").add_step("good").build()).run
    following.stop()
    assert otel.export(run, trace.NoOpTracerProvider()) > 0
