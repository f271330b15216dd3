"""Uptime in plain Python, slowly and one microsecond-exact moment after the other: to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000


@dataclass(frozen=True)
class Record:
    """A record of a check; times are microseconds since the epoch, ``holds`` microseconds or None."""

    service: str
    at: int
    status: str | None
    performed: bool = True
    holds: int | None = None
    error: str | None = None

    @property
    def state(self) -> str:
        """What it says."""
        if self.status == "maintenance":
            return "maintenance"
        if not self.performed:
            return "unknown"
        return {"healthy": "up", "degraded": "degraded", "unhealthy": "down"}.get(
            self.status or "", "unknown"
        )


@dataclass(frozen=True)
class Away:
    """A window of maintenance; None: it goes on."""

    service: str
    begin: int
    end: int | None


@dataclass(frozen=True)
class World:
    """A history and a question."""

    records: Sequence[Record]
    away: Sequence[Away] = ()
    since: int | None = None
    until: int | None = None
    degraded_is_up: bool = True

    @property
    def end(self) -> int:
        """Where the windows end."""
        if self.until is not None:
            return self.until
        return (max(record.at for record in self.records) // SECOND + 1) * SECOND

    def of(self, service: str) -> list[Record]:
        """Its records before the end, by time, and at the same time as they were written."""
        mine = [record for record in self.records if record.service == service and record.at < self.end]
        return sorted(mine, key=lambda record: record.at)

    def begin(self, service: str) -> int:
        """Where the window of a service begins."""
        return self.of(service)[0].at if self.since is None else self.since

    @property
    def services(self) -> list[str]:
        """Those that have a window."""
        names = sorted({record.service for record in self.records})
        return [name for name in names if self.of(name) and self.begin(name) < self.end]

    def state(self, service: str, moment: int) -> str:
        """The state at a moment: the definition, word for word."""
        for window in self.away:
            ends = self.end if window.end is None else window.end
            if window.service == service and window.begin <= moment < ends:
                return "maintenance"
        before = [record for record in self.of(service) if record.at <= moment]
        if not before:
            return "unknown"
        last = before[-1]
        if last.holds is not None and moment >= last.at + max(last.holds, 1):
            return "unknown"
        return last.state

    def is_down(self, state: str) -> bool:
        """Whether a state counts as down."""
        return state == "down" or (state == "degraded" and not self.degraded_is_up)

    def stretches(self, service: str, begin: int | None = None) -> list[tuple[str, int, int]]:
        """(state, begin, end), from a time on: by asking at every moment at which anything may change."""
        start = self.begin(service) if begin is None else begin
        moments = {start, self.end}
        for record in self.of(service):
            moments.add(record.at)
            if record.holds is not None:
                moments.add(record.at + max(record.holds, 1))
        for window in self.away:
            moments.add(window.begin)
            moments.add(self.end if window.end is None else window.end)
        cuts = sorted(moment for moment in moments if start <= moment <= self.end)
        found: list[tuple[str, int, int]] = []
        for left, right in pairwise(cuts):
            state = self.state(service, left)
            if found and found[-1][0] == state:
                found[-1] = (state, found[-1][1], right)
            else:
                found.append((state, left, right))
        return found

    def seconds(self, service: str, begin: int, end: int) -> dict[str, float]:
        """How long it was in each state between two times."""
        spent = dict.fromkeys(("up", "degraded", "down", "unknown", "maintenance"), 0)
        for state, left, right in self.stretches(service):
            spent[state] += max(0, min(right, end) - max(left, begin))
        return {state: us / SECOND for state, us in spent.items()}

    def counts(self, service: str, begin: int, end: int) -> dict[str, int]:
        """How many checks there are of each kind."""
        found = dict.fromkeys(("up", "degraded", "down", "not_performed", "in_maintenance"), 0)
        for record in self.of(service):
            if begin <= record.at < end:
                if record.state == "maintenance" or self.state(service, record.at) == "maintenance":
                    found["in_maintenance"] += 1
                elif record.state == "unknown":
                    found["not_performed"] += 1
                else:
                    found[record.state] += 1
        return found

    def incidents(self, service: str, max_gap: int) -> list[dict[str, Any]]:
        """Every incident of its whole history, walked through from the first record on."""
        first = min([self.begin(service), *(record.at for record in self.of(service))])
        found: list[dict[str, Any]] = []
        going: dict[str, Any] | None = None
        for state, left, right in self.stretches(service, first):
            if self.is_down(state):
                going = going or {"begin": left, "down": 0}
                going["down"] += right - left
                going["seen"] = right
            elif going is not None and (state != "unknown" or right - left > max_gap):
                by = {"degraded": "up"}.get(state, state)
                found.append({**going, "end": going["seen"] if by == "unknown" else left, "by": by})
                going = None
        if going is not None:
            found.append({**going, "end": None, "by": None})
        return [{**one, **self._why(service, one)} for one in found]

    def _why(self, service: str, one: dict[str, Any]) -> dict[str, Any]:
        end = self.end if one["end"] is None else one["end"]
        mine = [
            record
            for record in self.of(service)
            if one["begin"] <= record.at < end and self.is_down(record.state)
        ]
        errors = [record.error for record in mine if record.error is not None]
        usual = max(dict.fromkeys(errors), key=errors.count) if errors else None
        return {"checks": len(mine), "cause": errors[0] if errors else None, "usual": usual}

    def burn(self, service: str, span: int) -> tuple[float, float, float]:
        """Known, down and maintenance seconds of so long before the end."""
        first = min([self.end - span, *(record.at for record in self.of(service))])
        spent = dict.fromkeys(("known", "down", "maintenance"), 0)
        for state, left, right in self.stretches(service, first):
            us = max(0, right - max(left, self.end - span))
            spent["known"] += us if state in ("up", "degraded", "down") else 0
            spent["down"] += us if self.is_down(state) else 0
            spent["maintenance"] += us if state == "maintenance" else 0
        return spent["known"] / SECOND, spent["down"] / SECOND, spent["maintenance"] / SECOND


def wall_periods(every: str, zone: tzinfo, begin: int, end: int) -> list[tuple[int, int]]:
    """Hours, days and weeks by walking a quarter of an hour at a time and looking at the wall clock."""

    def label(moment: int) -> Any:
        local = (EPOCH + timedelta(microseconds=moment)).astimezone(zone)
        if every == "hour":
            return local.date(), local.hour, local.utcoffset()
        return local.date() if every == "day" else (local.date() - timedelta(days=local.weekday()))

    step = 900 * SECOND
    first = begin // step * step
    while label(first - step) == label(begin):
        first -= step
    found, left, moment = [], first, first
    while moment <= end:
        moment += step
        if label(moment) != label(left):
            found.append((left, moment))
            left = moment
    while label(moment) == label(left):
        moment += step
    return [one for one in [*found, (left, moment)] if one[0] <= end]
