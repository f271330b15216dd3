"""The layer that asks a circuit breaker before each try, and tells it what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orchkit.errors import BreakerOpenError
from orchkit.reliability.breaker import outcome_of
from orchkit.reliability.call import Call, Handler
from orchkit.reliability.circuit import CircuitBreaker


@dataclass(frozen=True, slots=True)
class Breaking:
    """Calls that a circuit breaker allows."""

    breaker: CircuitBreaker

    async def __call__(self, call: Call, inner: Handler) -> Any:
        """Run the call; raises `BreakerOpenError` when the breaker does not allow it."""
        breaker, before = self.breaker, call.attempt
        try:
            permit = breaker.acquire(call)
        except BreakerOpenError as error:
            _rejected(call, breaker, error)
            raise
        try:
            output = await inner(call)
        except Exception as error:
            breaker.settle(permit, call, outcome_of(breaker.policy, error))
            raise
        except BaseException:
            # Cancelled: nobody's fault, unless it took so long that all the time of the call was over.
            late = call.attempt > before and call.total is not None and call.total.expired()
            breaker.settle(permit, call, "failure" if late else "ignored")
            raise
        breaker.settle(permit, call, "success")
        return output


def _rejected(call: Call, breaker: CircuitBreaker, error: BreakerOpenError) -> None:
    snapshot = breaker.snapshot
    inputs = {
        "breaker": breaker.name,
        "state": error.state,
        "generation": snapshot.generation,
        "retry_in_s": None if error.retry_in is None else round(error.retry_in, 6),
    }
    call.record.decided("breaker", "rejected", str(error), inputs)
