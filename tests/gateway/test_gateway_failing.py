"""What becomes of requests when services fail: what is tried again, and what the client is told."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from orchkit.errors import StoreFullError
from orchkit.kit import Kit
from orchkit.testing import MemoryStore

PROBLEM = "application/problem+json"
Head = Callable[[socket.socket], bytes]


def _kind(answer: Any) -> str:
    assert answer.headers["content-type"] == PROBLEM, answer.text
    document = answer.json()
    assert document["status"] == answer.status_code
    return str(document["type"]).rpartition(":")[2]


def _attempts(kit: Any) -> list[str]:
    rows = kit.sql("select status from attempts order by run_id, attempt")
    return [str(status) for status in rows["status"]]


def _decisions(kit: Any, point: str) -> list[str]:
    rows = kit.sql("select decision from decision_traces where decision_point = ? order by seq", [point])
    return [str(decision) for decision in rows["decision"]]


# --- what is tried again ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_idempotent_requests_are_tried_again(door: Any, service: Any, method: str) -> None:
    """After 503, 502 and then 200 the client sees 200; each try has the whole body."""
    service.plan = [503, 502]
    body = b"again and again" if method == "PUT" else b""
    assert door.request(method, "/s/x", content=body).status_code == 200
    assert [seen["size"] for seen in service.seen] == [len(body)] * 3


def test_after_the_last_try_the_client_gets_the_answer_of_the_service(door: Any, service: Any) -> None:
    """Three times 503: the third answer is passed on, with what the service says in it."""
    service.plan = [503] * 3
    service.answer_headers = [(b"retry-after", b"7"), (b"x-why", b"maintenance")]
    answer = door.get("/s/x")
    assert (answer.status_code, answer.json(), len(service.seen)) == (503, {"failed": 503}, 3)
    assert (answer.headers["retry-after"], answer.headers["x-why"]) == ("7", "maintenance")


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_what_may_have_been_done_is_not_done_twice(door: Any, service: Any, method: str, status: int) -> None:
    """A POST without an idempotency key is asked once, whatever the service says."""
    service.plan = [status]
    answer = door.request(method, "/s/x", content=b"pay")
    assert (answer.status_code, answer.json(), len(service.seen)) == (status, {"failed": status}, 1)


def test_a_connection_that_is_refused_is_tried_again_for_every_method(door: Any) -> None:
    """Nothing can have been done, so a POST is tried three times, too; then 502."""
    for method in ("GET", "POST"):
        answer = door.request(method, "/away/x", content=b"x" if method == "POST" else b"")
        assert (answer.status_code, _kind(answer)) == (502, "service-unreachable")
        name = answer.headers["x-correlation-id"]
        found = door.kit.sql(
            "select a.status from attempts a join runs r using (run_id) where r.request_id = ?", [name]
        )
        assert list(found["status"]) == ["failed"] * 3


def test_tries_and_decisions_are_on_the_record(opened: Any, service: Any, quick: Any, kit: Any) -> None:
    """Each attempt with its error, each decision to try again and its wait; the run is found by its name."""
    door = opened({"s": {"url": service.url, "policy": quick}}, {"/s": "s"})
    service.plan = [500, 503]
    door.get("/s/x")
    assert _attempts(kit) == ["failed", "failed", "success"]
    assert _decisions(kit, "retry") == ["retry", "retry"]
    assert _decisions(kit, "policy.selected") == ["full"]
    errors = kit.sql("select error from attempts order by attempt")["error"]
    assert list(errors[:2]) == ["FailedAnswerError: s answered 500", "FailedAnswerError: s answered 503"]


def test_a_short_body_is_sent_again_and_a_long_one_is_not(door: Any, service: Any) -> None:
    """Up to ``buffer_bytes`` a body is remembered; a longer one is gone, and the first answer stands."""

    def pieces(count: int) -> Iterator[bytes]:
        for _ in range(count):
            yield b"x" * 10_000

    service.plan = [503]
    assert door.put("/s/x", content=pieces(6)).status_code == 200
    assert [seen["size"] for seen in service.seen] == [60_000] * 2
    service.reset()
    service.plan = [503]
    answer = door.put("/s/x", content=pieces(20))
    assert (answer.status_code, answer.json(), len(service.seen)) == (503, {"failed": 503}, 1)


def test_a_429_is_tried_again_only_where_that_is_said(opened: Any, service: Any, quick: Any) -> None:
    """It is passed on by default; as a ``failure`` it is tried again, as late as the service asks."""
    usual = {"url": service.url, "policy": quick}
    patient = {**usual, "failures": [429], "policy": {**quick, "retry": {"delay": 0.01, "retry_after": True}}}
    door = opened({"usual": usual, "patient": patient}, {"/u": "usual", "/p": "patient"})
    service.plan = [429]
    assert (door.get("/u").status_code, len(service.seen)) == (429, 1)
    service.plan, service.answer_headers = [429], [(b"retry-after", b"0.02")]
    assert door.get("/p").status_code == 200
    rows = door.kit.sql("select input_data from decision_traces where decision_point = 'retry'")
    assert json.loads(rows["input_data"][0])["delay_s"] == 0.02


# --- the breaker ------------------------------------------------------------------------------


def test_an_open_breaker_answers_at_once(opened: Any, service: Any, kit: Any) -> None:
    """503 with Retry-After, no attempt, no wait: the service is not asked, which is not held against it."""
    policy = {"preset": "gateway", "retry": {"delay": 0.01}}
    door = opened({"s": {"url": service.url, "policy": policy}}, {"/s": "s"})
    service.plan = [500] * 3
    assert door.get("/s").status_code == 500
    assert kit.breakers["s"].state == "open"
    before = len(service.seen)
    answer = door.get("/s", headers={"X-Correlation-ID": "while-open"})
    assert (answer.status_code, _kind(answer), len(service.seen)) == (503, "breaker-open", before)
    assert 55 <= int(answer.headers["retry-after"]) <= 60
    rows = kit.sql(
        "select r.status, s.attempts, s.error_type from runs r join steps s using (run_id) "
        "where r.request_id = 'while-open'"
    )
    assert rows.iloc[0].to_list() == ["failed", 0, "BreakerOpenError"]
    kit.breakers.reset("s")
    assert door.get("/s").status_code == 200


def test_a_client_that_does_wrong_opens_no_breaker(opened: Any, service: Any, kit: Any) -> None:
    """Neither refusals of the service nor bodies that are too large count against it."""
    door = opened({"s": service.url}, {"/s": "s"}, limits={"body_bytes": 10})
    service.plan = [404] * 5
    assert {door.get("/s").status_code for _ in range(5)} == {404}
    assert {door.put("/s", content=iter([b"x" * 99])).status_code for _ in range(5)} == {413}
    assert kit.breakers["s"].state == "closed"


# --- services that misbehave --------------------------------------------------------------------


def test_a_service_that_hangs_up_is_502(opened: Any, raw_server: Any, head_of: Head, quick: Any) -> None:
    """It reads the request and closes: a GET is tried three times, a POST once."""
    server = raw_server(head_of)
    door = opened({"r": {"url": server.url, "policy": quick}}, {"/r": "r"})
    answer = door.get("/r")
    assert (answer.status_code, _kind(answer), server.connections) == (502, "service-died", 3)
    answer = door.post("/r", content=b"x")
    assert (answer.status_code, _kind(answer), server.connections) == (502, "service-died", 4)


def test_a_connection_that_is_reset_is_502(opened: Any, raw_server: Any, head_of: Head, quick: Any) -> None:
    """Rudely, by RST."""

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    door = opened({"r": {"url": raw_server(handle).url, "policy": quick}}, {"/r": "r"})
    assert _kind(door.post("/r", content=b"x")) == "service-died"


@pytest.mark.parametrize(
    "nonsense",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 2xx OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Header: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 700 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Large: " + b"x" * 200_000 + b"\r\n\r\n",
    ],
    ids=["no http", "status", "length", "name", "two lengths", "700", "101", "large"],
)
def test_an_answer_that_is_none_is_502(
    opened: Any, raw_server: Any, head_of: Head, quick: Any, nonsense: bytes
) -> None:
    """What is not HTTP is not passed on in any form."""

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(nonsense)

    door = opened({"r": {"url": raw_server(handle).url, "policy": quick}}, {"/r": "r"})
    answer = door.post("/r", content=b"x")
    assert (answer.status_code, _kind(answer)) == (502, "invalid-answer")


@pytest.mark.parametrize(
    "begin",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
    ids=["length", "chunked"],
)
def test_an_answer_that_ends_in_its_midst_is_cut(
    opened: Any, raw_server: Any, head_of: Head, quick: Any, kit: Any, begin: bytes
) -> None:
    """The client notices, because the connection ends before the answer does; it is not tried again."""

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(begin)

    server = raw_server(handle)
    door = opened({"r": {"url": server.url, "policy": quick}}, {"/r": "r"})
    with pytest.raises(httpx.RemoteProtocolError):
        door.get("/r")
    assert server.connections == 1
    assert door.get("/").status_code == 200
    step = kit.sql("select status, error from steps").iloc[0]
    assert step["status"] == "failed"
    assert step["error"].startswith("AnswerCutError: the answer ended in its midst: r closed the connection")


@pytest.mark.parametrize("begun", [False, True], ids=["before the answer", "in its midst"])
def test_a_service_that_is_silent_is_504(
    opened: Any, raw_server: Any, head_of: Head, quick: Any, kit: Any, begun: bool
) -> None:
    """Silence for longer than the limit: 504 before the answer began, a cut in its midst."""

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        if begun:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        while connection.recv(100):  # until the gateway hangs up
            pass

    quick["timeout"] = {"attempt": 0.15}
    door = opened({"r": {"url": raw_server(handle).url, "policy": quick}}, {"/r": "r"})
    if begun:
        with pytest.raises(httpx.RemoteProtocolError):
            door.get("/r")
        assert _attempts(kit) == ["timeout"]
    else:
        answer = door.get("/r")
        assert (answer.status_code, _kind(answer)) == (504, "service-timeout")
        assert _attempts(kit) == ["timeout"] * 3
        assert _kind(door.post("/r", content=b"x")) == "service-timeout"
        assert len(_attempts(kit)) == 4


def test_an_answer_that_takes_long_is_not_cut_while_it_comes(
    opened: Any, raw_server: Any, head_of: Head, quick: Any
) -> None:
    """The limit is on silence: a slow stream may take longer than it."""

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n")
        for _ in range(8):
            time.sleep(0.06)
            connection.sendall(b"x")

    quick["timeout"] = {"attempt": 0.3}
    door = opened({"r": {"url": raw_server(handle).url, "policy": quick}}, {"/r": "r"})
    assert door.get("/r").text == "x" * 8


def test_a_half_closed_connection_still_gets_its_answer(door: Any) -> None:
    """A client that has closed its side for writing has asked, and is answered."""
    data = door.raw(b"GET /s/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", half_close=True)
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_service_that_half_closes_is_answered_for(
    opened: Any, raw_server: Any, head_of: Head, quick: Any
) -> None:
    """One that closes its side without a word has hung up: 502, at once."""

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1)

    door = opened({"r": {"url": raw_server(handle).url, "policy": quick}}, {"/r": "r"})
    assert _kind(door.post("/r", content=b"x")) == "service-died"


def test_a_service_that_takes_no_connection_is_504(opened: Any, quick: Any) -> None:
    """A connect that does not come about in time is a timeout, and nothing was sent."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        held = []
        for _ in range(4):  # its queue is full: further connections hang
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(address)
            held.append(one)
        url = f"http://127.0.0.1:{address[1]}"
        door = opened({"r": {"url": url, "policy": quick, "connect_timeout": 0.1}}, {"/r": "r"})
        answer = door.post("/r", content=b"x")
        assert (answer.status_code, _kind(answer)) == (504, "service-timeout")
        for one in held:
            one.close()


