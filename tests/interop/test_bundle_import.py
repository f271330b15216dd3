"""What a store has after imports: once, whole, and never a run that seems to go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import orchkit as ok
from orchkit.analysis.facts import Facts
from orchkit.errors import BundleError, ExecutionError, StoreFullError
from orchkit.interop.bundle import import_run, read_manifest
from orchkit.store.process import this_process
from orchkit.store.store import Store
from orchkit.testing import FakeClock, FaultyStore, MemoryStore

Open = Callable[..., ok.Kit]
Row = tuple[str, str, str | None, dict[str, Any]]

HERE = this_process().facts
"""The process of this test, which is alive, is what a foreign run says that it runs in."""
START: Row = ("run.started", "run_1", None, {"kind": "workflow", "name": "etl", **HERE})
BEGUN: list[Row] = [
    START,
    ("step.scheduled", "run_1", "load", {"name": "load", "node_type": "workflow", "input": {}}),
    ("run.started", "run_2", None, {"kind": "workflow", "name": "sub", "parent_run_id": "run_1", **HERE}),
    ("attempt.started", "run_2", "read", {}),
    ("decision", "run_1", "load", {"point": "p", "decision": "d"}),
]
REST: list[Row] = [
    ("run.finished", "run_2", None, {"status": "success"}),
    ("step.finished", "run_1", "load", {"status": "success", "name": "load", "started_us": 1}),
    ("run.finished", "run_1", None, {"status": "success"}),
]

IMPORT = """
import sys
from orchkit.interop.bundle import import_run
from orchkit.store.store import Store
from orchkit.testing import FaultyStore
path, file, fault = sys.argv[1:]
with (FaultyStore(path, **{fault: 1}) if fault else Store(path)) as store:
    print(import_run(store, file))
