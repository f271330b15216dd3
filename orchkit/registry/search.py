"""Ranking registered things against a search text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TypeVar

T = TypeVar("T")

_SIMILAR = 0.8
"""From this ratio on a misspelt word counts as found in the name."""


@dataclass(frozen=True, slots=True)
class SearchText:
    """What of a registered thing can be searched, most important first."""

    name: str
    groups: tuple[str, ...] = ()
    """Domain, category, tags."""
    parameters: tuple[str, ...] = ()
    description: str = ""


def rank(text: str, items: Iterable[T], searchable: Callable[[T], SearchText]) -> list[T]:
    """The items that match every word of the text, best first; all of them for an empty text.

    A word counts most in the name, then in the domain, the parameter names and the description.
    """
    words = text.lower().split()
    scored: list[tuple[float, str, T]] = []
    for item in items:
        content = searchable(item)
        scores = [_score(word, content) for word in words]
        if all(scores):
            scored.append((-sum(scores), content.name, item))
    return [item for _, _, item in sorted(scored, key=lambda entry: entry[:2])]


def _score(word: str, content: SearchText) -> float:
    in_name = _score_name(word, content.name.lower())
    if in_name:
        return in_name
    if any(word in group.lower() for group in content.groups):
        return 30
    if any(word in parameter.lower() for parameter in content.parameters):
        return 20
    if word in content.description.lower():
        return 10
    parts = _parts(content.name.lower())
    return 5 if any(SequenceMatcher(None, word, part).ratio() >= _SIMILAR for part in parts) else 0


def _score_name(word: str, name: str) -> float:
    if word == name:
        return 100
    if word in _parts(name):
        return 70
    if name.startswith(word):
        return 60
    return 50 if word in name else 0


def _parts(name: str) -> list[str]:
    return [part for part in re.split(r"[^a-z0-9]+", name) if part]
