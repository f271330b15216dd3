"""What of a service's policy stands around its requests, and what of it the gateway sees to itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

from orchkit.gateway import faults
from orchkit.model.policy import ReliabilityPolicy
from orchkit.model.selectors import exception_name

_NEVER_AGAIN: Final = tuple(
    map(
        exception_name,
        (faults.ClientFaultError, faults.AnswerCutError, faults.NotRepeatableError, faults.NotFinalError),
    )
)
_NOT_ITS_FAULT: Final = tuple(
    map(exception_name, (faults.ClientFaultError, faults.NotFinalError, faults.NoConnectionFreeError))
)
_NEVER_THERE: Final = (exception_name(faults.NotReachedError),)


@dataclass(frozen=True, slots=True)
class Policies:
    """The policy of a service, for requests that may be repeated and for those that may not.

    Attributes:
        full: For idempotent methods, and requests with an idempotency key.
        careful: For all others: tried again only when the request never reached the service.
        silence: Seconds that the service may be silent; None: as long as it likes. It is the limit on an
            attempt, which is kept by `Patience` here, so that a long body is no reason to cut it.
    """

    full: ReliabilityPolicy
    careful: ReliabilityPolicy
    silence: float | None

    @classmethod
    def of(cls, policy: ReliabilityPolicy) -> Self:
        """Those that follow from what the operator has written."""
        changes: dict[str, Any] = {}
        silence = None
        if policy.timeout is not None:
            silence = policy.timeout.attempt
            changes["timeout"] = {"attempt": None} if policy.timeout.total is not None else None
        if policy.breaker is not None:
            changes["breaker"] = {"ignore": (*policy.breaker.ignore, *_NOT_ITS_FAULT)}
        if policy.retry is None:
            full = policy.but(**changes)
            return cls(full, full, silence)
        # Only who asks for it waits for a breaker: a client is told at once when to come back.
        rejected = () if policy.retry.strategy == "circuit_breaker" else ("rejected",)
        changes["retry"] = {"give_up_on": (*policy.retry.give_up_on, *_NEVER_AGAIN, *rejected)}
        full = policy.but(**changes)
        return cls(full, full.but(retry={"retry_on": _NEVER_THERE}), silence)
