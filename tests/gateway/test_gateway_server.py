"""The gateway of a kit as a server: started, shown, stopped, and nothing left behind."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from typer.testing import CliRunner

import orchkit as ok
from orchkit.cli.app import app
from orchkit.errors import ParameterError, StoreClosedError
from orchkit.gateway.app import create_app
from orchkit.gateway.auth import TOKENS_VARIABLE
from orchkit.registry.definition import MethodDefinition


def _config(url: str, **more: Any) -> dict[str, Any]:
    return {"services": {"s": url}, "routes": {"/s": "s"}, **more}


def test_it_runs_in_the_background_and_shows_where(kit: Any, service: Any) -> None:
    """start() returns when requests are taken; repr and card name the address, the routes, the breakers."""
    gateway = kit.gateway
    assert kit.gateway is gateway
    assert (gateway.running, gateway.url, repr(gateway)) == (False, None, "<GatewayServer: stopped>")
    assert gateway.start(_config(service.url)) is gateway
    assert httpx.get(f"{gateway.url}/s").status_code == 200
    assert repr(gateway) == f"<GatewayServer at {gateway.url}: /s → s>"
    shown = gateway._repr_mimebundle_()
    assert all(text in shown["text/html"] for text in (gateway.url, "/s", service.url, "closed"))
    gateway.stop()
    gateway.stop()
    assert "stopped" in gateway._repr_mimebundle_()["text/html"]


def test_own_services_have_routes_of_their_own(kit: Any, service: Any) -> None:
    """Without routes ``/api/NAME`` leads to each service, and is taken away; the example's are not there."""
    gateway = kit.gateway.start(
        {"services": {"mail": service.url, "b.2": service.url}, "health": {"watch": False}}
    )
    assert gateway.routes == {"/api/mail": "mail", "/api/b.2": "b.2"}
    assert httpx.get(f"{gateway.url}/api/mail/outbox?page=1").json()["path"] == "/outbox"
    assert httpx.get(f"{gateway.url}/api/enrich").status_code == 404


def test_it_can_be_started_again_with_another_configuration(kit: Any, service: Any) -> None:
    """A gateway that runs goes on with what it is given then; the old address is free."""
    with kit.gateway.start(_config(service.url)) as gateway:
        first = gateway.port
        gateway.start(_config(service.url, routes={"/other": "s"}))
        assert httpx.get(f"{gateway.url}/other").status_code == 200
        assert httpx.get(f"{gateway.url}/s").status_code == 404
        with socket.create_server(("127.0.0.1", first)):
            pass


def test_closing_the_kit_leaves_neither_threads_nor_sockets(service: Any) -> None:
    """Also with open connections, and a request under way."""
    gc.collect()
    threads, sockets = set(threading.enumerate()), len(psutil.Process().net_connections())
    kit = ok.open()
    gateway = kit.gateway.start(_config(service.url, health={"interval": 0.1}))
    assert gateway.url is not None
    service.gate.clear()
    waiting = socket.create_connection(("127.0.0.1", gateway.port or 0))
    waiting.sendall(b"GET /s HTTP/1.1\r\nHost: a\r\n\r\n")
    idle = socket.create_connection(("127.0.0.1", gateway.port or 0))
    deadline = time.monotonic() + 10
    while not any(seen["path"] == "/s" for seen in service.seen) and time.monotonic() < deadline:
        time.sleep(0.01)
    started = time.monotonic()
    kit.close()
    assert time.monotonic() - started < 8
    for client in (waiting, idle):
        client.close()
    service.gate.set()
    left = {thread.name for thread in set(threading.enumerate()) - threads}
    assert not any(name.startswith("orchkit-gateway") for name in left), left
    deadline = time.monotonic() + 10
    while len(psutil.Process().net_connections()) > sockets and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(psutil.Process().net_connections()) <= sockets


def test_a_closed_kit_serves_nothing() -> None:
    """Starting on a closed kit says so."""
    kit = ok.open()
    kit.close()
    with pytest.raises(StoreClosedError, match="there is nothing to serve"):
        kit.gateway.start()


