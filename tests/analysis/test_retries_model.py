"""Retry analytics agree with a slow and obvious reference, of a store and of DataFrames, on made records."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchkit.analysis import retries
from orchkit.analysis.retries.source import Selection
from orchkit.store import codec
from orchkit.store.store import Store

Key = tuple[Any, ...]
Answer = dict[Key, dict[str, Any]]

STATUSES = ("success", "failed", "timeout", "cancelled", "running", "in_doubt")
NOT_ENDED = ("running", "in_doubt")
START_US = 1_741_788_202_000_000
ALL = ("live", "imported", "simulated")


@dataclass(frozen=True)
class Try:
    """One attempt."""

    number: int
    status: str
    start_us: int
    took_us: int
    error: str | None
    injected: bool
    delay_s: float | None
    """Of the decision to retry after it; None: there was no such decision."""

    @property
    def end_us(self) -> int:
        return self.start_us + self.took_us


@dataclass(frozen=True)
class Step:
    """A step of a run with its attempts; without an id it is a single operation."""

    run: str
    workflow: str
    origin: str
    id: str | None
    tool: str
    tries: Sequence[Try]


@st.composite
def tries(draw: st.DrawFn) -> list[Try]:
    """Attempts with different numbers, mostly from 1 on; their times overlap now and then."""
    numbers = draw(
        st.one_of(
            st.integers(1, 5).map(lambda count: list(range(1, count + 1))),
            st.sets(st.integers(1, 6), min_size=1, max_size=4).map(sorted),
        )
    )
    now, made = START_US + draw(st.integers(0, 600)) * 1_000_000, []
    for number in numbers:
        status = draw(st.sampled_from(STATUSES))
        failed = status in ("failed", "timeout")
        one = Try(
            number,
            status,
            now,
            draw(st.integers(0, 90_000_000)),
            draw(st.sampled_from([None, "ConnectionError", "exit 137"])) if failed else None,
            failed and draw(st.booleans()),
            draw(st.sampled_from([None, 0.0, 0.5, 2.0])) if failed else None,
        )
        made.append(one)
        now = max(START_US, one.end_us + draw(st.integers(-5_000, 20_000_000)))
    return made


@st.composite
def records(draw: st.DrawFn) -> list[Step]:
    """Some runs, each of them a few steps or a single operation."""
    made = []
    for index in range(draw(st.integers(0, 4))):
        run, workflow = f"run_{index}", draw(st.sampled_from(["import", "export"]))
        origin = draw(st.sampled_from(ALL))
        names = draw(
            st.one_of(st.just([None]), st.sets(st.sampled_from("abc"), min_size=1, max_size=3).map(sorted))
        )
        for name in names:
            tool = workflow if name is None else draw(st.sampled_from(["send", "fetch"]))
            made.append(Step(run, workflow, origin, name, tool, draw(tries())))
    return made


# --- the same records in a store and as DataFrames -----------------------------------------


def stored(steps: Iterable[Step]) -> Store:
    """A store with these records."""
    store = Store()

    def add(ts: int, kind: str, step: Step, payload: Mapping[str, Any], attempt: int | None = None) -> None:
        of_step = step.id if not kind.startswith("run.") else None
        store.log.append((ts, kind, step.run, of_step, attempt, codec.dumps(payload)), durable=True)

    seen = set()
    for step in steps:
        if step.run not in seen:
            seen.add(step.run)
            marks = {} if step.origin == "live" else {step.origin: {"by": "hand"}}
            add(START_US, "run.started", step, {"kind": "workflow", "name": step.workflow, **marks})
            add(START_US, "run.finished", step, {"status": "success"})
        if step.id is not None:
            add(START_US, "step.scheduled", step, {"name": step.tool, "node_type": "task", "input": {}})
        for one in step.tries:
            end = {"status": one.status, "started_us": one.start_us, "duration_us": one.took_us}
            end |= {"error_type": one.error} if one.error else {}
            end |= {"injected": True} if one.injected else {}
            add(one.end_us, "attempt.finished", step, end, one.number)
            if one.delay_s is not None:
                inputs = {"delay_s": one.delay_s}
                retry = {"point": "retry", "decision": "retry", "origin": "engine", "input_data": inputs}
                add(one.end_us, "decision", step, retry, one.number)
    store.commit()
    return store


def framed(steps: Iterable[Step]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Attempts and decisions."""
    attempts: list[dict[str, Any]] = []
    decisions: list[dict[str, Any]] = []
    for step in steps:
        for one in step.tries:
            whose = {"run_id": step.run, "step_id": step.id, "attempt": one.number}
            attempts.append(
                {
                    **whose,
                    "status": one.status,
                    "started_at": pd.Timestamp(one.start_us, unit="us", tz="UTC"),
                    "finished_at": pd.Timestamp(one.end_us, unit="us", tz="UTC"),
                    "duration_ms": one.took_us / 1000,
                    "error_type": one.error,
                    "injected": one.injected,
                    "tool": step.tool,
                    "workflow": step.workflow,
                }
            )
            if one.delay_s is not None:
                inputs = {"delay_s": one.delay_s}
                decisions.append(
                    {**whose, "decision_point": "retry", "decision": "retry", "input_data": inputs}
                )
    columns = ["run_id", "step_id", "attempt", "status", "started_at", "finished_at", "duration_ms"]
    columns += ["error_type", "injected", "tool", "workflow"]
    of_decisions = ["run_id", "step_id", "attempt", "decision_point", "decision", "input_data"]
    return pd.DataFrame(attempts, columns=columns), pd.DataFrame(decisions, columns=of_decisions)


