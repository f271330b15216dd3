"""Write-ahead logs that are damaged: what can be read stays, what cannot is kept and told."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from orchkit.store.sqlite import SqliteFile
from orchkit.store.store import Store

Start = Callable[..., subprocess.Popen[str]]
Damage = Callable[[Path], None]

# Commits 60 events one by one and moves the first 20, or all, to the history: 20 into its file, the others
# into its write-ahead log, ten at a time.
WRITE_AND_DIE = """
import os, sys
from orchkit.store import store
store.IDLE_S = 60.0
store = store.Store(sys.argv[1])
for number in range(60):
    store.record("x", {"n": number}, run_id="run_1")
    if number == 19:
        store.ingest()
        store.history.tend(0.0)  # closes it
    elif number % 10 == 9 and sys.argv[2] == "moved":
        store.ingest()
os._exit(0)
"""


@pytest.fixture(scope="module")
def graves(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What a process has left behind that died, in two ways."""
    folders = {where: tmp_path_factory.mktemp(where) for where in ("waiting", "moved")}
    for where, folder in folders.items():
        subprocess.run([sys.executable, "-c", WRITE_AND_DIE, folder / "runs.duckdb", where], check=True)
    return folders


@pytest.fixture
def dead(path: Path, graves: dict[str, Path]) -> Callable[[str], Path]:
    """A store whose process has died: 40 events ``waiting`` in its log, or ``moved`` to its history."""

    def dead_(where: str) -> Path:
        shutil.copytree(graves[where], path.parent, dirs_exist_ok=True)
        return path

    return dead_


class Reopened:
    """What is found in a store that was left behind."""

    def __init__(self, path: Path) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with Store(path) as store:
                for number in range(100, 103):
                    store.record("x", {"n": number}, run_id="run_1")
                events = store.events("run_1")
        self.said = [str(warning.message) for warning in caught]
        self.numbers = [event.payload["n"] for event in events]
        seqs = [event.seq for event in events]
        assert self.numbers[-3:] == [100, 101, 102], "what was written afterwards is not there"
        assert seqs == sorted(set(seqs)), "a number was given twice"
        self.old = self.numbers[:-3]
        assert self.old == list(range(len(self.old))), "something is missing in between"
        self.kept = sorted(file.name for file in path.parent.glob("*damaged*"))
        with Store(path) as store:  # nothing is said twice: warnings are errors here
            assert len(store.events("run_1")) == len(events)


def flip(file: Path, place: int) -> None:
    """Change one bit."""
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def commits(wal: Path) -> list[int]:
    """Where the frames of a SQLite log begin that end a commit."""
    data = wal.read_bytes()
    (page,) = struct.unpack(">I", data[8:12])
    found = []
    for place in range(32, len(data) - page - 23, page + 24):
        (size_after,) = struct.unpack(">I", data[place + 4 : place + 8])
        if data[place + 8 : place + 16] != data[16:24]:
            break
        if size_after:
            found.append(place)
    return found


def cut_in_the_last_commit(wal: Path) -> None:
    """The file ends within the last frame."""
    os.truncate(wal, commits(wal)[-1] + 1_000)


def add_garbage(wal: Path) -> None:
    """What no checksum fits is behind the last frame."""
    place = commits(wal)[-1] + 24 + 4_096
    wal.write_bytes(wal.read_bytes()[:place] + os.urandom(10_000))


def delete_index(wal: Path) -> None:
    """The shared memory is gone."""
    wal.with_name(wal.name.replace("-wal", "-shm")).unlink()


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        pytest.param(cut_in_the_last_commit, 59, id="cut off"),
        pytest.param(lambda wal: flip(wal, commits(wal)[-1] + 600), 59, id="last commit"),
        pytest.param(add_garbage, 60, id="garbage behind"),
        pytest.param(delete_index, 60, id="no index"),
        pytest.param(
            lambda wal: wal.with_name("runs.duckdb-log-shm").write_bytes(os.urandom(32_768)), 60, id="index"
        ),
    ],
)
def test_the_end_of_the_log(dead: Callable[[str], Path], damage: Damage, left: int) -> None:
    """Nothing but the last commit is lost: nobody can tell it from one that was not finished."""
    path = dead("waiting")
    damage(path.with_name("runs.duckdb-log-wal"))
    found = Reopened(path)
    assert (len(found.old), found.said, found.kept) == (left, [], [])


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        pytest.param(lambda wal: flip(wal, commits(wal)[-12] + 600), 60 - 12, id="in between"),
        pytest.param(lambda wal: flip(wal, 100), 20, id="first"),
        pytest.param(lambda wal: flip(wal, 17), 20, id="header"),
    ],
)
def test_a_damage_inside_the_log(dead: Callable[[str], Path], damage: Damage, left: int) -> None:
    """What was committed behind it cannot be read: that is said, and the file is kept as it was."""
    path = dead("waiting")
    wal = path.with_name("runs.duckdb-log-wal")
    damage(wal)
    before = wal.read_bytes()
    found = Reopened(path)
    assert len(found.old) == left
    (said,), (kept,) = found.said, found.kept
    assert "commits in its write-ahead log cannot be read, and are lost" in said
    assert kept in said
    assert (path.parent / kept).read_bytes() == before


