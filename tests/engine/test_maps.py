"""Fan-out over a list: order, limits, failures of items."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import pytest

from orchkit.errors import WorkflowExecutionError
from orchkit.model.policy import RetryPolicy
from orchkit.model.result import WorkflowResult


@dataclass
class Basket:
    """Iterates over its items, and raises when it has none."""

    items: list[int]

    def __iter__(self) -> Any:
        if not self.items:
            raise RuntimeError("an empty basket")
        return iter(self.items)


class Meter:
    """A tool that measures how many of it run at once."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.running = self.most = 0
        self.seen: list[Any] = []
        lab.tool(self.work)
        lab.tool(self.give)

    async def work(self, x: Any, seconds: float = 1, broken: list[Any] | None = None) -> Any:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            self.seen.append(x)
            await self.lab.clock.sleep(seconds)
            if broken and x in broken:
                broken.remove(x)
                raise ValueError(f"{x} is broken")
        finally:
            self.running -= 1
        return x * 10 if isinstance(x, int) else x

    async def give(self, value: Any) -> Any:
        return value


@pytest.fixture
def meter(lab: Any) -> Meter:
    """The tool ``work`` and what it measured."""
    return Meter(lab)


def items_of(lab: Any, result: WorkflowResult, step_id: str = "map") -> dict[str, str]:
    """The recorded status of each item of a map."""
    return {
        end.step_id: end.payload["status"]
        for end in lab.events(result.run_id, "step.finished")
        if end.step_id.startswith(f"{step_id}[")
    }


def test_the_output_is_the_list_of_outputs_in_order(lab: Any, meter: Meter) -> None:
    """Whichever item ends first, its output stands where the item stood; each item is a step of the map."""
    flow = lab.flow().add_map("work", [3, 1, 2], {"x": "${item}", "seconds": "${item}"}, step_id="map")
    flow.add_step("give", {"value": ["${steps.map[0]}", "${steps.map[-1]}", "${steps.map}"]}, step_id="after")
    result = lab.execute(flow)
    assert result.outputs == {"map": [30, 10, 20], "after": [30, 20, [30, 10, 20]]}
    scheduled = [e for e in lab.events(result.run_id, "step.scheduled") if e.payload.get("parent") == "map"]
    assert [(e.step_id, e.payload["index"], e.payload["input"]["x"]) for e in scheduled] == [
        ("map[0]", 0, 3),
        ("map[1]", 1, 1),
        ("map[2]", 2, 2),
    ]
    assert lab.decisions(result.run_id, "map.expanded") == [("map", "map.expanded", "3")]


@pytest.mark.parametrize(("limit", "most", "seconds"), [(1, 1, 7), (3, 3, 3), (7, 7, 1), (None, 7, 1)])
def test_no_more_items_run_at_once_than_allowed(
    lab: Any, meter: Meter, limit: int | None, most: int, seconds: float
) -> None:
    """Without a limit all run at once; with one they begin in order as places become free."""
    result = lab.execute(lab.flow().add_map("work", list(range(7)), max_concurrency=limit))
    assert result.outputs["work"] == [n * 10 for n in range(7)]
    assert (meter.most, lab.clock.monotonic()) == (most, seconds)
    assert meter.seen == list(range(7))


def test_a_map_over_nothing_is_an_empty_list(lab: Any, meter: Meter) -> None:
    """It succeeds, and what depends on it runs."""
    flow = lab.flow().add_map("work", "${context.rows}", step_id="map")
    flow.add_step("give", {"value": "${steps.map}"}, step_id="after")
    assert lab.execute(flow, context={"rows": []}).outputs == {"map": [], "after": []}
    assert meter.seen == []


@pytest.mark.parametrize(
    ("over", "output"),
    [
        ([1, 2], [10, 20]),
        ((1, 2), [10, 20]),
        ({2}, [20]),
        (["a", None, [1]], ["a", None, [1]]),
        ([{"n": 1}], [{"n": 1}]),
        (Basket([1, 2]), [10, 20]),
    ],
)
def test_anything_that_is_a_collection_can_be_mapped_over(
    lab: Any, meter: Meter, over: Any, output: list[Any]
) -> None:
    """Lists, tuples, sets, and values of the user's own that iterate; items of any kind."""
    flow = lab.flow().add_map("work", "${context.rows}", step_id="map")
    assert lab.execute(flow, context={"rows": over}).outputs["map"] == output


