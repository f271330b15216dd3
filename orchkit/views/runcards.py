"""How runs, their results and the list of runs show themselves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchkit.analysis.explain import explain_run
from orchkit.analysis.facts import Facts
from orchkit.analysis.words import clean, duration, plural, shorten
from orchkit.errors import OrchkitError
from orchkit.model.result import StepResult, WorkflowResult
from orchkit.views.cards import (
    Cell,
    Html,
    card,
    code,
    mark,
    moment,
    muted,
    note,
    preview,
    status_chip,
    table,
)
from orchkit.views.dag import Dag
from orchkit.views.recordtables import run_rows
from orchkit.views.run import Run
from orchkit.views.runs import Runs
from orchkit.views.statecard import MOST_ROWS, reason, run_card, why

_NEWEST = 20
_LONGEST_LINE = 160


# --- one run -------------------------------------------------------------------------------


def of_run(run: Any) -> dict[str, str]:
    """A run: its facts, its picture, its steps; decisions, evidence and the story folded away."""
    assert isinstance(run, Run)
    try:
        facts = _facts_of(run)
    except Exception as error:  # showing never raises: it says what was wrong
        return {"text/html": card(f"Run {run.id}", [], note(f"cannot be shown: {error}"))}
    dag = run.dag_of(facts.state, facts.known)
    return {"text/plain": _text(facts, dag), "text/html": run_card(facts, dag)}


def _facts_of(run: Run) -> Facts:
    state = run.state
    return Facts(state, run.known_of(state))


def _text(facts: Facts, dag: Dag) -> str:
    """The story, then one line per step."""
    return "\n".join([explain_run(facts.state, facts.known), *repr(dag).split("\n")[1:]])


# --- results -------------------------------------------------------------------------------


def of_result(result: Any) -> dict[str, str]:
    """The outcome of a run; with its picture when its record can be read."""
    assert isinstance(result, WorkflowResult)
    more: list[tuple[str, Cell]] = [("", "replayed from the record" if result.replayed else None)]
    record = _record_of(result)
    if record is not None:
        return {"text/plain": _result_text(result), "text/html": run_card(*record, more)}
    facts: list[tuple[str, Cell]] = [
        ("", code(result.run_id)),
        ("started", moment(result.started_us)),
        ("took", duration(result.duration_ms)),
        *more,
    ]
    columns = ("step", "status", "attempts", "took", "result")
    rows = map(_step_result, result.steps.values())
    steps = table(rows, columns, right=("attempts", "took"), most=MOST_ROWS, drop_empty=True)
    body = [reason(result.error, result.status), steps]
    return {
        "text/plain": _result_text(result),
        "text/html": card(result.name, facts, *body, head=status_chip(result.status)),
    }


def _record_of(result: WorkflowResult) -> tuple[Facts, Dag] | None:
    """What the store knows of it; None when it was not recorded or the store is closed by now."""
    try:
        run = result.run
        facts = _facts_of(run) if isinstance(run, Run) else None
    except OrchkitError:
        return None
    return None if facts is None else (facts, run.dag_of(facts.state, facts.known))


def _step_result(step: StepResult) -> list[Cell]:
    return [
        step.step_id,
        status_chip(step.status),
        str(step.attempts) if step.attempts else "",
        duration(step.duration_ms) if step.duration_ms is not None else "",
        preview(step.output) if step.success else why(step.error, step.reason),
    ]


def _result_text(result: WorkflowResult) -> str:
    replayed = ", replayed from the record" if result.replayed else ""
    took = duration(result.duration_ms)
    lines = [clean(f"{result.name}: {result.status} after {took}{replayed} ({result.run_id})")]
    wide = max((len(step_id) for step_id in result.steps), default=0)
    for step in list(result.steps.values())[:MOST_ROWS]:
        tries = f", {step.attempts} attempts" if step.attempts > 1 else ""
        why = step.error or step.reason
        said = f"{step.status}{tries}" + (f": {why}" if why else "")
        lines.append("  " + shorten(f"{step.step_id:<{min(wide, 40)}}  {said}", _LONGEST_LINE))
    if len(result.steps) > MOST_ROWS:
        lines.append(f"  … and {len(result.steps) - MOST_ROWS:,} more")
    return "\n".join(lines)


# --- the list of runs ----------------------------------------------------------------------


def of_runs(runs: Any) -> dict[str, str]:
    """The newest runs, newest first."""
    assert isinstance(runs, Runs)
    try:
        count, newest = len(runs), rows_of(runs, _NEWEST)
    except Exception as error:  # showing never raises: it says what was wrong
        return {"text/html": card("Runs", [], note(f"cannot be shown: {error}"))}
    if not count:
        return {"text/html": card("Runs", [], muted("No run is on the record yet."))}
    shown = table_of(newest, total=count)
    return {
        "text/plain": "\n".join([repr(runs), *map(_run_line, newest)]),
        "text/html": card("Runs", [("", plural(count, "run"))], shown),
    }


def rows_of(runs: Runs, most: int) -> list[dict[str, Any]]:
    """What is shown of the newest runs, the last first."""
    return run_rows(runs.store, runs.frame(limit=most))


def table_of(rows: Iterable[dict[str, Any]], *, total: int | None = None) -> Html:
    """The table of some runs."""
    columns = ("run", "name", "status", "", "started", "took", "error")
    return table(map(_run_row, rows), columns, right=("took",), total=total, drop_empty=True)


def _run_row(row: dict[str, Any]) -> list[Cell]:
    return [
        code(row["run_id"]),
        row["name"],
        status_chip(row["standing"]),
        Html("".join(map(mark, row["marks"]))),
        moment(row["started_at"].to_pydatetime()),
        duration(row["duration_ms"]),
        row["error"] if isinstance(row["error"], str) else "",
    ]


def _run_line(row: dict[str, Any]) -> str:
    started, took = moment(row["started_at"].to_pydatetime()), duration(row["duration_ms"])
    marks = f" ({', '.join(row['marks'])})" if row["marks"] else ""
    line = f"{row['run_id']}  {started}  {row['standing']:<9}  {took:>9}  {row['name']}{marks}"
    return "  " + shorten(line, _LONGEST_LINE)