# --- the reference -------------------------------------------------------------------------


def origins_of(steps: Iterable[Step], selection: Selection) -> Collection[str]:
    """The origins that count: what was simulated does by default where there is nothing else."""
    alone = all(step.origin == "simulated" for step in steps)
    return selection.get("origins", ALL if alone else ("live", "imported"))


def chosen(steps: Sequence[Step], selection: Selection) -> list[Step]:
    """The steps with the attempts that count."""
    origins = origins_of(steps, selection)
    kept = []
    for step in steps:
        left = [one for one in step.tries if selection.get("include_injected", True) or not one.injected]
        if step.origin in origins and left:
            kept.append(Step(step.run, step.workflow, step.origin, step.id, step.tool, left))
    return kept


def key_of(step: Step, by: Sequence[str]) -> Key:
    """The parts of the key that the step itself tells."""
    parts = {"step": step.id, "tool": step.tool, "workflow": step.workflow, "run": step.run}
    return tuple(parts[name] for name in by if name in parts)


def fate(step: Step) -> str:
    """How the step stands."""
    if any(one.status == "success" for one in step.tries):
        return "success"
    last = max(step.tries, key=lambda one: one.number).status
    return "open" if last in NOT_ENDED else "cancelled" if last == "cancelled" else "failed"


def over(part: float, whole: float) -> float:
    """The rate; not a number where there is nothing to divide by."""
    return part / whole if whole else math.nan


def spread(values: Sequence[float]) -> dict[str, float]:
    """Mean, quantiles and the largest."""
    p50, p90, p99 = (float(np.quantile(values, share)) for share in (0.5, 0.9, 0.99))
    return {
        "mean_ms": float(np.mean(values)),
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "max_ms": max(values),
    }


def grouped(pairs: Iterable[tuple[Key, Any]]) -> dict[Key, list[Any]]:
    """The values of each key."""
    found: dict[Key, list[Any]] = defaultdict(list)
    for key, value in pairs:
        found[key].append(value)
    return found


def rates(steps: Sequence[Step], by: Sequence[str]) -> Answer:
    """What `success_rates` is to say."""
    groups = grouped((key_of(step, by), step) for step in steps)
    if not by:
        groups = {(): list(steps)}
    answer: Answer = {}
    for key, members in groups.items():
        count = {name: sum(fate(one) == name for one in members) for name in ("failed", "cancelled", "open")}
        first = sum(min(one.tries, key=lambda each: each.number).status == "success" for one in members)
        rescued = sum(fate(one) == "success" for one in members) - first
        ended = first + rescued + count["failed"]
        attempts = sum(len(one.tries) for one in members)
        answer[key] = {
            "steps": len(members),
            "attempts": attempts,
            "retries": attempts - len(members),
            "first_try": first,
            "rescued": rescued,
            **count,
            "first_try_rate": over(first, ended),
            "success_rate": over(first + rescued, ended),
            "rescue_rate": over(rescued, rescued + count["failed"]),
        }
    return answer


def per_step(steps: Sequence[Step], by: Sequence[str]) -> Answer:
    """What `attempts_per_step` is to say."""
    sizes = grouped((key_of(step, by), step) for step in steps)
    groups = grouped(((*key_of(step, by), len(step.tries)), step) for step in steps)
    return {
        key: {
            "steps": len(members),
            "succeeded": sum(fate(one) == "success" for one in members),
            **{name: sum(fate(one) == name for one in members) for name in ("failed", "cancelled", "open")},
            "share": len(members) / len(sizes[key[:-1]]),
        }
        for key, members in groups.items()
    }


def success_times(steps: Sequence[Step], by: Sequence[str]) -> Answer:
    """What `time_to_success` is to say."""
    pairs = []
    for step in steps:
        ends = [one.end_us for one in step.tries if one.status == "success"]
        if ends:
            key = key_of(step, by) + ((len(step.tries),) if "attempts" in by else ())
            pairs.append((key, (min(ends) - min(one.start_us for one in step.tries)) / 1000))
    return {key: {"steps": len(values), **spread(values)} for key, values in grouped(pairs).items()}


