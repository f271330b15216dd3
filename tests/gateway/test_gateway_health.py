"""How the services are, over HTTP."""

from __future__ import annotations

import socket
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

import orchkit as ok


def _open(opened: Any, services: dict[str, Any]) -> Any:
    return opened(services, {}, health={"interval": 60, "timeout": 2})


def test_all_services_are_looked_at_now(opened: Any, service: Any, refused: str) -> None:
    """/health asks each service at its path, and says how each is and how all are."""
    unwatched = {"url": service.url, "health": None}
    door = _open(opened, {"here": service.url + "/base", "away": refused, "quiet": unwatched})
    answer = door.get("/health")
    found = answer.json()
    assert (answer.status_code, found["orchestrator"], found["overall"]) == (200, "healthy", "unhealthy")
    assert {name: one["status"] for name, one in found["services"].items()} == {
        "here": "healthy",
        "away": "unhealthy",
        "quiet": "unknown",
    }
    assert found["services"]["here"]["url"] == service.url + "/base"
    assert set(found["services"]["away"]) == {"status", "details", "url"}
    assert {seen["path"] for seen in service.seen} == {"/base/health"}


def test_whoever_asks_for_the_head_alone_gets_it(opened: Any, service: Any) -> None:
    """As load balancers do."""
    door = _open(opened, {"here": service.url})
    for path in ("/health", "/health/status"):
        answer = door.head(path)
        assert (answer.status_code, answer.content) == (200, b"")


def test_services_are_looked_at_in_parallel(opened: Any, raw_server: Any, head_of: Any) -> None:
    """Each of three services answers only when all three are asked."""
    together = threading.Barrier(3)

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        together.wait(10)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    door = opened(
        {name: raw_server(handle).url for name in "abc"}, {}, health={"interval": 3_600, "timeout": 10}
    )
    statuses = [one["status"] for one in door.get("/health").json()["services"].values()]
    assert statuses == ["healthy"] * 3


def test_the_standing_of_all_services(opened: Any, service: Any, refused: str) -> None:
    """/health/status asks nobody, and has the documented fields."""
    door = _open(opened, {"here": service.url, "away": refused})
    door.get("/health")
    before = len(service.seen)
    found = door.get("/health/status").json()
    assert len(service.seen) == before
    assert (found["overall"], found["monitoring"]) == ("unhealthy", {"check_interval": 60.0, "running": True})
    assert datetime.fromisoformat(found["timestamp"]).tzinfo is not None
    here, away = found["services"]["here"], found["services"]["away"]
    assert (here["name"], here["url"], here["status"], here["error"]) == (
        "here",
        service.url,
        "healthy",
        None,
    )
    assert (here["uptime_percentage"], here["circuit_state"], here["consecutive_failures"]) == (
        100,
        "closed",
        0,
    )
    assert here["response_time_ms"] > 0
    assert datetime.fromisoformat(here["last_check"]).tzinfo is not None
    assert (away["status"], away["uptime_percentage"]) == ("unhealthy", 0)
    assert away["consecutive_failures"] >= 1
    assert away["error"]


def test_one_service(opened: Any, service: Any) -> None:
    """By its name; for others 404 says which there are."""
    door = _open(opened, {"here": service.url})
    assert door.get("/health/status/here").json()["name"] == "here"
    answer = door.get("/health/status/nobody")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["detail"] == "there is no service of this name; there are here"


def test_nothing_known_is_unknown(opened: Any, service: Any) -> None:
    """Without a check nothing is said: neither up nor down, and no uptime."""
    door = opened({"here": {"url": service.url, "health": None}}, {})
    found = door.get("/health/status/here").json()
    assert (found["status"], found["uptime_percentage"], found["last_check"]) == ("unknown", None, None)


def test_the_gateway_watches_as_long_as_it_runs(opened: Any, service: Any, kit: Any) -> None:
    """Its services are in the health monitor of the kit, beside those that were there, until it stops."""
    kit.health.watch({"mine": lambda: True}, interval=60)
    door = _open(opened, {"here": service.url, "mine": service.url})
    assert set(kit.health) == {"here", "mine"}
    assert door.get("/health/status/mine").json()["status"] in ("healthy", "unknown")
    door.gateway.stop()
    deadline = time.monotonic() + 10
    while "here" in kit.health and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(kit.health) == {"mine"}


def test_an_open_breaker_is_not_downtime(opened: Any, service: Any, kit: Any) -> None:
    """Requests that the breaker keeps from a service change nothing of its uptime."""
    door = opened({"s": service.url}, {"/s": "s"}, health={"interval": 60})
    door.get("/health")
    kit.breakers.force_open("s", "for a test")
    assert {door.get("/s").status_code for _ in range(5)} == {503}
    found = door.get("/health").json()
    assert (found["services"]["s"]["status"], found["overall"]) == ("healthy", "healthy")
    assert door.get("/health/status/s").json()["uptime_percentage"] == 100


@pytest.mark.parametrize(
    ("reason", "detail"),
    [
        ("new disks", "the breaker of s was opened by hand: new disks"),
        (None, "the breaker of s was opened by hand"),
    ],
)
def test_a_breaker_that_was_opened_by_hand_says_so(
    opened: Any, service: Any, kit: Any, reason: str | None, detail: str
) -> None:
    """Who is turned away is told that a person did it, and why; not that the service failed."""
    door = opened({"s": service.url}, {"/s": "s"})
    kit.breakers.force_open("s", reason)
    answer = door.get("/s")
    assert (answer.status_code, answer.json()["detail"]) == (503, detail)
    assert service.seen == []
    kit.breakers.enable("s", "they are in")
    assert door.get("/s").status_code == 200


def test_the_reason_of_a_breaker_that_was_opened_by_hand_outlives_its_process(
    service: Any, tmp_path: Path
) -> None:
    """Who opens the store again turns requests away for the same reason."""
    config = {"services": {"s": {"url": service.url, "health": None}}, "routes": {"/s": "s"}}
    with ok.open(tmp_path / "runs.duckdb") as kit:
        kit.breakers.force_open("s", "new disks")
    with ok.open(tmp_path / "runs.duckdb") as kit:
        gateway = kit.gateway.start(config)
        assert httpx.get(f"{gateway.url}/s").json()["detail"].endswith("opened by hand: new disks")
        kit.breakers.reset("s")
        assert httpx.get(f"{gateway.url}/s").status_code == 200