def test_a_log_that_is_just_being_begun_anew(dead: Callable[[str], Path]) -> None:
    """SQLite says in its shared memory first that the file begins anew: nothing is lost in between."""
    wal = dead("waiting").with_name("runs.duckdb-log-wal")
    log = wal.with_name("runs.duckdb-log")
    with closing(SqliteFile(log)) as other:
        as_it_was = wal.read_bytes()
        with other.transaction(strict=False) as connection:
            numbers = connection.execute("SELECT count(*), max(seq) FROM event").fetchall()
        with closing(sqlite3.connect(log)) as third:
            assert third.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
        wal.write_bytes(as_it_was)  # where a process is between its two steps
        with closing(SqliteFile(log)) as late:  # warnings are errors here
            assert late.read("SELECT count(*), max(seq) FROM event") == numbers
    assert list(wal.parent.glob("*damaged*")) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda wal: flip(wal, commits(wal)[-12] + 600),
        lambda wal: wal.write_bytes(b""),
        lambda wal: wal.unlink(),
        cut_in_the_last_commit,
    ],
    ids=["in between", "emptied", "deleted", "cut off"],
)
@pytest.mark.filterwarnings("ignore:.*write-ahead log cannot be read")
def test_a_log_older_than_its_history(dead: Callable[[str], Path], damage: Damage) -> None:
    """It gives numbers that the history knows: what gets them is not taken for known, and thrown away."""
    path = dead("moved")
    damage(path.with_name("runs.duckdb-log-wal"))
    assert len(Reopened(path).old) == 60


def cut(wal: Path) -> None:
    """The file ends within its last transaction."""
    os.truncate(wal, wal.stat().st_size - 7)


@pytest.mark.parametrize(
    ("damage", "left", "said"),
    [
        pytest.param(
            cut, 50, "10 events are missing that had been moved into it, seq 51 to 60", id="cut off"
        ),
        pytest.param(
            lambda wal: os.truncate(wal, 10), 20, "40 events are missing", id="cut off at the start"
        ),
        pytest.param(lambda wal: flip(wal, -3), 50, "10 events are missing", id="last transaction"),
        pytest.param(lambda wal: flip(wal, 12), 20, "40 events are missing", id="header"),
        pytest.param(
            lambda wal: wal.write_bytes(b"x" * 5_000), 20, "40 events are missing", id="all garbage"
        ),
    ],
)
def test_a_damaged_history(dead: Callable[[str], Path], damage: Damage, left: int, said: str) -> None:
    """What its write-ahead log has before the damage stays; the missing is counted, the file kept."""
    path = dead("moved")
    wal = path.with_name("runs.duckdb.wal")
    damage(wal)
    before = wal.read_bytes()
    found = Reopened(path)
    assert len(found.old) == left
    assert said in found.said[-1]
    (kept,) = found.kept
    assert kept in found.said[-1]
    assert (path.parent / kept).read_bytes() == before


def test_garbage_behind_the_end_of_the_history(dead: Callable[[str], Path]) -> None:
    """It hides nothing."""
    path = dead("moved")
    with path.with_name("runs.duckdb.wal").open("ab") as file:
        file.write(bytes(3_000))
    found = Reopened(path)
    assert (len(found.old), found.said, found.kept) == (60, [], [])


def test_a_kill_before_the_damage_is_known(dead: Callable[[str], Path], start: Start) -> None:
    """A process that dies while it opens a damaged history leaves the copy that the next one speaks of."""
    path = dead("moved")
    wal = path.with_name("runs.duckdb.wal")
    cut(wal)
    before = wal.read_bytes()
    dies = """
import os, sys
from orchkit.store.store import Store
store = Store(sys.argv[1])
def die(connection):
    connection.execute("CHECKPOINT")
    os._exit(0)
store.history.verify = die
store.query("SELECT 1")
"""
    assert start(dies, path).wait() == 0
    assert not wal.exists() or wal.stat().st_size == 0
    found = Reopened(path)
    assert len(found.old) == 50
    (kept,) = found.kept
    assert kept in found.said[-1]
    assert (path.parent / kept).read_bytes() == before
