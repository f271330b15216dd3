"""Our incidents beside the minutes that Upptime says its sites were down."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, NamedTuple, Unpack

from orchkit.analysis.frames import Columns, typed_column
from orchkit.analysis.uptime.incidents import incidents
from orchkit.analysis.uptime.source import Selection, Source, known_services
from orchkit.interop.upptime import Summary, SummarySite, slug_of

if TYPE_CHECKING:
    import pandas as pd

NEWEST = 100
"""Upptime asks for one page of issues, and these are so many."""
_TOO_OLD = f"not among the {NEWEST} newest incidents, which are all that Upptime counts"
_STILL_OPEN = "the last incident goes on at the end of the history, and the summary was written meanwhile"
_NOT_TOLD = "the state changes do not tell it: an issue was opened or closed at another time"
_NO_RECORD = "there is no record of this site"
_COLUMNS: Columns = {
    "service": "text",
    "day": "time",
    "incidents": "int",
    "our_minutes": "float",
    "their_minutes": "float",
    "agrees": "bool",
    "why": "maybe",
}


class _Line(NamedTuple):
    service: str
    day: datetime | None
    incidents: int | None
    our_minutes: float | None
    their_minutes: float
    agrees: bool
    why: str | None


@dataclass(frozen=True, slots=True)
class _Fall:
    """An incident, and its place among those of its service, the newest first."""

    begin: datetime
    end: datetime
    open: bool
    place: int

    def minutes(self, day: date) -> float:
        """How long it lasted on a day in UTC."""
        first = datetime.combine(day, time(), UTC)
        spent = min(self.end, first + timedelta(days=1)) - max(self.begin, first)
        return max(spent.total_seconds(), 0) / 60

    def days(self) -> Iterator[date]:
        """The days that it touches."""
        day = self.begin.date()
        while day <= self.end.date():
            yield day
            day += timedelta(days=1)


def agreement(source: Source, summary: Summary, **selection: Unpack[Selection]) -> pd.DataFrame:
    """The minutes of our incidents beside Upptime's ``dailyMinutesDown``: a row per site and day in UTC.

    =============  ========  =============================================================================
    column         dtype     meaning
    =============  ========  =============================================================================
    service        str       the site
    day            datetime  its begin; missing in the only row of a site that was never down
    incidents      Int64     our incidents that touch this day
    our_minutes    float64   how long they lasted on it; missing for a site of which there is no record
    their_minutes  float64   what Upptime says
    agrees         bool      within a minute per incident
    why            object    if not, why that may be; else None
    =============  ========  =============================================================================

    What is told apart. Upptime does not count states: it opens an issue when a site goes down (or becomes
    degraded, which is down here, unless ``degraded_is_up=True``) and closes it when it is up again, and adds
    up, for each day in UTC, how long the issues with the label of the site were open, each rounded to a
    minute. So its minutes follow from its state changes, unless

    - the site had more than a hundred incidents: one page of issues is asked for, and the oldest are missing;
    - an incident goes on: it is counted up to the moment when the summary was written, which no file tells;
    - an issue was not opened or closed when the state changed, because a call failed or somebody did it by
      hand;
    - the site was renamed and its slug changed with the name: its issues have another label then.

    Sites are found by their names, or else by their slugs. Raises what `incidents` raises.
    """
    import pandas as pd

    options: Selection = {"degraded_is_up": False, **selection}
    falls = _falls(incidents(source, **options))
    names = known_services(source)
    known = {**{slug_of(name): name for name in names}, **{name: name for name in names}}
    rows: list[_Line] = []
    for site in summary:
        name = known.get(site.name) or known.get(site.slug or slug_of(site.name))
        rows += _unknown(site) if name is None else _compared(site, name, falls.get(name, []))
    found = pd.DataFrame(rows, columns=list(_COLUMNS))
    return pd.DataFrame({name: typed_column(found[name], kind) for name, kind in _COLUMNS.items()})


def _falls(table: pd.DataFrame) -> dict[str, list[_Fall]]:
    """By service, the newest first."""
    found: dict[str, list[_Fall]] = {}
    for one in table.sort_values("started_at", ascending=False).itertuples():
        falls = found.setdefault(str(one.service), [])
        begin = one.started_at.to_pydatetime()
        goes_on = one.ended_by is None
        falls.append(_Fall(begin, begin + timedelta(seconds=one.duration_s), goes_on, len(falls)))
    return found


def _unknown(site: SummarySite) -> list[_Line]:
    days = sorted(site.minutes_down.items())
    lines = [_Line(site.name, _moment(day), None, None, minutes, False, _NO_RECORD) for day, minutes in days]
    return lines or [_Line(site.name, None, None, None, 0.0, False, _NO_RECORD)]


def _compared(site: SummarySite, service: str, falls: Sequence[_Fall]) -> list[_Line]:
    by_day: dict[date, list[_Fall]] = {day: [] for day in site.minutes_down}
    for fall in falls:
        for day in fall.days():
            by_day.setdefault(day, []).append(fall)
    lines = []
    for day, touching in sorted(by_day.items()):
        ours, theirs = _sum(touching, day), site.minutes_down.get(day, 0.0)
        why = _why(touching, day, theirs)
        lines.append(_Line(service, _moment(day), len(touching), ours, theirs, why is None, why))
    return lines or [_Line(service, None, 0, 0.0, 0.0, True, None)]


def _why(falls: Sequence[_Fall], day: date, theirs: float) -> str | None:
    """Why they differ; None: they do not. ``falls`` are the newest first."""
    if _same(falls, day, theirs):
        return None
    # Where one issue stood for several incidents, the hundred reach further back.
    for count, fall in enumerate(falls):
        if fall.place >= NEWEST and _same(falls[:count], day, theirs):
            return _TOO_OLD
    ended = [fall for fall in falls if not fall.open]
    if len(ended) < len(falls) and _sum(ended, day) - len(falls) <= theirs <= _sum(falls, day):
        return _STILL_OPEN
    return _NOT_TOLD


def _same(falls: Sequence[_Fall], day: date, theirs: float) -> bool:
    return abs(_sum(falls, day) - theirs) <= len(falls)


def _sum(falls: Iterable[_Fall], day: date) -> float:
    return sum((fall.minutes(day) for fall in falls), 0.0)


def _moment(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time(), UTC)
