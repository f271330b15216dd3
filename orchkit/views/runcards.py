"""How runs, their results and the list of runs show themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from functools import partial
from typing import Any

from orchkit.analysis import choices, lives, origins, runstory
from orchkit.analysis.explain import explain_run
from orchkit.analysis.facts import Facts, span_ms, tally
from orchkit.analysis.liveness import CUT_OFF, given_up, standing
from orchkit.analysis.words import clean, duration, error_text, plural, shorten
from orchkit.errors import OrchkitError
from orchkit.model.event import Event
from orchkit.model.result import StepResult, WorkflowResult
from orchkit.model.state import DecisionState, RunState, StepState
from orchkit.views.cards import (
    Cell,
    Html,
    card,
    code,
    details,
    html,
    mark,
    moment,
    muted,
    note,
    preview,
    status_chip,
    story,
    table,
)
from orchkit.views.dag import Dag
from orchkit.views.run import Run
from orchkit.views.runmarks import mark_rows, marks_of
from orchkit.views.runs import Runs
from orchkit.views.workflowcards import picture

_NEWEST = 20
_MOST_ROWS = 100
_MOST_ITEMS = 50
_LONGEST_LINE = 160
_MOST_LIVES = 3
_ROW = ["run_id", "kind", "name", "status", "started_at", "duration_ms", "error", "source_run_id"]
_ROW += ["pid", "host", "born", "imported"]


# --- one run -------------------------------------------------------------------------------


def of_run(run: Any) -> dict[str, str]:
    """A run: its facts, its picture, its steps; decisions, evidence and the story folded away."""
    assert isinstance(run, Run)
    try:
        facts = _facts_of(run)
    except Exception as error:  # showing never raises: it says what was wrong
        return {"text/html": card(f"Run {run.id}", [], note(f"cannot be shown: {error}"))}
    dag = run.dag_of(facts.state, facts.known)
    return {"text/plain": _text(facts, dag), "text/html": _run_card(facts, dag, [])}


def _facts_of(run: Run) -> Facts:
    state = run.state
    return Facts(state, run.known_of(state))


def _text(facts: Facts, dag: Dag) -> str:
    """The story, then one line per step."""
    return "\n".join([explain_run(facts.state, facts.known), *repr(dag).split("\n")[1:]])


def _run_card(facts: Facts, dag: Dag, more: list[tuple[str, Cell]]) -> Html:
    state = facts.state
    return card(
        state.name or state.run_id,
        [*_facts(facts), *more],
        reason(state.error, state.status),
        _cut_off(facts),
        picture(dag),
        _steps(facts),
        *_folded(facts),
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
    shown = table(map(step, rows), columns, right=("attempts", "took"), most=_MOST_ROWS, drop_empty=True)
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
        _attempts(step),
        duration(took) if took is not None and ran else "",
        _outcome(step),
        code(origins.source_run(step) or ""),
    ]


def _attempts(step: StepState) -> str:
    doubts = sum(attempt.status == "in_doubt" for attempt in step.attempts)
    count = f"{len(step.attempts):,}" if step.attempts else ""
    return f"{count} ({doubts:,} in doubt)" if doubts else count


def _outcome(step: StepState) -> Html:
    if step.status == "success":
        return preview(step.output)
    if step.status == "running" and step.progress is not None:
        return html(f"{step.progress:.0%} {step.progress_message or ''}")
    return _why(step.error, step.reason)


def _why(error: str | None, reason: str | None) -> Html:
    return html(" · ".join(error_text(text) for text in (error, reason) if text)[:300])


def _folded(facts: Facts) -> Iterator[Html]:
    state = facts.state
    if state.decisions:
        heads = ("#", "step", "point", "decision", "made", "why", "based on", "supported by")
        rows = (_decision(facts, number, one) for number, one in enumerate(state.decisions[:_MOST_ROWS], 1))
        shown = table(rows, heads, right=("#",), total=len(state.decisions), drop_empty=True)
        yield details(plural(len(state.decisions), "decision"), shown)
    if state.evidence:
        pieces = map(_evidence, state.evidence[:_MOST_ROWS])
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
        Html(f'<span style="white-space:nowrap">{choices.maker(by_engine=decision.by_engine)}</span>'),
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


# --- results -------------------------------------------------------------------------------


def of_result(result: Any) -> dict[str, str]:
    """The outcome of a run; with its picture when its record can be read."""
    assert isinstance(result, WorkflowResult)
    more: list[tuple[str, Cell]] = [("", "replayed from the record" if result.replayed else None)]
    record = _record_of(result)
    if record is not None:
        return {"text/plain": _result_text(result), "text/html": _run_card(*record, more)}
    facts: list[tuple[str, Cell]] = [
        ("", code(result.run_id)),
        ("started", moment(result.started_us)),
        ("took", duration(result.duration_ms)),
        *more,
    ]
    columns = ("step", "status", "attempts", "took", "result")
    rows = map(_step_result, result.steps.values())
    steps = table(rows, columns, right=("attempts", "took"), most=_MOST_ROWS, drop_empty=True)
    body = [reason(result.error, result.status), steps]
    return {
        "text/plain": _result_text(result),
        "text/html": card(result.name, facts, *body, head=status_chip(result.status)),
    }


def _record_of(result: WorkflowResult) -> tuple[Facts, Dag] | None:
    """What the store knows of it; None when it was not recorded or the store is closed by now."""
    try:
        run = result.run
        facts = _facts_of(run) if isinstance(run, Run) else None
    except OrchkitError:
        return None
    return None if facts is None else (facts, run.dag_of(facts.state, facts.known))


def _step_result(step: StepResult) -> list[Cell]:
    return [
        step.step_id,
        status_chip(step.status),
        str(step.attempts) if step.attempts else "",
        duration(step.duration_ms) if step.duration_ms is not None else "",
        preview(step.output) if step.success else _why(step.error, step.reason),
    ]


def _result_text(result: WorkflowResult) -> str:
    replayed = ", replayed from the record" if result.replayed else ""
    took = duration(result.duration_ms)
    lines = [clean(f"{result.name}: {result.status} after {took}{replayed} ({result.run_id})")]
    wide = max((len(step_id) for step_id in result.steps), default=0)
    for step in list(result.steps.values())[:_MOST_ROWS]:
        tries = f", {step.attempts} attempts" if step.attempts > 1 else ""
        why = step.error or step.reason
        said = f"{step.status}{tries}" + (f": {why}" if why else "")
        lines.append("  " + shorten(f"{step.step_id:<{min(wide, 40)}}  {said}", _LONGEST_LINE))
    if len(result.steps) > _MOST_ROWS:
        lines.append(f"  … and {len(result.steps) - _MOST_ROWS:,} more")
    return "\n".join(lines)


# --- the list of runs ----------------------------------------------------------------------


def of_runs(runs: Any) -> dict[str, str]:
    """The newest runs, newest first."""
    assert isinstance(runs, Runs)
    try:
        count, newest = len(runs), rows_of(runs, _NEWEST)
    except Exception as error:  # showing never raises: it says what was wrong
        return {"text/html": card("Runs", [], note(f"cannot be shown: {error}"))}
    if not count:
        return {"text/html": card("Runs", [], muted("No run is on the record yet."))}
    shown = table_of(newest, total=count)
    return {
        "text/plain": "\n".join([repr(runs), *map(_run_line, newest)]),
        "text/html": card("Runs", [("", plural(count, "run"))], shown),
    }


def rows_of(runs: Runs, most: int) -> list[dict[str, Any]]:
    """What is shown of the newest runs, the last first."""
    frame, open_runs = runs.frame(limit=most), given_up(runs.store.open_runs)
    rows = [dict(zip(_ROW, row, strict=True)) for row in frame[_ROW].to_numpy(object).tolist()]
    for row in rows:
        row["standing"] = standing(row, open_runs)
    mark_rows(runs.store, rows)
    return rows[::-1]


def table_of(rows: Iterable[dict[str, Any]], *, total: int | None = None) -> Html:
    """The table of some runs."""
    columns = ("run", "name", "status", "", "started", "took", "error")
    return table(map(_run_row, rows), columns, right=("took",), total=total, drop_empty=True)


def _run_row(row: dict[str, Any]) -> list[Cell]:
    return [
        code(row["run_id"]),
        row["name"],
        status_chip(row["standing"]),
        Html("".join(map(mark, row["marks"]))),
        moment(row["started_at"].to_pydatetime()),
        duration(row["duration_ms"]),
        row["error"] if isinstance(row["error"], str) else "",
    ]


def _run_line(row: dict[str, Any]) -> str:
    started, took = moment(row["started_at"].to_pydatetime()), duration(row["duration_ms"])
    marks = f" ({', '.join(row['marks'])})" if row["marks"] else ""
    line = f"{row['run_id']}  {started}  {row['standing']:<9}  {took:>9}  {row['name']}{marks}"
    return "  " + shorten(line, _LONGEST_LINE)
