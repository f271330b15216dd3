"""Real servers behind a real gateway, all on this machine: one that answers as asked, and raw sockets."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn

import orchkit as ok
from orchkit.kit import Kit
from orchkit.model.gateway import Gateway

WAIT_S = 20.0
QUICK: dict[str, Any] = {
    "preset": "gateway",
    "retry": {"delay": 0.01},
    "timeout": {"attempt": 10.0},
    "breaker": {"failure_threshold": 1_000},
}


class Background:
    """An ASGI app under uvicorn in a thread."""

    def __init__(self, app: Any, **settings: Any) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=2_048)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        options: dict[str, Any] = {
            "interface": "asgi3",
            "proxy_headers": False,
            "log_config": None,
            "access_log": False,
            "lifespan": "off",
            "ws": "none",
        }
        self._server = uvicorn.Server(uvicorn.Config(app, **{**options, **settings}))
        self._server.config.timeout_graceful_shutdown = 1
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(WAIT_S)
        self._socket.close()


class Service:
    """Answers with what it was asked, or as ``plan`` says: statuses, one per request; keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.plan: list[int] = []
        self.answer_headers: list[tuple[bytes, bytes]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.server = Background(self._app, timeout_keep_alive=60)
        self.url, self.port = self.server.url, self.server.port

    def reset(self) -> None:
        self.seen.clear()
        self.plan.clear()
        self.answer_headers = []
        self.gate.set()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["raw_path"].decode()
        seen = {
            "method": scope["method"],
            "path": path,
            "query": scope["query_string"].decode(),
            "headers": [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]],
        }
        self.seen.append(seen)
        if path.endswith("/early"):
            await _answer(send, 413, b"no", [])
            return
        digest, size = hashlib.sha256(), 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                seen["cut"] = True
                return
            digest.update(message["body"])
            size += len(message["body"])
            if not message["more_body"]:
                break
        seen |= {"size": size, "sha256": digest.hexdigest()}
        await asyncio.to_thread(self.gate.wait, WAIT_S) if not self.gate.is_set() else None
        await self._reply(path, scope, seen, send)

    async def _reply(self, path: str, scope: Any, seen: dict[str, Any], send: Any) -> None:
        status = self.plan.pop(0) if self.plan else 200
        headers = list(self.answer_headers)
        if "/stream/" in path:
            await _stream(send, int(path.rpartition("/")[2]))
        elif status in (204, 304):
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        else:
            body = json.dumps(seen if status == 200 else {"failed": status}).encode()
            await _answer(send, status, body, [(b"content-type", b"application/json"), *headers])


async def _answer(send: Any, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Any, size: int) -> None:
    """So many bytes, chunked."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    piece = b"x" * 65_536
    for start in range(0, size, len(piece)):
        chunk = piece[: size - start]
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


class RawServer:
    """A server of bare sockets: ``handle(connection)`` is called in a thread of its own for each of them."""

    def __init__(self, handle: Callable[[socket.socket], object]) -> None:
        self.connections = 0
        self._handle = handle
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            connection.settimeout(WAIT_S)
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self._handle(connection)

    def stop(self) -> None:
        self._over.set()
        self._accepting.join(WAIT_S)
        self._socket.close()
        for thread in self._threads:
            thread.join(WAIT_S)


def read_head(connection: socket.socket) -> bytes:
    """The head of a request or an answer, and what came with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65_536)
        if not piece:
            return data
        data += piece
    return data


def read_all(connection: socket.socket) -> bytes:
    """Everything until the other side closes; what came when it does so rudely."""
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            data += piece
    return data


