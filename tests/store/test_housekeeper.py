"""The background thread: ingests when it is quiet, looks after an open file, and says what goes wrong."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterator

import pytest

from orchkit.errors import StoreError
from orchkit.store import housekeeper
from orchkit.store.housekeeper import Housekeeper
from orchkit.store.store import Store

Until = Callable[[Callable[[], bool]], None]


class Jobs:
    """What a housekeeper is asked to do, counted."""

    def __init__(self) -> None:
        self.ingested = 0
        self.tended = 0
        self.open = False
        self.error: Exception | None = None
        self.keeper = Housekeeper(self.ingest, self.tend, quiet_s=0.02, idle_s=1.0)

    def ingest(self) -> int:
        self.ingested += 1
        if self.error is not None:
            raise self.error
        return 1

    def tend(self, idle_s: float) -> bool:
        self.tended += 1
        return self.open


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    """A housekeeper whose jobs are counted."""
    jobs = Jobs()
    yield jobs
    jobs.keeper.stop()


def test_no_thread_before_it_is_needed(jobs: Jobs) -> None:
    """A store that is only opened starts no thread; stopping without one is fine, also twice."""
    assert jobs.keeper._thread is None
    jobs.keeper.stop()
    jobs.keeper.stop()


def test_it_ingests_once_when_it_is_quiet(jobs: Jobs, until: Until) -> None:
    """Many requests in a row are one ingest, after they have stopped."""
    for _ in range(50):
        jobs.keeper.ingest_soon()
    until(lambda: jobs.ingested == 1)
    jobs.keeper.stop()
    assert jobs.ingested == 1


def test_it_does_not_wait_for_ever(jobs: Jobs, until: Until, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where requests never stop, it ingests all the same."""
    monkeypatch.setattr(housekeeper, "PATIENCE_S", 0.1)
    jobs.keeper._quiet_s = 60.0

    def asked_again() -> bool:
        jobs.keeper.ingest_soon()
        return jobs.ingested >= 2

    until(asked_again)


def test_it_looks_after_an_open_file_until_that_is_closed(jobs: Jobs, until: Until) -> None:
    """While a file is open it is tended about every 50 ms; afterwards the thread sleeps."""
    jobs.open = True
    jobs.keeper.watch_file()
    until(lambda: jobs.tended >= 3)
    jobs.open = False
    until(lambda: not jobs.keeper._file_open)
    tended = jobs.tended
    time.sleep(0.12)
    assert jobs.tended <= tended + 1


def test_a_file_that_is_opened_while_it_looks_is_not_forgotten(jobs: Jobs, until: Until) -> None:
    """A file that is opened just after the thread found none open is still looked after."""
    opened = threading.Event()

    def tend(idle_s: float) -> bool:
        jobs.tended += 1
        if not opened.is_set():
            opened.set()
            jobs.keeper.watch_file()  # by another thread, just now
        return False

    jobs.keeper._tend = tend
    jobs.keeper.watch_file()
    until(lambda: jobs.tended == 2)


def test_what_goes_wrong_is_said_and_does_not_end_it(
    jobs: Jobs, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ingest that fails in the background is a warning; the next one is tried again."""
    said: list[str] = []
    monkeypatch.setattr(warnings, "warn", lambda text, **more: said.append(text))
    jobs.error = StoreError("held by somebody")
    jobs.keeper.ingest_soon()
    until(lambda: len(said) == 1)
    jobs.error = None
    jobs.keeper.ingest_soon()
    until(lambda: jobs.ingested == 2)
    assert "held by somebody" in said[0]


def test_a_store_moves_its_events_by_itself(store: Store, until: Until) -> None:
    """After ingest_soon the events get into the history without anybody reading."""
    store.record("x", {})
    store.ingest_soon()
    until(lambda: store.log.read_after(0, 1) == [])


@pytest.mark.parametrize("use", ["ingest", "query", "background"])
def test_a_store_gives_its_file_back(store: Store, until: Until, use: str) -> None:
    """However the history came to be opened: when nobody uses it, it is closed again."""
    store.record("x", {})
    {"ingest": store.ingest, "query": lambda: store.query("SELECT 1"), "background": store.ingest_soon}[use]()
    until(lambda: store.history.is_open)
    assert store.holder() is not None
    until(lambda: not store.history.is_open)
    until(lambda: store.holder() is None)
