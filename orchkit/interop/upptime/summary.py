"""What Upptime itself says about its sites: ``history/summary.json``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from orchkit.errors import ParameterError, Problem


@dataclass(frozen=True, slots=True)
class SummarySite:
    """One site."""

    name: str
    slug: str | None
    status: str | None
    """When the summary was written."""
    minutes_down: Mapping[date, float]
    """``dailyMinutesDown``: by day in UTC."""


@dataclass(frozen=True, slots=True)
class Summary:
    """All sites; iterating gives them, ``names`` their names."""

    sites: tuple[SummarySite, ...]

    def __iter__(self) -> Iterator[SummarySite]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    @property
    def names(self) -> list[str]:
        """The names of the sites that were watched when the summary was written."""
        return [site.name for site in self.sites]


def read_summary(source: str | Path | Sequence[Mapping[str, Any]]) -> Summary:
    """Read a summary: a file, or what is in one.

    Raises `ParameterError` with all that is wrong with it, `OSError` when the file cannot be opened.
    """
    where = "summary"
    said: Any = source
    if isinstance(source, str | Path):
        where = f"summary {Path(source).name}"
        try:
            said = json.loads(Path(source).read_bytes())
        except ValueError as error:
            raise ParameterError(where, [Problem("the file", f"is not JSON: {error}")]) from None
    if not isinstance(said, Sequence) or isinstance(said, str):
        raise ParameterError(where, [Problem("the file", "is no list of sites")])
    problems: list[Problem] = []
    sites = tuple(_site(place, one, problems) for place, one in enumerate(said))
    if problems:
        raise ParameterError(where, problems)
    return Summary(sites)


def _site(place: int, said: Any, problems: list[Problem]) -> SummarySite:
    fields = said if isinstance(said, Mapping) else {}
    name = fields.get("name")
    if not isinstance(name, str):
        problems.append(Problem(f"site {place}", "has no name"))
        name = ""
    minutes: dict[date, float] = {}
    days = fields.get("dailyMinutesDown") or {}
    for day, count in (days if isinstance(days, Mapping) else {"dailyMinutesDown": days}).items():
        try:
            minutes[date.fromisoformat(day)] = float(count)
        except (TypeError, ValueError):
            problems.append(Problem(f"site {name!r}, {day}", f"{count!r} is no number of minutes of a day"))
    return SummarySite(name, fields.get("slug"), fields.get("status"), minutes)
