"""The parts together, in the gateway itself: tokens, trace context, numbers and workflows."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

import orchkit as ok
from orchkit.errors import ParameterError
from orchkit.gateway.app import create_app
from orchkit.interop import otel
from orchkit.kit import Kit
from orchkit.registry.registry import Registry

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TOKEN = "t0ken"


class Echo(BaseHTTPRequestHandler):
    """A service that answers with the headers it got; every second time only."""

    seen: list[dict[str, str]] = []  # noqa: RUF012 - shared by all requests, on purpose

    def do_GET(self) -> None:
        """Fail first."""
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        body = json.dumps(self.seen[-1]).encode()
        self.send_response(503 if len(self.seen) % 2 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[str]:
    """A real service on this machine."""
    Echo.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def kit() -> Iterator[Kit]:
    """A kit with one tool."""
    with ok.open(registry=Registry()) as kit:
        kit.registry.methods.register_method(lambda a: a + 1, name="add")
        yield kit


def ask(kit: Kit, service: str, *requests: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
    """Requests to a gateway, one after the other."""
    app = create_app(
        {
            "services": {"echo": {"url": service, "health": None, "policy": {"retry": {"delay": 0}}}},
            "routes": {"/api/echo": "echo"},
            "auth": {"tokens": {"ci": TOKEN}, "open_paths": ["/health"]},
            "workflows": {"tools": ["add"]},
            "metrics": {"fresh_s": 0},
        },
        kit,
    )

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://gateway") as client,
        ):
            return [await client.request(method, path, **more) for method, path, more in requests]

    return asyncio.run(ask())


def allowed(**more: str) -> dict[str, Any]:
    """The headers of somebody who may."""
    return {"headers": {"Authorization": f"Bearer {TOKEN}", **more}}


def test_the_trace_goes_through_the_gateway(kit: Kit, service: str) -> None:
    """A proxied request is below its caller; each of its attempts is the parent of what the service does."""
    parent = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1"}
    answer = ask(kit, service, ("GET", "/api/echo/x", allowed(**parent)))[0]
    assert (answer.status_code, len(Echo.seen)) == (200, 2)
    exporter = InMemorySpanExporter()
    otel.export(kit.runs[-1], exporter)
    spans = exporter.get_finished_spans()
    root = next(span for span in spans if span.kind is SpanKind.SERVER)
    attempts = sorted((s for s in spans if s.kind is SpanKind.CLIENT), key=lambda span: span.start_time or 0)
    assert root.parent is not None
    assert f"{root.parent.span_id:016x}" == SPAN
    assert [seen["traceparent"] for seen in Echo.seen] == [
        f"00-{TRACE}-{attempt.context.span_id:016x}-01" for attempt in attempts
    ]
    assert {seen["tracestate"] for seen in Echo.seen} == {"vendor=1"}


def test_tokens_guard_everything_and_go_no_further(kit: Kit, service: str) -> None:
    """Every path needs a token, but for what is left open; services and records never see one."""
    paths = ["/", "/runs", "/tools", "/metrics", "/health/status", "/api/echo", "/openapi.json", "/nowhere"]
    refused = ask(
        kit, service, *((("GET", path, {})) for path in paths), ("POST", "/workflows", {"json": {}})
    )
    assert {answer.status_code for answer in refused} == {401}
    assert {answer.headers["content-type"] for answer in refused} == {"application/problem+json"}
    assert all(answer.headers["x-correlation-id"] in answer.json()["instance"] for answer in refused)
    answers = ask(kit, service, ("GET", "/health", {}), ("GET", "/api/echo", allowed()))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert "authorization" not in Echo.seen[-1]
    assert TOKEN not in str(kit.store.query("SELECT * FROM event"))


def test_workflows_and_numbers_are_served_with_the_rest(kit: Kit, service: str) -> None:
    """Runs are submitted as the token's, in the name of the request, and counted by the route's template."""
    body = {
        "workflow_definition": {"name": "flow", "steps": [{"id": "s", "tool": "add", "params": {"a": 1}}]}
    }
    submitted, _, refused, numbers = ask(
        kit,
        service,
        ("POST", "/workflows", {"json": body, **allowed(**{"X-Correlation-ID": "req-1"})}),
        ("GET", "/api/echo/some/thing/1", allowed()),
        ("POST", "/workflows", {"json": {}, **allowed()}),
        ("GET", "/metrics", allowed()),
    )
    run = kit.store.events(submitted.json()["run_id"])[0].payload
    assert (run["user_id"], run["request_id"]) == ("ci", "req-1")
    assert refused.json()["instance"] == f"urn:orchkit:request:{refused.headers['x-correlation-id']}"
    text = numbers.text
    assert 'orchkit_http_requests_total{method="POST",route="/workflows",status="202"} 1.0' in text
    assert 'orchkit_http_requests_total{method="GET",route="/api/echo",status="200"} 1.0' in text
    assert "some/thing" not in text
    assert 'orchkit_runs{status="success"} 2.0' in text


def test_the_document_says_what_needs_a_token(kit: Kit, service: str) -> None:
    """In OpenAPI every operation needs the token and can answer 401, but for those that are left open."""
    document = ask(kit, service, ("GET", "/openapi.json", allowed()))[0].json()
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            is_open = (path, method) == ("/health", "get")
            assert ("401" in operation["responses"]) is not is_open
            assert (operation.get("security") == [{"bearer": []}]) is not is_open
    ids = [op.get("operationId") for operations in document["paths"].values() for op in operations.values()]
    named = [one for one in ids if one is not None]
    assert len(set(named)) == len(named)


def test_an_app_that_cannot_be_made_closes_what_it_opened(tmp_path: Path) -> None:
    """A store of its own is left to the next one."""
    store = tmp_path / "runs.duckdb"
    config = {"services": {}, "store": store, "workflows": {"tools": ["registered.nowhere"]}}
    with pytest.raises(ParameterError, match=r"'registered\.nowhere' is registered nowhere"):
        create_app(config)
    for handle in Path("/proc/self/fd").iterdir():
        assert not os.path.realpath(handle).startswith(str(store))


def test_a_gateway_without_a_token_stays_at_home() -> None:
    """An app for an address that others can reach is not made without a token."""
    with pytest.raises(ParameterError, match="no token"):
        create_app({"host": "0.0.0.0", "services": {}, "routes": {}})
    with pytest.raises(ParameterError, match=r"auth: auth\.required is set, and no token is given") as raised:
        create_app({"auth": {"required": True}, "services": {}, "routes": {}})
    assert "127.0.0.1" not in str(raised.value)
