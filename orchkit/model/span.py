"""Spans of time as people write them: seconds, or a text with a unit."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
"""Seconds per unit."""
_WORDS: Final = {"sec": "s", "second": "s", "min": "m", "minute": "m", "hour": "h", "day": "d", "week": "w"}
UNIT_PATTERN: Final = rf"(?:{'|'.join(sorted([*UNITS, *_WORDS], key=len, reverse=True))})s?"
"""What may stand for a unit, as a regular expression."""
_SPAN: Final = re.compile(rf"\s*(\d+(?:\.\d+)?)\s*({UNIT_PATTERN})\s*")


def unit_seconds(unit: str) -> float:
    """Seconds of a unit that fits `UNIT_PATTERN`: 60 of ``min``."""
    known = {**UNITS, **{word: UNITS[short] for word, short in _WORDS.items()}}
    return known[unit] if unit in known else known[unit.removesuffix("s")]


def seconds_in(text: str) -> float | None:
    """Seconds in ``"500ms"``, ``"2s"``, ``"1.5 min"``, ``"12h"``, ``"30d"``; None for what is no span."""
    found = _SPAN.fullmatch(text)
    return None if found is None else float(found[1]) * unit_seconds(found[2])


def read_span(value: Any) -> Any:
    """Seconds of a text or a timedelta, all else as it is; raises `ValueError` for a text that is none."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if not isinstance(value, str):
        return value
    seconds = seconds_in(value)
    if seconds is not None:
        return seconds
    try:
        return float(value)
    except ValueError:
        raise ValueError("no such span of time: write seconds, or '500ms', '2s', '5min', '30d'") from None


Seconds = Annotated[float, BeforeValidator(read_span)]
"""Seconds as a number, a text with a unit (``"500ms"``, ``"2s"``, ``"5min"``) or a timedelta."""
