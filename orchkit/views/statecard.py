"""The card of a state of a run: its facts, its picture, its steps, and what else is on record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial

from orchkit.analysis import choices, lives, origins, runstory, standins
from orchkit.analysis.explain import explain_run
from orchkit.analysis.facts import Facts, span_ms, tally
from orchkit.analysis.liveness import CUT_OFF
from orchkit.analysis.words import duration, error_text, plural
from orchkit.model.event import Event
from orchkit.model.state import DecisionState, RunState, StepState
from orchkit.views.cards import (
    Cell,
    Html,
    card,
    code,
    details,
    html,
    moment,
    muted,
    note,
    preview,
    status_chip,
    story,
    table,
)
from orchkit.views.dag import Dag
from orchkit.views.runmarks import marks_of
from orchkit.views.workflowcards import picture

MOST_ROWS = 100
_MOST_ITEMS = 50
_MOST_LIVES = 3


def run_card(
    facts: Facts, dag: Dag, more: Iterable[tuple[str, Cell]] = (), below: Iterable[Html] = ()
) -> Html:
    """The card of a state of a run; ``more`` facts, and parts ``below`` what it shows of every run."""
    state = facts.state
    return card(
        state.name or state.run_id,
        [*_facts(facts), *more],
        reason(state.error, state.status),
        _cut_off(facts),
        picture(dag),
        _steps(facts),
        *_folded(facts),
        *below,
        head=status_chip(facts.run_standing),
        marks=marks_of(state, facts.known),
    )


def reason(error: str | None, status: str) -> Html:
    """Why the run did not succeed; that somebody cancelled it is no error."""
    if not error:
        return Html("")
    return note(f"Cancelled: {error}", status) if status == "cancelled" else note(error_text(error))


def _cut_off(facts: Facts) -> Html:
    """Why the run has no end, what is in doubt, and what to do."""
    if not facts.cut_off:
        return Html("")
    told = [f"Cut off: {runstory.gone(facts)}", *runstory.in_doubt(facts)]
    return note(". ".join(told), CUT_OFF, way_on=runstory.way_on(facts))


def _facts(facts: Facts) -> list[tuple[str, Cell]]:
    state = facts.state
    attempts = sum(len(step.attempts) for step in state.steps.values())
    took = span_ms(state.started_us, state.finished_us)
    return [
        ("", code(state.run_id)),
        ("started", moment(state.started_us)),
        ("took", duration(took) if took is not None else None),
        _tally(facts),
        ("attempts", str(attempts)),
        ("user", state.user_id),
        ("session", state.session_id),
        ("case file", state.casefile_id),
        ("key", code(origins.key_of(state) or "")),
        ("part of", code(state.parent_run_id) if state.parent_run_id else None),
        ("forked from", _forked_from(state)),
        ("shared by", _runs(facts.known.shared_by)),
        ("resumed", ", ".join(moment(life.at_us) for life in lives.lives(facts)[-_MOST_LIVES:])),
        ("imported", runstory.origin(state.imported) if state.imported is not None else None),
    ]


def _tally(facts: Facts) -> tuple[str, Cell]:
    """How its steps stand; of an orchestrator's pipeline, how the workflows do that it ran."""
    if facts.pipeline is None:
        return ("steps", tally(facts.counted(facts.own_steps)) or "none")
    ran = [step for step in facts.own_steps if step is not facts.pipeline]
    return ("workflows", tally(facts.counted(ran)))


def _forked_from(state: RunState) -> Html | None:
    if state.forked_from is None:
        return None
    starts = ", ".join(origins.fork_start(state))
    return Html(code(state.forked_from.get("run_id")) + html(f" at {starts}" if starts else ""))


def _runs(run_ids: Collection[str]) -> Html:
    """Some of these runs by id."""
    shown = [code(run_id) for run_id in list(run_ids)[:_MOST_LIVES]]
    left = len(run_ids) - len(shown)
    return Html(", ".join(shown) + (f" and {left:,} more" if left else ""))