def test_a_port_that_is_taken_is_named(kit: Any) -> None:
    """The error says which, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ParameterError, match=rf"127.0.0.1:{port} cannot be listened at: .*port=0"):
            kit.gateway.start(port=port)
    assert not kit.gateway.running


def test_beyond_this_machine_a_token_is_needed(kit: Any, service: Any, monkeypatch: Any) -> None:
    """Without one it does not start; with one, who has none is not let in anywhere."""
    monkeypatch.delenv(TOKENS_VARIABLE, raising=False)
    with pytest.raises(ParameterError, match="there is no token"):
        kit.gateway.start(_config(service.url), host="0.0.0.0")
    config = _config(service.url, auth={"tokens": {"alice": "sesame-1"}})
    gateway = kit.gateway.start(config, host="0.0.0.0")
    assert gateway.url.startswith("http://127.0.0.1:")
    assert {httpx.get(gateway.url + path).status_code for path in ("/", "/s", "/health", "/nowhere")} == {401}
    answer = httpx.get(f"{gateway.url}/s", headers={"Authorization": "Bearer sesame-1"})
    assert answer.status_code == 200
    assert "authorization" not in dict(answer.json()["headers"])
    assert kit.sql("select user_id from runs")["user_id"].to_list() == ["alice"]


def test_a_blocked_loop_of_runs_does_not_hold_it_up(kit: Any, service: Any) -> None:
    """It has a loop of its own: a step that computes without awaiting holds up other steps, not requests."""
    gate, busy = threading.Event(), threading.Event()

    async def compute() -> int:
        busy.set()
        gate.wait(20)  # blocks the loop, as bad code does
        return 1

    kit.registry.methods.register(MethodDefinition("compute", compute))
    gateway = kit.gateway.start(_config(service.url, health={"watch": False}))
    handle = kit.start(kit.workflow("slow").add_step("compute", {}).build())
    assert busy.wait(20)
    assert httpx.get(f"{gateway.url}/s", timeout=10).status_code == 200
    gate.set()
    assert handle.result(20).status == "success"


def test_an_app_without_a_kit_brings_its_own(service: Any, background: Any, tmp_path: Path) -> None:
    """create_app(config) under any server keeps its record where the configuration says, and closes it."""
    config = _config(service.url, store=tmp_path / "gateway.duckdb", health={"watch": False})
    made = create_app(config)
    server = background(made, lifespan="on")
    assert httpx.get(f"{server.url}/s/x").json()["path"] == "/s/x"
    answer = httpx.get(f"{server.url}/s/%2e%2e/x")
    assert answer.status_code in (400, 404)
    server.stop()
    assert made.state.kit.store.closed
    with ok.open(tmp_path / "gateway.duckdb") as kit:
        assert kit.sql("select name, status from runs").to_dict("records") == [
            {"name": "gateway.s", "status": "success"}
        ]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_the_command_line_serves_until_it_is_stopped(
    service: Any, tmp_path: Path, how: signal.Signals
) -> None:
    """``orchkit serve config.yaml --port N``: requests, then a signal; what was asked is in the store."""
    file = tmp_path / "gateway.yaml"
    file.write_text(
        f"services:\n  s: {service.url}\nroutes:\n  /s: s\nhealth: {{watch: false}}\n", encoding="utf-8"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    store = tmp_path / "runs.duckdb"
    command = [
        sys.executable,
        "-m",
        "orchkit",
        "serve",
        str(file),
        "--port",
        str(port),
        "--store",
        str(store),
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(ok.__file__).parents[1])}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 30
        answer = None
        while answer is None and time.monotonic() < deadline and process.poll() is None:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/s/cli", timeout=5)
            except httpx.ConnectError:
                time.sleep(0.05)
        process.send_signal(how)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert answer is not None, errors
    assert answer.json()["path"] == "/s/cli"
    assert f"serving at 127.0.0.1:{port}" in errors
    assert "Traceback" not in errors
    assert process.returncode == 0
    with ok.open(store) as kit:
        assert kit.sql("select status from runs")["status"].to_list() == ["success"]


def test_an_app_can_be_mounted_in_another(kit: Any, service: Any, background: Any) -> None:
    """Below a path of the other app the routes are the same, and the service sees only theirs."""
    mounted = create_app(_config(service.url, health={"watch": False}), kit)
    outer = Starlette(
        routes=[Mount("/gate", mounted)], lifespan=lambda _: mounted.router.lifespan_context(mounted)
    )
    server = background(outer, lifespan="on")
    assert httpx.get(f"{server.url}/gate/s/x?y=1").json()["path"] == "/s/x"
    assert httpx.get(f"{server.url}/gate/health/status").status_code == 200
    assert httpx.get(f"{server.url}/gate/nowhere").json()["status"] == 404


@pytest.mark.parametrize(
    ("package", "asked"),
    [
        ("fastapi", "ok.open().gateway"),
        ("httpx", "ok.open().gateway"),
        ("fastapi", "from orchkit.gateway.config import GatewayConfig"),
        ("prometheus_client", "from orchkit.gateway.config import GatewayConfig"),
        ("fastapi", "from orchkit.gateway.app import create_app"),
        ("httpx", "from orchkit.gateway.app import create_app"),
    ],
)
def test_a_missing_package_is_named(package: str, asked: str) -> None:
    """Without the extra, asking for the gateway, its configuration or its app says what to install."""
    code = (
        f"import sys; sys.modules[{package!r}] = None; import orchkit as ok\n"
        f"try: {asked}\nexcept ok.MissingExtraError as error: print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(ok.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert done.stdout == f'{package} is not installed: pip install "orchkit[gateway]"\n', done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("services: {a: 'ftp://x'}\nroutes: {}", "it should begin with http:// or https://"),
        ("routes: {/x: nowhere}", "which is no service"),
        ("servces: {}", "did you mean 'services'"),
        ("a: b: c", "gateway.yaml, line 1, column 5: this is not YAML"),
    ],
)
def test_a_configuration_that_is_wrong_is_told(tmp_path: Path, text: str, words: str) -> None:
    """Everything that is wrong in a file is said before anything is started."""
    file = tmp_path / "gateway.yaml"
    file.write_text(text, encoding="utf-8")
    done = CliRunner().invoke(app, ["serve", str(file), "--store", str(tmp_path / "runs.duckdb")])
    assert done.exit_code == 2
    assert words in done.stderr.replace("\n", " ")
    assert not (tmp_path / "runs.duckdb-log").exists()
