"""One operation: request in, response out, hooks and policy around it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, Protocol

import pytest

import orchkit as ok
from orchkit.engine.hooks import Hook, HookCall, HookManager
from orchkit.engine.sessions import SessionOrchestrator
from orchkit.errors import (
    CodecError,
    HookError,
    OperationError,
    ParameterError,
    StoreClosedError,
    TimeoutExceededError,
    UnknownNameError,
)
from orchkit.model.policy import OperationPolicy, RetryPolicy
from orchkit.model.request import ExecutionDirective, Request, Response
from orchkit.store.store import Store


class Witness(Hook):
    """Writes down when it is told what."""

    def __init__(self, log: list[str], name: str = "hook", *, required: bool = False) -> None:
        self.log, self.name, self.required = log, name, required

    def before(self, call: HookCall) -> None:
        self.log.append(f"{self.name} before {call.operation} {dict(call.params)}")

    def after(self, call: HookCall, response: Response) -> None:
        self.log.append(f"{self.name} after {response.status} {response.output}")

    def failed(self, call: HookCall, error: BaseException) -> None:
        self.log.append(f"{self.name} failed {error}")


@pytest.fixture
def log() -> list[str]:
    """What the hooks and tools of a test write down."""
    return []


@pytest.fixture
def shop(make_lab: Any, log: list[str]) -> Any:
    """A lab with the domain ``shop``, and a witness on all of it."""
    hooks = HookManager({"witness": Witness(log)})
    retry = RetryPolicy(strategy="fixed", delay=1, max_attempts=2, jitter="none")
    policies = [
        OperationPolicy(pattern="shop.*", hooks=("witness",)),
        OperationPolicy(pattern="shop.flaky", hooks=("witness",), retry=retry, timeout=50),
    ]
    lab = make_lab(hooks=hooks, policies=policies)
    failures = ["once"]

    async def price(item: str, count: int = 1) -> int:
        log.append("body")
        return len(item) * count

    async def broken() -> None:
        raise ValueError("out of order")

    async def flaky() -> str:
        if failures:
            failures.pop()
            raise OSError("down")
        return "up"

    async def slow(seconds: float = 10) -> str:
        await lab.clock.sleep(seconds)
        return "done"

    def threaded() -> str:
        return threading.current_thread().name

    for function in (price, broken, flaky, slow, threaded):
        lab.tool(function, domain="shop")
    return lab


def test_the_steps_of_a_dispatch_are_in_order(shop: Any, log: list[str]) -> None:
    """Policy first, then hooks before, the body, the response with its metadata, hooks after."""
    response = shop.dispatch("price", {"item": "tea", "count": "2"}, user_id="u_1", request_id="req_1")
    assert log == ["hook before shop.price {'item': 'tea', 'count': 2}", "body", "hook after success 6"]
    assert (response.status, response.output, response.success) == ("success", 6, True)
    metadata = dict(response.metadata)
    assert metadata.pop("run_id").startswith("run_")
    assert metadata == {
        "request_id": "req_1",
        "policy": "shop.*",
        "hooks": ("witness",),
        "attempts": 1,
        "duration_ms": 0.0,
    }
    assert [event.kind for event in shop.events(response.metadata["run_id"])] == [
        "run.started",
        "step.scheduled",
        "decision",
        "attempt.started",
        "attempt.finished",
        "step.finished",
        "run.finished",
    ]


def test_an_operation_is_a_run_of_its_own_kind(shop: Any) -> None:
    """The record has who asked for it, and the view shows it as an operation."""
    facts = {"user_id": "u_1", "session_id": "ses_1", "casefile_id": "cf_1", "request_id": "req_1"}
    response = shop.dispatch("shop.price", {"item": "tea"}, **facts)
    rows = shop.store.query(
        "SELECT kind, name, status, user_id, session_id, casefile_id, request_id, durability FROM runs "
        "WHERE run_id = ?",
        [response.metadata["run_id"]],
    )
    assert rows == [("operation", "shop.price", "success", *facts.values(), "sync")]


@pytest.mark.parametrize("name", ["price", "shop.price"])
def test_an_operation_can_be_named_with_and_without_its_domain(shop: Any, name: str) -> None:
    """Both names mean the same method and the same policy."""
    response = shop.dispatch(name, {"item": "tea"})
    assert (response.operation, response.metadata["policy"]) == ("shop.price", "shop.*")


@pytest.mark.parametrize(
    ("operation", "payload", "error", "complaint"),
    [
        ("shop.prize", {}, UnknownNameError, "did you mean 'shop.price'"),
        ("price", {}, ParameterError, "item: missing, expected str"),
        ("price", {"item": "tea", "count": "many"}, ParameterError, "count: expected int, got 'many'"),
        ("price", {"item": "tea", "cuont": 1}, ParameterError, "did you mean 'count'"),
    ],
)
def test_what_cannot_be_called_raises_before_anything_happens(
    shop: Any, log: list[str], operation: str, payload: dict[str, Any], error: type[Exception], complaint: str
) -> None:
    """Nothing is recorded and no hook is told."""
    with pytest.raises(error, match=complaint):
        shop.dispatch(operation, payload)
    shop.store.commit()
    assert (shop.events(), log) == ([], [])


def test_a_failure_is_in_the_response(shop: Any, log: list[str]) -> None:
    """Status, text and exception; raise_for_status raises, with the cause chained."""
    response = shop.dispatch("broken")
    assert (response.status, response.success, response.output) == ("failed", False, None)
    assert response.error == "ValueError: out of order"
    assert log == ["hook before shop.broken {}", "hook failed out of order"]
    with pytest.raises(OperationError, match=r"'shop\.broken' failed: ValueError: out of order") as caught:
        response.raise_for_status()
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.run_id == response.metadata["run_id"]
    assert response.metadata["attempts"] == 1


def test_a_response_that_is_fine_raises_nothing(shop: Any) -> None:
    """raise_for_status returns the response, so that calls can be chained."""
    assert shop.dispatch("price", {"item": "tea"}).raise_for_status().output == 3


def test_the_policy_of_the_operation_is_applied(shop: Any) -> None:
    """Its retry and limit hold without being asked for."""
    response = shop.dispatch("flaky")
    assert (response.output, response.metadata["attempts"]) == ("up", 2)
    assert shop.clock.monotonic() == 1


def test_a_sync_function_is_dispatched_to_a_thread(shop: Any) -> None:
    """As in a workflow."""
    assert shop.dispatch("threaded").output == "orchkit-worker"


def test_an_output_that_cannot_be_stored_is_a_failure(shop: Any) -> None:
    """The response says so, with the path, although the body succeeded."""

    async def handle() -> dict[str, object]:
        return {"handle": object()}

    shop.tool(handle)
    response = shop.dispatch("handle")
    assert (response.status, response.output) == ("failed", None)
    assert isinstance(response.exception, CodecError)
    assert "output.handle cannot be stored" in str(response.error)


def test_dispatches_at_the_same_time_do_not_mix(shop: Any) -> None:
    """Two hundred operations, each with its own run and output."""

    async def main() -> list[Response]:
        requests = [Request("price", {"item": "x" * n}) for n in range(200)]
        return await asyncio.gather(*map(shop.orchestrator.dispatch, requests))

    responses = shop.run(main())
    assert [response.output for response in responses] == list(range(200))
    assert len({response.metadata["run_id"] for response in responses}) == 200


def test_cancelling_a_dispatch_is_recorded_and_raised(shop: Any) -> None:
    """The run ends as cancelled before CancelledError goes on."""
    begun = asyncio.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.get_running_loop().create_future()

    shop.tool(wait)

    async def main() -> None:
        task = asyncio.ensure_future(shop.orchestrator.dispatch(Request("wait")))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    shop.run(main())
    assert [(e.kind, e.payload.get("status")) for e in shop.events()[-3:]] == [
        ("attempt.finished", "cancelled"),
        ("step.finished", "cancelled"),
        ("run.finished", "cancelled"),
    ]


def test_a_closed_store_refuses_before_the_body_runs(shop: Any, log: list[str]) -> None:
    """What cannot be recorded is not done."""
    shop.store.close()
    with pytest.raises(StoreClosedError, match="closed"):
        shop.dispatch("price", {"item": "tea"})
    with pytest.raises(StoreClosedError, match="closed"):
        shop.execute(shop.flow().add_step("price", {"item": "tea"}), durability="exit")
    assert log == []


# --- directives ----------------------------------------------------------------------------


@pytest.mark.parametrize("skip", [("witness",), ("*",)])
def test_hooks_can_be_skipped(shop: Any, log: list[str], skip: tuple[str, ...]) -> None:
    """By name, or all with a star; the metadata says which ran."""
    response = shop.dispatch("price", {"item": "tea"}, directives=ExecutionDirective(skip_hooks=skip))
    assert log == ["body"]
    assert response.metadata["hooks"] == ()


def test_a_dry_run_does_everything_but_the_work(make_lab: Any, log: list[str]) -> None:
    """Parameters are checked and required hooks asked; the body does not run, which is a decision."""
    hooks = HookManager({"plain": Witness(log, "plain"), "guard": Witness(log, "guard", required=True)})
    lab = make_lab(hooks=hooks, policies=[OperationPolicy(hooks=("plain", "guard"))])

    async def price(item: str) -> int:
        log.append("body")
        return len(item)

    lab.tool(price)
    dry = ExecutionDirective(execution_mode="dry_run")
    response = lab.dispatch("price", {"item": "tea"}, directives=dry)
    assert (response.status, response.output, response.success) == ("dry_run", None, False)
    assert response.raise_for_status() is response
    assert log == ["guard before price {'item': 'tea'}", "guard after dry_run None"]
    run_id = response.metadata["run_id"]
    assert lab.decisions(run_id)[-1] == ("price", "execution_mode", "dry_run")
    assert lab.events(run_id, "attempt.started") == []
    with pytest.raises(ParameterError):
        lab.dispatch("price", {}, directives=dry)


@pytest.mark.parametrize("limit", [None, 50])
def test_the_limit_of_a_directive_overrides_that_of_the_policy(shop: Any, limit: float | None) -> None:
    """Also where the policy has none."""
    shop.orchestrator.policies.set_policy(OperationPolicy(pattern="shop.slow", timeout=limit))
    response = shop.dispatch("slow", {"seconds": 10}, directives=ExecutionDirective(timeout=3))
    assert isinstance(response.exception, TimeoutExceededError)
    assert response.exception.seconds == 3


def test_the_durability_of_a_directive_is_that_of_the_run(shop: Any) -> None:
    """It is on the record."""
    for durability in ("sync", "async", "exit"):
        response = shop.dispatch(
            "price",
            {"item": "tea"},
            directives=ExecutionDirective(durability=durability),  # type: ignore[arg-type]
        )
        (started,) = shop.events(response.metadata["run_id"], "run.started")
        assert started.payload["durability"] == durability


# --- workflow steps ------------------------------------------------------------------------


def test_the_steps_of_a_workflow_are_dispatched_like_operations(shop: Any, log: list[str]) -> None:
    """Hooks and policies apply to them; directives of the run to all of them."""
    flow = shop.flow(mode="sequential").add_step("price", {"item": "tea"}).add_step("flaky").build()
    assert shop.execute(flow).outputs == {"price": 3, "flaky": "up"}
    assert log == [
        "hook before shop.price {'item': 'tea'}",
        "body",
        "hook after success 3",
        "hook before shop.flaky {}",
        "hook after success up",
    ]
    log.clear()
    shop.execute(flow, directives=ExecutionDirective(skip_hooks=("witness",)))
    assert log == ["body"]


def test_a_step_overrides_the_policy_of_its_operation(shop: Any) -> None:
    """Its own retry and limit replace those of the policy."""
    result = shop.execute(shop.flow().add_step("flaky", retry=RetryPolicy(max_attempts=1)))
    assert (result.status, result.steps["flaky"].attempts) == ("failed", 1)


# --- services ------------------------------------------------------------------------------


class Rates(Protocol):
    """What a method needs to know prices."""

    def rate(self, city: str) -> float:
        """The rate of a city."""
        ...


class FixedRates:
    """Rates that do not change."""

    def rate(self, city: str) -> float:
        return float(len(city))


def test_services_are_injected_by_type(shop: Any) -> None:
    """They are no parameters: callers cannot pass them, and the schema does not have them."""

    async def cost(city: str, rates: Rates, days: int = 2) -> float:
        return rates.rate(city) * days

    shop.registry.services.register(Rates, FixedRates())
    shop.tool(cost)
    assert shop.dispatch("cost", {"city": "Lund"}).output == 8
    assert shop.execute(shop.flow().add_step("cost", {"city": "Ghent"})).outputs == {"cost": 10}
    assert set(shop.registry.resolve("cost").method.params_schema()["properties"]) == {"city", "days"}
    with pytest.raises(ParameterError, match="injected"):
        shop.dispatch("cost", {"city": "Lund", "rates": 3})


def test_the_kit_offers_its_store_and_sessions_as_services() -> None:
    """A method of a kit can ask for them by type."""

    async def look(store: Store, sessions: SessionOrchestrator) -> list[str]:
        return [type(store).__name__, type(sessions).__name__]

    with ok.open() as kit:
        kit.registry.methods.register_method(look)
        response = asyncio.run(kit.dispatch(Request("look")))
    assert response.output == ["Store", "SessionOrchestrator"]


def test_a_required_hook_that_refuses_fails_the_operation(make_lab: Any, log: list[str]) -> None:
    """The body does not run; hooks that watch failures are told; the response carries the cause."""

    class Guard(Hook):
        required = True

        def before(self, call: HookCall) -> None:
            raise PermissionError(f"not for {call.request.user_id}")

    hooks = HookManager({"watch": Witness(log, "watch"), "guard": Guard()})
    lab = make_lab(hooks=hooks, policies=[OperationPolicy(hooks=("watch", "guard"))])

    async def price() -> None:
        log.append("body")

    lab.tool(price)
    response = lab.dispatch("price", user_id="u_1")
    assert isinstance(response.exception, HookError)
    assert isinstance(response.exception.__cause__, PermissionError)
    assert log == [
        "watch before price {}",
        "watch failed required hook 'guard' failed in before: PermissionError('not for u_1')",
    ]
