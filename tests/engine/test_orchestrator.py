"""Orchestrators: a pipeline runs once per request, and its record says what it decided."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Generic, TypeVar
from uuid import UUID

import pydantic
import pytest

import orchkit as ok
from orchkit.store.store import Store
from orchkit.testing import FakeClock


@dataclass
class Calculation:
    """A result with a type that JSON does not have."""

    id: UUID
    total: int
    day: date


class Order(pydantic.BaseModel):
    """The same as a pydantic model."""

    at: datetime
    price: Decimal
    tags: frozenset[str]


CALCULATION = Calculation(UUID(int=7), 6, date(2025, 1, 15))
ORDER = Order(at=datetime(2025, 1, 15, 12, tzinfo=UTC), price=Decimal("24.50"), tags=frozenset({"a", "b"}))
T = TypeVar("T")


class Scripted(ok.BaseOrchestrator[T], Generic[T]):
    """Counts how often its pipeline is run, and does what it is told."""

    orchestrator_name = "scripted"

    def __init__(self, kit: Any, work: Any = None, user_id: Any = None) -> None:
        super().__init__(kit, user_id)
        self.work, self.calls = work, 0

    def _execute_pipeline(self, context: dict[str, Any]) -> Any:
        self.calls += 1
        return self.work(self, context) if callable(self.work) else self.work


class Calculations(Scripted[Calculation]):
    orchestrator_name = "calculations"


class Orders(Scripted[Order]):
    orchestrator_name = "orders"


class Moments(Scripted[datetime]):
    orchestrator_name = "moments"


class Lists(Scripted[list[Calculation]]):
    orchestrator_name = "lists"


@pytest.mark.parametrize(
    ("kind", "result"),
    [
        (Calculations, CALCULATION),
        (Orders, ORDER),
        (Moments, datetime(2025, 1, 15, 12, tzinfo=UTC)),
        (Lists, [CALCULATION, CALCULATION]),
        (Scripted, {"nested": [1, (2, 3), None]}),
        (Scripted, None),
        (Scripted, "x" * 200_000),
    ],
    ids=["dataclass", "model", "datetime", "list", "plain", "nothing", "large"],
)
def test_a_recorded_result_is_equal_and_of_its_type(
    kind: type[Scripted[Any]], result: Any, tmp_path: Path
) -> None:
    """The second call, and one after the store was opened anew, give the first one's result."""
    with ok.open(tmp_path / "runs.duckdb") as kit:
        orchestrator = kind(kit, result)
        assert orchestrator.execute("r", {"n": 1}) == result
        again = orchestrator.execute("r", {"n": 1})
        assert (again, type(again), orchestrator.calls) == (result, type(result), 1)
    with ok.open(tmp_path / "runs.duckdb") as kit:
        orchestrator = kind(kit, result)
        later = orchestrator.execute("r", {"n": 1})
        assert (later, type(later), orchestrator.calls) == (result, type(result), 0)


def test_a_class_that_is_found_by_no_name_comes_back_by_the_type_in_the_brackets() -> None:
    """Type notes name classes by module and name; one from inside a function is made from its fields."""

    @dataclass
    class Hidden:
        n: int

    class Hiding(ok.BaseOrchestrator[Hidden]):
        orchestrator_name = "hiding"

        def _execute_pipeline(self, context: dict[str, Any]) -> Hidden:
            return Hidden(context["input"]["n"])

    with ok.open() as kit:
        first = Hiding(kit).execute("r", {"n": 3})
        again = Hiding(kit).execute("r", {"n": 3})
    assert (again, type(again)) == (first, Hidden)


def test_the_pipeline_is_given_what_it_needs() -> None:
    """The context has the input, the user and the request; an override adds to it where the pipeline runs."""
    seen: list[dict[str, Any]] = []
    threads: list[str] = []

    class Prepared(Scripted[int]):
        def _prepare_context(self, input_data: Any) -> dict[str, Any]:
            threads.append(threading.current_thread().name)
            return {**super()._prepare_context(input_data), "config": "x"}

    def work(self: Any, context: dict[str, Any]) -> int:
        threads.append(threading.current_thread().name)
        seen.append(context)
        assert self.get_elapsed_time_ms() >= 0
        return 1

    with ok.open() as kit:
        Prepared(kit, work, UUID(int=5)).execute("r", {"n": 1})
        assert kit.sql("SELECT user_id, request_id, kind, name FROM runs").values.tolist() == [
            [str(UUID(int=5)), "r", "orchestrator", "scripted"]
        ]
    assert seen == [{"input": {"n": 1}, "user_id": UUID(int=5), "request_id": "r", "config": "x"}]
    assert threads[0] == threads[1] != threading.current_thread().name


