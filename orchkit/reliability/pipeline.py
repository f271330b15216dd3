"""The one seam through which every call goes: layers around an attempt, outermost first.

Order from outside in (a layer that is not asked for is not there)::

    TotalTimeout( Retry + Budget( Breaker( AttemptRecord( AttemptTimeout( call )))))

A new policy is a `Layer` and one line in `build_pipeline`; the engine does not change.
"""

from __future__ import annotations

from functools import partial

from orchkit.model.breaker import BreakerPolicy
from orchkit.model.budget import BudgetPolicy
from orchkit.model.policy import ReliabilityPolicy
from orchkit.reliability.breaking import Breaking
from orchkit.reliability.budget import Budget
from orchkit.reliability.call import Handler, Layer, invoke, record_attempt
from orchkit.reliability.circuit import CircuitBreaker
from orchkit.reliability.guards import Guards
from orchkit.reliability.retrying import Retry
from orchkit.reliability.timeout import AttemptTimeout, TotalTimeout


def build_pipeline(policy: ReliabilityPolicy, guards: Guards, name: str) -> Handler:
    """The handler for these policies; the same object `BARE` when there are none.

    ``name`` is what budgets and the like are shared under when their policy does not say.
    """
    layers: list[Layer] = []
    timeout, retry = policy.timeout, policy.retry
    if timeout is not None and timeout.total is not None:
        layers.append(TotalTimeout(timeout.total))
    breaker = _breaker(policy.breaker, guards, name)
    if retry is not None and (retry.max_attempts > 1 or retry.budget is not None):
        layers.append(Retry(retry, _budget(retry.budget, guards, name), breaker))
    if breaker is not None:
        layers.append(Breaking(breaker))
    layers.append(record_attempt)
    if timeout is not None and timeout.attempt is not None:
        layers.append(AttemptTimeout(timeout.attempt))
    return compose(layers) if len(layers) > 1 else BARE


def _breaker(policy: BreakerPolicy | None, guards: Guards, name: str) -> CircuitBreaker | None:
    if policy is None or not policy.enabled:
        return None
    return guards.breakers.get_or_make(policy.name or name, policy)


def _budget(policy: BudgetPolicy | None, guards: Guards, name: str) -> Budget | None:
    return None if policy is None else guards.budgets.get_or_make(policy.name or name, policy)


def compose(layers: list[Layer]) -> Handler:
    """Nest the layers, the first outermost, around the body."""
    handler: Handler = invoke
    for layer in reversed(layers):
        handler = partial(layer, inner=handler)
    return handler


BARE: Handler = compose([record_attempt])
"""No policy: one recorded attempt."""
