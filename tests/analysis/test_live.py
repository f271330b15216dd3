"""A run followed by its rows: caught up with, in order, with those below it."""

from __future__ import annotations

from typing import Any

import pytest

import orchkit as ok
from orchkit.analysis.live import NEWS, Live
from orchkit.model.event import Event
from orchkit.model.state import RunState, fold
from orchkit.registry.registry import Registry
from orchkit.store import codec
from orchkit.store.log import StoredRow


def row(event: Event) -> StoredRow:
    """The event as the log tells it."""
    text = codec.dumps(event.payload)
    return event.seq, event.ts, event.kind, event.run_id, event.step_id, event.attempt, text


def test_what_is_on_record_and_what_is_heard_meanwhile_are_taken_once(recording: Any) -> None:
    """It listens, then reads what was before: the rows that are in both count once, in their order."""
    run = recording().start("w").begin("a").attempt("a", 1, "success").finish("a").end()
    expected = fold(run.events)
    for split in range(len(run.events) + 1):
        live = Live("run_1")
        live.listen([row(event) for event in run.events[max(0, split - 2) :]])
        live.catch_up({"run_1": run.events[:split]})
        assert live.drain() == len(run.events) - split
        assert live.state == expected
        assert live.drain() == 0


def test_rows_of_other_runs_are_nothing_to_it(recording: Any) -> None:
    """Several runs write to one store."""
    live = Live("run_2")
    live.listen([row(event) for event in recording().start("w").begin("a").events])
    assert live.drain() == 0
    assert live.state == RunState()


def test_runs_of_sub_workflows_are_followed(recording: Any) -> None:
    """Those that begin below the run, at any depth, are folded under the path of their step."""
    outer, inner, innermost = recording("run_1"), recording("run_2"), recording("run_3")
    events = [
        *outer.start("outer").begin("s").events,
        *inner.start("inner", parent_run_id="run_1", parent_step_id="s").begin("t").events,
        *innermost.start("innermost", parent_run_id="run_2", parent_step_id="t").begin("u").events,
    ]
    live = Live("run_1")
    for seq, event in enumerate(events, 1):
        live.listen([(seq, *row(event)[1:])])
    live.drain()
    names = {path: state.name for path, state in live.below.items()}
    assert names == {("s",): "inner", ("s", "t"): "innermost"}
    assert live.below["s", "t"].steps["u"].status == "running"


@pytest.mark.parametrize("ended", [False, True], ids=["tried again", "given up"])
def test_a_wait_is_over_with_the_next_attempt_or_the_step(recording: Any, ended: bool) -> None:
    """From the decision to try again on, until something comes of it."""
    inputs = {"attempt": 1, "max_attempts": 3, "delay_s": 12.0, "error_type": "OSError"}
    run = recording().start("w").begin("a").attempt("a", 1, "failed")
    run.decided("a", "retry", "retry", "because", origin="engine", input_data=inputs)
    live = Live("run_1")
    live.catch_up({"run_1": run.events})
    (wait,) = live.waits.values()
    assert (wait.path, wait.why) == (("a",), "attempt 1 of 3 failed with OSError")
    assert wait.until_us == run.events[-1].ts + 12_000_000
    count = len(run.events)
    run.finish("a", "cancelled") if ended else run.add("attempt.started", "a", 2)
    live.listen([row(event) for event in run.events[count:]])
    live.drain()
    assert not live.waits


def test_the_last_events_are_told_without_the_common_ones(recording: Any) -> None:
    """Progress and evidence, of which there may be thousands, and the choice of a policy are left out."""
    run = recording().start("w").begin("a")
    run.decided("a", "policy.selected", "default", "no name fits", origin="engine")
    for number in range(3 * NEWS):
        run.add("progress", "a", fraction=0.5, message=str(number))
    run.decided("a", "size", "small", "it is", origin="user")
    live = Live("run_1")
    live.catch_up({"run_1": run.events})
    assert [news.text for news in live.news] == ["w begins", "a begins", "a: size → small: it is"]


def test_it_says_the_same_as_the_record() -> None:
    """Of a real run with maps, retries and a sub-workflow, heard row by row: the fold of the record."""
    registry, failures = Registry(), [1]
    with ok.open(registry=registry) as kit:

        def double(x: int) -> int:
            if failures and failures.pop():
                raise ConnectionError("once")
            return 2 * x

        inner = kit.workflow("inner").add_step(double, {"x": 4}, step_id="in").build()
        flow = kit.workflow("outer").add_step(
            double, {"x": 1}, step_id="a", retry={"max_attempts": 2, "delay": 0.0}
        )
        flow = flow.add_map(double, [1, 2, 3], {"x": "${item}"}, step_id="m")
        flow = flow.add_workflow(inner, step_id="s")
        heard: list[StoredRow] = []
        kit.store.subscribe(heard.extend)
        run_id = kit.run(flow.build()).run_id
        live = Live(run_id)
        live.listen(heard)
        live.drain()
        record = kit.store.events_below(run_id)
        assert live.state == fold(record.pop(run_id))
        assert list(live.below.values()) == [fold(events) for events in record.values()]
