"""A file is deleted or replaced: what is left is readable, what is lost is said, nothing is there twice."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from orchkit.errors import StoreError
from orchkit.store.store import Store

Process = subprocess.Popen[str]
Start = Callable[..., Process]
Finish = Callable[[Process], list[str]]
NextLine = Callable[[Process], str]

VISITOR = """
import sys, warnings
from orchkit.store.store import Store
warnings.simplefilter("ignore")
with Store(sys.argv[1]) as store:
    store.record("x", {}, run_id="run_visitor")
    print(*store.query("SELECT count(*), count(DISTINCT seq) FROM events")[0])
"""
# Works with the log until it is told to close, and once more in between.
NEIGHBOUR = """
import sys, warnings
from orchkit.store.store import Store
warnings.simplefilter("ignore")
store = Store(sys.argv[1])
store.record("x", {}, run_id="run_neighbour")
print("open", flush=True)
for line in sys.stdin:
    if line.strip() == "close":
        break
    store.record("x", {}, run_id="run_neighbour")
    print("recorded", flush=True)
store.close()
"""


def log_of(path: Path) -> Path:
    """The log of a store."""
    return path.with_name("runs.duckdb-log")


def write(store: Store, *numbers: int) -> None:
    """Record numbered events."""
    for number in numbers:
        store.record("x", {"n": number}, run_id="run_1")


def numbers(store: Store) -> list[int]:
    """Which of them are there, in order; and that no number of an event is there twice."""
    ((count, distinct),) = store.query("SELECT count(*), count(DISTINCT seq) FROM events")
    assert count == distinct
    return [event.payload["n"] for event in store.events("run_1")]


def left_behind(path: Path, start: Start) -> None:
    """A store whose process died: 3 events in the history (its write-ahead log, that is), 2 in the log."""
    code = """
import os, sys
from orchkit.store.store import Store
store = Store(sys.argv[1])
for number in range(5):
    store.record("x", {"n": number}, run_id="run_1")
    if number == 2:
        store.ingest()
os._exit(0)
"""
    assert start(code, path).wait() == 0


# --- the history ---------------------------------------------------------------------------


def test_the_history_is_deleted_and_its_write_ahead_log_is_left(path: Path, start: Start) -> None:
    """What was in the log is there; how much is missing is said; what was left of the old file is kept."""
    left_behind(path, start)
    path.unlink()
    with Store(path) as store:
        with (
            pytest.warns(UserWarning, match="cannot be read and were set aside"),
            pytest.warns(UserWarning, match="3 events are missing that had been moved into it, seq 1 to 3"),
        ):
            assert numbers(store) == [3, 4]
        write(store, 5)
    assert len(list(path.parent.glob("runs.duckdb.wal.damaged-*"))) == 1
    with Store(path) as store:
        assert numbers(store) == [3, 4, 5]


def test_the_history_is_deleted_while_it_is_open(
    path: Path, start: Start, finish: Finish, open_store: Callable[..., Store]
) -> None:
    """What is written from then on goes into a new one, here and in another process."""
    store = open_store()
    write(store, 0, 1)
    assert numbers(store) == [0, 1]
    assert store.history.is_open
    path.unlink()
    write(store, 2, 3)
    with pytest.warns(UserWarning, match="2 events are missing that had been moved into it, seq 1 to 2"):
        assert numbers(store) == [2, 3]
    assert finish(start(VISITOR, path)) == ["3 3"]
    write(store, 4)
    store.close()
    assert numbers(open_store()) == [2, 3, 4]


def test_the_history_is_deleted_in_the_middle_of_an_ingest(
    path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went into the file that is gone is still in the log, and goes into the next one."""
    write(store, 0, 1)
    harden = store.log.harden

    def delete(seq: int) -> None:
        harden(seq)
        path.unlink()

    with monkeypatch.context() as patch:
        patch.setattr(store.log, "harden", delete)
        store.ingest()
    assert len(store.log.read_after(0, 10)) == 2
    assert numbers(store) == [0, 1]
    assert store.log.read_after(0, 10) == []


def test_the_history_is_replaced_by_an_older_copy(path: Path, open_store: Callable[..., Store]) -> None:
    """It is used as it is; what it does not have is said."""
    with Store(path) as store:
        write(store, 0, 1)
        store.ingest()
    shutil.copy(path, path.with_name("copy"))
    store = open_store()
    write(store, 2)
    assert numbers(store) == [0, 1, 2]
    path.with_name("copy").replace(path)
    write(store, 3)
    with pytest.warns(UserWarning, match="1 event is missing that had been moved into it, seq 3 to 3"):
        assert numbers(store) == [0, 1, 3]


# --- the log -------------------------------------------------------------------------------


def test_the_log_is_deleted_with_events_in_it(path: Path, start: Start) -> None:
    """A new one goes on behind the history; what was left of the old one is kept, not taken for its own."""
    left_behind(path, start)
    log_of(path).unlink()
    with pytest.warns(
        UserWarning, match=r"-log was missing: .* after event 3 .* was kept as runs.duckdb-log-wal"
    ):
        store = Store(path)
    with store:
        write(store, 5)
        assert numbers(store) == [0, 1, 2, 5]
    (kept,) = path.parent.glob("runs.duckdb-log-wal.orphaned-*")
    assert kept.stat().st_size > 0


