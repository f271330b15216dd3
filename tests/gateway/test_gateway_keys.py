"""Requests with an idempotency key: carried out once, answered as often as they are asked."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

KEY = {"Idempotency-Key": "order-1"}


@pytest.fixture
def keyed(opened: Any, service: Any, quick: Any) -> Any:
    """A gateway of one's own, so that keys are."""
    limits = {"request_bytes": 1_000, "answer_bytes": 5_000}
    return opened({"s": {"url": service.url, "policy": quick}}, {"/s": "s"}, idempotency=limits)


def _kind(answer: Any) -> str:
    return str(answer.json()["type"]).rpartition(":")[2]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_the_same_request_gets_the_recorded_answer(keyed: Any, service: Any, method: str) -> None:
    """Once carried out, twice answered; the second answer says that it is a replay, and has no cookies."""
    service.answer_headers = [(b"x-order", b"7"), (b"set-cookie", b"a=1")]
    first = keyed.request(method, "/s/orders?x=1", content=b"book", headers=KEY)
    keyed.client.cookies.clear()  # with a cookie it would be somebody else's
    again = keyed.request(method, "/s/orders?x=1", content=b"book", headers=KEY)
    assert (first.status_code, again.status_code, len(service.seen)) == (200, 200, 1)
    assert first.content == again.content
    assert (again.headers["idempotency-replayed"], again.headers["x-order"]) == ("true", "7")
    assert "idempotency-replayed" not in first.headers
    assert "set-cookie" in first.headers
    assert "set-cookie" not in again.headers


@pytest.mark.parametrize(
    "change",
    [
        {"content": b"other"},
        {"url": "/s/other"},
        {"url": "/s/orders?x=2"},
        {"method": "PUT"},
        {"headers": {**KEY, "Authorization": "Bearer b"}},
        {"headers": {**KEY, "Cookie": "session=b"}},
    ],
    ids=["body", "path", "query", "method", "authorization", "cookie"],
)
def test_another_request_under_the_key_is_refused(keyed: Any, service: Any, change: Any) -> None:
    """422 for whatever else was meant, or somebody else; and nothing of the first request is told."""
    request: dict[str, Any] = {"method": "POST", "url": "/s/orders?x=1", "content": b"book", "headers": KEY}
    keyed.request(**request)
    answer = keyed.request(**request | change)
    assert (answer.status_code, _kind(answer), len(service.seen)) == (422, "key-used-otherwise", 1)
    assert "book" not in answer.text
    assert service.seen[0]["sha256"] not in answer.text


def test_a_request_in_flight_is_409(keyed: Any, service: Any) -> None:
    """While it is carried out, the same request is told to come back; then it gets the answer."""
    service.gate.clear()
    answers: list[Any] = []
    first = threading.Thread(target=lambda: answers.append(keyed.post("/s", content=b"x", headers=KEY)))
    first.start()
    deadline = time.monotonic() + 10
    while not service.seen and time.monotonic() < deadline:
        time.sleep(0.01)
    meanwhile = keyed.post("/s", content=b"x", headers=KEY)
    assert (meanwhile.status_code, _kind(meanwhile)) == (409, "request-in-flight")
    assert meanwhile.headers["retry-after"] == "1"
    service.gate.set()
    first.join(20)
    assert keyed.post("/s", content=b"x", headers=KEY).content == answers[0].content
    assert len(service.seen) == 1


def test_with_a_key_a_post_is_tried_again(keyed: Any, service: Any) -> None:
    """Because the service gets the key, too: each try has it."""
    service.plan = [503, 500]
    assert keyed.post("/s", content=b"x", headers=KEY).status_code == 200
    assert [dict(seen["headers"])["idempotency-key"] for seen in service.seen] == ["order-1"] * 3


def test_what_failed_is_carried_out_again(keyed: Any, service: Any) -> None:
    """After the last try failed, the key is free for the same request."""
    service.plan = [503] * 3
    assert keyed.post("/s", content=b"x", headers=KEY).status_code == 503
    assert keyed.post("/s", content=b"x", headers=KEY).status_code == 200
    assert len(service.seen) == 4


@pytest.mark.parametrize(
    ("status", "kept"), [(404, True), (422, True), (429, False), (401, False), (409, False)]
)
def test_refusals_are_kept_unless_they_are_of_the_moment(
    keyed: Any, service: Any, status: int, kept: bool
) -> None:
    """A 404 is the answer to the request; a 429 is not: the same request may be answered otherwise later."""
    service.plan = [status]
    assert keyed.post("/s", content=b"x", headers=KEY).status_code == status
    assert keyed.post("/s", content=b"x", headers=KEY).status_code == (status if kept else 200)
    assert keyed.kit.breakers["s"].state == "closed"