"""


def fill(store: Store, rows: list[Row]) -> None:
    """Put these events on record."""
    for kind, run_id, step_id, payload in rows:
        attempt = 1 if kind.startswith("attempt") else None
        store.append(kind, json.dumps(payload), run_id=run_id, step_id=step_id, attempt=attempt)
    store.commit()


def kinds(store: Store, run_id: str) -> list[str]:
    """The kinds of the events of a run, in order."""
    query = "SELECT kind FROM event WHERE run_id = ? ORDER BY seq"
    return [str(row[0]) for row in store.query(query, [run_id])]


@pytest.fixture
def clock() -> FakeClock:
    """A clock of the store that runs are exported from: an event each time has another time."""
    return FakeClock()


@pytest.fixture
def origin(open_kit: Open, clock: FakeClock) -> ok.Kit:
    """A store with a run that has begun, and its sub-run."""
    kit = open_kit(clock=clock)
    fill(kit.store, BEGUN)
    clock.advance(1)
    return kit


@pytest.fixture
def snapshot(origin: ok.Kit, tmp_path: Path) -> Path:
    """The run as it stood before its end."""
    return origin.runs["run_1"].export(tmp_path / "snapshot.orchkit")


@pytest.fixture
def whole(origin: ok.Kit, snapshot: Path, tmp_path: Path) -> Path:
    """The same run, exported after its end."""
    fill(origin.store, REST)
    return origin.runs["run_1"].export(tmp_path / "whole.orchkit")


# --- once ----------------------------------------------------------------------------------


def test_importing_again_changes_nothing(whole: Path, open_kit: Open) -> None:
    """The run that is there is returned; no event is added, not even that somebody tried."""
    kit = open_kit("other.duckdb")
    run = kit.import_bundle(whole)
    seq = kit.store.log.last_seq()
    assert kit.import_bundle(whole) == run
    assert kit.store.log.last_seq() == seq
    assert kinds(kit.store, "run_1")[-2:] == ["run.finished", "run.imported"]
    assert kinds(kit.store, "run_2") == ["run.started", "attempt.started", "run.finished", "run.imported"]


def test_importing_where_it_came_from_changes_nothing(whole: Path, origin: ok.Kit) -> None:
    """It is no imported run by that."""
    seq = origin.store.log.last_seq()
    assert origin.import_bundle(whole).state.imported is None
    assert origin.store.log.last_seq() == seq


def test_it_says_where_it_came_from(whole: Path, open_kit: Open) -> None:
    """The digest, the file, when and on which machine it was exported; each run of the tree does."""
    kit, manifest = open_kit(), read_manifest(whole)
    kit.import_bundle(whole)
    for run_id in ("run_1", "run_2"):
        assert kit.runs[run_id].state.imported == {
            "digest": manifest["digest"],
            "file": "whole.orchkit",
            "exported_at": manifest["export"]["exported_at"],
            "host": manifest["export"]["host"],
            "complete": True,
        }
    assert kit.sql("FROM runs").imported.tolist() == [True, True]


def test_many_at_once_import_it_once(whole: Path, open_kit: Open, tmp_path: Path, repository: Path) -> None:
    """Threads and processes on one store: each gets the run, one of them has written it."""
    kit = open_kit("other.duckdb")
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    command = [sys.executable, "-c", IMPORT, str(tmp_path / "other.duckdb"), str(whole), ""]
    processes = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(import_run(kit.store, whole))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found += [process.communicate(timeout=180)[0].strip() for process in processes]
    assert found == ["run_1"] * 7
    assert kinds(kit.store, "run_1").count("run.imported") == 1
    assert len(kinds(kit.store, "run_1")) == 6


# --- whole ---------------------------------------------------------------------------------


def test_a_full_disk_leaves_nothing_behind(whole: Path) -> None:
    """Then it works as if nothing had been."""
    with FaultyStore(fail_before=1) as store:
        with pytest.raises(StoreFullError):
            import_run(store, whole)
        assert store.query("SELECT count(*) FROM event") == [(0,)]
        assert import_run(store, whole) == "run_1"
        assert len(kinds(store, "run_1")) == 6


@pytest.mark.parametrize(("fault", "events"), [("kill_before", 0), ("kill_after", 6)])
def test_a_killed_import_has_written_all_or_nothing(
    whole: Path, tmp_path: Path, repository: Path, fault: str, events: int
) -> None:
    """And can be repeated."""
    path = tmp_path / "other.duckdb"
    done = subprocess.run(
        [sys.executable, "-c", IMPORT, str(path), str(whole), fault],
        env={**os.environ, "PYTHONPATH": str(repository)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    with Store(path) as store:
        assert len(kinds(store, "run_1")) == events
        assert import_run(store, whole) == "run_1"
        assert len(kinds(store, "run_1")) == 6


def test_what_others_are_writing_is_not_torn_apart(whole: Path) -> None:
    """Events that were waiting for a commit go before; the import is one commit of its own."""
    store = MemoryStore()
    told: list[list[str]] = []
    store.subscribe(lambda rows: told.append([row[2] for row in rows]))
    store.append("x.y", "{}")
    import_run(store, whole)
    store.close()
    assert told[0] == ["x.y"]
    assert [len(one) for one in told] == [1, 8 + 2]


# --- the same run, at another time or another one ------------------------------------------


def test_a_snapshot_says_that_it_is_one(snapshot: Path, whole: Path) -> None:
    """Its status is that of the moment; what comes later is in a later file."""
    said = [(one["status"], one["complete"], one["events"]) for one in map(read_manifest, (snapshot, whole))]
    assert said == [("running", False, 5), ("success", True, 8)]


def test_a_run_that_really_goes_on_can_be_exported(open_kit: Open, tmp_path: Path) -> None:
    """From another thread, while it waits; later the rest of it is brought to where its begin is."""
    kit, other, waiting, go = open_kit(), open_kit(), threading.Event(), threading.Event()

    def wait() -> str:
        waiting.set()
        assert go.wait(30)
        return "done"

    kit.registry.methods.register_method(wait, name="wait")
    kit.registry.methods.register_method(lambda: 1, name="one")
    flow = kit.workflow("slow").add_step("one").add_step("wait").build()
    handle = kit.start(flow)
    assert waiting.wait(30)
    run = other.import_bundle(kit.runs[handle.run_id].export(tmp_path / "early.orchkit"))
    assert (run.status, run.cut_off, run.step("one").output) == ("running", True, 1)
    assert run.attempts().status.tolist() == ["success", "running"]
    go.set()
    handle.result()
    other.import_bundle(kit.runs[handle.run_id].export(tmp_path / "late.orchkit"))
    assert (run.status, run.cut_off, run.step("wait").output) == ("success", False, "done")


def test_a_later_file_brings_the_rest(snapshot: Path, whole: Path, open_kit: Open) -> None:
    """Events that are there are not repeated; an earlier file adds nothing any more."""
    kit = open_kit()
    run = kit.import_bundle(snapshot)
    assert (run.status, run.cut_off) == ("running", True)
    assert kit.import_bundle(whole).status == "success"
    assert [kind for kind in kinds(kit.store, "run_1") if kind != "run.imported"] == [
        "run.started", "step.scheduled", "decision", "step.finished", "run.finished",
    ]  # fmt: skip
    assert run.duration_ms == 1000
    seq = kit.store.log.last_seq()
    assert kit.import_bundle(snapshot).status == "success"
    assert kit.store.log.last_seq() == seq


def test_only_what_is_missing_of_a_tree_is_brought(
    origin: ok.Kit, whole: Path, tmp_path: Path, open_kit: Open
) -> None:
    """A sub-run that came alone before is not brought again by the run that it is part of."""
    kit = open_kit()
    kit.import_bundle(origin.runs["run_2"].export(tmp_path / "sub.orchkit"))
    kit.import_bundle(whole)
    assert kinds(kit.store, "run_2").count("run.started") == 1
    assert kinds(kit.store, "run_2").count("run.imported") == 1
    assert len(kinds(kit.store, "run_1")) == 6


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ([START, ("run.finished", "run_1", None, {"status": "failed"})],
         r"event 2 of run_1: differs: here it is run\.finished at \S+, in the bundle step\.scheduled"),
        ([("run.started", "run_1", None, {**START[3], "name": "other"})],
         r"event 1 of run_1: differs in its name: it is run\.started at"),
        ([("run.started", "run_1", None, {"name": "etl", **START[3], "kind": "workflow"})],
         r"event 1 of run_1: differs in its wording: it is run\.started at"),
        ([START], r"event 2 of run_1: is not on record here, where the run is one of this store"),
    ],
    ids=["kind", "value", "order of names", "shorter"],
)  # fmt: skip
def test_another_record_of_the_same_run_is_refused(
    whole: Path, open_kit: Open, other: list[Row], words: str
) -> None:
    """The first event that differs is named; nothing is written."""
    kit = open_kit(clock=FakeClock())
    fill(kit.store, other)
    with pytest.raises(BundleError, match=words):
        kit.import_bundle(whole)
    assert len(kinds(kit.store, "run_1")) == len(other)
    assert kinds(kit.store, "run_2") == []


def test_a_run_that_was_taken_up_here_is_not_continued_from_elsewhere(
    snapshot: Path, whole: Path, open_kit: Open
) -> None:
    """It has another story from there on."""
    kit = open_kit()
    kit.import_bundle(snapshot)
    fill(kit.store, [("run.resumed", "run_1", None, HERE)])
    with pytest.raises(BundleError, match=r"event 4 of run_1: differs: here it is run\.resumed at"):
        kit.import_bundle(whole)
    assert "run.finished" not in kinds(kit.store, "run_2")


def test_what_was_swept_can_be_imported_again(whole: Path, open_kit: Open) -> None:
    """It counts from its arrival, so what is fetched from an archive is not swept with what is as old."""
    clock = FakeClock(start_us=2_000_000_000_000_000)
    kit = open_kit(clock=clock)
    kit.import_bundle(whole)
    assert kit.store.sweep(older_than="1d").runs == 0
    clock.advance(2 * 86_400)
    assert kit.store.sweep(older_than="1d").runs == 1
    assert kinds(kit.store, "run_1") == []
    kit.import_bundle(whole)
    assert len(kinds(kit.store, "run_1")) == 6


# --- never alive ---------------------------------------------------------------------------


def test_an_imported_run_does_not_go_on_here(snapshot: Path, open_kit: Open) -> None:
    """Though a process of this machine has its number, its name and its birth: that is another store's."""
    kit = open_kit()
    run = kit.import_bundle(snapshot)
    assert (run.state.pid, run.state.host) == (os.getpid(), HERE["host"])
    assert Facts(run.state).run_standing == "cut off"
    assert kit.runs.standings() == {"cut off": 1}
    assert kit.store.open_runs.all() == []
    assert run.explain().split("\n")[0].startswith("etl was cut off after 0 ms: it was exported on ")


