"""How a kit and the handle of a run in the background show themselves."""

from __future__ import annotations

import re
from ast import literal_eval
from collections import Counter
from typing import Any

from orchkit.analysis.facts import OVER, Facts, tally
from orchkit.analysis.liveness import CUT_OFF
from orchkit.analysis.words import duration, error_text, plural
from orchkit.errors import OrchkitError
from orchkit.model.result import WorkflowResult
from orchkit.views.cards import Cell, Html, card, code, muted, note, status_chip
from orchkit.views.runcards import rows_of, table_of
from orchkit.views.runs import Runs
from orchkit.views.statecard import reason

_NEWEST = 5
_NAME = re.compile(r"<RunHandle \S+ of (?P<name>.*): \w+>", re.DOTALL)
_CUT_OFF = "incomplete() shows the runs that were cut off, resume(run_id) goes on with one."
_UNDER_WAY = "It goes on in the background: await it for its result, or cancel, pause, step and resume it."


# --- a kit ---------------------------------------------------------------------------------


def of_kit(kit: Any) -> dict[str, str]:
    """A kit: where its store is, how its runs ended, what it can call, and the newest runs."""
    facts: list[tuple[str, Cell]] = [("store", code(kit.store.path or "in memory"))]
    try:
        tools, methods = kit.registry.tools.list_tools(), kit.registry.methods.list_methods()
        counts = ((len(tools), "tool"), (len(methods), "method"))
        facts += [("", plural(count, what)) for count, what in counts if count]
        body = _runs(kit.runs)
    except Exception as error:  # showing never raises: it says what was wrong
        body = [note(f"its runs cannot be shown: {error}")]
    return {"text/html": card(type(kit).__name__, facts, *body)}


def _runs(runs: Runs) -> list[Html]:
    counts = runs.standings()
    if not counts:
        return [muted("No run is on the record yet.")]
    total = sum(counts.values())
    chips = " ".join(f"{count:,} {status_chip(status)}" for status, count in counts.items())
    newest = rows_of(runs, _NEWEST)
    hint = [muted(_CUT_OFF)] if CUT_OFF in counts else []
    return [Html(f"<div>{plural(total, 'run')}: {chips}</div>"), *hint, table_of(newest, total=total)]


# --- a handle ------------------------------------------------------------------------------


def of_handle(handle: Any) -> dict[str, str]:
    """A run in the background: its status, its name and id; when it has ended, how."""
    named = _NAME.fullmatch(repr(handle))
    name = _unquoted(named["name"]) if named else type(handle).__name__
    more, body = _ended(handle) if handle.done else (_under_way(handle), muted(_UNDER_WAY))
    facts: list[tuple[str, Cell]] = [("", code(handle.run_id)), *more]
    return {"text/html": card(name, facts, body, head=status_chip(handle.status))}


def _unquoted(text: str) -> str:
    """A name that stands in a repr."""
    try:
        return str(literal_eval(text))
    except (ValueError, SyntaxError):
        return text


def _under_way(handle: Any) -> list[tuple[str, Cell]]:
    """How far it is, where a record can be read."""
    try:
        steps = Facts(handle.run.state).own_steps
    except (OrchkitError, AttributeError):
        return []
    over = sum(step.status in OVER for step in steps)
    return [("steps", f"{over:,} of {len(steps):,} over")] if steps else []


def _ended(handle: Any) -> tuple[list[tuple[str, Cell]], Html]:
    try:
        result = handle.result(0)
    except Exception as error:  # showing never raises: it says what was wrong
        return [], note(error_text(f"{type(error).__name__}: {error}"))
    if not isinstance(result, WorkflowResult):
        return [], Html("")
    counts: Counter[str] = Counter(step.status for step in result.steps.values())
    facts: list[tuple[str, Cell]] = [("took", duration(result.duration_ms)), ("steps", tally(counts))]
    return facts, reason(result.error, result.status)
