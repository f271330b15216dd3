"""The one seam through which every call goes: layers around an attempt, outermost first.

Order from outside in (a layer that is not asked for is not there)::

    Fallback( TotalTimeout( Retry + Budget( Hedge( Breaker( RateLimit( Bulkhead(
        AttemptRecord( AttemptTimeout( FaultInjection( call )))))))))

What rejects a call – breaker, rate limit, bulkhead – is outside of the recorded attempt: a call that is not
made is a decision, no attempt. A new policy is a `Layer` and a line below; the engine does not change.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from orchkit.errors import PolicyError
from orchkit.model.fallback import FallbackOption
from orchkit.model.policy import ReliabilityPolicy
from orchkit.reliability.breaking import Breaking
from orchkit.reliability.bulkhead import Concurrency
from orchkit.reliability.call import Handler, Layer, invoke, record_attempt
from orchkit.reliability.fallback import CallTool, Fallback, Substitute, substitute
from orchkit.reliability.faults import FaultInjection
from orchkit.reliability.guards import Guards
from orchkit.reliability.hedge import Hedge
from orchkit.reliability.ratelimit import Pace
from orchkit.reliability.retrying import Retry
from orchkit.reliability.timeout import AttemptTimeout, TotalTimeout


def no_tools(option: FallbackOption) -> Substitute:
    """Where tools cannot be called."""
    raise PolicyError("fallback", f"{option} cannot be called here: give a value or a function")


def build_pipeline(
    policy: ReliabilityPolicy, guards: Guards, name: str, call_tool: CallTool = no_tools
) -> Handler:
    """The handler for these policies; the same object `BARE` when there are none.

    ``name`` is what breakers, budgets and the like are shared under when their policy does not say.
    """
    layers = [
        *_around_all(policy, call_tool),
        *_around_tries(policy, guards, name),
        record_attempt,
        *_around_the_body(policy, guards, name),
    ]
    return compose(layers) if len(layers) > 1 else BARE


def _around_all(policy: ReliabilityPolicy, call_tool: CallTool) -> Iterator[Layer]:
    if policy.fallback is not None:
        yield Fallback(tuple((option, substitute(option, call_tool)) for option in policy.fallback.chain))
    if policy.timeout is not None and policy.timeout.total is not None:
        yield TotalTimeout(policy.timeout.total)


def _around_tries(policy: ReliabilityPolicy, guards: Guards, name: str) -> Iterator[Layer]:
    """What sees each try: retries outside, and inside of them what may reject one."""
    retry, breaker = policy.retry, guards.breaker_for(policy.breaker, name)
    if retry is not None and (retry.max_attempts > 1 or retry.budget is not None):
        yield Retry(retry, guards.budget_for(retry.budget, name), breaker)
    if policy.hedge is not None:
        yield Hedge(policy.hedge)
    if breaker is not None:
        yield Breaking(breaker)
    if policy.rate_limit is not None:
        yield Pace(guards.rate_limits.get_or_make(policy.rate_limit.name or name, policy.rate_limit))
    if policy.bulkhead is not None:
        yield Concurrency(guards.bulkheads.get_or_make(policy.bulkhead.name or name, policy.bulkhead))


def _around_the_body(policy: ReliabilityPolicy, guards: Guards, name: str) -> Iterator[Layer]:
    if policy.timeout is not None and policy.timeout.attempt is not None:
        yield AttemptTimeout(policy.timeout.attempt)
    if policy.faults is not None and not policy.faults.idle:
        yield FaultInjection(guards.injectors.get_or_make(policy.faults.name or name, policy.faults))


def compose(layers: list[Layer]) -> Handler:
    """Nest the layers, the first outermost, around the body."""
    handler: Handler = invoke
    for layer in reversed(layers):
        handler = partial(layer, inner=handler)
    return handler


BARE: Handler = compose([record_attempt])
"""No policy: one recorded attempt."""
