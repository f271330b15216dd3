"""What the name of an error tells of it: which policies would mean it, and where only the error knows."""

from __future__ import annotations

import builtins
import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from orchkit import errors
from orchkit.model.breaker import BreakerPolicy
from orchkit.model.budget import BudgetPolicy
from orchkit.model.retry import RetryPolicy
from orchkit.reliability.breaker import Outcome, outcome_of
from orchkit.reliability.budget import retry_cost
from orchkit.reliability.traits import traits_of

ALL: Final = ("Exception",)


@dataclass(frozen=True, slots=True)
class Named:
    """An error of which the name is known, as far as that goes."""

    error: Exception
    """One of this class, or of a class of this name."""
    traits: frozenset[str]
    certain: bool
    """Whether the name tells all: foreign errors may carry an HTTP status, and have unknown bases."""


@lru_cache(maxsize=10_000)
def named(name: str | None) -> Named:
    """The error of a name as it stands on record; None: nothing is known of it."""
    if name is None:
        return Named(Exception(), frozenset(("Exception",)), False)
    kind, ours = _class_named(name)
    error = kind.__new__(kind)
    traits = traits_of(error)
    # What could not even connect, or took too long, has brought no status.
    certain = ours or (kind.__module__ in sys.modules and not traits.isdisjoint(("connection", "timeout")))
    return Named(error, traits, certain)


def _class_named(name: str) -> tuple[type[Exception], bool]:
    """A class of this name, and whether it is the very one."""
    for place in (builtins, errors):
        found = getattr(place, name, None)
        if isinstance(found, type) and issubclass(found, Exception):
            return found, True
    module, _, bare = name.rpartition(".")
    found = getattr(sys.modules.get(module), bare, None)
    if isinstance(found, type) and issubclass(found, Exception):
        return found, False
    return type(bare, (Exception,), {"__module__": module or "unknown"}), False


def retried(policy: RetryPolicy, name: str | None, rule: str | None) -> bool | None:
    """Whether a policy retries an error at all; None: the name does not tell.

    ``rule`` is what a policy with the same selectors decided about this very error; None: there was none.
    """
    if rule is not None:
        return rule not in ("classifier", "give_up_on", "retry_on")
    if policy.classifier is not None:
        return None
    error = named(name)
    if not error.traits.isdisjoint(policy.give_up_on):
        return False
    if policy.give_up_on and not error.certain:
        return None
    if not error.traits.isdisjoint(policy.retry_on):
        return True
    return False if error.certain else None


def may_ask(name: str | None) -> bool:
    """Whether an error may ask to wait: an answer of a service, of a class that is not Python's or ours."""
    return name is None or (not named(name).certain and name.replace(".", "_").isidentifier())


def same_selectors(one: RetryPolicy, other: RetryPolicy) -> bool:
    """Whether two policies mean the same errors."""
    return all(
        getattr(one, name) == getattr(other, name) for name in ("retry_on", "give_up_on", "classifier")
    )


def outcomes(policy: BreakerPolicy, name: str | None) -> frozenset[Outcome]:
    """What an error may mean to a circuit breaker."""
    error = named(name)
    if error.certain or (not policy.ignore and policy.failure_on == ALL):
        return frozenset((outcome_of(policy, error.error),))
    if not error.traits.isdisjoint(policy.ignore):
        return frozenset(("ignored",))
    return frozenset(("failure", "ignored"))


def costs(policy: BudgetPolicy, name: str | None) -> tuple[float, float]:
    """The least and the most that a retry after an error may cost, in tokens."""
    error = named(name)
    if error.certain or not policy.costs:
        cost = retry_cost(policy, error.traits)
        return cost, cost
    every = [policy.cost, *policy.costs.values()]
    every += [] if policy.timeout_cost is None else [policy.timeout_cost]
    return min(every), max(every)
