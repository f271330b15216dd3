"""What a resumed run finds on record: values as what they were, large ones, many of them."""

from __future__ import annotations

import datetime as dt
import sys
import time
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel

from orchkit.errors import CodeChangedError, ExecutionError


@dataclass
class Parcel:
    """A dataclass."""

    weight: float
    sent: dt.datetime


class Address(BaseModel):
    """A pydantic model."""

    street: str
    number: int


class Colour(Enum):
    """An enum."""

    RED = "red"


VALUES = {
    "parcel": Parcel(1.5, dt.datetime(2025, 3, 1, 12, tzinfo=dt.UTC)),
    "address": Address(street="Hill Road", number=7),
    "colour": Colour.RED,
    "price": Decimal("12.30"),
    "day": dt.date(2025, 3, 2),
    "raw": b"\x00\xff",
    "pair": (1, 2),
    "names": {"x", "y"},
    "nothing": None,
}


@pytest.fixture(autouse=True)
def classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes of this file can be found by the name of its module."""
    monkeypatch.setitem(sys.modules, Parcel.__module__, sys.modules.get(Parcel.__module__, _this()))


def _this() -> ModuleType:
    module = ModuleType(Parcel.__module__)
    module.__dict__.update(Parcel=Parcel, Address=Address, Colour=Colour)
    return module


@pytest.fixture
def seen(lab: Any) -> list[Any]:
    """What the tool ``look`` was given; ``give`` gives one of the values, or what it is given."""
    found: list[Any] = []

    async def give(what: str) -> Any:
        return VALUES[what]

    async def echo(value: Any) -> Any:
        return value

    async def look(value: Any) -> Any:
        found.append(value)
        return value

    for function in (give, echo, look):
        lab.tool(function)
    return found


@pytest.mark.parametrize("what", VALUES)
def test_outputs_and_context_come_back_as_what_they_were(lab: Any, seen: list[Any], what: str) -> None:
    """A step that runs after the crash is given what it would have been given before."""
    flow = lab.flow().add_step("give", {"what": what}, step_id="a")
    flow.add_step("look", {"value": ["${steps.a}", "${context.same}"]}, step_id="b")
    done = lab.execute(flow, context={"same": VALUES[what]})
    result = lab.cut_after("attempt.started", "b").go_on(done.run_id)
    assert seen[1] == seen[0] == [VALUES[what], VALUES[what]]
    assert [type(value) for value in seen[1]] == [type(VALUES[what])] * 2
    assert result.outputs == done.outputs
    replay = lab.resume(done.run_id)
    assert replay.outputs == done.outputs


def test_tables_come_back(lab: Any, seen: list[Any]) -> None:
    """A DataFrame from an output, from the context, and as an item of a map."""
    table = pd.DataFrame({"n": [1, 2], "day": pd.to_datetime(["2025-01-01", "2025-01-02"])})
    flow = lab.flow().add_step("echo", {"value": "${context.table}"}, step_id="a")
    flow.add_map("echo", ["${steps.a}", "${context.table}"], {"value": "${item}"}, step_id="m")
    flow.add_step("look", {"value": "${steps.m}"}, step_id="b")
    done = lab.execute(flow, context={"table": table})
    rest = lab.cut_after("step.finished", "m[0]")
    assert rest.go_on(done.run_id).success
    for found in (*seen[0], *seen[1]):
        pd.testing.assert_frame_equal(found, table)


def test_attributes_of_outputs_read_as_ever(lab: Any, seen: list[Any]) -> None:
    """Kept results are like others: a dict's keys are attributes, too."""

    async def record() -> dict[str, int]:
        return {"n": 1}

    lab.tool(record)
    flow = lab.flow().add_step("record", step_id="a").add_step("look", {"value": "${steps.a.n}"}, step_id="b")
    done = lab.execute(flow)
    result = lab.cut_after("attempt.started", "b").go_on(done.run_id)
    assert (result.steps["a"].output.n, result.steps["b"].output) == (1, 1)
    step = result.steps["a"]
    assert (step.attempts, step.started_us, step.finished_us) == (
        1,
        done.started_us,
        done.steps["a"].finished_us,
    )


def test_values_that_are_stored_apart_come_back(lab: Any, seen: list[Any]) -> None:
    """Outputs, inputs and a context of more than 64 KiB, and a definition as large."""
    text = "orchkit " * 20_000
    flow = lab.flow()
    flow.add_step("echo", {"value": "${context.text}"}, step_id="a")
    flow.add_step("echo", {"value": {"twice": ["${steps.a}", text]}}, step_id="b")
    flow.add_step("look", {"value": "${steps.b.twice[0]}"}, step_id="c")
    done = lab.execute(flow, context={"text": text})
    rest = lab.cut_after("attempt.started", "c")
    assert rest.resume(done.run_id).outputs == done.outputs
    assert seen == [text, text]
    assert lab.resume(done.run_id).outputs == done.outputs


