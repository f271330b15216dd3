"""The decorator: policies around any function, in a run, with a kit, and without either."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import orchkit as ok
from orchkit.errors import BreakerOpenError, PolicyError, TimeoutExceededError, UnknownNameError
from orchkit.reliability.guards import Guards
from orchkit.testing import FakeClock, MemoryStore, capture

QUICK = {"strategy": "immediate", "max_attempts": 3}


class Flaky:
    """Fails so many times, then gives the number of calls."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.calls = failures, 0
        self.threads: list[int] = []

    def __call__(self) -> int:
        self.calls += 1
        self.threads.append(threading.get_ident())
        if self.calls <= self.failures:
            raise ConnectionError(f"call {self.calls}")
        return self.calls


@pytest.fixture
def kit() -> Iterator[ok.Kit]:
    """A kit in memory under virtual time."""
    clock = FakeClock()
    with ok.Kit(MemoryStore(clock=clock)) as made:
        made.orchestrator.bodies.threads = clock.threads()  # time stands still while they work
        yield made


def story(kit: ok.Kit, *kinds: str) -> list[tuple[Any, ...]]:
    """Step, attempt and status or decision of the events of these kinds."""
    kit.store.commit()
    return [
        (e.step_id, e.attempt, e.payload.get("status") or e.payload.get("decision"))
        for e in kit.store.log_events()  # type: ignore[attr-defined]
        if e.kind in kinds
    ]


# --- without a store -------------------------------------------------------------------------


def test_a_sync_function_is_tried_again_in_its_own_thread() -> None:
    """Without timeouts the function runs where it is called; its arguments and name stay what they are."""
    flaky = Flaky(2)

    @ok.reliable(retry=QUICK)
    def fetch(url: str, *, page: int = 1) -> tuple[str, int, int]:
        """Fetch a page."""
        return url, page, flaky()

    assert fetch("x", page=2) == ("x", 2, 3)
    assert set(flaky.threads) == {threading.get_ident()}
    assert (fetch.__name__, fetch.__doc__) == ("fetch", "Fetch a page.")


def test_an_async_function_is_tried_again_on_its_own_loop() -> None:
    """It is awaited as before."""
    flaky, loops = Flaky(2), set()

    @ok.reliable(retry=QUICK)
    async def fetch() -> int:
        loops.add(asyncio.get_running_loop())
        return flaky()

    async def main() -> int:
        result = await fetch()
        assert loops == {asyncio.get_running_loop()}
        return result

    assert asyncio.run(main()) == 3


def test_the_last_error_is_raised_as_it_is() -> None:
    """With the traceback into the function."""

    @ok.reliable(retry=QUICK)
    def fetch() -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone") as failure:
        fetch()
    assert failure.traceback[-1].name == "fetch"


def test_state_is_kept_between_calls() -> None:
    """A breaker under a name is one for all functions of the process that name it."""

    @ok.reliable(breaker={"name": "test_state_is_kept", "failure_threshold": 2})
    def fails() -> None:
        raise OSError

    @ok.reliable(breaker={"name": "test_state_is_kept", "failure_threshold": 2})
    async def works() -> None:
        """Would, if it were let."""

    for _ in range(2):
        with pytest.raises(OSError, match=r"^$"):
            fails()
    with pytest.raises(BreakerOpenError):
        asyncio.run(works())


def test_methods_keep_their_object() -> None:
    """The decorator can be used in a class, below `staticmethod` and `classmethod`."""

    class Client:
        def __init__(self) -> None:
            self.flaky = Flaky(1)

        @ok.reliable(retry=QUICK)
        def fetch(self, n: int) -> tuple[int, int]:
            return n, self.flaky()

        @staticmethod
        @ok.reliable(retry=QUICK)
        def still(n: int) -> int:
            return n

        @classmethod
        @ok.reliable(retry=QUICK)
        def kind(cls) -> str:
            return cls.__name__

    assert (Client().fetch(5), Client.still(3), Client.kind()) == ((5, 2), 3, "Client")


def test_a_sync_function_that_overruns_is_left_behind() -> None:
    """With a timeout it runs in a worker thread, and its caller goes on."""
    gate, here = threading.Event(), threading.get_ident()
    threads: list[int] = []

    @ok.reliable(timeout=0.05, fallback={"value": "in time"})
    def stuck() -> str:
        threads.append(threading.get_ident())
        gate.wait(10)
        return "late"

    assert stuck() == "in time"
    assert threads != [here]
    gate.set()


def test_a_sync_function_can_be_hedged() -> None:
    """The second call answers while the first one is stuck."""
    gate, calls = threading.Event(), Flaky()

    @ok.reliable(hedge=0.01, idempotent=True)
    def fetch() -> int:
        number = calls()
        if number == 1:
            gate.wait(10)
        return number

    assert fetch() == 2
    gate.set()