def _steps(facts: Facts) -> Html:
    rows = [*facts.own_steps, *facts.compensations.values()]
    if not rows:
        return muted("No step is on the record.")
    columns = ("step", "calls", "status", "attempts", "took", "result", "result of")
    step = partial(_step, facts)
    shown = table(map(step, rows), columns, right=("attempts", "took"), most=MOST_ROWS, drop_empty=True)
    items = [item for several in facts.items.values() for item in several]
    if not items:
        return shown
    # what failed is what people look for
    items.sort(key=lambda item: item.status == "success")
    inner = table(map(step, items), columns, right=("attempts", "took"), most=_MOST_ITEMS, drop_empty=True)
    return Html(shown + details(f"{plural(len(items), 'item')} of maps", inner))


def _step(facts: Facts, step: StepState) -> list[Cell]:
    took = span_ms(step.scheduled_us, step.finished_us)
    ran = step.status != "skipped" and step.source is None and not origins.was_given(facts, step)
    return [
        step.step_id,
        step.name,
        status_chip(facts.standing(step.status)),
        _attempts(facts, step),
        duration(took) if took is not None and ran else "",
        _outcome(step),
        code(origins.source_run(step) or ""),
    ]


def _attempts(facts: Facts, step: StepState) -> str:
    doubts = sum(attempt.status == "in_doubt" for attempt in step.attempts)
    count = f"{len(step.attempts):,}" if step.attempts else ""
    if standins.stand_in(facts, step) is not None:
        return f"{count}, fallback".removeprefix(", ")
    return f"{count} ({doubts:,} in doubt)" if doubts else count


def _outcome(step: StepState) -> Html:
    if step.status == "success":
        return preview(step.output)
    if step.status == "running" and step.progress is not None:
        return html(f"{step.progress:.0%} {step.progress_message or ''}")
    return why(step.error, step.reason)


def why(error: str | None, reason: str | None) -> Html:
    """What is on record about a step that did not succeed."""
    return html(" · ".join(error_text(text) for text in (error, reason) if text)[:300])


def _folded(facts: Facts) -> Iterator[Html]:
    state = facts.state
    if state.decisions:
        heads = ("#", "step", "point", "decision", "made", "why", "based on", "supported by")
        rows = (_decision(facts, number, one) for number, one in enumerate(state.decisions[:MOST_ROWS], 1))
        shown = table(rows, heads, right=("#",), total=len(state.decisions), drop_empty=True)
        yield details(plural(len(state.decisions), "decision"), shown)
    if state.evidence:
        pieces = map(_evidence, state.evidence[:MOST_ROWS])
        heads_of_evidence = ("step", "type", "source", "confidence", "data")
        total = len(state.evidence)
        shown = table(pieces, heads_of_evidence, right=("confidence",), total=total, drop_empty=True)
        yield details(choices.pieces(total), shown)
    yield details("In words", story(explain_run(state, facts.known)))


def _decision(facts: Facts, number: int, decision: DecisionState) -> list[Cell]:
    attempt = (
        f" (attempt {decision.attempt})" if decision.attempt is not None and decision.attempt > 1 else ""
    )
    return [
        str(number),
        (decision.step_id or "the run") + attempt,
        decision.point,
        decision.decision,
        Html(f'<span style="white-space:nowrap">{choices.maker(decision)}</span>'),
        decision.rationale,
        preview(decision.payload.get("input_data"), 120),
        "; ".join(choices.supports(facts, decision)),
    ]


def _evidence(event: Event) -> list[Cell]:
    payload = event.payload
    confidence = payload.get("confidence_score")
    return [
        event.step_id,
        payload.get("type"),
        payload.get("source"),
        f"{confidence:g}" if confidence is not None else "",
        preview(payload.get("data"), 160),
    ]
