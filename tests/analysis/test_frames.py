"""The record as DataFrames: columns and dtypes that users can rely on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from orchkit.analysis import frames
from orchkit.errors import UnknownNameError
from orchkit.store import codec
from orchkit.store.store import Store
from orchkit.testing import FakeClock

DTYPES = {
    "text": "str",
    "maybe": "object",
    "int": "Int64",
    "float": "float64",
    "bool": "bool",
    "time": "datetime64[us, UTC]",
    "json": "object",
}
OF_A_RUN: list[tuple[Callable[[Any, str], pd.DataFrame], frames.Columns]] = [
    (frames.steps, frames.STEPS),
    (frames.attempts, frames.ATTEMPTS),
    (frames.decisions, frames.DECISIONS),
    (frames.evidence, frames.EVIDENCE),
    (frames.events, frames.EVENTS),
]


def _check(frame: pd.DataFrame, columns: frames.Columns) -> None:
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        name: DTYPES[kind] for name, kind in columns.items()
    }
    assert list(frame.columns) == list(columns)


@pytest.fixture
def filled(recording: Any, store: Store, clock: FakeClock) -> Store:
    """A run with everything in it."""
    run = recording().start("import", user_id="u_1", session_id="s_1", casefile_id="c_1", pid=7, host="h")
    run.ran("a", "t.a", ms=12.5, output={"rows": [1, {"x": None}]})
    run.begin("b", "t.b").attempt("b", 1, "timeout", ms=1000, error="TimeoutExceededError: x", abandoned=True)
    run.decided("b", "retry", "give_up", "used up", attempt=1, input_data={"delay_s": 0}, duration_ms=0.5,
                evidence=["ev_1"])  # fmt: skip
    run.decided(None, "cancel", "cancel")
    run.add(
        "evidence",
        "b",
        1,
        evidence_id="ev_1",
        type="text",
        data=["é"],
        source="doc",
        confidence_score=0.5,
        hash="h",
        metadata={"page": 1},
    )
    run.finish("b", "failed", "t.b", error="TimeoutExceededError: x", error_type="x.TimeoutExceededError")
    run.end("failed", "TimeoutExceededError: x").store(store, clock)
    return store


@pytest.mark.parametrize(("read", "columns"), OF_A_RUN, ids=lambda value: getattr(value, "__name__", ""))
def test_columns_and_dtypes_are_the_same_with_and_without_rows(
    filled: Store, read: Callable[[Any, str], pd.DataFrame], columns: frames.Columns
) -> None:
    """Each table has its documented columns in their order and dtypes, also when it is empty."""
    for run_id, empty in (("run_1", False), ("no such run", True)):
        frame = read(filled, run_id)
        _check(frame, columns)
        assert frame.empty is empty
        assert list(frame.index) == list(range(len(frame)))


def test_runs_have_the_same_columns_with_and_without_rows(filled: Store) -> None:
    """The table of runs, too."""
    _check(frames.runs(filled), frames.RUNS)
    _check(frames.runs(filled, name="nothing"), frames.RUNS)
    assert frames.runs(filled, name="nothing").empty


def test_the_docstrings_name_every_column() -> None:
    """What the tables document is what they have."""
    for read, columns in [*OF_A_RUN, (frames.runs, frames.RUNS)]:
        assert read.__doc__ is not None
        for name in columns:
            assert name in read.__doc__, (read.__name__, name)


def test_values_come_back_as_python_values(filled: Store) -> None:
    """JSON columns are parsed; texts and values that are missing are None."""
    steps = frames.steps(filled, "run_1").set_index("step_id")
    assert steps.loc["a", "output"] == {"rows": [1, {"x": None}]}
    assert steps.loc["b", "output"] is None
    assert steps.loc["a", "error"] is None
    assert steps.loc["b", "error_type"] == "x.TimeoutExceededError"
    decisions = frames.decisions(filled, "run_1")
    assert decisions["input_data"].tolist() == [{"delay_s": 0}, None]
    assert decisions["sequence_number"].tolist() == [1, 2]
    assert decisions.loc[1, "step_id"] is None
    assert decisions["evidence"].tolist() == [["ev_1"], None]
    evidence = frames.evidence(filled, "run_1").iloc[0]
    assert (evidence["evidence_data"], evidence["metadata"], evidence["confidence_score"]) == (
        ["é"],
        {"page": 1},
        0.5,
    )
    assert frames.events(filled, "run_1").loc[0, "payload"]["user_id"] == "u_1"


def test_missing_texts_read_well(filled: Store) -> None:
    """No NaN stands where a text is missing, and what is there can be asked for as usual."""
    steps = frames.steps(filled, "run_1")
    assert "NaN" not in steps[["step_id", "parent", "error", "error_type", "reason"]].to_string()
    assert steps[steps["error"].notna()]["step_id"].tolist() == ["b"]
    assert frames.runs(filled)["parent_run_id"].isna().all()


def test_times_are_utc_and_durations_milliseconds(filled: Store) -> None:
    """Times carry their zone, durations are floats in milliseconds."""
    attempts = frames.attempts(filled, "run_1").set_index("step_id")
    assert attempts.loc["a", "duration_ms"] == 12.5
    assert attempts.loc["b", "duration_ms"] == 1000.0
    assert attempts["abandoned"].to_dict() == {"a": False, "b": True}
    first = frames.events(filled, "run_1").loc[0, "ts"]
    assert first == pd.Timestamp("2025-03-12 14:03:22", tz="UTC")
    run = frames.runs(filled).iloc[0]
    assert (run["finished_at"] - run["started_at"]).total_seconds() * 1000 == run["duration_ms"] == 1012.5


def test_rows_stand_in_the_order_of_what_happened(recording: Any, store: Store, clock: FakeClock) -> None:
    """Steps in the order in which they were scheduled, those that run now included."""
    run = (
        recording()
        .start("w")
        .begin("z")
        .begin("a")
        .attempt("a", 1)
        .finish("a")
        .add("attempt.started", "z", 1)
    )
    run.skipped("m", "why").store(store, clock)
    assert frames.steps(store, "run_1")["step_id"].tolist() == ["z", "a", "m"]
    assert frames.steps(store, "run_1")["status"].tolist() == ["running", "success", "skipped"]
    assert frames.attempts(store, "run_1")["step_id"].tolist() == ["a", "z"]


def test_a_large_value_is_put_back(recording: Any, store: Store, clock: FakeClock) -> None:
    """What the store keeps by its content hash comes back whole, in columns and in payloads."""
    text = "x" * (codec.BLOB_BYTES + 1)
    slim = {"$blob": store.put_blob(codec.dumps({"text": text})), "bytes": len(text)}
    recording().start("w").ran("a", output=slim).store(store, clock)
    assert frames.steps(store, "run_1").loc[0, "output"] == {"text": text}
    assert frames.events(store, "run_1")["payload"].iloc[-1]["output"] == {"text": text}


@pytest.mark.parametrize(
    ("filters", "run_ids"),
    [
        ({}, ["r1", "r2", "r3", "r4"]),
        ({"sub_runs": False}, ["r1", "r2", "r3"]),
        ({"status": "failed"}, ["r2"]),
        ({"status": ["failed", "success"]}, ["r1", "r2", "r4"]),
        ({"name": "import", "status": "running"}, ["r3"]),
        ({"casefile_id": "c'; --"}, ["r2"]),
        ({"session_id": None, "sub_runs": False}, ["r1", "r2", "r3"]),
        ({"parent_run_id": "r1"}, ["r4"]),
        ({"limit": 2}, ["r3", "r4"]),
        ({"limit": 1, "status": "success"}, ["r4"]),
        ({"status": []}, []),
    ],
)
def test_runs_can_be_filtered(
    recording: Any, store: Store, clock: FakeClock, filters: dict[str, Any], run_ids: list[str]
) -> None:
    """Filters take a value or several, combine, and treat what they are given as a value only."""
    recording("r1").start("import").end().store(store, clock)
    recording("r2").start("export", casefile_id="c'; --").end("failed").store(store, clock)
    recording("r3").start("import").store(store, clock)
    recording("r4").start("part", parent_run_id="r1", parent_step_id="s").end().store(store, clock)
    assert frames.runs(store, **filters)["run_id"].tolist() == run_ids


def test_an_unknown_filter_is_named(store: Store) -> None:
    """A misspelt filter is an error that suggests the right one."""
    with pytest.raises(
        UnknownNameError, match="unknown filter of runs 'casefile'; did you mean 'casefile_id'"
    ):
        frames.runs(store, casefile="c_1")
