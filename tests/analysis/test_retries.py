"""Retry analytics of a recorded trace, counted again with pandas; what can be asked, and what cannot."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import orchkit as ok
from orchkit.analysis import retries
from orchkit.errors import ParameterError, UnknownNameError
from orchkit.interop import nextflow
from orchkit.store.store import Store
from orchkit.testing import FakeClock

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
QUESTIONS: list[Callable[..., pd.DataFrame]] = [
    retries.success_rates,
    retries.attempts_per_step,
    retries.time_to_success,
    retries.waste,
    retries.waits,
    retries.wait_histogram,
    retries.retry_load,
    retries.retry_storms,
]


@pytest.fixture(scope="module")
def rows(shared_data: Path) -> pd.DataFrame:
    """The recorded trace as pandas reads it, its spans in milliseconds, its attempts numbered."""
    (path,) = (shared_data / "nextflow_trace").glob("*.tsv")
    frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    frame["ms"] = frame.duration.map(
        lambda text: (
            1000 * sum(float(n) * UNITS[unit] for n, unit in re.findall(r"([\d.]+)(ms|[dhms])", text))
        )
    )
    frame["at"] = pd.to_datetime(frame.submit, utc=True)
    frame = frame.sort_values("at", kind="stable")
    frame["number"] = frame.groupby("name").cumcount() + 1
    frame["process"] = frame.name.str.split(" ").str[0]
    frame["error"] = frame.exit.map(lambda code: "no exit code" if code == "-" else f"exit {code}")
    return frame


@pytest.fixture(scope="module")
def kit(shared_data: Path) -> Iterator[ok.Kit]:
    """A kit that has the trace."""
    (path,) = (shared_data / "nextflow_trace").glob("*.tsv")
    with ok.open() as kit:
        nextflow.load_trace(path, kit)
        yield kit


@pytest.fixture(scope="module")
def run(kit: ok.Kit) -> ok.Run:
    """Its run."""
    return kit.runs[-1]


# --- the trace -----------------------------------------------------------------------------


def test_rates_of_the_trace(kit: ok.Kit, rows: pd.DataFrame) -> None:
    """852 steps in 1,368 attempts: 591 at once, 261 rescued, none failed."""
    (rates,) = retries.success_rates(kit).to_dict("records")
    sizes = rows.groupby("name").size()
    at_once = int((sizes == 1).sum())
    assert (rates["steps"], rates["attempts"], rates["retries"]) == (852, 1368, 516)
    assert (rates["first_try"], rates["rescued"], rates["failed"]) == (at_once, len(sizes) - at_once, 0)
    assert rates["first_try_rate"] == pytest.approx(at_once / len(sizes))
    assert (rates["success_rate"], rates["rescue_rate"]) == (1, 1)


def test_rates_of_the_tools_of_the_trace(kit: ok.Kit, rows: pd.DataFrame) -> None:
    """By tool, those with most steps that needed a retry first."""
    rates = retries.success_rates(kit, by="tool")
    tasks = rows.groupby(["process", "name"]).size()
    assert dict(zip(rates.tool, rates.steps, strict=True)) == tasks.groupby("process").size().to_dict()
    rescued = (tasks > 1).groupby("process").sum()
    assert dict(zip(rates.tool, rates.rescued, strict=True)) == rescued.to_dict()
    assert rates.rescued.tolist() == sorted(rescued, reverse=True)


def test_attempts_per_step_of_the_trace(kit: ok.Kit, rows: pd.DataFrame) -> None:
    """591, 74, 130, 46 and 11 tasks finished on attempt 1 to 5."""
    table = retries.attempts_per_step(kit)
    sizes = rows.groupby("name").size().value_counts().sort_index()
    assert table.attempts.tolist() == sizes.index.tolist() == [1, 2, 3, 4, 5]
    assert table.steps.tolist() == table.succeeded.tolist() == sizes.tolist() == [591, 74, 130, 46, 11]
    assert table.share.sum() == pytest.approx(1)


def test_waste_of_the_trace(kit: ok.Kit, rows: pd.DataFrame) -> None:
    """477 calls ended with exit 137 and 39 without an exit code; all their steps succeeded in the end."""
    table = retries.waste(kit).set_index("error_type")
    failed = rows[rows.status == "FAILED"]
    assert (
        table.calls.to_dict()
        == failed.error.value_counts().to_dict()
        == {"exit 137": 477, "no exit code": 39}
    )
    assert table.time_ms.to_dict() == pytest.approx(failed.groupby("error").ms.sum().to_dict())
    again = failed[failed.number > 1]
    assert table.retries.to_dict() == again.error.value_counts().to_dict()
    assert table.retries_ms.to_dict() == pytest.approx(again.groupby("error").ms.sum().to_dict())
    assert table.in_vain.tolist() == [0, 0]
    assert table.share_of_calls.sum() == pytest.approx(516 / 1368)
    assert table.share_of_time.sum() == pytest.approx(failed.ms.sum() / rows.ms.sum())


def test_time_to_success_of_the_trace(kit: ok.Kit, rows: pd.DataFrame) -> None:
    """From the first submission of a task to its completion, by how many attempts it needed."""
    table = retries.time_to_success(kit).set_index("attempts")
    tasks = rows.groupby("name").agg(first=("at", "min"), tries=("at", "size"), last=("at", "max"))
    tasks["ms"] = rows.groupby("name").ms.last()
    took = (tasks["last"] - tasks["first"]) / pd.Timedelta(milliseconds=1) + tasks.ms
    for number, values in took.groupby(tasks.tries):
        assert table.loc[number, "steps"] == len(values)
        assert table.loc[number, "mean_ms"] == pytest.approx(values.mean())
        quantiles = table.loc[number, ["p50_ms", "p90_ms", "p99_ms", "max_ms"]].tolist()
        assert quantiles == pytest.approx(np.quantile(values, [0.5, 0.9, 0.99, 1]).tolist())


def test_waits_of_the_trace(kit: ok.Kit, rows: pd.DataFrame) -> None:
    """Each of the 516 retries waited for some time, told by the gap before it."""
    table = retries.waits(kit)
    ends = (rows["at"] + pd.to_timedelta(rows.ms, unit="ms")).groupby(rows.name).shift()
    gaps = ((rows["at"] - ends) / pd.Timedelta(milliseconds=1)).clip(lower=0).dropna()
    by_number = gaps.groupby(rows.number - 1)
    assert set(table.basis) == {"gap"}
    assert table.waits.tolist() == by_number.size().tolist()
    assert table.total_ms.tolist() == pytest.approx(by_number.sum().tolist())
    assert table.p90_ms.tolist() == pytest.approx(by_number.quantile(0.9).tolist())
    assert retries.wait_histogram(kit).waits.sum() == len(gaps) == 516


def test_load_and_storms_of_the_trace(kit: ok.Kit, rows: pd.DataFrame) -> None:
    """Attempts and retries per ten minutes; the windows in which most attempts were retries are storms."""
    load = retries.retry_load(kit, window_s=600)
    windows = rows.groupby(rows["at"].dt.floor("10min")).number.agg(
        ["size", lambda numbers: (numbers > 1).sum()]
    )
    assert load.began_at.tolist() == windows.index.tolist()
    assert load[["attempts", "retries"]].to_numpy().tolist() == windows.to_numpy().tolist()
    storms = retries.retry_storms(kit, window_s=600, share=0.6, min_retries=10)
    stormy = windows[(windows.iloc[:, 1] >= 10) & (windows.iloc[:, 1] >= 0.6 * windows["size"])]
    assert storms.windows.sum() == len(stormy)
    assert storms.retries.sum() == stormy.iloc[:, 1].sum()
    assert len(storms) == (stormy.index.to_series().diff() != pd.Timedelta(minutes=10)).sum() > 1


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_kit_store_run_and_dataframe_give_the_same_answer(
    question: Callable[..., pd.DataFrame], kit: ok.Kit, run: ok.Run
) -> None:
    """What lies in the store is answered there; the same attempts as a DataFrame give the same rows."""
    wanted = question(kit)
    assert len(wanted) > 0
    for source in (kit.store, run, run.attempts(), kit.sql("SELECT * FROM attempts")):
        pd.testing.assert_frame_equal(question(source), wanted)
    pd.testing.assert_frame_equal(question(kit, runs=[run]), wanted)
    pd.testing.assert_frame_equal(question(kit, runs=[run.id]), wanted)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_counting_is_done_where_the_records_lie(question: Callable[..., pd.DataFrame], kit: ok.Kit) -> None:
    """Nothing leaves the store but the rows of the answer."""
    fetched = []

    class Watched:
        def sql(self, query: str, params: Any = None) -> pd.DataFrame:
            answer = kit.sql(query, params)
            fetched.append(len(answer))
            return answer

    answer = question(Watched(), origins=["live", "imported", "simulated"])
    assert fetched == [len(answer)]


# --- which runs ----------------------------------------------------------------------------


def test_a_trace_is_imported(kit: ok.Kit) -> None:
    """Imported runs count unless only others are asked for."""
    assert retries.success_rates(kit, origins=["imported"]).steps[0] == 852
    assert retries.success_rates(kit, origins=["live", "simulated"]).steps[0] == 0
    assert retries.success_rates(kit, runs=[]).steps[0] == 0


def test_runs_that_were_simulated_count_when_asked_for(
    store: Store, clock: FakeClock, recording: Any
) -> None:
    """What was made up is not mixed with what happened, unless somebody wants it so."""
    recording("run_real").start("a").failed("s", "ValueError: no").end("failed").store(store, clock)
    recording("run_made").start("a", simulated={"seed": 1}).ran("s").end().store(store, clock)
    recording("run_else").start("a", imported={"format": "x"}).ran("s").end().store(store, clock)
    rates = {
        origins: retries.success_rates(store, origins=origins).steps[0]
        for origins in [("live",), ("imported",), ("simulated",), ("live", "simulated"), ()]
    }
    assert rates == {("live",): 1, ("imported",): 1, ("simulated",): 1, ("live", "simulated"): 2, (): 0}
    assert retries.success_rates(store).steps[0] == 2
    assert retries.success_rates(ok.Run(store, "run_made")).steps[0] == 1
    assert retries.success_rates(store, runs=["run_made"]).first_try[0] == 1


def test_attempts_with_injected_faults_can_be_left_out(
    store: Store, clock: FakeClock, recording: Any
) -> None:
    """Without them, the first attempt that was not tampered with is the first try."""
    made = recording().start("a").begin("s").attempt("s", 1, "failed", error_type="E", injected=True)
    made.decided("s", "retry", "retry", attempt=1, input_data={"delay_s": 9}).attempt("s", 2).finish("s")
    made.end().store(store, clock)
    whole, left = retries.success_rates(store), retries.success_rates(store, include_injected=False)
    assert (whole.rescued[0], whole.first_try[0], whole.retries[0]) == (1, 0, 1)
    assert (left.rescued[0], left.first_try[0], left.retries[0]) == (0, 1, 0)
    assert len(retries.waste(store)) == len(retries.waits(store)) == 1
    assert len(retries.waste(store, include_injected=False)) == 0
    assert len(retries.waits(store, include_injected=False)) == 0


def test_attempts_of_no_step_are_those_of_their_run() -> None:
    """Without a step, all attempts of a run are one call, and its tool is what the run is called."""
    attempts = pd.DataFrame(
        {
            "run_id": ["r1", "r2"],
            "step_id": None,
            "attempt": [1, 1],
            "status": "success",
            "workflow": "mail.send",
        }
    )
    rates = retries.success_rates(attempts, by=["tool", "step"])
    assert rates[["tool", "step_id", "steps"]].to_numpy().tolist() == [["mail.send", None, 2]]


# --- what cannot be asked ------------------------------------------------------------------


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.__name__)
def test_an_empty_store_has_an_empty_answer_of_the_same_columns(
    question: Callable[..., pd.DataFrame], kit: ok.Kit, store: Store
) -> None:
    """Nothing on record is an answer, too, with all columns in their dtypes."""
    answer = question(store)
    wanted = question(kit)
    assert (answer.dtypes == wanted.dtypes).all()
    assert len(answer) == (1 if question is retries.success_rates else 0)
    empty = question(pd.DataFrame(columns=["step_id", "attempt", "status", "started_at", "finished_at"]))
    pd.testing.assert_frame_equal(empty, answer)


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        (retries.success_rates, "status"),
        (retries.waste, "attempt"),
        (retries.time_to_success, "finished_at"),
        (retries.waits, "started_at"),
        (retries.retry_load, "started_at"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_column_that_is_needed_and_missing_is_named(
    question: Callable[..., pd.DataFrame], missing: str, run: ok.Run
) -> None:
    """A DataFrame that cannot answer says what it lacks."""
    with pytest.raises(ParameterError, match=f"column '{missing}': is missing"):
        question(run.attempts().drop(columns=missing))


def test_times_and_durations_that_are_missing_are_worked_out_or_left_out(run: ok.Run) -> None:
    """Without durations the times tell them; without times the rates are what they are."""
    attempts = run.attempts()
    without = retries.waste(attempts.drop(columns="duration_ms"))
    assert without.calls.tolist() == retries.waste(attempts).calls.tolist()
    assert without.time_ms.tolist() == pytest.approx(retries.waste(attempts).time_ms.tolist(), rel=0.01)
    bare = attempts[["step_id", "attempt", "status"]]
    pd.testing.assert_frame_equal(retries.success_rates(bare), retries.success_rates(attempts))
    assert retries.waste(bare).error_type.tolist() == ["failed"]


def test_times_without_a_zone_are_utc(run: ok.Run) -> None:
    """As all times of the record."""
    attempts = run.attempts()
    naive = attempts.assign(started_at=attempts.started_at.dt.tz_localize(None))
    pd.testing.assert_frame_equal(retries.retry_load(naive), retries.retry_load(attempts))


def test_what_is_no_source_is_refused() -> None:
    """The error says what can be asked."""
    with pytest.raises(ParameterError, match=r"is a dict \(ask a kit, a store, a run"):
        retries.success_rates({})  # type: ignore[arg-type]


def test_unknown_keys_and_origins_are_named(kit: ok.Kit) -> None:
    """A misspelt key or origin is an error that suggests the right one."""
    with pytest.raises(UnknownNameError, match="did you mean 'workflow'"):
        retries.success_rates(kit, by="workflows")
    with pytest.raises(UnknownNameError, match="key to group by 'error'"):
        retries.success_rates(kit, by="error")
    with pytest.raises(UnknownNameError, match="did you mean 'simulated'"):
        retries.success_rates(kit, origins=["simulate"])  # type: ignore[list-item]


@pytest.mark.parametrize("window_s", [0, -1, float("nan")])
def test_a_window_has_a_length(kit: ok.Kit, window_s: float) -> None:
    """Nothing begins in no time."""
    with pytest.raises(ValueError, match="window_s"):
        retries.retry_load(kit, window_s=window_s)


def test_bins_are_at_least_one_per_decade(kit: ok.Kit) -> None:
    """Fewer than one would be none."""
    with pytest.raises(ValueError, match="bins_per_decade"):
        retries.wait_histogram(kit, bins_per_decade=0)
