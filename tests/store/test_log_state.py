"""Small durable values with compare-and-set, across store objects and processes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchkit.store.log import SqliteLog, StateConflictError
from orchkit.store.store import Store

COUNT_UP = """
import sys
from orchkit.store.log import StateConflictError
from orchkit.store.store import Store
with Store(sys.argv[1]) as store:
    lost = 0
    for _ in range(int(sys.argv[2])):
        while True:
            found = store.get_state("counter", "c")
            version, value = found if found else (0, {"n": 0})
            try:
                store.put_state("counter", "c", {"n": value["n"] + 1}, expect_version=version)
                break
            except StateConflictError:
                lost += 1
print(lost)
"""


def test_a_value_is_read_back_with_its_version(store: Store) -> None:
    """Every change of a value counts its version up from 1; what was never set is None."""
    assert store.get_state("session", "s_1") is None
    assert store.put_state("session", "s_1", {"user": "ä", "n": [1, None]}) == 1
    assert store.get_state("session", "s_1") == (1, {"user": "ä", "n": [1, None]})
    assert store.put_state("session", "s_1", {}) == 2
    assert store.get_state("session", "s_1") == (2, {})


def test_values_of_a_kind_are_listed_by_key(store: Store) -> None:
    """All values of one kind, in order of their keys, and no others."""
    for kind, key in (("a", "2"), ("b", "x"), ("a", "1"), ("a", "10")):
        store.put_state(kind, key, {"key": key})
    assert store.list_state("a") == [("1", 1, {"key": "1"}), ("10", 1, {"key": "10"}), ("2", 1, {"key": "2"})]
    assert store.list_state("c") == []


@pytest.mark.parametrize(("expect", "found"), [(0, 2), (1, 2), (3, 2)])
def test_an_unexpected_version_changes_nothing(store: Store, expect: int, found: int) -> None:
    """Compare-and-set with another version than the one there is an error that tells both, and no change."""
    store.put_state("k", "a", {"n": 1})
    store.put_state("k", "a", {"n": 2})
    with pytest.raises(StateConflictError, match=f"version {found}, not {expect}") as caught:
        store.put_state("k", "a", {"n": 3}, expect_version=expect)
    assert (caught.value.expected, caught.value.found) == (expect, found)
    assert store.get_state("k", "a") == (2, {"n": 2})


def test_only_one_creates(store: Store, open_store: Callable[..., Store]) -> None:
    """Of two stores that expect that there is nothing yet, one gets its value in."""
    other = open_store()
    assert store.put_state("k", "a", {"by": 1}, expect_version=0) == 1
    with pytest.raises(StateConflictError):
        other.put_state("k", "a", {"by": 2}, expect_version=0)
    assert other.put_state("k", "a", {"by": 2}, expect_version=1) == 2
    assert store.get_state("k", "a") == (2, {"by": 2})


def test_processes_that_count_together_lose_nothing(
    path: Path,
    start: Callable[..., subprocess.Popen[str]],
    finish: Callable[[subprocess.Popen[str]], list[str]],
    open_store: Callable[..., Store],
) -> None:
    """Three processes that each add 50 by compare-and-set come to 150, however often they collide."""
    processes = [start(COUNT_UP, path, 50) for _ in range(3)]
    for process in processes:
        finish(process)
    assert open_store().get_state("counter", "c") == (150, {"n": 150})


@given(st.lists(st.tuples(st.sampled_from("ab"), st.none() | st.integers(0, 3)), max_size=12))
@settings(max_examples=60)
def test_versions_behave_like_a_model(operations: list[tuple[str, int | None]]) -> None:
    """Any sequence of changes, expected or not, leaves what a plain dict of versions would hold."""
    log = SqliteLog(None)
    model: dict[str, tuple[int, int]] = {}
    for number, (key, expect) in enumerate(operations):
        version = model.get(key, (0, 0))[0]
        if expect is not None and expect != version:
            with pytest.raises(StateConflictError):
                log.put_state("k", key, {"n": number}, expect_version=expect)
        else:
            assert log.put_state("k", key, {"n": number}, expect_version=expect) == version + 1
            model[key] = (version + 1, number)
    assert log.list_state("k") == [(key, model[key][0], {"n": model[key][1]}) for key in sorted(model)]
    log.close()
