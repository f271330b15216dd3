"""Numbers, times and lists as people write them."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

JOINERS = "\u200d\ufe0e\ufe0f"
"""Characters that join others to one."""

_SPACES = re.compile(r" *[\t\n\v\f\r\x85\u2028\u2029][\s\x85]*")
# What XML 1.0 and terminals cannot take, and the signs that turn the direction of the text around them.
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_MODULES = re.compile(r"(?:[A-Za-z_]\w*\.)+(?:<locals>\.)?(?=[A-Z_]\w*(?:[: ]|$))")
_LONGEST_ERROR = 300
_LONGEST_VALUE = 60
_STEPS = ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s"))


def duration(ms: float | None) -> str:
    """Milliseconds as people say them: ``0.42 ms``, ``240 ms``, ``1.24 s``, ``3 min 05 s``, ``2 h 07 min``.

    None, NaN and infinities give an en dash.
    """
    if ms is None or not math.isfinite(ms):
        return "–"
    if ms < 0:
        return "−" + duration(-ms)
    if ms < 999.5:
        return f"{_three_digits(ms)} ms"
    seconds = ms / 1000
    if seconds < 59.95:
        return f"{_three_digits(seconds)} s"
    return _two_units(round(seconds))


def _three_digits(value: float) -> str:
    """At most three digits that mean something, without trailing zeros after the point."""
    if value >= 99.95:
        return f"{value:.0f}"
    text = f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
    return text.rstrip("0").rstrip(".") or "0"


def _two_units(seconds: int) -> str:
    for size, unit, small_size, small_unit in _STEPS:
        if seconds >= size:
            rest = seconds % size // small_size
            return f"{seconds // size} {unit} {rest:02d} {small_unit}"
    return f"{seconds} s"


def moment(time: datetime | int | None) -> str:
    """A time, given as such or in microseconds since the epoch: ``2025-03-12 14:03:22 UTC``."""
    if time is None:
        return ""
    if isinstance(time, int):
        time = datetime.fromtimestamp(time / 1e6, UTC)
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clean(text: object) -> str:
    """One line without characters that a document or a terminal cannot take; those become ``�``."""
    return _UNFIT.sub("�", _SPACES.sub(" ", str(text)))


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """``1 step``, ``2 steps``, ``1,000 steps``; ``nouns`` where an s is not enough."""
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def ordinal(number: int) -> str:
    """``first`` … ``tenth``, then ``11th``."""
    if 1 <= number <= len(_ORDINALS):
        return _ORDINALS[number - 1]
    tail = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{tail}"


def listing(names: Iterable[str], *, most: int = 6) -> str:
    """``a``, ``a and b``, ``a, b and c``; beyond ``most`` names the rest is counted."""
    items = list(names)
    if len(items) > most:
        items = [*items[: most - 1], f"{len(items) - most + 1:,} more"]
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def shorten(text: object, length: int) -> str:
    """A clean line of at most this many characters; what is cut ends in an ellipsis."""
    line = clean(text).strip()
    if len(line) <= length:
        return line
    return whole(line[: length - 1], line[length - 1]).rstrip() + "…"


def without_modules(text: str) -> str:
    """The same with the last part only of a dotted type that it begins with: ``KeyError: 'a'``."""
    return _MODULES.sub("", text, count=1) if _MODULES.match(text) else text


def error_text(text: object) -> str:
    """The message of an error, or another longer text, as far as it is read."""
    return shorten(without_modules(str(text)), _LONGEST_ERROR)


def value_text(value: Any) -> str:
    """A value in a few words: a text as it is, everything else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return shorten(text, _LONGEST_VALUE)


def whole(text: str, following: str = "") -> str:
    """Without the begin of a character of several parts that would go on in ``following``."""
    if following and (following in JOINERS or unicodedata.combining(following)):
        text = text[:-1]
    while text and (text[-1] in JOINERS or unicodedata.combining(text[-1])):
        text = text[:-1]
    return text


def sentence(text: str) -> str:
    """The text as a sentence of its own: a capital first, a full stop last."""
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?", "…", ":")) else ".")