@pytest.mark.parametrize(
    ("over", "complaint"),
    [
        (5, "a map needs a list, not int"),
        ("abc", "a map needs a list, not str"),
        ({"a": 1}, "a map needs a list, not dict"),
        (None, "a map needs a list, not NoneType"),
        (Basket([]), "RuntimeError: an empty basket"),
    ],
)
def test_anything_else_fails_the_map(lab: Any, meter: Meter, over: Any, complaint: str) -> None:
    """The error says what it got; the run ends as after any failure."""
    result = lab.execute(lab.flow().add_map("work", "${context.rows}", step_id="map"), context={"rows": over})
    assert (result.status, result.steps["map"].status) == ("failed", "failed")
    assert complaint in str(result.steps["map"].error)
    assert meter.seen == []


def test_a_missing_list_fails_the_map(lab: Any, meter: Meter) -> None:
    """As any reference that points nowhere."""
    result = lab.execute(lab.flow().add_map("work", "${context.rows}", step_id="map"))
    assert "${context.rows} cannot be resolved" in str(result.steps["map"].error)


def test_parameters_reach_into_the_item(lab: Any, meter: Meter) -> None:
    """Fields of the item, its position, other steps and the context can be mixed."""
    rows = [{"id": "a", "tags": ["x", "y"]}, {"id": "b", "tags": ["z"]}]
    params = {"x": {"key": "${item.id}-${index}", "tag": "${item.tags[0]}", "of": "${steps.give.name}"}}
    flow = lab.flow().add_step("give", {"value": {"name": "case"}})
    result = lab.execute(
        flow.add_map("work", "${context.rows}", params, step_id="map"), context={"rows": rows}
    )
    assert result.outputs["map"] == [
        {"key": "a-0", "tag": "x", "of": "case"},
        {"key": "b-1", "tag": "z", "of": "case"},
    ]


@pytest.mark.parametrize("handling", ["stop_on_failure", "continue_on_failure"])
def test_an_item_whose_parameters_do_not_resolve_fails(lab: Any, meter: Meter, handling: Any) -> None:
    """It is a failure of the item, which is on the record like any other."""
    flow = lab.flow().with_error_handling(handling)
    flow.add_map("work", [{"n": 1}, {"m": 1}], {"x": "${item.n}", "seconds": 0}, step_id="map")
    result = lab.execute(flow)
    assert result.steps["map"].status == "failed"
    assert items_of(lab, result)["map[1]"] == "failed"
    assert "${item.n} cannot be resolved" in str(result.steps["map"].error)


def test_the_first_failing_item_ends_the_map(lab: Any, meter: Meter) -> None:
    """With stop_on_failure running items are cancelled, waiting ones never begin, the map names the item."""
    params = {"x": "${item}", "seconds": "${item}", "broken": [2]}
    flow = lab.flow().add_map("work", [1, 2, 9, 9], params, step_id="map", max_concurrency=3)
    result = lab.execute(flow.add_step("give", {"value": 1}, depends_on="map"))
    assert items_of(lab, result) == {
        "map[0]": "success",
        "map[1]": "failed",
        "map[2]": "cancelled",
        "map[3]": "cancelled",
    }
    assert result.steps["map"].error == (
        "WorkflowExecutionError: 1 of 4 items failed, first map[1]: ValueError: 2 is broken"
    )
    error = result.steps["map"].exception
    assert isinstance(error, WorkflowExecutionError)
    assert (error.step_id, error.attempt) == ("map[1]", 1)
    assert isinstance(error.__cause__, ValueError)
    assert result.steps["give"].status == "skipped"
    assert lab.clock.monotonic() == 2


