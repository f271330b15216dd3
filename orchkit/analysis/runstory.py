"""The story of a whole run, line by line."""

from __future__ import annotations

from collections.abc import Iterator

from orchkit.analysis import choices
from orchkit.analysis.facts import OVER, Facts, counted, span_ms, tally
from orchkit.analysis.words import duration, error_text, listing, ordinal, plural
from orchkit.model.state import StepState

_ENDED = {
    "success": "succeeded",
    "failed": "failed",
    "partial": "ended partial",
    "cancelled": "was cancelled",
}
_GOES_ON = {"pending": "has not begun", "paused": "is paused", "running": "is running"}
_NO_ERROR = "no error is on the record"


def lines(facts: Facts) -> Iterator[str]:
    """How the run ended, what failed first, what that led to, and what else is on the record."""
    yield _ending(facts)
    yield from _failures(facts)
    yield from _not_run(facts)
    yield from _retries(facts)
    yield from _compensations(facts)
    yield from _under_way(facts)
    yield from _record(facts)


def _ending(facts: Facts) -> str:
    state, steps = facts.state, facts.own_steps
    name, counts = state.name or state.run_id or "The run", counted(steps)
    if state.status not in _ENDED:
        over = sum(counts[status] for status in OVER)
        return f"{name} {_GOES_ON[state.status]}: {over} of {plural(len(steps), 'step')} over"
    took = duration(span_ms(state.started_us, state.finished_us))
    head = f"{name} {_ENDED[state.status]} after {took}"
    if not steps:
        return f"{head}; it had no steps"
    if len(steps) == 1:
        return f"{head}: its only step {tally(counts).removeprefix('1 ')}"
    if counts["success"] == len(steps):
        return f"{head}: {'both' if len(steps) == 2 else f'all {len(steps):,}'} steps succeeded"
    return f"{head}: of {plural(len(steps), 'step')}, {tally(counts)}"


def _failures(facts: Facts) -> Iterator[str]:
    state = facts.state
    failed = [step for step in facts.own_steps if step.status == "failed"]
    failed.sort(key=lambda step: step.finished_us or 0)
    for number, step in enumerate(failed):
        head = "Then" if number else "The first failure was" if len(failed) > 1 else "What failed was"
        yield f"{head} {_failure(facts, step)}"
    if state.error and state.error not in {step.error for step in failed}:
        yield f"The recorded reason of the run: {error_text(state.error)}"


def _failure(facts: Facts, step: StepState) -> str:
    tries = len(step.attempts)
    when = facts.since_start(step.finished_us)
    tried = f" on its {ordinal(tries)} attempt" if tries > 1 else ""
    moment = f", {duration(when)} into the run" if when is not None else ""
    return f"{step.step_id}{tried}{moment}: {error_text(step.error or _NO_ERROR)}"


def _not_run(facts: Facts) -> Iterator[str]:
    """The skipped and cancelled steps, together where one reason holds for several."""
    groups: dict[tuple[str, str], list[str]] = {}
    for step in facts.own_steps:
        if step.status in ("skipped", "cancelled"):
            groups.setdefault((step.status, _why(facts, step)), []).append(step.step_id)
    for (status, why), step_ids in groups.items():
        if " it " in f" {why} ":  # said of one step only
            yield from (f"{step_id} was {status} {why}" for step_id in step_ids)
        else:
            yield f"{listing(step_ids)} {'was' if len(step_ids) == 1 else 'were'} {status} {why}"


def _why(facts: Facts, step: StepState) -> str:
    culprits = facts.culprits.get(step.step_id)
    if culprits:
        return f"because {listing(culprits)} failed"
    return f"because {error_text(step.reason)}" if step.reason else "without a reason on the record"


def _retries(facts: Facts) -> Iterator[str]:
    retried = [step for step in facts.state.steps.values() if len(step.attempts) > 1]
    recovered = [f"{step.step_id} ({len(step.attempts)})" for step in retried if step.status == "success"]
    if recovered:
        yield f"Succeeded only after retries (attempts): {listing(recovered)}"


def _compensations(facts: Facts) -> Iterator[str]:
    done = [(undone, step) for undone, step in facts.compensations.items() if step.status == "success"]
    if done:
        yield f"Undone again: {listing(f'{undone} by {step.name}' for undone, step in done)}"
    for undone, step in facts.compensations.items():
        if step.status == "failed":
            yield f"Undoing {undone} with {step.name} failed: {error_text(step.error or _NO_ERROR)}"


def _under_way(facts: Facts) -> Iterator[str]:
    running = [step for step in facts.own_steps if step.status == "running"]
    if running:
        yield f"Running now: {listing(map(_with_attempt, running))}"


def _with_attempt(step: StepState) -> str:
    return f"{step.step_id} (attempt {len(step.attempts)})" if len(step.attempts) > 1 else step.step_id


def _record(facts: Facts) -> Iterator[str]:
    state = facts.state
    if not state.decisions and not state.evidence:
        return
    engine = sum(decision.by_engine for decision in state.decisions)
    counts = ((engine, True), (len(state.decisions) - engine, False))
    said = [choices.decisions(count, by_engine=by_engine) for count, by_engine in counts if count]
    said += [choices.pieces(len(state.evidence))] if state.evidence else []
    yield f"On the record: {listing(said)}"