def test_a_client_that_leaves_ends_what_was_done_for_it(
    opened: Any, raw_server: Any, head_of: Head, quick: Any, kit: Any
) -> None:
    """The service notices, too, and the record says why."""
    import threading

    limits = {"half_closed": 0.1}
    there, gone = threading.Event(), threading.Event()

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        there.set()
        if connection.recv(1) == b"":
            gone.set()

    door = opened({"r": {"url": raw_server(handle).url, "policy": quick}}, {"/r": "r"}, limits=limits)
    with socket.create_connection(("127.0.0.1", door.port)) as client:
        client.sendall(b"GET /r HTTP/1.1\r\nHost: a\r\n\r\n")
        assert there.wait(20)
    assert gone.wait(20)
    door.gateway.stop()
    run = kit.sql("select status, error from runs").iloc[0]
    assert run.to_list() == ["cancelled", "the client closed the connection"]
    assert kit.breakers["r"].snapshot.failures == 0


def test_faults_can_be_injected(opened: Any, service: Any, quick: Any) -> None:
    """The kit's fault injection works on requests, as on any call."""
    policy = {**quick, "retry": {"max_attempts": 1}, "faults": {"rate": 1, "seed": 1}}
    door = opened({"s": {"url": service.url, "policy": policy}}, {"/s": "s"})
    answer = door.get("/s")
    assert (answer.status_code, _kind(answer), service.seen) == (502, "service-died", [])


