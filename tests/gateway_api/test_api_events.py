"""Events of runs as server-sent events, over real sockets: live, from the record, and with bad clients."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

import orchkit as ok
from orchkit.gateway.workflows.commits import Commits
from orchkit.gateway.workflows.stream import told
from orchkit.registry.registry import Registry
from orchkit.testing import MemoryStore

PATIENCE_S = 15.0


@dataclass
class Sent:
    """What a client has got."""

    ids: list[int] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        """One line of the stream."""
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            self.ids.append(int(value))
        elif name == "event":
            self.kinds.append(value)
        elif name == "data":
            self.data.append(json.loads(value))
        elif line.startswith(":"):
            self.comments.append(value)


class Server:
    """An API behind uvicorn, on a port of its own."""

    def __init__(self, api: Any) -> None:
        self.api = api
        config = uvicorn.Config(api.app, port=0, log_level="critical", timeout_graceful_shutdown=5)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until(lambda: self._server.started)
        self.port: int = self._server.servers[0].sockets[0].getsockname()[1]

    def follow(self, run_id: str, **headers: str) -> Sent:
        """Read to the end."""
        sent = Sent()
        url = f"http://127.0.0.1:{self.port}/runs/{run_id}/events"
        with httpx.stream("GET", url, headers=headers, timeout=PATIENCE_S) as answer:
            assert answer.status_code == 200
            for line in answer.iter_lines():
                sent.take(line)
        return sent

    def client(self, run_id: str, receive_buffer: int | None = None) -> socket.socket:
        """A client that has asked, and reads nothing yet."""
        found = socket.socket()
        if receive_buffer is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        found.settimeout(PATIENCE_S)
        found.connect(("127.0.0.1", self.port))
        found.sendall(f"GET /runs/{run_id}/events HTTP/1.1\r\nHost: gateway\r\n\r\n".encode())
        return found

    def stop(self, *, close: bool = True) -> None:
        if close:
            self.api.router.close()
        self._server.should_exit = True
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()


def until(there: Callable[[], Any]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.005)


@pytest.fixture
def serve(make_api: Callable[..., Any]) -> Iterator[Callable[..., Server]]:
    """Serves APIs with other settings; all are stopped."""
    servers: list[Server] = []

    def make(kit: Any = None, **settings: Any) -> Server:
        servers.append(Server(make_api(kit, **{"poll_s": 0.05, "heartbeat_s": 0.2, **settings})))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def background(read: Callable[[], Any]) -> tuple[threading.Thread, list[Any]]:
    """Do it in a thread; what it gives is put into the list."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(read()), daemon=True)
    thread.start()
    return thread, found


def recorded(api: Any, run_id: str) -> list[int]:
    """The numbers of the events of a run, as they are recorded."""
    return [event.seq for event in api.kit.store.events(run_id)]


# --- what is sent --------------------------------------------------------------------------


def test_events_come_while_the_run_goes_on(serve: Any, step: Any) -> None:
    """A client gets what is on record, then each event as it is committed, and the end with the run."""
    server = serve()
    api = server.api
    run_id = api.submit(step("add", params={"a": 1}), step("hold", depends_on=["add"])).json()["run_id"]
    thread, found = background(lambda: server.follow(run_id))
    until(lambda: "hold" in api.calls and api.router.following == 1)
    assert not found
    api.gate.set()
    thread.join(PATIENCE_S)
    sent: Sent = found[0]
    assert sent.ids == recorded(api, run_id)
    assert (sent.kinds[0], sent.kinds[-1]) == ("run.started", "run.finished")
    assert sent.data[-1]["payload"]["status"] == "success"
    assert [data["seq"] for data in sent.data] == sent.ids
    until(lambda: api.router.following == 0)


def test_what_a_slow_step_tells_is_sent_before_it_ends(serve: Any, step: Any) -> None:
    """Progress and decisions of a slow step come while it goes on, and heartbeats when nothing does."""
    server = serve()
    api = server.api
    run_id = api.submit(step("wait", params={"seconds": 60})).json()["run_id"]
    url = f"http://127.0.0.1:{server.port}/runs/{run_id}/events"
    sent = Sent()
    with httpx.stream("GET", url, timeout=PATIENCE_S) as answer:
        for line in answer.iter_lines():
            sent.take(line)
            if "still here" in sent.comments:
                break
    assert {"decision", "progress"} <= set(sent.kinds)
    assert api.ask("POST", f"/runs/{run_id}/cancel").status_code == 202
    assert api.until_over(run_id) == "cancelled"


