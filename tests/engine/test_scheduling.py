"""Which steps run, in which order, and why others do not."""

from __future__ import annotations

import threading
from contextvars import Context, ContextVar
from typing import Any

import pytest

from orchkit.errors import CodecError, ParameterError, WorkflowExecutionError, WorkflowValidationError
from orchkit.model.result import WorkflowResult
from orchkit.model.workflow import ExecutionMode
from orchkit.store import codec

seen: ContextVar[tuple[str, ...]] = ContextVar("seen", default=())


@pytest.fixture
def tools(lab: Any) -> list[tuple[str, float, float]]:
    """``step``, ``fail``, ``slow`` and ``pick`` are registered; the list fills with (name, start, end)."""
    log: list[tuple[str, float, float]] = []

    async def step(name: str = "", seconds: float = 0, value: Any = None) -> Any:
        start = lab.clock.monotonic()
        await lab.clock.sleep(seconds)
        log.append((name, start, lab.clock.monotonic()))
        return value

    async def fail(name: str = "", seconds: float = 0) -> None:
        await lab.clock.sleep(seconds)
        log.append((name, lab.clock.monotonic(), lab.clock.monotonic()))
        raise ValueError(f"{name} is broken")

    for function in (step, fail):
        lab.tool(function)
    return log


def statuses(result: WorkflowResult) -> dict[str, str]:
    """The status of each step."""
    return {step_id: step.status for step_id, step in result.steps.items()}


# --- modes ---------------------------------------------------------------------------------


def chain(lab: Any, mode: ExecutionMode) -> Any:
    """Three steps of ten seconds that do not refer to each other."""
    flow = lab.flow(mode=mode)
    for name in "abc":
        flow.add_step("step", {"name": name, "seconds": 10}, step_id=name)
    return flow


@pytest.mark.parametrize(
    ("mode", "starts"), [("sequential", [0, 10, 20]), ("parallel", [0, 0, 0]), ("dag", [0, 0, 0])]
)
def test_a_mode_decides_when_independent_steps_start(
    lab: Any, tools: list[Any], mode: ExecutionMode, starts: list[float]
) -> None:
    """In sequence one after the other; in parallel and in a graph all at once."""
    result = lab.execute(chain(lab, mode))
    assert result.success
    assert [start for _, start, _ in tools] == starts
    assert [name for name, _, _ in tools] == ["a", "b", "c"]


def test_a_graph_starts_each_step_as_soon_as_what_it_needs_is_over(lab: Any, tools: list[Any]) -> None:
    """A step waits for its own predecessors only, whatever the order of definition."""
    flow = (
        lab.flow()
        .add_step("step", {"name": "join", "seconds": 1}, step_id="join", depends_on=["left", "right"])
        .add_step("step", {"name": "left", "seconds": 5}, step_id="left", depends_on="root")
        .add_step("step", {"name": "right", "seconds": 2}, step_id="right", depends_on="root")
        .add_step("step", {"name": "after", "seconds": 1}, step_id="after", depends_on="right")
        .add_step("step", {"name": "root", "seconds": 3}, step_id="root")
    )
    assert lab.execute(flow).success
    assert sorted(tools) == [
        ("after", 5, 6),
        ("join", 8, 9),
        ("left", 3, 8),
        ("right", 3, 5),
        ("root", 0, 3),
    ]


def test_a_reference_is_a_dependency(lab: Any, tools: list[Any]) -> None:
    """In a graph a step that refers to another starts after it, without saying so."""
    flow = (
        lab.flow()
        .add_step("step", {"name": "b", "value": "${steps.a}"}, step_id="b")
        .add_step("step", {"name": "a", "seconds": 4, "value": 7}, step_id="a")
    )
    assert lab.execute(flow).outputs == {"b": 7, "a": 7}
    assert [name for name, _, _ in tools] == ["a", "b"]


def test_results_are_in_the_order_of_definition(lab: Any, tools: list[Any]) -> None:
    """Whatever ended first, ``result.steps`` has the steps as they were written down."""
    flow = lab.flow(mode="parallel")
    for name, seconds in (("slow", 9), ("quick", 1), ("middle", 5)):
        flow.add_step("step", {"name": name, "seconds": seconds}, step_id=name)
    result = lab.execute(flow)
    assert list(result.steps) == ["slow", "quick", "middle"]
    assert [name for name, _, _ in tools] == ["quick", "middle", "slow"]


def test_a_workflow_without_steps_is_refused(lab: Any) -> None:
    """There is nothing to run, and nothing is recorded."""
    with pytest.raises(WorkflowValidationError, match="has no steps"):
        lab.flow().build()
    assert lab.events() == []


