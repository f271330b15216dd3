"""What a proxied request costs in the gateway, recorded, beside a plain proxy of FastAPI and httpx.

Run it with ``python tests/benchmarks/gateway.py``: each candidate is a process of its own, asked in turn,
round after round, by the same client over connections that it keeps. The aim is 1.5 times the plain proxy.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
from starlette.requests import Request  # noqa: TC002 - FastAPI reads it at run time

HERE = Path(__file__).resolve()
ANSWER = b'{"answer": 42}'
START_S = 30.0


# --- the candidates, each in a process of its own ------------------------------------------------


def service(port: int) -> None:
    """The service behind the proxies: answers at once."""
    import uvicorn

    length = str(len(ANSWER)).encode()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": ANSWER})

    uvicorn.run(app, port=port, log_level="error", lifespan="off", timeout_keep_alive=600)


def plain(port: int, service_url: str, _: str) -> None:
    """A proxy as many write it: no policies, no record."""
    import httpx
    import uvicorn
    from fastapi import FastAPI
    from starlette.responses import StreamingResponse

    limits = httpx.Limits(max_connections=1_000, max_keepalive_connections=1_000)
    client = httpx.AsyncClient(base_url=service_url, timeout=30, limits=limits)
    app = FastAPI()
    methods = ["GET", "POST", "PUT", "DELETE", "PATCH"]

    async def proxy(path: str, request: Request) -> StreamingResponse:
        headers = [pair for pair in request.headers.raw if pair[0] not in (b"host", b"connection")]
        content = request.stream() if request.method != "GET" else None
        asked = client.build_request(
            request.method, f"/{path}", params=request.query_params, headers=headers, content=content
        )
        answer = await client.send(asked, stream=True)

        async def pieces() -> Any:
            try:
                async for piece in answer.aiter_raw():
                    yield piece
            finally:
                await answer.aclose()

        kept = {name: value for name, value in answer.headers.items() if name != "transfer-encoding"}
        return StreamingResponse(pieces(), answer.status_code, kept)

    app.add_api_route("/s/{path:path}", proxy, methods=methods)
    # The same server as the gateway's own, so that only the proxies are compared.
    uvicorn.run(app, port=port, log_level="error", http="h11", loop="asyncio", timeout_keep_alive=600)


def gateway(port: int, service_url: str, folder: str) -> None:
    """Ours, with everything on: policies, breaker, record on disk, metrics."""
    import orchkit as ok

    with ok.open(Path(folder) / "runs.duckdb") as kit:
        config = {
            "services": {"s": service_url},
            "routes": {"/s": {"service": "s", "path": "/"}},
            "health": {"watch": False},
            "limits": {"keep_alive": 600},
        }
        kit.gateway.serve(config, port=port)  # type: ignore[attr-defined]


CANDIDATES = {"plain": plain, "gateway": gateway}


# --- the client -----------------------------------------------------------------------------------


async def _connection(port: int, request: bytes, many: int) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times = []
    for _ in range(many):
        start = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        await reader.readexactly(len(ANSWER))
        times.append(time.perf_counter() - start)
    writer.close()
    return times


async def ask(port: int, connections: int, requests: int, body: bytes) -> float:
    """Microseconds per request, all connections together."""
    method = b"POST" if body else b"GET"
    lines = [method + b" /s/some/path?a=1&b=2 HTTP/1.1", b"Host: gateway.test", b"Accept: */*"]
    lines += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)] if body else []
    request = b"\r\n".join(lines) + b"\r\n\r\n" + body
    each = requests // connections
    start = time.perf_counter()
    await asyncio.gather(*(_connection(port, request, each) for _ in range(connections)))
    return (time.perf_counter() - start) / (each * connections) * 1e6


# --- side by side ---------------------------------------------------------------------------------


@contextmanager
def _process(*arguments: str) -> Iterator[psutil.Process]:
    process = subprocess.Popen([sys.executable, str(HERE), *arguments])
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def _await(port: int) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def measured(rounds: int, requests: int) -> list[dict[str, Any]]:
    """For each workload the numbers of both, and how they compare round by round."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        behind = _free_port()
        stack.enter_context(_process("service", str(behind)))
        ports, processes = {}, {}
        for name in CANDIDATES:
            ports[name] = _free_port()
            url = f"http://127.0.0.1:{behind}"
            processes[name] = stack.enter_context(_process(name, str(ports[name]), url, folder))
        for port in (behind, *ports.values()):
            _await(port)
        return [
            _side_by_side(title, connections, body, rounds, requests, ports, processes)
            for title, connections, body in (
                ("GET, one after the other", 1, b""),
                ("GET, 16 at a time", 16, b""),
                ("POST 1 KB, 16 at a time", 16, b"x" * 1_024),
            )
        ]


def _side_by_side(
    title: str,
    connections: int,
    body: bytes,
    rounds: int,
    requests: int,
    ports: dict[str, int],
    processes: dict[str, psutil.Process],
) -> dict[str, Any]:
    wall: dict[str, list[float]] = {name: [] for name in ports}
    cpu: dict[str, list[float]] = {name: [] for name in ports}
    for port in ports.values():
        asyncio.run(ask(port, connections, max(connections, requests // 5), body))
    for _ in range(rounds):
        for name, port in ports.items():
            before = _cpu(processes[name])
            wall[name].append(asyncio.run(ask(port, connections, requests, body)))
            time.sleep(0.5)  # what is recorded afterwards counts, too
            cpu[name].append((_cpu(processes[name]) - before) / requests * 1e6)
    row: dict[str, Any] = {"workload": title}
    for name in ports:
        row |= {name: statistics.median(wall[name]), f"{name} cpu": statistics.median(cpu[name])}
    pairs = zip(wall["gateway"], wall["plain"], strict=True)
    row["ratio"] = statistics.median(ours / theirs for ours, theirs in pairs)
    pairs = zip(cpu["gateway"], cpu["plain"], strict=True)
    row["ratio cpu"] = statistics.median(ours / theirs for ours, theirs in pairs)
    return row


def main() -> None:
    """Print the table."""
    if len(sys.argv) > 1 and sys.argv[1] == "service":
        service(int(sys.argv[2]))
        return
    if len(sys.argv) > 1 and sys.argv[1] in CANDIDATES:
        CANDIDATES[sys.argv[1]](int(sys.argv[2]), *sys.argv[3:5])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=1_000)
    options = parser.parse_args()
    print(f"{'µs per request':<28}{'plain':>8}{'gateway':>9}{'ratio':>7}   {'cpu':>6}{'cpu':>8}{'ratio':>7}")
    for row in measured(options.rounds, options.requests):
        print(
            f"{row['workload']:<28}{row['plain']:>8.0f}{row['gateway']:>9.0f}{row['ratio']:>7.2f}   "
            f"{row['plain cpu']:>6.0f}{row['gateway cpu']:>8.0f}{row['ratio cpu']:>7.2f}"
        )


if __name__ == "__main__":
    main()
