"""The layer that makes another attempt after a failed one, as policy and budget say."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Final

from orchkit.errors import BreakerOpenError, RejectedError, StoreError
from orchkit.model.retry import RetryPolicy
from orchkit.reliability.budget import Budget, retry_cost
from orchkit.reliability.call import Call, Handler
from orchkit.reliability.circuit import CircuitBreaker
from orchkit.reliability.classify import error_message, error_name
from orchkit.reliability.retry import Hints, RetryVerdict, decide
from orchkit.reliability.retryafter import retry_after

MIN_WAIT_S: Final = 0.05
"""Between looks whether a breaker that tries out other calls is done, when the policy says no delay."""


@dataclass(slots=True)
class _Tries:
    """What one call has been through so far."""

    start: float
    made: int
    """Tries that count towards the limit, those before a crash included."""
    rejected: int = 0
    """How many of them a policy kept from being made."""
    previous: float | None = None
    """The wait before the last try."""
    spent: list[float] = field(default_factory=list)
    """What the retries cost, in tokens."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Another attempt after a failed one, as the policy says and the budget allows."""

    policy: RetryPolicy
    budget: Budget | None = None
    breaker: CircuitBreaker | None = None
    """The one inside."""

    async def __call__(self, call: Call, inner: Handler) -> Any:
        """Run the call until it succeeds or the policy gives up; raises the last error."""
        tries = _Tries(call.clock.monotonic(), call.attempt - call.forgiven)
        while True:
            try:
                output = await inner(call)
            except StoreError:
                raise  # the record could not be written: trying again would repeat the effect, unrecorded
            except Exception as error:
                if not self._free(error):
                    tries.made += 1
                    tries.rejected += isinstance(error, RejectedError)
                verdict = self._judge(call, tries, error)
                if not verdict.retry:
                    raise
            else:
                if self.budget is not None:
                    self.budget.succeeded(tries.spent)
                return output
            if verdict.delay > 0:
                # Whoever looks on, or looks later after a crash, sees what is waited for.
                await call.record.written()
            await call.clock.sleep(verdict.delay)

    def _free(self, error: Exception) -> bool:
        """Whether a try does not count: while the breaker tries out other calls there is only waiting."""
        waits = self.policy.strategy == "circuit_breaker"
        return waits and isinstance(error, BreakerOpenError) and error.state == "half_open"

    def _hints(self, call: Call, error: Exception) -> Hints:
        asked = retry_after(error, call.clock.now_us()) if self.policy.retry_after else None
        rejected = isinstance(error, BreakerOpenError)
        if rejected and self.breaker is not None and self.breaker.state == "forced_open":
            return Hints(asked, math.inf)
        if self.policy.strategy != "circuit_breaker":
            # Not what the error says: beside a hedge that was rejected another one may have gone on for long.
            return Hints(asked, self.breaker.reopens_in() if rejected and self.breaker else None)
        if not isinstance(error, BreakerOpenError):
            return Hints(asked, None if self.breaker is None else self.breaker.reopens_in())
        if error.state == "open":
            return Hints(asked, error.retry_in)
        # It tries out other calls and may be done at any moment: look again after the policy's own delay.
        return Hints(asked, None if self.policy.delay else MIN_WAIT_S)

    def _judge(self, call: Call, tries: _Tries, error: Exception) -> RetryVerdict:
        """Decide, take the tokens, and write the decision down."""
        policy, elapsed = self.policy, call.clock.monotonic() - tries.start
        hints = self._hints(call, error)
        verdict = decide(policy, max(1, tries.made), error, elapsed, call.rng, tries.previous, hints)
        if verdict.rule == "max_attempts" and tries.rejected:
            reason = f"all {policy.max_attempts} tries are used up, {tries.rejected} of them rejected"
            verdict = replace(verdict, reason=reason)
        inputs = {
            "attempt": call.attempt,
            "max_attempts": policy.max_attempts,
            "strategy": policy.strategy,
            "jitter": policy.jitter,
            "elapsed_s": round(elapsed, 6),
            "error": error_message(error),
            "error_type": error_name(error),
        }
        if hints.retry_after is not None:
            inputs["retry_after_s"] = round(hints.retry_after, 6)
        waits_for_it = policy.strategy == "circuit_breaker" or verdict.rule == "breaker"
        if waits_for_it and hints.reopens_in is not None and hints.reopens_in < math.inf:
            inputs["reopens_in_s"] = round(hints.reopens_in, 6)
        # Tokens spare the service: a call that was kept from it costs none.
        if self.budget is not None and verdict.retry and not isinstance(error, RejectedError):
            verdict = _paid(self.budget, verdict, tries, inputs)
        inputs |= {"rule": verdict.rule, "delay_s": round(verdict.delay, 6)}
        tries.previous = verdict.delay
        call.record.decided("retry", "retry" if verdict.retry else "give_up", verdict.reason, inputs)
        return verdict


def _paid(budget: Budget, verdict: RetryVerdict, tries: _Tries, inputs: dict[str, Any]) -> RetryVerdict:
    """The verdict when the tokens could be taken; giving up when there are too few."""
    cost = retry_cost(budget.policy, verdict.traits)
    enough = budget.spend(cost)
    tokens = budget.tokens
    inputs |= {"budget": budget.name, "cost": cost, "tokens_left": round(tokens, 6)}
    if enough:
        tries.spent.append(cost)
        return verdict
    reason = f"the retry budget {budget.name!r} has {tokens:g} tokens left and a retry costs {cost:g}"
    return RetryVerdict(False, 0.0, reason, "budget", verdict.traits)
