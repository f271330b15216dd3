"""Where a run and its results come from, and where they went: keys, forks, the cache, other runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchkit.analysis.facts import Facts
from orchkit.analysis.words import listing, plural, shorten
from orchkit.model.state import DecisionState, RunState, StepState

_LONGEST_KEY = 80
_HOW = {
    "fork": "from which this run was forked",
    "cache": "which had the same code and the same input",
}
_OVERRIDES = {"input": "another input", "function": "another function"}


def lines(facts: Facts) -> Iterator[str]:
    """For the story of a run: why it was executed, what it shares with which other runs."""
    yield from _key(facts)
    yield from _fork(facts)
    yield from _cached(facts)
    yield from _shared_by(facts)


def key_of(state: RunState) -> str | None:
    """The idempotency key that a run was executed under; None when there was none."""
    for one in state.decisions:
        if one.by_engine and one.step_id is None and one.point == "idempotency":
            key = _inputs(one).get("key")
            return shorten(key, _LONGEST_KEY) if key else None
    return None


def source_of(step: StepState) -> str | None:
    """Whose recorded result a step shows: ``load in run_1``; None when it is its own."""
    return whose(step.source)


def source_run(step: StepState) -> str | None:
    """The run of that result, with its step only where that has another name."""
    if step.source is None:
        return None
    run_id, step_id = step.source.get("run_id"), step.source.get("step_id")
    return str(run_id or "?") if step_id == step.step_id else source_of(step)


def whose(source: Mapping[str, Any] | None) -> str | None:
    """The same of what is on record about a result."""
    if source is None:
        return None
    return " in ".join(str(source.get(name) or "?") for name in ("step_id", "run_id"))


def reused(step: StepState) -> str:
    """The story of a step that shows the result of another one."""
    assert step.source is not None
    why = _HOW.get(step.source.get("how", ""))
    told = f"{step.step_id} was not run: its result is that of {source_of(step)}"
    return f"{told}, {why}" if why else told


def was_given(facts: Facts, step: StepState) -> bool:
    """Whether the output of a step was given to a fork, instead of running it."""
    return any(
        (one.point, one.decision) == ("fork", "given") and one.by_engine
        for one in facts.decisions.get(step.step_id, ())
    )


def fork_start(state: RunState) -> list[str]:
    """The steps from which on a fork was run; empty when all of it was, and for other runs."""
    found = (state.forked_from or {}).get("from_step")
    return [found] if isinstance(found, str) else _texts(found)


def _texts(found: object) -> list[str]:
    return [str(one) for one in found] if isinstance(found, Iterable) else []


def _inputs(decision: DecisionState) -> Mapping[str, Any]:
    found = decision.payload.get("input_data")
    return found if isinstance(found, Mapping) else {}


def _key(facts: Facts) -> Iterator[str]:
    for one in facts.decisions.get(None, ()):
        if one.by_engine and (one.point, one.decision) == ("idempotency", "execute"):
            key, number = shorten(_inputs(one).get("key"), _LONGEST_KEY), _inputs(one).get("execution")
            again = (
                f"; it is execution {number} of that request"
                if isinstance(number, int) and number > 1
                else ""
            )
            yield f"It was executed under the idempotency key {key} because {one.rationale}{again}"
    if facts.known.replays:
        times = plural(facts.known.replays, "later request")
        yield f"Its recorded result has answered {times} with this key"


def _fork(facts: Facts) -> Iterator[str]:
    if facts.state.forked_from is None:
        return
    starts = fork_start(facts.state)
    where = f" at {listing(starts)}" if starts else ""
    shared = [step.step_id for step in facts.own_steps if (step.source or {}).get("how") == "fork"]
    whose = (
        f"{'the result' if len(shared) == 1 else 'the results'} of {listing(shared)}" if shared else "nothing"
    )
    yield f"It was forked from {facts.state.forked_from.get('run_id')}{where} and shares {whose} with it"
    decision = facts.decided(None, "fork")
    overrides = _inputs(decision).get("overrides") if decision is not None else None
    if isinstance(overrides, Mapping) and overrides:
        yield f"Different in the fork: {listing(_override(*one) for one in overrides.items())}"


def _override(step_id: str, override: object) -> str:
    """``load with another input``."""
    kinds = list(override) if isinstance(override, Mapping) else []
    if "output" in kinds:
        return f"{step_id}, whose output was given"
    return f"{step_id} with {listing(_OVERRIDES.get(kind, str(kind)) for kind in kinds)}"


def _cached(facts: Facts) -> Iterator[str]:
    found = [step for step in facts.state.steps.values() if (step.source or {}).get("how") == "cache"]
    if found:
        names = listing(f"{step.step_id} (of {source_run(step)})" for step in found)
        yield f"{plural(len(found), 'result')} from the cache: {names}"


def _shared_by(facts: Facts) -> Iterator[str]:
    shared = facts.known.shared_by
    if shared:
        names = listing(f"{run_id} ({plural(steps, 'step')})" for run_id, steps in shared.items())
        yield f"Its results are shared by {plural(len(shared), 'other run')}: {names}"
