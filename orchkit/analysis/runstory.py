"""The story of a whole run, line by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchkit.analysis import choices, lives, origins, standins
from orchkit.analysis.facts import OVER, Facts, span_ms, tally
from orchkit.analysis.known import Path
from orchkit.analysis.liveness import is_gone, process_of
from orchkit.analysis.words import duration, error_text, listing, ordinal, plural, shorten
from orchkit.model.state import StepState
from orchkit.store.process import this_process

_ENDED = {
    "success": "succeeded",
    "failed": "failed",
    "partial": "ended partial",
    "cancelled": "was cancelled",
}
_GOES_ON = {"pending": "has not begun", "paused": "is paused", "running": "is running"}
_NO_ERROR = "no error is on the record"
_LONGEST_HOST = 80


def lines(facts: Facts) -> Iterator[str]:
    """How the run ended, what failed first, what that led to, and what else is on the record."""
    yield from _cut_off(facts) if facts.cut_off else (_ending(facts),)
    yield from origins.lines(facts)
    for life in lives.lives(facts):
        yield from life.lines()
    yield from _failures(facts)
    yield from _not_run(facts)
    yield from _retries(facts)
    yield from _compensations(facts)
    yield from () if facts.cut_off else _under_way(facts)
    yield from _record(facts)


def _ending(facts: Facts) -> str:
    state, steps = facts.state, facts.own_steps
    name, counts = _name(facts), facts.counted(steps)
    if state.status not in _ENDED:
        over = sum(counts[status] for status in OVER)
        return f"{name} {_GOES_ON[state.status]}: {over} of {plural(len(steps), 'step')} over"
    took = duration(span_ms(state.started_us, state.finished_us))
    head = f"{name} {_ENDED[state.status]} after {took}{_times_resumed(facts)}"
    if state.kind != "workflow":
        return head + _workflows(facts)
    return f"{head}: {_all(len(steps), counts)}" if steps else f"{head}; it had no steps"


def _name(facts: Facts) -> str:
    name = facts.state.name or facts.state.run_id or "The run"
    return f"The orchestrator {name}" if facts.state.kind == "orchestrator" else name


def _times_resumed(facts: Facts) -> str:
    """The time between its lives is in how long it took."""
    count = facts.state.resumed
    return f", resumed {plural(count, 'time') if count > 1 else 'once'}" if count else ""


def _workflows(facts: Facts) -> str:
    """What the pipeline of an orchestrator ran."""
    ran = [step for step in facts.own_steps if step.node_type == "workflow"]
    if not ran:
        return ""
    counts = facts.counted(ran)
    if len(ran) == 1:
        return f"; the workflow that it ran {tally(counts).removeprefix('1 ')}"
    if counts["success"] == len(ran):
        return f"; {'both' if len(ran) == 2 else f'all {len(ran):,}'} workflows that it ran succeeded"
    return f"; of {len(ran):,} workflows that it ran {tally(counts)}"


def _all(total: int, counts: Mapping[str, int]) -> str:
    """How all of its steps stand."""
    if total == 1:
        return f"its only step {tally(counts).removeprefix('1 ')}"
    if counts["success"] == total:
        return f"{'both' if total == 2 else f'all {total:,}'} steps succeeded"
    return f"of {plural(total, 'step')}, {tally(counts)}"


# --- a run whose process is gone -----------------------------------------------------------


def _cut_off(facts: Facts) -> Iterator[str]:
    """That it was, how far it had come by then, and what nobody knows."""
    state, steps = facts.state, facts.own_steps
    lasted = duration(facts.since_start(state.last_us))
    again = " again" if state.resumed else ""
    ran = "" if state.kind == "workflow" else _workflows(facts)
    yield f"{_name(facts)} was cut off{again} after {lasted}: {gone(facts)}{ran}"
    if steps and state.kind == "workflow":
        words = _all(len(steps), facts.counted(steps))
        yield words[0].upper() + words[1:]
    yield from in_doubt(facts)
    undoable = [step.step_id for step in steps if step.status == "success" and _can_be_undone(facts, step)]
    if undoable and state.imported is None:  # else it may have gone on there, and undone what it did
        yield f"Compensations did not run: what {listing(undoable)} did still stands"
    yield way_on(facts)


def gone(facts: Facts) -> str:
    """``process 10155 on this machine is gone``, or why else the record ends."""
    state = facts.state
    if state.imported is not None:
        return f"it was exported{_where(state.imported)} before it had ended"
    process = process_of(state.pid, state.host, state.born)
    if process is None:
        return "nobody works on it any more"
    if process == this_process():
        return "the store was closed before it had ended"
    if is_gone(process):
        return f"process {process.pid} on this machine is gone"
    where = shorten(process.host, _LONGEST_HOST)
    return f"nothing has been heard for too long of process {process.pid} on {where}"


def way_on(facts: Facts) -> str:
    """What to do about a run that was cut off."""
    state = facts.state
    if state.parent_run_id is not None:
        return f"It goes on with the run that it is part of, {state.parent_run_id}"
    if state.imported is not None:
        return f'kit.fork("{state.run_id}", …) begins a new run here that shares its results'
    if state.kind == "workflow":
        return f'kit.resume("{state.run_id}") goes on from there: what was completed is not repeated'
    key = origins.key_of(state)
    if key is None:
        return "It had no idempotency key, so nobody can go on with it: make the request anew"
    return f"Make the request again, with its key {key}: that goes on with this run"


def _where(imported: Mapping[str, Any]) -> str:
    host = imported.get("host")
    return f" on {shorten(host, _LONGEST_HOST)}" if host else ""


def origin(imported: Mapping[str, Any]) -> str:
    """Where a run of another store came from: ``run.orchkit, exported on HOST at 2025-03-12T14:03:22Z``.

    Of one that another program made: ``trace.tsv, a record of nextflow``.
    """
    if imported.get("format"):
        file, program = (shorten(imported.get(key) or "?", _LONGEST_HOST) for key in ("file", "format"))
        return f"{file}, a record of {program}"
    file, at = (shorten(imported.get(key) or "?", _LONGEST_HOST) for key in ("file", "exported_at"))
    return f"{file}, exported{_where(imported)} at {at}"


def in_doubt(facts: Facts) -> Iterator[str]:
    """The steps of a run that was cut off of which nobody knows whether they had their effect."""
    doubtful = [(step_path(path, step), step) for path, step in _doubtful(facts)]
    if len(doubtful) == 1:
        name, step = doubtful[0]
        attempt = f"whose {ordinal(step.attempts[-1].number)} attempt had begun"
        yield f"In doubt: {name}, {attempt} and whose end is not on record"
    elif doubtful:
        names = listing(_numbered(name, step) for name, step in doubtful)
        yield f"In doubt: {names}, whose attempts had begun and whose ends are not on record"


def step_path(path: Path, step: StepState) -> str:
    """A step after those of the sub-workflows around it: ``import › load``."""
    return " › ".join((*path, step.step_id))


def _doubtful(facts: Facts) -> Iterator[tuple[Path, StepState]]:
    """The steps whose last attempt had begun and perhaps ended, those of sub-workflows too."""
    for path, state in ((), facts.state), *facts.known.below.items():
        if state.open:
            yield from ((path, step) for step in state.steps.values() if is_doubtful(step))


def is_doubtful(step: StepState) -> bool:
    """Whether nobody knows what came of the last attempt, once its run was cut off."""
    if step.status not in ("running", "pending") or not step.attempts:
        return False
    last = step.attempts[-1]
    # of one that succeeded without the end of its step on record the output is lost
    lost = last.status == "success" and last.number > step.forgiven
    return lost or last.status in ("running", "in_doubt")


def _can_be_undone(facts: Facts, step: StepState) -> bool:
    definition = facts.definitions.get(step.step_id)
    defined = definition is not None and definition.compensate is not None
    return defined and step.step_id not in facts.compensations


# --- what went wrong -----------------------------------------------------------------------


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
    when = facts.since_start(step.finished_us)
    tried = standins.tries(facts, step).replace(" on the ", " on its ")
    tried = "" if tried == " on its first attempt" else tried
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
    was = "it was " if step.passed_over else ""
    return f"because {was}{error_text(step.reason)}" if step.reason else "without a reason on the record"


def _retries(facts: Facts) -> Iterator[str]:
    retried = [
        step
        for step in facts.state.steps.values()
        if any(attempt.status in ("failed", "timeout") for attempt in step.attempts[:-1])
    ]
    ended = [step for step in facts.state.steps.values() if step.status == "success"]
    replaced = [step.step_id for step in ended if standins.stand_in(facts, step) is not None]
    recovered = [
        f"{step.step_id} ({len(step.attempts)})"
        for step in retried
        if step.status == "success" and step.step_id not in replaced
    ]
    if recovered:
        yield f"Succeeded only after retries (attempts): {listing(recovered)}"
    if replaced:
        yield f"Succeeded only by a fallback: {listing(replaced)}"


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
        yield f"Running now: {listing(_numbered(step.step_id, step) for step in running)}"


def _numbered(name: str, step: StepState) -> str:
    return f"{name} (attempt {len(step.attempts)})" if len(step.attempts) > 1 else name


def _record(facts: Facts) -> Iterator[str]:
    state = facts.state
    if not state.decisions and not state.evidence:
        return
    said = choices.tally(state.decisions)
    said += [choices.pieces(len(state.evidence))] if state.evidence else []
    yield f"On the record: {listing(said)}"
