"""Values as they are shown in a film: short JSON texts, each once, large ones cut with a note."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchkit.analysis.words import whole

LONGEST = 20_000
"""A value is cut until its JSON has at most this many characters."""
SHORTEST = 400
"""What is left of each further value when all of them together have become too many."""
MOST = 8_000_000
"""So many characters of values are kept at the usual length."""

_SAFE_INTEGER = 2**53
# Longest text, most items of a list, most keys of an object, and levels: from generous to strict.
_STRICTNESS = ((4000, 200, 200, 40), (600, 60, 80, 12), (160, 20, 40, 8), (60, 8, 16, 5), (24, 3, 6, 3))


class Values:
    """The table of a film's values: what is added gets a number, the same text the same one."""

    def __init__(self, longest: int = LONGEST, most: int = MOST) -> None:
        self.entries: list[Any] = []
        """Per value its JSON text, or ``{"text": …, "of": n}`` where only a part of n characters is kept."""
        self._numbers: dict[str | tuple[int, int], int] = {}
        self._longest, self._left = longest, most

    def add(self, value: Any) -> int | None:
        """The number of a value; None for None."""
        if value is None:
            return None
        whole_text = json_text(value)
        # Of what is cut the begin says too little to tell it from others.
        key = whole_text if len(whole_text) <= self._longest else (len(whole_text), hash(whole_text))
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.entries)
            self.entries.append(self._entry(value, whole_text))
        return number

    def _entry(self, value: Any, whole_text: str) -> Any:
        text = _fitted(value, whole_text, self._longest if self._left > 0 else min(SHORTEST, self._longest))
        self._left -= len(text)
        return text if text is whole_text else {"text": text, "of": len(whole_text)}


def shown(value: Any, longest: int = LONGEST) -> tuple[str, int]:
    """The JSON text of as much of a value as fits, and the length of all of it.

    What is left out is said inside: a text goes on ``… (+900 characters)``, lists and objects end in
    ``{"$more": 12}``, and ``{"$exactly": "…"}`` stands for a number that browsers would round.
    """
    whole_text = json_text(value)
    return _fitted(value, whole_text, longest), len(whole_text)


def _fitted(value: Any, whole_text: str, longest: int) -> str:
    if len(whole_text) <= longest:
        return whole_text
    for strictness in _STRICTNESS:
        part = json_text(_part(value, *strictness))
        if len(part) <= longest:
            return part
    return json_text(_text(whole_text, longest // 8))


def json_text(value: Any) -> str:
    """Strict JSON that a browser reads as it was written; what is no JSON becomes its text."""
    try:
        return _dumps(_exact(value))
    except RecursionError:
        return _dumps("nested too deep to be shown")


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _exact(value: Any) -> Any:
    """The same of plain types, with a marker for what JavaScript has no number for."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if isinstance(value, Mapping):
        return {key if type(key) is str else str(key): _exact(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray):
        return [_exact(item) for item in value]
    if kind is int:
        return value if -_SAFE_INTEGER < value < _SAFE_INTEGER else {"$exactly": _long_integer(value)}
    if kind is float:
        return value if math.isfinite(value) else {"$exactly": str(value)}
    return str(value)


def _long_integer(value: int) -> str:
    # Python refuses to write very long numbers in decimal.
    return str(value) if value.bit_length() < 10_000 else hex(value)


def _part(value: Any, text: int, items: int, keys: int, levels: int) -> Any:
    """The begin of a value on every level; only what is kept is looked at."""
    if isinstance(value, str):
        return _text(value, text)
    if levels == 0 and isinstance(value, Mapping | list | tuple) and value:
        return {"$more": len(value)}
    part: Callable[[Any], Any] = lambda item: _part(item, text, items, keys, levels - 1)  # noqa: E731
    if isinstance(value, Mapping):
        kept = {_text(str(key), text): part(value[key]) for key, _ in zip(value, range(keys), strict=False)}
        return kept if len(value) <= keys else {**kept, "…": {"$more": len(value) - keys}}
    if isinstance(value, list | tuple):
        begin = [part(item) for item in value[:items]]
        return begin if len(value) <= items else [*begin, {"$more": len(value) - items}]
    return value


def _text(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    begin = whole(text[:length], text[length])
    return f"{begin}… (+{len(text) - len(begin):,} characters)"