def test_limits_of_the_policy_are_503(opened: Any, service: Any, quick: Any) -> None:
    """A rate limit that will not let the call through in time says when to come back."""
    policy = {**quick, "rate_limit": {"limit": 1, "period": 30, "max_wait": 0}}
    door = opened({"s": {"url": service.url, "policy": policy}}, {"/s": "s"})
    assert door.get("/s").status_code == 200
    answer = door.get("/s")
    assert (answer.status_code, _kind(answer)) == (503, "overloaded")
    assert int(answer.headers["retry-after"]) >= 29


def test_a_length_beside_chunks_is_not_passed_on(
    opened: Any, raw_server: Any, head_of: Head, quick: Any
) -> None:
    """With both, the chunks count, and the client is told of no length that is not so."""

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"6\r\nlonger\r\n0\r\n\r\n"
        )

    door = opened({"r": {"url": raw_server(handle).url, "policy": quick}}, {"/r": "r"})
    answer = door.get("/r")
    assert answer.text == "longer"
    assert answer.headers.get("content-length") in (None, "6")


def test_with_a_full_disk_only_what_needs_no_record_goes_on(
    service: Any, quick: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A request is passed on, its record kept in memory until there is room; one with a key is refused."""
    store = MemoryStore()
    config = {"services": {"s": {"url": service.url, "policy": quick}}, "routes": {"/s": "s"}}
    with Kit(store) as kit:
        url = kit.gateway.start({**config, "health": {"watch": False}}).url
        usual = store.log.writing

        @contextmanager
        def full(*, strict: bool) -> Iterator[Any]:
            with usual(strict=strict):
                raise StoreFullError("no space is left")
            yield

        store.log.writing = full
        assert httpx.get(f"{url}/s").status_code == 200
        answer = httpx.post(f"{url}/s", headers={"Idempotency-Key": "k"})
        assert (answer.status_code, _kind(answer)) == (503, "not-recorded")
        assert "cannot be recorded: no space is left" in caplog.text
        store.log.writing = usual
        assert httpx.post(f"{url}/s", headers={"Idempotency-Key": "k"}).status_code == 200
        assert kit.sql("select status from runs")["status"].to_list()[-2:] == ["success"] * 2


def test_a_trace_goes_through(door: Any) -> None:
    """W3C trace context comes in, goes on with the attempt as the parent, and is the one of the run."""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    seen = door.get("/s/x", headers={"traceparent": parent}).json()
    found = [value for name, value in seen["headers"] if name == "traceparent"]
    assert len(found) == 1
    assert found[0].split("-")[1] == "0af7651916cd43dd8448eb211c80319c"
    assert found[0].split("-")[2] != "b7ad6b7169203331"


def test_each_attempt_has_a_span_of_its_own(door: Any, service: Any) -> None:
    """Whoever looks at the trace sees two calls of the service."""
    service.plan = [503]
    door.get("/s/x")
    parents = [dict(seen["headers"])["traceparent"] for seen in service.seen]
    assert len({parent.split("-")[1] for parent in parents}) == 1
    assert len({parent.split("-")[2] for parent in parents}) == 2


def test_numbers_are_counted_by_route(opened: Any, service: Any) -> None:
    """/metrics tells routes apart by their template, not by the paths that clients make up."""
    door = opened({"s": service.url}, {"/s": "s"})
    for number in range(3):
        door.get(f"/s/{number}")
    text = door.get("/metrics").text
    lines = [line for line in text.splitlines() if line.startswith("orchkit_http_requests_total")]
    assert lines
    assert not any('route="/s/' in line for line in lines), lines


@pytest.mark.parametrize(
    ("durability", "key", "waits"), [("async", False, False), ("async", True, True), ("sync", False, True)]
)
def test_what_is_recorded_before_a_service_is_asked(
    opened: Any, raw_server: Any, head_of: Head, kit: Any, durability: str, key: bool, waits: bool
) -> None:
    """With a key, or ``sync``, the attempt is on disk by then; else it is written with others, soon."""
    pending: list[int] = []

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        pending.append(kit.store.log.pending)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    door = opened({"r": raw_server(handle).url}, {"/r": "r"}, durability=durability)
    assert door.post("/r", headers={"Idempotency-Key": "k"} if key else {}).status_code == 200
    assert pending[0] == 0 or not waits
    deadline = time.monotonic() + 10
    while kit.store.log.pending and time.monotonic() < deadline:
        time.sleep(0.005)
    assert kit.store.log.pending == 0
