"""Clients that mean no good, or are broken: each gets its documented answer, and the gateway goes on."""

from __future__ import annotations

import json
import socket
import time
from random import Random
from typing import Any

import pytest

PREFIX = b"urn:orchkit:problem:"


@pytest.fixture(autouse=True)
def still_there(door: Any) -> Any:
    """Whatever a test does, the gateway answers afterwards."""
    yield
    assert door.get("/s/after").status_code == 200


TRAVERSALS = [
    b"/s/..",
    b"/s/../health",
    b"/s/./x",
    b"/s/a/../../b",
    b"/s/%2e%2e/x",
    b"/s/%2E%2e",
    b"/s/.%2e/x",
    b"/s/%2e/x",
    b"/s/%252e%252e/x",
    b"/s/%25252e%25252e/x",
    b"/s/..;/x",
    b"/s/%2e%2e;a=b/x",
    b"/s/..%3bx/y",
    b"/s/..%2fx",
    b"/s/..%252fx",
    b"/s/a%2fb",
    b"/s/a%2Fb",
    b"/s/a%5cb",
    b"/s/a%255cb",
    b"/s/a\\b",
    b"/s/%00",
    b"/s/%0d%0aX-Evil:%201",
    b"/s/%0a",
    b"/s/%7f",
    b"/s/a%zz",
    b"/s/a%",
    b"/s/a#b",
    b"/%2e%2e/s/x",
    b"/cut/../../x",
    b"/cut/%2e%2e",
]
NO_PATHS = [
    b"http://evil.test/s/x",
    b"https://127.0.0.1:1/s/x",
    b"s/x",
    b"*",
    b"evil.test:80",
    b"//evil.test/s/x/..",
    b"file:///etc/passwd",
    b"?x=1",
]


@pytest.mark.parametrize("target", TRAVERSALS + NO_PATHS)
def test_nothing_leads_out_of_the_path_of_a_service(door: Any, service: Any, target: bytes) -> None:
    """Dot segments in any encoding, encoded slashes, other servers: 400, and no service is asked."""
    status, problem = door.get_raw(target)
    assert (status, problem["type"]) == (400, (PREFIX + b"bad-path").decode())
    assert not service.seen