def test_a_client_that_comes_back_gets_the_rest(serve: Any, step: Any) -> None:
    """From Last-Event-ID (or ``after``) on each event comes once; when none is left the answer is 204."""
    server = serve()
    api = server.api
    run_id = api.submit(step("add", params={"a": 1}), step("wait", depends_on=["add"])).json()["run_id"]
    api.until_over(run_id)
    everything = recorded(api, run_id)
    for place in range(len(everything) - 1):
        sent = server.follow(run_id, **{"Last-Event-ID": str(everything[place])})
        assert sent.ids == everything[place + 1 :]
    url = f"http://127.0.0.1:{server.port}/runs/{run_id}/events"
    assert httpx.get(url, headers={"Last-Event-ID": str(everything[-1])}).status_code == 204
    assert httpx.get(f"{url}?after={everything[-1]}").status_code == 204
    assert httpx.get(url, headers={"Last-Event-ID": "x"}).status_code == 422


def test_several_clients_follow_one_run(serve: Any, step: Any) -> None:
    """Each of several clients gets all events; they do not disturb each other."""
    server = serve()
    api = server.api
    run_id = api.submit(step("hold"), *(step("add", f"a{n}", params={"a": n}) for n in range(30))).json()[
        "run_id"
    ]
    clients = [background(lambda: server.follow(run_id)) for _ in range(6)]
    until(lambda: api.router.following == 6)
    api.gate.set()
    for thread, _ in clients:
        thread.join(PATIENCE_S)
    assert [found[0].ids for _, found in clients] == [recorded(api, run_id)] * 6


def test_a_long_record_is_sent_in_pages(serve: Any) -> None:
    """A run of very many events, long over, comes whole and in order."""
    server = serve()
    api = server.api
    builder = api.kit.workflow("long").add_map("add", list(range(300)), {"a": "${item}"})
    run_id = api.kit.run(builder.build(), durability="exit").run_id
    sent = server.follow(run_id)
    assert len(sent.ids) > 1000
    assert sent.ids == recorded(api, run_id)


# --- clients that misbehave ----------------------------------------------------------------


def test_a_client_that_goes_away_leaves_nothing_behind(serve: Any, step: Any) -> None:
    """When clients go away, before the first event or in the midst, nothing of them stays."""
    server = serve()
    api = server.api
    run_id = api.submit(step("hold")).json()["run_id"]
    listeners = len(api.kit.store.log._listeners)
    for reads in (False, True) * 5:
        client = server.client(run_id)
        if reads:
            assert b"text/event-stream" in client.recv(100_000)
        client.close()
    until(lambda: api.router.following == 0 and len(api.kit.store.log._listeners) == listeners)
    api.gate.set()
    assert api.until_over(run_id) == "success"


def test_a_slow_client_misses_nothing_and_holds_up_nobody(serve: Any, step: Any) -> None:
    """A client that does not read has a bounded buffer; the run ends without it; later it gets all of it."""
    server = serve(stream_buffer=5)
    api = server.api
    texts = {"step_id": "mail.send", "tool_name": "mail.send", "parameters": {"to": "${item}" + "x" * 5_000}}
    words = [f"w{n}" for n in range(150)]
    run_id = api.submit(step("hold"), {**texts, "over": words, "depends_on": ["hold"]}).json()["run_id"]
    client = server.client(run_id, receive_buffer=4096)
    until(lambda: api.router.following == 1)
    api.gate.set()
    with closing(client):
        assert api.until_over(run_id) == "success"  # whether or not the system has taken all of it by then
        text = b""
        while not text.endswith(b"0\r\n\r\n"):
            text += client.recv(65_536)
    ids = [
        int(line[4:]) for line in text.decode().replace("\r\n", "\n").split("\n") if line.startswith("id: ")
    ]
    assert ids == recorded(api, run_id)


def test_followers_keep_no_more_than_they_have_room_for() -> None:
    """The buffer of one who does not read stays as small as it is allowed to be, and the loss is told."""

    async def scenario() -> None:
        with MemoryStore() as store:
            commits = Commits(store)
            with commits.follow(lambda row: row[3] == "run_1", 3) as follower:
                for number in range(10):
                    store.record("audit", {"n": number}, run_id="run_1")
                    store.record("audit", {"n": number}, run_id="run_2")
                assert len(follower._rows) == 0
                assert await follower.next(1) is None
                store.record("audit", {"n": 10}, run_id="run_1")
                rows = await follower.next(1)
                assert rows is not None
                assert [json.loads(row[-1])["n"] for row in rows] == [10]
                assert await follower.next(0.001) == []
            assert commits.count == 0
            store.record("audit", {}, run_id="run_1")
            assert len(follower._rows) == 0

    asyncio.run(scenario())


