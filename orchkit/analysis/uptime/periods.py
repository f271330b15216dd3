"""Hours, days and weeks of a time zone, as the clock on the wall there has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from math import gcd
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from orchkit.errors import ParameterError, Problem, UnknownNameError
from orchkit.model.span import seconds_in

Every = Literal["hour", "day", "week"]
_EVERY: tuple[Every, ...] = ("hour", "day", "week")
_SPANS: Mapping[float | None, Every] = {3_600.0: "hour", 86_400.0: "day", 604_800.0: "week"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)
_US = timedelta(microseconds=1)
HOUR_US = 3_600_000_000


def zone_of(timezone: str | tzinfo) -> tzinfo:
    """The time zone of this name. Raises `ParameterError` when there is none."""
    if isinstance(timezone, tzinfo):
        return timezone
    try:
        return UTC if timezone == "UTC" else ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        hint = "give a name such as Europe/Berlin"
        raise ParameterError("uptime", [Problem("timezone", f"{timezone!r} is none", hint)]) from error


def bounds(every: str, zone: tzinfo, since_us: int, until_us: int) -> list[int]:
    """Where periods begin and end, in microseconds since the epoch.

    The first is the one that holds ``since_us``, the last the one that holds ``until_us``. A day is from
    midnight to midnight and so has 23 or 25 hours where clocks are changed; a week begins on Monday. The hour
    that is passed twice is two hours; where clocks are changed within an hour, the change is a bound.

    Spans of these lengths, such as ``"1d"``, mean the same. Raises `UnknownNameError` for another text.
    """
    every = _SPANS.get(seconds_in(str(every)), every)
    if every not in _EVERY:
        raise UnknownNameError("period", str(every), _EVERY)
    first = _local(since_us, zone).date()
    if every == "week":
        first -= timedelta(days=first.weekday())
    step = timedelta(days=7 if every == "week" else 1)
    found = [_midnight(first.year, first.month, first.day, zone)]
    while found[-1] <= until_us:
        first += step
        found.append(_midnight(first.year, first.month, first.day, zone))
    if every != "hour":
        return found
    hours = [at for begin, end in pairwise(found) for at in _hours(begin, end, zone)]
    inside = [at for at in hours if since_us < at <= until_us]
    before = max(at for at in hours if at <= since_us)
    after = next((at for at in hours if at > until_us), found[-1])
    return [before, *inside, after]


def common_step(found: list[int]) -> int:
    """The longest step, of those that divide an hour, whose multiples all of these are."""
    return gcd(HOUR_US, *found)


def _local(at_us: int, zone: tzinfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone(zone)


def _midnight(year: int, month: int, day: int, zone: tzinfo) -> int:
    """Where a day begins. Where clocks skip midnight, that is the moment of the change."""
    return (datetime(year, month, day, tzinfo=zone).astimezone(UTC) - _EPOCH) // _US


def _hours(begin: int, end: int, zone: tzinfo) -> Iterator[int]:
    """Where the hours of a day begin."""
    if (end - begin) % HOUR_US == 0 and _offset(begin, zone) == _offset(end - 1, zone):
        yield from range(begin, end, HOUR_US)
        return
    at = begin
    while at < end:
        yield at
        at = _next_hour(at, zone)


def _next_hour(at: int, zone: tzinfo) -> int:
    local = _local(at, zone)
    past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    full = at + (_HOUR - past) // _US
    offset = _offset(at, zone)
    if _offset(full - 1, zone) == offset:
        return full
    low, high = at, full - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(middle, zone) == offset else (low, middle)
    return high


def _offset(at_us: int, zone: tzinfo) -> timedelta | None:
    return _local(at_us, zone).utcoffset()