@pytest.mark.parametrize("target", [b"/s/x y", b"/s/x\x01y", b"/s/\xc3\xa9", b"/s/x\r\nX-Evil: 1\r\n\r\n"])
def test_what_is_no_target_is_no_request(door: Any, service: Any, target: bytes) -> None:
    """Spaces, control characters and bytes beyond ASCII make it no HTTP: 400 and an end."""
    data = door.raw(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert data.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 200 "))
    assert all("x-evil" not in dict(seen["headers"]) for seen in service.seen)


def test_double_slashes_do_not_name_another_server(door: Any, service: Any) -> None:
    """A path that begins like a network location is a path."""
    assert door.get_raw(b"//evil.test/s")[0] == 404
    assert door.get_raw(b"/cut//evil.test/x")[1]["path"] == "/base/path//evil.test/x"
    assert all(dict(seen["headers"])["host"] == f"127.0.0.1:{service.port}" for seen in service.seen)


@pytest.mark.parametrize(
    "lines",
    [
        b"X-A: 1\rX-Evil: 1",
        b"X-A: 1\x00",
        b"X-A : 1",
        b"X A: 1",
        b": nameless",
        b"X-A",
        b" X-Folded: 1",
        b"Content-Length: 1\r\nContent-Length: 2",
        b"Content-Length: -1",
        b"Content-Length: 1, 2",
        b"Content-Length: 0x10",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Host: b",
    ],
)
def test_malformed_headers_are_no_request(door: Any, service: Any, lines: bytes) -> None:
    """What could be read in two ways is not read at all: 400 (501 for encodings nobody has), and an end."""
    data = door.raw(b"POST /s/x HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n", half_close=True)
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["type"] == (PREFIX + b"bad-request").decode()
    assert not service.seen


def test_a_request_cannot_be_smuggled(door: Any, service: Any) -> None:
    """A request with both a length and chunks could end in two places: 400, and nothing after it is read."""
    data = door.raw(
        b"POST /s/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /s/admin HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    assert data.startswith(b"HTTP/1.1 400 ")
    assert data.count(b"HTTP/1.1 ") == 1
    assert not service.seen


def test_headers_of_one_request_do_not_get_into_another(door: Any, service: Any) -> None:
    """Requests in one packet are told apart, and answered in order."""
    one = b"GET /s/1 HTTP/1.1\r\nHost: a\r\nX-One: 1\r\n\r\n"
    two = b"GET /s/2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    data = door.raw(one + two)
    assert data.count(b"HTTP/1.1 200 OK") == 2
    assert [seen["path"] for seen in service.seen] == ["/s/1", "/s/2"]
    assert "x-one" not in dict(service.seen[1]["headers"])


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /s/x HTTP/1.1\r\nHost: a\r\nX-Large: " + b"x" * 40_000, 431),
        (b"GET /s/x HTTP/1.1\r\nHost: a\r\nX-Large: " + b"x" * 4_000_000, 431),
        (b"GET /s/x HTTP/1.1\r\nHost: a\r\n" + b"\r\n".join(b"X-%d: 1" % n for n in range(5_000)), 431),
        (b"GET /s/" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: a", 414),
        (b"GET /s/x?" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: a", 414),
    ],
    ids=["one header", "endless header", "many headers", "path", "query"],
)
def test_heads_that_are_too_large_are_refused(door: Any, service: Any, head: bytes, status: int) -> None:
    """431 for headers, 414 for the URL; also when they never end."""
    data = door.raw(head + b"\r\nConnection: close\r\n\r\n")
    assert data == b"" or data.startswith(b"HTTP/1.1 %d " % status)
    assert len(head) > 1_000_000 or data
    assert not service.seen


@pytest.mark.parametrize(
    "data",
    [b"\x16\x03\x01\x02\x00\x01", b"\x00" * 100, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n\r\nx\r\n\r\n"],
    ids=["tls", "zeros", "http2", "blank"],
)
def test_what_is_no_http_is_answered_and_ended(door: Any, data: bytes) -> None:
    """Other protocols get 400."""
    answer = door.raw(data, half_close=True)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")


def test_a_body_that_ends_early_is_given_up(door: Any, service: Any) -> None:
    """The client goes away in the midst of its body: the service gets no whole request."""
    data = door.raw(b"PUT /s/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf", half_close=True)
    assert data == b""
    deadline = time.monotonic() + 10
    while not (service.seen and service.seen[0].get("cut")) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert service.seen[0]["cut"]


def test_a_body_that_is_no_chunks_is_given_up(door: Any, service: Any) -> None:
    """A chunk whose size is none: 400 when nothing was answered yet, and an end."""
    data = door.raw(b"PUT /s/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhalf\r\n")
    assert data.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("length", [b"Content-Length: 11", b"Transfer-Encoding: chunked"])
def test_a_body_that_is_too_large_is_refused(opened: Any, service: Any, length: bytes) -> None:
    """413, whether it says so before or is found out while it comes."""
    door = opened({"s": service.url}, {"/s": "s"}, limits={"body_bytes": 10})
    body = b"b\r\n" + b"x" * 11 + b"\r\n0\r\n\r\n" if b"chunked" in length else b"x" * 11
    data = door.raw(b"PUT /s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + length + b"\r\n\r\n" + body)
    assert data.startswith(b"HTTP/1.1 413 ")
    assert b"body-too-large" in data
    assert door.put("/s", content=b"x" * 10).status_code == 200


def test_a_body_that_does_not_come_is_408(opened: Any, service: Any) -> None:
    """A client that is silent in the midst of its body is waited for so long and no longer."""
    door = opened({"s": service.url}, {"/s": "s"}, limits={"client_idle": 0.2})
    data = door.raw(b"PUT /s HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 9\r\n\r\nhalf")
    assert data.startswith(b"HTTP/1.1 408 ")
    assert b"client-too-slow" in data


def test_headers_that_do_not_come_are_408(opened: Any, service: Any) -> None:
    """A client that sends its headers drop by drop gets an end, and so does one that says nothing."""
    door = opened({"s": service.url}, {"/s": "s"}, limits={"header_time": 0.2})
    assert door.raw(b"GET /s HTTP/1.1\r\nHost: a\r\nX-Slow:").startswith(b"HTTP/1.1 408 ")
    assert door.raw(b"") == b""
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as client:
        client.sendall(b"GET /s HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
        client.sendall(b"GET /s HTTP/1.1\r\nHo")  # the next request of the same connection
        rest = b""
        while piece := client.recv(65_536):
            rest += piece
        assert b"HTTP/1.1 408 " in rest


def test_a_request_that_came_too_early_has_to_wait(opened: Any, service: Any) -> None:
    """The begin of the next request, sent while the first is worked on, does not count as slow headers."""
    door = opened({"s": service.url}, {"/s": "s"}, limits={"header_time": 0.1})
    service.gate.clear()
    with socket.create_connection(("127.0.0.1", door.port), timeout=20) as client:
        client.sendall(b"GET /s/1 HTTP/1.1\r\nHost: a\r\n\r\nGET /s/2 HTTP/1.1\r\nHost: a\r\n")
        time.sleep(0.3)
        service.gate.set()
        data = client.recv(65_536)
        client.sendall(b"Connection: close\r\n\r\n")
        while piece := client.recv(65_536):
            data += piece
    assert data.count(b"HTTP/1.1 200 OK") == 2


def test_slow_clients_hold_up_nobody(opened: Any, service: Any) -> None:
    """Many that are half-way through their headers or bodies, and requests are answered as ever."""
    door = opened({"s": service.url}, {"/s": "s"})
    slow = []
    for number in range(100):
        client = socket.create_connection(("127.0.0.1", door.port))
        body = b"PUT /s HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf"
        client.sendall(body if number % 2 else b"GET /s HTTP/1.1\r\nHost: a\r\nX:")
        slow.append(client)
    start = time.monotonic()
    assert all(door.get("/s").status_code == 200 for _ in range(10))
    assert time.monotonic() - start < 5
    for client in slow:
        client.close()


def test_too_many_at_the_same_time_are_503(opened: Any, service: Any) -> None:
    """One more than ``concurrent`` is turned away with Retry-After, and the others are not disturbed."""
    door = opened({"s": service.url}, {"/s": "s"}, limits={"concurrent": 2, "retry_after_s": 3})
    service.gate.clear()
    held = []
    for _ in range(2):
        client = socket.create_connection(("127.0.0.1", door.port), timeout=20)
        client.sendall(b"GET /s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        held.append(client)
    deadline = time.monotonic() + 10
    while len(service.seen) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    answer = door.get("/s")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert answer.json()["type"].endswith("overloaded")
    service.gate.set()
    assert all(client.recv(20).startswith(b"HTTP/1.1 200 ") for client in held)
    for client in held:
        client.close()
    deadline = time.monotonic() + 10
    while (status := door.get("/s").status_code) == 503 and time.monotonic() < deadline:
        time.sleep(0.01)  # a place is free when what was done is on the record
    assert status == 200


def test_too_many_connections_are_503(opened: Any, service: Any) -> None:
    """One more than ``connections`` is told so and closed."""
    door = opened({"s": service.url}, {"/s": "s"}, limits={"connections": 3})
    held = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(3)]
    time.sleep(0.1)
    assert door.raw(b"").startswith(b"HTTP/1.1 503 ")
    for client in held:
        client.close()


LINES = [
    b"Host: a\r\n",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: keep-alive, x-a\r\n",
    b"Expect: 100-continue\r\n",
    b"Idempotency-Key: k\r\n",
    b"Upgrade: websocket\r\n",
    b"traceparent: zz\r\n",
    b"X-A: \xff\r\n",
]
STARTS = [
    b"GET /s/x?a=1 HTTP/1.1\r\n",
    b"POST /s HTTP/1.1\r\n",
    b"HEAD /s HTTP/1.0\r\n",
    b"OPTIONS * HTTP/1.1\r\n",
]
BODIES = [b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"zz\r\n", b"5\r\nab"]


def _scrambled(random: Random) -> bytes:
    """Requests put together from pieces, one after the other, with a few bytes changed."""
    pieces = []
    for _ in range(random.randint(1, 3)):
        lines = random.sample(LINES, random.randint(0, 6))
        pieces += [random.choice(STARTS), *lines, b"\r\n", random.choice(BODIES)]
    data = bytearray(b"".join(pieces))
    for _ in range(random.choice((0, 0, 1, 3))):
        data[random.randrange(len(data))] = random.randrange(256)
    return bytes(data)


def test_scrambled_requests_are_survived(door: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever comes is answered with a status that means it, or ended; nothing fails inside."""
    for seed in range(300):
        with socket.create_connection(("127.0.0.1", door.port), timeout=20) as client:
            try:
                client.sendall(_scrambled(Random(seed)))
                client.shutdown(socket.SHUT_WR)
                data = client.recv(65_536)
            except OSError:
                continue  # it was ended rudely
        status = data[9:12]
        assert status in (b"", b"100", b"200", b"400", b"404", b"405", b"408", b"409", b"422"), (seed, data)
    errors = [entry for entry in caplog.records if entry.levelname in ("ERROR", "CRITICAL")]
    assert not [entry.getMessage() for entry in errors if entry.name != "uvicorn.error"]


def test_websockets_are_not_passed_on(door: Any, service: Any) -> None:
    """A request to upgrade is an ordinary request: the service does not hear of the upgrade."""
    status, seen = door.get_raw(b"/s/ws", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
    assert status == 200
    assert "upgrade" not in dict(seen["headers"])