def test_a_step_begins_in_the_context_of_the_run(lab: Any) -> None:
    """Context variables set by one step are not seen by the next; those of the caller are seen by all."""

    async def mark(name: str) -> tuple[str, ...]:
        seen.set((*seen.get(), name))
        return seen.get()

    lab.tool(mark)
    flow = lab.flow(mode="sequential")
    for name in "abc":
        flow.add_step("mark", {"name": name}, step_id=name)
    # Also a caller without any context variables has a context.
    assert Context().run(lab.execute, flow).outputs == {name: (name,) for name in "abc"}
    token = seen.set(("caller",))
    try:
        result = lab.execute(flow)
    finally:
        seen.reset(token)
    assert result.outputs == {name: ("caller", name) for name in "abc"}


# --- failure -------------------------------------------------------------------------------


def test_a_failure_stops_a_sequence(lab: Any, tools: list[Any]) -> None:
    """The run ends failed, later steps are skipped with the reason, and the error names step and cause."""
    flow = (
        lab.flow(mode="sequential")
        .add_step("step", {"name": "a"}, step_id="a")
        .add_step("fail", {"name": "b"}, step_id="b")
        .add_step("step", {"name": "c"}, step_id="c")
        .add_step("step", {"name": "d"}, step_id="d", depends_on="c")
        .add_step("step", {"name": "e"}, step_id="e", depends_on="b")
    )
    result = lab.execute(flow)
    assert (result.status, result.error) == ("failed", "ValueError: b is broken")
    assert statuses(result) == {"a": "success", "b": "failed", "c": "skipped", "d": "skipped", "e": "skipped"}
    assert result.steps["c"].reason == "step 'b' failed"
    assert result.steps["d"].reason == "step 'c', which it depends on, did not succeed"
    assert result.steps["e"].reason == "step 'b', which it depends on, did not succeed"
    assert [name for name, _, _ in tools] == ["a", "b"]
    with pytest.raises(WorkflowExecutionError, match="step 'b' failed on attempt 1: ValueError") as caught:
        result.raise_for_status()
    assert (caught.value.step_id, caught.value.attempt) == ("b", 1)
    assert isinstance(caught.value.__cause__, ValueError)


def test_going_on_after_a_failure_finishes_what_does_not_need_it(lab: Any, tools: list[Any]) -> None:
    """Only what depends on the failed step is skipped, all the way down; the run is partial."""
    flow = (
        lab.flow()
        .with_error_handling("continue_on_failure")
        .add_step("fail", {"name": "a"}, step_id="a")
        .add_step("step", {"name": "b"}, step_id="b")
        .add_step("step", {"name": "c"}, step_id="c", depends_on="a")
        .add_step("step", {"name": "d"}, step_id="d", depends_on=["b", "c"])
        .add_step("step", {"name": "e"}, step_id="e", depends_on="b")
    )
    result = lab.execute(flow)
    assert result.status == "partial"
    assert statuses(result) == {
        "a": "failed",
        "b": "success",
        "c": "skipped",
        "d": "skipped",
        "e": "success",
    }
    assert result.steps["d"].reason == "step 'c', which it depends on, did not succeed"
    assert lab.decisions(result.run_id, "skip") == [("c", "skip", "skip"), ("d", "skip", "skip")]


@pytest.mark.parametrize(
    ("handling", "others", "status"),
    [
        ("stop_on_failure", 1, "failed"),
        ("stop_on_failure", 0, "failed"),
        ("continue_on_failure", 1, "partial"),
        ("continue_on_failure", 0, "failed"),
    ],
)
def test_the_status_of_a_run_with_a_failure(
    lab: Any, tools: list[Any], handling: Any, others: int, status: str
) -> None:
    """Partial means that something failed, something succeeded, and the run went on on purpose."""
    flow = lab.flow(mode="sequential").with_error_handling(handling)
    for n in range(others):
        flow.add_step("step", {"name": str(n)}, step_id=f"s{n}")
    assert lab.execute(flow.add_step("fail")).status == status


def test_a_failure_cancels_what_runs(lab: Any, tools: list[Any]) -> None:
    """Running async steps end at once as cancelled, with the reason; their attempts too."""
    flow = lab.flow(mode="parallel").add_step("fail", {"name": "a", "seconds": 3}, step_id="a")
    flow.add_step("step", {"seconds": 60}, step_id="b").add_step("step", {"seconds": 1}, step_id="c")
    result = lab.execute(flow)
    assert statuses(result) == {"a": "failed", "b": "cancelled", "c": "success"}
    assert result.steps["b"].reason == "step 'a' failed"
    assert lab.attempts(result.run_id, "b") == ["cancelled"]
    assert lab.clock.monotonic() == 3