def wasted(steps: Sequence[Step], by: Sequence[str]) -> Answer:
    """What `waste` is to say."""
    pairs = []
    for step in steps:
        first = min(one.number for one in step.tries)
        for one in step.tries:
            if one.status not in ("success", "running"):
                error = ((one.error or one.status),) if "error" in by else ()
                vain = fate(step) == "failed"
                pairs.append(((*error, *key_of(step, by)), (one.took_us / 1000, one.number > first, vain)))
    ended = [one.took_us / 1000 for step in steps for one in step.tries if one.status != "running"]
    groups = grouped(pairs) if by else {(): [value for _, value in pairs]}
    return {
        key: {
            "calls": len(values),
            "time_ms": sum(ms for ms, *_ in values),
            "retries": sum(retry for _, retry, _ in values),
            "retries_ms": sum(ms for ms, retry, _ in values if retry),
            "in_vain": sum(vain for *_, vain in values),
            "in_vain_ms": sum(ms for ms, _, vain in values if vain),
            "share_of_calls": over(len(values), len(ended)),
            "share_of_time": over(sum(ms for ms, *_ in values), sum(ended)),
        }
        for key, values in groups.items()
    }


def all_waits(steps: Sequence[Step]) -> list[tuple[Step, int, str, float]]:
    """Each wait with its step, the attempt before it, and what tells of it."""
    told = {step.run for step in steps for one in step.tries if one.delay_s is not None}
    found = []
    for step in steps:
        for one in step.tries:
            if one.delay_s is not None:
                found.append((step, one.number, "decision", one.delay_s * 1000))
            for later in step.tries if step.run not in told else ():
                gap = (later.start_us - one.end_us) / 1000
                if later.number == one.number + 1 and one.status != "success" and gap >= 0:
                    found.append((step, one.number, "gap", gap))
    return found


def waited(steps: Sequence[Step], by: Sequence[str]) -> Answer:
    """What `waits` is to say."""
    pairs = (
        (((number,) if "attempt" in by else ()) + key_of(step, by) + (basis,), ms)
        for step, number, basis, ms in all_waits(steps)
    )
    return {
        key: {"waits": len(values), "total_ms": sum(values), **spread(values)}
        for key, values in grouped(pairs).items()
    }


