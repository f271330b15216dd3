"""The story of one step, line by line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from orchkit.analysis.facts import COMPENSATION, OVER, Facts, counted, span_ms, tally
from orchkit.analysis.links import Link
from orchkit.analysis.words import duration, listing, ordinal, plural, shorten
from orchkit.model.event import Event
from orchkit.model.state import AttemptState, DecisionState, StepState

_LONGEST_ERROR = 300
_LONGEST_VALUE = 60
_NO_ERROR = "no error is on the record"
_TOLD_ELSEWHERE = ("policy.selected", "condition", "skip", "retry", "map.expanded")


def lines(facts: Facts, step: StepState) -> Iterator[str]:
    """What the step did and how it ended, what it waited for, why, and what it put on the record."""
    yield _ending(facts, step)
    yield from _kind(facts, step)
    yield from _waits(facts, step)
    yield from _condition(facts, step)
    yield from _policy(facts, step)
    yield from _attempts(facts, step)
    yield from _consequences(facts, step)
    yield from _choices(facts, step)
    yield from _evidence(facts, step)


# --- how it ended --------------------------------------------------------------------------


def _ending(facts: Facts, step: StepState) -> str:
    return _ENDINGS[step.status](facts, step)


def _succeeded(facts: Facts, step: StepState) -> str:
    return f"{step.step_id} {_called(step)}succeeded{_on_attempt(step)}{_after(step)}"


def _failed(facts: Facts, step: StepState) -> str:
    error = shorten(step.error or _NO_ERROR, _LONGEST_ERROR)
    if step.reason:
        error += f" ({step.reason})"
    if not step.attempts and not facts.items.get(step.step_id) and not _is_workflow(facts, step):
        return f"{step.step_id} failed before its first attempt: {error}"
    return f"{step.step_id} {_called(step)}failed{_on_attempt(step)}{_after(step)}: {error}"


def _skipped(facts: Facts, step: StepState) -> str:
    return f"{step.step_id} did not run{_because(step)}"


def _cancelled(facts: Facts, step: StepState) -> str:
    if step.scheduled_us is None:
        return f"{step.step_id} was cancelled before it began{_because(step)}"
    return f"{step.step_id} {_called(step)}was cancelled{_on_attempt(step)}{_after(step)}{_because(step)}"


def _running(facts: Facts, step: StepState) -> str:
    so_far = span_ms(step.scheduled_us, facts.state.last_us)
    text = f"{step.step_id} is running{' ' + step.name if step.name else ''}"
    if len(step.attempts) > 1:
        text += f", attempt {len(step.attempts)}"
    if so_far is not None:
        text += f", {duration(so_far)} so far"
    said = [f"{step.progress:.0%}"] if step.progress is not None else []
    said += [shorten(step.progress_message, _LONGEST_VALUE)] if step.progress_message else []
    return text + (f" ({', '.join(said)})" if said else "")


def _pending(facts: Facts, step: StepState) -> str:
    steps = facts.state.steps
    sources = [link.source for link in facts.links_into.get(step.step_id, ())]
    missing = [source for source in sources if source in steps and steps[source].status not in OVER]
    return f"{step.step_id} has not begun" + (f"; it waits for {listing(missing)}" if missing else "")


_ENDINGS: Mapping[str, Callable[[Facts, StepState], str]] = {
    "success": _succeeded,
    "failed": _failed,
    "skipped": _skipped,
    "cancelled": _cancelled,
    "running": _running,
    "pending": _pending,
}


def _called(step: StepState) -> str:
    return f"called {step.name} and " if step.name else ""


def _on_attempt(step: StepState) -> str:
    return f" on the {ordinal(len(step.attempts))} attempt" if step.attempts else ""


def _after(step: StepState) -> str:
    took = span_ms(step.scheduled_us, step.finished_us)
    return "" if took is None else f" after {duration(took)}"


def _because(step: StepState) -> str:
    return f" because {step.reason}" if step.reason else ""


def _is_workflow(facts: Facts, step: StepState) -> bool:
    definition = facts.definitions.get(step.step_id)
    return step.node_type == "workflow" or (definition is not None and definition.workflow is not None)


def _kind(facts: Facts, step: StepState) -> Iterator[str]:
    """What sets it apart from a plain step."""
    items = facts.items.get(step.step_id, [])
    if items:
        yield f"It is a map over {plural(len(items), 'item')}: {tally(counted(items))}"
        failed = [item for item in items if item.status == "failed"]
        for item in failed[:3]:
            yield f"  {item.step_id}: {shorten(item.error or _NO_ERROR, _LONGEST_ERROR)}"
    elif step.parent is not None:
        yield f"It is an item of the map {step.parent}"
    elif step.step_id.startswith(COMPENSATION):
        yield f"It undoes {step.step_id.removeprefix(COMPENSATION)}"
    elif _is_workflow(facts, step):
        yield "It is a sub-workflow with a run of its own"


# --- what it waited for --------------------------------------------------------------------


def _waits(facts: Facts, step: StepState) -> Iterator[str]:
    links = facts.links_into.get(step.step_id, [])
    if not links or step.status == "pending":
        return
    yield f"It {'would have come' if step.status == 'skipped' else 'came'} after {listing(map(_link, links))}"
    steps, ready = facts.state.steps, facts.since_start(step.scheduled_us)
    ended = [(steps[link.source].finished_us or 0, link.source) for link in links if link.source in steps]
    if ready is not None and ended and step.status != "skipped":
        last = f" the last of them, {max(ended)[1]}," if len(ended) > 1 else f" {ended[0][1]}"
        yield f"It could begin {duration(ready)} into the run, when{last} had ended"


def _link(link: Link) -> str:
    references = listing(link.references, most=3)
    why = {
        "data": f"it uses {references}",
        "condition": f"its condition looks at {references}",
        "dependency": "named in depends_on",
        "order": "the step before it",
    }
    return f"{link.source} ({why[link.kind]})"


def _condition(facts: Facts, step: StepState) -> Iterator[str]:
    definition = facts.definitions.get(step.step_id)
    decision = facts.decided(step.step_id, "condition")
    if decision is None:
        if definition is not None and definition.when:
            yield f"Its condition was not looked at: {definition.when}"
        return
    expression = definition.when if definition is not None and definition.when else decision.rationale or ""
    operands = decision.payload.get("input_data")
    values = ""
    if isinstance(operands, Mapping) and operands:
        values = " with " + listing(f"{name} = {_value(value)}" for name, value in operands.items())
    yield f"Its condition {expression} was {decision.decision}{values}"


# --- policy and attempts -------------------------------------------------------------------


def _policy(facts: Facts, step: StepState) -> Iterator[str]:
    chosen = facts.decided(step.step_id, "policy.selected") or _policy_of_run(facts, step)
    if chosen is None or not step.attempts:
        return
    inputs = chosen.payload.get("input_data")
    limits = _limits(inputs) if isinstance(inputs, Mapping) else []
    why = f", because {chosen.rationale}" if chosen.rationale else ""
    yield f"Its policy is {chosen.decision!r}{why}" + (f": {listing(limits)}" if limits else "")


def _policy_of_run(facts: Facts, step: StepState) -> DecisionState | None:
    """The choice is recorded once per run and tool, on the step that needed it first."""
    steps = facts.state.steps
    for decision in facts.state.decisions:
        other = steps.get(decision.step_id or "")
        if decision.point == "policy.selected" and other is not None and other.name == step.name:
            return decision
    return None


def _limits(inputs: Mapping[str, Any]) -> list[str]:
    found = []
    retry, timeout = inputs.get("retry"), inputs.get("timeout")
    if isinstance(retry, Mapping):
        tries, strategy = retry.get("max_attempts", 1), retry.get("strategy")
        found.append(f"up to {tries} attempts ({strategy})" if tries > 1 else "one attempt")
    if isinstance(timeout, Mapping):
        for name, what in (("attempt", "per attempt"), ("total", "in all")):
            if timeout.get(name) is not None:
                found.append(f"at most {duration(timeout[name] * 1000)} {what}")
    return found


def _attempts(facts: Facts, step: StepState) -> Iterator[str]:
    attempts = step.attempts
    if len(attempts) < 2 and not any(attempt.abandoned for attempt in attempts):
        return
    yield f"Its {plural(len(attempts), 'attempt')}:"
    verdicts = {one.attempt: one for one in facts.decisions.get(step.step_id, ()) if one.point == "retry"}
    following: dict[int, AttemptState] = {one.number: other for one, other in pairwise(attempts)}
    for attempt in attempts:
        then = _then(verdicts.get(attempt.number), attempt, following)
        yield f"  {attempt.number}. {_attempt(attempt)}{then}"


def _attempt(attempt: AttemptState) -> str:
    words = {"success": "succeeded", "timeout": "ran into its timeout", "running": "is running"}
    took = span_ms(attempt.started_us, attempt.finished_us)
    text = words.get(attempt.status, attempt.status)
    text += f" after {duration(took)}" if took is not None else ""
    text += f": {shorten(attempt.error, _LONGEST_ERROR)}" if attempt.error else ""
    return text + ("; its thread went on, its late result was discarded" if attempt.abandoned else "")


def _then(verdict: DecisionState | None, attempt: AttemptState, following: Mapping[int, AttemptState]) -> str:
    """What the retry policy made of it."""
    if verdict is None:
        return ""
    why = f" ({verdict.rationale})" if verdict.rationale else ""
    if verdict.decision != "retry":
        return f"; no further attempt{why}"
    later = following.get(attempt.number)
    inputs = verdict.payload.get("input_data")
    waited = span_ms(attempt.finished_us, later.started_us) if later is not None else None
    if waited is None and isinstance(inputs, Mapping) and "delay_s" in inputs:
        waited = inputs["delay_s"] * 1000
    return f"; then a wait of {duration(waited)}{why}"


def _consequences(facts: Facts, step: StepState) -> Iterator[str]:
    if step.status == "failed" and step.parent is None:
        hit = [
            other.step_id
            for other in facts.own_steps
            if other.status in ("skipped", "cancelled")
            and step.step_id in facts.culprits.get(other.step_id, ())
        ]
        if hit:
            yield f"Because of it {listing(hit)} did not run"
    undone = facts.compensations.get(step.step_id)
    if undone is not None:
        worked = {"success": "It was undone again by", "failed": "Undoing it failed:"}.get(undone.status)
        yield f"{worked or 'It is being undone by'} {undone.name}" + (
            f": {shorten(undone.error, _LONGEST_ERROR)}" if undone.error else ""
        )


# --- decisions and evidence ----------------------------------------------------------------


def _choices(facts: Facts, step: StepState) -> Iterator[str]:
    told = [one for one in facts.decisions.get(step.step_id, ()) if one.point not in _TOLD_ELSEWHERE]
    if not told:
        return
    yield f"{plural(len(told), 'decision')}:"
    for decision in told:
        yield f"  {decision.point}: {shorten(decision.decision, _LONGEST_ERROR)}{_reasons(decision)}"


def _reasons(decision: DecisionState) -> str:
    text = f", because {shorten(decision.rationale, _LONGEST_ERROR)}" if decision.rationale else ""
    others = decision.payload.get("alternatives")
    if isinstance(others, list) and others:
        text += f" (instead of {listing(map(_value, others))})"
    return text + (" [engine]" if decision.by_engine else "")


def _evidence(facts: Facts, step: StepState) -> Iterator[str]:
    mine = [event for event in facts.state.evidence if event.step_id == step.step_id]
    if not mine:
        return
    yield f"{plural(len(mine), 'piece of evidence', 'pieces of evidence')}:"
    for event in mine:
        yield f"  {_piece(event)}"


def _piece(event: Event) -> str:
    payload = event.payload
    source, confidence = payload.get("source"), payload.get("confidence_score")
    text = str(payload.get("type", "evidence"))
    text += f" from {source}" if source else ""
    return text + (f", confidence {confidence:g}" if confidence is not None else "")


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return shorten(text, _LONGEST_VALUE)
