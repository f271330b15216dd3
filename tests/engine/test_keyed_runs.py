"""Workflows under idempotency keys, in one process: every way in which a key can be found."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import orchkit as ok
from orchkit.engine.resume import taken_over
from orchkit.errors import (
    DuplicateRequestError,
    IdempotencyConflictError,
    OrchestrationError,
    ParameterError,
    RunInProgressError,
    StoreFullError,
)
from orchkit.store.claims import Wanted
from orchkit.testing import FakeClock, FaultyStore


@dataclass
class Receipt:
    """An output of a class of the user's."""

    number: int
    at: dt.datetime


class Shop:
    """A service that counts what it was asked to do."""

    def __init__(self, lab: Any) -> None:
        self.lab = lab
        self.calls: Counter[str] = Counter()
        self.broken = False

    async def order(self, what: str, **more: Any) -> Any:
        """Order something, which takes a minute."""
        self.calls[what] += 1
        await self.lab.clock.sleep(60)
        if self.broken:
            raise ConnectionError("no answer")
        return {"what": what, "number": self.calls[what]}

    async def receipt(self, number: int) -> Receipt:
        """Of another type than JSON has."""
        return Receipt(number, dt.datetime(2025, 5, 1, tzinfo=dt.UTC))


@pytest.fixture
def shop(lab: Any) -> Shop:
    """The tools ``order`` and ``receipt``."""
    made = Shop(lab)

    async def order(what: str, size: int = 1, note: str = "") -> Any:
        return await made.order(what)

    lab.tool(order)
    lab.tool(made.receipt, "receipt")
    return made


def flow(lab: Any, what: str = "tea", **params: Any) -> Any:
    """Order something and get a receipt."""
    built = lab.flow("buy").add_step("order", {"what": what, **params}, step_id="order")
    return built.add_step("receipt", {"number": "${steps.order.number}"}, step_id="receipt").build()


def keys(lab: Any) -> dict[str, tuple[Any, ...]]:
    """``status, executions, replays`` by key, as SQL shows them."""
    rows = lab.store.query("SELECT request_id, status, executions, replays FROM idempotency_keys")
    return {key: tuple(rest) for key, *rest in rows}


# --- the rows of the table -----------------------------------------------------------------


def test_a_new_key_is_executed_and_from_then_on_answered(lab: Any, shop: Shop) -> None:
    """The recorded result, of the same types, marked as replayed; nothing is done and no run is begun."""
    first = lab.execute(flow(lab), context={"n": 1}, idempotency_key="k")
    assert (first.replayed, first.success) == (False, True)
    for again in (
        lab.execute(flow(lab), context={"n": 1}, idempotency_key="k"),
        lab.engine.run(flow(lab), context={"n": 1}, idempotency_key="k"),
        lab.engine.start(flow(lab), context={"n": 1}, idempotency_key="k").result(30),
    ):
        assert (again.replayed, again.run_id, again.status) == (True, first.run_id, "success")
        assert again.outputs == first.outputs
        assert again.steps["receipt"].output == Receipt(1, dt.datetime(2025, 5, 1, tzinfo=dt.UTC))
        assert again.steps["order"].output.what == "tea"
        assert (again.started_us, again.finished_us) == (first.started_us, first.finished_us)
        assert [s.attempts for s in again.steps.values()] == [1, 1]
    assert shop.calls == {"tea": 1}
    assert len(lab.events(None, "run.started")) == 1
    assert keys(lab) == {"k": ("COMPLETED", 1, 3)}
    assert lab.decisions(first.run_id, "idempotency") == [(None, "idempotency", "execute")]
    assert lab.store.open_runs.all() == []


def test_an_expired_key_is_executed_again(lab: Any, shop: Shop) -> None:
    """After its hours are over; both runs stay on record, and the choice says why."""
    for hours, count in ((0, 1), (1.9, 1), (0.2, 2), (1.9, 2), (2.1, 3)):
        lab.clock.advance(hours * 3600)
        result = lab.execute(flow(lab), idempotency_key="k", ttl_hours=2)
        assert result.outputs["order"]["number"] == count
    assert keys(lab) == {"k": ("COMPLETED", 3, 2)}
    reasons = [
        e.payload["rationale"] for e in lab.events(None, "decision") if e.payload["point"] == "idempotency"
    ]
    assert reasons == [
        "no earlier request has this key",
        *["the earlier request with this key has expired"] * 2,
    ]


