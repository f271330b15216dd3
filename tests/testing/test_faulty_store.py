"""A store that fails at a chosen commit: at which, how, and what is left."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import orchkit as ok
from orchkit.model.state import fold
from orchkit.store.claims import Wanted
from orchkit.store.store import Store
from orchkit.testing import FaultyStore


@pytest.fixture
def faulty() -> Iterator[Callable[..., FaultyStore]]:
    """Makes faulty stores; all are closed at the end, whatever they say to it."""
    made: list[FaultyStore] = []

    def make(*args: Any, **options: Any) -> FaultyStore:
        made.append(FaultyStore(*args, **options))
        return made[-1]

    yield make
    for store in made:
        try:
            store.close()
        except ok.StoreError:
            store.close()


def note(store: Store, *numbers: int) -> None:
    """Append an event for each number."""
    for number in numbers:
        store.append("note", json.dumps({"n": number}))


def noted(store: Store) -> list[int]:
    """The numbers that are in the log, in order."""
    return [json.loads(row[6])["n"] for row in store.log.read_after(0, 1000)]


# --- when ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "failed", "written_by_then"),
    [
        ({}, [], []),
        ({"fail_before": 2}, [2], [1]),
        ({"fail_after": 2}, [2], [1, 2]),
        ({"fail_before": 2, "times": 2}, [2, 3], [1]),
        ({"fail_after": 2, "times": 2}, [2, 3], [1, 2, 3]),
        ({"fail_before": 4}, [4], [1, 2, 3]),
        ({"fail_before": 9}, [], []),
    ],
)
def test_the_chosen_commits_fail(
    faulty: Callable[..., FaultyStore], faults: dict[str, int], failed: list[int], written_by_then: list[int]
) -> None:
    """The n-th and as many as asked for; nothing or all is written then; in the end all is there once."""
    store = faulty(**faults)
    raised, after_last = [], []
    for number in range(1, 6):
        note(store, number)
        try:
            store.commit()
        except ok.StoreFullError as error:
            raised.append(f"commit {number}:" in str(error) and number)
            after_last = noted(store)
    assert (raised, after_last, store.commits) == (failed, written_by_then, 5)
    assert noted(store) == [1, 2, 3, 4, 5]


def test_what_could_not_be_written_waits_in_the_buffer(faulty: Callable[..., FaultyStore]) -> None:
    """As on a full disk: the next commit writes it, with the values and states that belong to it."""
    store = faulty(fail_before=1)
    digest = store.put_blob(json.dumps("large"))
    store.append("note", json.dumps({"value": {"$blob": digest, "bytes": 7}}), run_id="run_1")
    with pytest.raises(ok.StoreFullError, match="nothing of it was written"):
        store.commit()
    assert store.log.pending == 1
    store.commit()
    assert (store.log.pending, store.commits) == (0, 2)
    assert store.events("run_1")[0].payload == {"value": "large"}


def test_a_lost_acknowledgement_writes_nothing_twice(faulty: Callable[..., FaultyStore]) -> None:
    """What was written in spite of the error has left the buffer."""
    store = faulty(fail_after=1)
    note(store, 1)
    with pytest.raises(ok.StoreFullError, match="it was written"):
        store.commit()
    assert store.log.pending == 0
    store.commit()
    assert (noted(store), store.commits) == ([1], 1)


def test_a_state_fails_like_an_event(faulty: Callable[..., FaultyStore]) -> None:
    """Compare-and-set is a commit, too: before, nothing has changed; after, it has."""
    before, after = faulty(fail_before=1), faulty(fail_after=1)
    for store in (before, after):
        with pytest.raises(ok.StoreFullError):
            store.put_state("k", "a", {"n": 1})
    assert before.get_state("k", "a") is None
    assert after.get_state("k", "a") == (1, {"n": 1})


def test_a_claim_fails_like_an_event(faulty: Callable[..., FaultyStore]) -> None:
    """Before, the key is free; after, it is claimed by somebody who never heard of it, and is taken over."""
    wanted = Wanted(key="k", name="flow", fingerprint="f", input=None, ttl_us=10**9)
    verdicts = []
    for store in (faulty(fail_before=1), faulty(fail_after=1)):
        with pytest.raises(ok.StoreFullError):
            store.claims.acquire(wanted, "run_1")
        verdicts.append(store.claims.acquire(wanted, "run_2").verdict)
        assert store.commits == 2
    assert verdicts == ["execute", "take_over"]


# --- what counts ---------------------------------------------------------------------------


def test_commits_of_several_threads_count_once(faulty: Callable[..., FaultyStore]) -> None:
    """What all threads had appended goes in one transaction; the others find nothing to write."""
    store, ready = faulty(), threading.Barrier(8)

    def work(number: int) -> None:
        note(store, number)
        ready.wait(30)
        store.commit()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(noted(store)) == list(range(8))
    assert store.commits == 1


def test_only_what_somebody_waits_for_counts(faulty: Callable[..., FaultyStore], tmp_path: Path) -> None:
    """Opening, empty commits, known values, leases, moving to the history: none of them is a commit."""
    with Store(tmp_path / "runs.duckdb") as earlier:
        earlier.record("note", {"n": 0})
        earlier.put_state("k", "a", {})
    store = faulty(tmp_path / "runs.duckdb", fail_before=3)
    assert store.commits == 0
    digest = store.put_blob('"large"')
    store.commit()
    store.log.put_blob(digest, '"large"')
    store.commit()
    store.log.transact(lambda connection: (None, []))
    with pytest.raises(ok.StoreError, match="version 1"):
        store.put_state("k", "a", {}, expect_version=7)
    store.commit()
    assert store.commits == 1
    note(store, 1)
    assert store.query("SELECT count(*) FROM events") == [(2,)]
    store.ingest()
    assert store.commits == 2
    with pytest.raises(ok.StoreFullError, match="commit 3"):
        store.put_state("k", "b", {})


def test_a_commit_that_is_tried_twice_counts_once(faulty: Callable[..., FaultyStore]) -> None:
    """The store writes a text that SQLite refuses in a second try of its own: that is the same commit."""
    store = faulty(fail_before=2)
    store.append("note", json.dumps({"n": 1}), step_id="\ud800")
    store.commit()
    assert store.commits == 1
    note(store, 2)
    with pytest.raises(ok.StoreFullError, match="commit 2"):
        store.commit()


# --- how -----------------------------------------------------------------------------------


def test_the_error_is_the_one_that_was_asked_for(faulty: Callable[..., FaultyStore]) -> None:
    """Any `StoreError`, made from a message; something else is refused by name."""
    store = faulty(fail_before=1, error=lambda text: ok.StoreBusyError("runs.duckdb", text, 60.0))
    note(store, 1)
    with pytest.raises(ok.StoreBusyError, match="commit 1"):
        store.commit()
    wrong = faulty(fail_before=1, error=OSError)
    note(wrong, 1)
    with pytest.raises(TypeError, match="must make a StoreError"):
        wrong.commit()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fail_before": 0}, "fail_before counts from 1, got 0"),
        ({"kill_after": -1}, "kill_after counts from 1, got -1"),
        ({"fail_after": 1, "times": 0}, "times counts from 1, got 0"),
        ({"fail_before": 1, "kill_after": 2}, "one fault at a time, not fail_before and kill_after"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(options: dict[str, int], message: str) -> None:
    """Before anything is opened, naming what is wrong."""
    with pytest.raises(ValueError, match=message):
        FaultyStore(**options)  # type: ignore[arg-type]


KILLED = """
import sys
from orchkit.testing import FaultyStore

