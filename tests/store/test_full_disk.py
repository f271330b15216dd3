"""A disk that is really full: a small file system in memory, which is then made larger."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from orchkit.errors import StoreFullError
from orchkit.store.store import Store


def fill(store: Store, count: int, first: int = 0) -> None:
    """Append events that do not compress well."""
    rng = random.Random(first)
    for number in range(first, first + count):
        store.append("x", f'{{"n": {number}, "noise": "{rng.randbytes(400).hex()}"}}', run_id="run_1")


def numbers(store: Store) -> list[int]:
    """The numbers of the events, in order."""
    return [event.payload["n"] for event in store.events("run_1")]


def test_the_log_finds_no_space(disk: Any, open_store: Callable[..., Store]) -> None:
    """Every commit up to the full disk holds; what could not be written is written once there is room."""
    store = open_store(disk.folder / "runs.duckdb")
    commits: list[int] = []

    def commit_for_ever() -> None:
        while True:
            fill(store, 100, first=len(commits) * 100)
            store.commit()
            commits.append(100)

    with pytest.raises(StoreFullError, match="nothing acknowledged is lost"):
        commit_for_ever()
    acknowledged = sum(commits)
    assert acknowledged >= 1_000
    assert (store.log.pending, store.log.last_seq()) == (100, acknowledged)
    disk.grow()
    assert numbers(store) == list(range(acknowledged + 100))
    store.close()


def test_the_history_finds_no_space(disk: Any, open_store: Callable[..., Store]) -> None:
    """What fits into the log and not into the history stays in the log until there is room."""
    store = open_store(disk.folder / "runs.duckdb")
    fill(store, 2_000)
    store.commit()
    free = shutil.disk_usage(disk.folder).free
    (disk.folder / "other").write_bytes(bytes(free - 300_000))
    for _ in range(2):
        with pytest.raises(StoreFullError):
            store.ingest()
    assert len(store.log.read_after(0, 10_000)) == 2_000
    disk.grow()
    assert numbers(store) == list(range(2_000))
    store.close()
    again = open_store(disk.folder / "runs.duckdb")
    assert numbers(again) == list(range(2_000))
    again.close()