@pytest.mark.parametrize(
    ("change", "path", "recorded", "given"),
    [
        (lambda lab: ({"n": 2}, flow(lab)), "context.n", 1, 2),
        (lambda lab: ({"n": 1, "m": 0}, flow(lab)), "context.m", None, 0),
        (lambda lab: ({"n": 1}, flow(lab, "coffee")), "definition.steps[0].parameters.what", "tea", "coffee"),
        (lambda lab: ({"n": 1}, flow(lab, size=5)), "definition.steps[0].parameters.size", None, 5),
    ],
)
def test_another_input_is_a_conflict_that_names_the_field(
    lab: Any, shop: Shop, change: Any, path: str, recorded: Any, given: Any
) -> None:
    """Of the context, or of the definition; nothing is done."""
    first = lab.execute(flow(lab), context={"n": 1}, idempotency_key="k")
    context, workflow = change(lab)
    with pytest.raises(IdempotencyConflictError) as caught:
        lab.execute(workflow, context=context, idempotency_key="k")
    (difference,) = caught.value.differences
    assert difference.path == path
    assert difference.given == given
    assert recorded is None or difference.recorded == recorded
    assert path in str(caught.value)
    assert (caught.value.request_id, caught.value.run_id) == ("k", first.run_id)
    assert sum(shop.calls.values()) == 1


def test_a_conflict_deep_inside_a_sub_workflow_is_named(lab: Any, shop: Shop) -> None:
    """With the path through the definitions."""

    def outer(what: str) -> Any:
        deep = lab.flow("deep").add_workflow(flow(lab, what), {}, step_id="buy").build()
        return lab.flow("outer").add_workflow(deep, {}, step_id="sub").build()

    lab.execute(outer("tea"), idempotency_key="k")
    with pytest.raises(IdempotencyConflictError) as caught:
        lab.execute(outer("milk"), idempotency_key="k")
    (difference,) = caught.value.differences
    assert difference.path == "definition.steps[0].workflow.steps[0].workflow.steps[0].parameters.what"


def test_a_conflict_of_large_inputs_is_named(lab: Any, shop: Shop) -> None:
    """They are not beside the key but in the record of the run."""
    text = "x" * 100_000
    lab.execute(flow(lab), context={"text": text, "n": 1}, idempotency_key="k")
    with pytest.raises(IdempotencyConflictError) as caught:
        lab.execute(flow(lab), context={"text": text, "n": 2}, idempotency_key="k")
    assert [difference.path for difference in caught.value.differences] == ["context.n"]


def test_the_order_of_the_fields_is_no_other_input(lab: Any, shop: Shop) -> None:
    """Nor are other ids of the workflow, which each `build` gives."""
    lab.execute(flow(lab), context={"a": 1, "b": {"c": 2, "d": 3}}, idempotency_key="k")
    assert lab.execute(flow(lab), context={"b": {"d": 3, "c": 2}, "a": 1}, idempotency_key="k").replayed


def test_the_same_key_of_another_workflow_is_a_conflict(lab: Any, shop: Shop) -> None:
    """A key is bound to the name, too."""
    lab.execute(flow(lab), idempotency_key="k")
    with pytest.raises(IdempotencyConflictError) as caught:
        lab.execute(lab.flow("sell").add_step("order", {"what": "tea"}).build(), idempotency_key="k")
    assert [difference.path for difference in caught.value.differences] == ["name"]


def test_what_failed_is_executed_again_as_another_run(lab: Any, shop: Shop) -> None:
    """Both are on record; the key stands as the last one ended."""
    shop.broken = True
    first = lab.execute(flow(lab), idempotency_key="k")
    assert first.status == "failed"
    assert keys(lab) == {"k": ("FAILED", 1, 0)}
    shop.broken = False
    second = lab.execute(flow(lab), idempotency_key="k")
    assert second.success
    assert second.run_id != first.run_id
    assert keys(lab) == {"k": ("COMPLETED", 2, 0)}
    assert lab.decisions(second.run_id, "idempotency") == [(None, "idempotency", "execute")]
    assert {state.status for state in lab.states().values()} == {"failed", "success"}