def test_get_has_no_need_of_a_key(keyed: Any, service: Any) -> None:
    """What changes nothing is asked each time."""
    assert [keyed.get("/s", headers=KEY).status_code for _ in range(2)] == [200, 200]
    assert len(service.seen) == 2


@pytest.mark.parametrize("key", [b"", b"a\tb", b"x" * 300, b"\xc3\xa9"])
def test_an_unfit_key_is_400(keyed: Any, service: Any, key: bytes) -> None:
    """A key that cannot be one is no reason to carry the request out without it."""
    answer = keyed.post("/s", content=b"x", headers=[(b"Idempotency-Key", key)])
    assert (answer.status_code, _kind(answer), service.seen) == (400, "bad-idempotency-key", [])


def test_a_quoted_key_is_the_same(keyed: Any, service: Any) -> None:
    """The structured form of the header names the key in quotes."""
    keyed.post("/s", content=b"x", headers={"Idempotency-Key": '"k"'})
    assert keyed.post("/s", content=b"x", headers={"Idempotency-Key": "k"}).status_code == 200
    assert len(service.seen) == 1


def test_a_long_body_cannot_have_a_key(keyed: Any, service: Any) -> None:
    """It has to be known whole before anything is done: 413, chunked or not."""
    for content in (b"x" * 1_001, iter([b"x" * 600, b"x" * 600])):
        answer = keyed.post("/s", content=content, headers=KEY)
        assert (answer.status_code, _kind(answer), service.seen) == (413, "body-too-large", [])


def test_a_chunked_body_arrives_whole(keyed: Any, service: Any) -> None:
    """Read before it is sent, it has a length then, and the digest of the same body sent otherwise."""
    assert keyed.post("/s", content=iter([b"a", b"b"]), headers=KEY).json()["size"] == 2
    assert keyed.post("/s", content=b"ab", headers=KEY).headers["idempotency-replayed"] == "true"


def test_a_long_answer_is_not_kept(keyed: Any, service: Any) -> None:
    """It is passed on as it comes; the request is not carried out again, and its answer cannot be given."""
    assert keyed.post("/s/stream/300000", headers=KEY).content == b"x" * 300_000
    again = keyed.post("/s/stream/300000", headers=KEY)
    assert (again.status_code, _kind(again), len(service.seen)) == (409, "answer-not-kept", 1)


def test_an_answer_beyond_the_row_of_its_key_is_found(opened: Any, service: Any) -> None:
    """One of more than 64 KiB is read from the record."""
    door = opened({"s": service.url}, {"/s": "s"})
    assert door.post("/s/stream/200000", headers=KEY).content == b"x" * 200_000
    assert door.post("/s/stream/200000", headers=KEY).content == b"x" * 200_000
    assert len(service.seen) == 1


def test_a_client_that_leaves_does_not_end_a_request_with_a_key(
    opened: Any, raw_server: Any, head_of: Callable[[socket.socket], bytes]
) -> None:
    """It goes on and is recorded, so that whoever asks again gets its answer."""
    go = threading.Event()

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        go.wait(20)
        connection.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\ndone")

    server = raw_server(handle)
    door = opened({"r": server.url}, {"/r": "r"}, limits={"half_closed": 0.0})
    with socket.create_connection(("127.0.0.1", door.port)) as client:
        client.sendall(b"POST /r HTTP/1.1\r\nHost: a\r\nIdempotency-Key: k\r\nContent-Length: 0\r\n\r\n")
        deadline = time.monotonic() + 10
        while not server.connections and time.monotonic() < deadline:
            time.sleep(0.01)
    time.sleep(0.2)
    go.set()
    deadline = time.monotonic() + 10
    answer = door.post("/r", headers={"Idempotency-Key": "k"})
    while answer.status_code == 409 and time.monotonic() < deadline:
        answer = door.post("/r", headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.text, server.connections) == (201, "done", 1)


def test_keys_survive_the_gateway(opened: Any, service: Any) -> None:
    """They are in the store: after the gateway was started anew the answer is the recorded one."""
    door = opened({"s": service.url}, {"/s": "s"})
    first = door.post("/s", content=b"x", headers=KEY)
    config = door.gateway.config
    door.gateway.stop()
    door.gateway.start(config, port=door.port)
    assert door.post("/s", content=b"x", headers=KEY).content == first.content
    assert len(service.seen) == 1


def test_keys_can_be_left_to_the_service(opened: Any, service: Any) -> None:
    """Switched off, the header is passed on, and a POST is a POST."""
    door = opened({"s": service.url}, {"/s": "s"}, idempotency={"enabled": False})
    service.plan = [503]
    assert door.post("/s", content=b"x", headers=KEY).status_code == 503
    assert door.post("/s", content=b"x", headers=KEY).status_code == 200
    assert dict(service.seen[1]["headers"])["idempotency-key"] == "order-1"