def test_context_variables_reach_the_function() -> None:
    """Those of the caller, as they are at the call."""
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")

    @ok.reliable(retry=2)
    def here() -> str:
        return user.get()

    @ok.reliable(timeout=10)
    def elsewhere() -> str:
        return user.get()

    user.set("u_1")
    assert (here(), elsewhere()) == ("u_1", "u_1")


def test_a_sync_fallback_runs_in_the_thread_of_its_caller() -> None:
    """And may make reliable calls of its own."""

    @ok.reliable(retry=QUICK)
    def cached() -> int:
        return threading.get_ident()

    @ok.reliable(fallback=cached)
    def fetch() -> int:
        raise OSError

    assert fetch() == threading.get_ident()


def test_calls_within_calls() -> None:
    """A reliable function may call others, sync from sync and sync from async."""

    @ok.reliable(retry=2)
    def inner() -> str:
        return "inner"

    @ok.reliable(retry=2)
    def outer() -> str:
        return f"outer of {inner()}"

    @ok.reliable(retry=2)
    async def outermost() -> str:
        return f"outermost of {outer()}"

    assert asyncio.run(outermost()) == "outermost of outer of inner"


def test_what_a_policy_asks_cannot_make_reliable_calls() -> None:
    """It would wait for the loop that it runs on; the error of the call is raised, not a dead lock."""

    @ok.reliable(retry=2)
    def lookup() -> bool:
        return True

    @ok.reliable(retry={"max_attempts": 2, "classifier": lambda error: lookup()})
    def fails() -> None:
        raise ValueError("the real one")

    with pytest.raises(ValueError, match="the real one"):
        fails()


def test_an_interrupt_ends_the_call_and_leaves_nothing_running() -> None:
    """Ctrl-C in the function goes to the caller; the policies do not take it for a failure."""
    calls = Flaky()

    @ok.reliable(retry={"max_attempts": 5, "strategy": "immediate"})
    def fetch() -> None:
        calls()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch()
    assert calls.calls == 1


def test_a_call_from_a_running_loop_is_no_dead_lock() -> None:
    """As in a notebook cell: the sync function blocks the cell, and comes back."""

    @ok.reliable(retry={"strategy": "fixed", "delay": 0.001})
    def fetch() -> int:
        return flaky()

    flaky = Flaky(1)

    async def cell() -> int:
        return fetch()

    assert asyncio.run(cell()) == 2


def test_decisions_can_be_captured_in_tests() -> None:
    """Without any store a test sees what the policies decided."""

    @ok.reliable(retry=QUICK)
    def fetch() -> int:
        return flaky()

    flaky = Flaky(1)
    with capture() as traces:
        fetch()
    assert [(one.point, one.decision) for one in traces.decisions] == [("retry", "retry")]


# --- with a kit --------------------------------------------------------------------------------


def test_with_a_kit_each_call_is_a_run_of_its_own(kit: ok.Kit) -> None:
    """With its attempts, its decisions, its input and its output, as every other run."""
    flaky = Flaky(1)

    @ok.reliable(retry={"strategy": "fixed", "delay": 30}, kit=kit)
    async def fetch(url: str, page: int = 1) -> dict[str, int]:
        return {"calls": flaky()}

    assert asyncio.run(fetch("x")) == {"calls": 2}
    run = kit.runs[-1]
    assert (run.state.kind, run.state.name.rpartition(".")[2]) == ("call", "fetch")
    assert run.status == "success"
    step = run.steps().iloc[0]
    assert (step["input"], step["output"], step["attempts"]) == ({"url": "x"}, {"calls": 2}, 2)
    assert list(run.attempts()["status"]) == ["failed", "success"]
    assert list(run.decisions()["decision_point"]) == ["policy.selected", "retry"]
    assert kit.store.clock.sleeps == [30]  # type: ignore[attr-defined]


def test_a_sync_function_is_recorded_as_well_and_waits_in_virtual_time(kit: ok.Kit) -> None:
    """One core: what holds for async functions holds for sync ones."""
    flaky = Flaky(2)

    @ok.reliable("gateway", name="mail.fetch", kit=kit)
    def fetch() -> int:
        return flaky()

    assert fetch() == 3
    assert kit.store.clock.sleeps == [1, 1]  # type: ignore[attr-defined]
    assert kit.breakers["mail.fetch"].state == "closed"
    assert story(kit, "attempt.finished") == [
        ("mail.fetch", 1, "failed"),
        ("mail.fetch", 2, "failed"),
        ("mail.fetch", 3, "success"),
    ]


