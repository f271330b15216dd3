"""Keys that were used for something else, and what is no store: the errors say what is meant."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import orchkit as ok


@pytest.fixture
def kit() -> Iterator[ok.Kit]:
    """A kit in memory with names of its own."""
    with ok.open(registry=ok.Registry()) as kit:
        yield kit


def test_a_key_of_another_workflow_is_said_to_be_that(kit: ok.Kit) -> None:
    """It is not another input; both names are told."""
    kit.registry.methods.register_method(lambda: 1, name="one")
    for name in ("first", "second"):
        flow = kit.workflow(name).add_step("one").build()
        if name == "first":
            kit.run(flow, idempotency_key="k")
            continue
        said = "the key of another one: it was used for 'first'"
        with pytest.raises(ok.IdempotencyConflictError, match=said) as caught:
            kit.run(flow, idempotency_key="k")
        assert caught.value.other == "first"


@pytest.mark.parametrize(
    ("recorded", "given", "said"),
    [
        ([1], (1,), "their Python types are not: given, context.x is a tuple"),
        ((1,), [1], "given, everything is plain data, such as a list where a tuple was recorded"),
    ],
)
def test_an_input_of_other_types_says_so(kit: ok.Kit, recorded: Any, given: Any, said: str) -> None:
    """Where the values look alike as JSON, the types are named and where they are."""
    kit.registry.methods.register_method(lambda: 1, name="one")
    flow = kit.workflow("w").add_step("one").build()
    kit.run(flow, context={"x": recorded}, idempotency_key="k")
    with pytest.raises(ok.IdempotencyConflictError, match=said):
        kit.run(flow, context={"x": given}, idempotency_key="k")


def test_a_path_is_no_store_of_a_kit(tmp_path: Path) -> None:
    """The error says how a file is opened, and nothing is made."""
    with pytest.raises(ok.ParameterError, match=r"is the path of one \(ok.open\('runs.duckdb'\) opens it"):
        ok.Kit("runs.duckdb")  # type: ignore[arg-type]
    with pytest.raises(ok.ParameterError, match="is the path of one"):
        ok.Kit(tmp_path / "runs.duckdb")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
