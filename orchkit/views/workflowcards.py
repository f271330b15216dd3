"""How definitions and registries show themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orchkit.analysis.links import Link, links
from orchkit.analysis.words import listing as listed
from orchkit.analysis.words import plural, shorten
from orchkit.model.workflow import StepDefinition, Workflow
from orchkit.views.cards import Cell, Html, card, code, details, image, muted, table
from orchkit.views.dag import Dag
from orchkit.views.picture import diagram_of

_MOST_ROWS = 100


def of_workflow(workflow: Any) -> dict[str, str]:
    """A workflow: its facts, its picture, its steps."""
    assert isinstance(workflow, Workflow)
    dag = Dag(diagram_of(workflow))
    facts: list[tuple[str, Cell]] = [
        ("", plural(len(workflow.steps), "step")),
        ("mode", workflow.execution_mode),
        ("on failure", "stop" if workflow.error_handling == "stop_on_failure" else "continue"),
        ("timeout", f"{workflow.timeout:g} s" if workflow.timeout is not None else None),
    ]
    body = [
        muted(workflow.description) if workflow.description else Html(""),
        picture(dag),
        details("Steps", _steps(workflow)),
    ]
    return {"text/plain": repr(dag), "text/html": card(workflow.name, facts, *body)}


def picture(dag: Dag) -> Html:
    """The image, and under it what has to be said about it."""
    drawn = dag.picture
    if not dag.diagram.nodes:
        return muted("There are no steps to draw.")
    said = [drawn.caption] if dag.diagram.condensed else []
    said += [f"could not be drawn ({problem})" for problem in drawn.problems if drawn.renderer == "listing"]
    return Html(image(drawn) + "".join(map(muted, said)))


def _steps(workflow: Workflow) -> Html:
    into: dict[str, list[Link]] = {}
    for link in links(workflow):
        into.setdefault(link.target, []).append(link)
    rows = (_row(step, into.get(step.step_id, [])) for step in workflow.steps[:_MOST_ROWS])
    columns = ("step", "calls", "comes after", "parameters", "options")
    return table(rows, columns, total=len(workflow.steps), drop_empty=True)


def _row(step: StepDefinition, into: list[Link]) -> list[Cell]:
    calls = step.tool_name or (f"workflow {step.workflow.name}" if step.workflow is not None else "")
    parameters = code(", ".join(f"{name}={value!r}" for name, value in step.parameters.items()), 120)
    return [step.step_id, calls, listed(link.source for link in into), parameters, _options(step)]


def _options(step: StepDefinition) -> Html:
    return Html("<br>".join(code(option, 120) for option in _option_texts(step)))


def _option_texts(step: StepDefinition) -> Iterator[str]:
    if step.when:
        yield f"if {step.when}"
    if step.over is not None:
        yield f"for each of {shorten(step.over, 60)}" + (
            f", {step.max_concurrency} at a time" if step.max_concurrency else ""
        )
    if step.retry_policy is not None:
        yield f"up to {plural(step.retry_policy.max_attempts, 'attempt')}, {step.retry_policy.strategy}"
    if step.timeout is not None:
        limits = (("attempt", step.timeout.attempt), ("total", step.timeout.total))
        yield "timeout " + ", ".join(f"{name} {limit:g} s" for name, limit in limits if limit is not None)
    yield from _guard_texts(step)
    if step.compensate is not None:
        yield f"undone by {step.compensate.tool_name}"


def _guard_texts(step: StepDefinition) -> Iterator[str]:
    """What stands around the calls of a step beside retries and limits of time."""
    breaker, limit, bulkhead = step.breaker, step.rate_limit, step.bulkhead
    if breaker is not None:
        name = f" {breaker.name!r}" if breaker.name else ""
        rule = "by rates" if breaker.by_rate else f"after {plural(breaker.in_a_row or 0, 'failure')}"
        yield f"breaker{name} {rule}, {breaker.reset_timeout:g} s" if breaker.enabled else "no breaker"
    if limit is not None:
        yield f"at most {limit.limit:,} per {limit.period:g} s"
    if bulkhead is not None:
        yield f"at most {bulkhead.max_concurrent:,} at a time"
    if step.hedge is not None:
        yield f"hedged after {step.hedge.delay:g} s"
    if step.fallback is not None:
        yield f"else {listed(map(str, step.fallback.chain))}"
    if step.faults is not None:
        yield f"faults on purpose: {step.faults.rate:.0%}"


def of_frame(obj: Any) -> dict[str, str]:
    """Anything that has a ``frame()``: that, as a table."""
    frame = obj.frame()
    rows = (["" if _missing(value) else value for value in row] for row in frame.head(_MOST_ROWS).to_numpy())
    shown = table(rows, [str(column) for column in frame.columns], total=len(frame), drop_empty=True)
    body = shown if len(frame) else muted("Nothing is registered.")
    return {"text/html": card(type(obj).__name__, [("", plural(len(frame), "entry", "entries"))], body)}


def _missing(value: object) -> bool:
    """Whether it is None or one of the signs that pandas uses for what is not there."""
    return value is None or value != value or str(value) == "<NA>"  # noqa: PLR0124 - NaN is unlike itself