def test_own_serializers_are_used_both_ways() -> None:
    """What `_serialize_result` gives is stored, and `_deserialize_result` makes the result of it."""

    class Own(Scripted[Any]):
        def _serialize_result(self, result: Any) -> Any:
            return {"as": str(result)}

        def _deserialize_result(self, response_data: Any) -> Any:
            return complex(response_data["as"])

    with ok.open() as kit:
        orchestrator = Own(kit, 2 + 3j)
        assert [orchestrator.execute("r", {}) for _ in range(2)] == [2 + 3j, 2 + 3j]
        assert orchestrator.calls == 1
        assert kit.last.steps().output.tolist() == [{"as": "(2+3j)"}]


def test_decisions_are_numbered_per_request_without_gaps() -> None:
    """Over two executions of a request, with a workflow inside, the numbers are 1, 2, 3 and so on."""
    fails = [True]

    def double(x: int) -> int:
        ok.trace_decision("inside", "twice")
        return 2 * x

    def work(self: Any, context: dict[str, Any]) -> int:
        self.trace_decision("a", "x", "because", input_data={"n": 1})
        evidence = self.bundle_evidence("numbers", [1, 2], source="test", confidence_score=0.5)
        self.run_workflow(flow)
        self.trace_decision(decision_point="b", decision="y", evidence=evidence)
        if fails.pop() if fails else False:
            raise LookupError("no")
        return 1

    with ok.open() as kit:
        flow = kit.workflow("inner").add_step(double, {"x": 1}).build()
        orchestrator = Scripted[int](kit, work)
        with pytest.raises(ok.OrchestrationError):
            orchestrator.execute("r", {})
        orchestrator.execute("r", {})
        orchestrator.execute("other", {})
        found = kit.sql("""
            SELECT request_id, list(sequence_number ORDER BY seq) AS numbers,
                   list(decision_point ORDER BY seq) FILTER (origin = 'user') AS points
            FROM decision_traces GROUP BY request_id ORDER BY request_id
        """)
        for numbers in found.numbers:
            assert list(numbers) == list(range(1, len(numbers) + 1))
        assert [list(points) for points in found.points] == [["a", "inside", "b"], 2 * ["a", "inside", "b"]]
        assert (
            kit.sql("SELECT count(DISTINCT run_id) AS n FROM evidence_bundles WHERE request_id = 'r'").n[0]
            == 2
        )


def test_a_failure_is_raised_recorded_and_tried_again() -> None:
    """OrchestrationError names the request and chains the cause; the next call executes, or refuses."""
    outcomes: list[Any] = [ValueError("bad"), ValueError("worse"), 5]

    def work(self: Any, context: dict[str, Any]) -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    with ok.open() as kit:
        orchestrator = Scripted[int](kit, work)
        with pytest.raises(
            ok.OrchestrationError, match=r"scripted failed for request 'r': ValueError: bad"
        ) as caught:
            orchestrator.execute("r", {})
        assert isinstance(caught.value.__cause__, ValueError)
        assert kit.runs[caught.value.run_id or ""].status == "failed"
        with pytest.raises(ok.OrchestrationError, match="it failed before: ValueError: bad"):
            orchestrator.execute("r", {}, on_failed="raise")
        with pytest.raises(ok.OrchestrationError, match="worse"):
            orchestrator.execute("r", {})
        assert orchestrator.execute("r", {}) == 5
        row = kit.sql("SELECT status, error, executions, replays FROM idempotency_keys").iloc[0]
        assert (row.status, row.executions, row.replays) == ("COMPLETED", 3, 0)
        assert row.isna().error
        assert len(kit.runs) == 3


def test_another_input_is_refused_and_named() -> None:
    """The same request id with one changed field: the error's differences name that field alone."""
    with ok.open() as kit:
        orchestrator = Scripted[int](kit, 1)
        orchestrator.execute("r", {"items": [{"price": 1, "name": "a"}], "day": date(2025, 1, 15)})
        with pytest.raises(ok.IdempotencyConflictError) as caught:
            orchestrator.execute("r", {"items": [{"price": 2, "name": "a"}], "day": date(2025, 1, 15)})
        assert [(d.path, d.recorded, d.given) for d in caught.value.differences] == [("items[0].price", 1, 2)]
        # The order of fields is no difference.
        assert (
            orchestrator.execute("r", {"day": date(2025, 1, 15), "items": [{"name": "a", "price": 1}]}) == 1
        )
        with pytest.raises(ok.IdempotencyConflictError, match="it was used for 'scripted'"):
            Lists(kit, []).execute("r", {"n": 1})


