"""Simulated runs: what is real in them, what is played, when they begin, where their record goes."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import orchkit as ok
from orchkit.analysis import retries
from orchkit.errors import ParameterError, StoreError, WorkflowValidationError
from orchkit.simulation import Failures, Latency, Outages
from orchkit.simulation.result import shortened, wilson
from orchkit.store import codec

if TYPE_CHECKING:
    import pandas as pd

DAY = 86_400.0


def around(**parts: Any) -> dict[str, Any]:
    """These policies around every operation."""
    return {"policies": {"default": parts}}


def seconds_since(frame: pd.DataFrame) -> pd.Series:
    """When runs began, from the first one on."""
    return (frame.started_at - frame.started_at[0]).dt.total_seconds()


def output(run: ok.Run, step_id: str) -> Any:
    """What a step gave, as it is on record."""
    step = run.state.steps[step_id]
    return codec.unpack(step.output, step.output_types)


# --- time ----------------------------------------------------------------------------------


def test_a_week_of_outages_takes_seconds(kit: ok.Kit, one_step: ok.Workflow) -> None:
    """A run every ten minutes for a week, two hours of outage a day: exactly the runs in it fail."""
    began = time.monotonic()
    simulation = ok.simulate(
        one_step, kit=kit, faults=Outages([(3_600, 7_200)], every=DAY), runs=7 * 144, every=600
    )
    frame = simulation.frame()
    assert (frame.started_at.iloc[-1] - frame.started_at.iloc[0]).total_seconds() == 600 * (7 * 144 - 1)
    assert (frame.status == "failed").sum() == 7 * 12
    assert time.monotonic() - began < 300  # of a week; a few seconds on a quiet machine


def test_an_hour_of_backoff_is_an_hour_on_the_record(kit: ok.Kit, one_step: ok.Workflow) -> None:
    """Waits of policies pass in virtual time, to the microsecond."""
    simulation = ok.simulate(
        one_step,
        kit=kit,
        faults=[Latency(2.0), Outages([(0, 3_000)])],
        runs=1,
        policies=around(retry={"strategy": "fixed", "delay": 3_600, "max_delay": 3_600}),
    )
    assert simulation.frame().duration_s.tolist() == [3_604.0]


def test_runs_begin_every_so_often(kit: ok.Kit, one_step: ok.Workflow) -> None:
    """Regular arrivals are exactly so far apart, whether the runs before are over or not."""
    simulation = ok.simulate(one_step, kit=kit, faults=Latency(25.0), runs=10, every=10)
    frame = simulation.frame()
    assert frame.started_at.diff().dt.total_seconds().dropna().tolist() == [10.0] * 9
    assert frame.duration_s.tolist() == [25.0] * 10


def test_runs_arrive_at_random_with_their_mean(kit: ok.Kit, one_step: ok.Workflow) -> None:
    """Poisson arrivals: pauses have the mean, and the deviation is that of an exponential distribution."""
    count, mean = 600, 30.0
    simulation = ok.simulate(one_step, kit=kit, runs=count, every=mean, arrivals="poisson")
    pauses = simulation.frame().started_at.diff().dt.total_seconds().dropna()
    assert abs(pauses.mean() - mean) < 4 * mean / math.sqrt(count)
    assert abs(pauses.std() - mean) < 4 * mean * math.sqrt(2 / count)


def test_all_at_once(kit: ok.Kit, one_step: ok.Workflow) -> None:
    """With nothing between them all runs begin at the same moment, in the order of their numbers."""
    simulation = ok.simulate(
        one_step, kit=kit, runs=5, every=0, context=lambda number: {"n": number}, faults=Latency(1)
    )
    frame = simulation.frame()
    assert (frame.started_at == frame.started_at[0]).all()
    assert [simulation.kit.runs[run_id].state.context["n"] for run_id in frame.run_id] == list(range(5))


def test_what_overlaps_shares_its_limits(kit: ok.Kit, one_step: ok.Workflow) -> None:
    """Runs that go on at the same time meet in one bulkhead: of ten, two run and the others are rejected."""
    simulation = ok.simulate(
        one_step,
        kit=kit,
        faults=Latency(5.0),
        runs=10,
        every=0.1,
        policies=around(bulkhead={"max_concurrent": 2, "max_queue": 0}),
    )
    assert (simulation.frame().status == "success").tolist() == [True, True] + [False] * 8


def test_a_breaker_opens_and_closes_in_virtual_time(kit: ok.Kit, one_step: ok.Workflow) -> None:
    """It spares an outage its calls, but for the probes, and is on the record as any other."""
    simulation = ok.simulate(
        one_step,
        kit=kit,
        faults=Outages([(0, 600)]),
        runs=120,
        every=10,
        policies=around(breaker={"failure_threshold": 3, "reset_timeout": 60, "success_threshold": 1}),
    )
    # Three that open it, a probe a minute after each time it opened, and the one that closes it.
    frame = simulation.frame()
    calls = frame[frame.attempts > 0]
    assert seconds_since(frame)[calls.index][:12].tolist() == [
        0,
        10,
        20,
        80,
        140,
        200,
        260,
        320,
        380,
        440,
        500,
        560,
    ]
    assert calls.failed_attempts.sum() == 12
    assert (
        frame[frame.started_at >= frame.started_at[0] + __import__("pandas").Timedelta(620, "s")]
        .status.eq("success")
        .all()
    )
    periods = retries.breaker_periods(simulation.kit)
    assert periods.state.tolist()[:2] == ["open", "half_open"]
    assert periods.state.iloc[-1] == "closed"


# --- what is played ------------------------------------------------------------------------


def test_no_function_is_called(kit: ok.Kit) -> None:
    """Neither steps, nor items, nor compensations, nor fallbacks of any kind, nor what makes services."""
    kit.services.register(Mailbox, _never)

    def mail(mailbox: Mailbox, n: int = 0) -> None:
        pytest.fail("called")

    kit.registry.methods.register_method(mail)
    flow = (
        kit.workflow("all kinds")
        .add_step("mail", {"n": 1}, step_id="mail")
        .add_step("fetch", {"n": 1}, step_id="fetch", compensate="undo")
        .add_map("send", "${steps.fetch}", {"n": "${item}"}, step_id="each")
        .add_step("send", step_id="tool", fallback="spare")
        .add_step("send", step_id="function", fallback=_never)
        .add_step("send", step_id="last", retry=2)
        .build()
    )
    before = threading.active_count()
    simulation = ok.simulate(
        flow,
        kit=kit,
        runs=4,
        outputs={"fetch": [1, 2], "send": {"id": 7}, "spare": {"id": "spare"}},
        faults={"send": Outages([(100, 10)])},
        every=35,
    )
    assert simulation.frame().status.tolist() == ["success", "success", "success", "failed"]
    steps = simulation.kit.runs[3].steps()
    assert "compensate:fetch" in set(steps.step_id)
    assert threading.active_count() <= before + 2  # the store's, and nobody who would call a function


class Mailbox:
    """A service."""


def _never(*_: Any) -> Any:
    pytest.fail("called")


@pytest.mark.parametrize(
    ("fallback", "outputs", "expected", "decision"),
    [
        ("spare", {"spare": {"id": 1}, "send": {"id": 2}}, {"id": 1}, "tool 'spare'"),
        ("spare", {"send": {"id": 2}}, {"id": 2}, "tool 'spare'"),
        (_never, {"_never": "from memory"}, "from memory", "_never"),
        (_never, {"step": 3}, 3, "_never"),
        (_never, {"_never": lambda n: n + 1}, 2, "_never"),
        (_never, {}, None, "_never"),
        ({"value": {"id": 0}}, {"send": {"id": 2}}, {"id": 0}, "a value"),
    ],
)
def test_fallbacks_give_what_is_given(
    kit: ok.Kit, fallback: Any, outputs: dict[str, Any], expected: Any, decision: str
) -> None:
    """Their own output, else that of the step they stand in for; the record names the real function."""
    flow = kit.workflow("one").add_step("send", {"n": 1}, step_id="step", fallback=fallback).build()
    simulation = ok.simulate(flow, kit=kit, runs=1, outputs=outputs, faults={"send": Failures(1.0)})
    run = simulation.kit.last
    assert output(run, "step") == expected
    used = run.decisions().query("decision_point == 'fallback'")
    assert used.decision.tolist() == ["used"]
    assert decision in used.rationale.iloc[0]


def test_the_tool_of_a_fallback_is_a_service_like_any_other(kit: ok.Kit) -> None:
    """It takes its time and may fail, and then the next of the chain is asked."""
    flow = kit.workflow("one").add_step("send", step_id="step", fallback=["spare", 5]).build()
    simulation = ok.simulate(
        flow,
        kit=kit,
        runs=40,
        outputs={"spare": {"id": 1}},
        faults={"send": Failures(1.0), "spare": [Latency(2.0), Failures(0.5)]},
    )
    assert simulation.frame().duration_s.tolist() == [2.0] * 40
    given = {str(output(simulation.kit.runs[number], "step")) for number in range(40)}
    assert given == {"{'id': 1}", "5"}


def test_what_is_named_is_really_called(kit: ok.Kit) -> None:
    """By step, tool or function, with its services; virtual time stands still meanwhile."""
    real: list[Any] = []

    async def slow(mailbox: Mailbox, n: int) -> int:
        await asyncio.sleep(0.01)
        real.append(("slow", n, type(mailbox).__name__))
        return n + 1

    def plain(n: int) -> int:
        real.append(("plain", n))
        raise ConnectionError("really")

    def instead(error: Exception) -> str:
        real.append(("instead", str(error)))
        return "instead"

    kit.services.register(Mailbox, Mailbox())
    for method in (slow, plain):
        kit.registry.methods.register_method(method)
    flow = (
        kit.workflow("calls")
        .add_step("slow", {"n": 1}, step_id="slow")
        .add_step("plain", {"n": "${steps.slow}"}, step_id="plain", fallback=instead)
        .build()
    )
    simulation = ok.simulate(
        flow, kit=kit, runs=1, call=["slow", "plain", "instead"], policies=around(timeout=0.001)
    )
    assert real == [("slow", 1, "Mailbox"), ("plain", 2), ("instead", "really")]
    assert output(simulation.kit.last, "plain") == "instead"
    assert simulation.frame().duration_s.tolist() == [0.0]


def test_outputs_are_values_or_functions_of_the_parameters(kit: ok.Kit) -> None:
    """By item, by step, by tool, in this order; functions may be async."""

    async def later(n: int) -> int:
        return n * 100

    flow = (
        kit.workflow("outputs")
        .add_step("fetch", {"n": 2}, step_id="items")
        .add_map("send", "${steps.items}", {"n": "${item}"}, step_id="each")
        .add_step("send", {"n": 9}, step_id="tool")
        .build()
    )
    simulation = ok.simulate(
        flow,
        kit=kit,
        runs=1,
        outputs={
            "items": lambda n: list(range(n + 1)),
            "each[1]": "the second",
            "each": later,
            "send": {"by": "tool"},
        },
    )
    run = simulation.kit.last
    assert output(run, "each") == [0, "the second", 200]
    assert output(run, "tool") == {"by": "tool"}


def test_the_engine_is_the_real_one(kit: ok.Kit) -> None:
    """Conditions, references, skips and sub-workflows go as they go."""
    child = kit.workflow("child").add_step("send", {"n": "${context.n}"}, step_id="send").build()
    flow = (
        kit.workflow("parent")
        .add_step("fetch", {"n": 1}, step_id="fetch")
        .add_workflow(child, {"n": "${steps.fetch[0]}"}, step_id="below")
        .add_step("send", step_id="never", when="${steps.fetch[0]} > 5")
        .build()
    )
    simulation = ok.simulate(
        flow,
        kit=kit,
        runs=3,
        outputs={"fetch": [3], "below/send": lambda n: {"n": n}},
        faults={"send": Failures(0.5)},
        policies=around(retry={"strategy": "immediate", "max_attempts": 20}),
    )
    run = simulation.kit.runs[0]
    assert output(run, "below") == {"send": {"n": 3}}
    assert run.steps().set_index("step_id").status["never"] == "skipped"
    frame = simulation.frame()
    assert len(frame) == 3
    assert frame.attempts.sum() == 3 + 3 + frame.failed_attempts.sum()


def test_a_run_on_record_gives_the_outputs(kit: ok.Kit) -> None:
    """What its steps, items and steps of sub-workflows gave; what is said beside it goes first."""
    for name, function in (("numbers", _numbers), ("double", _double)):
        kit.registry.methods.register_method(function, name=name)
    child = kit.workflow("child").add_step("double", {"n": "${context.n}"}, step_id="double").build()
    flow = (
        kit.workflow("parent")
        .add_step("numbers", step_id="numbers")
        .add_map("double", "${steps.numbers}", {"n": "${item}"}, step_id="each")
        .add_workflow(child, {"n": "${steps.each[1]}"}, step_id="below")
        .add_step("double", {"n": "${steps.below.double}"}, step_id="last")
        .build()
    )
    real = kit.run(flow).run
    _calls.clear()
    like = ok.simulate(flow, kit=kit, runs=1, like=real).kit.last
    assert [output(like, step) for step in ("each", "below", "last")] == [[4, 10], {"double": 20}, 40]
    other = ok.simulate(flow, kit=kit, runs=1, like=real, outputs={"each[1]": 1, "last": 0}).kit.last
    assert [output(other, step) for step in ("each", "last")] == [[4, 1], 0]
    assert _calls == []


_calls: list[str] = []


def _numbers() -> list[int]:
    _calls.append("numbers")
    return [2, 5]


def _double(n: int) -> int:
    _calls.append("double")
    return 2 * n


# --- the record ----------------------------------------------------------------------------


def test_simulated_runs_are_marked_and_left_out(kit: ok.Kit, one_step: ok.Workflow, tmp_path: Path) -> None:
    """A copy in another store says so in every run, and analyses count it only when asked to."""
    with ok.open(tmp_path / "runs.duckdb") as other:
        other.run(other.workflow("live").add_step(_live, step_id="live").build())
        simulation = ok.simulate(one_step, kit=kit, runs=20, faults=Failures(0.3), seed=2, into=other)
        assert len(other.runs) == 21
        marks = other.sql("""
            SELECT payload -> '$.simulated' AS mark FROM events
            WHERE kind = 'run.started' AND payload ->> '$.name' <> 'live' ORDER BY seq
        """)
        assert [mark["number"] for mark in map(loaded, marks.mark)] == list(range(20))
        assert {mark["seed"] for mark in map(loaded, marks.mark)} == {2}
        assert retries.success_rates(other).steps[0] == 1
        counted = retries.success_rates(other, origins=["simulated"])
        assert counted.equals(retries.success_rates(simulation.kit))
    with ok.open(tmp_path / "runs.duckdb") as again:
        assert len(again.runs) == 21
        assert again.runs[-1].status in ("success", "failed")


def _live() -> None:
    """A run that happened."""


def loaded(value: Any) -> Any:
    """JSON, parsed or as text."""
    return codec.loads(value) if isinstance(value, str) else value


def test_large_values_come_along(kit: ok.Kit, one_step: ok.Workflow) -> None:
    """Values that are stored by their hash are in the copy."""
    text = "x" * 200_000
    with ok.open() as other:
        ok.simulate(one_step, kit=kit, runs=2, outputs={"send": text}, into=other.store)
        assert output(other.last, "send") == text


def test_a_store_that_cannot_be_written_says_so(kit: ok.Kit, one_step: ok.Workflow) -> None:
    """A closed store raises; what was simulated is not lost in silence."""
    closed = ok.open()
    closed.close()
    with pytest.raises(StoreError):
        ok.simulate(one_step, kit=kit, runs=2, into=closed)


def test_the_summary_counts_what_is_in_the_frame(kit: ok.Kit, one_step: ok.Workflow) -> None:
    """Shares, quantiles and calls are those of the runs; the interval holds the share."""
    simulation = ok.simulate(
        one_step,
        kit=kit,
        runs=200,
        faults=[Latency(1.0, 0.5), Failures(0.4)],
        policies=around(retry={"strategy": "immediate", "max_attempts": 2}),
    )
    frame, found = simulation.frame(), simulation.summary()
    assert found.success_rate == (frame.status == "success").mean()
    assert found.low < found.success_rate < found.high
    assert found.p95_s == frame.duration_s.quantile(0.95)
    assert found.attempts_per_run == frame.attempts.mean() > 1.2
    assert "200 runs" in repr(simulation)


@pytest.mark.parametrize(
    ("good", "count", "low", "high"),
    [(0, 0, 0, 1), (0, 10, 0, 0.2775328), (10, 10, 0.7224672, 1), (80, 100, 0.7111708, 0.8666331)],
)
def test_intervals_of_shares_are_wilsons(good: int, count: int, low: float, high: float) -> None:
    """The values of the score interval, computed independently."""
    assert wilson(good, count) == pytest.approx((low, high), abs=1e-6)


# --- where it runs -------------------------------------------------------------------------


def test_it_runs_inside_a_running_loop(kit: ok.Kit, one_step: ok.Workflow) -> None:
    """As in a cell of a notebook, and in a thread of one's own."""

    async def cell() -> int:
        return len(ok.simulate(one_step, kit=kit, runs=3, faults=Latency(60)).frame())

    assert asyncio.run(cell()) == 3


