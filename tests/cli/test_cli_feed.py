"""Following a run by the rows that are committed while it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import orchkit as ok
from orchkit.cli.feed import Doing, Feed
from orchkit.cli.progress import describe
from orchkit.model import event as ev
from orchkit.model.state import RunState
from orchkit.store import codec

Rows = Callable[..., None]


@pytest.fixture
def feed() -> Feed:
    """A feed of the run ``r``, which has begun."""
    feed = Feed()
    tell(feed, (ev.RUN_STARTED, None, {"name": "flow", "definition": {"steps": []}}))
    return feed


def tell(feed: Feed, *events: tuple[str, str | None, dict[str, Any]], run: str = "r", ts: int = 0) -> None:
    """Commit events ``(kind, step_id, payload)`` and take note of them."""
    rows = [
        (number, ts, kind, run, step, payload.pop("attempt", None), codec.dumps(payload))
        for number, (kind, step, payload) in enumerate(events)
    ]
    feed.listen(rows)
    for _ in feed.drain("r"):
        pass


def scheduled(step: str, **more: Any) -> tuple[str, str, dict[str, Any]]:
    """A step begins."""
    return (ev.STEP_SCHEDULED, step, {"name": "tool", "node_type": "task", "input": {}, **more})


def finished(step: str, status: str = "success", node_type: str = "task") -> tuple[str, str, dict[str, Any]]:
    """A step is over."""
    return (ev.STEP_FINISHED, step, {"status": status, "name": "tool", "node_type": node_type})


def attempt(step: str, number: int = 1) -> tuple[str, str, dict[str, Any]]:
    """An attempt begins."""
    return (ev.ATTEMPT_STARTED, step, {"attempt": number})


def retry(step: str, delay_s: float = 2.0, number: int = 1) -> list[tuple[str, str, dict[str, Any]]]:
    """An attempt fails, and another one is to be made."""
    inputs = {"delay_s": delay_s, "max_attempts": 5, "attempt": number, "error": "gone"}
    decision = {"point": "retry", "decision": "retry", "origin": "engine", "input_data": inputs}
    failed = {"status": "failed", "error": "OSError: gone", "attempt": number}
    return [(ev.ATTEMPT_FINISHED, step, failed), (ev.DECISION, step, decision)]


def expanded(step: str, items: int) -> list[tuple[str, str, dict[str, Any]]]:
    """A map begins."""
    inputs = {"point": "map.expanded", "decision": "", "origin": "engine", "input_data": {"items": items}}
    return [scheduled(step, node_type="map"), (ev.DECISION, step, inputs)]


def doing(feed: Feed) -> dict[str, Doing]:
    """What is going on, by label."""
    return {one.label: one for one in feed.doing.values()}


def test_steps_come_and_go(feed: Feed) -> None:
    """What has begun and is not over is being done; what is over is counted."""
    tell(feed, scheduled("a"), scheduled("b"), attempt("a"))
    assert list(doing(feed)) == ["a", "b"]
    tell(feed, finished("a"), finished("c", "skipped"))
    assert (list(doing(feed)), feed.done) == (["b"], 2)


def test_a_wait_lasts_until_the_next_attempt(feed: Feed) -> None:
    """A decision to try again says when; the attempt ends the wait."""
    tell(feed, scheduled("a"), attempt("a"), *retry("a", 2.0), ts=1_000_000)
    waiting = doing(feed)["a"]
    assert (waiting.retry_us, waiting.attempts, waiting.error) == (3_000_000, 5, "OSError: gone")
    assert describe(waiting, 2_200_000).plain == "retry in 0.8 s · attempt 1 of 5 failed: OSError: gone"
    assert describe(waiting, 9_000_000).plain.startswith("retry in 0.0 s")
    tell(feed, attempt("a", 2))
    assert describe(waiting, 3_500_000).plain == "2.5 s · attempt 2 of 5"


def test_the_items_of_a_map_are_counted_in_it(feed: Feed) -> None:
    """A map of many items is one line: how many are over, how many wait; it counts as one step."""
    tell(feed, *expanded("m", 3), *[scheduled(f"m[{index}]", parent="m") for index in range(3)])
    tell(feed, attempt("m[0]"), attempt("m[1]"), attempt("m[2]"), *retry("m[1]"), *retry("m[2]"))
    tell(feed, finished("m[0]"), attempt("m[2]", 2))
    assert list(doing(feed)) == ["m"]
    assert describe(doing(feed)["m"], 0).plain == "0.0 s · 1 of 3 items · 1 waiting to try again"
    tell(feed, finished("m[1]", "failed"), finished("m[2]"))
    assert describe(doing(feed)["m"], 0).plain == "0.0 s · 3 of 3 items"
    assert feed.done == 0
    tell(feed, finished("m"))
    assert feed.done == 1


def test_brackets_in_an_id_do_not_make_an_item(feed: Feed) -> None:
    """Only what belongs to a map is counted in it."""
    tell(feed, scheduled("a"), scheduled("a[0]"), finished("a[0]"))
    assert (list(doing(feed)), feed.done) == (["a"], 1)


def test_sub_workflows_are_shown_below_their_step(feed: Feed) -> None:
    """Steps of runs below, at any depth, are labelled with where they are; they are not counted."""
    tell(feed, scheduled("sub", node_type="workflow"))
    tell(feed, (ev.RUN_STARTED, None, {"parent_run_id": "r", "parent_step_id": "sub"}), run="r2")
    tell(feed, (ev.RUN_STARTED, None, {"parent_run_id": "r2", "parent_step_id": "deep"}), run="r3")
    tell(feed, scheduled("x"), run="r2")
    tell(feed, scheduled("y"), finished("z"), run="r3")
    assert list(doing(feed)) == ["sub", "sub › x", "sub › deep › y"]
    assert feed.done == 0


def test_other_runs_of_the_process_are_left_out(feed: Feed) -> None:
    """What happens in a run that is neither this one nor below it is none of our business."""
    tell(feed, (ev.RUN_STARTED, None, {"parent_run_id": "elsewhere"}), scheduled("x"), run="other")
    tell(feed, (ev.SESSION_CREATED, None, {}), run="r")
    assert doing(feed) == {}


def test_progress_and_compensation(feed: Feed) -> None:
    """What a step reports is shown; undoing a step is shown and not counted."""
    tell(feed, scheduled("a"), (ev.PROGRESS, "a", {"fraction": 0.25, "message": "page 3"}))
    assert describe(doing(feed)["a"], 61_000_000).plain == "1 min 01 s · 25% · page 3"
    tell(feed, finished("a"), scheduled("compensate:a", node_type="compensation"))
    assert list(doing(feed)) == ["compensate:a"]
    tell(feed, finished("compensate:a", node_type="compensation"))
    assert (doing(feed), feed.done) == ({}, 1)


def test_a_users_decision_to_retry_is_not_a_wait(feed: Feed) -> None:
    """Decision points are free text for users: only the engine's own mean a wait."""
    mine = {"point": "retry", "decision": "retry", "origin": "user"}
    tell(feed, scheduled("a"), attempt("a"), (ev.DECISION, "a", mine))
    assert doing(feed)["a"].retry_us is None


