"""A gateway whose process is killed in the midst of requests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

import orchkit as ok


def _serve(folder: Path, url: str) -> tuple[subprocess.Popen[bytes], int]:
    """A gateway in a process of its own, on a store in the folder."""
    file = folder / "gateway.yaml"
    file.write_text(
        f"services: {{s: '{url}'}}\nroutes: {{/s: s}}\nhealth: {{watch: false}}\n", encoding="utf-8"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = [sys.executable, "-m", "orchkit", "serve", str(file), "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(Path(ok.__file__).parents[1])}
    process = subprocess.Popen(
        [*command, "--store", str(folder / "runs.duckdb")], env=environment, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            break
    return process, port


def _send(port: int, head: bytes) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(head + b"\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    return client


def test_a_killed_gateway_leaves_its_requests_on_record(service: Any, tmp_path: Path) -> None:
    """What was under way is in doubt, and seen as cut off; a key is taken over by who comes with it next."""
    process, port = _serve(tmp_path, service.url)
    service.gate.clear()
    try:
        clients = [
            _send(port, b"GET /s/plain HTTP/1.1\r\nX-Correlation-ID: plain"),
            _send(port, b"POST /s/keyed HTTP/1.1\r\nX-Correlation-ID: keyed\r\nIdempotency-Key: k"),
        ]
        deadline = time.monotonic() + 20
        while len(service.seen) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)  # what takes longer than a moment is written down
    finally:
        process.kill()
        process.wait()
    for client in clients:
        client.close()
    service.gate.set()
    with ok.open(tmp_path / "runs.duckdb") as kit:
        assert len(kit.incomplete()) == 2
        rows = kit.sql("select r.request_id, a.status from attempts a join runs r using (run_id)")
        assert set(rows["request_id"]) == {"plain", "keyed"}
        config = {"services": {"s": service.url}, "routes": {"/s": "s"}, "health": {"watch": False}}
        url = kit.gateway.start(config).url
        answer = httpx.post(f"{url}/s/keyed", headers={"Idempotency-Key": "k"})
        again = httpx.post(f"{url}/s/keyed", headers={"Idempotency-Key": "k"})
        assert (answer.status_code, again.headers["idempotency-replayed"]) == (200, "true")
        assert [seen["path"] for seen in service.seen] == ["/s/plain", "/s/keyed", "/s/keyed"]
        runs = kit.sql("select request_id, status from runs order by request_id")
        assert runs.to_dict("records")[0] == {"request_id": "keyed", "status": "success"}
        decided = kit.sql(
            "select decision from decision_traces where decision_point = 'idempotency' order by seq"
        )
        assert decided["decision"].to_list() == ["execute", "take_over"]
