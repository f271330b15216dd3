"""Simulated health checks keep the rules of the monitor that would have made them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from orchkit.errors import ParameterError
from orchkit.simulation import Failures, Latency, Monitoring, Outages, WatchedService, simulate_checks

START = datetime(2026, 5, 10, tzinfo=UTC)


def simulated(service: WatchedService, *, duration: float = 600.0, **watching: Any) -> pd.DataFrame:
    """Checks of one service, every 30 seconds."""
    monitoring = Monitoring(**{"interval": 30.0, **watching})
    return simulate_checks({"it": service}, start=START, duration=duration, monitoring=monitoring)


def test_a_check_is_made_at_each_interval() -> None:
    """From the start to the end, with the response time of the model and the time for which it holds."""
    found = simulated(WatchedService([Latency(0.2)]))
    assert found.checked_at.tolist() == list(pd.date_range(START, periods=20, freq="30s"))
    assert set(found.response_ms) == {200.0}
    assert set(found.status) == {"healthy"}
    assert set(found.holds_s) == {65.0}
    assert found.performed.all()


def test_the_breaker_prevents_checks_of_a_service_that_is_down() -> None:
    """Three failures open it for a minute; checks meanwhile are not performed; two successes close it."""
    found = simulated(WatchedService([Outages([(60, 150)])]), duration=420)
    reasons = [
        "ok" if row.performed and row.status == "healthy" else row.reason or row.status
        for row in found.itertuples()
    ]
    open_, bad = "breaker_open", "unhealthy"
    assert [("?" if pd.isna(one) else one) for one in reasons] == [
        "ok", "ok", bad, bad, bad, open_, bad, open_, "ok", "ok", "ok", "ok", "ok", "ok",
    ]  # fmt: skip
    assert found.consecutive_failures.tolist()[2:9] == [1, 2, 3, 3, 4, 4, 0]
    assert set(found.error.dropna()) == {"ConnectionError"}


def test_what_says_nothing_of_the_service_is_not_performed() -> None:
    """Maintenance, a monitor without a network, and one that had been asleep."""
    found = simulated(
        WatchedService([Failures(1.0)], maintenance=[(0, 60)]),
        no_network=[(60, 60)],
        asleep=[(120, 90)],
        duration=240,
    )
    assert found.status.fillna("").tolist() == ["maintenance"] * 2 + [""] * 3
    assert found.reason.tolist() == ["maintenance", "maintenance", "no_network", "no_network", "late"]
    assert found.checked_at.iloc[-1] == pd.Timestamp(START) + pd.Timedelta(seconds=210)
    assert not found.performed.any()


def test_slow_answers_are_degraded_and_slower_ones_no_answer() -> None:
    """Beyond the one limit it is degraded, at the timeout unhealthy."""
    slow = simulated(WatchedService([Latency(2.0)], degraded_after=1.0), duration=30)
    assert slow.status.tolist() == ["degraded"]
    late = simulated(WatchedService([Latency(7.0)]), duration=30)
    assert late[["status", "error"]].to_numpy().tolist() == [["unhealthy", "no answer in time"]]
    assert late.response_ms.isna().all()


def test_the_same_seed_makes_the_same_history() -> None:
    """And another one another."""
    services = {"a": WatchedService([Failures(0.5)]), "b": WatchedService([Failures(0.5)])}
    one, same, other = (
        simulate_checks(services, start=START, duration=9_000, seed=seed) for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(one, same)
    assert not one.status.equals(other.status)
    assert one.service.tolist()[:2] == ["a", "b"]


@pytest.mark.parametrize(("duration", "interval"), [(0, 30), (-1, 30), (60, 0), (float("nan"), 30)])
def test_lengths_must_be_lengths(duration: float, interval: float) -> None:
    """Nothing can be watched for no time, or in no time."""
    with pytest.raises(ParameterError, match="must be longer than nothing"):
        simulated(WatchedService([]), duration=duration, interval=interval)
