"""An idempotency key as a caller gives it, and how it can stand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, get_args

from orchkit.errors import ParameterError, Problem

InFlight = Literal["raise", "wait"]
"""While somebody else executes the same request: `DuplicateRequestError`, or wait for its result."""
OnFailed = Literal["execute", "raise"]
"""What to do when it failed before: execute again, or `OrchestrationError`."""
DEFAULT_TTL_HOURS = 24.0


class RequestStatus(StrEnum):
    """How the execution under a key stands; the column ``status`` of ``idempotency_keys``."""

    PROCESSING = "PROCESSING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """The right to execute something once; raises `ParameterError` for options that mean nothing."""

    key: str
    ttl_hours: float = DEFAULT_TTL_HOURS
    """How long the recorded result answers for the request, from its beginning, in hours."""
    on_in_flight: InFlight = "raise"
    on_failed: OnFailed = "execute"

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise ParameterError("idempotency key", problems)

    @property
    def ttl_us(self) -> int:
        """The same in microseconds."""
        return int(self.ttl_hours * 3_600_000_000)


def _problems(key: Any) -> list[Problem]:
    problems = []
    if not isinstance(key.key, str) or not key.key.strip():
        problems.append(Problem("key", f"expected a text that is not empty, got {key.key!r}"))
    elif any("\ud800" <= character <= "\udfff" for character in key.key):
        problems.append(Problem("key", f"{key.key!r} has a lone surrogate, which cannot be written"))
    hours = key.ttl_hours
    if isinstance(hours, bool) or not isinstance(hours, int | float) or not (0 < hours < math.inf):
        problems.append(Problem("ttl_hours", f"expected a number of hours above 0, got {hours!r}"))
    for name, choices in (("on_in_flight", get_args(InFlight)), ("on_failed", get_args(OnFailed))):
        value = getattr(key, name)
        if value not in choices:
            problems.append(Problem(name, f"unknown value {value!r}", f"use {' or '.join(choices)}"))
    return problems
