"""What HTTP answers say of a service, asked over real sockets."""

from __future__ import annotations

import gzip
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import orchkit as ok
from orchkit.demo.services import WELL, Character, ExampleServices
from orchkit.errors import MissingExtraError, ParameterError
from orchkit.model.health import ServiceHealth


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    """An HTTP answer."""
    head = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close"]
    return "\r\n".join([*head, "", ""]).encode() + body


def told(**content: Any) -> bytes:
    """A JSON body."""
    return json.dumps(content).encode()


@pytest.fixture
def kit() -> Iterator[ok.Kit]:
    """A kit in memory."""
    with ok.open() as kit:
        yield kit


def checked(kit: ok.Kit, url: str, **settings: Any) -> ServiceHealth:
    """How a service stands after one check."""
    kit.health.watch({"it": {"url": url, **settings}}, interval=36_000, timeout=settings.get("timeout", 5))
    return kit.health.check("it")["it"]


@pytest.mark.parametrize(
    ("sent", "status", "error", "details"),
    [
        (answer("200 OK"), "healthy", None, {}),
        (answer("204 No Content"), "healthy", None, {}),
        (answer("200 OK", told(status="ok", version=3)), "healthy", None, {"version": 3}),
        (answer("200 OK", told(status="weird")), "healthy", None, {"status": "weird"}),
        (answer("200 OK", told(status="Degraded")), "degraded", "it says of itself: Degraded", {}),
        (
            answer("200 OK", told(status="DOWN", db="gone")),
            "unhealthy",
            "it says of itself: DOWN",
            {"db": "gone"},
        ),
        (answer("200 OK", b'{"status": '), "healthy", None, {}),
        (answer("200 OK", b"[" * 100_000), "healthy", None, {}),
        (answer("200 OK", b"\xff\xfe\x00garbage"), "healthy", None, {}),
        (answer("200 OK", told(big="x" * 20_000)), "healthy", None, {"left_out": "20,011 characters"}),
        (answer("404 Not Found"), "unhealthy", "HTTP 404 Not Found", {}),
        (
            answer("500 Internal Server Error", told(db="gone")),
            "unhealthy",
            "HTTP 500 Internal Server Error",
            {"db": "gone"},
        ),
        (answer("429 Too Many Requests"), "degraded", "HTTP 429 Too Many Requests", {}),
        (b"", "unhealthy", "RemoteProtocolError: Server disconnected without sending a response.", {}),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "unhealthy", None, {}),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", "unhealthy", None, {}),
    ],
)
def test_what_an_answer_says(
    kit: ok.Kit,
    serve: Callable[..., Any],
    sent: bytes,
    status: str,
    error: str | None,
    details: dict[str, Any],
) -> None:
    """By its status code, and by what its JSON says of itself."""
    health = checked(kit, serve(sent).url)
    assert (health.status, health.details) == (status, details)
    assert (health.error == error) if error else (health.error is None) is (status == "healthy")


