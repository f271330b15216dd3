"""What Nextflow writes into a cell: times, spans of time, sizes, percentages, whole numbers, texts.

Each reader takes the text of a cell that holds something and gives a plain value, or raises `ValueError`
saying what it expected. Numbers may have a decimal comma: Nextflow formats them in the locale of its machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo

NOTHING = ("-", "")
"""What a cell holds when there is no value."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NUMBER = r"\d+(?:[.,]\d+)?"
_SPAN = re.compile(rf"({_NUMBER})\s*([a-z]+)\s*", re.IGNORECASE)
_SIZE = re.compile(rf"({_NUMBER})\s*([KMGTPEZ]?)B?", re.IGNORECASE)
_SPAN_US: Mapping[str, int] = {
    name: microseconds
    for names, microseconds in (
        (("ms", "milli", "millis"), 1_000),
        (("s", "sec", "second", "seconds"), 1_000_000),
        (("m", "min", "minute", "minutes"), 60_000_000),
        (("h", "hour", "hours"), 3_600_000_000),
        (("d", "day", "days"), 86_400_000_000),
    )
    for name in names
}
_MAX_US = 10**17
"""More than three thousand years."""
_MAX_INT = 2**31 - 1
"""What Nextflow's number of no exit code looks like where it is written out."""


def time_reader(zone: tzinfo, layout: str | None) -> Callable[[str], int]:
    """A reader of points in time, as microseconds since the epoch.

    It reads milliseconds since the epoch (``trace.raw``), ISO times, and those with slashes; with a
    ``layout`` (of `datetime.strptime`) nothing else. Times that do not name their zone are in ``zone``.
    """

    def read(text: str) -> int:
        if layout is None and text.isdecimal():
            return _bounded(int(text) * 1_000)
        try:
            if layout is not None:
                return _since_epoch(datetime.strptime(text, layout), zone)  # noqa: DTZ007 - its zone is given
            return _since_epoch(datetime.fromisoformat(text.replace("/", "-").replace(" ", "T", 1)), zone)
        except ValueError:
            raise ValueError(f"is no time such as {layout or '2022-05-14 19:45:25.163'}") from None

    return read


def _since_epoch(time: datetime, zone: tzinfo) -> int:
    aware = time if time.tzinfo is not None else time.replace(tzinfo=zone)
    return (aware - _EPOCH) // _MICROSECOND


def span(text: str) -> int:
    """Microseconds of a span such as ``5m 18s``, ``16.2s``, ``1d 2h`` or a number of milliseconds."""
    if text.isdecimal():
        return _bounded(int(text) * 1_000)
    position, total = 0, 0.0
    while found := _SPAN.match(text, position):
        factor = _SPAN_US.get(found[2].lower())
        if factor is None:
            break
        total += _number(found[1]) * factor
        position = found.end()
    if position == 0 or position < len(text):
        raise ValueError("is no span of time such as 1h 4m 30s, 16.2s or 250ms")
    return _bounded(round(total))


def size(text: str) -> int:
    """Bytes of a size such as ``201.2 MB`` (of 1024 KB each) or a number of bytes."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError("is no size such as 1.2 GB")
    power = " KMGTPEZ".index(found[2].upper() or " ")
    return round(_number(found[1]) * 2.0 ** (10 * power))


def percent(text: str) -> float:
    """Percent of a text such as ``46.6%``; several cores give more than 100."""
    return decimal(text.removesuffix("%").rstrip())


def decimal(text: str) -> float:
    """A number, whole or not."""
    if not re.fullmatch(rf"-?{_NUMBER}", text):
        raise ValueError("is no number")
    return _number(text)


def whole(text: str) -> int:
    """A whole number."""
    if not re.fullmatch(r"-?\d+", text):
        raise ValueError("is no whole number")
    return int(text)


def exit_code(text: str) -> int | None:
    """The exit code of a process; None for the number that stands for none."""
    code = whole(text)
    return None if code == _MAX_INT else code


def _bounded(microseconds: int) -> int:
    """The same, if it can be added to a time and still be one."""
    if microseconds > _MAX_US:
        raise ValueError("is out of range")
    return microseconds


def _number(text: str) -> float:
    return float(text.replace(",", "."))
