"""Lengths of time that are asked about: texts with a unit, as policies take them, timedeltas and seconds."""

from __future__ import annotations

import math
from datetime import timedelta

from orchkit.errors import ParameterError, Problem
from orchkit.model.span import read_span

Span = timedelta | float | str
"""A length of time: ``"1h"``, ``"28d"``, ``"4w"``, a timedelta, or seconds."""
_SHORTEST_S = 1e-6


def span_us(span: Span, where: str, *, most_s: float = math.inf, zero: bool = False) -> int:
    """Microseconds of a span, at most ``most_s`` seconds of it.

    Raises `ParameterError` for what is none, for one without an end unless there is a ``most_s``, and, unless
    ``zero`` says otherwise, for one without a length.
    """
    found = min(_seconds(span), most_s)  # what is not a number stays so
    if not (math.isfinite(found) and found >= (0 if zero else _SHORTEST_S)):
        hint = "give a text such as '1h' or '28d', a timedelta, or seconds"
        raise ParameterError("uptime", [Problem(where, f"{span!r} is no length of time", hint)])
    return round(found * 1e6)


def _seconds(span: Span) -> float:
    if isinstance(span, bool):
        return math.nan
    try:
        return float(read_span(span))
    except (TypeError, ValueError):
        return math.nan
