"""W3C trace context: what is read, what is kept on the record, what is sent on."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orchkit as ok
from orchkit.gateway.tracecontext import carried, incoming, outgoing
from orchkit.model.tracecontext import TraceContext, span_id_of, trace_id_of
from orchkit.registry.registry import Registry

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01\n",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
    ],
)
def test_malformed_parents_are_none(text: str) -> None:
    """A malformed traceparent begins a new trace instead of being sent on."""
    assert TraceContext.parse(text, "a=1") is None


def test_later_version_is_read_as_far_as_it_is_known() -> None:
    """A later version is read as version 00, whatever follows, and sent on as version 00."""
    found = TraceContext.parse(f"cc-{TRACE}-{SPAN}-ff-what-the-future-will-be")
    assert found is not None
    assert found.traceparent == f"00-{TRACE}-{SPAN}-03"


@pytest.mark.parametrize(
    ("state", "carried_on"),
    [
        ("", ""),
        ("congo=t61rcWkgMzE", "congo=t61rcWkgMzE"),
        ("a=1 , b=2,,c=3", "a=1,b=2,c=3"),
        ("tenant@system=x", "tenant@system=x"),
        ("a=1,a=2", ""),
        ("A=1", ""),
        ("a", ""),
        ("a=b=c", ""),
        ("a=\x7f", ""),
        (",".join(f"k{n}=1" for n in range(33)), ""),
        (f"a={'x' * 256},b={'x' * 256}", ""),
    ],
)
def test_states_that_cannot_be_sent_are_left_out(state: str, carried_on: str) -> None:
    """A tracestate is carried as it is, and one that breaks the rules is left out; the parent stays."""
    found = TraceContext.parse(PARENT, state)
    assert found is not None
    assert (found.traceparent, found.state) == (PARENT, carried_on)


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_is_read(parent: str, state: str) -> None:
    """Whatever a client sends is read without an error, and what is kept can be sent and read again."""
    found = TraceContext.parse(parent, state)
    if found is not None:
        again = TraceContext.parse(found.traceparent, found.state)
        assert again == found


@given(st.from_regex(r"[0-9a-f]{32}", fullmatch=True), st.from_regex(r"[0-9a-f]{16}", fullmatch=True))
def test_sound_parents_survive_the_record(trace: str, span: str) -> None:
    """A sound context comes back from the record as it was."""
    found = TraceContext.parse(f"00-{trace}-{span}-00", "a=1")
    assert (found is None) == (not int(trace, 16) or not int(span, 16))
    if found is not None:
        assert TraceContext.from_dict(found.to_dict()) == found


@pytest.mark.parametrize(
    "facts", [None, 1, {}, {"trace_id": TRACE.upper()}, {"trace_id": TRACE, "parent_id": 1}]
)
def test_records_of_others_are_not_believed(facts: Any) -> None:
    """What is no trace context in a record is none."""
    assert TraceContext.from_dict(facts) is None


def test_two_parents_are_none() -> None:
    """A request with two traceparents has no trace context; several tracestates are one."""
    parent = (b"traceparent", PARENT.encode())
    assert incoming([parent, parent]) is None
    found = incoming([parent, (b"tracestate", b"a=1"), (b"tracestate", b"b=2")])
    assert found is not None
    assert found.state == "a=1,b=2"


def test_ids_follow_from_the_record() -> None:
    """Trace and span ids are made of run, step and attempt alone, are sound, and differ."""
    ids = {
        span_id_of("run_1"),
        span_id_of("run_1", "a"),
        span_id_of("run_1", "a", 1),
        span_id_of("run_1", "a", 2),
    }
    assert len(ids) == 4
    assert all(TraceContext.parse(f"00-{trace_id_of('run_1')}-{span}-01") for span in ids)
    assert span_id_of("run_1", "a", 1) == span_id_of("run_1", "a", 1)


def run_of(kit: Any, headers: list[tuple[bytes, bytes]] | None) -> tuple[str, list[TraceContext | None]]:
    """A run with a step that asks what it would send, three times; its id and what it said."""
    said: list[TraceContext | None] = []

    def look() -> None:
        """Fail twice."""
        said.append(outgoing())
        if len(said) < 3:
            raise ValueError("again")

    kit.registry.methods.register_method(look)
    flow = kit.workflow("flow").add_step("look", retry={"max_attempts": 3, "delay": 0}).build()
    if headers is None:
        return kit.run(flow).run_id, said
    with carried(headers):
        handle = kit.start(flow)
    return handle.result(20).run_id, said


def test_attempts_send_their_own_place_in_the_trace() -> None:
    """The run records the trace of the request, and each attempt sends a span of its own in it."""
    headers = [(b"traceparent", PARENT.encode()), (b"tracestate", b"a=1")]
    with ok.open(registry=Registry()) as kit:
        run_id, said = run_of(kit, headers)
        started = kit.store.events(run_id)[0].payload
    assert started["trace"] == {"trace_id": TRACE, "parent_id": SPAN, "flags": 1, "state": "a=1"}
    assert [one and one.headers for one in said] == [
        {"traceparent": f"00-{TRACE}-{span_id_of(run_id, 'look', number)}-01", "tracestate": "a=1"}
        for number in (1, 2, 3)
    ]


def test_without_a_trace_a_run_is_one() -> None:
    """A request without trace context begins a trace, which is recorded; a run without a request is one."""
    with ok.open(registry=Registry()) as kit:
        run_id, said = run_of(kit, [])
        trace = TraceContext.from_dict(kit.store.events(run_id)[0].payload["trace"])
        assert trace is not None
        assert trace.span_id is None
        assert [one and one.trace_id for one in said] == [trace.trace_id] * 3
    with ok.open(registry=Registry()) as kit:
        run_id, said = run_of(kit, None)
        assert "trace" not in kit.store.events(run_id)[0].payload
        assert [one and one.trace_id for one in said] == [trace_id_of(run_id)] * 3
    assert outgoing() is None
