"""Forks share what lies before a difference; verify runs pure steps again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import orchkit as ok
from orchkit.store import codec


@dataclass
class Price:
    """A value with a type."""

    amount: float
    currency: str


class Bench:
    """A kit with a workflow of every kind of step, and what was called."""

    def __init__(self, path: Path | None = None) -> None:
        self.kit = ok.open(path)
        self.calls: list[str] = []
        register: Callable[..., Any] = self.kit.registry.methods.register_method
        for function in (self.price, self.total, self.label, self.scale):
            register(function, name=function.__name__, pure=True)
        register(self.send, name="send")
        inner = self.kit.workflow("inner").add_step("scale", {"amount": "${context.amount}", "by": 2}).build()
        self.flow = (
            self.kit.workflow("flow")
            .add_step("price", {"amount": "${context.amount}"})
            .add_map("label", [1, 2, 3], {"number": "${item}"}, step_id="labels")
            .add_workflow(inner, {"amount": "${steps.price.amount}"}, step_id="scaled")
            .add_step("total", {"price": "${steps.price}", "labels": "${steps.labels}"})
            .add_step("send", {"text": "${steps.total}"}, when="${steps.price.amount} > 1")
            .with_execution_mode("dag")
            .build()
        )
        self.run = self.kit.run(self.flow, context={"amount": 10.0}).raise_for_status()
        self.first = list(self.calls)
        self.calls.clear()

    def price(self, amount: float) -> Price:
        self.calls.append("price")
        return Price(amount, "EUR")

    def label(self, number: int) -> str:
        self.calls.append(f"label {number}")
        return f"no. {number}"

    def scale(self, amount: float, by: float) -> float:
        self.calls.append("scale")
        return amount * by

    def total(self, price: Price, labels: list[str]) -> str:
        self.calls.append("total")
        return f"{price.amount} {price.currency}, {len(labels)} labels"

    def send(self, text: str) -> str:
        self.calls.append("send")
        return f"sent: {text}"


@pytest.fixture
def bench() -> Iterator[Bench]:
    """A run to begin from."""
    bench = Bench()
    with bench.kit:
        yield bench


@pytest.mark.parametrize(
    ("arguments", "calls", "sent"),
    [
        ({"from_step": "send"}, ["send"], "sent: 10.0 EUR, 3 labels"),
        ({"from_step": "total"}, ["total", "send"], "sent: 10.0 EUR, 3 labels"),
        ({"from_step": "price"}, ["price", "scale", "total", "send"], "sent: 10.0 EUR, 3 labels"),
        (
            {"from_step": "labels"},
            ["label 1", "label 2", "label 3", "total", "send"],
            "sent: 10.0 EUR, 3 labels",
        ),
        ({"from_step": ["labels", "scaled"]}, None, "sent: 10.0 EUR, 3 labels"),
        ({"overrides": {"total": {"output": "nothing"}}}, ["send"], "sent: nothing"),
        (
            {"overrides": {"price": {"output": Price(2.0, "USD")}}},
            ["scale", "total", "send"],
            "sent: 2.0 USD, 3 labels",
        ),
        ({"overrides": {"price": {"input": {"amount": 5.0}}}}, None, "sent: 5.0 EUR, 3 labels"),
        (
            {"overrides": {"labels": {"output": []}}, "from_step": "send"},
            ["total", "send"],
            "sent: 10.0 EUR, 0 labels",
        ),
        ({"context": {"amount": 3.0}}, None, "sent: 3.0 EUR, 3 labels"),
        ({"context": {"amount": 3.0}}, ["price", "scale", "total", "send"], "sent: 3.0 EUR, 3 labels"),
        ({"context": {"unused": 1}, "from_step": "send"}, ["send"], "sent: 10.0 EUR, 3 labels"),
        ({"overrides": {"price": {"output": Price(0.5, "EUR")}}}, ["scale", "total"], None),
    ],
)
def test_only_what_is_different_runs_again(
    bench: Bench, arguments: dict[str, Any], calls: list[str] | None, sent: str | None
) -> None:
    """The named steps and all that use them are run; everything else is shared, with its types."""
    result = bench.kit.fork(bench.run.run_id, **arguments).result()
    assert result.success
    assert result.run_id != bench.run.run_id
    assert result.outputs.get("send") == sent
    if calls is not None:
        assert sorted(bench.calls) == sorted(calls)
    assert isinstance(result.outputs["price"], Price)


def test_a_function_can_take_the_place_of_another(bench: Bench) -> None:
    """For one step only; the definition of the fork names it, the recorded run keeps its own."""

    def cheaper(amount: float) -> Price:
        return Price(amount / 2, "EUR")

    result = bench.kit.fork(bench.run.run_id, overrides={"price": {"function": cheaper}}).result()
    assert result.outputs["send"] == "sent: 5.0 EUR, 3 labels"
    assert result.run.definition.step("price").tool_name == "cheaper"
    assert bench.run.run.definition.step("price").tool_name == "price"


def test_a_fork_stands_by_itself_and_says_where_it_comes_from(bench: Bench) -> None:
    """Its record has the shared outputs, whose they are, and the decision; a fork of a fork works as well."""
    fork = bench.kit.fork(bench.run.run_id, "total").result()
    again = bench.kit.fork(fork.run_id, "send").result()
    state = again.run.state
    assert state.forked_from == {"run_id": fork.run_id, "from_step": ["send"]}
    assert state.steps["price"].source == {"how": "fork", "run_id": fork.run_id, "step_id": "price"}
    assert codec.unpack(state.steps["price"].output, state.steps["price"].output_types) == Price(10.0, "EUR")
    assert state.steps["send"].source is None
    rows = bench.kit.store.query(
        "SELECT step_id, how FROM lineage WHERE run_id = ? ORDER BY step_id", [fork.run_id]
    )
    assert rows == [("labels", "fork"), ("price", "fork"), ("scaled", "fork")]
    assert bench.kit.store.query("SELECT source_run_id FROM runs WHERE run_id = ?", [fork.run_id]) == [
        (bench.run.run_id,)
    ]
    (decision,) = [d for d in state.decisions if d.point == "fork"]
    shared = decision.payload["input_data"]["shared"]  # in order of completion: two ran side by side
    assert sorted(shared) == ["labels", "price", "scaled", "total"]


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({}, "nothing would be different"),
        ({"from_step": "totel"}, r"from_step: unknown step 'totel' \(did you mean 'total'\?\)"),
        ({"overrides": {"x": {"output": 1}}}, "overrides: unknown step 'x'"),
        ({"overrides": {"total": {"outputs": 1}}}, r"overrides\['total'\]: unknown key 'outputs'"),
        ({"overrides": {"total": {"output": 1, "input": {}}}}, "is not run"),
        ({"overrides": {"total": 5}}, "expected a mapping, got 5"),
        ({"overrides": {"price": {"input": 3}}}, r"overrides\['price'\]\.input: expected a mapping"),
    ],
)
def test_what_means_nothing_is_named(bench: Bench, arguments: dict[str, Any], fault: str) -> None:
    """All of it at once, before anything is run or recorded."""
    with pytest.raises(ok.ParameterError, match=fault):
        bench.kit.fork(bench.run.run_id, **arguments)
    assert len(bench.kit.runs) == 1


def test_an_override_must_fit(bench: Bench) -> None:
    """A parameter that the tool does not have, an output that cannot be stored, an unknown run."""
    with pytest.raises(ok.WorkflowValidationError, match="amuont"):
        bench.kit.fork(bench.run.run_id, overrides={"price": {"input": {"amuont": 1.0}}})
    with pytest.raises(ok.CodecError, match=r"overrides\['price'\]\.output"):
        bench.kit.fork(bench.run.run_id, overrides={"price": {"output": object()}})
    with pytest.raises(ok.UnknownNameError):
        bench.kit.fork("run_none", "price")
    assert len(bench.kit.runs) == 1


def test_of_a_failed_run_the_rest_is_run(bench: Bench) -> None:
    """Steps that did not succeed in the recorded run belong to what is run."""

    def broken(text: str) -> str:
        raise OSError("no line")

    failed = bench.kit.fork(bench.run.run_id, overrides={"send": {"function": broken}}).result()
    assert failed.status == "failed"
    result = bench.kit.fork(failed.run_id, overrides={"send": {"function": "send"}}).result()
    assert result.success
    assert bench.calls == ["send"]


def test_a_cut_off_fork_is_resumed_like_any_run(bench: Bench) -> None:
    """Shared results count as completed steps; a fork that failed is tried again from there."""
    outcomes = [OSError("no line"), None]

    def moody(text: str) -> str:
        outcome = outcomes.pop(0)
        if outcome is not None:
            raise outcome
        return text

    failed = bench.kit.fork(bench.run.run_id, overrides={"send": {"function": moody}}).result()
    assert failed.status == "failed"
    assert bench.kit.resume(failed.run_id).result().outputs["send"] == "10.0 EUR, 3 labels"
    assert bench.calls == []


# --- verify ----------------------------------------------------------------------------------


def test_pure_steps_that_still_give_the_same(bench: Bench) -> None:
    """Every completed step of a pure method is run once more, items and sub-workflows too, unrecorded."""
    verification = bench.kit.verify(bench.run.run_id)
    assert verification
    assert (len(verification), verification.skipped) == (6, ("send",))
    frame = verification.frame()
    assert sorted(frame.step_id) == ["labels[0]", "labels[1]", "labels[2]", "price", "scale", "total"]
    assert frame.set_index("step_id").item.dropna().to_dict() == {
        "labels[0]": 0,
        "labels[1]": 1,
        "labels[2]": 2,
    }
    assert frame.matches.all()
    assert set(frame.attempt) == {1}
    assert sorted(bench.calls) == sorted(call for call in bench.first if call != "send")
    assert len(bench.kit.runs) == 1


def test_a_step_that_gives_something_else_is_named(bench: Bench) -> None:
    """Expected beside actual, the place of the difference, and whether the code is another one."""

    def price(amount: float) -> Price:
        return Price(amount + 1, "EUR")

    bench.kit.registry.methods.unregister("price")
    bench.kit.registry.methods.register_method(price, name="price", pure=True)
    verification = bench.kit.verify(bench.run.run_id)
    assert not verification
    (step,) = verification.mismatches
    assert (step.step_id, step.expected["amount"], step.actual["amount"]) == ("price", 10.0, 11.0)
    assert [str(difference) for difference in step.differences] == [
        "output.amount: recorded 10.0, given 11.0"
    ]
    assert step.code_changed
    assert "1 of them differs" in repr(verification)


def test_a_step_that_fails_now_is_named(bench: Bench) -> None:
    """Its error stands where the output would."""

    def price(amount: float) -> Price:
        raise LookupError("gone")

    bench.kit.registry.methods.unregister("price")
    bench.kit.registry.methods.register_method(price, name="price", pure=True)
    (step,) = bench.kit.verify(bench.run.run_id).mismatches
    assert (step.actual, step.error) == (None, "LookupError: gone")
