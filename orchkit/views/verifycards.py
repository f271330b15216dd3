"""How a verification shows itself: which steps gave something else than what is on record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchkit.analysis.words import error_text, listing, plural, shorten
from orchkit.views.cards import (
    Cell,
    Html,
    card,
    code,
    details,
    html,
    mark,
    muted,
    preview,
    status_chip,
    table,
)

_MOST_ROWS = 100
_MOST_DIFFERENCES = 6
_LONGEST_VALUE = 120
_LONGEST_PART = 50
_MOST_NAMES = 12


def of_verification(found: Any) -> dict[str, str]:
    """A verification: what differs in a table, what matches folded away, what was not run again."""
    wrong = list(found.mismatches)
    facts: list[tuple[str, Cell]] = [
        ("run", code(found.run_id)),
        ("", plural(len(found.checked), "step") + " run again"),
        ("", f"{len(wrong):,} different" if wrong else None),
        ("", f"{len(found.skipped):,} not pure" if found.skipped else None),
    ]
    head = status_chip("failed", "differs") if wrong else status_chip("success", "matches")
    if not found.checked:
        head = status_chip("skipped", "nothing to verify")
    body = card("Verification", facts, *_body(found, wrong), head=head)
    return {"text/plain": "\n".join([repr(found), *map(_line, wrong[:_MOST_ROWS])]), "text/html": body}


def _body(found: Any, wrong: list[Any]) -> Iterator[Html]:
    if wrong:
        columns = ("step", "of run", "calls", "attempt", "recorded", "now", "differences")
        rows = (_wrong(found, step) for step in wrong)
        yield table(rows, columns, right=("attempt",), most=_MOST_ROWS, drop_empty=True)
    right = [step for step in found.checked if step.matches]
    if right:
        shown = table(
            (_right(found, step) for step in right),
            ("step", "of run", "calls", "attempt", "output"),
            right=("attempt",),
            most=_MOST_ROWS,
            drop_empty=True,
        )
        yield details(f"{plural(len(right), 'step')} gave what is on record", shown)
    if found.skipped:
        names = listing(found.skipped, most=_MOST_NAMES)
        yield muted(f"Not run again, because their methods are not declared pure=True: {names}")
    if not found.checked and not found.skipped:
        yield muted("No completed step of this run calls a method.")


def _wrong(found: Any, step: Any) -> list[Cell]:
    return [*_facts(found, step), preview(step.expected, _LONGEST_VALUE), _now(step), _differences(step)]


def _right(found: Any, step: Any) -> list[Cell]:
    return [*_facts(found, step), preview(step.expected, _LONGEST_VALUE)]


def _facts(found: Any, step: Any) -> list[Cell]:
    edited = mark("edited since") if step.code_changed else ""
    below = code(step.run_id) if step.run_id != found.run_id else ""
    return [Html(f"{html(step.step_id)} {edited}"), below, step.name, str(step.attempt or "")]


def _now(step: Any) -> Html:
    return html(error_text(step.error)) if step.error else preview(step.actual, _LONGEST_VALUE)


def _differences(step: Any) -> Html:
    """Each on a line of its own; of very many the first."""
    found = [code(_difference(one), _LONGEST_VALUE) for one in step.differences[:_MOST_DIFFERENCES]]
    left = len(step.differences) - len(found)
    return Html("<br>".join(found) + (f"<br>… and {left:,} more" if left else ""))


def _line(step: Any) -> str:
    found = [_difference(one) for one in step.differences[:_MOST_DIFFERENCES]]
    return f"  ✗ {step.step_id}: {error_text(step.error) if step.error else '; '.join(found)}"


def _difference(one: Any) -> str:
    recorded, now = (shorten(repr(value), _LONGEST_PART) for value in (one.recorded, one.given))
    return f"{one.path}: recorded {recorded}, now {now}"
