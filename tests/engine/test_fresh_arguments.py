"""What a function does to its arguments is seen by nobody else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pytest

import orchkit as ok


@dataclass
class Box:
    """Something that can be changed."""

    items: list[int] = field(default_factory=lambda: [1])


def _append(value: Any) -> None:
    if isinstance(value, Box):
        value.items.append(9)
    elif isinstance(value, dict):
        value["b"] = 9
    elif isinstance(value, set):
        value.add(9)
    elif isinstance(value, pd.DataFrame):
        value["b"] = 9
    else:
        value.append(9)


@pytest.mark.parametrize(
    "make",
    [
        lambda: [1],
        lambda: {"a": [1]},
        lambda: {1},
        Box,
        lambda: bytearray(b"1"),
        lambda: pd.DataFrame({"a": [1]}),
    ],
    ids=["list", "dict", "set", "dataclass", "bytearray", "frame"],
)
def test_a_step_cannot_change_what_others_are_given(make: Callable[[], Any]) -> None:
    """Neither the output of the step before, nor the context, nor its own next attempt."""
    seen: list[Any] = []

    def source() -> Any:
        return make()

    def change(value: Any, given: Any) -> None:
        seen.append((repr(value), repr(given)))
        _append(value)
        _append(given)
        if len(seen) == 1:
            raise ConnectionError("once")

    def read(value: Any, given: Any) -> str:
        return repr((value, given))

    context = {"given": make()}
    with ok.open() as kit:
        for function in (source, change, read):
            kit.registry.methods.register_method(function)
        both = {"value": "${steps.source}", "given": "${context.given}"}
        flow = (
            kit.workflow("w")
            .add_step("source")
            .add_step("change", both, retry={"max_attempts": 2, "strategy": "immediate"})
            .add_step("read", both)
            .build()
        )
        result = kit.run(flow, context=context).raise_for_status()
        forked = kit.fork(result, "read").result()
    untouched = repr((make(), make()))
    assert seen[0] == seen[1] == (repr(make()), repr(make()))
    assert result.outputs["read"] == forked.outputs["read"] == untouched
    assert repr(context["given"]) == repr(make())
    assert repr(result.outputs["source"]) == repr(make())


def test_services_are_shared() -> None:
    """They are not arguments: what is done to them is meant to be seen."""

    class Counter:
        """A service."""

        def __init__(self) -> None:
            self.count = 0

    def bump(counter: Counter, step: list[int]) -> int:
        counter.count += step[0]
        return counter.count

    with ok.open() as kit:
        counter = Counter()
        kit.services.register(Counter, counter)
        kit.registry.methods.register_method(bump)
        kit.run(kit.workflow("w").add_step("bump", {"step": [2]}).build()).raise_for_status()
        assert counter.count == 2
