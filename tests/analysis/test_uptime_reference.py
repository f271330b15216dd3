"""Uptime agrees with a slow reference on any history: gaps, maintenance, equal times, clocks set back."""

from __future__ import annotations

import importlib.util
import math
import sys
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchkit.analysis import uptime


def _reference() -> Any:
    """The module beside this file; tests are collected by path and not importable as a package."""
    name = "orchkit_test_uptime_reference"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("uptime_reference.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


R = _reference()
SECOND = R.SECOND
# An hour before clocks are set back in most of Europe.
START = int(pd.Timestamp("2026-10-25T00:00:00Z").value // 1000)
SPAN = 4 * 3600
MOST = settings(max_examples=25, deadline=None)

# Few different times, so that many are equal; in any order, so that clocks go back; odd microseconds.
seconds = st.integers(0, 40).map(lambda number: number * SPAN * SECOND // 40)
moments = st.builds(lambda at, off: START + at + off, seconds, st.sampled_from([0, 0, 0, 1, 999_999]))
records = st.builds(
    R.Record,
    service=st.sampled_from(["a", "b"]),
    at=moments,
    status=st.sampled_from(["healthy", "unhealthy", "unhealthy", "degraded", "maintenance", None]),
    performed=st.sampled_from([True, True, True, False]),
    holds=st.sampled_from([None, None, 0, 1, 90 * SECOND, 600 * SECOND, SPAN * SECOND]),
    error=st.sampled_from([None, "HTTP 503", "refused", "timeout"]),
)
windows = st.builds(
    R.Away,
    service=st.sampled_from(["a", "b", "c"]),
    begin=moments,
    end=st.none() | moments,
)
ends = st.none() | moments


@st.composite
def worlds(draw: st.DrawFn, *, windowed: bool = True) -> Any:
    """A history with a question."""
    since, until = (draw(ends), draw(ends)) if windowed else (None, draw(ends))
    if since is not None and until is not None and since >= until:
        since = None
    return R.World(
        records=draw(st.lists(records, min_size=1, max_size=14)),
        away=draw(st.lists(windows, max_size=3)),
        since=since,
        until=until,
        degraded_is_up=draw(st.booleans()),
    )


def frame(world: Any) -> pd.DataFrame:
    """The records as a DataFrame, in the order in which they were written."""
    rows = [
        (one.service, at(one.at), one.status, one.performed, one.error,
         None if one.holds is None else one.holds / SECOND)
        for one in world.records
    ]  # fmt: skip
    columns = ["service", "checked_at", "status", "performed", "error", "holds_s"]
    return pd.DataFrame(rows, columns=columns)


def options(world: Any) -> Any:
    """The question."""
    away = pd.DataFrame(
        [(one.service, at(one.begin), at(one.end)) for one in world.away],
        columns=["service", "starts_at", "ends_at"],
    )
    asked = {"maintenance": away, "degraded_is_up": world.degraded_is_up}
    since = {} if world.since is None else {"since": at(world.since)}
    until = {} if world.until is None else {"until": at(world.until)}
    return asked | since | until


def at(us: int | None) -> Any:
    """A time."""
    return pd.NaT if us is None else pd.Timestamp(us * 1000, tz="UTC")


def us(moment: Any) -> int | None:
    """Microseconds of a time."""
    return None if pd.isna(moment) else int(moment.value // 1000)


def same(found: Any, wanted: float | None) -> bool:
    """Whether a number is that one, or missing as it is."""
    missing = wanted is None or math.isnan(wanted)
    return bool(pd.isna(found)) if missing else math.isclose(float(found), wanted, rel_tol=1e-9, abs_tol=1e-9)


def share(part: float, whole: float) -> float:
    """A share, or NaN of nothing."""
    return part / whole if whole > 0 else math.nan


@MOST
@given(worlds())
def test_states_are_those_of_every_moment(world: Any) -> None:
    """The stretches of each service are what one finds by asking for the state at every moment."""
    found = uptime.states(frame(world), **options(world))
    wanted = [(name, *stretch) for name in world.services for stretch in world.stretches(name)]
    assert [
        (row.service, row.state, us(row.began_at), us(row.ended_at)) for row in found.itertuples()
    ] == wanted
    assert all(
        same(row.duration_s, (us(row.ended_at) - us(row.began_at)) / SECOND) for row in found.itertuples()
    )


def check_shares(row: Any, counts: dict[str, int], spent: dict[str, float], world: Any) -> None:
    """A row of availability against counts and seconds."""
    assert {name: getattr(row, name) for name in counts} == counts
    assert all(same(getattr(row, f"{name}_s"), value) for name, value in spent.items())
    checks = counts["up"] + counts["degraded"] + counts["down"]
    good = counts["up"] + (counts["degraded"] if world.degraded_is_up else 0)
    known = spent["up"] + spent["degraded"] + spent["down"]
    good_s = spent["up"] + (spent["degraded"] if world.degraded_is_up else 0)
    assert row.checks == checks
    assert same(row.by_checks, share(good, checks))
    assert same(row.by_time, share(good_s, known))
    assert same(row.coverage, share(known, known + spent["unknown"]))
    if checks:
        assert 0 <= row.by_checks_low <= row.by_checks <= row.by_checks_high <= 1


def total(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Sums by name."""
    return {name: sum(part[name] for part in parts) for name in parts[0]} if parts else {}


@MOST
@given(worlds())
def test_availability_is_counted_and_measured(world: Any) -> None:
    """Counts, times, shares and coverage of each service and of all are those of the reference."""
    found = uptime.availability(frame(world), **options(world))
    assert found.service.tolist() == world.services
    counts, spent = [], []
    for row in found.itertuples():
        begin = world.begin(row.service)
        assert (us(row.since), us(row.until)) == (begin, world.end)
        counts.append(world.counts(row.service, begin, world.end))
        spent.append(world.seconds(row.service, begin, world.end))
        check_shares(row, counts[-1], spent[-1], world)
    whole = uptime.availability(frame(world), by=None, **options(world))
    assert len(whole) == bool(world.services)
    for row in whole.itertuples():
        check_shares(row, total(counts), total(spent), world)


ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns"]


@settings(max_examples=20, deadline=None)
@given(worlds(), st.sampled_from(ZONES), st.sampled_from(["hour", "day", "week"]))
def test_availability_over_time_is_that_of_each_period(world: Any, zone: str, every: Any) -> None:
    """Each hour, day and week has the counts and times that the reference finds between its bounds."""
    found = uptime.availability_over_time(frame(world), every=every, timezone=zone, **options(world))
    wanted = []
    for name in world.services:
        begin = world.begin(name)
        for left, right in R.wall_periods(every, ZoneInfo(zone), begin, world.end - 1):
            wanted.append((name, left, right, max(left, begin), min(right, world.end)))
    rows = list(found.itertuples())
    assert [(row.service, us(row.began_at), us(row.ended_at)) for row in rows] == [one[:3] for one in wanted]
    for row, (name, _, _, left, right) in zip(rows, wanted, strict=True):
        check_shares(row, world.counts(name, left, right), world.seconds(name, left, right), world)


@MOST
@given(worlds(), st.sampled_from([0, 60, 900, 3600, 86_400]))
def test_incidents_are_those_that_one_walks_through(world: Any, gap: int) -> None:
    """Begin, end, cause, number of checks and known time of each incident, and what is reckoned of them."""
    found = uptime.incidents(frame(world), max_gap_s=gap, **options(world))
    wanted = [
        {"service": name, **one}
        for name in world.services
        for one in world.incidents(name, gap * SECOND)
        if one["end"] is None or one["end"] > world.begin(name)
    ]
    wanted.sort(key=lambda one: (one["begin"], one["service"]))
    rows = [
        {
            "service": row.service, "begin": us(row.started_at), "end": us(row.ended_at), "by": row.ended_by,
            "checks": row.checks, "cause": row.cause, "usual": row.usual_error,
        }
        for row in found.itertuples()
    ]  # fmt: skip
    assert rows == [{name: one[name] for name in row} for row, one in zip(rows, wanted, strict=True)]
    for row, one in zip(found.itertuples(), wanted, strict=True):
        length = (world.end if one["end"] is None else one["end"]) - one["begin"]
        assert same(row.duration_s, length / SECOND)
        assert same(row.down_s, one["down"] / SECOND)
        one["length"] = length / SECOND
    check_outages(world, gap, wanted)


def check_outages(world: Any, gap: int, wanted: list[dict[str, Any]]) -> None:
    """MTTR, MTBF and the longest incident, of each service and of all."""
    times = {name: world.seconds(name, world.begin(name), world.end) for name in world.services}
    for by in ("service", None):
        found = uptime.outages(frame(world), by=by, max_gap_s=gap, **options(world))
        groups = [[name] for name in world.services] if by else [world.services] * bool(world.services)
        for row, names in zip(found.itertuples(), groups, strict=True):
            mine = [one for one in wanted if one["service"] in names]
            ended = [one["length"] for one in mine if one["end"] is not None]
            began = [one for one in mine if one["begin"] >= world.begin(one["service"])]
            up = sum(times[name]["up"] + times[name]["degraded"] * world.degraded_is_up for name in names)
            assert (row.incidents, row.open) == (len(mine), len(mine) - len(ended))
            assert same(row.mttr_s, share(sum(ended), len(ended)))
            assert same(row.mtbf_s, share(up, len(began)))
            assert same(row.up_s, up)
            assert same(row.longest_s, max((one["length"] for one in mine), default=math.nan))
            if mine:
                longest = max(mine, key=lambda one: (one["length"], -one["begin"]))
                assert us(row.longest_at) == longest["begin"]


@MOST
@given(worlds(windowed=False), st.sampled_from([0.5, 0.9, 0.999]), st.sampled_from([600, 7200, 86_400]))
def test_error_budgets_are_what_was_down(world: Any, target: float, window: int) -> None:
    """Budget, spent and remaining time, burn rates, and every turn of the budget over time."""
    asked = options(world)
    found = uptime.slo(frame(world), target=target, window=timedelta(seconds=window), **asked)
    left = uptime.error_budget(frame(world), target=target, window=window, **asked)
    assert found.service.tolist() == world.services
    for row in found.itertuples():
        known, down, away = world.burn(row.service, window * SECOND)
        budget = (1 - target) * (window - away)
        assert same(row.known_s, known)
        assert same(row.spent_s, down)
        assert same(row.maintenance_s, away)
        assert same(row.budget_s, budget)
        assert same(row.remaining_s, budget - down)
        assert same(row.coverage, share(known, window - away))
        assert same(row.burn_rate, share(down, known) / (1 - target))
        assert row.met == (budget - down >= 0)
        mine = left[left.service == row.service]
        assert us(mine.moment.iloc[0]) == world.end - window * SECOND
        assert us(mine.moment.iloc[-1]) == world.end
        assert mine.spent_s.is_monotonic_increasing
        for turn in mine.itertuples():
            earlier = (
                world.burn(row.service, window * SECOND)[1]
                - world.burn(row.service, world.end - us(turn.moment))[1]
            )
            assert same(turn.spent_s, earlier)
            assert same(turn.remaining_s, budget - earlier)


@MOST
@given(worlds(windowed=False))
def test_burn_rates_are_asked_of_both_windows(world: Any) -> None:
    """Each pair has the rates of its long and its short time, and alerts where both reach the threshold."""
    pairs = [(7200, 600, 2.0), (timedelta(days=1), 1800, 1.0)]
    found = uptime.burn_rates(frame(world), target=0.5, windows=pairs, **options(world))
    wanted = [(name, pair) for name in world.services for pair in ((7200, 600, 2.0), (86_400, 1800, 1.0))]
    for row, (name, (long, short, rate)) in zip(found.itertuples(), wanted, strict=True):
        rates = []
        for span, burn, covered in (
            (long, row.long_burn, row.long_known),
            (short, row.short_burn, row.short_known),
        ):
            known, down, away = world.burn(name, span * SECOND)
            rates.append(share(down, known) / 0.5)
            assert same(burn, rates[-1])
            assert same(covered, share(known, span - away))
        assert (row.service, row.threshold) == (name, rate)
        assert row.alert == all(one >= rate for one in rates)


@pytest.mark.parametrize("zone", [*ZONES, "Asia/Beirut", "America/Havana", "Africa/Casablanca"])
def test_a_year_of_days_and_weeks_begins_where_the_calendar_says(zone: str) -> None:
    """Around each change of clocks of 2026, periods begin and end where the clock on the wall says."""
    from orchkit.analysis.uptime.periods import bounds

    for month, day in ((2, 15), (3, 8), (3, 29), (4, 5), (10, 4), (10, 25), (11, 1)):
        begin = int(pd.Timestamp(2026, month, day, tz="UTC").value // 1000) - 12 * 3600 * SECOND
        for every in ("hour", "day", "week"):
            found = bounds(every, ZoneInfo(zone), begin, begin + 36 * 3600 * SECOND)
            wanted = R.wall_periods(every, ZoneInfo(zone), begin, begin + 36 * 3600 * SECOND)
            assert list(pairwise(found)) == wanted
