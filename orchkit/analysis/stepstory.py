"""The story of one step, line by line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from orchkit.analysis import choices, lives, origins, runstory, standins, tries
from orchkit.analysis.facts import CALL, COMPENSATION, OVER, Facts, span_ms, tally
from orchkit.analysis.links import Link
from orchkit.analysis.liveness import CUT_OFF
from orchkit.analysis.words import duration, error_text, listing, ordinal, plural, shorten, value_text
from orchkit.model.state import DecisionState, StepState

_LONGEST_MESSAGE = 60
_NO_ERROR = "no error is on the record"
_UNDONE = {
    "success": "It was undone again by",
    "failed": "Undoing it failed:",
    CUT_OFF: "Undoing it was cut off:",
}


def lines(facts: Facts, step: StepState) -> Iterator[str]:
    """What the step did and how it ended, what it waited for, why, and what it put on the record."""
    yield _ending(facts, step)
    yield from _kind(facts, step)
    yield from filter(None, (life.of_step(step.step_id) for life in lives.lives(facts)))
    yield from _waits(facts, step)
    yield from _condition(facts, step)
    yield from tries.lines(facts, step)
    yield from _consequences(facts, step)
    yield from choices.lines(facts, step)


# --- how it ended --------------------------------------------------------------------------


def _ending(facts: Facts, step: StepState) -> str:
    return _ENDINGS[step.status](facts, step)


def _succeeded(facts: Facts, step: StepState) -> str:
    if step.source is not None:
        return origins.reused(step)
    if origins.was_given(facts, step):
        return f"{step.step_id} was not run: its output was given when the run was forked"
    used = standins.stand_in(facts, step)
    if used is not None:
        how = standins.instead(facts, step, used)
        return f"{step.step_id} succeeded only by its fallback{_after(step)}: {how}"
    return f"{step.step_id} {_called(step)}succeeded{_on_attempt(step)}{_after(step)}"


def _failed(facts: Facts, step: StepState) -> str:
    error = error_text(step.error or _NO_ERROR)
    if step.reason:
        error += f" ({step.reason})"
    if not step.attempts and not facts.items.get(step.step_id) and not _is_workflow(facts, step):
        rejected = len(standins.rejections(facts, step))
        if not rejected:
            return f"{step.step_id} failed before its first attempt: {error}"
        tries = "its only try was" if rejected == 1 else f"all {rejected:,} tries were"
        within = _after(step).replace(" after ", " within ")
        return f"{step.step_id} failed without an attempt, {tries} rejected{within}: {error}"
    return f"{step.step_id} {_called(step)}failed{standins.tries(facts, step)}{_within(facts, step)}: {error}"


def _skipped(facts: Facts, step: StepState) -> str:
    verdict = _verdict(facts, step)
    if verdict is not None and verdict.decision == "false":
        return f"{step.step_id} did not run because its {_told(facts, step, verdict)}"
    return f"{step.step_id} did not run{_because(step)}"


def _cancelled(facts: Facts, step: StepState) -> str:
    if step.scheduled_us is None:
        return f"{step.step_id} was cancelled before it began{_because(step)}"
    return f"{step.step_id} {_called(step)}was cancelled{_on_attempt(step)}{_after(step)}{_because(step)}"


def _running(facts: Facts, step: StepState) -> str:
    if facts.cut_off:
        return _cut_off(facts, step)
    so_far = span_ms(step.scheduled_us, facts.state.last_us)
    text = f"{step.step_id} is running{' ' + step.name if step.name else ''}"
    if len(step.attempts) > 1:
        text += f", attempt {len(step.attempts)}"
    if so_far is not None:
        text += f", {duration(so_far)} so far"
    return text + _progress(step)


def _cut_off(facts: Facts, step: StepState) -> str:
    """What it was doing when the process of the run ended."""
    if step.attempts and step.attempts[-1].status not in ("running", "success"):
        where = f" before its {ordinal(len(step.attempts) + 1)} attempt"
    else:
        where = _on_attempt(step)
    why = f"{runstory.gone(facts)}, and its end is not on record"
    return f"{step.step_id} was cut off{where}{_progress(step)}: {why}"


def _progress(step: StepState) -> str:
    said = [f"{step.progress:.0%}"] if step.progress is not None else []
    said += [shorten(step.progress_message, _LONGEST_MESSAGE)] if step.progress_message else []
    return f" ({', '.join(said)})" if said else ""


def _pending(facts: Facts, step: StepState) -> str:
    steps = facts.state.steps
    sources = [link.source for link in facts.links_into.get(step.step_id, ())]
    missing = [source for source in sources if source in steps and steps[source].status not in OVER]
    again = " again" if step.attempts else ""
    if facts.cut_off:
        waited = f"; it waited for {listing(missing)}" if missing else ""
        return f"{step.step_id} had not begun{again} when the run was cut off{waited}"
    return f"{step.step_id} has not begun{again}" + (f"; it waits for {listing(missing)}" if missing else "")


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


def _within(facts: Facts, step: StepState) -> str:
    """The same after a count of attempts."""
    after = _after(step)
    return after.replace(" after ", ", within ") if " after " in standins.tries(facts, step) else after


def _because(step: StepState) -> str:
    return f" because {'it was ' if step.passed_over else ''}{step.reason}" if step.reason else ""


def _is_workflow(facts: Facts, step: StepState) -> bool:
    definition = facts.definitions.get(step.step_id)
    return step.node_type == "workflow" or (definition is not None and definition.workflow is not None)


def _kind(facts: Facts, step: StepState) -> Iterator[str]:
    """What sets it apart from a plain step."""
    items = facts.items.get(step.step_id, [])
    if items:
        yield f"It is a map over {plural(len(items), 'item')}: {tally(facts.counted(items))}"
        failed = [item for item in items if item.status == "failed"]
        for item in failed[:3]:
            yield f"  {item.step_id}: {error_text(item.error or _NO_ERROR)}"
    elif step.node_type == CALL:
        yield f"It is a call that step {step.parent} made" if step.parent else "It is a call of its own"
    elif step.parent is not None:
        yield f"It is an item of the map {step.parent}"
    elif step.step_id.startswith(COMPENSATION):
        yield f"It undoes {step.step_id.removeprefix(COMPENSATION)}"
    elif _is_workflow(facts, step):
        what = "workflow that the pipeline ran" if facts.state.kind == "orchestrator" else "sub-workflow"
        own = f", {step.child_run_id}" if step.child_run_id is not None else ""
        yield f"It is a {what} with a run of its own{own}"
    elif step is facts.pipeline:
        yield f"It is the pipeline of the orchestrator{_of_pipeline(facts)}"


def _of_pipeline(facts: Facts) -> str:
    ran = [step.step_id for step in facts.own_steps if step.node_type == "workflow"]
    return f", which ran {listing(ran)}" if ran else ""


# --- what it waited for --------------------------------------------------------------------


def _waits(facts: Facts, step: StepState) -> Iterator[str]:
    links = facts.links_into.get(step.step_id, [])
    if not links or step.status == "pending" or step.source is not None:
        return
    yield f"It {'would have come' if step.status == 'skipped' else 'came'} after {listing(map(_link, links))}"
    steps, ready = facts.state.steps, facts.since_start(step.scheduled_us)
    ended = [(steps[link.source].finished_us or 0, link.source) for link in links if link.source in steps]
    if ready is None or not ended or step.status == "skipped":
        return
    if any(max(ended)[0] < life.at_us <= (step.scheduled_us or 0) for life in lives.lives(facts)):
        yield f"It could begin {duration(ready)} into the run, when that was resumed"
    else:
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
    verdict = _verdict(facts, step)
    if verdict is None:
        definition = facts.definitions.get(step.step_id)
        if definition is not None and definition.when:
            yield f"Its condition was not looked at: {definition.when}"
    elif step.status != "skipped" or verdict.decision != "false":  # else that is how it ended
        yield f"Its {_told(facts, step, verdict)}"


def _verdict(facts: Facts, step: StepState) -> DecisionState | None:
    return facts.decided(step.step_id, "condition")


def _told(facts: Facts, step: StepState, verdict: DecisionState) -> str:
    """``condition ${steps.a.n} > 2 was false, with ${steps.a.n} = 1``."""
    definition = facts.definitions.get(step.step_id)
    expression = definition.when if definition is not None else None
    if not expression:
        expression = (verdict.rationale or "").removesuffix(f" is {verdict.decision}")
    operands = verdict.payload.get("input_data")
    values = ""
    if isinstance(operands, Mapping) and operands:
        values = ", with " + listing(f"{name} = {value_text(value)}" for name, value in operands.items())
    return " ".join(filter(None, ("condition", expression, f"was {verdict.decision}{values}")))


# --- what it led to ------------------------------------------------------------------------


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
        began = _UNDONE.get(facts.standing(undone.status), "It is being undone by")
        yield f"{began} {undone.name}" + (f": {error_text(undone.error)}" if undone.error else "")
