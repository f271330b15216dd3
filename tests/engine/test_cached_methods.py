"""Methods with ``cache="inputs"``: across runs the same code and input are computed once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import orchkit as ok
from orchkit.testing import FakeClock


@dataclass
class Rate:
    """A value with a type."""

    day: str
    rate: float


calls: list[str] = []


def rate(day: str, digits: int = 2) -> Rate:
    """What is slow to find out."""
    calls.append(day)
    return Rate(day, round(1.0912, digits))


def large(day: str) -> str:
    """More than is kept in the row of the cache."""
    calls.append(day)
    return day * 100_000


@pytest.fixture(autouse=True)
def _none_called() -> None:
    calls.clear()


def flow_of(kit: ok.Kit, function: Any = rate, **options: Any) -> ok.Workflow:
    """One step of that function."""
    kit.registry.methods.register_method(function, cache="inputs", **options)
    return kit.workflow("rates").add_step(function.__name__, {"day": "${context.day}"}).build()


@pytest.mark.parametrize("function", [rate, large])
def test_the_same_input_is_computed_once(tmp_path: Path, function: Any) -> None:
    """In later runs, and after the store was opened anew, the recorded output is used, with its type."""
    with ok.open(tmp_path / "runs.duckdb") as kit:
        first = kit.run(flow_of(kit, function), context={"day": "a"}).raise_for_status()
        kit.run(flow_of(kit, function), context={"day": "b"}).raise_for_status()
    with ok.open(tmp_path / "runs.duckdb") as kit:
        again = kit.run(flow_of(kit, function), context={"day": "a"}).raise_for_status()
        assert calls == ["a", "b"]
        assert again.outputs == first.outputs
        assert type(again.outputs[function.__name__]) is type(first.outputs[function.__name__])


def test_reuse_is_a_decision_that_names_the_source() -> None:
    """Of the run: computed, then reused, with whose it is; also in the lineage, and no attempt was made."""
    with ok.open() as kit:
        first = kit.run(flow_of(kit), context={"day": "a"})
        again = kit.run(flow_of(kit), context={"day": "a"})
        found = kit.store.query(
            "SELECT run_id, decision, input_data ->> '$.run_id' FROM decision_traces "
            "WHERE decision_point = 'cache' ORDER BY seq"
        )
        assert found == [(first.run_id, "compute", None), (again.run_id, "reuse", first.run_id)]
        assert kit.store.query("SELECT run_id, step_id, how, source_run_id, source_step_id FROM lineage") == [
            (again.run_id, "rate", "cache", first.run_id, "rate")
        ]
        assert again.run.state.steps["rate"].source == {
            "how": "cache",
            "run_id": first.run_id,
            "step_id": "rate",
        }
        assert (first.steps["rate"].attempts, again.steps["rate"].attempts) == (1, 0)


def test_other_code_or_another_input_is_computed() -> None:
    """An edited function, another default, another version: none of them may use what the old one gave."""

    def edited(day: str, digits: int = 2) -> Rate:
        calls.append(f"edited {day}")
        return Rate(day, 2.0)

    edited.__name__ = "rate"
    edited.__qualname__ = "rate"
    with ok.open() as kit:
        kit.run(flow_of(kit), context={"day": "a"})
        kit.registry.methods.unregister("rate")
        assert kit.run(flow_of(kit, edited), context={"day": "a"}).outputs["rate"].rate == 2.0
        kit.registry.methods.unregister("rate")
        kit.run(flow_of(kit, version="2"), context={"day": "a"})
        kit.registry.methods.unregister("rate")
        kit.run(flow_of(kit), context={"day": "a"})
        assert calls == ["a", "edited a", "a"]


def test_a_failure_is_not_kept() -> None:
    """What raised is called again; what cannot be stored fails its step each time."""
    outcomes: list[Any] = [ValueError("no"), object(), 1.5]

    def moody(day: str) -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with ok.open() as kit:
        flow = flow_of(kit, moody)
        statuses = [kit.run(flow, context={"day": "a"}).status for _ in range(4)]
        assert statuses == ["failed", "failed", "success", "success"]
        assert outcomes == []


def test_methods_that_did_not_ask_are_always_called() -> None:
    """The cache is opt-in."""
    with ok.open() as kit:
        kit.registry.methods.register_method(rate)
        flow = kit.workflow("rates").add_step("rate", {"day": "a"}).build()
        for _ in range(2):
            kit.run(flow)
        assert calls == ["a", "a"]
        assert len(kit.store.cache()) == 0


def test_a_large_output_whose_run_was_swept_is_computed_again() -> None:
    """The entry names a record that is gone: it is dropped, not believed."""
    clock = FakeClock()
    with ok.open(clock=clock) as kit:
        kit.run(flow_of(kit, large), context={"day": "a"})
        (entry,) = kit.store.cache().entries()
        clock.advance(3600)
        kit.store.sweep(older_than="30m")
        assert len(kit.store.cache()) == 0
        assert entry.output is None
        kit.store.cache().put(entry)
        kit.store.commit()
        kit.run(flow_of(kit, large), context={"day": "a"}).raise_for_status()
        assert calls == ["a", "a"]
