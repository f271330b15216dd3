"""The numbers for Prometheus: what is counted, and that series stay few."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from prometheus_client.parser import text_string_to_metric_families

import orchkit as ok
from orchkit.gateway.auth import AuthSettings
from orchkit.gateway.auth import install as install_auth
from orchkit.gateway.metrics import GatewayMetrics, MetricsSettings, install
from orchkit.kit import Kit
from orchkit.registry.registry import Registry


class Measured:
    """An app on a kit, and what its numbers say."""

    def __init__(self, kit: Kit, **settings: Any) -> None:
        self.kit, self.app = kit, FastAPI()
        config = SimpleNamespace(
            metrics=MetricsSettings(fresh_s=0, **settings), auth=AuthSettings(tokens=["t"]), host="127.0.0.1"
        )

        @self.app.get("/things/{thing_id}")
        def read(thing_id: str) -> str:
            if thing_id == "missing":
                raise HTTPException(404)
            if thing_id == "broken":
                raise RuntimeError("broken")
            return thing_id

        @self.app.get("/stream")
        async def stream() -> StreamingResponse:
            return StreamingResponse(iter([b": 1\n\n"]), media_type="text/event-stream")

        install_auth(self.app, config, {})
        self.metrics: GatewayMetrics | None = install(self.app, kit, config)

    def ask(self, *paths: str, method: str = "GET", token: str = "t") -> list[int]:
        async def ask() -> list[int]:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                headers = {"Authorization": f"Bearer {token}"}
                return [(await client.request(method, path, headers=headers)).status_code for path in paths]

        return asyncio.run(ask())

    def numbers(self) -> dict[str, dict[tuple[str, ...], float]]:
        assert self.metrics is not None
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for family in text_string_to_metric_families(self.metrics.text().decode()):
            for sample in family.samples:
                found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
        return found


@pytest.fixture
def kit() -> Iterator[Kit]:
    """A kit in memory."""
    with ok.open(registry=Registry()) as kit:
        yield kit


def test_requests_are_counted_by_route(kit: Kit) -> None:
    """Requests are counted by method, template of the route and status; paths and ids name no series."""
    measured = Measured(kit)
    measured.ask(
        *(f"/things/{n}" for n in range(50)), "/things/missing", "/things/broken", "/wp-admin/1", "/x"
    )
    measured.ask("/things/1", method="BREW")
    measured.ask("/things/1", token="wrong")
    counted = measured.numbers()["orchkit_http_requests_total"]
    assert counted == {
        ("GET", "/things/{thing_id}", "200"): 50,
        ("GET", "/things/{thing_id}", "404"): 1,
        ("GET", "/things/{thing_id}", "500"): 1,
        ("GET", "unmatched", "404"): 2,
        ("other", "/things/{thing_id}", "405"): 1,
        ("GET", "unmatched", "401"): 1,
    }


def test_latency_is_a_histogram_without_streams(kit: Kit) -> None:
    """How long answers took is a histogram per route; streams of events, which last, are not in it."""
    measured = Measured(kit)
    measured.ask("/things/1", "/stream")
    numbers = measured.numbers()
    assert numbers["orchkit_http_request_duration_seconds_count"] == {("GET", "/things/{thing_id}"): 1}
    assert numbers["orchkit_http_requests_total"][("GET", "/stream", "200")] == 1
    assert numbers["orchkit_http_requests_in_progress"][()] == 0


def test_what_a_kit_does_is_counted(kit: Kit) -> None:
    """Runs, steps, attempts, retries and events are counted as they end; runs on record by status."""
    measured = Measured(kit)
    failures = iter([ValueError(), ValueError()])

    def shaky() -> int:
        """Fails twice."""
        for error in failures:
            raise error
        return 1

    def broken() -> None:
        """Fails."""
        raise ValueError

    kit.registry.methods.register_method(shaky)
    kit.registry.methods.register_method(broken)
    kit.run(kit.workflow("good").add_step("shaky", retry={"max_attempts": 3, "delay": 0}).build())
    kit.run(kit.workflow("bad").add_step("broken").build())
    numbers = measured.numbers()
    assert numbers["orchkit_runs"] == {("success",): 1, ("failed",): 1}
    assert numbers["orchkit_runs_finished_total"] == {("success",): 1, ("failed",): 1}
    assert numbers["orchkit_steps_finished_total"] == {("success",): 1, ("failed",): 1}
    assert numbers["orchkit_attempts_finished_total"] == {("success",): 1, ("failed",): 3}
    assert numbers["orchkit_retries_total"][()] == 2
    assert numbers["orchkit_events_total"][("run.started",)] == 2


def test_breakers_and_services_are_told_by_name(kit: Kit) -> None:
    """The state of each breaker and the health of each service are there, one of their states at a time."""
    measured = Measured(kit)
    kit.breakers.force_open("mail")
    kit.health.watch({"writer": lambda: True}, interval=3600)
    try:
        kit.health.check()
        numbers = measured.numbers()
    finally:
        kit.health.stop()
    states = {
        labels[1]: value for labels, value in numbers["orchkit_breaker_state"].items() if labels[0] == "mail"
    }
    assert states == {"closed": 0, "open": 0, "half_open": 0, "forced_open": 1, "disabled": 0}
    health = {labels[1] for labels, value in numbers["orchkit_service_health"].items() if value}
    assert health == {"healthy"}
    assert numbers["orchkit_service_uptime_ratio"][("writer",)] == 1


def test_events_that_wait_are_counted(kit: Kit) -> None:
    """How many events are not committed, and not in the history yet, is there."""
    measured = Measured(kit)
    kit.store.ingest()
    for _ in range(3):
        kit.store.record("audit", {"what": "looked"})
    kit.store.append("audit", "{}")
    numbers = measured.numbers()
    assert numbers["orchkit_ingest_backlog_events"][()] == 3
    assert numbers["orchkit_log_buffered_events"][()] == 1
    assert measured.numbers()["orchkit_ingest_backlog_events"][()] == 0


def test_what_is_not_ours_names_no_series(kit: Kit) -> None:
    """Events and outcomes of unknown names are counted together."""
    measured = Measured(kit)
    for number in range(20):
        kit.store.record(f"mine.{number}", {"status": f"odd {number}"})
        kit.store.record("step.finished", {"status": f"odd {number}"})
    numbers = measured.numbers()
    assert numbers["orchkit_events_total"] == {("other",): 20, ("step.finished",): 20}
    assert numbers["orchkit_steps_finished_total"] == {("unknown",): 20}


def test_it_is_read_over_http_and_closed(kit: Kit) -> None:
    """The numbers are served in the text format; after `close`, and on a closed kit, they are still read."""
    measured = Measured(kit)
    assert measured.ask("/metrics") == [200]
    assert measured.ask("/metrics", token="wrong") == [401]
    assert measured.metrics is not None
    measured.metrics.close()
    kit.store.record("audit", {})
    assert "orchkit_events_total" not in measured.numbers()
    kit.close()
    assert "orchkit_http_requests_total" in measured.numbers()


def test_two_apps_count_for_themselves(kit: Kit) -> None:
    """Each app has a registry of its own, so that several can be in one process."""
    one, other = Measured(kit), Measured(kit, path="/numbers")
    one.ask("/things/1")
    assert ("GET", "/things/{thing_id}", "200") not in other.numbers().get("orchkit_http_requests_total", {})
    assert other.ask("/numbers") == [200]


def test_it_can_be_left_out(kit: Kit) -> None:
    """Without metrics there is nothing at its path."""
    measured = Measured(kit, enabled=False)
    assert measured.metrics is None
    assert measured.ask("/metrics") == [404]
