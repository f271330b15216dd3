"""The one seam through which every call goes: layers around an attempt, outermost first.

Order from outside in (a layer that is not asked for is not there)::

    TotalTimeout( Retry + Budget( AttemptRecord( AttemptTimeout( call ))))

A new policy is a `Layer` and one line in `build_pipeline`; the engine does not change.
"""

from __future__ import annotations

from functools import partial

from orchkit.model.policy import ReliabilityPolicy
from orchkit.model.retry import RetryPolicy
from orchkit.reliability.call import Handler, Layer, invoke, record_attempt
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
    if retry is not None and (retry.max_attempts > 1 or retry.budget is not None):
        layers.append(_retry(retry, guards, name))
    layers.append(record_attempt)
    if timeout is not None and timeout.attempt is not None:
        layers.append(AttemptTimeout(timeout.attempt))
    return compose(layers) if len(layers) > 1 else BARE


def _retry(policy: RetryPolicy, guards: Guards, name: str) -> Retry:
    if policy.budget is None:
        return Retry(policy)
    return Retry(policy, guards.budgets.get_or_make(policy.budget.name or name, policy.budget))


def compose(layers: list[Layer]) -> Handler:
    """Nest the layers, the first outermost, around the body."""
    handler: Handler = invoke
    for layer in reversed(layers):
        handler = partial(layer, inner=handler)
    return handler


BARE: Handler = compose([record_attempt])
"""No policy: one recorded attempt."""
