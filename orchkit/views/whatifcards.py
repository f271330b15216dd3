"""How answers of what-if show themselves: what is certain, what rests on bounds, and what is suggested."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from orchkit.analysis.words import duration, moment, plural
from orchkit.views.cards import Cell, card, code, details, muted, table

_SHOWN: Mapping[str, str] = {
    "success_rate": "success",
    "calls": "calls",
    "p50_ms": "median",
    "p95_ms": "95 %",
    "p99_ms": "99 %",
}
"""Numbers of a summary, and how they are called."""


def of_replay(answer: Any) -> dict[str, str]:
    """One policy over a record: a row of bounds, and of the estimate if there is one."""
    found = answer.summary()
    rows = [["bounds", *_bounds(found), _on_bounds(found)]]
    if answer.estimate is not None and len(answer):
        rows.append([f"estimate ({answer.estimate})", *_estimates(found), ""])
    facts: list[tuple[str, Cell]] = [
        ("", plural(len(answer), "case")),
        ("assumed", ", ".join(sorted(answer.assumed)) or None),
    ]
    body = table(rows, ("", *_SHOWN.values(), "cases on bounds"))
    more = muted("One row per case in .cases(), all numbers in .summary().")
    return {"text/html": card("What if", facts, body, _policy(answer.policy), more)}


def of_suggestion(found: Any) -> dict[str, str]:
    """The three numbers with their reasons, and how they fare in both parts of the record."""
    settings = (
        [name, "none" if value is None else _setting(name, value), found.reasons[name]]
        for name, value in found.settings().items()
    )
    report = (
        [row["part"], row["policy"], f"{row['cases']:,.0f}", *_bounds(row), _on_bounds(row)]
        for row in found.table().to_dict("records")
    )
    facts: list[tuple[str, Cell]] = [("held out", f"what began at {moment(found.split_at)} or later")]
    return {
        "text/html": card(
            "Suggestion",
            facts,
            table(settings, ("setting", "suggested", "because")),
            table(report, ("part", "policy", "cases", *_SHOWN.values(), "cases on bounds")),
            _policy(found.policy),
            muted("The policy is in .policy, the numbers in .table()."),
        )
    }


def _policy(policy: Any) -> Any:
    parts = [[name, code(repr(part))] for name, part in policy.parts.items()]
    return details("The policy", table(parts or [["", "nothing around the call"]], ("part", "settings")))


def _bounds(found: Mapping[str, Any]) -> Iterator[str]:
    for name in _SHOWN:
        low, high = (_number(name, found[f"{name}_{end}"]) for end in ("low", "high"))
        yield low if low == high else f"{low} to {high}"


def _estimates(found: Mapping[str, Any]) -> Iterator[str]:
    for name in _SHOWN:
        yield _number(name, found[f"{name}_estimate"])


def _on_bounds(found: Mapping[str, Any]) -> str:
    count, share = found["on_bounds"], found["on_bounds_share"]
    return f"{count:,.0f} ({share:.1%})" if count else "none"


def _setting(name: str, value: float) -> str:
    return duration(value * 1000) if name == "timeout" else f"{value:,}"


def _number(name: str, value: float) -> str:
    if math.isnan(value):
        return "–"
    if name == "success_rate":
        return f"{value:.1%}"
    if name == "calls":
        return f"{value:,.0f}" if value < math.inf else "any number"
    return duration(value) if value < math.inf else "any time"
