"""The example services: what they answer, when they fail, and that nothing of them stays behind."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from orchkit.demo.services import USUAL, WELL, Character, ExampleServices, Phase
from orchkit.errors import UnknownNameError
from orchkit.testing import FakeClock


def ask(url: str, method: str = "GET", path: str = "/health", body: bytes | None = None) -> tuple[int, Any]:
    """Status and JSON of an answer."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None
    finally:
        connection.close()


@pytest.fixture
def clock() -> FakeClock:
    """Time that passes only when told."""
    return FakeClock(autojump=False)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_they_tell_what_came(method: str) -> None:
    """Any path and method but ``/health`` is answered with what was received."""
    with ExampleServices(WELL) as services:
        status, told = ask(services["research"].url, method, "/api/enrich?x=1", b"x" * 1000)
    expected = {"service": "research", "method": method, "path": "/api/enrich?x=1", "received_bytes": 1000}
    assert (status, told) == (200, expected)


def test_their_phases_come_by_the_clock(clock: FakeClock) -> None:
    """Well, failing, down, degraded, each in its time."""
    phases = (Phase("failing", 10, 20), Phase("down", 20, 30), Phase("degraded", 30, 40))
    with ExampleServices({"it": Character(phases=phases)}, clock=clock) as services:
        seen = []
        for _ in range(5):
            try:
                status, told = ask(services["it"].url)
                seen.append((status, told["status"]))
            except http.client.RemoteDisconnected:
                seen.append((0, "cut"))
            clock.advance(10)
        assert seen == [(200, "ok"), (500, "fail"), (0, "cut"), (200, "degraded"), (200, "ok")]
        assert services["it"].answered == 4


def test_they_can_be_led_by_hand(clock: FakeClock) -> None:
    """``be`` goes before the phases, ``recover`` ends it."""
    with ExampleServices(USUAL, clock=clock) as services:
        services["backend"].be("failing")
        assert ask(services["backend"].url)[0] == 500
        services["backend"].recover()
        clock.advance(150)
        assert services["backend"].mood == "down"
        with pytest.raises(UnknownNameError):
            services["baker"]


def test_nothing_of_them_stays_behind() -> None:
    """Also when one of them is just being slow: threads end, ports are free."""
    before = set(threading.enumerate())
    services = ExampleServices(WELL)
    services["writer"].be("slow", delay=60)
    url = services["writer"].url
    asking = threading.Thread(target=lambda: ask(url))
    asking.start()
    while services["writer"].answered == 0:
        time.sleep(0.01)
    services.stop()
    services.stop()
    asking.join(10)
    assert set(threading.enumerate()) <= before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=5)


def test_a_client_that_says_nothing_does_no_harm() -> None:
    """It is sent away when they stop, and others are answered meanwhile."""
    with ExampleServices(WELL) as services:
        port = urlsplit(services["writer"].url).port
        silent = socket.create_connection(("127.0.0.1", port or 0))
        assert ask(services["writer"].url)[0] == 200
        silent.close()
