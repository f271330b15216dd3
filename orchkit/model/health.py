"""What is known of a service: what one look at it found, and how it stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from orchkit.model.brief import brief_name
from orchkit.model.display import Displayable

Status = Literal["healthy", "degraded", "unhealthy", "unknown", "maintenance"]
"""``unknown``: nothing was found out lately. ``maintenance``: it is meant to be away."""
Found = Literal["healthy", "degraded", "unhealthy"]
"""What a look at a service can find."""

FOUND: Final[tuple[Found, ...]] = ("healthy", "degraded", "unhealthy")
BY_GRAVITY: Final[tuple[Status, ...]] = ("unhealthy", "degraded", "unknown", "healthy", "maintenance")
"""The order in which one of them stands for several services."""

_WORDS: Final[Mapping[str, Found]] = {
    **dict.fromkeys(("healthy", "ok", "okay", "up", "pass", "passing", "green", "serving"), "healthy"),
    **dict.fromkeys(("degraded", "warn", "warning", "yellow", "partial"), "degraded"),
    **dict.fromkeys(
        ("unhealthy", "down", "fail", "failing", "failed", "error", "red", "critical"), "unhealthy"
    ),
}


def found_in(word: object) -> Found | None:
    """What services mean by the word in their ``status``: ``UP``, ``warn``; None for other words."""
    return _WORDS.get(word.strip().lower()) if isinstance(word, str) else None


def overall(statuses: Iterable[Status]) -> Status:
    """The gravest of several statuses; what is in maintenance counts only where everything is."""
    there = set(statuses)
    return next((status for status in BY_GRAVITY if status in there), "unknown")


@dataclass(frozen=True, slots=True)
class HealthResult:
    """What a probe may return when ``True`` and ``False`` do not say enough.

    Attributes:
        status: ``healthy``, ``degraded`` (it answers, but not as it should) or ``unhealthy``.
        details: Plain data that is shown and recorded with it.
        error: What is wrong, in words.
        response_time_ms: How long the service took, when the probe knows better than its own duration.
        retry_after_s: For so many seconds the service does not want to be asked again.
    """

    status: Found = "healthy"
    details: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    response_time_ms: float | None = None
    retry_after_s: float | None = None

    def __post_init__(self) -> None:
        if self.status not in FOUND:
            raise ValueError(f"status {self.status!r}: a probe finds {', '.join(FOUND)}")


@dataclass(frozen=True, slots=True)
class HealthLook:
    """One check as the curve of a service shows it."""

    status: Found | None
    """None: it was not performed."""
    response_time_ms: float | None = None
    reason: str | None = None
    """Why it was not performed."""


@dataclass(frozen=True, slots=True)
class ServiceHealth(Displayable):
    """How a service stands, as of the moment when this was asked for.

    Attributes:
        name: Its name.
        url: What is asked; None for a probe that is a function.
        status: ``healthy``, ``degraded``, ``unhealthy``, ``unknown`` or ``maintenance``.
        last_check: When it was last looked at (UTC); None: not yet. Checks that were not performed do
            not count, here and below.
        response_time_ms: Milliseconds that the last check took; None without an answer.
        error: What was wrong then.
        circuit_state: State of its circuit breaker; ``disabled`` where it has none.
        consecutive_failures: How many of the last checks in a row found it unhealthy.
        uptime_percentage: Share of the last 100 checks in which it answered (healthy or degraded), 0 to
            100; None: there was no check.
        details: What it told about itself.
        checks: How many checks ``uptime_percentage`` is of: 100 at most.
        note: What else there is to know: why the last check was not performed, what keeps it from being
            recorded.
        looks: The last checks, the newest last, with those that were not performed.
        interval: Seconds between two checks.
    """

    name: str
    url: str | None = None
    status: Status = "unknown"
    last_check: datetime | None = None
    response_time_ms: float | None = None
    error: str | None = None
    circuit_state: str = "closed"
    consecutive_failures: int = 0
    uptime_percentage: float | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    checks: int = 0
    note: str | None = None
    looks: tuple[HealthLook, ...] = ()
    interval: float | None = None

    def __repr__(self) -> str:
        told: list[str] = [self.status]
        if self.last_check is not None:
            told.append(f"checked {self.last_check.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC")
        if self.response_time_ms is not None:
            told.append(f"{self.response_time_ms:.3g} ms")
        if self.uptime_percentage is not None:
            told.append(f"up {self.uptime_percentage:g} % of {self.checks}")
        if self.circuit_state != "closed":
            told.append(f"circuit {self.circuit_state.replace('_', ' ')}")
        if self.error is not None:
            told.append(brief_name(self.error))
        return f"<ServiceHealth {brief_name(self.name)}: {', '.join(told)}>"

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON has it, under the names that ``/health/status`` documents."""
        checked = None if self.last_check is None else self.last_check.astimezone(UTC).isoformat()
        return {
            "name": self.name,
            "url": self.url,
            "status": self.status,
            "last_check": checked,
            "response_time_ms": self.response_time_ms,
            "error": self.error,
            "circuit_state": self.circuit_state,
            "consecutive_failures": self.consecutive_failures,
            "uptime_percentage": self.uptime_percentage,
            "details": dict(self.details),
            "note": self.note,
        }