def test_a_failure_gives_up_running_sync_steps(lab: Any, tools: list[Any]) -> None:
    """A sync step that runs in its thread is abandoned: the run does not wait for it."""
    gate = threading.Event()

    def wait() -> bool:
        return gate.wait(10)

    lab.tool(wait)
    flow = lab.flow(mode="parallel").add_step("wait").add_step("fail", {"name": "a"}, step_id="a")
    try:
        result = lab.execute(flow)
    finally:
        gate.set()
    assert statuses(result) == {"wait": "cancelled", "a": "failed"}
    (end,) = [e for e in lab.events(result.run_id, "attempt.finished") if e.step_id == "wait"]
    assert end.payload["status"] == "cancelled"
    assert end.payload["abandoned"] is True


def test_steps_that_become_ready_together_with_a_failure_all_have_an_end(lab: Any, tools: list[Any]) -> None:
    """Steps that were announced when the first one failed at once are cancelled, none stays open."""
    flow = lab.flow(mode="parallel").add_step("fail", {"name": "a"}, step_id="a")
    for n in range(20):
        flow.add_step("step", {"name": str(n)}, step_id=f"s{n}")
    result = lab.execute(flow)
    for step_id in list(result.steps)[1:]:
        assert result.steps[step_id].status == "cancelled"
        assert lab.attempts(result.run_id, step_id) in ([], ["cancelled"])


def test_a_second_failure_does_not_change_the_reason(lab: Any, tools: list[Any]) -> None:
    """What is cancelled because of the first failure says so, also if another step fails meanwhile."""

    async def stubborn() -> None:
        try:
            await lab.clock.sleep(100)
        except BaseException:
            raise KeyError("while stopping") from None

    lab.tool(stubborn)
    flow = lab.flow(mode="parallel").add_step("fail", {"name": "a", "seconds": 1}, step_id="a")
    flow.add_step("stubborn").add_step("step", {"seconds": 60}, step_id="b")
    result = lab.execute(flow)
    assert statuses(result) == {"a": "failed", "stubborn": "failed", "b": "cancelled"}
    assert result.steps["b"].reason == "step 'a' failed"
    assert result.error == "ValueError: a is broken"


def test_a_step_that_catches_its_cancellation_can_still_succeed(lab: Any, tools: list[Any]) -> None:
    """A step that finishes its work when it is told to stop has succeeded, and nothing runs after it."""

    async def careful() -> str:
        try:
            await lab.clock.sleep(100)
        except BaseException:
            return "tidied up"
        return "done"

    lab.tool(careful)
    flow = lab.flow().add_step("fail", {"name": "a", "seconds": 1}, step_id="a").add_step("careful")
    flow.add_step("step", step_id="later", depends_on="careful")
    result = lab.execute(flow)
    assert statuses(result) == {"a": "failed", "careful": "success", "later": "skipped"}
    assert result.steps["later"].reason == "step 'a' failed"


def test_an_output_that_cannot_be_stored_fails_its_step(lab: Any, tools: list[Any]) -> None:
    """The error says where in the value the culprit sits; what follows is skipped."""

    async def bad() -> dict[str, Any]:
        return {"rows": [1, {"handle": object()}]}

    async def generator() -> Any:
        return (n for n in range(3))

    lab.tool(bad)
    lab.tool(generator)
    flow = lab.flow().with_error_handling("continue_on_failure").add_step("bad").add_step("generator")
    result = lab.execute(flow.add_step("step", {"value": "${steps.bad}"}, step_id="next"))
    assert statuses(result) == {"bad": "failed", "generator": "failed", "next": "skipped"}
    assert "output.rows[1].handle cannot be stored" in str(result.steps["bad"].error)
    assert result.steps["bad"].output is None
    assert result.steps["bad"].reason == "its value cannot be stored"
    assert "output cannot be stored" in str(result.steps["generator"].error)