def test_what_failed_may_be_refused(lab: Any, shop: Shop) -> None:
    """With what it failed of; nothing is done."""
    shop.broken = True
    first = lab.execute(flow(lab), idempotency_key="k")
    shop.broken = False
    with pytest.raises(
        OrchestrationError, match=r"it failed before: failed: ConnectionError: no answer"
    ) as caught:
        lab.execute(flow(lab), idempotency_key="k", on_failed="raise")
    assert caught.value.run_id == first.run_id
    assert shop.calls == {"tea": 1}


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"idempotency_key": ""}, "key"),
        ({"idempotency_key": 7}, "key"),
        ({"idempotency_key": "k", "ttl_hours": 0}, "ttl_hours"),
        ({"idempotency_key": "k", "ttl_hours": float("nan")}, "ttl_hours"),
        ({"idempotency_key": "k", "on_in_flight": "ask"}, "on_in_flight"),
        ({"idempotency_key": "k", "on_failed": "ask"}, "on_failed"),
    ],
)
def test_options_that_mean_nothing_are_refused(lab: Any, shop: Shop, arguments: Any, where: str) -> None:
    """Before anything is done."""
    with pytest.raises(ParameterError, match=where):
        lab.execute(flow(lab), **arguments)
    assert not lab.events()


# --- while it is being executed ------------------------------------------------------------


class Gate:
    """A step that waits until it is let go, and counts how often it was entered."""

    def __init__(self) -> None:
        self.entered, self.opened = 0, threading.Event()
        self.fails = False

    def wait(self, big: bool = False) -> str:
        """Wait for at most half a minute."""
        self.entered += 1
        assert self.opened.wait(30)
        if self.fails:
            raise ValueError("broken")
        return "x" * 100_000 if big else "done"


@pytest.fixture
def kit() -> Iterator[ok.Kit]:
    """A kit in memory, under the real clock."""
    with ok.open(registry=ok.Registry()) as made:
        yield made


@pytest.fixture
def gate(kit: ok.Kit) -> Iterator[Gate]:
    """The tool ``wait``."""
    made = Gate()
    kit.registry.methods.register_method(made.wait, name="wait")
    yield made
    made.opened.set()


def gated(kit: ok.Kit, name: str = "gated", **params: Any) -> Any:
    """One step that waits at the gate."""
    return kit.workflow(name).add_step("wait", params).build()


def until(condition: Any) -> None:
    """Wait for what other threads do."""
    for _ in range(6000):
        if condition():
            return
        threading.Event().wait(0.005)
    raise AssertionError


def test_a_second_request_is_told_that_the_first_is_going_on(kit: ok.Kit, gate: Gate) -> None:
    """By whom, and in which run; another input is a conflict already."""
    handle = kit.start(gated(kit), idempotency_key="k")
    until(lambda: gate.entered)
    with pytest.raises(DuplicateRequestError) as caught:
        kit.run(gated(kit), idempotency_key="k")
    assert caught.value.run_id == handle.run_id
    assert caught.value.holder.startswith("process ")
    with pytest.raises(IdempotencyConflictError):
        kit.run(gated(kit), context={"n": 1}, idempotency_key="k", on_in_flight="wait")
    assert handle.status == "running"
    gate.opened.set()
    assert handle.result(30).success
    assert gate.entered == 1


@pytest.mark.parametrize("big", [False, True])
def test_who_waits_gets_the_result_of_the_first(kit: ok.Kit, gate: Gate, big: bool) -> None:
    """Also a large one; its handle says `pending` until then, and stands for the first one's run after."""
    first = kit.start(gated(kit, big=big), idempotency_key="k")
    until(lambda: gate.entered)
    others = [kit.start(gated(kit, big=big), idempotency_key="k", on_in_flight="wait") for _ in range(3)]
    assert [other.status for other in others] == ["pending"] * 3
    gate.opened.set()
    for other in others:
        result = other.result(30)
        assert (result.replayed, result.run_id) == (True, first.run_id)
        assert (other.status, other.run_id) == ("success", first.run_id)
        assert result.outputs == first.result(30).outputs
        assert result.run.id == first.run_id
    assert gate.entered == 1


def test_who_waits_for_what_fails_executes_it(kit: ok.Kit, gate: Gate) -> None:
    """As if it had come later; or is told of the failure, when that was asked for."""
    gate.fails = True
    first = kit.start(gated(kit), idempotency_key="k")
    until(lambda: gate.entered)
    other = kit.start(gated(kit), idempotency_key="k", on_in_flight="wait", on_failed="raise")
    gate.opened.set()
    assert first.result(30).status == "failed"
    with pytest.raises(OrchestrationError, match="it failed before"):
        other.result(30)
    gate.fails = False
    assert kit.run(gated(kit), idempotency_key="k", on_in_flight="wait").success
    assert gate.entered == 2