def test_an_imported_run_is_not_resumed_but_can_be_forked(open_kit: Open, tmp_path: Path) -> None:
    """Where it came from it may go on; a fork shares its results, and does only what is left."""
    kit, other, done = open_kit(), open_kit(), []

    def second(n: int) -> int:
        done.append(n)
        if len(done) == 1:
            raise OSError("not today")
        return n + 1

    for one in (kit, other):
        one.registry.methods.register_method(lambda: 41, name="first")
        one.registry.methods.register_method(second, name="second")
    flow = (
        kit.workflow("two")
        .with_execution_mode("dag")
        .add_step("first")
        .add_step("second", {"n": "${steps.first}"})
    )
    run = other.import_bundle(kit.run(flow.build()).run.export(tmp_path / "run.orchkit"))
    with pytest.raises(ExecutionError, match=r"was imported, and goes on in .*: fork it"):
        other.resume(run.id)
    fork = other.fork(run.id, "second").result()
    assert fork.steps["second"].output == 42
    assert done == [41, 41]
    assert other.sql("FROM lineage").source_run_id.tolist() == [run.id]
    path = fork.run.export(tmp_path / "fork.orchkit")
    assert read_manifest(path)["refers_to"] == [run.id]
    again = open_kit().import_bundle(path)
    assert again.step("first").output == 41