def test_it_runs_inside_a_step(one_step: ok.Workflow, kit: ok.Kit) -> None:
    """A simulation in a run: neither sees anything of the other."""

    def inner() -> int:
        return len(ok.simulate(one_step, kit=kit, runs=3, faults=Latency(60)).frame())

    with ok.open() as outer:
        outer.registry.methods.register_method(inner)
        result = outer.run(outer.workflow("outer").add_step("inner", step_id="inner").build())
        assert result.outputs == {"inner": 3}
        assert len(outer.runs) == 1


def test_nothing_is_left_behind(kit: ok.Kit, one_step: ok.Workflow) -> None:
    """No thread is alive when it is over, however it ended."""
    before = set(threading.enumerate())
    ok.simulate(one_step, kit=kit, runs=5, faults=[Latency(1), Failures(0.5)], call=[])
    with pytest.raises(ZeroDivisionError):
        ok.simulate(
            one_step, kit=kit, runs=5, faults=Latency(100), every=1, context=lambda n: {"n": 1 // (3 - n)}
        )
    assert set(threading.enumerate()) <= before


def test_an_interrupt_ends_it(kit: ok.Kit, one_step: ok.Workflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while it goes on: it is cancelled, its thread ends, and the interrupt is raised on."""
    join, interrupted = threading.Thread.join, []

    def interrupting(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name == "orchkit-simulation" and not interrupted:
            began.wait(10)
            interrupted.append(thread)
            raise KeyboardInterrupt
        join(thread, timeout)

    began = threading.Event()
    monkeypatch.setattr(threading.Thread, "join", interrupting)
    with pytest.raises(KeyboardInterrupt):
        ok.simulate(
            one_step, kit=kit, runs=1_000_000, every=1, context=lambda n: began.set() if n == 20 else None
        )
    assert not interrupted[0].is_alive()


# --- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"runs": 0}, ["runs"]),
        ({"runs": 2.5}, ["runs"]),
        ({"every": -1.0}, ["every"]),
        ({"every": math.inf}, ["every"]),
        ({"arrivals": "sometimes"}, ["arrivals", "poisson"]),
        ({"seed": "x"}, ["seed"]),
        ({"faults": "often"}, ["faults", "often"]),
        ({"faults": Failures}, ["faults"]),
        ({"faults": {"sned": Failures(0.1)}}, ["sned", "send"]),
        ({"outputs": {"nobody": 1}}, ["nobody"]),
        ({"call": ["nobody"]}, ["nobody"]),
        ({"call": "nobody"}, ["nobody"]),
        ({"like": "run_1"}, ["like"]),
    ],
)
def test_what_makes_no_sense_is_refused(
    kit: ok.Kit, one_step: ok.Workflow, wrong: dict[str, Any], names: list[str]
) -> None:
    """Before anything runs, naming what is wrong."""
    with pytest.raises(ParameterError) as caught:
        ok.simulate(one_step, **{"kit": kit, "runs": 2, **wrong})
    assert all(name in str(caught.value) for name in names)


def test_a_misspelt_argument_is_told(one_step: ok.Workflow) -> None:
    """With the one that was probably meant."""
    simulate: Any = ok.simulate
    with pytest.raises(TypeError, match=r"simulate\(\) has no argument 'run', did you mean 'runs'\?"):
        simulate(one_step, run=3)


def test_what_runs_failed_with_is_shown(kit: ok.Kit) -> None:
    """The most frequent error and how often, in the text and on the card; shortened to a line."""
    flow = kit.workflow("needs").add_step("send", {"n": "${context.n}"}, step_id="send").build()

    def context(number: int) -> dict[str, Any]:
        return {"n": 1} if number < 5 else {}

    simulation = ok.simulate(flow, kit=kit, runs=20, context=context)
    said = "15 x UnresolvedReferenceError: ${context.n} cannot be resolved"
    assert (simulation.failure or "").startswith(said)
    assert f"; failed: {said}" in repr(simulation)
    assert said in simulation._repr_mimebundle_()["text/html"]

    assert shortened("OSError: one\nand more") == "OSError: one"
    assert len(shortened("x" * 500)) == 160
    fine = ok.simulate(flow, kit=kit, runs=2, context={"n": 1})
    assert fine.failure is None
    assert "failed" not in repr(fine)


def test_outputs_that_are_needed_are_asked_for(kit: ok.Kit) -> None:
    """All of them at once, and where they may come from."""
    child = (
        kit.workflow("child").add_step("fetch", step_id="a").add_step("send", {"n": "${steps.a[0]}"}).build()
    )
    flow = (
        kit.workflow("needs")
        .add_step("fetch", step_id="items")
        .add_map("send", "${steps.items}", {"n": "${item}"}, step_id="each")
        .add_step("send", {"n": "${steps.each[0].id}"}, step_id="last")
        .add_workflow(child, step_id="below")
        .build()
    )
    with pytest.raises(ParameterError) as caught:
        ok.simulate(flow, kit=kit)
    message = str(caught.value)
    assert all(f"'{step}'" in message for step in ("items", "each", "below/a"))
    assert "'last'" not in message
    ok.simulate(flow, kit=kit, runs=1, outputs={"items": [1], "each": {"id": 1}, "below/a": [1]})


def test_an_unsound_workflow_and_a_builder_are_refused(kit: ok.Kit) -> None:
    """A tool that is not there, and a workflow that is not built."""
    flow = kit.workflow("x").add_step("send", step_id="send").build()
    with ok.open() as empty, pytest.raises(WorkflowValidationError):
        ok.simulate(flow, kit=empty)
    with pytest.raises(ParameterError, match="build"):
        ok.simulate(kit.workflow("x").add_step("send"), kit=kit)
