"""What `doctor` says of a store that it never opens as one."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import time
import tomllib
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest
from rich.console import Console
from typer.testing import CliRunner

import orchkit as ok
from orchkit.cli import storefacts
from orchkit.cli.app import app
from orchkit.cli.installation import EXTRAS, PACKAGES
from orchkit.cli.place import log_of
from orchkit.cli.storefacts import facts_of
from orchkit.store.filesystem import FileSystem
from orchkit.store.schema import migrations

LOG, HISTORY = (migrations(name)[-1][0] for name in ("log", "history"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store could be."""
    return tmp_path / "runs.duckdb"


@pytest.fixture
def store(path: Path) -> Path:
    """The path of a store with one recorded event in its history."""
    with ok.open(path) as kit:
        kit.store.record("audit", {"note": "hello"})
    return path


def test_what_is_not_there_is_not_made(path: Path) -> None:
    """Without a store there is still something to say of its place; the folder stays empty."""
    facts = facts_of(path)
    assert (facts.exists, facts.problems, facts.log_schema, facts.history_bytes) == (False, [], None, None)
    assert facts.free_bytes is not None
    assert list(path.parent.iterdir()) == []


def test_a_store_at_rest(store: Path) -> None:
    """Sizes, schema versions, nothing waiting, nobody in it; looking leaves no files behind."""
    before = sorted(store.parent.iterdir())
    facts = facts_of(store)
    assert facts.exists
    assert (facts.history_bytes or 0) > 0
    assert (facts.log_bytes or 0) > 0
    assert (facts.log_schema, facts.history_schema) == (LOG, HISTORY)
    assert (facts.waiting_events, facts.holder, facts.problems) == (0, None, [])
    assert sorted(store.parent.iterdir()) == before


def test_events_that_wait_are_counted_while_others_write(store: Path) -> None:
    """What is committed to the log and not yet in the history is seen from outside."""
    with ok.open(store) as kit:
        for _ in range(3):
            kit.store.record("audit", {})
        assert facts_of(store).waiting_events == 3


def test_a_log_alone_is_a_store(path: Path) -> None:
    """A process that was killed before anything was read leaves a log and no history."""
    kit = ok.open(path)
    kit.store.record("audit", {})
    for part in path.parent.iterdir():
        shutil.copy(part, path.parent / part.name.replace("runs", "copy"))
    kit.close()
    facts = facts_of(path.with_name("copy.duckdb"))
    assert (facts.exists, facts.history_bytes, facts.waiting_events) == (True, None, 1)


def _lease(store: Path, pid: int, host: str, seconds: float) -> None:
    expires = time.time_ns() // 1000 + int(seconds * 1e6)
    with sqlite3.connect(log_of(store)) as connection:
        connection.execute("INSERT INTO lease VALUES ('history', 'o', ?, ?, ?, NULL)", (pid, host, expires))
    connection.close()


@pytest.mark.parametrize(
    ("pid", "host", "seconds", "alive"),
    [
        (os.getpid(), socket.gethostname(), 10, True),
        (os.getpid(), socket.gethostname(), -10, False),
        (2**22 + 1, socket.gethostname(), 10, False),
        (2**22 + 1, "elsewhere", 10, True),
    ],
    ids=["alive", "lease over", "dead", "another machine"],
)
def test_who_has_the_history(store: Path, pid: int, host: str, seconds: float, alive: bool) -> None:
    """The holder of the lease, and whether it can still be one; while it is, nobody looks inside."""
    _lease(store, pid, host, seconds)
    facts = facts_of(store)
    assert facts.holder is not None
    assert (facts.holder.pid, facts.holder.host, facts.holder_alive) == (pid, host, alive)
    assert facts.history_schema == (None if alive else HISTORY)


def test_a_store_of_a_newer_orchkit_is_a_problem(store: Path) -> None:
    """Schema versions that this orchkit does not know are named, for log and history."""
    with sqlite3.connect(log_of(store)) as log:
        log.execute("PRAGMA user_version = 98")
    log.close()
    with duckdb.connect(str(store)) as history:
        history.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")
    assert facts_of(store).problems == [
        f"the log has schema version 98, this orchkit reads up to {LOG}: upgrade it",
        f"the history has schema version 99, this orchkit reads up to {HISTORY}: upgrade it",
    ]


@pytest.mark.parametrize(("name", "part"), [("runs.duckdb", "history"), ("runs.duckdb-log", "log")])
def test_a_damaged_file_is_a_problem(path: Path, name: str, part: str) -> None:
    """A file that is none of ours is said to be unreadable, with the reason, and the exit code tells."""
    (path.parent / name).write_bytes(b"not a database at all" * 500)
    (problem,) = facts_of(path).problems
    assert f"the {part} " in problem
    assert "cannot be read" in problem
    assert CliRunner().invoke(app, ["doctor", "--store", str(path)]).exit_code == 1


def test_a_place_where_no_store_can_be(tmp_path: Path) -> None:
    """A folder instead of a file, and a folder that is not there."""
    assert "is a folder" in facts_of(tmp_path).problems[0]
    assert "does not exist" in facts_of(tmp_path / "none" / "runs.duckdb").problems[0]


def test_network_file_systems_and_full_disks_are_warned_of(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both lead to trouble later, so they are said before."""
    monkeypatch.setattr(storefacts, "filesystem_of", lambda folder: FileSystem("nfs4", "/home"))
    monkeypatch.setattr(
        storefacts, "shutil", SimpleNamespace(disk_usage=lambda folder: SimpleNamespace(free=5_000_000))
    )
    network, space = facts_of(path).warnings
    assert network.startswith("nfs4 is a network file system")
    assert space == "only 5 MB are free on the disk of the store"


# --- what is installed -----------------------------------------------------------------------


def test_the_lists_of_packages_are_those_of_the_project(repository: Path) -> None:
    """`doctor` knows every dependency and every extra that the package has."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [requirement.partition(">=")[0] for requirement in project["dependencies"]]
    assert list(PACKAGES) == names
    extras = {
        extra: tuple(requirement.partition(">=")[0].partition("[")[0] for requirement in requirements)
        for extra, requirements in project["optional-dependencies"].items()
        if extra != "all"
    }
    assert {extra.name: extra.packages for extra in EXTRAS} == extras


def test_a_report_fits_the_screen(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All four parts are there and no line is wider than 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    answer = CliRunner().invoke(app, ["doctor", "--store", str(store)])
    assert answer.exit_code == 0
    lines = answer.stdout.splitlines()
    assert [line for line in lines if line and not line.startswith(" ")] == [
        "Installation",
        "Extras",
        "Pictures",
        "Store",
    ]
    assert all(len(line) <= Console(width=80).width for line in lines)
