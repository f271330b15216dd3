"""A run, or one step of it, on a terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchkit.analysis.explain import explain_run, explain_step
from orchkit.analysis.facts import Facts
from orchkit.analysis.liveness import is_gone, process_of
from orchkit.analysis.lives import lives
from orchkit.analysis.origins import fork_start, key_of
from orchkit.analysis.runstory import origin
from orchkit.analysis.words import duration
from orchkit.cli.tables import attempts_table, decisions_table, print_steps
from orchkit.cli.words import moment, one_line, plain, status
from orchkit.model.state import DecisionState, StepState
from orchkit.views.runmarks import marks_of

if TYPE_CHECKING:
    from rich.console import Console

MOST_DATA_LINES = 60
MOST_DATA_CHARS = 6_000
MOST_DECISIONS = 40


def print_run(console: Console, facts: Facts, row: Mapping[str, Any]) -> None:
    """A run: what is known of it (a row of the view ``runs``), its story, its steps, its decisions."""
    state = facts.state
    marks = ", ".join(marks_of(state, facts.known))
    behind = [("  ", ""), (marks, "dim")] if marks else []
    console.print(Text.assemble((one_line(state.name), "bold"), "  ", status(facts.run_standing), *behind))
    console.print(_facts(facts, row))
    console.print()
    print_story(console, explain_run(state, facts.known))
    if state.steps:
        console.print()
        print_steps(console, facts)
    _print_decisions(console, state.decisions, with_step=True)


def _facts(facts: Facts, row: Mapping[str, Any]) -> Table:
    state = facts.state
    took = f", took {duration(row['duration_ms'])}" if row["duration_ms"] is not None else ""
    parent = f"step {row['parent_step_id']} of {row['parent_run_id']}" if row["parent_run_id"] else None
    gone = (
        ", which is gone" if facts.cut_off and is_gone(process_of(state.pid, state.host, state.born)) else ""
    )
    key, starts = key_of(state), ", ".join(fork_start(state))
    rows = {
        "run": row["run_id"],
        "kind": row["kind"],
        "started": f"{moment(row['started_at'])}{took}",
        "resumed": ", ".join(moment(life.at_us) for life in lives(facts)),
        "key": key if key != row["request_id"] else None,
        "user": row["user_id"],
        "session": row["session_id"],
        "case file": row["casefile_id"],
        "request": row["request_id"],
        "part of": parent,
        "forked from": f"{row['source_run_id']} at {starts}" if starts else row["source_run_id"],
        "process": f"{row['pid']} on {row['host']}{gone}" if row["pid"] else None,
        "durability": row["durability"],
        "imported": origin(state.imported) if state.imported is not None else None,
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, fact in rows.items():
        if fact:
            table.add_row(name, one_line(fact))
    return table


def print_step(console: Console, facts: Facts, step: StepState) -> None:
    """A step: its story, its attempts, its decisions, what went in and what came out, its evidence."""
    state = facts.state
    console.print(Text.assemble((one_line(step.step_id), "bold"), "  ", status(facts.standing(step.status))))
    console.print(Text(f"{one_line(step.name)}, in {one_line(state.name)} {state.run_id}", style="dim"))
    console.print()
    print_story(console, explain_step(state, step.step_id, facts.known))
    if step.attempts:
        console.print()
        console.print(attempts_table(console, facts, step))
    _print_decisions(
        console, [one for one in state.decisions if one.step_id == step.step_id], with_step=False
    )
    _print_data(console, "input", step.input)
    _print_data(console, "output", step.output)
    for event in state.evidence:
        if event.step_id == step.step_id:
            source = f" from {one_line(event.payload['source'])}" if event.payload.get("source") else ""
            title = f"evidence: {one_line(event.payload.get('type'))}{source}"
            _print_data(console, title, event.payload.get("data"))


def print_story(console: Console, story: str) -> None:
    """An explanation, wrapped between words; entries of its lists keep their indent."""
    for line in plain(story).splitlines():
        indent = len(line) - len(line.lstrip())
        console.print(Padding(Text(line.strip()), (0, 0, 0, indent)))


def _print_decisions(console: Console, decisions: list[DecisionState], *, with_step: bool) -> None:
    """All but those that say nothing: an operation for which nothing is set has the default policy."""
    told = [one for one in decisions if not _is_default_policy(one)]
    if not told:
        return
    console.print()
    console.print(decisions_table(console, told[:MOST_DECISIONS], with_step=with_step))
    if len(told) > MOST_DECISIONS:
        console.print(f"and {len(told) - MOST_DECISIONS:,} more; --json shows all", style="dim")


def _is_default_policy(decision: DecisionState) -> bool:
    if not decision.by_engine or (decision.point, decision.decision) != ("policy.selected", "default"):
        return False
    inputs = decision.payload.get("input_data")
    return isinstance(inputs, Mapping) and not inputs.get("overrides")


def _print_data(console: Console, title: str, data: Any) -> None:
    if data is None or data == {}:
        return
    lines, more = _first_lines(data)
    console.print()
    console.print(Text(title, style="dim"))
    console.print(Padding(Text(plain("\n".join(lines))), (0, 0, 0, 2)))
    if more:
        console.print("  and more; --json shows all", style="dim")


def _first_lines(data: Any) -> tuple[list[str], bool]:
    """The beginning of a value as indented JSON, and whether there is more."""
    lines, length = [""], 0
    for piece in json.JSONEncoder(indent=2, ensure_ascii=False, default=str).iterencode(data):
        # a text is one piece, however long
        first, *rest = piece[:MOST_DATA_CHARS].split("\n")
        lines[-1] += first
        lines += rest
        length += len(piece)
        if length > MOST_DATA_CHARS or len(lines) > MOST_DATA_LINES:
            return lines[:MOST_DATA_LINES], True
    return lines, False