def test_waiting_can_be_given_up(kit: ok.Kit, gate: Gate) -> None:
    """Who cancels it is told that the other one goes on; that one is not disturbed."""
    first = kit.start(gated(kit), idempotency_key="k")
    until(lambda: gate.entered)
    other = kit.start(gated(kit), idempotency_key="k", on_in_flight="wait")
    other.cancel()
    with pytest.raises(DuplicateRequestError) as caught:
        other.result(30)
    assert caught.value.run_id == first.run_id
    gate.opened.set()
    assert first.result(30).success


def test_who_is_cancelled_from_outside_while_waiting_is_cancelled(kit: ok.Kit, gate: Gate) -> None:
    """As any coroutine is."""
    kit.start(gated(kit), idempotency_key="k")
    until(lambda: gate.entered)

    async def cell() -> None:
        task = asyncio.create_task(kit.execute(gated(kit), idempotency_key="k", on_in_flight="wait"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cell())
    assert gate.entered == 1


def test_a_cancelled_run_has_failed_and_can_be_asked_for_again(kit: ok.Kit, gate: Gate) -> None:
    """By its handle, before or after it has begun; the key says of what."""
    handle = kit.start(gated(kit), idempotency_key="k")
    handle.cancel("no longer needed")
    result = handle.result(30)
    assert result.status == "cancelled"
    claim = kit.store.claims.find("k")
    assert claim is not None
    assert (claim.status, claim.error) == ("FAILED", "cancelled: no longer needed")
    gate.opened.set()
    assert kit.run(gated(kit), idempotency_key="k").success


def test_threads_race_for_keys(kit: ok.Kit) -> None:
    """Eight threads, thirty keys: thirty executions; all have the result, or are told of who is at it."""
    calls: Counter[int] = Counter()
    lock = threading.Lock()

    def work(n: int) -> int:
        with lock:
            calls[n] += 1
        return n * n

    kit.registry.methods.register_method(work, name="work")
    workflow = kit.workflow("square").add_step("work", {"n": "${context.n}"}).build()
    outcomes: Counter[str] = Counter()

    def ask() -> None:
        for n in range(30):
            wait = "wait" if n % 2 else "raise"
            try:
                result = kit.run(workflow, context={"n": n}, idempotency_key=f"k{n}", on_in_flight=wait)
                assert result.outputs == {"work": n * n}
                outcomes["replayed" if result.replayed else "executed"] += 1
            except DuplicateRequestError:
                assert wait == "raise"
                outcomes["duplicate"] += 1
            except BaseException as error:
                outcomes[repr(error)] += 1
                raise

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes["executed"] == 30
    assert outcomes.keys() <= {"executed", "replayed", "duplicate"}
    assert calls == dict.fromkeys(range(30), 1)


# --- taking over from an owner that died ---------------------------------------------------


@pytest.fixture
def left_behind(lab: Any, shop: Shop) -> Any:
    """``(rest, run_id)``: a run that was cut off in its second step, and its key, whose owner is dead."""
    run_id = lab.execute(flow(lab), idempotency_key="k").run_id
    claim = lab.store.claims.find("k")
    rest = lab.cut_after("attempt.started", "receipt")
    wanted = Wanted("k", claim.name, claim.fingerprint, None, ttl_us=3_600_000_000)
    rest.store.claims.give_up(rest.store.claims.acquire(wanted, run_id).claim)
    return rest, run_id


def test_the_run_of_a_dead_owner_goes_on(left_behind: Any, shop: Shop) -> None:
    """What it had completed is kept."""
    rest, run_id = left_behind
    result = rest.execute(flow(rest), idempotency_key="k")
    assert (result.run_id, result.success, result.replayed) == (run_id, True, False)
    assert shop.calls == {"tea": 1}
    decisions = [decision for _, _, decision in rest.decisions(run_id, "idempotency")]
    assert decisions == ["execute", "take_over"]
    assert rest.decisions(run_id, "resume") == [(None, "resume", "go_on"), ("receipt", "resume", "rerun")]
    assert rest.execute(flow(rest), idempotency_key="k").replayed


def test_while_somebody_has_resumed_it_the_request_is_in_flight(left_behind: Any, shop: Shop) -> None:
    """By its id, and without its key: then it is as if its owner lived."""
    rest, run_id = left_behind
    rest.store.open_runs.take_up(run_id, "workflow", "buy", None)
    with pytest.raises(DuplicateRequestError) as caught:
        rest.execute(flow(rest), idempotency_key="k")
    assert caught.value.run_id == run_id

    async def wait() -> Any:
        asked = asyncio.create_task(rest.engine.execute(flow(rest), idempotency_key="k", on_in_flight="wait"))
        await asyncio.to_thread(until, lambda: len(rest.clock.sleeps) >= 3)
        rest.store.open_runs.give_back(run_id, ended=False)
        return await asked

    assert asyncio.run(wait()).run_id == run_id
    assert shop.calls == {"tea": 1}
    assert rest.store.open_runs.all() == []


@pytest.mark.parametrize("how", ["task", "handle", "pause"])
def test_who_cancels_while_the_run_is_taken_over_cancels_the_run(
    left_behind: Any, shop: Shop, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Its record is read in a thread meanwhile; nothing of it is left behind in flight."""
    rest, run_id = left_behind
    reading, go_on = threading.Event(), threading.Event()

    def slowly(*arguments: Any) -> Any:
        reading.set()
        assert go_on.wait(30)
        return taken_over(*arguments)

    monkeypatch.setattr("orchkit.engine.runner.taken_over", slowly)

    async def cell() -> None:
        task = asyncio.create_task(rest.engine.execute(flow(rest), idempotency_key="k"))
        await asyncio.to_thread(reading.wait, 30)
        task.cancel("no longer needed")
        await asyncio.sleep(0.01)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    if how == "task":
        asyncio.run(cell())
    else:
        handle = rest.engine.start(flow(rest), idempotency_key="k")
        reading.wait(30)
        if how == "pause":
            handle.pause()
        else:
            handle.cancel("no longer needed")
        threading.Event().wait(0.05)
        go_on.set()
        if how == "pause":
            until(lambda: handle.status == "paused")
            assert not handle.done
            handle.cancel("no longer needed")
        assert handle.result(30).status == "cancelled"
    assert rest.states()[run_id].status == "cancelled"
    assert rest.store.open_runs.all() == []
    claim = rest.store.claims.find("k")
    assert (claim.status, claim.error) == ("FAILED", "cancelled: no longer needed")
    monkeypatch.undo()
    assert rest.execute(flow(rest), idempotency_key="k").success


# --- the record and the run itself ---------------------------------------------------------


def test_a_large_result_is_answered_from_the_record(lab: Any) -> None:
    """It is not beside the key; with the sub-workflows it was made of."""
    calls: list[int] = []

    async def big(n: int) -> list[str]:
        calls.append(n)
        return ["x" * 1000] * n

    lab.tool(big)
    inner = lab.flow("inner").add_step("big", {"n": 100}).build()
    workflow = (
        lab.flow("outer")
        .add_workflow(inner, {}, step_id="sub")
        .add_step("big", {"n": 1}, step_id="b")
        .build()
    )
    first = lab.execute(workflow, idempotency_key="k")
    for again in (lab.execute(workflow, idempotency_key="k"), lab.engine.run(workflow, idempotency_key="k")):
        assert again.replayed
        assert again.outputs == first.outputs
    assert sorted(calls) == [1, 100]
    assert keys(lab) == {"k": ("COMPLETED", 1, 2)}


def test_an_output_that_a_later_step_spoils_does_not_spoil_the_answer(lab: Any) -> None:
    """What is on record is what it was when its step ended."""

    async def make() -> list[Any]:
        return [1]

    async def spoil(value: list[Any]) -> int:
        value.append(object())
        return len(value)

    lab.tool(make)
    lab.tool(spoil)
    workflow = lab.flow("w").add_step("make").add_step("spoil", {"value": "${steps.make}"}).build()
    first = lab.execute(workflow, idempotency_key="k")
    assert first.success
    again = lab.execute(workflow, idempotency_key="k")
    assert (again.replayed, again.outputs) == (True, {"make": [1], "spoil": 2})


def test_a_run_that_failed_and_is_resumed_settles_its_key(lab: Any, shop: Shop) -> None:
    """Who asks for it again gets the result, and does not repeat what took two lives to be done."""
    shop.broken = True
    first = lab.execute(flow(lab), idempotency_key="k", ttl_hours=5)
    shop.broken = False
    assert lab.resume(first.run_id).success
    again = lab.execute(flow(lab), idempotency_key="k")
    assert (again.replayed, again.run_id) == (True, first.run_id)
    assert shop.calls == {"tea": 2}
    assert keys(lab) == {"k": ("COMPLETED", 2, 1)}


def test_a_run_whose_key_was_used_for_another_since_is_resumed_without_it(lab: Any, shop: Shop) -> None:
    """The key stands for the other one."""
    shop.broken = True
    first = lab.execute(flow(lab), idempotency_key="k")
    shop.broken = False
    second = lab.execute(flow(lab), idempotency_key="k")
    assert lab.resume(first.run_id).success
    assert lab.execute(flow(lab), idempotency_key="k").run_id == second.run_id


def test_while_a_run_is_resumed_its_key_is_in_flight(kit: ok.Kit, gate: Gate) -> None:
    """Whoever asks for it waits for the run that is resumed, and does not begin another."""
    gate.fails = True
    gate.opened.set()
    first = kit.run(gated(kit), idempotency_key="k")
    assert first.status == "failed"
    gate.fails = False
    gate.opened.clear()
    handle = kit.engine.resume(first.run_id)
    until(lambda: gate.entered == 2)
    with pytest.raises(DuplicateRequestError) as caught:
        kit.run(gated(kit), idempotency_key="k")
    assert caught.value.run_id == first.run_id
    with pytest.raises(RunInProgressError):
        kit.engine.resume(first.run_id)
    waiting = kit.start(gated(kit), idempotency_key="k", on_in_flight="wait")
    gate.opened.set()
    assert handle.result(30).success
    assert waiting.result(30).run_id == first.run_id
    assert gate.entered == 2


@pytest.mark.parametrize("fault", ["fail_before", "fail_after"])
def test_a_full_disk_at_any_moment_repeats_nothing(fault: Any) -> None:
    """What could not be written goes with the next commit; who asks again gets the answer, or executes."""

    def kit_on(store: Any, calls: list[int]) -> Any:
        kit = ok.Kit(store, registry=ok.Registry())
        kit.registry.methods.register_method(lambda: calls.append(1), name="work")
        return kit, kit.workflow("w").add_step("work").build()

    with FaultyStore() as store:
        kit, workflow = kit_on(store, [])
        kit.run(workflow, idempotency_key="k")
        commits = store.commits
    told = []
    for number in range(1, commits + 1):
        calls: list[int] = []
        with FaultyStore(**{fault: number}) as store:
            kit, workflow = kit_on(store, calls)
            try:
                result = kit.run(workflow, idempotency_key="k")
                assert "StoreFullError" in result.error
            except StoreFullError:
                told.append(number)
            assert kit.run(workflow, idempotency_key="k").success
            assert len(calls) == 1, number
            assert store.open_runs.all() == []
            claim = store.claims.find("k")
            assert claim is not None
            assert claim.status == "COMPLETED"
    assert told[0] == 1
    assert told[-1] == commits


def test_a_directive_may_name_the_key(lab: Any, shop: Shop) -> None:
    """As for operations; an argument goes before it."""
    directives = ok.ExecutionDirective(idempotency_key="k1")
    first = lab.execute(flow(lab), directives=directives)
    assert lab.execute(flow(lab), directives=directives).replayed
    assert not lab.execute(flow(lab), directives=directives, idempotency_key="k2").replayed
    assert keys(lab).keys() == {"k1", "k2"}
    assert lab.execute(flow(lab), idempotency_key="k1").run_id == first.run_id


def test_time_that_is_slept_through_does_not_expire_a_key_at_work(make_lab: Any) -> None:
    """The run takes longer than the key lasts; who waits gets its result."""
    lab = make_lab(clock=FakeClock())

    async def long() -> str:
        await lab.clock.sleep(60)
        return "done"

    lab.tool(long)
    workflow = lab.flow("w").add_step("long").build()

    async def both() -> list[Any]:
        first = asyncio.create_task(lab.engine.execute(workflow, idempotency_key="k", ttl_hours=0.01))
        await asyncio.sleep(0)
        second = lab.engine.execute(workflow, idempotency_key="k", ttl_hours=0.01, on_in_flight="wait")
        return await asyncio.gather(first, second, return_exceptions=True)

    first, second = asyncio.run(both())
    assert first.success
    assert second.success
