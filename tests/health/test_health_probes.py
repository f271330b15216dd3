"""What the result of a probe that is a function says."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import orchkit as ok
from orchkit.errors import ParameterError
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

    kit.health.watch({"it": sync if kind == "sync" else on_loop}, interval=36_000)
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

    kit.health.watch({"sync": sync, "async": on_loop}, interval=36_000)
    kit.health.check()
    assert where == {"sync": "orchkit-worker", "async": "orchkit-loop"}


@pytest.mark.parametrize("number", [-1, float("nan"), float("inf"), "5", True])
def test_a_response_time_that_is_none_is_measured(kit: ok.Kit, number: Any) -> None:
    """What a probe claims is believed only where it can be a duration."""
    kit.health.watch({"it": lambda: {"response_time_ms": number}}, interval=36_000)
    took = kit.health.check()["it"].response_time_ms
    assert took is not None
    assert 0 <= took < 5000


def test_so_many_are_asked_at_the_same_time_and_no_more(kit: ok.Kit) -> None:
    """The others wait for their turn; each is asked once."""
    inside, most, asked = 0, 0, 0

    async def probe() -> None:
        nonlocal inside, most, asked
        inside, asked = inside + 1, asked + 1
        most = max(most, inside)
        await asyncio.sleep(0.02)
        inside -= 1

    monitor = ok.HealthMonitor(kit.store, kit.breakers, concurrency=3)
    monitor.watch({f"s{number}": probe for number in range(10)}, interval=36_000)
    answers = monitor.check()
    monitor.stop()
    assert (most, asked, {one.status for one in answers.values()}) == (3, 10, {"healthy"})


HOSTILE = [
    ('{"x": NaN, "y": -Infinity, "z": 1e999}', {"x": "NaN", "y": "-Infinity", "z": "Infinity"}),
    ('{"k\\u0000": "\\ud800"}', {"k\x00": "?"}),
    ('{"x": ' + "9" * 400 + "}", {"x": int("9" * 400)}),
]


@pytest.mark.parametrize(("text", "details"), HOSTILE, ids=["no numbers", "no text", "a large number"])
def test_whatever_a_service_tells_can_be_recorded(kit: ok.Kit, text: str, details: dict[str, Any]) -> None:
    """It comes back as plain data, and as JSON that every reader takes."""
    kit.health.watch({"it": lambda: json.loads(text)}, interval=36_000)
    health = kit.health.check()["it"]
    assert (health.details, health.note) == (details, None)
    (stored,) = kit.store.query("SELECT details FROM health_checks")[0]
    assert json.loads(stored, parse_constant=pytest.fail) == details


def _deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


class Broken:
    """Whoever looks at it regrets it."""

    def __str__(self) -> str:
        raise RuntimeError("no")


CYCLE: dict[str, Any] = {}
CYCLE["self"] = CYCLE


@pytest.mark.parametrize(
    "details",
    [{"x": "y" * 9_000}, _deep(400), _deep(5_000), {"x": Broken()}, CYCLE],
    ids=["much", "deep", "deeper", "broken", "endless"],
)
def test_what_cannot_be_recorded_is_left_out_and_said(kit: ok.Kit, details: dict[str, Any]) -> None:
    """It harms neither the check nor what others write into the same transaction."""
    kit.health.watch({"it": lambda: HealthResult(details=details)}, interval=36_000)
    health = kit.health.check()["it"]
    assert (health.status, list(health.details), kit.health.trouble) == ("healthy", ["left_out"], None)
    assert len(kit.store.query("FROM health_checks")) == 1


def test_sync_probes_that_hang_do_not_pile_up(kit: ok.Kit) -> None:
    """Their threads cannot be ended; after three of them no further one is begun until one comes back."""
    gate, began = threading.Event(), []

    def probe() -> None:
        began.append(1)
        gate.wait(30)

    kit.health.watch({"it": probe}, interval=36_000, timeout=0.05)
    kit.breakers.disable("health:it")
    for _ in range(5):
        health = kit.health.check()["it"]
    assert (len(began), health.consecutive_failures) == (3, 3)
    assert "still go on" in str(health.note)
    gate.set()
    kit.health.watch({"it": probe}, interval=36_000, timeout=5)
    end = time.monotonic() + 10
    while kit.health.check()["it"].status != "healthy":
        assert time.monotonic() < end
        time.sleep(0.01)


def test_names_that_are_no_text_are_refused(kit: ok.Kit) -> None:
    """They could not be written down."""
    with pytest.raises(ParameterError, match="no valid text"):
        kit.health.watch({"\ud800": lambda: True})


def test_a_result_is_one_of_three(kit: ok.Kit) -> None:
    """``unknown`` is nothing that a look can find."""
    with pytest.raises(ValueError, match="a probe finds healthy, degraded, unhealthy"):
        HealthResult("unknown")  # type: ignore[arg-type]
