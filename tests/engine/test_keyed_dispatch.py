"""Single operations under idempotency keys."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import orchkit as ok

calls: list[Any] = []
outcomes: list[Any] = []


def charge(customer: str, amount: float = 1.0) -> dict[str, Any]:
    """Does what it is told, each time it is told."""
    calls.append((customer, amount))
    if outcomes and isinstance(outcome := outcomes.pop(0), Exception):
        raise outcome
    return {"payment": len(calls)}


@pytest.fixture(autouse=True)
def _none_called() -> None:
    calls.clear()
    outcomes.clear()


def dispatch(kit: ok.Kit, payload: dict[str, Any], **directives: Any) -> ok.Response:
    """Perform it under the key ``k``."""
    directive = ok.ExecutionDirective(idempotency_key="k", **directives)
    return asyncio.run(kit.dispatch(ok.Request("charge", payload, directives=directive)))


def test_an_operation_is_performed_once() -> None:
    """The second response is the recorded one, says so, and names the run that it comes from."""
    with ok.open() as kit:
        kit.registry.methods.register_method(charge)
        first = dispatch(kit, {"customer": "c"})
        again = dispatch(kit, {"customer": "c"})
        assert calls == [("c", 1.0)]
        assert (again.status, again.output) == (first.status, first.output) == ("success", {"payment": 1})
        assert again.metadata["replayed"]
        assert "replayed" not in first.metadata
        assert again.metadata["run_id"] == first.metadata["run_id"]
        assert len(kit.runs) == 1
        row = kit.store.query("SELECT orchestrator_name, status, replays FROM idempotency_keys")
        assert row == [("charge", "COMPLETED", 1)]


def test_another_payload_is_refused() -> None:
    """And nothing is performed."""
    with ok.open() as kit:
        kit.registry.methods.register_method(charge)
        dispatch(kit, {"customer": "c"})
        with pytest.raises(ok.IdempotencyConflictError) as caught:
            dispatch(kit, {"customer": "c", "amount": 2.0})
        assert [difference.path for difference in caught.value.differences] == ["amount"]
        assert calls == [("c", 1.0)]


def test_what_failed_is_performed_again_or_refused() -> None:
    """A failure is in the response, on the record of the key, and no answer to the next request."""
    outcomes.append(OSError("no line"))
    with ok.open() as kit:
        kit.registry.methods.register_method(charge)
        assert dispatch(kit, {"customer": "c"}).status == "failed"
        with pytest.raises(ok.OrchestrationError, match="it failed before: OSError: no line"):
            dispatch(kit, {"customer": "c"}, on_failed="raise")
        assert dispatch(kit, {"customer": "c"}).success
        assert len(calls) == 2
        row = kit.store.query("SELECT status, executions FROM idempotency_keys")
        assert row == [("COMPLETED", 2)]


def test_without_a_key_each_dispatch_is_its_own() -> None:
    """As ever."""
    with ok.open() as kit:
        kit.registry.methods.register_method(charge)
        for _ in range(2):
            asyncio.run(kit.dispatch(ok.Request("charge", {"customer": "c"})))
        assert len(calls) == 2
        assert kit.store.query("SELECT * FROM idempotency_keys") == []
