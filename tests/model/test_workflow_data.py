"""Workflows and policies as data: JSON, YAML, short names, clear refusals."""

from __future__ import annotations

import inspect
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import orchkit as ok
from orchkit.errors import WorkflowValidationError
from orchkit.model.policy import (
    BreakerPolicy,
    OperationPolicy,
    RetryPolicy,
    TimeoutPolicy,
    as_retry,
    as_timeout,
)
from orchkit.model.workflow import Compensation, StepDefinition, Workflow

names = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00\x85\u2028\u2029"), min_size=1, max_size=12
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8) | st.floats(-1e6, 1e6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
steps = st.builds(
    StepDefinition,
    step_id=names,
    tool_name=names,
    parameters=st.dictionaries(st.text(max_size=5), plain, max_size=3),
    depends_on=st.lists(names, max_size=2).map(tuple),
    timeout=st.none() | st.builds(TimeoutPolicy, attempt=st.floats(0.1, 100)),
    retry_policy=st.none() | st.builds(RetryPolicy, max_attempts=st.integers(1, 9)),
    compensate=st.none() | st.builds(Compensation, tool_name=names),
)
workflows = st.builds(
    Workflow, name=names, steps=st.lists(steps, max_size=3).map(tuple), metadata=st.just({})
)


@given(workflows)
def test_json_round_trip(workflow: Workflow) -> None:
    """What `to_json` writes, `from_json` reads as the same definition."""
    assert Workflow.from_json(workflow.to_json()) == workflow


@given(workflows)
def test_yaml_round_trip(workflow: Workflow) -> None:
    """What `to_yaml` writes, `from_yaml` reads as the same definition."""
    assert Workflow.from_yaml(workflow.to_yaml()) == workflow


def test_sub_workflows_survive_json() -> None:
    """A definition inside a step is part of the definition."""
    inner = Workflow(name="inner", steps=(StepDefinition(step_id="x", tool_name="t"),))
    outer = Workflow(name="outer", steps=(StepDefinition(step_id="sub", workflow=inner),))
    assert Workflow.from_json(outer.to_json()) == outer


def test_yaml_accepts_the_short_names_people_write() -> None:
    """`id`, `tool`, `params`, `retry` and bare values mean the long forms."""
    workflow = Workflow.from_yaml(
        """
        name: short
        steps:
          - {id: a, tool: fetch, params: {url: x}, retry: 5, timeout: 2.5, compensate: undo, depends_on: b}
        """
    )
    step = workflow.step("a")
    assert (step.tool_name, step.parameters, step.depends_on) == ("fetch", {"url": "x"}, ("b",))
    assert step.retry_policy == RetryPolicy(max_attempts=5)
    assert step.timeout == TimeoutPolicy(attempt=2.5)
    assert step.compensate == Compensation(tool_name="undo")


def test_files_are_read_by_their_ending(tmp_path: Path) -> None:
    """`.json` is JSON, anything else YAML."""
    workflow = Workflow(name="w", steps=(StepDefinition(step_id="a", tool_name="t"),))
    (tmp_path / "w.json").write_text(workflow.to_json(), encoding="utf-8")
    (tmp_path / "w.yaml").write_text(workflow.to_yaml(), encoding="utf-8")
    assert Workflow.from_file(tmp_path / "w.json") == workflow == Workflow.from_file(str(tmp_path / "w.yaml"))


@pytest.mark.parametrize(
    ("data", "where"),
    [
        ({"name": "w", "stepps": []}, "stepps"),
        ({"name": "w", "execution_mode": "random"}, "execution_mode"),
        ({"name": "w", "steps": [{"id": "a", "tool": "t", "retries": 3}]}, "retries"),
        ({"name": "w", "timeout": 0}, "timeout"),
        ({"name": "w", "steps": [{"id": "a", "tool": "t", "retry": {"max_attempts": 0}}]}, "max_attempts"),
    ],
)
def test_a_wrong_field_is_named(data: dict[str, Any], where: str) -> None:
    """Unknown fields and impossible values are refused by name, not ignored."""
    with pytest.raises(WorkflowValidationError, match=where):
        Workflow.from_dict(data)


def test_definitions_do_not_change() -> None:
    """A workflow that was built stays as it is."""
    workflow = Workflow(name="w")
    with pytest.raises(ValidationError, match="frozen"):
        workflow.name = "other"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (None, None),
        (4, RetryPolicy(max_attempts=4)),
        ({"strategy": "fixed", "delay": 2}, RetryPolicy(strategy="fixed", delay=2)),
        (RetryPolicy(jitter="none"), RetryPolicy(jitter="none")),
    ],
)
def test_retry_shorthands(written: Any, meant: RetryPolicy | None) -> None:
    """A number is a number of attempts, a mapping the fields."""
    assert as_retry(written) == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [(None, None), (1.5, TimeoutPolicy(attempt=1.5)), ({"total": 3}, TimeoutPolicy(total=3))],
)
def test_timeout_shorthands(written: Any, meant: TimeoutPolicy | None) -> None:
    """A number is the limit of an attempt."""
    assert as_timeout(written) == meant


