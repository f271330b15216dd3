"""What is remembered of a service between two checks, and how a check changes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from orchkit.model.health import FOUND, Found, HealthLook

MOST_COUNTED: Final = 100
"""Uptime is that of so many performed checks."""
MOST_LOOKS: Final = 60
"""So many checks are shown as a curve, those that were not performed included."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check, as it is recorded. Not performed: ``found`` is None, and there is a reason."""

    at_us: int
    """When it began, microseconds since the Unix epoch."""
    found: Found | None
    reason: str | None = None
    """``breaker_open``, ``no_network``, ``late``, ``maintenance``, ``retry_after`` or ``probe_hangs``."""
    response_ms: float | None = None
    error: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    wait_until_us: int | None = None
    """The service does not want to be asked before."""

    @property
    def performed(self) -> bool:
        """Whether the service was looked at."""
        return self.found is not None


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything that the checks so far say. What was not performed is never counted, up or down."""

    found: Found | None = None
    checked_us: int | None = None
    response_ms: float | None = None
    error: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    failures: int = 0
    """Checks in a row that found it unhealthy."""
    up: str = ""
    """The last performed checks, oldest first: ``1`` it answered, ``0`` it did not."""
    looks: tuple[HealthLook, ...] = ()
    seen_us: int | None = None
    """The last check of any kind."""
    reason: str | None = None
    """Why that one was not performed."""
    wait_until_us: int | None = None

    def after(self, check: Check) -> Standing:
        """The standing after one more check."""
        look = HealthLook(check.found, check.response_ms, check.reason)
        looks = (*self.looks, look)[-MOST_LOOKS:]
        seen = replace(self, looks=looks, seen_us=check.at_us, reason=check.reason)
        if check.found is None:
            return seen
        failed = check.found == "unhealthy"
        return replace(
            seen,
            found=check.found,
            checked_us=check.at_us,
            response_ms=check.response_ms,
            error=check.error,
            details=check.details,
            failures=self.failures + 1 if failed else 0,
            up=(self.up + ("0" if failed else "1"))[-MOST_COUNTED:],
            wait_until_us=check.wait_until_us,
        )

    @property
    def uptime(self) -> float | None:
        """Percent of the last performed checks in which it answered; None: there was none."""
        return round(100 * self.up.count("1") / len(self.up), 2) if self.up else None

    @property
    def last_check(self) -> datetime | None:
        """When it was last looked at."""
        return None if self.checked_us is None else datetime.fromtimestamp(self.checked_us / 1e6, UTC)

    # --- as a small value of the log ---------------------------------------------------------

    def written(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "found": self.found,
            "checked_us": self.checked_us,
            "response_ms": self.response_ms,
            "error": self.error,
            "details": dict(self.details),
            "failures": self.failures,
            "up": self.up,
            "looks": [[look.status, look.response_time_ms, look.reason] for look in self.looks],
            "seen_us": self.seen_us,
            "reason": self.reason,
            "wait_until_us": self.wait_until_us,
        }


def read(value: Mapping[str, Any]) -> Standing:
    """The standing that was written; raises `ValueError`, `TypeError` or `KeyError` for anything else."""
    found = value["found"]
    if found is not None and found not in FOUND:
        raise ValueError(f"a service is not found {found!r}")
    return Standing(
        found=found,
        checked_us=value["checked_us"],
        response_ms=value["response_ms"],
        error=value["error"],
        details=dict(value["details"]),
        failures=int(value["failures"]),
        up=str(value["up"])[-MOST_COUNTED:],
        looks=tuple(HealthLook(status, ms, reason) for status, ms, reason in value["looks"])[-MOST_LOOKS:],
        seen_us=value["seen_us"],
        reason=value["reason"],
        wait_until_us=value["wait_until_us"],
    )
