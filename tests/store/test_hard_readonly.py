"""Where a store cannot write, and stores of a newer orchkit: told clearly, left as they are."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from orchkit.errors import StoreError, StoreVersionError
from orchkit.store.schema import migrations
from orchkit.store.store import Store

Start = Callable[..., subprocess.Popen[str]]

DIE = """
import os, sys
from orchkit.store.store import Store
store = Store(sys.argv[1])
for number in range(3):
    store.record("x", {"n": number}, run_id="run_1")
    if number == 1 and sys.argv[2] == "both":
        store.ingest()
os._exit(0)
"""
# What an account finds that may not write everywhere.
OTHER_ACCOUNT = """
import os, sys
import duckdb, numpy
from orchkit.errors import StoreError
from orchkit.store.store import Store
with Store() as store:
    store.query("SELECT 1")  # all is imported that this account might not be allowed to read
os.setgid(65534)
os.setuid(65534)
try:
    with Store(sys.argv[1]) as store:
        store.query("SELECT 1")
except StoreError as error:
    print(error)
"""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def read_only(disk: Any) -> Iterator[Callable[[], None]]:
    """Makes the small disk one that cannot be written."""

    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", disk.folder], check=True)

    yield lambda: remount("ro")
    remount("rw")


@pytest.mark.parametrize("state", ["empty", "closed", "log", "both"])
def test_a_read_only_disk(
    disk: Any,
    read_only: Callable[[], None],
    start: Start,
    tmp_path_factory: pytest.TempPathFactory,
    state: str,
) -> None:
    """The error says what to do, which works; nothing is changed."""
    path = disk.folder / "runs.duckdb"
    if state == "closed":
        with Store(path) as store:
            for number in range(3):
                store.record("x", {"n": number}, run_id="run_1")
    elif state != "empty":
        assert start(DIE, path, state).wait() == 0
    before = contents(disk.folder)
    read_only()
    with pytest.raises(
        StoreError, match=r"cannot be written .*: copy the files whose names begin with runs.duckdb "
    ):
        Store(path)
    assert contents(disk.folder) == before
    own = tmp_path_factory.mktemp("own")
    for file in disk.folder.glob("runs.duckdb*"):
        shutil.copy(file, own)
    with Store(own / "runs.duckdb") as store:
        assert len(store.events("run_1")) == (0 if state == "empty" else 3)


@pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can become somebody else"
)
@pytest.mark.parametrize(
    ("locked", "culprit"),
    [
        (["."], "runs.duckdb-log"),
        (["runs.duckdb-log"], "runs.duckdb-log"),
        (["runs.duckdb"], "runs.duckdb"),
        (["runs.duckdb", "runs.duckdb-log"], "runs.duckdb-log"),
    ],
)
def test_an_account_that_may_not_write(start: Start, locked: list[str], culprit: str) -> None:
    """Whichever of the files or the folder it is: the error names it and says what to do."""
    folder = Path(tempfile.mkdtemp())  # those of pytest are for one account
    try:
        path = folder / "runs.duckdb"
        with Store(path) as store:
            store.record("x", {}, run_id="run_1")
            store.ingest()
        for file in (folder, *folder.iterdir()):
            file.chmod(0o777)
        for name in locked:
            (folder / name).chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", OTHER_ACCOUNT, path], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith(f"{folder / culprit} cannot be written (")
        assert "copy the files" in done.stdout
    finally:
        shutil.rmtree(folder)


def newer_log(path: Path) -> None:
    """Somebody with a newer orchkit has used the log."""
    with closing(sqlite3.connect(path.with_name("runs.duckdb-log"))) as connection:
        connection.execute("PRAGMA user_version=99")


def newer_history(path: Path) -> None:
    """Somebody with a newer orchkit has used the history."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")


@pytest.mark.parametrize(("make", "part"), [(newer_log, "log"), (newer_history, "history")])
def test_a_newer_schema(path: Path, make: Callable[[Path], None], part: str) -> None:
    """The error names the file and both versions; the file is left as it is, byte for byte."""
    with Store(path) as store:
        store.record("x", {}, run_id="run_1")
    make(path)
    before = contents(path.parent)
    newest = migrations(part)[-1][0]
    culprit = "runs.duckdb-log" if part == "log" else "runs.duckdb"
    message = f"{culprit} has schema version 99, this orchkit reads up to {newest}: upgrade orchkit"
    for _ in range(2):
        with pytest.raises(StoreVersionError, match=message) as caught:
            look(path)
        assert (caught.value.found, caught.value.supported) == (99, newest)
        after = contents(path.parent)
        assert after[culprit] == before[culprit]
        assert sorted(after) == sorted(before)
    if part == "log":
        assert after == before


def look(path: Path) -> None:
    """Open a store and read."""
    with Store(path) as store:
        store.query("SELECT 1")


def test_a_newer_history_beside_no_log(path: Path) -> None:
    """It is refused before anything is written beside it."""
    look(path)
    newer_history(path)
    path.with_name("runs.duckdb-log").unlink()
    before = contents(path.parent)
    with pytest.raises(StoreVersionError):
        Store(path)
    assert contents(path.parent) == before