def test_the_log_is_deleted_while_it_is_open(path: Path, open_store: Callable[..., Store]) -> None:
    """Nothing can be recorded any more, which is said; closing saves all that only the log held."""
    store = open_store()
    write(store, 0)
    store.ingest()
    write(store, 1)
    store.put_state("kind", "key", {"a": 1})
    digest = store.put_blob('"large"')
    store.record("x", {"n": 2, "output": {"$blob": digest, "bytes": 7}}, run_id="run_1")
    log_of(path).unlink()
    for action in (
        lambda: write(store, 3),
        lambda: store.query("SELECT 1"),
        lambda: store.put_state("a", "b", {}),
    ):
        with pytest.raises(
            StoreError, match=r"was deleted or replaced .*: close the store and open it again"
        ):
            action()
    with pytest.warns(UserWarning, match=r"put into the one that is there now, with 3 events"):
        store.close()
    assert list(path.parent.glob("*orphaned*")) == []
    again = open_store()
    assert numbers(again) == [0, 1, 2, 3]
    assert again.events("run_1")[2].payload["output"] == "large"
    assert again.get_state("kind", "key") == (1, {"a": 1})


@pytest.mark.parametrize("also", [(), ("-wal", "-shm")], ids=["alone", "with all beside it"])
def test_the_log_is_deleted_while_others_open_it_too(
    path: Path,
    start: Start,
    next_line: NextLine,
    finish: Finish,
    open_store: Callable[..., Store],
    also: tuple[str, ...],
) -> None:
    """Who had it open, who comes meanwhile, and who comes later: all events are there once, in one order."""
    first = open_store()
    write(first, 0, 1)
    neighbour = start_with_input(start, path)
    next_line(neighbour)
    for suffix in ("", *also):
        log_of(path).with_name(f"runs.duckdb-log{suffix}").unlink()
    assert finish(start(VISITOR, path)) == ["1 1"]
    newcomer = start_with_input(start, path)  # works with the new log while the others let go of the old one
    next_line(newcomer)
    with pytest.warns(UserWarning, match="with 3 events that were not in the history yet"):
        first.close()
    tell(neighbour, "close")
    neighbour.wait()
    for _ in range(2):
        tell(newcomer, "record")
        next_line(newcomer)
    assert finish(start(VISITOR, path)) == ["8 8"]
    tell(newcomer, "close")
    newcomer.wait()
    store = open_store()
    assert numbers(store) == [0, 1]
    runs = "SELECT run_id, count(*) FROM events GROUP BY run_id ORDER BY run_id"
    assert store.query(runs) == [("run_1", 2), ("run_neighbour", 4), ("run_visitor", 2)]


def start_with_input(start: Start, path: Path) -> Process:
    """A neighbour that can be told what to do."""
    return start(NEIGHBOUR, path, stdin=subprocess.PIPE)


def tell(process: Process, what: str) -> None:
    """Say one line to a process."""
    assert process.stdin is not None
    process.stdin.write(f"{what}\n")
    process.stdin.flush()


def test_the_folder_is_deleted(tmp_path: Path) -> None:
    """There is no place where anything could be saved: closing says so, and lets go of everything."""
    folder = tmp_path / "gone"
    folder.mkdir()
    store = Store(folder / "runs.duckdb")
    write(store, 0)
    shutil.rmtree(folder)
    with pytest.raises(StoreError, match="was deleted or replaced"):
        write(store, 1)
    with pytest.raises(StoreError, match="unable to open"):
        store.close()
    assert store.log._file.closed
    assert not folder.exists()


def test_the_log_is_replaced_by_an_older_copy(path: Path, open_store: Callable[..., Store]) -> None:
    """Numbers that the history knows are not given again, and what gets them meanwhile is not lost."""
    with open_store() as store:
        write(store, 0, 1)
    shutil.copy(log_of(path), path.with_name("copy"))
    with open_store() as store:
        write(store, 2, 3, 4)
    path.with_name("copy").replace(log_of(path))
    stores = [open_store(), open_store()]
    threads = [threading.Thread(target=write, args=(store, 5, 6)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(numbers(stores[0])) == [0, 1, 2, 3, 4, 5, 5, 6, 6]
    write(stores[1], 7)
    assert numbers(stores[0])[-1] == 7


def test_an_older_log_with_nothing_in_it(path: Path, open_store: Callable[..., Store]) -> None:
    """Looking is enough to set its numbers right."""
    with open_store() as store:
        write(store, 0, 1)
    shutil.copy(log_of(path), path.with_name("copy"))
    with open_store() as store:
        write(store, 2)
    path.with_name("copy").replace(log_of(path))
    store = open_store()
    assert numbers(store) == [0, 1, 2]
    assert store.log.last_seq() == 3
