"""Three example services on real loopback sockets, with seeded faults: something to watch."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from typing import Any, Final, Literal, Self

from orchkit.clock import Clock, SystemClock
from orchkit.errors import UnknownNameError

Mood = Literal["well", "degraded", "failing", "slow", "down"]
"""``failing``: answers 500. ``slow``: answers late. ``down``: cuts the connection without an answer."""


@dataclass(frozen=True, slots=True)
class Phase:
    """A time in which a service is in another mood than usual; seconds since it was started."""

    mood: Mood
    begin: float
    end: float
    delay: float = 1.0
    """Seconds by which a slow answer is late."""


@dataclass(frozen=True, slots=True)
class Character:
    """How a service behaves."""

    failure_rate: float = 0.0
    """Share of requests that are answered with 500 although nothing is the matter."""
    phases: Sequence[Phase] = ()
    delay: float = 0.0
    """Seconds that every answer takes at most, at random."""


WELL: Final[Mapping[str, Character]] = {name: Character() for name in ("writer", "research", "backend")}
"""Nothing is the matter with any of them."""
USUAL: Final[Mapping[str, Character]] = {
    "writer": Character(failure_rate=0.02, delay=0.01),
    "research": Character(0.05, (Phase("slow", 60, 120, 0.8), Phase("degraded", 240, 330)), 0.05),
    "backend": Character(phases=(Phase("down", 120, 300), Phase("failing", 420, 450)), delay=0.02),
}
"""One that is mostly well, one that has slow times, one that is away for three minutes."""


class ExampleService:
    """One of them. ``GET /health`` says how it is; any other request is told what came."""

    def __init__(self, name: str, character: Character, rng: Random, clock: Clock) -> None:
        self.name, self.character = name, character
        self.answered = 0
        """Requests to which it gave an answer, whatever it was."""
        self._rng, self._clock = rng, clock
        self._lock = threading.Lock()
        self._forced: Phase | None = None
        self._begun = clock.monotonic()
        self._stopping = threading.Event()
        self._server = _Server(self)
        serve = self._server.serve_forever
        self._thread = threading.Thread(target=serve, args=(0.05,), name=f"example-{name}", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def be(self, mood: Mood, *, delay: float = 1.0) -> None:
        """Be in this mood from now on, whatever its phases say; `recover` ends it."""
        self._forced = Phase(mood, 0, 0, delay)

    def recover(self) -> None:
        """Be as its phases say."""
        self._forced = None

    @property
    def mood(self) -> Mood:
        """How it is now, apart from failures at random."""
        return self._phase.mood

    @property
    def _phase(self) -> Phase:
        if self._forced is not None:
            return self._forced
        now = self._clock.monotonic() - self._begun
        phases = (phase for phase in self.character.phases if phase.begin <= now < phase.end)
        return next(phases, Phase("well", 0, 0))

    def answer(self, method: str, path: str, received: int) -> tuple[int, dict[str, Any]] | None:
        """Status and body for a request; None: no answer at all. Takes as long as it is meant to."""
        phase = self._phase
        with self._lock:
            failing = phase.mood == "failing" or self._rng.random() < self.character.failure_rate
            delay = self._rng.random() * self.character.delay
            self.answered += phase.mood != "down"
        if phase.mood == "down":
            return None
        self._stopping.wait(delay + (phase.delay if phase.mood == "slow" else 0.0))
        if failing:
            return 500, {"status": "fail", "service": self.name, "error": "out of order"}
        if path.partition("?")[0] == "/health":
            status = "degraded" if phase.mood == "degraded" else "ok"
            return 200, {"status": status, "service": self.name, "answered": self.answered}
        return 200, {"service": self.name, "method": method, "path": path, "received_bytes": received}

    def stop(self) -> None:
        """Close its socket and end its threads; idempotent."""
        if not self._stopping.is_set():
            self._stopping.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


class ExampleServices(Mapping[str, ExampleService]):
    """Three services: ``writer``, ``research`` and ``backend``. A context manager, or `stop` them.

    ::

        with ExampleServices() as services:
            kit.health.watch(services.health_urls, interval=1)
            services["backend"].be("down")

    Args:
        characters: How they behave; by default `USUAL`, in which things happen within eight minutes.
        seed: The same seed makes the same failures in the same order of requests.
        clock: By which their phases come and go.
    """

    def __init__(
        self, characters: Mapping[str, Character] = USUAL, *, seed: int = 0, clock: Clock | None = None
    ) -> None:
        time = clock or SystemClock()
        self._services: dict[str, ExampleService] = {}
        try:
            for name, character in characters.items():
                rng = Random(f"{seed}-{name}")  # noqa: S311 - the same faults each time
                self._services[name] = ExampleService(name, character, rng, time)
        except BaseException:
            self.stop()
            raise

    @property
    def urls(self) -> dict[str, str]:
        """Where they are, by name, without a path."""
        return {name: service.url for name, service in self._services.items()}

    @property
    def health_urls(self) -> dict[str, str]:
        """Where they say how they are, by name."""
        return {name: f"{url}/health" for name, url in self.urls.items()}

    def __getitem__(self, name: str) -> ExampleService:
        """One of them; raises `UnknownNameError`."""
        if name not in self._services:
            raise UnknownNameError("example service", name, self._services)
        return self._services[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._services)

    def __len__(self) -> int:
        return len(self._services)

    def stop(self) -> None:
        """Close all sockets and end all threads; idempotent."""
        for service in self._services.values():
            service.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        told = ", ".join(f"{name}: {service.mood}" for name, service in self._services.items())
        return f"<ExampleServices {told}>"


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing it waits for what is being answered
    request_queue_size = 128

    def __init__(self, service: ExampleService) -> None:
        self.service = service
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 5.0
    """Seconds that a client may take to say what it wants."""

    def _answer(self) -> None:
        length = self.headers.get("content-length", "0")
        received = len(self.rfile.read(int(length))) if length.isdigit() else 0
        answer = self.server.service.answer(self.command, self.path, received)
        if answer is None:
            self.close_connection = True
            return
        status, content = answer
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - so the server asks

    def log_message(self, *_: Any) -> None:
        """Nothing: a notebook's output is not their log."""
