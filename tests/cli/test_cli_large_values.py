"""Values too large to print."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from orchkit.analysis.facts import Facts
from orchkit.cli.runcard import MOST_DATA_CHARS, MOST_DATA_LINES, print_step
from orchkit.model.state import RunState, StepState


@pytest.mark.parametrize(
    ("output", "shown", "more"),
    [
        ([1, 2], "1,\n    2", False),
        (list(range(3_000_000)), "1,\n    2", True),
        ("x" * 10_000_000, "xxxx", True),
        ({"rows": [{"a": index} for index in range(300_000)]}, '"a": 0', True),
    ],
    ids=["small", "long list", "long text", "nested"],
)
def test_a_value_is_shown_from_its_beginning(output: Any, shown: str, more: bool) -> None:
    """A screen or so of it, quickly, and the way to all of it; a small value is shown whole."""
    console = Console(file=io.StringIO(), width=80)
    step = StepState("s", name="t", status="success", output=output)
    print_step(console, Facts(RunState(run_id="run_1", name="w", steps={"s": step})), step)
    assert isinstance(console.file, io.StringIO)
    text = "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())
    assert shown in text
    assert ("--json shows all" in text) is more
    assert len(text) < 2 * MOST_DATA_CHARS
    assert text.count("\n") < 2 * MOST_DATA_LINES + MOST_DATA_CHARS / 80