def test_a_large_input_is_compared_field_by_field_too() -> None:
    """What is too large for the row of the key is read from the record of the run."""
    with ok.open() as kit:
        orchestrator = Scripted[int](kit, 1)
        orchestrator.execute("r", {"text": "x" * 100_000, "n": 1})
        with pytest.raises(ok.IdempotencyConflictError) as caught:
            orchestrator.execute("r", {"text": "x" * 100_000, "n": 2})
        assert [d.path for d in caught.value.differences] == ["n"]


def test_after_its_time_a_request_is_executed_again() -> None:
    """A recorded result answers for ``ttl_hours``, not a moment longer; the earlier run stays."""
    clock = FakeClock()
    with ok.open(clock=clock) as kit:
        orchestrator = Scripted[int](kit, 1)
        orchestrator.execute("r", {}, ttl_hours=1)
        clock.advance(3599)
        orchestrator.execute("r", {}, ttl_hours=1)
        assert orchestrator.calls == 1
        clock.advance(1)
        orchestrator.execute("r", {"other": "input"}, ttl_hours=1)
        assert orchestrator.calls == 2
        assert len(kit.runs) == 2


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"ttl_hours": 0}, "ttl_hours: expected a number of hours above 0, got 0"),
        ({"ttl_hours": float("inf")}, "ttl_hours"),
        ({"on_in_flight": "sleep"}, "on_in_flight: unknown value 'sleep'"),
        ({"on_failed": "retry"}, "on_failed: unknown value 'retry'"),
        ({"request_id": ""}, "key: expected a text that is not empty"),
        ({"request_id": 7}, "key: expected a text that is not empty, got 7"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_done(arguments: dict[str, Any], fault: str) -> None:
    """Each is a ParameterError that says what is wrong; nothing is run or recorded."""
    with ok.open() as kit:
        orchestrator = Scripted[int](kit, 1)
        with pytest.raises(ok.ParameterError, match=fault):
            orchestrator.execute(**{"request_id": "r", "input_data": {}, **arguments})
        assert (orchestrator.calls, len(kit.runs)) == (0, 0)


def test_what_cannot_be_stored_is_named() -> None:
    """An input fails before anything runs; a result fails the request, and the next call executes again."""
    with ok.open() as kit:
        with pytest.raises(ok.CodecError, match=r"input\.f cannot be stored"):
            Scripted[int](kit, 1).execute("r", {"f": lambda: None})
        orchestrator = Scripted[Any](kit, lambda self, context: object())
        with pytest.raises(ok.OrchestrationError, match="cannot be stored"):
            orchestrator.execute("r2", {})
        assert kit.sql("SELECT request_id, status FROM idempotency_keys").values.tolist() == [
            ["r2", "FAILED"]
        ]


@pytest.mark.parametrize("kind", ["kit", "store", "engine"])
def test_it_is_made_from_a_kit_or_a_store(kind: str) -> None:
    """A kit, its engine or a store will do; anything else is named."""
    with ok.open() as kit:
        given = {"kit": kit, "store": kit.store, "engine": kit.engine}[kind]
        assert Scripted[int](given, 1).execute("r", {}) == 1
    with pytest.raises(ok.ParameterError, match="expected a kit or a store, got str"):
        Scripted[int]("runs.duckdb")


def test_an_async_pipeline_runs_on_the_callers_loop() -> None:
    """With `aexecute` the pipeline is a task of the loop that awaits it; `execute` has a loop of its own."""
    loops: list[Any] = []

    class Async(ok.BaseOrchestrator[int]):
        orchestrator_name = "async"

        async def _execute_pipeline(self, context: dict[str, Any]) -> int:
            await asyncio.sleep(0)
            loops.append(asyncio.get_running_loop())
            return len(loops)

    async def main(kit: ok.Kit) -> Any:
        found = [await Async(kit).aexecute("a", {}), await Async(kit).aexecute("a", {})]
        assert loops == [asyncio.get_running_loop()]
        # In a notebook cell a loop is running already: the blocking call must work all the same.
        assert Async(kit).execute("b", {}) == 2
        return found

    with ok.open() as kit:
        assert asyncio.run(main(kit)) == [1, 1]


def test_inside_out() -> None:
    """Outside a pipeline its helpers say so, except traces, which go nowhere, so that parts can be tested."""
    with ok.open() as kit:
        orchestrator = Scripted[int](kit, 1)
        with pytest.raises(ok.ExecutionError, match="no pipeline is running here"):
            orchestrator.get_elapsed_time_ms()
        with pytest.raises(ok.ExecutionError, match="no pipeline is running here"):
            orchestrator.run_workflow(ok.Workflow(name="x"))
        orchestrator.trace_decision("a", "b")


def test_requests_of_one_orchestrator_may_run_side_by_side() -> None:
    """Each pipeline has its own context and elapsed time, though they share the object."""
    both = threading.Barrier(2, timeout=60)

    def work(self: Any, context: dict[str, Any]) -> str:
        both.wait()
        self.trace_decision("who", context["request_id"])
        return str(context["request_id"])

    with ok.open() as kit:
        orchestrator = Scripted[str](kit, work)
        results: list[str] = []
        threads = [
            threading.Thread(target=lambda name=name: results.append(orchestrator.execute(name, {})))
            for name in ("a", "b")
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == ["a", "b"]
        found = kit.sql("SELECT request_id, decision FROM decision_traces WHERE origin = 'user'")
        assert all(found.request_id == found.decision)


def test_while_it_is_executed_others_are_told_or_wait() -> None:
    """A second call of the same request raises DuplicateRequestError, or waits for the first one's result."""
    began, go_on = threading.Event(), threading.Event()

    def work(self: Any, context: dict[str, Any]) -> int:
        began.set()
        assert go_on.wait(30)
        return 7

    with ok.open() as kit:
        orchestrator = Scripted[int](kit, work)
        results: list[int] = []

        def call(**arguments: Any) -> None:
            results.append(orchestrator.execute("r", {}, **arguments))

        first = threading.Thread(target=call)
        first.start()
        assert began.wait(30)
        with pytest.raises(ok.DuplicateRequestError, match="is in flight: it is being executed by process"):
            orchestrator.execute("r", {})
        waiting = threading.Thread(target=call, kwargs={"on_in_flight": "wait"})
        waiting.start()
        go_on.set()
        first.join()
        waiting.join()
        assert (results, orchestrator.calls) == ([7, 7], 1)


def test_its_operations_have_hooks_and_policies() -> None:
    """A pipeline is an operation: a policy that names it retries it, and hooks are told."""
    outcomes: list[Any] = [ConnectionError("not yet"), 3]

    def work(self: Any, context: dict[str, Any]) -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    policies = {"policies": {"scripted": {"retry": {"max_attempts": 2, "strategy": "immediate"}}}}
    with ok.open(policies=policies) as kit:
        assert Scripted[int](kit, work).execute("r", {}) == 3
        assert kit.last.attempts().status.tolist() == ["failed", "success"]


CRASHING = """
    import os, signal, sys
    import orchkit as ok

    path, effects, kill = sys.argv[1:]

    def note(text):
        with open(effects, "a") as file:
            file.write(text + "\\n")

    @ok.method
    def first(x: int) -> int:
        note("first")
        return x + 1

    @ok.method
    def second(x: int) -> int:
        note("second")
        if kill == "second":
            os.kill(os.getpid(), signal.SIGKILL)
        return x * 10

    flow = (
        ok.WorkflowBuilder("flow")
        .add_step(first, {"x": "${context.x}"})
        .add_step(second, {"x": "${steps.first}"})
        .build()
    )

    class Pipeline(ok.BaseOrchestrator[int]):
        orchestrator_name = "pipeline"

        def _execute_pipeline(self, context):
            note("pipeline")
            one = self.run_workflow(flow, {"x": 1}).raise_for_status().outputs["second"]
            two = self.run_workflow(flow, {"x": 2}).raise_for_status().outputs["second"]
            if kill == "end":
                os.kill(os.getpid(), signal.SIGKILL)
            return one + two

    with ok.open(path) as kit:
        print(Pipeline(kit).execute("r", {"n": 1}))
"""


@pytest.mark.parametrize(
    ("kill", "effects"),
    [
        ("second", ["pipeline", "first", "second", "pipeline", "second", "first", "second"]),
        ("end", ["pipeline", "first", "second", "first", "second", "pipeline"]),
    ],
)
def test_a_pipeline_whose_process_died_is_taken_over(tmp_path: Path, kill: str, effects: list[str]) -> None:
    """It begins again, over its recorded workflows: completed ones are not repeated, others go on."""
    path, told = tmp_path / "runs.duckdb", tmp_path / "effects.txt"
    script = textwrap.dedent(CRASHING)

    def run(kill: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, str(path), str(told), kill]
        return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)

    assert run(kill).returncode == -9
    done = run("never")
    assert (done.returncode, done.stdout.split()) == (0, ["50"]), done.stderr
    assert told.read_text().split() == effects
    with Store(path) as store:
        rows = store.query("SELECT kind, name, status FROM runs ORDER BY started_at")
        assert rows == [
            ("orchestrator", "pipeline", "success"),
            ("workflow", "flow", "success"),
            ("workflow", "flow", "success"),
        ]
        taken = store.query("""
            SELECT decision, rationale FROM decision_traces WHERE decision_point = 'idempotency' ORDER BY seq
        """)
        assert taken[1] == ("take_over", "the process that executed it is gone")
        ((first, last, count),) = store.query("""
            SELECT min(sequence_number), max(sequence_number), count(*)
            FROM decision_traces WHERE request_id = 'r'
        """)
        assert (first, last) == (1, count)


DYING = """
    import sys
    import orchkit as ok
    from orchkit.testing import FaultyStore

    path, effects, number = sys.argv[1:]

    class Pipeline(ok.BaseOrchestrator[dict]):
        orchestrator_name = "pipeline"

        def _execute_pipeline(self, context):
            with open(effects, "a") as file:
                file.write("pipeline\\n")
            return {"n": context["input"]["n"]}

    with ok.Kit(FaultyStore(path, kill_after=int(number)) if int(number) else ok.open(path).store) as kit:
        print(Pipeline(kit).execute("r", {"n": 1}))
"""


@pytest.mark.parametrize("number", [1, 2, 3])
def test_wherever_it_dies_the_result_comes(tmp_path: Path, number: int) -> None:
    """Killed after each of its commits, the same request gives the result; done work is not done again."""
    path, told = tmp_path / "runs.duckdb", tmp_path / "effects.txt"
    script = textwrap.dedent(DYING)

    def run(number: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, str(path), str(told), str(number)]
        return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)

    assert run(number).returncode == -9
    done = run(0)
    assert (done.returncode, done.stdout.strip()) == (0, "{'n': 1}"), done.stderr
    # After the claim; after the beginning of the attempt, before the work; after the end and the settlement.
    assert told.read_text().split() == ["pipeline"]


