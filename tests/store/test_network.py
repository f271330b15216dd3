"""Stores on network file systems: one process at a time, by the rollback journal."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orchkit.errors import StoreBusyError
from orchkit.store import filesystem, log
from orchkit.store.sqlite import SqliteFile
from orchkit.store.store import Store

OTHER = """
import sys
from pathlib import Path
from orchkit.errors import StoreBusyError
from orchkit.store.sqlite import SqliteFile
try:
    SqliteFile(Path(sys.argv[1]), alone=True, busy_timeout_s=0.2).close()
    print("mine")
except StoreBusyError as error:
    print(error)
"""


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every folder is on NFS."""
    monkeypatch.setattr(filesystem, "filesystem_of", lambda folder: filesystem.FileSystem("nfs4", "/"))


def other(path: Path) -> str:
    """What another process says that wants the file for itself."""
    done = subprocess.run(
        [sys.executable, "-c", OTHER, str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.mark.usefixtures("network")
def test_a_store_on_a_network_works_without_write_ahead_log(tmp_path: Path) -> None:
    """What is recorded is read back, also after closing; nothing of the write-ahead log is ever there."""
    path = tmp_path / "runs.duckdb"
    for round_ in (1, 2):
        with Store(path) as store:
            store.record("run.started", {"kind": "workflow", "name": f"w{round_}"}, run_id=f"run_{round_}")
            assert [row[0] for row in store.query("SELECT name FROM runs ORDER BY name")][-1] == f"w{round_}"
            names = {file.name for file in tmp_path.iterdir()}
            assert not {name for name in names if name.endswith(("-wal", "-shm"))}


@pytest.mark.usefixtures("network")
def test_it_serves_one_process_at_a_time(tmp_path: Path) -> None:
    """A second process is told why it has to wait, and gets the store when the first lets go."""
    path = tmp_path / "runs.duckdb"
    with Store(path) as store:
        store.record("run.started", {"kind": "workflow", "name": "w"}, run_id="run_1")
        assert "on a network file system a store serves one at a time" in other(tmp_path / "runs.duckdb-log")
    assert other(tmp_path / "runs.duckdb-log") == "mine"


def test_a_store_that_had_a_write_ahead_log_can_move_to_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that was local and is now mounted from elsewhere keeps its records."""
    path = tmp_path / "runs.duckdb"
    with Store(path) as store:
        store.record("run.started", {"kind": "workflow", "name": "before"}, run_id="run_1")
    monkeypatch.setattr(log, "on_network", lambda folder: True)
    with Store(path) as store:
        assert store.query("SELECT name FROM runs") == [("before",)]


def test_waiting_ends_with_an_error_that_says_why(tmp_path: Path) -> None:
    """Two handles on one file in one process meet the same rule."""
    first = SqliteFile(tmp_path / "log", alone=True)
    with pytest.raises(StoreBusyError, match="another process"):
        SqliteFile(tmp_path / "log", alone=True, busy_timeout_s=0.05)
    first.close()
