"""Sessions: found or made once, linked, tracked, closed; also from two processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchkit.engine.sessions import SessionOrchestrator
from orchkit.errors import UnknownNameError
from orchkit.model.request import Response
from orchkit.store.store import Store


@pytest.fixture
def sessions(lab: Any) -> SessionOrchestrator:
    """The sessions of a lab."""
    found: SessionOrchestrator = lab.orchestrator.sessions
    return found


def find(sessions: SessionOrchestrator, user_id: str, casefile_id: str | None = None) -> str:
    """The id of the session that is found or created."""
    return asyncio.run(sessions.find_or_create_session(user_id, casefile_id)).session_id


def view(lab: Any) -> list[tuple[Any, ...]]:
    """The rows of the view; ids made within the same millisecond have no order."""
    rows = lab.store.query("SELECT session_id, user_id, casefile_id, status, executions FROM sessions")
    return sorted(rows)


def test_the_open_session_of_a_user_is_found_again(sessions: SessionOrchestrator) -> None:
    """The same user and casefile give the same session; another of either gives another one."""
    first = find(sessions, "u_1", "cf_1")
    assert find(sessions, "u_1", "cf_1") == first
    others = [find(sessions, "u_1"), find(sessions, "u_2", "cf_1"), find(sessions, "u_1", "cf_2")]
    assert len({first, *others}) == 4
    assert find(sessions, "u_1") == others[0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a", "b"), ("a\nb", None)),
        (("a", None), ("a", "")),
        (("a", "null"), ("a", None)),
        (("a,b", "c"), ("a", "b,c")),
    ],
)
def test_different_users_and_casefiles_never_share_a_session(
    sessions: SessionOrchestrator, one: tuple[str, str | None], other: tuple[str, str | None]
) -> None:
    """Whatever characters their ids have."""
    assert find(sessions, *one) != find(sessions, *other)
    assert find(sessions, *one) == find(sessions, *one)


def test_a_closed_session_is_not_found(sessions: SessionOrchestrator, lab: Any) -> None:
    """A new one takes its place; closing it again changes nothing."""
    first = find(sessions, "u_1")
    closed = sessions.close_session(first)
    assert (closed.status, closed.closed_us is not None) == ("closed", True)
    assert sessions.close_session(first) == closed
    second = find(sessions, "u_1")
    assert second != first
    assert find(sessions, "u_1") == second
    assert view(lab) == sorted([(first, "u_1", None, "closed", 0), (second, "u_1", None, "open", 0)])
    assert len(lab.events(None, "session.closed")) == 1


def test_a_linked_session_is_found_at_its_casefile(sessions: SessionOrchestrator, lab: Any) -> None:
    """And no longer without it; linking twice is linking once."""
    first = find(sessions, "u_1")
    linked = asyncio.run(sessions.link_session_to_casefile(first, "cf_1"))
    assert linked.casefile_id == "cf_1"
    assert asyncio.run(sessions.link_session_to_casefile(first, "cf_1")) == linked
    assert find(sessions, "u_1", "cf_1") == first
    assert find(sessions, "u_1") != first
    assert len(lab.events(None, "session.linked")) == 1
    assert (first, "u_1", "cf_1", "open", 0) in view(lab)


def test_linking_does_not_take_the_place_of_an_open_session(sessions: SessionOrchestrator) -> None:
    """The session that was there first stays the one that is found."""
    there = find(sessions, "u_1", "cf_1")
    asyncio.run(sessions.link_session_to_casefile(find(sessions, "u_1"), "cf_1"))
    assert find(sessions, "u_1", "cf_1") == there


def test_executions_are_on_the_history_of_a_session(sessions: SessionOrchestrator, lab: Any) -> None:
    """Tracked by hand or by the hook; the view counts both."""
    session_id = find(sessions, "u_1")
    asyncio.run(sessions.track_execution(session_id, "mail.send", "success"))
    asyncio.run(sessions.track_execution(session_id, "mail.read", Response("mail.read", "failed")))
    lab.tool(lambda: 1, name="work")
    lab.dispatch("work", session_id=session_id)
    lab.execute(lab.flow().add_step("work"), session_id=session_id)
    history = [(e.payload["operation"], e.payload["status"]) for e in lab.events(None, "session.execution")]
    assert history == [
        ("mail.send", "success"),
        ("mail.read", "failed"),
        ("work", "success"),
        ("work", "success"),
    ]
    assert view(lab) == [(session_id, "u_1", None, "open", 4)]


@pytest.mark.parametrize("action", ["get_session", "close_session", "link", "track"])
def test_an_unknown_session_is_an_error_with_suggestions(sessions: SessionOrchestrator, action: str) -> None:
    """The error names sessions that are spelt nearly like it."""
    known = find(sessions, "u_1")
    wrong = known[:-1] + ("0" if known[-1] != "0" else "1")
    actions: dict[str, Any] = {
        "get_session": lambda: sessions.get_session(wrong),
        "close_session": lambda: sessions.close_session(wrong),
        "link": lambda: asyncio.run(sessions.link_session_to_casefile(wrong, "cf_1")),
        "track": lambda: asyncio.run(sessions.track_execution(wrong, "x", "success")),
    }
    with pytest.raises(UnknownNameError, match=f"unknown session '{wrong}'; did you mean '{known}'"):
        actions[action]()


def test_sessions_can_be_listed(sessions: SessionOrchestrator, lab: Any) -> None:
    """All of them in order of creation, or those of a user or status."""
    made = []
    for user_id, casefile_id in (("a", None), ("b", "c"), ("a", "d")):
        made.append(sessions.create_session(user_id, casefile_id))
        lab.clock.advance(1)
    sessions.close_session(made[0].session_id)
    listed = sessions.service.list_sessions
    assert [session.session_id for session in listed()] == [session.session_id for session in made]
    assert [session.casefile_id for session in listed(user_id="a")] == [None, "d"]
    assert [session.user_id for session in listed(status="open")] == ["b", "a"]
    assert sessions.get_session(made[1].session_id) == made[1]


def test_threads_that_ask_at_the_same_time_get_one_session(sessions: SessionOrchestrator, lab: Any) -> None:
    """One of them creates it, the others find it; what they created in vain is closed."""

    async def main() -> set[str]:
        ask = [asyncio.to_thread(find, sessions, "u_1", "cf_1") for _ in range(20)]
        return set(await asyncio.gather(*ask))

    (session_id,) = asyncio.run(main())
    open_ones = sessions.service.list_sessions(user_id="u_1", status="open")
    assert [session.session_id for session in open_ones] == [session_id]


PROCESS = """
import asyncio, sys
from orchkit.engine.sessions import SessionOrchestrator
from orchkit.store.store import Store

with Store(sys.argv[1]) as store:
    sessions = SessionOrchestrator(store)
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(20):
        print(asyncio.run(sessions.find_or_create_session("u_1", f"cf_{n}")).session_id)
"""


def test_processes_that_ask_at_the_same_time_get_one_session(tmp_path: Path) -> None:
    """Of two processes over one store both see the same session for each casefile."""
    path = tmp_path / "runs.duckdb"
    command = [sys.executable, "-c", PROCESS, str(path)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=180)[0].split() for process in processes]
    assert outputs[0] == outputs[1]
    assert len(set(outputs[0])) == 20
    with Store(path) as store:
        rows = store.query("SELECT session_id FROM sessions WHERE status = 'open' ORDER BY casefile_id")
    assert sorted(row[0] for row in rows) == sorted(outputs[0])