# --- and the real thing ----------------------------------------------------------------------


@pytest.fixture
def kit() -> Iterator[ok.Kit]:
    """A kit in memory with tools of its own."""
    with ok.open() as kit:
        yield kit


def test_the_feed_of_a_real_run_ends_as_its_record(kit: ok.Kit) -> None:
    """Folded live, a run with a retry, a map, a sub-workflow and a failure is what the store says of it."""
    tries = {"count": 0}

    @kit.registry.methods.register_method
    def flaky() -> list[int]:
        tries["count"] += 1
        if tries["count"] < 2:
            raise OSError("gone")
        return [1, 2]

    @kit.registry.methods.register_method
    def double(item: int) -> int:
        if item > 1:
            raise ValueError("too much")
        return 2 * item

    inner = {"name": "inner", "steps": [{"id": "f", "tool": "flaky"}]}
    flow = ok.Workflow.from_dict(
        {
            "name": "flow",
            "execution_mode": "dag",
            "error_handling": "continue_on_failure",
            "steps": [
                {"id": "f", "tool": "flaky", "retry": {"max_attempts": 3, "delay": 0}},
                {"id": "m", "tool": "double", "over": "${steps.f}", "params": {"item": "${item}"}},
                {"id": "sub", "workflow": inner, "depends_on": ["f"]},
                {"id": "never", "tool": "flaky", "depends_on": ["m"]},
            ],
        }
    )
    feed = Feed()
    unsubscribe = kit.store.subscribe(feed.listen)
    result = asyncio.run(kit.execute(flow))
    unsubscribe()
    news = list(feed.drain(result.run_id))
    assert feed.state == kit.runs[result.run_id].state
    assert result.status == "partial"
    assert (feed.done, feed.doing) == (4, {})
    assert {event.run_id for event in news} == {row[0] for row in kit.store.query("SELECT run_id FROM runs")}


def test_a_resumed_run_is_followed_from_where_it_was() -> None:
    """What was over is counted, its sub-workflows have their names, and time begins anew."""
    steps = [{"step_id": step, "tool_name": "t"} for step in ("one", "two", "inner")]
    state = RunState(run_id="r", started_us=5)
    for step in steps:
        state.step(step["step_id"]).status = "success" if step["step_id"] == "one" else "running"
    feed = Feed(state, {("inner",): RunState(run_id="c"), ("inner", "deep"): RunState(run_id="d")})
    tell(feed, (ev.RUN_RESUMED, None, {"pid": 1, "host": "h"}), ts=1_000_000)
    assert (feed.done, feed.since_us, feed.state.resumed) == (1, 1_000_000, 1)
    assert feed.state.steps["two"].status == "pending"
    tell(feed, scheduled("two"), finished("two"))
    tell(feed, scheduled("x"), run="c")
    tell(feed, scheduled("y"), run="d")
    assert feed.done == 2
    assert {doing.label for doing in feed.doing.values()} == {"inner › x", "inner › deep › y"}


def test_going_on_after_a_pause_changes_no_times(feed: Feed) -> None:
    """Only who takes a run up again begins anew."""
    tell(feed, (ev.RUN_PAUSED, None, {}), (ev.RUN_RESUMED, None, {}), ts=7)
    assert (feed.since_us, feed.state.resumed) == (0, 0)
