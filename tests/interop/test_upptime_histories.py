"""On any history of Upptime's form, our incident minutes are those of the issues that it would open."""

from __future__ import annotations

import math
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import orchkit as ok
from orchkit.analysis import uptime
from orchkit.interop import upptime

START = datetime(2026, 5, 10, tzinfo=UTC)
DAY = timedelta(days=1)

steps = st.tuples(
    st.sampled_from(["Shop", "Mail & more"]),
    # Seconds to a few hours, and now and then more than a day.
    st.sampled_from([1, 29, 31, 600, 4_000, 9_999, 40_000, 100_000]),
    st.sampled_from(["up", "up", "down", "down", "degraded"]),
)


def issues_of(rows: list[tuple[datetime, str]], end: datetime) -> list[tuple[datetime, datetime]]:
    """What Upptime does: an issue is opened when a site is not up, and closed when it is."""
    found, opened = [], None
    for at, state in rows:
        if state != "up" and opened is None:
            opened = at
        elif state == "up" and opened is not None:
            found.append((opened, at))
            opened = None
    return found if opened is None else [*found, (opened, end)]


def daily_minutes(issues: list[tuple[datetime, datetime]], end: datetime) -> dict[str, int]:
    """And how it counts: each issue on each day by itself, in whole minutes."""
    found: dict[str, int] = {}
    day = START
    while day <= end:
        for begin, until in issues:
            overlap = min(until, day + DAY - timedelta(milliseconds=1)) - max(begin, day)
            if overlap > timedelta(0):
                minutes = math.floor(overlap / timedelta(minutes=1) + 0.5)
                found[f"{day:%Y-%m-%d}"] = found.get(f"{day:%Y-%m-%d}", 0) + minutes
        day += DAY
    return found


@settings(max_examples=25, deadline=None)
@given(st.lists(steps, min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_minutes_agree_on_any_history(history: list[tuple[str, int, str]], rng: Any) -> None:
    """A minute per incident at most, on every day of every site, in whatever order the rows are written."""
    rows, at = [], START
    for site, seconds, state in history:
        at += timedelta(seconds=seconds)
        rows.append((at, site, state))
    # A summary is written a little after the last commit.
    end = at + timedelta(seconds=1)
    by_site = {site: [(when, state) for when, name, state in rows if name == site] for _, site, _ in rows}
    said = [
        {"name": site, "dailyMinutesDown": daily_minutes(issues_of(mine, end), end)}
        for site, mine in by_site.items()
    ]
    lines = [
        f"{when.isoformat()},{site},{state},200,1,c{number}"
        for number, (when, site, state) in enumerate(rows)
    ]
    rng.shuffle(lines)
    with tempfile.TemporaryDirectory() as folder, ok.open() as kit:
        path = Path(folder) / "checks.csv"
        path.write_text("\n".join(["committed_at,site,state,http_code,response_ms,commit", *lines]))
        loaded = upptime.load(path, kit, summary=said)
        assert (loaded.added, upptime.load(path, kit).added) == (len(rows), 0)
        assert loaded.summary is not None
        found = uptime.agreement(kit, loaded.summary)
        assert found.service.nunique() == len(by_site)
        assert found.agrees.all(), found[~found.agrees]
        starts = {
            site: [begin.isoformat() for begin, _ in issues_of(mine, end)] for site, mine in by_site.items()
        }
        ours = uptime.incidents(kit, degraded_is_up=False)
        assert {
            site: ours[ours.service == site].started_at.map(lambda one: one.isoformat()).tolist()
            for site in by_site
        } == starts
