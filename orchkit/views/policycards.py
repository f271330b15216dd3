"""How a policy shows itself: what it comes to at worst, in words, and what contradicts itself in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchkit.analysis.words import duration
from orchkit.model.policywords import Explanation
from orchkit.views.cards import Cell, Html, card, code, details, html, note, table


def of_policy(policy: Any) -> dict[str, str]:
    """A policy: its explanation, and the parts that it is made of folded away."""
    explained = policy.explain()
    parts = ((name, code(repr(part))) for name, part in policy.parts.items())
    shown = [details("What it is made of", table(parts, ("part", "settings")))] if policy.parts else []
    title = " · ".join(policy.parts) or "No policy"
    body = card(title, _facts(explained), *_words(explained), *shown)
    return {"text/plain": f"{policy!r}\n{explained}", "text/html": body}


def of_explanation(explained: Any) -> dict[str, str]:
    """The worst case of a policy."""
    return {"text/html": card("At worst", _facts(explained), *_words(explained))}


def _facts(explained: Explanation) -> list[tuple[str, Cell]]:
    limit = "no limit of time" if explained.seconds is None else duration(explained.seconds * 1000)
    lasting = explained.sustained_load
    return [
        ("one call", limit),
        ("calls of the function", f"{explained.calls:,} at most"),
        ("load on a service that fails", f"{explained.load:g} ×"),
        ("when that goes on", f"{lasting:g} ×" if lasting else "only probes"),
    ]


def _words(explained: Explanation) -> Iterator[Html]:
    yield Html("".join(f"<div>{html(line)}</div>" for line in explained.lines))
    for warning in explained.warnings:
        yield note(f"⚠ {warning}")
