"""Casefiles keep what is linked to them, also when several write at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from orchkit.demo.casefiles import Casefile, CasefileStore
from orchkit.demo.mail import Message
from orchkit.errors import ParameterError, UnknownNameError
from orchkit.store.log import StateConflictError


class FakeState:
    """Small values with compare-and-set, in memory; ``before_put`` plays the others."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], tuple[int, dict[str, Any]]] = {}
        self.before_put: Callable[[], None] = lambda: None
        self.lock = threading.Lock()

    def put_state(
        self, kind: str, key: str, value: dict[str, Any], *, expect_version: int | None = None
    ) -> int:
        self.before_put()
        with self.lock:
            version = self.values.get((kind, key), (0, {}))[0]
            if expect_version is not None and version != expect_version:
                raise StateConflictError(kind, key, expect_version, version)
            self.values[kind, key] = (version + 1, value)
            return version + 1

    def get_state(self, kind: str, key: str) -> tuple[int, dict[str, Any]] | None:
        return self.values.get((kind, key))

    def list_state(self, kind: str) -> list[tuple[str, int, dict[str, Any]]]:
        return [(key, *found) for (its_kind, key), found in sorted(self.values.items()) if its_kind == kind]


@pytest.fixture
def state() -> FakeState:
    """An empty table."""
    return FakeState()


@pytest.fixture
def casefiles(state: FakeState) -> CasefileStore:
    """Casefiles on it."""
    return CasefileStore(state)


def test_a_casefile_comes_back_as_it_was_made(casefiles: CasefileStore) -> None:
    """Title, description and metadata are kept; the id is new, the time is UTC."""
    made = casefiles.create("Case", "about", {"priority": "high", "tags": ["a"]})
    assert casefiles.get(made.casefile_id) == made
    assert made.status == "open"
    assert made.created_at.utcoffset() is not None
    assert casefiles.create("Case").casefile_id != made.casefile_id


@pytest.mark.parametrize("title", ["", "  "])
def test_a_title_is_needed(casefiles: CasefileStore, title: str) -> None:
    """Nobody finds a case without a name again."""
    with pytest.raises(ParameterError, match="title: is empty"):
        casefiles.create(title)


def test_an_unknown_casefile_is_an_error_everywhere(casefiles: CasefileStore) -> None:
    """Linking to nothing must not create it."""
    calls: list[Callable[[], object]] = [
        lambda: casefiles.get("cf_x"),
        lambda: casefiles.link_session("cf_x", "ses_1"),
        lambda: casefiles.close("cf_x"),
        lambda: casefiles.store_messages("cf_x", []),
        lambda: casefiles.messages("cf_x"),
    ]
    for call in calls:
        with pytest.raises(UnknownNameError, match="unknown casefile 'cf_x'"):
            call()


def test_links_are_kept_once_and_in_order(casefiles: CasefileStore) -> None:
    """Linking again changes nothing, so a repeated step does no harm."""
    case = casefiles.create("Case").casefile_id
    for session in ("ses_1", "ses_2", "ses_1"):
        casefiles.link_session(case, session)
    casefiles.link_run(case, "run_1")
    found = casefiles.get(case)
    assert (found.session_ids, found.run_ids) == (("ses_1", "ses_2"), ("run_1",))


def test_cases_are_found_by_status(casefiles: CasefileStore) -> None:
    """Oldest first; a closed one is still there."""
    first, second = casefiles.create("one"), casefiles.create("two")
    casefiles.close(first.casefile_id)
    assert [case.title for case in casefiles.find()] == ["one", "two"]
    assert [case.title for case in casefiles.find("open")] == ["two"]
    assert casefiles.find("closed")[0].casefile_id == first.casefile_id
    assert second.status == "open"


def test_a_change_is_made_again_on_what_the_other_wrote(state: FakeState, casefiles: CasefileStore) -> None:
    """Both links survive when somebody else is faster between reading and writing."""
    case = casefiles.create("Case").casefile_id
    other = CasefileStore(state)
    pending = ["ses_other"]

    def interfere() -> None:
        if pending:
            other.link_session(case, pending.pop())

    state.before_put = interfere
    casefiles.link_session(case, "ses_own")
    assert set(casefiles.get(case).session_ids) == {"ses_other", "ses_own"}


def test_endless_conflicts_end_as_an_error(state: FakeState, casefiles: CasefileStore) -> None:
    """Somebody who always wins is a fault to report, not a reason to hang."""
    case = casefiles.create("Case").casefile_id

    def always_faster() -> None:
        version, value = state.values["casefile", case]
        state.values["casefile", case] = (version + 1, value)

    state.before_put = always_faster
    with pytest.raises(StateConflictError):
        casefiles.link_session(case, "ses_1")


def test_threads_lose_no_link(casefiles: CasefileStore) -> None:
    """Eight threads linking at once leave all their links."""
    case = casefiles.create("Case").casefile_id
    names = [f"ses_{number}" for number in range(8)]
    threads = [threading.Thread(target=casefiles.link_session, args=(case, name)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(casefiles.get(case).session_ids) == set(names)


def test_messages_are_stored_once(casefiles: CasefileStore, messages: list[Message]) -> None:
    """The number of new ones is returned; they come back equal, by date."""
    case, other = casefiles.create("Case").casefile_id, casefiles.create("Other").casefile_id
    assert casefiles.store_messages(case, messages[:10]) == 10
    assert casefiles.store_messages(case, messages) == 15
    stored = casefiles.messages(case)
    assert sorted(stored, key=lambda m: m.message_id) == sorted(messages, key=lambda m: m.message_id)
    dates = [message.date for message in stored if message.date]
    assert dates == sorted(dates)
    assert casefiles.messages(other) == []


def test_a_casefile_refuses_what_it_does_not_know() -> None:
    """A record written by a newer version is not read as if it were complete."""
    with pytest.raises(ValueError, match="owner"):
        Casefile.model_validate(
            {"casefile_id": "cf_1", "title": "t", "created_at": "2025-01-01T00:00:00Z", "owner": "x"}
        )