def test_exception_types_are_kept_by_name() -> None:
    """Types and names mean the same, so that policies stay data."""
    policy = RetryPolicy(retry_on=(ValueError, "TimeoutError"), give_up_on=KeyError)
    assert (policy.retry_on, policy.give_up_on) == (("ValueError", "TimeoutError"), ("KeyError",))


@pytest.mark.parametrize("pattern", ["*", "case*", "a.*.b"])
def test_only_a_trailing_wildcard_is_a_pattern(pattern: str) -> None:
    """A pattern that would never match as its author thinks is refused."""
    with pytest.raises(ValidationError, match="wildcard"):
        OperationPolicy(pattern=pattern)


@pytest.mark.parametrize(
    ("fields", "jitter"),
    [
        ({}, "full"),
        ({"strategy": "exponential"}, "full"),
        ({"strategy": "fixed"}, "none"),
        ({"strategy": "immediate"}, "none"),
        ({"strategy": "fixed", "jitter": "full"}, "full"),
    ],
)
def test_fixed_waits_are_fixed_unless_said_otherwise(fields: dict[str, Any], jitter: str) -> None:
    """Growing waits are scattered by default; a fixed one is what its name says."""
    assert RetryPolicy(**fields).jitter == jitter


@pytest.mark.parametrize(
    ("definition", "shown"),
    [
        ({"name": "empty"}, "<Workflow empty: sequential, 0 steps>"),
        ({"name": "one", "steps": [{"id": "a"}]}, "<Workflow one: sequential, 1 step: a>"),
        (
            {
                "name": "n",
                "execution_mode": "dag",
                "error_handling": "continue_on_failure",
                "steps": [{"id": f"s{number}", "params": {"x": "y" * 1000}} for number in range(9)],
            },
            "<Workflow n: dag, continues on failure, 9 steps: s0, s1, s2, s3, s4, s5, s6, s7, … and 1 more>",
        ),
        ({"name": "two\nlines " + "x" * 100}, f"<Workflow two lines {'x' * 49}…: sequential, 0 steps>"),
    ],
)
def test_a_workflow_says_what_it_is_in_short(definition: dict[str, Any], shown: str) -> None:
    """Its repr and its text are one line; it still is equal to, and pickled as, all of itself."""
    flow = Workflow.from_dict(definition)
    assert (repr(flow), str(flow)) == (shown, shown)
    again = pickle.loads(pickle.dumps(flow))
    assert again == flow
    assert flow.model_copy(update={"name": "other"}) != flow


