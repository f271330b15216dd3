"""Whether the policies of steps can work: with the tools, functions and names that they mention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchkit.engine.calls import fallback_problems
from orchkit.engine.draft import Draft, step_name
from orchkit.errors import OrchkitError, PolicyError, Problem
from orchkit.model.base import Record
from orchkit.model.fallback import arguments_of
from orchkit.model.workflow import StepDefinition
from orchkit.reliability.functions import load

_SHARED = ("breaker", "bulkhead", "rate_limit", "faults")
"""Parts whose state calls share by name."""


def policy_problems(draft: Draft, step: StepDefinition) -> Iterator[Problem]:
    """What is wrong with the policies of a step; one that only makes no sense is a warning, not a problem."""
    policy = step.reliability
    if step.workflow is not None or not policy.parts:
        return
    yield from _functions(step)
    yield from _hedge(draft, step)
    for option in policy.fallback.chain if policy.fallback is not None else ():
        if option.tool is not None:
            yield from fallback_problems(draft, step, option.tool, option.params)
    yield from _names(draft, step)


def _hedge(draft: Draft, step: StepDefinition) -> Iterator[Problem]:
    if step.hedge is None:
        return
    target = draft.lookup(step.tool_name)
    if isinstance(target, OrchkitError) or target.method.idempotent:
        return
    cause = f"hedge: {target.name!r} is not declared idempotent, and would be called twice"
    yield Problem(step_name(step.step_id), cause, "register it with idempotent=True if that does no harm")


def _functions(step: StepDefinition) -> Iterator[Problem]:
    """Functions that are named by a text must be there."""
    for what, function in _named(step):
        try:
            found = load(what, function)
            if what == "fallback":
                arguments_of(found)
        except PolicyError as error:
            yield Problem(step_name(step.step_id), f"{what}: {error.cause}")
        except ValueError as error:
            yield Problem(step_name(step.step_id), f"{what}: {error}")


def _named(step: StepDefinition) -> Iterator[tuple[str, str]]:
    retry, found = step.retry_policy, list[tuple[str, Any]]()
    if retry is not None:
        found += [("retry wait", retry.wait), ("retry classifier", retry.classifier)]
    if step.faults is not None:
        found.append(("faults error", step.faults.error))
    if step.fallback is not None:
        found += [("fallback", option.function) for option in step.fallback.chain]
    return ((what, function) for what, function in found if isinstance(function, str))


def _names(draft: Draft, step: StepDefinition) -> Iterator[Problem]:
    """One name stands for one thing: what steps share they must set alike."""
    for what, name, part in _shared(step):
        first = draft.shared.setdefault((what, name), (step.step_id, part))
        if first[1] != part:
            cause = f"{what} {name!r} has other settings than in step {first[0]!r}"
            yield Problem(step_name(step.step_id), cause, "calls that name the same one share it")


def _shared(step: StepDefinition) -> Iterator[tuple[str, str, Record]]:
    for what in _SHARED:
        part = getattr(step, what)
        if part is not None and part.name is not None:
            yield what, part.name, part
    budget = step.retry_policy.budget if step.retry_policy is not None else None
    if budget is not None and budget.name is not None:
        yield "retry budget", budget.name, budget