def test_a_result_that_cannot_be_written_fails_its_step_only(
    lab: Any, tools: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value that turns out to be unwritable at the last moment does not take the run with it."""
    write = codec.dumps

    def fussy(value: Any) -> str:
        if isinstance(value, dict) and value.get("output") == "unwritable":
            raise ValueError("no way")
        return write(value)

    monkeypatch.setattr(codec, "dumps", fussy)
    flow = lab.flow().with_error_handling("continue_on_failure")
    flow.add_step("step", {"value": "unwritable"}, step_id="a").add_step("step", step_id="b")
    result = lab.execute(flow)
    assert (result.status, statuses(result)) == ("partial", {"a": "failed", "b": "success"})
    assert (result.steps["a"].error, result.steps["a"].output) == ("ValueError: no way", None)


def test_parameters_that_do_not_resolve_fail_the_step(lab: Any, tools: list[Any]) -> None:
    """A missing reference or a value of the wrong type is a failure of the step, with the name of both."""

    async def half(n: int) -> float:
        return n / 2

    lab.tool(half)
    flow = (
        lab.flow()
        .with_error_handling("continue_on_failure")
        .add_step("step", {"value": {"n": "many"}}, step_id="source")
        .add_step("half", {"n": "${steps.source.count}"}, step_id="missing")
        .add_step("half", {"n": "${steps.source.n}"}, step_id="wrong")
        .add_step("half", {"n": "${context.n}"}, step_id="absent")
    )
    result = lab.execute(flow)
    assert {id_: step.status for id_, step in result.steps.items() if id_ != "source"} == {
        "missing": "failed",
        "wrong": "failed",
        "absent": "failed",
    }
    assert "${steps.source.count} cannot be resolved" in str(result.steps["missing"].error)
    assert "n: expected int, got 'many'" in str(result.steps["wrong"].error)
    assert "${context.n}" in str(result.steps["absent"].error)
    assert lab.attempts(result.run_id, "wrong") == []


def test_a_missing_context_value_is_no_failure_with_a_default(lab: Any, tools: list[Any]) -> None:
    """``??`` stands in for what is missing or null."""
    flow = lab.flow().add_step("step", {"value": '${context.city ?? "Lund"}'}, step_id="a")
    assert lab.execute(flow).outputs == {"a": "Lund"}
    assert lab.execute(flow, context={"city": None}).outputs == {"a": "Lund"}
    assert lab.execute(flow, context={"city": "Ghent"}).outputs == {"a": "Ghent"}


# --- conditions and joins ------------------------------------------------------------------


def test_a_false_condition_skips_the_step_and_what_needs_it(lab: Any, tools: list[Any]) -> None:
    """Both outcomes are decisions with the values looked at; a skip is not a failure."""
    flow = (
        lab.flow()
        .add_step("step", {"value": 3}, step_id="count")
        .add_step("step", step_id="many", when="${steps.count} > 5")
        .add_step("step", step_id="few", when="${steps.count} <= 5")
        .add_step("step", {"value": "${steps.many}"}, step_id="needs_many")
        .add_step("step", step_id="after_many", depends_on="many")
    )
    result = lab.execute(flow)
    assert result.success
    assert statuses(result) == {
        "count": "success",
        "many": "skipped",
        "few": "success",
        "needs_many": "skipped",
        "after_many": "skipped",
    }
    assert result.steps["many"].reason == "its condition '${steps.count} > 5' is false"
    assert result.steps["needs_many"].reason == "it needs the output of step 'many', which was skipped"
    assert result.steps["after_many"].reason == "all steps it depends on were skipped: 'many'"
    assert lab.decisions(result.run_id, "condition") == [
        ("many", "condition", "false"),
        ("few", "condition", "true"),
    ]
    decisions = [e for e in lab.events(result.run_id, "decision") if e.payload["point"] == "condition"]
    assert [decision.payload["input_data"] for decision in decisions] == [{"${steps.count}": 3}] * 2


@pytest.mark.parametrize(
    ("params", "depends_on", "status", "output"),
    [
        ({}, ["left", "right"], "success", None),
        ({"value": ["${steps.left ?? 0}", "${steps.right ?? 0}"]}, [], "success", ["L", 0]),
        ({"value": "${steps.right ?? 0}"}, ["left"], "success", 0),
        ({"value": "${steps.right ?? 0}"}, [], "success", 0),
        ({"value": "${steps.right}"}, ["left"], "skipped", None),
        ({}, ["right"], "skipped", None),
    ],
)
def test_a_join_runs_when_one_of_its_branches_was_passed_over(
    lab: Any, tools: list[Any], params: dict[str, Any], depends_on: list[str], status: str, output: Any
) -> None:
    """It is skipped only if it needs the missing output, or if all that it depends on was skipped."""
    flow = (
        lab.flow()
        .add_step("step", {"value": "L"}, step_id="left", when="${context.left}")
        .add_step("step", {"value": "R"}, step_id="right", when="not ${context.left}")
        .add_step("step", params, step_id="join", depends_on=depends_on)
    )
    result = lab.execute(flow, context={"left": True})
    assert result.success
    assert (result.steps["join"].status, result.steps["join"].output) == (status, output)


def test_a_failed_branch_is_not_made_good_by_a_default(lab: Any, tools: list[Any]) -> None:
    """A default is for branches that were not needed, not for branches that failed."""
    flow = (
        lab.flow()
        .with_error_handling("continue_on_failure")
        .add_step("fail", {"name": "a"}, step_id="a")
        .add_step("step", {"value": "${steps.a ?? 0}"}, step_id="b")
    )
    result = lab.execute(flow)
    assert statuses(result) == {"a": "failed", "b": "skipped"}


def test_a_condition_that_cannot_be_decided_fails_the_step(lab: Any, tools: list[Any]) -> None:
    """A missing value is an error that names it, never a silent no."""
    flow = lab.flow().add_step("step", step_id="a", when="${context.total} > 5")
    result = lab.execute(flow)
    assert statuses(result) == {"a": "failed"}
    assert "${context.total}" in str(result.steps["a"].error)
    result = lab.execute(flow, context={"total": "many"})
    assert "TypeError" in str(result.steps["a"].error)


def test_a_run_in_which_every_step_was_passed_over_succeeds(lab: Any, tools: list[Any]) -> None:
    """Nothing was needed, so nothing is wrong."""
    flow = lab.flow(mode="sequential").add_step("step", step_id="a", when="${context.on}")
    flow.add_step("step", step_id="b", depends_on="a")
    result = lab.execute(flow, context={"on": False})
    assert (result.status, result.outputs) == ("success", {})


def test_a_sequence_goes_on_after_a_step_that_was_passed_over(lab: Any, tools: list[Any]) -> None:
    """In a sequence the order alone is no dependency."""
    flow = (
        lab.flow(mode="sequential").add_step("step", step_id="a", when="false").add_step("step", step_id="b")
    )
    assert statuses(lab.execute(flow)) == {"a": "skipped", "b": "success"}


# --- arguments of a run --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"durability": "always"}, "durability: unknown value 'always'"),
        ({"context": ["x"]}, "context: expected a mapping, got list"),
        ({"directives": {"skip_hooks": ["audit"]}}, "directives: expected ExecutionDirective, got dict"),
        ({"sesion_id": "s"}, "sesion_id: no such argument"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    lab: Any, tools: list[Any], arguments: dict[str, Any], complaint: str
) -> None:
    """The error names the argument, and there is no run."""
    with pytest.raises(ParameterError, match=complaint):
        lab.execute(lab.flow().add_step("step"), **arguments)
    assert lab.events() == []


def test_a_context_that_cannot_be_stored_is_refused_before_anything_runs(lab: Any, tools: list[Any]) -> None:
    """The error names the place in the context."""
    with pytest.raises(CodecError, match=r"context\.client\[0\] cannot be stored"):
        lab.execute(lab.flow().add_step("step"), context={"client": [object()]})
    lab.store.commit()
    assert lab.events() == []


def test_facts_of_the_run_can_be_referred_to(lab: Any, tools: list[Any]) -> None:
    """Id, name, user, session, casefile and request are in ``${run…}`` and on the record."""
    facts = {"user_id": "u_1", "session_id": "ses_1", "casefile_id": "cf_1", "request_id": "req_1"}
    flow = lab.flow("intake").add_step(
        "step",
        {"value": [f"${{run.{name}}}" for name in ("id", "name", *facts)]},
        step_id="a",
    )
    result = lab.execute(flow, **facts)
    assert result.outputs["a"] == [result.run_id, "intake", *facts.values()]
    (started,) = lab.events(result.run_id, "run.started")
    assert {name: started.payload[name] for name in facts} == facts


def test_a_long_chain_costs_no_stack(lab: Any) -> None:
    """Two thousand steps in a row, or two thousand that are skipped in a row, are no recursion."""

    async def add(x: int) -> int:
        return x + 1

    lab.tool(add)
    assert lab.execute(_chain_of(lab, 2000, "true"), durability="exit").outputs["s1999"] == 2000
    result = lab.execute(_chain_of(lab, 2000, "false"), durability="exit")
    assert {step.status for step in result.steps.values()} == {"skipped"}


def _chain_of(lab: Any, length: int, when: str) -> Any:
    flow = lab.flow("long").add_step("add", {"x": 0}, step_id="s0", when=when)
    for n in range(1, length):
        flow.add_step("add", {"x": f"${{steps.s{n - 1}}}"}, step_id=f"s{n}")
    return flow