def test_going_on_finishes_the_other_items(lab: Any, meter: Meter) -> None:
    """With continue_on_failure the other items are finished; the map has failed all the same."""
    params = {"x": "${item}", "seconds": "${item}", "broken": [2, 4]}
    flow = lab.flow().with_error_handling("continue_on_failure")
    flow.add_map("work", [4, 1, 2, 9], params, step_id="map").add_step("give", {"value": "${steps.map}"})
    result = lab.execute(flow.add_step("give", {"value": 1}, step_id="other"))
    assert items_of(lab, result) == {
        "map[0]": "failed",
        "map[1]": "success",
        "map[2]": "failed",
        "map[3]": "success",
    }
    assert "2 of 4 items failed, first map[0]: ValueError: 4 is broken" in str(result.steps["map"].error)
    assert (result.status, result.steps["give"].status) == ("partial", "skipped")


def test_each_item_is_retried_on_its_own(lab: Any, meter: Meter) -> None:
    """Retry and limit of a map are those of its items."""
    broken = [2, 3, 3]

    async def flaky(x: int) -> int:
        await lab.clock.sleep(0)
        if x in broken:
            broken.remove(x)
            raise ValueError(str(x))
        return x

    lab.tool(flaky)
    retry = RetryPolicy(strategy="fixed", delay=1, max_attempts=3, jitter="none")
    result = lab.execute(lab.flow().add_map("flaky", [1, 2, 3], step_id="map", retry=retry))
    assert result.outputs["map"] == [1, 2, 3]
    assert [lab.attempts(result.run_id, f"map[{n}]") for n in range(3)] == [
        ["success"],
        ["failed", "success"],
        ["failed", "failed", "success"],
    ]


def test_a_limit_holds_for_each_item(lab: Any, meter: Meter) -> None:
    """An item that overruns is a timeout; the time that items wait for a place does not count."""
    params = {"x": "${item}", "seconds": "${item}"}
    flow = lab.flow().with_error_handling("continue_on_failure")
    flow.add_map("work", [3, 3, 3, 8], params, step_id="map", timeout=5, max_concurrency=1)
    result = lab.execute(flow)
    assert list(items_of(lab, result).values()) == ["success", "success", "success", "failed"]
    assert lab.attempts(result.run_id, "map[3]") == ["timeout"]


def test_an_item_that_is_cancelled_from_inside_is_not_lost(lab: Any, meter: Meter) -> None:
    """An item that waits for something cancelled fails; its place is not silently empty."""

    async def odd(x: int) -> int:
        if x == 2:
            raise asyncio.CancelledError
        return x

    lab.tool(odd)
    result = lab.execute(lab.flow().add_map("odd", [1, 2, 3], step_id="map"))
    assert (result.status, items_of(lab, result)["map[1]"]) == ("failed", "failed")


def test_a_map_can_be_passed_over(lab: Any, meter: Meter) -> None:
    """Its condition holds for the map as a whole."""
    flow = lab.flow().add_map("work", [1, 2], step_id="map", when="${context.on}")
    result = lab.execute(flow, context={"on": False})
    assert (result.status, result.steps["map"].status, meter.seen) == ("success", "skipped", [])


def test_sync_items_run_in_threads_at_once(lab: Any) -> None:
    """Three items that wait for each other all get there."""
    meeting = threading.Barrier(3, timeout=60)

    def meet(x: int) -> int:
        meeting.wait()
        return x

    lab.tool(meet)
    assert lab.execute(lab.flow().add_map("meet", [1, 2, 3], step_id="map")).outputs["map"] == [1, 2, 3]


def test_a_thousand_items(lab: Any, meter: Meter) -> None:
    """They share transactions: a thousand items need far fewer commits than a thousand."""
    commits: list[int] = []
    lab.store.subscribe(lambda rows: commits.append(len(rows)))
    result = lab.execute(lab.flow().add_map("work", list(range(1000)), step_id="map"))
    assert result.outputs["map"] == [n * 10 for n in range(1000)]
    assert len(items_of(lab, result)) == 1000
    assert len(commits) < 20


def test_a_map_of_a_map(lab: Any, meter: Meter) -> None:
    """The output of one map is the list of the next."""
    flow = lab.flow().add_map("work", [1, 2, 3], step_id="first")
    result = lab.execute(flow.add_map("work", "${steps.first}", step_id="second"))
    assert result.outputs["second"] == [100, 200, 300]