class Door:
    """A gateway with a client that keeps its connections."""

    def __init__(self, gateway: Gateway, kit: Kit) -> None:
        self.gateway, self.kit = gateway, kit
        assert gateway.url is not None
        assert gateway.port is not None
        self.url, self.port = gateway.url, gateway.port
        self.client = httpx.Client(base_url=self.url, timeout=WAIT_S, trust_env=False)

    def __getattr__(self, method: str) -> Any:
        return getattr(self.client, method)

    def raw(self, data: bytes, *, half_close: bool = False) -> bytes:
        """What comes back for these bytes, until the gateway closes; ask it to with ``Connection: close``."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(data)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def get_raw(self, target: bytes, *headers: bytes, method: bytes = b"GET") -> tuple[int, dict[str, Any]]:
        """Status and JSON of an answer to a request with exactly this target and these header lines."""
        lines = [method + b" " + target + b" HTTP/1.1", b"Host: gateway.test", *headers, b"Connection: close"]
        head, _, body = self.raw(b"\r\n".join(lines) + b"\r\n\r\n").partition(b"\r\n\r\n")
        return int(head.split(b" ")[1]), json.loads(body)


def patient(kit: Kit) -> Kit:
    """The kit, whose ``sql`` waits until what was answered is on record: that is a moment later."""
    usual = kit.sql

    def sql(query: str, params: Any = None) -> Any:
        deadline = time.monotonic() + WAIT_S
        under_way = "select 1 from runs where status = 'running' limit 1"
        while kit.store.query(under_way) and time.monotonic() < deadline:
            time.sleep(0.005)
        return usual(query, params)

    kit.sql = sql  # type: ignore[method-assign]
    return kit


def open_door(kit: Kit, services: dict[str, Any], routes: dict[str, Any], **more: Any) -> Door:
    """Start a gateway on a kit."""
    config = {"services": services, "routes": routes, "health": {"watch": False}, **more}
    return Door(kit.gateway.start(config), kit)


@pytest.fixture(scope="session")
def one_service() -> Iterator[Service]:
    """One service for all tests."""
    service = Service()
    yield service
    service.server.stop()


@pytest.fixture
def service(one_service: Service) -> Service:
    """The service, with nothing planned."""
    one_service.reset()
    return one_service


@pytest.fixture(scope="session")
def refused() -> str:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def one_door(one_service: Service, refused: str) -> Iterator[Door]:
    """One gateway for most tests: ``/s`` as it came, ``/cut`` without its own path, ``/away`` nobody."""
    with ok.open() as kit:
        services = {
            "here": {"url": one_service.url, "policy": QUICK},
            "below": {
                "url": one_service.url + "/base/path",
                "policy": QUICK,
                "headers": {"X-Key": "its own"},
            },
            "away": {"url": refused, "policy": QUICK},
        }
        routes = {"/s": "here", "/cut": {"service": "below", "path": "/"}, "/away": "away"}
        door = open_door(patient(kit), services, routes, limits={"buffer_bytes": 65_536})
        yield door
        door.client.close()


@pytest.fixture
def door(one_door: Door, service: Service) -> Door:
    """The same, and the service with nothing planned."""
    one_door.client.cookies.clear()
    return one_door


@pytest.fixture
def kit() -> Iterator[Kit]:
    """A kit of one's own, in memory."""
    with ok.open() as kit:
        yield patient(kit)


@pytest.fixture
def opened(kit: Kit) -> Iterator[Callable[..., Door]]:
    """Start a gateway of one's own: ``opened({"a": url}, {"/a": "a"}, limits=...)``."""
    doors: list[Door] = []

    def make(services: dict[str, Any], routes: dict[str, Any], **more: Any) -> Door:
        more = {"workflows": {"enabled": False}, **more}
        doors.append(open_door(kit, services, routes, **more))
        return doors[-1]

    yield make
    for door in doors:
        door.client.close()


@pytest.fixture
def raw_server() -> Iterator[Callable[..., RawServer]]:
    """Start a server of bare sockets."""
    servers: list[RawServer] = []

    def make(handle: Callable[[socket.socket], object]) -> RawServer:
        servers.append(RawServer(handle))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def head_of() -> Callable[[socket.socket], bytes]:
    """Reads the head of a request or an answer."""
    return read_head


@pytest.fixture
def rest_of() -> Callable[[socket.socket], bytes]:
    """Reads until the other side closes."""
    return read_all


@pytest.fixture
def quick() -> dict[str, Any]:
    """The policy of a gateway, without its waits."""
    return json.loads(json.dumps(QUICK))  # type: ignore[no-any-return]


@pytest.fixture
def background() -> Iterator[Callable[..., Background]]:
    """Start an ASGI app."""
    servers: list[Background] = []

    def make(app: Any, **settings: Any) -> Background:
        servers.append(Background(app, **settings))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()
