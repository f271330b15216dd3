"""What connects steps."""

from __future__ import annotations

from typing import Any

import pytest

from orchkit.analysis.links import Link, links, workflow_of
from orchkit.analysis.references import plain_condition, uses
from orchkit.model.workflow import StepDefinition, Workflow


def _workflow(mode: str, *steps: dict[str, Any]) -> Workflow:
    return Workflow.from_dict({"name": "w", "execution_mode": mode, "steps": steps})


@pytest.mark.parametrize(
    ("text", "step_ids"),
    [
        ("${steps.a}", ["a"]),
        ("${ steps.a.rows[0].id }", ["a"]),
        ("total ${steps.a.n} of ${steps.b-2.n}", ["a", "b-2"]),
        ('${steps["any text"].x}', ["any text"]),
        ("${steps['it'].x ?? 0}", ["it"]),
        ("$${steps.a}", []),
        ("$$${steps.a}", ["a"]),
        ("${context.steps.a}", []),
        ("${item}", []),
        ("steps.a", []),
        ("${steps.}", []),
        ("${", []),
    ],
)
def test_references_to_steps_are_found(text: str, step_ids: list[str]) -> None:
    """References to steps are seen in texts of any nesting; escaped ones and other roots are not."""
    step = StepDefinition(step_id="s", tool_name="t", parameters={"a": [{"b": (text,)}]})
    assert [use.step_id for use in uses(step)] == step_ids


def test_the_strongest_reason_makes_the_link() -> None:
    """Data beats condition beats declared dependency; each pair of steps is linked once."""
    flow = _workflow(
        "dag",
        {"id": "a", "tool": "t"},
        {"id": "b", "tool": "t"},
        {"id": "c", "tool": "t"},
        {
            "id": "d",
            "tool": "t",
            "depends_on": ["a", "b", "c"],
            "when": "${steps.b.ok} and ${steps.c.ok}",
            "params": {"x": "${steps.c.id}", "y": ["${steps.c.id}"]},
        },
    )
    assert links(flow) == [
        Link("a", "d", "dependency"),
        Link("b", "d", "condition", ("${steps.b.ok}",)),
        Link("c", "d", "data", ("${steps.c.id}", "${steps.c.ok}")),
    ]


def test_sequential_steps_follow_each_other() -> None:
    """Where no other link joins two steps in a row, order does."""
    flow = _workflow(
        "sequential",
        {"id": "a", "tool": "t"},
        {"id": "b", "tool": "t", "params": {"x": "${steps.a}"}},
        {"id": "c", "tool": "t"},
    )
    assert [(link.source, link.target, link.kind) for link in links(flow)] == [
        ("a", "b", "data"),
        ("b", "c", "order"),
    ]


def test_links_to_nowhere_are_left_out() -> None:
    """Unknown steps and references to oneself, which validation refuses, give no link."""
    flow = _workflow("dag", {"id": "a", "tool": "t", "depends_on": ["ghost"], "params": {"x": "${steps.a}"}})
    assert links(flow) == []


def test_a_map_is_linked_by_what_it_runs_over() -> None:
    """The list of a map counts as data."""
    flow = _workflow("dag", {"id": "a", "tool": "t"}, {"id": "m", "tool": "t", "over": "${steps.a.rows}"})
    assert links(flow) == [Link("a", "m", "data", ("${steps.a.rows}",))]


def test_a_definition_of_another_version_is_not_read() -> None:
    """What this version cannot read gives None instead of an error."""
    assert workflow_of({"name": "w", "steps": [], "from_the_future": 1}) is None
    assert workflow_of(None) is None


def test_conditions_in_plain_words() -> None:
    """The signs around references are left out, escaped dollars stay."""
    assert plain_condition("${steps.a.n} > 3 and not ${context.dry}") == "steps.a.n > 3 and not context.dry"
    assert plain_condition("'$${x}' == 1") == "'$${x}' == 1"