def test_no_more_clients_than_allowed_follow(serve: Any, step: Any) -> None:
    """One client too many is 429 with Retry-After; when one has gone there is a place again."""
    server = serve(max_streams=1)
    api = server.api
    run_id = api.submit(step("hold")).json()["run_id"]
    client = server.client(run_id)
    until(lambda: api.router.following == 1)
    url = f"http://127.0.0.1:{server.port}/runs/{run_id}/events"
    refused = httpx.get(url)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    assert httpx.get(f"http://127.0.0.1:{server.port}/runs/run_0/events").status_code == 429
    client.close()
    until(lambda: api.router.following == 0)
    assert httpx.get(f"http://127.0.0.1:{server.port}/runs/run_0/events").status_code == 404
    assert api.router.following == 0


def test_a_submission_that_does_not_come_is_given_up(serve: Any) -> None:
    """A body that comes too slowly is 408; a client that goes away in the midst of one disturbs nothing."""
    server = serve(max_body_s=0.1)
    headers = ("Host: gateway", "Content-Type: application/json", "Content-Length: 50")
    head = "\r\n".join(("POST /workflows HTTP/1.1", *headers, "", "{")).encode()
    for waits in (True, False):
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as client:
            client.sendall(head)
            if waits:
                answer = b"".join(iter(lambda: client.recv(65_536), b""))  # until it is closed
                assert answer.startswith(b"HTTP/1.1 408 ")
                assert b"urn:orchkit:problem:request-too-slow" in answer
    assert httpx.get(f"http://127.0.0.1:{server.port}/tools").status_code == 200


# --- ends ----------------------------------------------------------------------------------


def test_a_server_that_stops_lets_its_clients_go(serve: Any, step: Any) -> None:
    """Closing the API ends its streams, so that the server stops at once; runs are not touched."""
    server = serve(heartbeat_s=60, poll_s=60)
    api = server.api
    run_id = api.submit(step("hold")).json()["run_id"]
    thread, found = background(lambda: server.follow(run_id))
    until(lambda: api.router._commits.count == 1)
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 4
    thread.join(PATIENCE_S)
    assert found[0].comments == ["the server stops"]
    assert api.ask("GET", f"/runs/{run_id}/events").status_code == 503
    api.gate.set()
    assert api.until_over(run_id) == "success"


def test_a_store_that_is_closed_ends_streams(serve: Any, step: Any) -> None:
    """When the kit is closed under them, streams end."""
    server = serve()
    api = server.api
    run_id = api.submit(step("hold")).json()["run_id"]
    thread, found = background(lambda: server.follow(run_id))
    until(lambda: api.router._commits.count == 1)
    api.kit.close()
    thread.join(PATIENCE_S)
    assert found
    assert "run.finished" not in found[0].kinds
    api.gate.set()


def run_elsewhere(path: str, ready: Any, go: Any) -> None:
    """A run in another process, which waits in the midst of it."""
    with ok.open(path, registry=Registry()) as kit:

        def pause() -> None:
            """Wait to be let on."""
            ready.set()
            go.wait(30)

        kit.registry.methods.register_method(pause)
        kit.run(kit.workflow("elsewhere").add_step("pause").build())


def test_runs_of_other_processes_are_followed(serve: Any, tmp_path: Path) -> None:
    """A run that goes on in another process on the same store is followed to its end."""
    path = tmp_path / "runs.duckdb"
    context = multiprocessing.get_context("spawn")
    ready, go = context.Event(), context.Event()
    other = context.Process(target=run_elsewhere, args=(str(path), ready, go))
    other.start()
    try:
        assert ready.wait(30)
        server = serve(ok.open(path, registry=Registry()))
        api = server.api
        run = api.ask("GET", "/runs").json()["runs"][0]
        assert (run["status"], run["cut_off"]) == ("running", False)
        thread, found = background(lambda: server.follow(run["run_id"]))
        until(lambda: api.router.following == 1)
        go.set()
        thread.join(PATIENCE_S)
        assert (found[0].kinds[0], found[0].kinds[-1]) == ("run.started", "run.finished")
    finally:
        go.set()
        other.join(30)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ('{"a":1}', {"a": 1}),
        ('{"a":NaN,"b":[Infinity]}', {"a": None, "b": [None]}),
        ('{\n"a": 1\r\n}', {"a": 1}),
        ('{"a":"\\n NaN \u2028"}', {"a": "\n NaN \u2028"}),
    ],
)
def test_an_event_is_always_one_line_of_json(payload: str, expected: dict[str, Any]) -> None:
    """Whatever stands in a record, the data of an event is one line that any client can parse."""
    text = told((7, 1, "odd\nkind", "run_1", None, None, payload))
    lines = text.split("\n")
    assert [line.partition(":")[0] for line in lines] == ["id", "event", "data", "", ""]
    assert json.loads(lines[2].removeprefix("data: "))["payload"] == expected