@pytest.mark.parametrize("error", [OSError("down"), KeyboardInterrupt()])
def test_a_call_that_fails_is_a_failed_run(kit: ok.Kit, error: BaseException) -> None:
    """Or a cancelled one, when somebody interrupts it; the run always has an end."""

    @ok.reliable(retry=1, breaker=3, kit=kit, name="fetch")
    def fetch() -> None:
        raise error

    with pytest.raises(type(error)):
        fetch()
    deadline = time.monotonic() + 60
    while not story(kit, "run.finished"):
        assert time.monotonic() < deadline
    expected = "failed" if isinstance(error, OSError) else "cancelled"
    assert story(kit, "run.finished") == [(None, None, expected)]
    assert story(kit, "step.finished") == [("fetch", None, expected)]


def test_what_cannot_be_stored_is_named_instead(kit: ok.Kit) -> None:
    """A function is not to fail over its record: neither for its arguments nor for its result."""
    lock = threading.Lock()

    @ok.reliable(retry=2, kit=kit, name="fetch")
    def fetch(connection: Any, n: int) -> Any:
        return connection

    assert fetch(lock, 3) is lock
    step = kit.runs[-1].steps().iloc[0]
    assert step["input"]["n"] == 3
    assert "lock" in step["input"]["connection"]["not stored"]
    assert "lock" in step["output"]["not stored"]


def test_a_store_alone_will_do() -> None:
    """Calls are recorded in it, and find its breakers."""
    store = MemoryStore()

    @ok.reliable(breaker={"name": "mail", "failure_threshold": 1}, store=store)
    def fetch() -> None:
        raise OSError

    with store:
        for error in (OSError, BreakerOpenError):
            with pytest.raises(error):
                fetch()
        assert store.kinds().count("run.finished") == 2
        assert Guards.of(store).breakers["mail"].state == "open"


def test_a_tool_of_the_kit_can_be_the_fallback(kit: ok.Kit) -> None:
    """By its name, with the arguments of the call; one that does not exist is told at the first call."""

    def cached(url: str) -> str:
        return f"cached {url}"

    kit.registry.methods.register_method(cached)

    @ok.reliable(fallback="cached", kit=kit)
    def fetch(url: str) -> str:
        raise OSError

    @ok.reliable(fallback="chached", kit=kit)
    def misspelt(url: str) -> str:
        raise OSError

    assert fetch("x") == "cached x"
    with pytest.raises(UnknownNameError, match="chached"):
        misspelt("x")


# --- inside a run ------------------------------------------------------------------------------


def run_step_calling(kit: ok.Kit, work: Any, **options: Any) -> Any:
    """One run of a step that does this."""
    kit.registry.methods.register_method(work, name="work")
    flow = kit.workflow("w").add_step("work", **options).build()
    return asyncio.run(kit.execute(flow))


@pytest.mark.parametrize("sync", [False, True])
def test_inside_a_step_it_is_a_step_below_it(kit: ok.Kit, sync: bool) -> None:
    """In the same run, as a call of its step, with its own attempts; not an attempt of the step."""
    flaky = Flaky(1)
    if sync:

        @ok.reliable(retry=QUICK, name="fetch")
        def fetch(n: int) -> int:
            return flaky()

        def work() -> int:
            return fetch(1) + fetch(2)
    else:

        @ok.reliable(retry=QUICK, name="fetch")
        async def fetch(n: int) -> int:
            return flaky()

        async def work() -> int:  # type: ignore[misc]
            return await fetch(1) + await fetch(2)

    result = run_step_calling(kit, work)
    assert result.steps["work"].output == 5
    assert list(result.steps) == ["work"]
    steps = result.run.steps()
    assert list(steps["step_id"]) == ["work", "work/fetch", "work/fetch_2"]
    assert list(steps["node_type"]) == ["task", "call", "call"]
    assert list(steps["parent"].fillna("")) == ["", "work", "work"]
    assert story(kit, "attempt.finished") == [
        ("work/fetch", 1, "failed"),
        ("work/fetch", 2, "success"),
        ("work/fetch_2", 1, "success"),
        ("work", 1, "success"),
    ]
    assert len(result.run.decisions().query("decision_point == 'policy.selected'")) == 2


def test_a_step_that_is_tried_again_calls_anew(kit: ok.Kit) -> None:
    """Which attempt of the step made a call is in its id."""
    outer, inner = Flaky(1), Flaky()

    @ok.reliable(retry=2, name="fetch")
    async def fetch() -> int:
        return inner()

    async def work() -> int:
        await fetch()
        return outer()

    run_step_calling(kit, work, retry=QUICK)
    assert [step for step, _, _ in story(kit, "step.finished")] == ["work/fetch", "work#2/fetch", "work"]


