"""Much at once: long bodies in little memory, many requests at the same time."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any, Self

import psutil
import pytest

LONG = 100 * 1024 * 1024
PIECE = b"p" * 65_536
MOST_GROWTH = 64 * 1024 * 1024
MANY = 1_000


class Peak:
    """The most memory that this process had while the block ran, beyond what it had before, in bytes."""

    def __enter__(self) -> Self:
        gc.collect()
        self._process, self._over = psutil.Process(), threading.Event()
        self._before = self.most = self._process.memory_info().rss
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._over.wait(0.01):
            self.most = max(self.most, self._process.memory_info().rss)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def growth(self) -> int:
        return self.most - self._before


@pytest.fixture
def long_door(opened: Any, service: Any) -> Any:
    """A gateway that has warmed up."""
    door = opened({"s": service.url}, {"/s": "s"})
    door.get("/s/stream/1000000")
    door.kit.sql("select 1")  # what is made, and imported, at first use
    return door


def test_a_long_download_needs_little_memory(long_door: Any) -> None:
    """100 MB, chunked, come whole; client, gateway and service in one process stay within 64 MB."""
    digest, size = hashlib.sha256(), 0
    with Peak() as peak, long_door.client.stream("GET", f"/s/stream/{LONG}") as answer:
        for chunk in answer.iter_raw():
            size += len(chunk)
            digest.update(chunk)
    assert size == LONG
    assert peak.growth < MOST_GROWTH
    output = long_door.kit.sql("select output from steps order by finished_at")["output"].iloc[-1]
    assert f'"bytes":{LONG}' in output
    assert digest.hexdigest() in output


def test_a_long_upload_needs_little_memory(long_door: Any, service: Any) -> None:
    """The same the other way."""

    def pieces() -> Iterator[bytes]:
        for _ in range(LONG // len(PIECE)):
            yield PIECE

    with Peak() as peak:
        seen = long_door.post("/s/up", content=pieces()).json()
    assert seen["size"] == LONG
    assert seen["sha256"] == hashlib.sha256(PIECE * (LONG // len(PIECE))).hexdigest()
    assert peak.growth < MOST_GROWTH


def test_a_client_that_does_not_read_stops_the_service(long_door: Any) -> None:
    """What the client leaves unread is not piled up in the gateway: the service is read no faster."""
    with socket.create_connection(("127.0.0.1", long_door.port)) as client:
        tracemalloc.start()
        client.sendall(f"GET /s/stream/{LONG} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        client.recv(1_000)
        long_door.get("/s/meanwhile")
        threading.Event().wait(0.5)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < MOST_GROWTH


async def _ask(port: int, number: int, gate: asyncio.Event) -> tuple[int, bool]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await gate.wait()
    writer.write(f"GET /s/{number} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    data = await reader.read()
    writer.close()
    return int(data.split(b" ")[1]), f'"path": "/s/{number}"'.encode() in data


async def _all(port: int) -> list[tuple[int, bool]]:
    """All connected first, then all asked at once."""
    gate = asyncio.Event()
    tasks = [asyncio.create_task(_ask(port, number, gate)) for number in range(MANY)]
    await asyncio.sleep(0.1)
    gate.set()
    return await asyncio.gather(*tasks)


def test_a_thousand_requests_at_the_same_time(opened: Any, service: Any) -> None:
    """Each gets its own answer, and each is on the record."""
    door = opened({"s": service.url}, {"/s": "s"})
    answers = asyncio.run(_all(door.port))
    assert answers == [(200, True)] * MANY
    door.gateway.stop()
    runs = door.kit.sql("select status, count(*) as many from runs group by status")
    assert runs.to_dict("records") == [{"status": "success", "many": MANY}]
