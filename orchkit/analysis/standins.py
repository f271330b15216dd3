"""What stood in for a call: tries that a policy rejected, and a fallback that gave the result."""

from __future__ import annotations

from orchkit.analysis.facts import Facts
from orchkit.analysis.words import error_text, ordinal, plural, without_modules
from orchkit.model.state import DecisionState, StepState

_REJECTING = ("breaker", "bulkhead", "rate_limit")


def stand_in(facts: Facts, step: StepState) -> DecisionState | None:
    """The decision by which a fallback gave the result of a step; None: the step gave it itself."""
    if step.status != "success" or step.source is not None:
        return None
    if step.attempts and step.attempts[-1].status == "success":
        return None
    made = [one for one in _since_it_began(facts, step) if one.point == "fallback"]
    return made[-1] if made and made[-1].decision == "used" else None


def rejections(facts: Facts, step: StepState, after: int | None = None) -> list[DecisionState]:
    """The tries that a policy kept from being made, all or those after this attempt (0: before the first)."""
    return [
        one
        for one in _since_it_began(facts, step)
        if one.point in _REJECTING
        and one.decision == "rejected"
        and (after is None or (one.attempt or 0) == after)
    ]


def _since_it_began(facts: Facts, step: StepState) -> list[DecisionState]:
    """What the engine decided in the last life of a step."""
    began = step.scheduled_us or 0
    return [one for one in facts.decisions.get(step.step_id, ()) if one.by_engine and one.ts >= began]


def instead(facts: Facts, step: StepState, used: DecisionState) -> str:
    """``a value took the place of its result: mail was not called (BreakerOpenError: …)``."""
    inputs = used.payload.get("input_data")
    inputs = inputs if isinstance(inputs, dict) else {}
    what = inputs.get("fallback", "a fallback")
    error = ": ".join(
        filter(
            None,
            (without_modules(str(inputs.get("error_type") or "")), error_text(inputs.get("error") or "")),
        )
    )
    name = step.name or step.step_id
    tried = f"failed{tries(facts, step)}" if step.attempts else f"was not called{_all_rejected(facts, step)}"
    return f"{what} took the place of its result, because {name} {tried}" + (f" ({error})" if error else "")


def tries(facts: Facts, step: StepState) -> str:
    """How a step was tried: `` on the third attempt``, `` after 3 attempts and 2 rejected tries``."""
    count = len(step.attempts)
    rejected = len(rejections(facts, step, step.attempts[-1].number)) if step.attempts else 0
    if rejected:
        return f" after {plural(count, 'attempt')} and {plural(rejected, 'rejected try', 'rejected tries')}"
    return f" on the {ordinal(count)} attempt" if count else ""


def _all_rejected(facts: Facts, step: StepState) -> str:
    count = len(rejections(facts, step))
    return f" in {count:,} tries" if count > 1 else ""