def test_what_is_worked_out_of_a_record_does_not_outlive_its_fields() -> None:
    """A changed copy of a step has the policies of the copy; records with and without them are equal."""
    step = StepDefinition(step_id="a", tool_name="t", retry_policy=RetryPolicy(max_attempts=5))
    same = StepDefinition(step_id="a", tool_name="t", retry_policy=RetryPolicy(max_attempts=5))
    assert step.reliability.retry == RetryPolicy(max_attempts=5)
    assert step.reliability is step.reliability
    changed = step.model_copy(update={"retry_policy": None})
    assert changed.reliability.retry is None
    assert step == same
    assert "reliability" not in step.model_dump()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "wf.yaml",
            "line 1: a definition is a mapping of fields, not a str (read a file with from_file('wf.yaml'))",
        ),
        ("name: [", "line 1, column 8: this is not YAML"),
        ("name: w\nname: x", "line 2, column 1: this is not YAML: 'name' stands twice, also in line 1"),
        (
            "name: w\nsteps:\n  - {id: a, tol: t}",
            "line 3, step 'a': there is no field 'tol' (did you mean 'tool'?)",
        ),
        (
            "name: w\nsteps:\n  - {id: a, tool: t, retry: {attempts: 3}}",
            "line 3, step 'a': there is no field 'retry.attempts' (did you mean 'max_attempts'?)",
        ),
    ],
)
def test_a_fault_of_a_text_is_told_with_its_line(text: str, fault: str) -> None:
    """Also in Python, as an error of orchkit: what is no YAML, a key that stands twice, an unknown field."""
    with pytest.raises(WorkflowValidationError) as caught:
        Workflow.from_yaml(text)
    assert str(caught.value.problems[0]).startswith(fault)


def test_a_fault_of_data_and_of_a_file_is_told_with_its_step(tmp_path: Path) -> None:
    """Plain data has no lines; a file gives its name."""
    data = {"name": "w", "steps": [{"id": "a", "tol": "t"}]}
    with pytest.raises(
        WorkflowValidationError, match=r"workflow 'w'.*\n  - step 'a': there is no field 'tol'"
    ):
        Workflow.from_dict(data)
    (tmp_path / "w.json").write_text('{"name": "w",\n "tool": 3}', encoding="utf-8")
    with pytest.raises(WorkflowValidationError, match=r"'w.json'.*\n  - line 2: there is no field 'tool'"):
        Workflow.from_file(tmp_path / "w.json")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: RetryPolicy(dealy=3), "no such field 'dealy', did you mean 'delay'?"),  # type: ignore[call-arg]
        (lambda: as_retry({"attempts": 3}), "no such field 'attempts', did you mean 'max_attempts'?"),
        (
            lambda: StepDefinition.model_validate({"id": "a", "polcy": 3}),
            "no such field 'polcy', did you mean 'policy'?",
        ),
        (lambda: TimeoutPolicy.model_validate({"xyz": 3}), "no such field 'xyz', there are attempt, total"),
        (lambda: Workflow.model_validate({"name": "{name}", "x{y}": 1}), "no such field 'x{y}'"),
        (
            lambda: StepDefinition.model_validate({"step_id": "a", "tool": "x", "tool_name": "x"}),
            "'tool_name' and 'tool' are names of one field, give one of them",
        ),
        (
            lambda: BreakerPolicy.model_validate({"timeout": 3, "open_for": 3}),
            "'reset_timeout', 'timeout' and 'open_for' are names of one field, give one of them",
        ),
    ],
)
def test_an_unknown_field_comes_with_the_one_that_was_meant(make: Any, said: str) -> None:
    """Everywhere where a record is made, also inside of others; else with all that there are."""
    with pytest.raises(ValidationError) as caught:
        make()
    assert said in str(caught.value)


def test_two_names_of_one_field_are_told_in_a_file_as_well() -> None:
    """Instead of that the second one is no field."""
    text = '{"name": "w",\n "steps": [{"step_id": "a", "tool": "x", "tool_name": "x"}]}'
    with pytest.raises(WorkflowValidationError, match="'tool_name' and 'tool' are names of one field"):
        Workflow.from_json(text)


@pytest.mark.parametrize(
    "record", ["RetryPolicy", "TimeoutPolicy", "BreakerPolicy", "FallbackPolicy", "ReliabilityPolicy"]
)
def test_the_help_of_a_policy_lists_its_fields(record: str) -> None:
    """Each field with its default and meaning; the signature says names and defaults alone."""
    policy = getattr(ok, record)
    _, table = policy.__doc__.split("\n\nFields:\n")
    assert all(f"    {name}" in table for name in policy.model_fields)
    assert all(info.description for info in policy.model_fields.values())
    assert "Annotated" not in str(inspect.signature(policy))


def test_the_help_of_a_retry_policy() -> None:
    """Defaults are shown as they are written."""
    assert "    delay = 1.0\n        Seconds before the second attempt" in (RetryPolicy.__doc__ or "")
    assert str(inspect.signature(TimeoutPolicy)) == "(*, attempt=None, total=None)"