def test_many_values_that_are_stored_apart_are_looked_up_together(
    lab: Any, seen: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look-up takes as long as hundreds."""

    async def big(n: int) -> str:
        return f"{n}" * 70_000

    lab.tool(big)
    done = lab.execute(lab.flow().add_map("big", list(range(40)), {"n": "${item}"}, step_id="m"))
    rest = lab.cut_after("step.finished", "m[38]")
    asked: list[str] = []
    query = rest.store.query
    monkeypatch.setattr(rest.store, "query", lambda sql, params=None: asked.append(sql) or query(sql, params))
    assert rest.resume(done.run_id).outputs == done.outputs
    assert len(asked) <= 4


# --- what does not fit any more ------------------------------------------------------------


@pytest.fixture
def unreadable(lab: Any, seen: list[Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Cut off in ``d`` of ``a → b → c → d`` and ``e``; of the output of b no sense can be made."""
    calls: list[str] = []

    async def parcel(name: str, after: Any = None) -> Any:
        calls.append(name)
        return VALUES["parcel"] if name == "b" else name

    lab.tool(parcel)
    lab.calls = calls
    flow = lab.flow()
    for before, name in zip(["", *"abc"], "abcd", strict=True):
        flow.add_step(
            "parcel", {"name": name, "after": f"${{steps.{before}}}" if before else None}, step_id=name
        )
    flow.add_step("parcel", {"name": "e"}, step_id="e")
    run_id = lab.execute(flow).run_id
    rest = lab.cut_after("attempt.started", "d")
    calls.clear()

    @dataclass
    class Other:
        weight: float
        colour: str

    module = _this()
    module.Parcel = Other  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, Parcel.__module__, module)
    return rest, run_id, calls


def test_a_result_that_cannot_be_read_is_made_again(unreadable: Any) -> None:
    """The class has other fields now: the step runs again, and so does what comes after it."""
    rest, run_id, calls = unreadable
    result = rest.go_on(run_id)
    assert result.success
    assert calls == ["b", "c", "d"]
    payload = rest.events(run_id, "run.resumed")[0].payload
    assert payload["again"] == ["b", "c", "d"]
    assert "cannot be read any more" in payload["changed"]["b"]


def test_with_keep_only_the_result_that_cannot_be_read_is_made_again(unreadable: Any) -> None:
    """What came after it can be kept, and is."""
    rest, run_id, calls = unreadable
    assert rest.go_on(run_id, "keep").success
    assert calls == ["b", "d"]


def test_a_result_that_cannot_be_read_is_a_change(unreadable: Any) -> None:
    """For those who want to know of any."""
    rest, run_id, calls = unreadable
    with pytest.raises(CodeChangedError, match="b: its recorded result cannot be read any more"):
        rest.go_on(run_id, "error")
    assert calls == []


def test_what_the_step_was_given_need_not_be_readable(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a step that is undone with it needs it again; then it is said that it is missing."""
    calls: list[str] = []

    async def use(value: Any) -> None:
        calls.append("use")

    async def fail() -> None:
        calls.append("fail")
        raise ValueError("broken")

    async def undo(value: Any) -> None:
        calls.append("undo")

    for function in (use, fail, undo):
        lab.tool(function)
    flow = lab.flow().add_step("use", {"value": VALUES["parcel"]}, step_id="a", compensate="undo")
    run_id = lab.execute(flow.add_step("fail", step_id="b", depends_on=["a"])).run_id
    rest = lab.cut_after("attempt.started", "b")

    @dataclass
    class Other:
        colour: str

    module = _this()
    module.Parcel = Other  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, Parcel.__module__, module)
    calls.clear()
    assert rest.go_on(run_id).status == "failed"
    assert calls == ["fail"]
    undone = rest.states()[run_id].steps["compensate:a"]
    assert (undone.status, undone.error) == (
        "failed",
        "ExecutionError: what step 'a' was given cannot be read from the record any more",
    )


def test_a_context_or_result_that_cannot_be_read_is_said(
    lab: Any, seen: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its context a run cannot go on, nor a result be given again without its outputs."""
    flow = lab.flow().add_step("echo", {"value": "${context.parcel}"}, step_id="a")
    run_id = lab.execute(flow, context={"parcel": VALUES["parcel"]}).run_id
    rest = lab.cut_after("attempt.started", "a")

    @dataclass
    class Other:
        weight: float
        colour: str

    module = _this()
    module.Parcel = Other  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, Parcel.__module__, module)
    with pytest.raises(
        ExecutionError, match=rf"context\.parcel of {run_id} cannot be read any more: its record"
    ):
        rest.resume(run_id)
    assert all(map(rest.store.open_runs.is_cut_off, rest.store.open_runs.all()))
    with pytest.raises(ExecutionError, match=rf"the output of step 'a' of {run_id} cannot be read any more"):
        lab.resume(run_id)


# --- many ----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["chain", "wide", "map"])
def test_a_run_of_five_thousand_steps_is_resumed_in_seconds(lab: Any, shape: str) -> None:
    """The time grows with the number of steps, not with its square."""
    count = 5_000
    calls: list[int] = []

    async def number(n: int) -> int:
        calls.append(n)
        return n + 1

    lab.tool(number)
    flow = lab.flow()
    if shape == "map":
        flow.add_map("number", list(range(count)), {"n": "${item}"}, step_id="m")
    else:
        for n in range(count):
            before = f"${{steps.s{n - 1}}}" if n and shape == "chain" else n
            flow.add_step("number", {"n": before}, step_id=f"s{n}")
    done = lab.execute(flow, durability="async")
    last = f"m[{count - 2}]" if shape == "map" else f"s{count - 2}"
    rest = lab.cut_after("step.finished", last)
    calls.clear()
    start = time.perf_counter()
    result = rest.resume(done.run_id)
    took = time.perf_counter() - start
    assert result.outputs == done.outputs
    assert len(calls) == 1
    assert took < 15  # 1 to 2 s on an idle machine
