"""Workflows as steps: runs of their own, linked to the step that started them."""

from __future__ import annotations

from typing import Any

import pytest

from orchkit.errors import WorkflowExecutionError


@pytest.fixture(autouse=True)
def tools(lab: Any) -> None:
    """``give`` returns its value, ``fail`` fails."""

    async def give(value: Any = None) -> Any:
        await lab.clock.sleep(1)
        return value

    async def fail() -> None:
        raise ValueError("broken")

    lab.tool(give)
    lab.tool(fail)


def children(lab: Any, run_id: str) -> list[Any]:
    """The run.started events of the runs below a run."""
    return [e for e in lab.events(None, "run.started") if e.payload["parent_run_id"] == run_id]


def test_its_parameters_are_its_context_and_its_outputs_its_output(lab: Any) -> None:
    """References go in through ``params`` and come out by step id."""
    inner = lab.flow("inner").add_step("give", {"value": "${context.n}"}, step_id="a")
    inner.add_step("give", {"value": {"twice": ["${steps.a}", "${steps.a}"]}}, step_id="b")
    flow = lab.flow("outer").add_step("give", {"value": {"n": 7}})
    flow.add_workflow(inner.build(), {"n": "${steps.give.n}"}, step_id="sub")
    flow.add_step("give", {"value": ["${steps.sub.a}", "${steps.sub.b.twice[1]}"]}, step_id="after")
    result = lab.execute(flow)
    assert result.outputs["sub"] == {"a": 7, "b": {"twice": [7, 7]}}
    assert result.outputs["after"] == [7, 7]
    assert result.steps["sub"].output.b == {"twice": [7, 7]}


def test_it_is_a_run_linked_to_its_step(lab: Any) -> None:
    """The record leads from the step to the run and back, and carries the facts of the outer run."""
    inner = lab.flow("inner").add_step("give").build()
    result = lab.execute(
        lab.flow("outer").add_workflow(inner, {"x": 1}, step_id="sub"),
        user_id="u_1",
        session_id="ses_1",
        casefile_id="cf_1",
        request_id="req_1",
        durability="async",
    )
    (child,) = children(lab, result.run_id)
    (scheduled,) = lab.events(result.run_id, "step.scheduled")
    assert scheduled.payload["child_run_id"] == child.run_id
    assert scheduled.payload["input"] == {"x": 1}
    facts = ("name", "parent_step_id", "user_id", "session_id", "casefile_id", "request_id", "durability")
    assert [child.payload[fact] for fact in facts] == [
        "inner",
        "sub",
        "u_1",
        "ses_1",
        "cf_1",
        "req_1",
        "async",
    ]
    assert child.payload["context"] == {"x": 1}


def test_its_failure_is_that_of_the_step(lab: Any) -> None:
    """The error names the inner run and its cause."""
    inner = lab.flow("inner").add_step("give").add_step("fail").build()
    result = lab.execute(lab.flow("outer").add_workflow(inner, step_id="sub"))
    step = result.steps["sub"]
    assert (result.status, step.status) == ("failed", "failed")
    assert step.error == "WorkflowExecutionError: sub-workflow 'inner' ended failed: ValueError: broken"
    assert isinstance(step.exception, WorkflowExecutionError)
    assert step.exception.run_id == children(lab, result.run_id)[0].run_id


def test_a_partial_sub_workflow_is_a_failure_of_the_step(lab: Any) -> None:
    """What needs all of its outputs cannot have them; the run around it goes on by its own rules."""
    inner = lab.flow("inner").with_error_handling("continue_on_failure").add_step("give").add_step("fail")
    flow = lab.flow("outer").with_error_handling("continue_on_failure")
    flow.add_workflow(inner.build(), step_id="sub").add_step("give", {"value": "${steps.sub.give}"})
    result = lab.execute(flow.add_step("give", step_id="other"))
    assert "ended partial" in str(result.steps["sub"].error)
    assert (result.status, result.steps["give"].status, result.steps["other"].status) == (
        "partial",
        "skipped",
        "success",
    )


def test_it_can_be_nested_in_depth(lab: Any) -> None:
    """Each level is a run below the one above it."""
    flow = lab.flow("level 0").add_step("give", {"value": "${context.n}"}, step_id="leaf").build()
    for level in range(1, 6):
        flow = lab.flow(f"level {level}").add_workflow(flow, {"n": "${context.n}"}, step_id="below").build()
    result = lab.execute(flow, context={"n": 3})
    output = result.outputs["below"]
    for _ in range(4):
        output = output["below"]
    assert output == {"leaf": 3}
    below, depth = result.run_id, 0
    while found := children(lab, below):
        below, depth = found[0].run_id, depth + 1
    assert depth == 5


def test_two_of_them_run_at_once(lab: Any) -> None:
    """They are steps like any other."""
    inner = lab.flow("inner").add_step("give").build()
    flow = lab.flow(mode="parallel").add_workflow(inner, step_id="a").add_workflow(inner, step_id="b")
    result = lab.execute(flow)
    assert result.success
    assert lab.clock.monotonic() == 1
    assert len(children(lab, result.run_id)) == 2


def test_a_failure_beside_it_cancels_it(lab: Any) -> None:
    """The inner run ends as cancelled, with the reason of the run around it."""
    inner = lab.flow("inner").add_step("give").build()
    result = lab.execute(lab.flow(mode="parallel").add_workflow(inner, step_id="sub").add_step("fail"))
    assert result.steps["sub"].status == "cancelled"
    (child,) = children(lab, result.run_id)
    (end,) = lab.events(child.run_id, "run.finished")
    assert end.payload["status"] == "cancelled"
    assert end.payload["error"] == "the run above it was stopped: step 'fail' failed"


def test_it_can_be_passed_over(lab: Any) -> None:
    """Then there is no inner run."""
    inner = lab.flow("inner").add_step("give").build()
    result = lab.execute(lab.flow("outer").add_workflow(inner, step_id="sub", when="false"))
    assert (result.status, result.steps["sub"].status) == ("success", "skipped")
    assert children(lab, result.run_id) == []


def test_parameters_that_do_not_resolve_fail_the_step(lab: Any) -> None:
    """The inner run does not begin, and the record says why."""
    inner = lab.flow("inner").add_step("give", {"value": "${context.n}"}).build()
    result = lab.execute(lab.flow("outer").add_workflow(inner, {"n": "${context.nothing}"}, step_id="sub"))
    assert "${context.nothing} cannot be resolved" in str(result.steps["sub"].error)
    assert children(lab, result.run_id) == []
