"""Health checks that somebody might have made: histories of services that fail as told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchkit.analysis.frames import Columns, typed_column
from orchkit.errors import ParameterError, Problem
from orchkit.health.service import USUAL_BREAKER
from orchkit.reliability import breaker as cb
from orchkit.simulation.luck import Luck, SimulatedCall
from orchkit.simulation.models import Draw, FaultModel, Window, together

if TYPE_CHECKING:
    import pandas as pd

CHECKS: Columns = {
    "service": "text",
    "checked_at": "time",
    "status": "maybe",
    "performed": "bool",
    "reason": "maybe",
    "response_ms": "float",
    "error": "maybe",
    "circuit_state": "maybe",
    "consecutive_failures": "int",
    "holds_s": "float",
}
"""The columns of the view ``health_checks``, as far as they are simulated."""


@dataclass(frozen=True, slots=True)
class WatchedService:
    """A service in a simulation of health checks. Windows are start and duration in seconds."""

    faults: Sequence[FaultModel]
    degraded_after: float | None = None
    """Seconds beyond which an answer is degraded; None: never."""
    maintenance: Sequence[Window] = ()


@dataclass(frozen=True, slots=True)
class Monitoring:
    """How services are watched in a simulation; all times are seconds, windows from its begin."""

    interval: float = 300.0
    timeout: float = 5.0
    asleep: Sequence[Window] = ()
    """When the monitor does not run: there is no record at all, and then one check that is late."""
    no_network: Sequence[Window] = ()
    """When it has no network: checks are not performed."""


def simulate_checks(
    services: Mapping[str, WatchedService],
    *,
    start: datetime,
    duration: float,
    monitoring: Monitoring | None = None,
    seed: int | str = 0,
) -> pd.DataFrame:
    """The checks that `orchkit.health.HealthMonitor` would record, as the view ``health_checks`` has them.

    The rules are those of the monitor: its circuit breaker, whose decisions these are, prevents checks while
    it is open; checks in maintenance, without a network, or of a monitor that had been asleep are not
    performed. Nothing is called and no time passes.

    Args:
        services: How each service behaves.
        start: When it begins; without a time zone in UTC.
        duration: How long it takes, in seconds.
        monitoring: How they are watched; by default every five minutes.
        seed: The same seed gives the same history.

    Returns:
        A row per check, in the order of time: ``service``, ``checked_at``, ``status``, ``performed``,
        ``reason``, ``response_ms`` (whole), ``error``, ``circuit_state``, ``consecutive_failures`` and
        ``holds_s``.

    Raises:
        ParameterError: For a duration or an interval that is not longer than nothing.
    """
    import pandas as pd

    watching = monitoring or Monitoring()
    lengths = {"duration": duration, "interval": watching.interval, "timeout": watching.timeout}
    if wrong := [
        Problem(name, f"must be longer than nothing, not {one!r}")
        for name, one in lengths.items()
        if not one > 0
    ]:
        raise ParameterError("simulate_checks", wrong)
    begin = start if start.tzinfo is not None else start.replace(tzinfo=UTC)
    rows = [
        row
        for number, (name, service) in enumerate(services.items())
        for row in _Watcher(name, service, watching, Luck(seed, name)).rows(duration, number / len(services))
    ]
    table = pd.DataFrame(rows, columns=list(CHECKS)).sort_values(
        "checked_at", kind="stable", ignore_index=True
    )
    table["checked_at"] = pd.Timestamp(begin) + pd.to_timedelta(table.checked_at, unit="s").dt.round("ms")
    return pd.DataFrame({name: typed_column(table[name], kind) for name, kind in CHECKS.items()})


class _Watcher:
    """Looks at one service."""

    def __init__(self, name: str, service: WatchedService, watching: Monitoring, luck: Luck) -> None:
        self._name, self._service, self._watching = name, service, watching
        self._draw: Draw = together(service.faults, luck)
        self._policy = USUAL_BREAKER
        self._breaker = cb.Snapshot()
        self._failures = 0
        self._slept = False

    def rows(self, duration: float, share: float) -> Iterator[tuple[Any, ...]]:
        """All checks; they begin after so much of the first interval, so that not all come at once."""
        number, at = 0, share * self._watching.interval
        while at < duration:
            if _in(self._watching.asleep, at):
                self._slept = True
            else:
                yield self._row(number, at)
                self._slept = False
            number += 1
            at = (number + share) * self._watching.interval

    def _row(self, number: int, at: float) -> tuple[Any, ...]:
        status, reason, response_ms, error = self._check(number, at)
        performed = reason is None
        if performed:
            self._failures = self._failures + 1 if status == "unhealthy" else 0
        holds = 2 * self._watching.interval + self._watching.timeout
        return (
            self._name, at, status, performed, reason, response_ms, error,
            self._breaker.state, self._failures, holds,
        )  # fmt: skip

    def _check(self, number: int, at: float) -> tuple[str | None, str | None, float | None, str | None]:
        """Status, reason, response time, error."""
        if self._slept:
            return None, "late", None, None
        if _in(self._service.maintenance, at):
            return "maintenance", "maintenance", None, None
        admission = cb.admit(self._policy, self._breaker, at)
        self._breaker = admission.snapshot
        if admission.permit is None:
            return None, "breaker_open", None, None
        if _in(self._watching.no_network, at):
            self._breaker, _ = cb.settle(self._policy, self._breaker, admission.permit, "ignored", at)
            return None, "no_network", None, None
        status, took, error = self._look(number, at)
        outcome: cb.Outcome = "failure" if status == "unhealthy" else "success"
        self._breaker, _ = cb.settle(self._policy, self._breaker, admission.permit, outcome, at + took)
        return status, None, None if error == _TIMEOUT else float(round(took * 1000)), error

    def _look(self, number: int, at: float) -> tuple[str, float, str | None]:
        timeout, slow = self._watching.timeout, self._service.degraded_after
        found = self._draw(SimulatedCall(at, number, "check", 1))
        if found.duration_s >= timeout:
            return "unhealthy", timeout, _TIMEOUT
        if found.error is not None:
            return "unhealthy", found.duration_s, type(found.error).__name__
        degraded = slow is not None and found.duration_s > slow
        return "degraded" if degraded else "healthy", found.duration_s, None


_TIMEOUT = "no answer in time"


def _in(windows: Sequence[Window], at: float) -> bool:
    return any(start <= at < start + length for start, length in windows)
