"""What the tests of the health monitor share: virtual time, and servers that behave as they are told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import pytest

from orchkit.engine.loop import loop_thread
from orchkit.executors.threads import ThreadWorkers
from orchkit.health.monitor import HealthMonitor
from orchkit.reliability.guards import Guards
from orchkit.store.store import Store
from orchkit.testing import FakeClock


class NoJitter(Random):
    """The first check is due at once."""

    def uniform(self, a: float, b: float) -> float:
        return a


class Inline(ThreadWorkers):
    """Sync functions on the loop, which virtual time can see."""

    async def run(self, function: Callable[..., Any], kwargs: Mapping[str, Any]) -> Any:
        return function(**kwargs)


class Timed:
    """A monitor in virtual time, which moves only by `go`."""

    def __init__(self, store: Store | None = None, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock(autojump=False)
        self.store = store or Store(clock=self.clock)
        self.breakers = Guards.of(self.store).breakers
        self.monitors: list[HealthMonitor] = []

    def monitor(self) -> HealthMonitor:
        """One more monitor on the store."""
        made = HealthMonitor(self.store, self.breakers, rng=NoJitter(), workers=Inline())
        self.monitors.append(made)
        return made

    def settle(self) -> None:
        """Let everybody do what can be done now."""
        loop_thread.run(self.clock.settle())

    def go(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass, step by step."""
        self.settle()
        left = seconds
        while left > 1e-9:
            self.clock.advance(min(step, left))
            left -= step
            self.settle()

    def rows(self, columns: str, service: str = "it") -> list[Any]:
        """What is on record of a service."""
        found = self.store.query(
            f"SELECT {columns} FROM health_checks WHERE service = ? ORDER BY seq", [service]
        )
        return [row[0] if len(row) == 1 else row for row in found]

    def script(self, *answers: Any, takes: float = 0.0) -> Script:
        """A probe that gives these answers, the last one again and again."""
        return Script(self.clock, *answers, takes=takes)

    def close(self) -> None:
        for monitor in self.monitors:
            monitor.stop()
        self.store.close()


@pytest.fixture
def worlds() -> Iterator[Callable[..., Timed]]:
    """``worlds(store=..., clock=...)``: a world in virtual time, closed in the end."""
    made: list[Timed] = []

    def make(**options: Any) -> Timed:
        made.append(Timed(**options))
        return made[-1]

    yield make
    for world in made:
        world.close()


@pytest.fixture
def timed(worlds: Callable[..., Timed]) -> Timed:
    """A monitor's world in virtual time."""
    return worlds()


class Script:
    """A probe that answers as it is told, and remembers when it was asked."""

    def __init__(self, clock: FakeClock, *answers: Any, takes: float = 0.0) -> None:
        self.clock, self.answers, self.takes = clock, list(answers), takes
        self.asked: list[float] = []

    async def __call__(self) -> Any:
        self.asked.append(self.clock.monotonic())
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0] if self.answers else True
        if self.takes:
            await self.clock.sleep(self.takes)
        if isinstance(answer, Exception):
            raise answer
        return answer


class RawServer:
    """A server that sends the given bytes to whoever connects, piece by piece, and keeps what it was sent."""

    def __init__(self, *pieces: bytes, pause: float = 0.0, endless: bool = False) -> None:
        self.requests: list[bytes] = []
        self._pieces, self._pause, self._endless = pieces, pause, endless
        self._stop = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.05)
        self.port: int = self._socket.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/health"

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(2)
            try:
                self.requests.append(connection.recv(65536))
                while True:
                    for piece in self._pieces:
                        connection.sendall(piece)
                        if self._stop.wait(self._pause):
                            return
                    if not self._endless or self._stop.is_set():
                        return
            except OSError:
                return

    def close(self) -> None:
        self._stop.set()
        for thread in list(self._threads):
            thread.join(5)
        self._socket.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., RawServer]]:
    """``serve(one, another)``: a server that sends these bytes, closed in the end."""
    servers: list[RawServer] = []

    def make(*pieces: bytes, **options: Any) -> RawServer:
        servers.append(RawServer(*pieces, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.close()
