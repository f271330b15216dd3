"""What the result of a probe that is a function says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

import orchkit as ok
from orchkit.model.health import HealthResult


@pytest.fixture
def kit() -> Iterator[ok.Kit]:
    """A kit in memory."""
    with ok.open() as kit:
        yield kit


class Odd:
    """What no probe should return."""


@pytest.mark.parametrize(
    ("result", "status", "error", "details"),
    [
        (None, "healthy", None, {}),
        (True, "healthy", None, {}),
        (False, "unhealthy", "the probe returned False", {}),
        ({}, "healthy", None, {}),
        ({"queue": 3}, "healthy", None, {"queue": 3}),
        ({"status": "degraded", "queue": 900}, "degraded", None, {"queue": 900}),
        ({"status": "UP", "details": {"a": 1}, "b": 2}, "healthy", None, {"a": 1, "b": 2}),
        ({"status": "down", "error": "no disk"}, "unhealthy", "no disk", {}),
        ({"status": "so so"}, "unhealthy", None, {}),
        (HealthResult("degraded", {"n": 1}, "slow today"), "degraded", "slow today", {"n": 1}),
        (HealthResult(details={"odd": Odd}), "healthy", None, {"odd": str(Odd)}),
        (Odd(), "unhealthy", None, {}),
        (0, "unhealthy", None, {}),
        (ValueError("no"), "unhealthy", "ValueError: no", {}),
        (KeyError(), "unhealthy", "KeyError", {}),
        (SystemExit(3), "unhealthy", "SystemExit: 3", {}),
    ],
)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_results_of_functions(
    kit: ok.Kit, kind: str, result: Any, status: str, error: str | None, details: dict[str, Any]
) -> None:
    """None and True are healthy, False and errors are not, mappings and HealthResults say it themselves."""

    def sync() -> Any:
        if isinstance(result, BaseException):
            raise result
        return result

    async def on_loop() -> Any:
        return sync()

    kit.health.watch({"it": sync if kind == "sync" else on_loop}, interval=60)
    health = kit.health.check()["it"]
    assert (health.status, health.details) == (status, details)
    assert health.error == error if error else bool(health.error) is (status == "unhealthy")


def test_sync_probes_run_in_threads_and_async_ones_on_the_loop(kit: ok.Kit) -> None:
    """Neither runs where cells do."""
    where: dict[str, str] = {}

    def sync() -> None:
        where["sync"] = threading.current_thread().name

    async def on_loop() -> None:
        where["async"] = threading.current_thread().name

    kit.health.watch({"sync": sync, "async": on_loop}, interval=60)
    kit.health.check()
    assert where == {"sync": "orchkit-worker", "async": "orchkit-loop"}


@pytest.mark.parametrize("number", [-1, float("nan"), float("inf"), "5", True])
def test_a_response_time_that_is_none_is_measured(kit: ok.Kit, number: Any) -> None:
    """What a probe claims is believed only where it can be a duration."""
    kit.health.watch({"it": lambda: {"response_time_ms": number}}, interval=60)
    took = kit.health.check()["it"].response_time_ms
    assert took is not None
    assert 0 <= took < 5000


def test_a_result_is_one_of_three(kit: ok.Kit) -> None:
    """``unknown`` is nothing that a look can find."""
    with pytest.raises(ValueError, match="a probe finds healthy, degraded, unhealthy"):
        HealthResult("unknown")  # type: ignore[arg-type]
