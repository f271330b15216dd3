"""The builder: what its short forms mean, what it collects, and that what it built stays as it is."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.engine.builder import WorkflowBuilder
from orchkit.errors import WorkflowValidationError
from orchkit.model.policy import RetryPolicy, TimeoutPolicy
from orchkit.model.workflow import Compensation, StepDefinition, Workflow
from orchkit.registry.registration import default_registry
from orchkit.registry.registry import Registry


@pytest.fixture
def builder(registry: Registry) -> WorkflowBuilder:
    """An empty builder over the small tools."""
    return WorkflowBuilder("flow", registry=registry)


def _problems(builder: WorkflowBuilder) -> list[str]:
    with pytest.raises(WorkflowValidationError) as caught:
        builder.build()
    assert caught.value.workflow == builder._name
    return [str(problem) for problem in caught.value.problems]


# --- steps ---------------------------------------------------------------------------------


def test_every_option_of_a_step(builder: WorkflowBuilder) -> None:
    """Each keyword of add_step ends up in the field of the step that it is about."""
    builder.add_step("anything", step_id="first").with_execution_mode("dag")
    workflow = builder.add_step(
        "create_casefile",
        {"title": "${steps.first.title}"},
        step_id="second",
        depends_on=["first"],
        when="${steps.first.ok}",
        timeout=TimeoutPolicy(attempt=1, total=5),
        retry=RetryPolicy(max_attempts=4),
        compensate=Compensation(tool_name="anything"),
        node_type="service",
        executor="threads",
        description="why",
    ).build()
    assert workflow.step("second") == StepDefinition(
        step_id="second",
        tool_name="create_casefile",
        parameters={"title": "${steps.first.title}"},
        depends_on=("first",),
        when="${steps.first.ok}",
        timeout=TimeoutPolicy(attempt=1, total=5),
        retry_policy=RetryPolicy(max_attempts=4),
        compensate=Compensation(tool_name="anything"),
        node_type="service",
        executor="threads",
        description="why",
    )


def test_defaults(builder: WorkflowBuilder) -> None:
    """Without settings a workflow is sequential and stops at the first failure; params may be left out."""
    workflow = builder.add_step("anything").build()
    assert workflow.workflow_id.startswith("wf_")
    assert (workflow.name, workflow.execution_mode, workflow.error_handling) == (
        "flow",
        "sequential",
        "stop_on_failure",
    )
    assert workflow.steps == (StepDefinition(step_id="anything", tool_name="anything"),)


def test_default_ids(builder: WorkflowBuilder) -> None:
    """A step is called like its tool, with the first free number from the second on."""
    for step_id in (None, "anything_3", None, None, "other", None):
        builder.add_step("anything", step_id=step_id)
    ids = [step.step_id for step in builder.build().steps]
    assert ids == ["anything", "anything_3", "anything_2", "anything_4", "other", "anything_5"]


def test_an_id_given_twice_is_not_renumbered(builder: WorkflowBuilder) -> None:
    """Ids that were given are kept, so that a duplicate is a problem and not a surprise."""
    builder.add_step("anything").add_step("count", {"n": 1}, step_id="anything")
    (problem,) = _problems(builder)
    assert "used twice" in problem


@given(st.lists(st.sampled_from(["a", "a_2", "a_3", None]), max_size=12))
def test_default_ids_are_free(given_ids: list[str | None]) -> None:
    """Whatever ids were given before, a default one is new."""
    registry = Registry()
    registry.methods.register_method(_tool, name="a")
    builder, seen = WorkflowBuilder("w", registry=registry), set()
    for step_id in given_ids:
        builder.add_step("a", step_id=step_id)
        made = builder._steps[-1].step_id
        assert made == step_id if step_id else made not in seen
        seen.add(made)


def _tool(x: int = 0) -> int:
    """Registered on the fly by the tests."""
    return x


def test_functions_are_registered_and_stored_by_name(registry: Registry) -> None:
    """A function given as tool or compensation is registered; the definition, which is data, has its name."""

    def undo(x: int = 0) -> None:
        """Not registered before."""

    workflow = (
        WorkflowBuilder("flow", registry=registry)
        .add_step(_tool, {"x": 1}, compensate=undo)
        .add_step(_tool, compensate={"tool": undo, "params": {"x": "${steps._tool}"}})
        .build()
    )
    assert [(step.step_id, step.tool_name) for step in workflow.steps] == [
        ("_tool", "_tool"),
        ("_tool_2", "_tool"),
    ]
    assert registry.resolve("_tool").method.function is _tool
    assert registry.resolve("undo").method.function is undo
    assert workflow.steps[0].compensate == Compensation(tool_name="undo")
    assert workflow.steps[1].compensate == Compensation(tool_name="undo", parameters={"x": "${steps._tool}"})
    assert Workflow.from_json(workflow.to_json()) == workflow


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [
        ("anything", Compensation(tool_name="anything")),
        ({"tool": "anything"}, Compensation(tool_name="anything")),
        (
            {"tool_name": "anything", "parameters": {"x": 1}},
            Compensation(tool_name="anything", parameters={"x": 1}),
        ),
        ({"tool": "anything", "params": {"x": 1}}, Compensation(tool_name="anything", parameters={"x": 1})),
    ],
)
def test_forms_of_a_compensation(builder: WorkflowBuilder, given_value: Any, expected: Compensation) -> None:
    """A compensation is a name or a mapping with short or long field names."""
    assert builder.add_step("anything", compensate=given_value).build().steps[0].compensate == expected


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [(None, ()), ("a", ("a",)), (["b", "a"], ("b", "a")), (("a",), ("a",)), ({"b", "a"}, ("a", "b"))],
)
def test_forms_of_depends_on(builder: WorkflowBuilder, given_value: Any, expected: tuple[str, ...]) -> None:
    """One id, several in the order given, or a set in a fixed order."""
    builder.add_step("anything", step_id="a").add_step("anything", step_id="b")
    workflow = builder.add_step("anything", step_id="c", depends_on=given_value).build()
    assert workflow.step("c").depends_on == expected


def test_short_forms_of_policies(builder: WorkflowBuilder) -> None:
    """A number is so many attempts or seconds per attempt; a mapping has the fields of the policy."""
    workflow = (
        builder.add_step("anything", retry=5, timeout=1.5)
        .add_step("anything", retry={"strategy": "fixed", "retry_on": (KeyError,)}, timeout={"total": 9})
        .build()
    )
    first, second = workflow.steps
    assert first.retry_policy == RetryPolicy(max_attempts=5)
    assert first.timeout == TimeoutPolicy(attempt=1.5)
    assert second.retry_policy == RetryPolicy(strategy="fixed", retry_on=("KeyError",))
    assert second.timeout == TimeoutPolicy(total=9)


# --- maps and sub-workflows ----------------------------------------------------------------


def test_a_map(builder: WorkflowBuilder) -> None:
    """A map holds its list and its limit, and is drawn as one."""
    builder.add_step("list_drive_files").add_map(
        "search_gmail", "${steps.list_drive_files}", {"query": "${item.name}"}, max_concurrency=3
    )
    step = builder.build().steps[1]
    assert (step.step_id, step.node_type, step.max_concurrency) == ("search_gmail", "map", 3)
    assert (step.over, step.parameters) == ("${steps.list_drive_files}", {"query": "${item.name}"})


def _two(x: int, y: int) -> int:
    """Two required parameters."""
    return x + y


def _none() -> int:
    """No parameters."""
    return 0


@pytest.mark.parametrize(
    ("tool", "over", "expected"),
    [
        ("count", range(3), {"n": "${item}"}),
        ("search_gmail", ["q"], {"query": "${item}"}),
        ("list_drive_files", ("/",), {"folder": "${item}"}),
        (_none, "${context.rows}", {}),
    ],
)
def test_a_map_without_parameters(registry: Registry, tool: Any, over: Any, expected: dict[str, str]) -> None:
    """The item goes to the only required parameter, or to the only one at all."""
    workflow = WorkflowBuilder("flow", registry=registry).add_map(tool, over).build()
    assert workflow.steps[0].parameters == expected
    assert workflow.steps[0].over == ([0, 1, 2] if isinstance(over, range) else over)


def test_a_map_over_a_tool_that_needs_more(builder: WorkflowBuilder) -> None:
    """With two required parameters it must be said which one is the item."""
    assert len(_problems(builder.add_map(_two, [1]))) == 2


def test_a_map_of_a_tool_that_comes_later(registry: Registry) -> None:
    """The parameters of a map are looked up by build(), not before."""
    builder = WorkflowBuilder("flow", registry=registry).add_map("later", [1])
    assert "unknown tool" in _problems(builder)[0]
    registry.methods.register_method(_tool, name="later")
    assert builder.build().steps[0].parameters == {"x": "${item}"}


@pytest.mark.parametrize("over", [None, "rows", 5, {"a": 1}, "x ${run.id}"])
def test_a_map_over_no_list(builder: WorkflowBuilder, over: Any) -> None:
    """What is neither a list nor one reference is a problem of its own."""
    (problem,) = _problems(builder.add_map("count", over))
    assert "over is" in problem


def test_a_sub_workflow(registry: Registry, builder: WorkflowBuilder) -> None:
    """A sub-workflow is called by its name, and its output is known by the ids of its steps."""
    inner = WorkflowBuilder("inner", registry=registry).add_step("count", {"n": "${context.n}"}).build()
    workflow = (
        builder.add_workflow(inner, {"n": 1}, description="inside")
        .add_workflow(inner, {"n": "${steps.inner.count}"})
        .add_step("count", {"n": "${steps.inner_2.count}"})
        .build()
    )
    first, second, _ = workflow.steps
    assert (first.step_id, first.node_type, first.workflow, first.tool_name) == (
        "inner",
        "workflow",
        inner,
        "",
    )
    assert second.step_id == "inner_2"
    assert Workflow.from_json(workflow.to_json()) == workflow


def test_no_workflow_as_sub_workflow(builder: WorkflowBuilder) -> None:
    """What is no workflow is a problem, not an exception half-way."""
    found = _problems(builder.add_workflow("inner"))  # type: ignore[arg-type]
    assert "workflow: input should be" in found[0]


# --- settings ------------------------------------------------------------------------------


def test_settings(builder: WorkflowBuilder) -> None:
    """Each with_ method sets its field; metadata add up."""
    workflow = (
        builder.add_step("anything")
        .with_execution_mode("parallel")
        .with_error_handling("continue_on_failure")
        .with_timeout(30)
        .with_metadata({"owner": "team"}, stage="trial")
        .with_metadata(stage="real")
        .with_description("what for")
        .build()
    )
    assert workflow.execution_mode == "parallel"
    assert workflow.error_handling == "continue_on_failure"
    assert workflow.timeout == 30
    assert workflow.metadata == {"owner": "team", "stage": "real"}
    assert workflow.description == "what for"
    assert WorkflowBuilder("w", description="d").add_step(_tool)._settings["description"] == "d"


def test_the_default_registry() -> None:
    """Without a registry the builder looks where the decorators register."""
    assert WorkflowBuilder("w")._registry is default_registry


# --- problems ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        ({"retry": 0}, ["step 'anything'", "retry: max_attempts", "greater than or equal to 1"]),
        ({"retry": {"strategy": "sometimes"}}, ["retry: strategy", "'exponential'", "'sometimes'"]),
        ({"retry": {"retry_on": [5]}}, ["retry", "5"]),
        ({"retry": "often"}, ["retry", "'often'"]),
        ({"timeout": -1}, ["timeout: attempt", "greater than 0"]),
        ({"timeout": "soon"}, ["timeout", "'soon'"]),
        ({"compensate": 5}, ["compensate", "a name or a function", "5"]),
        ({"compensate": {"tol": "x"}}, ["compensate", "a name or a function"]),
        ({"compensate": {"tool": "anything", "parms": {}}}, ["compensate", "parms"]),
        ({"compensate": lambda: None}, ["compensate", "lambda"]),
        ({"depends_on": 5}, ["depends_on", "got 5"]),
        ({"when": True}, ["when", "got True"]),
        ({"params": [1]}, ["params", "[1]"]),
        ({"params": {1: 2}}, ["params", "{1: 2}"]),
        ({"step_id": 5}, ["step number 1", "step_id", "5"]),
        ({"node_type": None, "executor": 7}, ["executor", "got 7"]),
        ({"tool": lambda x: x}, ["step '<lambda>'", "lambda"]),
        ({"tool": 5}, ["step 'step'", "a name or a function", "5"]),
        ({"tool": functools.partial(_tool, 1)}, ["partial"]),
    ],
)
def test_bad_values_wait_for_build(
    builder: WorkflowBuilder, arguments: dict[str, Any], fragments: list[str]
) -> None:
    """A value that cannot be used raises nothing half-way, and is one problem of its step at the end."""
    builder.add_step(**{"tool": "anything", **arguments})
    (problem,) = _problems(builder)
    for fragment in fragments:
        assert fragment in problem


@pytest.mark.parametrize(
    ("method", "value", "fragments"),
    [
        (
            "with_execution_mode",
            "paralel",
            ["execution_mode", "'sequential', 'parallel' or 'dag'", "'paralel'"],
        ),
        ("with_error_handling", "ignore", ["error_handling", "'stop_on_failure' or 'continue_on_failure'"]),
        ("with_timeout", 0, ["timeout", "greater than 0"]),
        ("with_timeout", "an hour", ["timeout", "'an hour'", "'30d'"]),
        ("with_metadata", 5, ["metadata", "5"]),
        ("with_description", 5, ["description", "5"]),
    ],
)
def test_bad_settings_wait_for_build(
    builder: WorkflowBuilder, method: str, value: Any, fragments: list[str]
) -> None:
    """A bad setting is one problem of the workflow, which names what is valid."""
    getattr(builder.add_step("anything"), method)(value)
    (problem,) = _problems(builder)
    assert problem.startswith("workflow 'flow': ")
    for fragment in fragments:
        assert fragment in problem


def test_an_empty_workflow(registry: Registry) -> None:
    """Neither a workflow without steps nor one without a name is built."""
    assert _problems(WorkflowBuilder(" ", registry=registry)) == [
        "workflow ' ': its name is empty",
        "workflow ' ': has no steps (add one with add_step)",
    ]


def test_problems_come_in_the_order_of_the_steps(builder: WorkflowBuilder) -> None:
    """What the builder cannot read and what the check finds are told step by step, the workflow first."""
    builder.add_step("count", {"n": "x"}, step_id="a").add_step("anything", step_id="b", retry=0)
    builder.add_step("gone", step_id="c").add_step("anything", step_id="d", timeout=-1, depends_on="x")
    builder.with_timeout(0).with_metadata(5)  # type: ignore[arg-type]
    found = [problem.partition(": ")[0] for problem in _problems(builder)]
    assert found == [
        "workflow 'flow'",
        "workflow 'flow'",
        "step 'a'",
        "step 'b'",
        "step 'c'",
        *["step 'd'"] * 2,
    ]


def test_long_values_are_shortened(builder: WorkflowBuilder) -> None:
    """A value that cannot be used is named, not printed in full."""
    builder.add_step("anything", ["x" * 5_000] * 50).add_step("anything", retry="y" * 5_000)  # type: ignore[arg-type]
    assert all(len(problem) < 180 for problem in _problems(builder))


def test_bad_values_do_not_hide_other_mistakes(builder: WorkflowBuilder) -> None:
    """Values that cannot be used and definitions that cannot run are reported together."""
    builder.add_step("count", {"n": "x"}, retry=0).add_step(5, when="1 +", depends_on="gone")  # type: ignore[arg-type]
    found = " | ".join(_problems(builder))
    for fragment in (
        "retry",
        "expected int",
        "a name or a function",
        "invalid syntax",
        "unknown step 'gone'",
    ):
        assert fragment in found
    assert found.count(" | ") == 4


# --- what was built stays ------------------------------------------------------------------


def test_a_builder_can_be_used_on(builder: WorkflowBuilder) -> None:
    """What was built does not change when the builder goes on, and each build is a definition of its own."""
    builder.add_step("anything").with_metadata(stage="one")
    first = builder.build()
    before = first.to_json()
    second = builder.add_step("count", {"n": 1}).with_metadata(stage="two").with_timeout(5).build()
    assert first.to_json() == before
    assert [step.step_id for step in second.steps] == ["anything", "count"]
    assert first.workflow_id != second.workflow_id


def test_values_given_to_the_builder_can_be_changed_afterwards(builder: WorkflowBuilder) -> None:
    """Parameters, lists and metadata are copied when they are given."""
    leaf = "leaf of the tree"
    params: dict[str, Any] = {"x": [1, {"y": 2}], "leaf": leaf}
    rows: list[Any]
    rows, meta, undo = [1], {"tags": ["a"]}, Compensation(tool_name="anything", parameters={"z": [1]})
    builder.add_step("anything", params, compensate=undo).add_map("count", rows).with_metadata(meta)
    first = builder.build()
    params["x"][1]["y"] = rows[0] = meta["tags"][0] = undo.parameters["z"][0] = "changed"
    second = builder.build()
    for workflow in (first, second):
        assert workflow.steps[0].parameters == {"x": [1, {"y": 2}], "leaf": leaf}
        assert workflow.steps[0].parameters["leaf"] is leaf
        assert workflow.steps[0].compensate == Compensation(tool_name="anything", parameters={"z": [1]})
        assert workflow.steps[1].over == [1]
        assert workflow.metadata == {"tags": ["a"]}


def test_the_same_dict_for_many_steps(builder: WorkflowBuilder) -> None:
    """A dict that is changed in a loop gives each step the values of its round."""
    params = {"n": 0}
    for n in range(3):
        params["n"] = n
        builder.add_step("count", params)
    assert [step.parameters["n"] for step in builder.build().steps] == [0, 1, 2]


def test_definitions_are_the_same_in_json_and_yaml(builder: WorkflowBuilder) -> None:
    """A built workflow written to JSON or YAML and read back is equal."""
    workflow = (
        builder.add_step("list_drive_files", retry=2)
        .add_map("search_gmail", "${steps.list_drive_files}", {"query": "${item.name} $${x}"})
        .with_execution_mode("dag")
        .build()
    )
    assert Workflow.from_json(workflow.to_json()) == workflow
    assert Workflow.from_yaml(workflow.to_yaml()) == workflow


def test_a_builder_shows_what_it_has(builder: WorkflowBuilder) -> None:
    """Its name, its steps, and how many problems there are by now."""
    assert repr(builder) == "<WorkflowBuilder flow: 0 steps>"
    builder.add_step("fetch", {"url": "x"}).add_step("nowhere", retry="nonsense")
    assert (
        repr(builder)
        == "<WorkflowBuilder flow: 2 steps: fetch, nowhere; 1 problem so far, which build() tells>"
    )


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("add_step", "retries", r"add_step\(\) has no argument 'retries', did you mean 'retry'\?"),
        ("add_map", "time_out", r"add_map\(\) has no argument 'time_out', did you mean 'timeout'\?"),
        ("add_step", "xyz", r"no argument 'xyz', there are tool, params, step_id"),
    ],
)
def test_an_unknown_argument_comes_with_the_one_that_was_meant(
    builder: WorkflowBuilder, method: str, given: str, said: str
) -> None:
    """It is a TypeError at once, as everywhere in Python, and says what there is."""
    with pytest.raises(TypeError, match=said):
        getattr(builder, method)("fetch", **{given: 3})