def test_what_it_traces_belongs_to_the_call(kit: ok.Kit) -> None:
    """Decisions inside the function are those of the call, those after it those of the step."""

    @ok.reliable(retry=2, name="fetch")
    async def fetch() -> None:
        ok.trace_decision("carrier", "rail")

    async def work() -> None:
        await fetch()
        ok.trace_decision("route", "north")

    run_step_calling(kit, work)
    told = {one[0]: one[2] for one in story(kit, "decision") if one[2] in ("rail", "north")}
    assert told == {"work/fetch": "rail", "work": "north"}


def test_it_shares_its_breaker_with_the_steps_of_the_kit(kit: ok.Kit) -> None:
    """One name, one breaker on one store, whoever calls."""
    kit.breakers.force_open("mail")

    @ok.reliable(breaker="mail", name="fetch")
    async def fetch() -> None:
        """Would."""

    async def work() -> None:
        await fetch()

    result = run_step_calling(kit, work)
    assert isinstance(result.steps["work"].exception, BreakerOpenError)
    assert [step for step, _, decision in story(kit, "decision") if decision == "rejected"] == ["work/fetch"]


def test_the_record_of_the_run_is_told_as_ever(kit: ok.Kit) -> None:
    """Calls are no items of a map, and no steps of the definition."""

    @ok.reliable(retry=QUICK, name="fetch")
    async def fetch() -> int:
        return flaky()

    async def work() -> int:
        return await fetch()

    flaky = Flaky(1)
    run = run_step_calling(kit, work).run
    assert "map" not in run.explain("work")
    assert "map" not in run.explain("work/fetch")
    assert "work/fetch" in str(list(run.attempts()["step_id"]))
    assert "text/html" in run._repr_mimebundle_()


# --- what is refused ---------------------------------------------------------------------------


def test_a_decorator_without_policies_is_a_mistake() -> None:
    """With a hint how to write it."""
    with pytest.raises(PolicyError, match=r"write @reliable\(retry=3\)"):
        ok.reliable()
    with pytest.raises(PolicyError, match=r"say which policies: @reliable\(retry=3\)"):

        @ok.reliable  # type: ignore[arg-type]
        def fetch() -> None:
            """No parentheses."""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"retry": {"max_attempts": 0}}, "max_attempts"),
        ({"breaker": {"failures": 3}}, "failures"),
        ({"policy": "gatewya"}, "did you mean 'gateway'"),
        ({"retries": 3}, "retries"),
    ],
    ids=str,
)
def test_policies_that_cannot_be_read_are_refused_at_once(options: dict[str, Any], said: str) -> None:
    """Not only when the function is called."""
    with pytest.raises(PolicyError, match=said):
        ok.reliable(**options)


def test_what_is_no_function_is_refused() -> None:
    """Generators, classes, and descriptors in the wrong order; a hedge without the promise."""
    decorate: Any = ok.reliable(retry=2)

    def generate() -> Iterator[int]:
        yield 1

    def plain() -> None:
        """Nothing."""

    for wrong, said in [
        (generate, "generator"),
        (Flaky, "no function"),
        (staticmethod(plain), "put @staticmethod above @reliable"),
        (5, "no function"),
    ]:
        with pytest.raises(PolicyError, match=said):
            decorate(wrong)
    with pytest.raises(PolicyError, match="idempotent=True"):
        ok.reliable(hedge=1)(plain)


def test_its_policy_can_be_asked() -> None:
    """The decorated function carries it, to be explained and checked."""

    @ok.reliable("gateway", timeout={"total": 10})
    def fetch() -> None:
        """Nothing."""

    policy: ok.ReliabilityPolicy = fetch.policy  # type: ignore[attr-defined]
    assert policy.explain().seconds == 10
    assert policy.timeout is not None
    assert policy.timeout.attempt == 30
    assert [problem.where for problem in policy.warnings()] == ["timeout"]


def test_a_store_that_was_used_can_go() -> None:
    """Nothing of what is kept for its calls keeps it in memory."""
    store = MemoryStore()
    gone = weakref.ref(store)

    def use(store: MemoryStore) -> None:
        @ok.reliable(retry=2, breaker="mail", fallback={"value": 1}, store=store)
        def fetch() -> int:
            return 1

        fetch()
        store.close()

    use(store)
    del store
    gc.collect()
    assert gone() is None


def test_timeouts_are_told_from_the_functions_own() -> None:
    """As around steps."""

    @ok.reliable(timeout=0.01)
    async def slow() -> None:
        await asyncio.sleep(10)

    with pytest.raises(TimeoutExceededError, match=r"attempt exceeded its timeout of 0.01 s"):
        asyncio.run(slow())


def test_a_kit_decorates_for_itself(kit: ok.Kit) -> None:
    """The same with the kit filled in."""

    @kit.reliable(retry=QUICK, name="fetch")
    def fetch() -> int:
        return flaky()

    flaky = Flaky(1)
    assert fetch() == 2
    assert story(kit, "run.finished") == [(None, None, "success")]