@pytest.mark.parametrize("code", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_service_that_asks_to_be_left_alone_is(kit: ok.Kit, serve: Callable[..., Any], code: str) -> None:
    """Until its Retry-After is over checks are not performed."""
    server = serve(answer(code, b"", "Retry-After: 90"))
    assert checked(kit, server.url).details == {"retry_after_s": 90.0}
    again = kit.health.check()["it"]
    assert "left alone" in str(again.note)
    assert len(server.requests) == 1
    assert [row[0] for row in kit.store.query("SELECT reason FROM health_checks ORDER BY seq")][
        -1
    ] == "retry_after"


def test_redirects_are_followed_up_to_a_limit(kit: ok.Kit, serve: Callable[..., Any]) -> None:
    """Three of them; one that leads in a circle is an error, not an endless check."""
    good = serve(answer("200 OK"))
    assert checked(kit, serve(answer("302 Found", b"", f"Location: {good.url}")).url).status == "healthy"
    circle = serve(answer("302 Found", b"", "Location: /again"))
    health = checked(kit, circle.url)
    assert health.status == "unhealthy"
    assert "more than 3 redirects" in str(health.error)
    assert len(circle.requests) == 4


def test_a_body_without_end_is_not_read_to_it(kit: ok.Kit, serve: Callable[..., Any]) -> None:
    """What is beyond 64 KiB is left, and the connection closed."""
    server = serve(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 65_000, b"y" * 65_000, endless=True)
    began = time.monotonic()
    assert checked(kit, server.url).status == "healthy"
    assert time.monotonic() - began < 3


def test_a_packed_body_is_not_unpacked(kit: ok.Kit, serve: Callable[..., Any]) -> None:
    """It was asked for plainly; a small body that unpacks to gigabytes does no harm."""
    body = gzip.compress(told(status="degraded", fill="0" * 1_000_000))
    assert checked(kit, serve(answer("200 OK", body, "Content-Encoding: gzip")).url).status == "healthy"


def test_an_answer_that_drips_is_over_with_the_timeout(kit: ok.Kit, serve: Callable[..., Any]) -> None:
    """The timeout is for all of it, not for each piece."""
    server = serve(b"HTTP/1.1 200 OK\r\n", *[b"X-A: b\r\n"] * 100, pause=0.05)
    health = checked(kit, server.url, timeout=0.3)
    assert (health.status, health.error) == ("unhealthy", "no answer within 0.3 s")


def test_a_refused_connection_is_unhealthy(kit: ok.Kit) -> None:
    """In words that do not need a search."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    health = checked(kit, f"http://127.0.0.1:{port}/health")
    assert (health.status, health.error, health.uptime_percentage) == ("unhealthy", "connection refused", 0.0)


def test_headers_are_sent_and_secrets_stay_secret(kit: ok.Kit, serve: Callable[..., Any]) -> None:
    """Neither headers nor user, password and query of a URL are shown or recorded."""
    server = serve(answer("200 OK"))
    url = server.url.replace("http://", "http://user:hidden1@") + "?token=hidden2"
    health = checked(kit, url, headers={"X-Key": "hidden3"})
    assert b"X-Key: hidden3" in server.requests[0]
    assert b"token=hidden2" in server.requests[0]
    assert health.url == server.url
    shown = f"{health} {kit.health} {kit.store.query('FROM event')} {kit.store.list_state('health')}"
    assert "hidden" not in shown


def test_a_slow_service_is_degraded_and_a_failing_one_is_not_healthy(kit: ok.Kit) -> None:
    """The example services, watched together through a bad day; each look is on record."""
    with ExampleServices(WELL) as services:
        settings = {"interval": 36_000.0, "degraded_after": 0.2}
        kit.health.watch(services.health_urls, **settings)
        assert {one.status for one in kit.health.check().values()} == {"healthy"}
        services["writer"].be("down")
        services["research"].be("slow", delay=0.3)
        services["backend"].be("degraded")
        found = {name: one.status for name, one in kit.health.check().items()}
        assert found == {"writer": "unhealthy", "research": "degraded", "backend": "degraded"}
        assert kit.health.overall == "unhealthy"
        rows = kit.sql("SELECT service, performed, response_ms FROM health_checks")
        assert len(rows) >= 6
        assert rows.performed.all()


def test_the_example_services_fail_by_their_seed() -> None:
    """The same seed, the same failures."""

    def statuses(seed: int) -> list[int]:
        with ExampleServices({"it": Character(failure_rate=0.5)}, seed=seed) as services:
            answers = [services["it"].answer("GET", "/health", 0) for _ in range(40)]
        return [one[0] for one in answers if one is not None]

    assert statuses(1) == statuses(1) != statuses(2)
    assert set(statuses(1)) == {200, 500}


@pytest.mark.parametrize(
    ("target", "settings", "words"),
    [
        ("ftp://example.org", {}, "is no URL"),
        ("http://", {}, "is no URL"),
        ("http://host:port/", {}, "is no URL"),
        (7, {}, "int is neither a URL nor a function"),
        ({}, {}, "give a URL or a function"),
        ({"url": "http://a", "intervall": 3}, {}, "no such setting: intervall"),
        ("http://a", {"interval": 0}, "it.interval: 0 is no number of seconds above 0"),
        ("http://a", {"timeout": "soon"}, "it.timeout"),
        ("http://a", {"degraded_after": float("nan")}, "it.degraded_after"),
    ],
)
def test_what_cannot_be_watched_is_refused(kit: ok.Kit, target: Any, settings: Any, words: str) -> None:
    """Before anything is watched, with all that is wrong."""
    with pytest.raises(ParameterError, match=words):
        kit.health.watch({"it": target}, **settings)
    assert len(kit.health) == 0


def test_a_url_needs_httpx_and_says_so(kit: ok.Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what is to be installed; functions can be watched without it."""
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtraError, match=r'pip install "orchkit\[health\]"'):
        kit.health.watch({"it": "http://127.0.0.1:1/health"})
    kit.health.watch({"it": lambda: True})
