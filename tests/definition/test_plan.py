"""Plans: what waits for what, in which order, with references and tools ready for use."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.engine.plan import Plan, compile_plan
from orchkit.engine.references import Scope
from orchkit.engine.validation import check
from orchkit.errors import (
    ConditionSyntaxError,
    DefinitionError,
    ReferenceSyntaxError,
    UnknownNameError,
    WorkflowValidationError,
)
from orchkit.model.workflow import Compensation, StepDefinition, Workflow
from orchkit.registry.registry import Registry


def _step(step_id: str, **fields: Any) -> StepDefinition:
    return StepDefinition(step_id=step_id, tool_name=fields.pop("tool_name", "anything"), **fields)


def _plan(registry: Registry, mode: str, *steps: StepDefinition) -> Plan:
    return compile_plan(Workflow(name="w", steps=steps, execution_mode=mode), registry)


def _fields(plan: Plan, field: str) -> dict[str, tuple[str, ...]]:
    return {step_id: getattr(node, field) for step_id, node in plan.nodes.items()}


def test_dependencies_in_dag_mode(registry: Registry) -> None:
    """Explicit and data dependencies count alike for order and failure; for skips, data without default."""
    plan = _plan(
        registry,
        "dag",
        _step("join", parameters={"x": "${steps.b}", "y": "${steps.c ?? 0}"}, depends_on=("a", "b")),
        _step("a"),
        _step("b", when="${steps.a.ok}"),
        _step("c", over="${steps.a.rows}"),
    )
    assert plan.order == ("a", "b", "c", "join")
    assert list(plan.nodes) == ["join", "a", "b", "c"]
    assert _fields(plan, "after") == {"join": ("a", "b", "c"), "a": (), "b": ("a",), "c": ("a",)}
    assert _fields(plan, "requires") == _fields(plan, "after")
    assert _fields(plan, "needs_output") == {"join": ("b",), "a": (), "b": ("a",), "c": ("a",)}
    assert _fields(plan, "dependents") == {
        "join": (),
        "a": ("join", "b", "c"),
        "b": ("join",),
        "c": ("join",),
    }


def test_dependencies_in_sequential_mode(registry: Registry) -> None:
    """Each step waits for the one before, but fails only with those that it really depends on."""
    plan = _plan(
        registry,
        "sequential",
        _step("a"),
        _step("b"),
        _step("c", parameters={"x": "${steps.a}"}, depends_on="a"),
    )
    assert plan.order == ("a", "b", "c")
    assert _fields(plan, "after") == {"a": (), "b": ("a",), "c": ("a", "b")}
    assert _fields(plan, "requires") == {"a": (), "b": (), "c": ("a",)}
    assert _fields(plan, "dependents") == {"a": ("b", "c"), "b": ("c",), "c": ()}


def test_parallel_mode(registry: Registry) -> None:
    """No step waits for another."""
    plan = _plan(registry, "parallel", _step("a"), _step("b"))
    assert plan.order == ("a", "b")
    assert _fields(plan, "after") == {"a": (), "b": ()}


def test_what_a_node_holds(registry: Registry) -> None:
    """Tool, parameters, condition, list and compensation are compiled; a compensation makes no dependency."""
    undo = Compensation(tool_name="delete_casefile", parameters={"casefile_id": "${steps.m.id}"})
    plan = _plan(
        registry,
        "dag",
        _step("a", parameters={"x": 1}, compensate="anything"),
        _step(
            "m", parameters={"x": "${item}"}, when="${context.go}", over="${context.rows}", compensate=undo
        ),
    )
    scope = Scope({"m": {"id": "c_1"}}, {"go": True, "rows": [1, 2]}, {}, item=2, index=1)
    plain, mapped = plan.nodes["a"], plan.nodes["m"]
    assert plain.target is not None
    assert plain.target.name == "anything"
    assert (plain.template.static, plain.condition, plain.over, plain.sub_plan) == (
        {"x": 1},
        None,
        None,
        None,
    )
    assert plain.undo is not None
    assert plain.undo.template is None
    assert mapped.condition is not None
    assert mapped.condition.evaluate(scope).result
    assert mapped.over is not None
    assert mapped.over.resolve(scope) == [1, 2]
    assert mapped.template.resolve(scope) == {"x": 2}
    assert mapped.undo is not None
    assert mapped.undo.template is not None
    assert mapped.undo.template.resolve(scope) == {"casefile_id": "c_1"}
    assert mapped.undo.target.method.function.__name__ == "delete_casefile"
    assert mapped.after == ()


def test_a_sub_workflow_has_a_plan_of_its_own(registry: Registry) -> None:
    """A step with a workflow has no tool; the plan inside is complete."""
    inner = Workflow(name="inner", steps=(_step("x"), _step("y", parameters={"v": "${steps.x}"})))
    plan = _plan(registry, "dag", StepDefinition(step_id="sub", workflow=inner))
    node = plan.nodes["sub"]
    assert node.target is None
    assert node.sub_plan is not None
    assert node.sub_plan.workflow is inner
    assert node.sub_plan.order == ("x", "y")


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"tool_name": "nothing"}, UnknownNameError),
        ({"compensate": "nothing"}, UnknownNameError),
        ({"parameters": {"x": "${"}}, ReferenceSyntaxError),
        ({"when": "1 +"}, ConditionSyntaxError),
        ({"depends_on": "gone"}, WorkflowValidationError),
        ({"parameters": {"x": "${steps.gone}"}}, WorkflowValidationError),
        ({"depends_on": "a"}, DefinitionError),
    ],
)
def test_an_unsound_definition_has_no_plan(registry: Registry, fields: dict[str, Any], error: type) -> None:
    """Without the check before it, compiling still refuses what cannot run."""
    with pytest.raises(error):
        _plan(registry, "dag", _step("a", **fields), _step("b"))
    with pytest.raises(WorkflowValidationError, match="used twice"):
        _plan(registry, "dag", _step("a"), _step("a"))


_DEPENDENCIES = st.lists(st.sets(st.integers(0, 11), max_size=3), min_size=1, max_size=12)


@given(_DEPENDENCIES, st.sampled_from(["sequential", "dag"]), st.booleans())
def test_what_passes_the_check_has_a_sound_plan(
    needed: list[set[int]], mode: str, by_reference: bool
) -> None:
    """A definition without problems compiles to an order in which each step comes after all it waits for."""
    registry = Registry()
    registry.methods.register_method(_anything, name="anything")
    steps = []
    for number, others in enumerate(needed):
        ids = [f"s{other}" for other in sorted(others) if other < len(needed)]
        parameters = {step_id: f"${{steps.{step_id}}}" for step_id in ids} if by_reference else {}
        steps.append(
            _step(f"s{number}", parameters=parameters, depends_on=() if by_reference else tuple(ids))
        )
    workflow = Workflow(name="w", steps=tuple(steps), execution_mode=mode)
    if check(workflow, registry):
        later = any(other >= number for number, others in enumerate(needed) for other in others)
        assert later  # without a step that needs a later one or itself there is nothing to refuse
        return
    plan = compile_plan(workflow, registry)
    assert sorted(plan.order) == sorted(plan.nodes)
    place = {step_id: index for index, step_id in enumerate(plan.order)}
    for step_id, node in plan.nodes.items():
        assert all(place[other] < place[step_id] for other in node.after)
        assert set(node.requires) <= set(node.after)
        assert all(step_id in plan.nodes[other].dependents for other in node.after)


def _anything(**values: Any) -> Any:
    return values
