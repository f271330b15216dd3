"""How a step was tried: under which policy, how often, and what was made of each failure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from orchkit.analysis import policytext, standins
from orchkit.analysis.facts import Facts, span_ms
from orchkit.analysis.liveness import CUT_OFF, IN_DOUBT
from orchkit.analysis.words import duration, error_text, listing, plural, without_modules
from orchkit.model.state import AttemptState, DecisionState, StepState

_WORDS = {
    "success": "succeeded",
    "timeout": "ran into its timeout",
    "running": "is running",
    CUT_OFF: "was cut off",
    IN_DOUBT: "is in doubt: it had begun when the process ended; whether it took effect is not known",
}
_OWN_TIMEOUT = "TimeoutExceededError"


def lines(facts: Facts, step: StepState) -> Iterator[str]:
    """The policy, and the attempts where there is something to tell of them."""
    yield from _policy(facts, step)
    yield from _attempts(facts, step)
    yield from _raised(facts, step)


# --- the policy ----------------------------------------------------------------------------


def _policy(facts: Facts, step: StepState) -> Iterator[str]:
    """Which policy holds and what comes from it; apart from that, what the step sets itself."""
    chosen = _chosen(facts, step)
    if chosen is None or not (step.attempts or standins.rejections(facts, step)):
        return
    own, limits = _overrides(chosen), policytext.limits(_inputs(chosen))
    why = f", because {chosen.rationale}" if chosen.rationale else ""
    shared = [limit for name, limit in limits.items() if name not in own]
    text = f"Its policy is {chosen.decision!r}{why}" + (f": {listing(shared)}" if shared else "")
    yield text + "".join(
        f"; its own {name.replace('_', ' ')}: {limit}" for name, limit in limits.items() if name in own
    )


def _chosen(facts: Facts, step: StepState) -> DecisionState | None:
    """The choice that is recorded for the step or for its map, else the one for the operation in this run.

    A choice with settings of a step holds for that step (or the items of that map) alone.
    """
    steps = facts.state.steps
    made = [one for one in reversed(facts.state.decisions) if one.point == "policy.selected"]
    for one in made:
        if one.step_id == step.step_id:
            return one
    siblings = facts.items.get(step.parent, []) if step.parent is not None else []
    around = {step.parent, *(item.step_id for item in siblings)} - {None}
    made.sort(key=lambda one: one.step_id not in around)
    for one in made:
        holds = one.step_id in around or not _overrides(one)
        if holds and step.name in _operations(one, steps.get(one.step_id or "")):
            return one
    return None


def _operations(chosen: DecisionState, step: StepState | None) -> tuple[Any, ...]:
    """The names of what the choice was made for."""
    named = _inputs(chosen).get("operation")
    return (named,) if step is None else (named, step.name)


def _inputs(chosen: DecisionState) -> Mapping[str, Any]:
    inputs = chosen.payload.get("input_data")
    return inputs if isinstance(inputs, Mapping) else {}


def _overrides(chosen: DecisionState) -> Collection[Any]:
    """What the step itself sets; older records do not say."""
    own = _inputs(chosen).get("overrides")
    return own if isinstance(own, list | tuple) else ()


# --- the attempts --------------------------------------------------------------------------


def _attempts(facts: Facts, step: StepState) -> Iterator[str]:
    attempts, rejected = step.attempts, standins.rejections(facts, step)
    verdicts: dict[int, list[DecisionState]] = {}
    for one in facts.decisions.get(step.step_id, ()):
        if one.point == "retry" and one.by_engine:
            verdicts.setdefault(one.attempt or 0, []).append(one)
    told = any(one.abandoned or one.status == "in_doubt" for one in attempts)
    if not attempts or (len(attempts) < 2 and not told and not rejected):
        yield from _why_no_more(verdicts, attempts)
        yield from _rejected(verdicts.get(0, []), len(rejected) if 0 in verdicts else 0)
        return
    yield f"Its {plural(len(attempts), 'attempt')}:"
    yield from (f"  {line}" for line in _rejected(verdicts.get(0, []), _count(facts, step, 0)))
    following: dict[int, AttemptState] = {one.number: other for one, other in pairwise(attempts)}
    for attempt in attempts:
        made = verdicts.get(attempt.number, [])
        then = _then(made[0] if made else None, attempt, following)
        yield f"  {attempt.number}. {_attempt(facts, attempt)}{then}"
        count = _count(facts, step, attempt.number)
        yield from (f"  {line}" for line in _rejected(made, count))


def _count(facts: Facts, step: StepState, number: int) -> int:
    return len(standins.rejections(facts, step, number))


def _why_no_more(
    verdicts: Mapping[int, list[DecisionState]], attempts: Sequence[AttemptState]
) -> Iterator[str]:
    """Why a single attempt that failed was not followed by another one, where there might have been one."""
    for attempt in attempts:
        for verdict in verdicts.get(attempt.number, []):
            if verdict.decision != "retry" and _inputs(verdict).get("max_attempts", 1) > 1:
                why = without_modules(verdict.rationale or "no reason is on the record")
                yield f"There was no further attempt: {why}"


def _rejected(verdicts: Sequence[DecisionState], count: int) -> Iterator[str]:
    """Tries that came to nothing: why, and what the retry policy made of the last one."""
    if not count:
        return
    last = verdicts[-1] if verdicts else None
    end = f"; no further try ({last.rationale})" if last is not None and last.decision != "retry" else ""
    why = _inputs(last).get("error") if last is not None else None
    yield f"{plural(count, 'try was', 'tries were')} rejected" + (f": {error_text(why)}" if why else "") + end


def _attempt(facts: Facts, attempt: AttemptState) -> str:
    took = span_ms(attempt.started_us, attempt.finished_us)
    standing = facts.standing(attempt.status)
    text = _WORDS.get(standing, standing)
    text += f" after {duration(took)}" if took is not None else ""
    error = error_text(attempt.error) if attempt.error else ""
    if attempt.status == "timeout" and error.startswith(_OWN_TIMEOUT):
        error = ""  # is what has been said already
    text += f": {error}" if error else ""
    return text + ("; its thread went on, its late result was discarded" if attempt.abandoned else "")


def _then(verdict: DecisionState | None, attempt: AttemptState, following: Mapping[int, AttemptState]) -> str:
    """What the retry policy made of it. Why it tries again is the error, which has just been told."""
    if verdict is None:
        return ""
    if verdict.decision != "retry":
        why = f" ({without_modules(verdict.rationale)})" if verdict.rationale else ""
        return f"; no further attempt{why}"
    planned = _inputs(verdict).get("delay_s")
    why = (verdict.rationale or "").partition("; ")[2]
    because = f", because {why}" if why else ""
    if planned == 0:
        return f"; then at once{because}"
    later = following.get(attempt.number)
    waited = span_ms(attempt.finished_us, later.started_us) if later is not None else None
    if waited is None and planned is not None:
        waited = planned * 1000
    return f"; then a wait of {duration(waited)}{because}"


def _raised(facts: Facts, step: StepState) -> Iterator[str]:
    """Where the last error of a step that failed came from."""
    if step.status == "failed" and step.attempts and step.attempts[-1].where:
        last = step.attempts[-1]
        innermost, *before = reversed(last.where)
        what = "The error of its last attempt" if _count(facts, step, last.number) else "It"
        yield (
            f"{what} was raised at {innermost}"
            + (f", called from {', from '.join(before)}" if before else "")
            + "."
        )
