"""Words, ids and tables on a screen of a given width."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from orchkit.analysis.facts import Facts
from orchkit.cli.result import print_result
from orchkit.cli.runcard import print_step
from orchkit.cli.shortids import SHORTEST, shortest_ids
from orchkit.cli.tables import MOST_STEPS, grid, print_steps
from orchkit.cli.words import one_line, plain, squeeze, value
from orchkit.model.state import AttemptState, DecisionState, RunState, StepState

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def _screen(width: int = 80) -> Console:
    return Console(file=io.StringIO(), width=width, highlight=False, markup=False, emoji=False)


def _lines(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


# --- words -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("bell\x07 and null\x00", "bell� and null�"),
        ("two\r\nlines", "two\nlines"),
        ("over\rwritten", "over�written"),
        ("tab\tstays", "tab\tstays"),
    ],
)
def test_foreign_text_cannot_command_the_terminal(foreign: str, shown: str) -> None:
    """Colours, titles and bells in an error message are text like any other."""
    assert plain(foreign) == shown


@given(TEXTS)
def test_one_line_is_one_line(text: str) -> None:
    """Whatever was recorded, a cell has no line breaks and no control characters."""
    assert all(character.isprintable() or character == " " for character in ascii(one_line(text)))
    assert len(one_line(text).splitlines()) <= 1


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ({"a": [1, None]}, '{"a": [1, null]}'),
        ("a text\nof two lines", "a text of two lines"),
        ({"$blob": "abc", "bytes": 204_800}, "(200 kB)"),
        (3, "3"),
        (None, "null"),
    ],
)
def test_values_are_written_as_json_on_one_line(data: Any, shown: str) -> None:
    """Outputs as they are recorded; of a large one, kept apart, the size."""
    assert value(data) == shown


@given(TEXTS, st.integers(3, 40))
def test_squeezing_keeps_both_ends(text: str, width: int) -> None:
    """A squeezed text has the width, and begins and ends as the whole one."""
    squeezed = squeeze(text, width)
    assert len(squeezed) == min(len(text), width)
    if squeezed != text:
        begin, _, end = squeezed.partition("…") if "…" not in text else (squeezed[:1], "", squeezed[-1:])
        assert text.startswith(begin)
        assert text.endswith(end)


# --- ids -------------------------------------------------------------------------------------

IDS = st.lists(st.text("0123456789abcdef", min_size=32, max_size=32).map("run_".__add__), max_size=30)


@given(IDS, st.data())
def test_short_ids_are_unambiguous(ids: list[str], data: st.DataObject) -> None:
    """Each short id fits exactly one run of the whole store, and all are equally long."""
    shown = data.draw(st.lists(st.sampled_from(ids), unique=True)) if ids else []
    short = shortest_ids(shown, ids)
    assert set(short) == set(shown)
    for run_id, prefix in short.items():
        assert [one for one in set(ids) if one.startswith(prefix)] == [run_id]
    assert len({len(prefix) for prefix in short.values()}) <= 1
    assert all(len(prefix) >= SHORTEST for prefix in short.values())


def test_ids_are_as_long_as_they_must_be() -> None:
    """Runs that began together need more of their ids, and no more than that."""
    one, other = f"run_{'0' * 20}a{'0' * 11}", f"run_{'0' * 20}b{'0' * 11}"
    assert shortest_ids([one], [one]) == {one: one[:SHORTEST]}
    assert shortest_ids([one], [one, other]) == {one: one[: len("run_") + 21]}


# --- tables ----------------------------------------------------------------------------------


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=5), st.integers(40, 120), st.booleans())
def test_a_table_keeps_to_the_screen(rows: list[tuple[str, str, str]], width: int, wrap: bool) -> None:
    """No line is wider than the screen, whatever is in the cells; without wrapping each row is one line."""
    console = _screen(width)
    console.print(grid(console, ("one", "two", "three"), [map(one_line, row) for row in rows], wrap=wrap))
    lines = _lines(console)
    assert all(cell_len(line) <= width for line in lines)
    if not wrap:
        assert len(lines) == 1 + len(rows)


def test_the_last_column_gets_the_room() -> None:
    """Long ids are cut in the middle, a long text at its end; with `wrap` it goes on below."""
    rows = [
        ("a_step_with_a_name_that_is_much_too_long_for_this", "a reason of quite a few words, and one more")
    ]
    console = _screen(44)
    console.print(grid(console, ("step", "why"), rows))
    console.print(grid(console, ("step", "why"), rows, wrap=True))
    assert _lines(console) == [
        "step               why",
        "a_step_w…for_this  a reason of quite a few …",
        "step         why",
        "a_ste…_this  a reason of quite a few words,",
        "             and one more",
    ]


def _state(*statuses: str) -> RunState:
    steps = {
        f"s{number}": StepState(f"s{number}", status=status, attempts=[AttemptState(1)], output=number)  # type: ignore[arg-type]
        for number, status in enumerate(statuses)
    }
    return RunState(steps=steps)


def test_the_steps_of_a_run() -> None:
    """Outcome first: the output, else the error, else the reason; items of maps are not listed."""
    state = RunState(
        steps={
            "a": StepState(
                "a",
                status="success",
                scheduled_us=0,
                finished_us=1_500_000,
                output={"x": 1},
                attempts=[AttemptState(1), AttemptState(2)],
            ),
            "m[0]": StepState("m[0]", parent="m", status="success"),
            "b": StepState("b", status="failed", error="ValueError: no\nsuch thing", output=None),
            "c": StepState("c", status="skipped", reason="step 'b' failed"),
            "d": StepState("d"),
        }
    )
    console = _screen()
    print_steps(console, Facts(state))
    assert _lines(console) == [
        "step  status     attempts  duration  output or error",
        'a     ✓ success         2     1.5 s  {"x": 1}',
        "b     ✗ failed          –         –  ValueError: no such thing",
        "c     ↷ skipped         –         –  step 'b' failed",
        "d     ○ pending         –         –  –",
    ]


def test_of_very_many_steps_the_telling_ones_are_shown() -> None:
    """A table of a thousand rows helps nobody: what failed is in it, wherever it stood."""
    statuses = ["success"] * 500
    statuses[450] = "failed"
    console = _screen()
    print_steps(console, Facts(_state(*statuses)))
    lines = _lines(console)
    assert len(lines) == 1 + MOST_STEPS + 1
    assert lines[-2].startswith("s450  ✗ failed")
    assert lines[-1] == f"and {500 - MOST_STEPS} more steps; --json shows all"


# --- results of queries ------------------------------------------------------------------------


def test_a_narrow_result_is_a_table() -> None:
    """Numbers to the right, what is missing as a dash, times to the millisecond."""
    rows = [
        {"name": "a", "n": 10, "at": datetime(2025, 1, 2, 3, 4, 5, 678900, UTC)},
        {"name": None, "n": 7.5, "at": None},
    ]
    console = _screen()
    print_result(console, rows, ["name", "n", "at"])
    assert _lines(console) == [
        "name    n  at",
        "a      10  2025-01-02 03:04:05.678+00:00",
        "–     7.5  –",
        "2 rows",
    ]


def test_a_wide_result_becomes_blocks() -> None:
    """Where columns would be cut to nothing, each row is a block with every value in full."""
    rows = [{f"column_{number}": "x" * 30 for number in range(6)}]
    console = _screen()
    print_result(console, rows, list(rows[0]))
    lines = _lines(console)
    assert lines[:2] == ["row 1", f"  column_0  {'x' * 30}"]
    assert len(lines) == 8


def test_a_result_without_rows_has_its_columns() -> None:
    """An empty answer still says what was asked."""
    console = _screen()
    print_result(console, [], ["name", "status"])
    assert _lines(console) == ["name  status", "0 rows"]


def _chosen(policy: str, **input_data: Any) -> DecisionState:
    payload = {"origin": "engine", "input_data": {"operation": "t", **input_data}}
    return DecisionState(1, 0, "s", None, "policy.selected", policy, "why", payload)


@pytest.mark.parametrize(
    ("decision", "told"),
    [
        (_chosen("default", overrides=[]), False),
        (_chosen("default"), False),
        (_chosen("default", overrides=["retry"]), True),
        (_chosen("mail.*", overrides=[]), True),
        (DecisionState(1, 0, "s", 1, "policy.selected", "default", None, {"origin": "user"}), True),
    ],
)
def test_the_choice_of_the_default_policy_is_left_out(decision: DecisionState, told: bool) -> None:
    """Where nothing was set there was nothing to choose; what a step sets or a pattern says is told."""
    console = _screen(100)
    state = RunState(run_id="run_1", name="w", steps={"s": StepState("s", "t")}, decisions=[decision])
    print_step(console, Facts(state), state.steps["s"])
    assert any("policy.selected" in line for line in _lines(console)) is told