store = FaultyStore(sys.argv[1], **{sys.argv[2]: 2})
store.subscribe(lambda rows: print(len(rows), flush=True))
for number in range(3):
    store.record("note", {"n": number})
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to be killed by")
@pytest.mark.parametrize(("fault", "written"), [("kill_before", [0]), ("kill_after", [0, 1])])
def test_a_kill_is_a_real_one(tmp_path: Path, fault: str, written: list[int]) -> None:
    """By SIGKILL, before anybody hears of the commit, and on stderr it says why."""
    path = tmp_path / "runs.duckdb"
    command = [sys.executable, "-c", KILLED, str(path), fault]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-9, "1\n")
    assert "killed on purpose at commit 2" in done.stderr
    with Store(path) as store:
        assert noted(store) == written


# --- a workflow ----------------------------------------------------------------------------


def steps_and_end(store: Store) -> tuple[dict[str, str], str]:
    """The status of each step of the only run in the log, and its own."""
    ((run_id,),) = store.query("SELECT run_id FROM runs")
    state = fold(store.events(run_id))
    return {name: step.status for name, step in state.steps.items()}, state.status


@pytest.mark.parametrize("moment", ["fail_before", "fail_after"])
def test_a_workflow_on_a_disk_that_is_full_for_a_moment(
    faulty: Callable[..., FaultyStore], tmp_path: Path, moment: str
) -> None:
    """Whichever commit fails: the record is complete and true in the end, and no effect is missing on it."""
    total = None
    for number in range(1, 20):
        folder = tmp_path / str(number)
        folder.mkdir()
        store, done = faulty(folder / "runs.duckdb", **{moment: number}), []
        kit = ok.Kit(store)
        for name in "abc":
            kit.registry.methods.register_method(lambda done=done, name=name: done.append(name), name=name)
        flow = kit.workflow("chain").with_execution_mode("sequential")
        for name in "abc":
            flow.add_step(name)
        try:
            status = kit.run(flow.build()).status
        except ok.StoreFullError:
            status = "raised"
        store.commit()
        statuses, end = steps_and_end(store)
        assert end != "running"
        if status == "success":
            assert (end, done) == ("success", ["a", "b", "c"])
        assert {name for name, step in statuses.items() if step == "success"} <= set(done)
        store.close()
        if store.commits < number:
            total = number - 1
            break
    assert total is not None
    assert total >= 4
