"""A step in the hand has the values that its code gave, not their form on the record."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchkit.store import codec
from orchkit.store.store import Store
from orchkit.testing import FakeClock
from orchkit.views.run import Run
from orchkit.views.steprecord import StepRecord

TIME = datetime(2025, 3, 12, 14, 3, tzinfo=UTC)


@dataclass
class Point:
    """A class that the record names."""

    x: int


def _step(recording: Any, value: Any, types: list[Any] | None = None) -> StepRecord:
    """A step that gave back what it was given; ``types`` instead of the notes that belong to the value."""
    packed = codec.pack(value)
    types = types or packed.notes
    run = recording().start("w").begin("s", "t", input={"v": packed.value})
    run.events[-1].payload["types"] = [[["v", *note[0]], *note[1:]] for note in types]
    run.attempt("s", 1).finish("s", tool="t", output=packed.value, types=types)
    return Run(_Memory(run.events), "run_1").step("s")


class _Memory:
    """The part of a store that is needed to read a run."""

    def __init__(self, events: list[Any]) -> None:
        self._events = events
        self.open_runs = SimpleNamespace(all=list)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: self._events


@pytest.mark.parametrize(
    "value",
    [
        1,
        {"a": [1]},
        TIME,
        {"when": [TIME]},
        Path("a/b"),
        b"bytes",
        Point(3),
    ],
    ids=["plain", "nested", "time", "time inside", "path", "bytes", "object"],
)
def test_input_and_output_are_python_values(recording: Any, value: Any) -> None:
    """Types come back as they were, also deep inside."""
    step = _step(recording, value)
    assert (step.input, step.output) == ({"v": value}, value)
    assert type(step.output) is type(value)


def test_tables_and_arrays_come_back(recording: Any) -> None:
    """A DataFrame and an array are such again, and the repr has room for them."""
    np, pd = pytest.importorskip("numpy"), pytest.importorskip("pandas")
    step = _step(recording, pd.DataFrame({"a": range(100)}))
    assert step.output["a"].tolist() == list(range(100))
    assert "  output     <DataFrame of shape (100, 1)>" in repr(step).split("\n")
    array = _step(recording, np.arange(100.0))
    assert array.output.dtype == "float64"
    assert "<ndarray of shape (100,)>" in repr(array)
    assert "output     array([], dtype=float64)" in repr(_step(recording, np.array([])))


@pytest.mark.parametrize(
    "types",
    [
        [[[], "no such tag"]],
        [[["not", "there"], "datetime"]],
        [[[], "datetime"]],
        "nonsense",
    ],
)
def test_what_cannot_be_brought_back_stays_plain(recording: Any, types: Any) -> None:
    """Looking at a record never fails because of what it says about types."""
    run = recording().start("w").begin("s", "t").attempt("s", 1)
    run.finish("s", tool="t", output={"a": "b"}, types=types)
    step = Run(_Memory(run.events), "run_1").step("s")
    assert step.output == {"a": "b"}
    assert 'output     {"a": "b"}' in repr(step)


def test_a_class_that_is_gone_stays_plain(recording: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its fields can still be read."""
    packed = codec.pack(Point(3))
    notes = [[path, tag, str(argument[0]).replace("Point", "Gone")] for path, tag, *argument in packed.notes]
    run = recording().start("w").begin("s", "t").finish("s", output=packed.value, types=notes)
    assert Run(_Memory(run.events), "run_1").step("s").output == {"x": 3}


def test_a_large_value_reads_well(recording: Any, store: Store, clock: FakeClock) -> None:
    """The repr shows the begin of bytes and texts."""
    recording("run_9").start("w").ran("s", "t", output={"text": "x" * 10**6}).store(store, clock)
    assert len(repr(Run(store, "run_9").step("s"))) < 500
    assert len(repr(_step(recording, {"b": b"x" * 10**6, "c": "y" * 10**6}))) < 500
