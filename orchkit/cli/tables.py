"""Tables that keep to the width of the screen: fixed columns first, the last one takes what is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from orchkit.analysis.facts import Facts, span_ms
from orchkit.analysis.liveness import GivenUp
from orchkit.analysis.words import duration
from orchkit.cli.words import NOTHING, moment, one_line, squeeze, standing, status, value
from orchkit.model.state import DecisionState, StepState

if TYPE_CHECKING:
    from rich.console import Console

GAP = 2
NARROWEST = 8
MOST_STEPS = 60
Cell = str | Text


def grid(
    console: Console,
    headers: Sequence[str],
    rows: Iterable[Sequence[Cell]],
    *,
    right: Iterable[str] = (),
    wrap: bool = False,
) -> Table:
    """A table without lines; ``right`` names the headers of right-aligned columns.

    The columns get what they need up to a share of the width, and what does not fit is cut in the
    middle. The last one gets the rest; it ends in an ellipsis, or goes on below with ``wrap``.
    """
    body = [[_text(cell) for cell in row] for row in rows]
    share = 0.25 if wrap else 0.4
    table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="dim")
    room = console.width
    for index, header in enumerate(headers):
        last = index == len(headers) - 1
        width = max([len(header), *(cell_len(row[index].plain) for row in body)])
        width = min(width, max(NARROWEST, room if last else int(console.width * share)))
        room -= width + GAP
        justify: Literal["left", "right"] = "right" if header in right else "left"
        table.add_column(
            header, justify=justify, width=width, no_wrap=not (last and wrap), overflow="ellipsis"
        )
        for row in body:
            if not last and cell_len(row[index].plain) > width:
                row[index] = Text(squeeze(row[index].plain, width), style=row[index].style)
    for row in body:
        table.add_row(*row)
    return table


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


# --- steps -----------------------------------------------------------------------------------


def print_steps(console: Console, facts: Facts) -> None:
    """Steps with status, attempts, duration, and the output or what went wrong.

    The items of a map stand for themselves in its output. Of very many steps, those that succeeded are
    left out first.
    """
    steps = [step for step in facts.state.steps.values() if step.parent is None]
    shown = _most_telling(steps)
    rows = [
        (
            one_line(step.step_id),
            status(facts.standing(step.status)),
            str(len(step.attempts)) if step.attempts else NOTHING,
            Text("reused", style="dim") if step.source is not None else _took(step),
            outcome(step),
        )
        for step in shown
    ]
    headers = ("step", "status", "attempts", "duration", "output or error")
    console.print(grid(console, headers, rows, right=("attempts", "duration")))
    if len(shown) < len(steps):
        console.print(f"and {len(steps) - len(shown):,} more steps; --json shows all", style="dim")


def _most_telling(steps: list[StepState]) -> list[StepState]:
    """In their order, at most `MOST_STEPS`."""
    ranked = sorted(range(len(steps)), key=lambda index: steps[index].status == "success")
    return [steps[index] for index in sorted(ranked[:MOST_STEPS])]


def _took(step: StepState) -> Cell:
    span = span_ms(step.scheduled_us, step.finished_us)
    return NOTHING if span is None else duration(span)


def outcome(step: StepState) -> Cell:
    """The output of a step, or why there is none."""
    if step.error is not None:
        return Text(one_line(step.error), style="red")
    if step.reason is not None:
        return Text(one_line(step.reason), style="dim")
    return NOTHING if step.output is None else value(step.output)


def attempts_table(console: Console, facts: Facts, step: StepState) -> Table:
    """The attempts of a step and what each came to."""
    rows = [
        (
            str(attempt.number),
            status(facts.standing(attempt.status)),
            duration(span_ms(attempt.started_us, attempt.finished_us)),
            Text(one_line(attempt.error or ""), style="red"),
        )
        for attempt in step.attempts
    ]
    return grid(console, ("attempt", "status", "duration", "error"), rows, right=("attempt", "duration"))


# --- decisions -------------------------------------------------------------------------------


def decisions_table(console: Console, decisions: Sequence[DecisionState], *, with_step: bool) -> Table:
    """Decisions with their point and outcome, and why; those of the users' own code stand out."""
    rows = [
        (
            one_line(one.step_id) if one.step_id else Text("the run", style="dim"),
            one_line(one.point),
            Text(one_line(one.decision), style="" if one.by_engine else "bold"),
            one_line(one.rationale or ""),
        )
        for one in decisions
    ]
    headers, first = ("step", "point", "decision", "why"), 0 if with_step else 1
    return grid(console, headers[first:], [row[first:] for row in rows], wrap=True)


# --- runs ------------------------------------------------------------------------------------


def runs_table(
    console: Console,
    runs: Iterable[Mapping[str, Any]],
    shortest: Mapping[str, str],
    given_up: GivenUp = (),
) -> Table:
    """Runs, one row each; ids as short as they are unambiguous. What is special about them comes last."""
    rows = [
        (
            Text(shortest[run["run_id"]], style="cyan"),
            one_line(run["name"] or ""),
            standing(run, given_up),
            moment(run["started_at"]),
            duration(run["duration_ms"]),
            Text(", ".join(run["marks"]), style="dim"),
        )
        for run in runs
    ]
    headers, shown = ("run", "name", "status", "started", "duration", ""), any(row[-1] for row in rows)
    last = len(headers) if shown else -1
    return grid(console, headers[:last], [row[:last] for row in rows], right=("duration",))