def test_a_forgotten_key_is_gone_from_the_view_and_can_be_used_anew() -> None:
    """`forget` is on record; what is being worked on is not forgotten."""
    with ok.open() as kit:
        orchestrator = Scripted[int](kit, 1)
        orchestrator.execute("r", {"n": 1})
        assert kit.store.claims.forget("r")
        assert kit.store.query("SELECT * FROM idempotency_keys") == []
        orchestrator.execute("r", {"n": 2})
        assert orchestrator.calls == 2
        assert kit.store.query("SELECT status, executions FROM idempotency_keys") == [("COMPLETED", 2)]
        held: list[bool] = []
        Scripted[int](kit, lambda self, context: held.append(kit.store.claims.forget("s"))).execute("s", {})
        assert held == [False]


def test_a_workflow_that_fails_fails_the_request() -> None:
    """Unless the pipeline asks for the result whatever it is: a failure is no empty answer."""

    def broken() -> None:
        raise OSError("no line")

    with ok.open() as kit:
        flow = kit.workflow("inner").add_step(broken).build()
        with pytest.raises(ok.OrchestrationError, match="no line"):
            Scripted[Any](kit, lambda self, context: self.run_workflow(flow).outputs).execute("r", {})
        lenient = Scripted[str](kit, lambda self, context: self.run_workflow(flow, check=False).status)
        assert lenient.execute("s", {}) == "failed"


def test_a_result_of_another_type_fails_at_once() -> None:
    """Not only when it is replayed; what fits the type is made one, the first time too."""
    with ok.open() as kit:
        with pytest.raises(ok.OrchestrationError, match="'text', which is no datetime"):
            Moments(kit, "text").execute("r", {})
        made = Orders(kit, {"at": "2025-01-15T12:00:00Z", "price": "24.50", "tags": ["a", "b"]})
        assert made.execute("s", {}) == made.execute("s", {}) == ORDER
