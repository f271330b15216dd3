"""What passes through a gateway, and what does not: methods, paths, queries, headers, bodies."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")


def _of(answer: Any, name: str) -> list[str]:
    return [value for known, value in answer["headers"] if known == name]


@pytest.mark.parametrize("method", METHODS)
def test_each_method_is_passed_on(door: Any, method: str) -> None:
    """Method, path below the route and body arrive as they were sent; the answer comes back as it is."""
    body = b"some body" if method not in ("GET", "OPTIONS") else b""
    answer = door.request(method, "/s/a/b", content=body)
    seen = answer.json()
    assert (answer.status_code, seen["method"], seen["path"]) == (200, method, "/s/a/b")
    assert seen["sha256"] == hashlib.sha256(body).hexdigest()


def test_head_has_the_headers_of_get_and_no_body(door: Any) -> None:
    """A HEAD request comes back with the length that a body would have, and without one."""
    answer = door.head("/s/x")
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) > 0


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body_stay_without_one(door: Any, service: Any, status: int) -> None:
    """204 and 304 pass, and the connection can be used on."""
    service.plan = [status]
    assert door.get("/s/x").status_code == status
    assert door.get("/s/x").status_code == 200


@pytest.mark.parametrize("status", [201, 301, 302, 400, 401, 404, 409, 418, 429, 501])
def test_other_answers_are_passed_on_as_they_are(door: Any, service: Any, status: int) -> None:
    """Redirects are not followed and refusals not tried again: the client gets them, once asked for."""
    service.plan = [status]
    answer = door.get("/s/x")
    assert (answer.status_code, answer.json(), len(service.seen)) == (status, {"failed": status}, 1)


@pytest.mark.parametrize(
    "target", [b"/s", b"/s/", b"/s/a//b", b"/s/%41%c3%a9", b"/s/a;b=1,2/c@d:e", b"/s/~x!$&'()*+"]
)
def test_paths_are_passed_on_byte_for_byte(door: Any, service: Any, target: bytes) -> None:
    """What is encoded stays encoded, what is not is not made so."""
    status, seen = door.get_raw(target)
    assert (status, seen["path"]) == (200, target.decode())


@pytest.mark.parametrize("query", [b"a=1&a=2", b"a=%20+b&c", b"x=%2F%2e%2e", b"=&&?", b"q=[1]{2}|3", b"%zz"])
def test_queries_are_passed_on_byte_for_byte(door: Any, query: bytes) -> None:
    """A query is nobody's but the service's."""
    assert door.get_raw(b"/s/x?" + query)[1]["query"] == query.decode()


def test_a_route_can_take_its_own_path_away(door: Any) -> None:
    """With ``path`` the path of the service takes the place of that of the route."""
    assert door.get("/cut/a/b").json()["path"] == "/base/path/a/b"
    assert door.get("/cut").json()["path"] == "/base/path"


def test_paths_beside_a_route_are_not_its(door: Any, service: Any) -> None:
    """A route is a path and what is below it: not what begins with the same letters, or is so decoded."""
    assert door.get("/sx").status_code == 404
    assert door.get_raw(b"/%73/x")[0] == 404
    assert not service.seen


def test_unknown_methods_are_refused(door: Any) -> None:
    """405 says which methods there are."""
    answer = door.request("TRACE", "/s/x")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE"
    assert answer.headers["content-type"] == "application/problem+json"


def test_headers_about_one_connection_stay_there(door: Any) -> None:
    """Hop-by-hop headers, and those that Connection names, reach neither the service nor the client."""
    seen = door.get_raw(
        b"/s/x",
        b"Keep-Alive: timeout=5",
        b"TE: trailers",
        b"Trailer: X-Sum",
        b"Upgrade: h2c",
        b"Proxy-Authorization: Basic abc",
        b"Proxy-Connection: keep-alive",
        b"X-Named: one",
        b"X-Too: two",
        b"X-Stays: three",
        b"Connection: X-Named , x-too",
    )[1]
    names = {name for name, _ in seen["headers"]}
    assert not names & {"keep-alive", "te", "trailer", "upgrade", "x-named", "x-too"}
    assert not names & {"proxy-authorization", "proxy-connection"}
    assert _of(seen, "x-stays") == ["three"]


def test_headers_of_the_answer_about_one_connection_stay_there(
    opened: Any, raw_server: Any, head_of: Callable[[socket.socket], bytes]
) -> None:
    """The same the other way: what Connection names in the answer is for the gateway alone."""

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nConnection: close, X-Inner\r\nX-Inner: 1\r\nKeep-Alive: 5\r\nX-Outer: 2\r\n"
            b"Server: secret/1.0\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok"
        )

    door = opened({"raw": raw_server(handle).url}, {"/r": "raw"})
    answer = door.get("/r")
    assert answer.text == "ok"
    assert not {"x-inner", "keep-alive", "server"} & set(answer.headers)
    assert answer.headers["x-outer"] == "2"
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert len(answer.headers.get_list("date")) == 1


def test_the_service_is_told_where_a_request_came_from(door: Any, service: Any) -> None:
    """Host is that of the service; X-Forwarded-* say who asked for which host, whatever a client claims."""
    seen = door.get_raw(
        b"/s/x",
        b"X-Forwarded-For: 1.2.3.4",
        b"X_Forwarded_For: 1.2.3.4",
        b"X-Forwarded-Host: evil.test",
        b"X-Forwarded-Proto: gopher",
        b"X-Real-IP: 1.2.3.4",
        b"Forwarded: for=1.2.3.4",
    )[1]
    assert _of(seen, "host") == [f"127.0.0.1:{service.port}"]
    assert _of(seen, "x-forwarded-for") == ["127.0.0.1"]
    assert _of(seen, "x-forwarded-proto") == ["http"]
    assert _of(seen, "x-forwarded-host") == ["gateway.test"]
    assert not {"forwarded", "x-real-ip", "x_forwarded_for"} & {name for name, _ in seen["headers"]}
    assert _of(seen, "via")[0].startswith("1.1 orchkit-")


def test_a_trusted_proxy_is_believed(opened: Any, service: Any) -> None:
    """What a proxy in ``trusted_proxies`` says is continued."""
    door = opened({"s": service.url}, {"/s": "s"}, trusted_proxies=["127.0.0.0/8"])
    headers = {"X-Forwarded-For": "1.2.3.4", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "a.test"}
    seen = door.get("/s", headers=headers).json()
    assert _of(seen, "x-forwarded-for") == ["1.2.3.4, 127.0.0.1"]
    assert (_of(seen, "x-forwarded-proto"), _of(seen, "x-forwarded-host")) == (["https"], ["a.test"])


def test_headers_of_the_service_are_set(door: Any) -> None:
    """A header that the operator sets goes before what the client sends under its name."""
    assert _of(door.get("/cut/x", headers={"X-Key": "mine"}).json(), "x-key") == ["its own"]


@pytest.mark.parametrize("header", ["X-Correlation-ID", "X-Request-ID"])
def test_a_correlation_id_goes_all_the_way(door: Any, header: str) -> None:
    """In, to the service, back, and on the record."""
    answer = door.get("/s/x", headers={header: f"req-{header}:1"})
    assert _of(answer.json(), "x-correlation-id") == [f"req-{header}:1"]
    assert answer.headers["x-correlation-id"] == f"req-{header}:1"
    rows = door.kit.sql("select name, status from runs where request_id = ?", [f"req-{header}:1"])
    assert rows.to_dict("records") == [{"name": "gateway.here", "status": "success"}]


@pytest.mark.parametrize("bad", ["a b", "x" * 200, "a\tb", "{}", "é".encode().decode("latin-1"), ""])
def test_an_unfit_correlation_id_is_replaced(door: Any, bad: str) -> None:
    """What could not be written into a header or a record is not taken over."""
    given = door.get("/s/x", headers={"X-Correlation-ID": bad.encode("latin-1")}).headers["x-correlation-id"]
    assert given.startswith("req_")


def test_every_answer_has_a_correlation_id(door: Any) -> None:
    """Problems, too, name it as their instance."""
    for path in ("/", "/nowhere", "/s/%2e%2e"):
        answer = door.get_raw(path.encode())
        if answer[0] != 200:
            assert answer[1]["instance"].startswith("urn:orchkit:request:req_")
    assert "x-correlation-id" in door.get("/health/status").headers


def test_cookies_of_one_client_are_not_sent_for_another(door: Any, service: Any) -> None:
    """The gateway keeps none: what the service sets is for who asked."""
    service.answer_headers = [(b"set-cookie", b"session=alice")]
    assert door.get("/s/x").headers["set-cookie"] == "session=alice"
    door.client.cookies.clear()
    assert _of(door.get("/s/x").json(), "cookie") == []


def test_addresses_of_the_service_become_those_of_the_gateway(door: Any, service: Any) -> None:
    """Location, where it leads to the same service, leads through the gateway; elsewhere it stays."""
    own = f"{service.url}/base/path/new?x=1".encode()
    for given, seen in ((own, "/cut/new?x=1"), (b"/base/path/y", "/cut/y"), (b"http://other.test/z", None)):
        service.plan, service.answer_headers = [302], [(b"location", given)]
        assert door.get("/cut/old").headers["location"] == (seen or given.decode())


def test_a_loop_is_noticed(opened: Any) -> None:
    """A service that leads back to the gateway gets 508, and so does who asked."""
    from orchkit.gateway.config import GatewayConfig

    door = opened({"self": "http://127.0.0.1:1"}, {"/loop": "self"})
    port = door.port
    door.gateway.stop()
    config = GatewayConfig.of(
        {
            "services": {"self": f"http://127.0.0.1:{port}"},
            "routes": {"/loop": "self"},
            "health": {"watch": False},
        }
    )
    door.gateway.start(config, port=port)
    answer = door.get("/loop")
    assert (answer.status_code, answer.json()["type"]) == (508, "urn:orchkit:problem:loop-detected")


def test_an_answer_comes_as_it_is_made(
    opened: Any, raw_server: Any, head_of: Callable[[socket.socket], bytes]
) -> None:
    """A chunk is with the client before the service makes the next one (events, progress)."""
    ask: Any = {}

    def handle(connection: socket.socket) -> None:
        head_of(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        ask["go"].wait(20)
        connection.sendall(b"3\r\ntwo\r\n0\r\n\r\n")

    import threading

    ask["go"] = threading.Event()
    door = opened({"raw": raw_server(handle).url}, {"/r": "raw"})
    with door.client.stream("GET", "/r") as answer:
        pieces = answer.iter_raw()
        assert next(pieces) == b"one"
        ask["go"].set()
        assert next(pieces) == b"two"


def test_chunked_bodies_pass_both_ways(door: Any, service: Any) -> None:
    """Without a length, in pieces: the service gets all of it, chunked; and so does the client."""

    def pieces() -> Iterator[bytes]:
        for number in range(20):
            yield str(number).encode() * 1_000

    whole = b"".join(pieces())
    answer = door.post("/s/x", content=pieces())
    assert (answer.json()["size"], answer.json()["sha256"]) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert _of(answer.json(), "transfer-encoding") == ["chunked"]
    assert door.get("/s/stream/300000").content == b"x" * 300_000


def test_an_answer_before_the_body_has_ended_is_passed_on(door: Any) -> None:
    """A service that refuses a body without reading it is heard, not waited for."""
    assert door.post("/s/early", content=b"x" * 1_000).status_code == 413


def test_it_says_what_is_here(door: Any) -> None:
    """The root names services and routes."""
    info = door.get("/").json()
    assert info["routes"] == {"/s": "here", "/cut": "below", "/away": "away"}
    assert set(info["services"]) == {"here", "below", "away"}


def test_other_origins_are_let_in_when_they_are_named(opened: Any, service: Any) -> None:
    """CORS: preflights are answered by the gateway, answers marked; what the service says is left out."""
    door = opened({"s": service.url}, {"/s": "s"}, cors={"origins": ["https://app.example.com"]})
    origin = {"Origin": "https://app.example.com"}
    preflight = door.options("/s", headers={**origin, "Access-Control-Request-Method": "PUT"})
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.example.com"
    service.answer_headers = [(b"access-control-allow-origin", b"*")]
    answer = door.get("/s", headers=origin)
    assert answer.headers.get_list("access-control-allow-origin") == ["https://app.example.com"]
    other = door.get("/nowhere", headers={"Origin": "https://evil.example.com"})
    assert "access-control-allow-origin" not in other.headers
    assert [seen["method"] for seen in service.seen] == ["GET"]


def test_an_options_request_that_is_no_preflight_is_passed_on(door: Any, service: Any) -> None:
    """Without CORS settings OPTIONS is a method like others."""
    headers = {"Origin": "https://a.example.com", "Access-Control-Request-Method": "PUT"}
    assert door.options("/s/x", headers=headers).json()["method"] == "OPTIONS"


def test_the_record_has_no_bodies_and_no_secrets(door: Any, service: Any) -> None:
    """Sizes and hashes; names of parameters; neither bodies, header values nor query values."""
    service.answer_headers = [(b"set-cookie", b"token=topsecret-1")]
    door.post(
        "/s/x?code=topsecret-2&page=3",
        content=b"topsecret-3",
        headers={
            "Authorization": "Bearer topsecret-4",
            "Cookie": "a=topsecret-5",
            "X-Correlation-ID": "bare",
        },
    )
    rows = door.kit.sql(
        "select e.payload::varchar as text from events e join runs r using (run_id) "
        "where r.request_id = 'bare'"
    )
    assert len(rows) >= 5
    assert not rows["text"].str.contains("topsecret").any()
    step = door.kit.sql(
        "select s.input, s.output, s.attempts from steps s join runs r using (run_id) "
        "where r.request_id = 'bare'"
    ).iloc[0]
    given, output = json.loads(step["input"]), json.loads(step["output"])
    assert (given["method"], given["path"], given["query_names"]) == ("POST", "/s/x", ["code", "page"])
    assert (output["status"], output["request_bytes"], step["attempts"]) == (200, 11, 1)
    assert output["request_sha256"] == hashlib.sha256(b"topsecret-3").hexdigest()