def load(steps: Sequence[Step], window_s: float) -> Answer:
    """What `retry_load` is to say."""
    window_us = round(window_s * 1e6)
    groups = grouped(((one.start_us // window_us,), one) for step in steps for one in step.tries)
    return {
        (pd.Timestamp(key[0] * window_us, unit="us", tz="UTC"),): {
            "attempts": len(members),
            "retries": (again := sum(one.number > 1 for one in members)),
            "failed": sum(one.status in ("failed", "timeout") for one in members),
            "share": again / len(members),
            "retries_per_s": again / window_s,
        }
        for key, members in groups.items()
    }


def storms(steps: Sequence[Step], window_s: float, share: float, rate: float, least: int) -> Answer:
    """What `retry_storms` is to say."""
    answer: Answer = {}
    window, begun, previous = pd.Timedelta(seconds=window_s), None, None
    for (at,), one in sorted(load(steps, window_s).items()):
        if one["retries"] < least or (one["share"] < share and one["retries_per_s"] < rate):
            continue
        if previous is None or at != previous + window:
            begun = at
            answer[begun,] = dict.fromkeys(("windows", "attempts", "retries", "failed"), 0)
            answer[begun,] |= {"peak_share": 0.0, "peak_retries_per_s": 0.0}
        storm = answer[begun,]
        storm["windows"] += 1
        for name in ("attempts", "retries", "failed"):
            storm[name] += one[name]
        storm["share"] = storm["retries"] / storm["attempts"]
        storm["peak_share"] = max(storm["peak_share"], one["share"])
        storm["peak_retries_per_s"] = max(storm["peak_retries_per_s"], one["retries_per_s"])
        storm["ended_at"] = previous = at
        storm["ended_at"] = at + window
    return answer


# --- the comparison ------------------------------------------------------------------------


def same(answer: pd.DataFrame, keys: Sequence[str], wanted: Answer) -> None:
    """The rows of the answer are those that are wanted, by their keys."""
    found: Answer = {}
    for row in answer.to_dict("records"):
        key = tuple(None if row[name] is None or row[name] is pd.NA else row[name] for name in keys)
        assert key not in found
        found[key] = {name: value for name, value in row.items() if name not in keys}
    assert found.keys() == wanted.keys()
    for key, row in wanted.items():
        assert found[key].keys() == row.keys()
        for name, value in row.items():
            one = found[key][name]
            if isinstance(value, float):
                assert one == pytest.approx(value, rel=1e-9, abs=1e-6, nan_ok=True), (key, name)
            else:
                assert one == value, (key, name)


COLUMN = {"step": "step_id", "run": "run_id", "error": "error_type"}
SELECTIONS = st.fixed_dictionaries(
    {},
    optional={
        "origins": st.sets(st.sampled_from(ALL)).map(lambda origins: tuple(sorted(origins))),
        "include_injected": st.booleans(),
    },
)
BY = st.lists(st.sampled_from(["step", "tool", "workflow", "run"]), max_size=2, unique=True)


def both(steps: list[Step], selection: Selection, check: Callable[..., None]) -> None:
    """Check an answer of a store, and the one of DataFrames of the runs that count."""
    wanted = chosen(steps, selection)
    with stored(steps) as store:
        check(store, selection, {}, wanted)
    origins = origins_of(steps, selection)
    attempts, decisions = framed(step for step in steps if step.origin in origins)
    of_frame: Selection = {"include_injected": selection.get("include_injected", True)}
    check(attempts, of_frame, {"decisions": decisions}, wanted)


@settings(max_examples=25)
@given(records(), SELECTIONS, BY)
def test_rates_attempts_and_times_are_those_of_the_reference(
    steps: list[Step], selection: Selection, by: list[str]
) -> None:
    """Success rates, attempts per step and time to success, by any keys and of any selection."""

    def check(source: Any, picked: Selection, _: Any, wanted: list[Step]) -> None:
        keys = [COLUMN.get(name, name) for name in by]
        same(retries.success_rates(source, by=by, **picked), keys, rates(wanted, by))
        same(retries.attempts_per_step(source, by=by, **picked), [*keys, "attempts"], per_step(wanted, by))
        split = [*by, "attempts"]
        answer = retries.time_to_success(source, by=split, **picked)
        same(answer, [*keys, "attempts"], success_times(wanted, split))

    both(steps, selection, check)


@settings(max_examples=25)
@given(records(), SELECTIONS, BY, st.booleans())
def test_waste_is_that_of_the_reference(
    steps: list[Step], selection: Selection, by: list[str], errors: bool
) -> None:
    """Calls and time of attempts that did not help, by error and any keys."""
    split = ["error", *by] if errors else by

    def check(source: Any, picked: Selection, _: Any, wanted: list[Step]) -> None:
        keys = [COLUMN.get(name, name) for name in split]
        same(retries.waste(source, by=split, **picked), keys, wasted(wanted, split))

    both(steps, selection, check)


@settings(max_examples=25)
@given(records(), SELECTIONS, BY, st.integers(1, 5))
def test_waits_are_those_of_the_reference(
    steps: list[Step], selection: Selection, by: list[str], bins: int
) -> None:
    """Planned delays where a run has them, else gaps; every wait is within its bin."""
    split = ["attempt", *by]

    def check(source: Any, picked: Selection, extra: Any, wanted: list[Step]) -> None:
        keys = [COLUMN.get(name, name) for name in split]
        same(retries.waits(source, by=split, **picked, **extra), [*keys, "basis"], waited(wanted, split))
        histogram = retries.wait_histogram(source, bins_per_decade=bins, **picked, **extra)
        left = [(basis, ms) for *_, basis, ms in all_waits(wanted)]
        assert histogram.waits.sum() == len(left)
        for row in histogram.itertuples():
            inside = [
                ms
                for basis, ms in left
                if basis == row.basis
                and (row.lower_ms * (1 - 1e-6) <= ms < row.upper_ms or ms == row.upper_ms == 0)
            ]
            assert len(inside) >= row.waits > 0
            assert row.share == pytest.approx(row.waits / sum(basis == row.basis for basis, _ in left))

    both(steps, selection, check)


@settings(max_examples=25)
@given(
    records(),
    SELECTIONS,
    st.sampled_from([0.5, 10, 60, 3600]),
    st.sampled_from([0.0, 0.4, 0.5, 1.0]),
    st.sampled_from([None, 0.01, 0.2]),
    st.integers(0, 3),
)
def test_load_and_storms_are_those_of_the_reference(
    steps: list[Step],
    selection: Selection,
    window_s: float,
    share: float,
    rate: float | None,
    least: int,
) -> None:
    """What began in each window, and the stormy windows that follow each other put together."""

    def check(source: Any, picked: Selection, _: Any, wanted: list[Step]) -> None:
        same(retries.retry_load(source, window_s=window_s, **picked), ["began_at"], load(wanted, window_s))
        answer = retries.retry_storms(
            source, window_s=window_s, share=share, retries_per_s=rate, min_retries=least, **picked
        )
        limit = math.inf if rate is None else rate
        same(answer, ["began_at"], storms(wanted, window_s, share, limit, least))

    both(steps, selection, check)
