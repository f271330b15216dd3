"""Uptime of a million checks, asked of a store and of a DataFrame."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from task import Stopwatch, Task, expect

from orchkit.analysis import uptime
from orchkit.model import event as ev
from orchkit.store import codec
from orchkit.store.store import Store

SERVICES = 10
INTERVAL_US = 30_000_000
START_US = 1_735_689_600_000_000
COMMIT_EVENTS = 100_000
REPEATS = 5
QUESTIONS: dict[str, Callable[[Any], Any]] = {
    "availability": uptime.availability,
    "by_day": lambda source: uptime.availability_over_time(source, every="day", timezone="Europe/Berlin"),
    "by_hour": lambda source: uptime.availability_over_time(source, every="hour"),
    "states": uptime.states,
    "incidents": uptime.incidents,
    "outages": uptime.outages,
    "slo": uptime.slo,
    "burn_rates": uptime.burn_rates,
    "error_budget": uptime.error_budget,
}
"""By the names of the numbers that come of them."""


def measure(task: Task, folder: Path) -> dict[str, float]:
    """Seconds of each question over ``task.size`` checks, to the store and then to a DataFrame of them."""
    numbers: dict[str, float] = {}
    with Store(folder / "history.duckdb") as store:
        events = _events(task.size)
        while batch := list(islice(events, COMMIT_EVENTS)):
            store.log.transact(lambda _, rows=batch: (None, rows), strict=True)
            store.ingest()
        checks = store.sql("SELECT * FROM health_checks")
        for where, source in (("store", store), ("frame", checks)):
            found = uptime.availability(source)
            expect("the checks counted", int(found.checks.sum() + found.not_performed.sum()), task.size)
            for name, ask in QUESTIONS.items():
                numbers[f"{where}_{name}"] = statistics.median(_timed(ask, source) for _ in range(REPEATS))
    return numbers


def _timed(ask: Callable[[Any], Any], source: Any) -> float:
    with Stopwatch() as watch:
        ask(source)
    return watch.seconds


def _events(size: int) -> Iterator[tuple[int, str, None, None, None, str]]:
    """Of each service a check every half minute: one in 500 begins an outage, as many are not made."""
    rng, left = Random(6), [0] * SERVICES
    for number in range(size):
        which, at = number % SERVICES, START_US + number // SERVICES * INTERVAL_US + number % SERVICES
        if left[which] == 0 and rng.random() < 0.002:
            left[which] = rng.randint(1, 20)
        down = left[which] > 0
        left[which] -= down
        performed = rng.random() >= 0.002
        payload = {
            "service": f"service-{which}",
            "status": ("unhealthy" if down else "healthy") if performed else None,
            "performed": performed,
            "reason": None if performed else "breaker_open",
            "response_ms": 12.5,
            "error": "HTTP 503" if down and performed else None,
            "holds_us": 65_000_000,
        }
        yield at, ev.HEALTH_CHECK, None, None, None, codec.dumps(payload)
