"""Sweeping real files: they get smaller, whoever else has the store open, and whatever ends the sweep."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import duckdb
import pytest

import orchkit as ok
from orchkit.errors import UnknownNameError
from orchkit.store import codec, compaction
from orchkit.store.sqlite import SqliteFile
from orchkit.store.store import Store

RUNS = 40
LARGE_ONES = """SELECT payload->>'$.output."$blob"' FROM events WHERE step_id = 'large'"""
# Writes runs with a step each and a large value in every other one; every tenth has the same.
WRITE = """
import sys
from orchkit.store import codec
from orchkit.store.store import Store

def write(store, first, count):
    for number in range(first, first + count):
        run, noise = f"run_{number:04}", codec.content_hash(str(number)) * 40
        with store.together():
            store.append("run.started", codec.dumps({"kind": "workflow", "name": "w"}), run_id=run)
        for step in range(5):
            payload = {"name": "f", "status": "success", "attempts": 1, "output": {"n": step, "noise": noise}}
            store.append("step.finished", codec.dumps(payload), run_id=run, step_id=f"s{step}")
        if number % 2 == 0:
            with store.together():
                digest = store.put_blob(codec.dumps((noise if number % 10 else "same") * 30))
                payload = {"name": "f", "status": "success", "output": {"$blob": digest, "bytes": 1}}
                store.append("step.finished", codec.dumps(payload), run_id=run, step_id="large")
        store.append("run.finished", codec.dumps({"status": "success"}), run_id=run)
        store.commit()
"""
Start = Callable[..., subprocess.Popen[str]]
Finish = Callable[[subprocess.Popen[str]], list[str]]

exec(WRITE, write_module := {})
write: Callable[[Store, int, int], None] = write_module["write"]


def about(store: Store, *runs: str) -> dict[str, list[Any]]:
    """All rows of all tables and views that are about these runs, or about none."""
    columns = store.query(
        "SELECT table_name, list(column_name) FROM duckdb_columns() WHERE NOT internal GROUP BY ALL"
    )
    rows = {name: store.query(f"SELECT * FROM {name} ORDER BY ALL") for name, _ in columns}
    named = {name: names.index("run_id") for name, names in columns if "run_id" in names}
    found = {
        name: [row for row in rows[name] if name not in named or row[named[name]] in runs] for name in rows
    }
    del found["ingest"], found["blob"]  # where everything has got to, and values of all runs
    return found


def leftovers(path: Path) -> list[str]:
    """Files beside a store that is closed, other than its two."""
    return sorted(
        file.name for file in path.parent.iterdir() if file.name not in (path.name, f"{path.name}-log")
    )


@pytest.fixture
def filled(store: Store) -> Store:
    """A store of forty runs."""
    write(store, 0, RUNS)
    store.ingest()
    return store


def test_the_files_get_smaller(filled: Store, path: Path) -> None:
    """By what was removed; the report has the sizes before and after, and no other file is left."""
    for _ in range(100):
        with filled.together():
            digest = filled.put_blob(codec.dumps(random.randbytes(100_000).hex()))
            filled.append("decision", codec.dumps({"output_data": digest}), run_id="run_0001")
    filled.ingest()
    with filled.log.exclusive() as connection:  # as a log is after a long time without an ingest
        connection.execute("CREATE TABLE ballast (text TEXT)")
        connection.execute("INSERT INTO ballast VALUES (zeroblob(20000000))")
        connection.execute("DROP TABLE ballast")
    report = filled.sweep(keep=2)
    assert report.not_compacted is None
    assert report.bytes_before is not None
    assert report.bytes_after is not None
    assert report.bytes_after < report.bytes_before - 28_000_000
    assert path.stat().st_size < 4_000_000
    filled.close()
    assert leftovers(path) == []
    assert path.with_name(f"{path.name}-log").stat().st_size < 1_000_000


def test_what_stays_is_what_it_was(filled: Store) -> None:
    """Tables of other people, views, the schema version and the watermark survive the new file."""
    path = filled.path
    assert path is not None
    filled.close()
    with closing(duckdb.connect(str(path))) as shell:
        shell.execute("CREATE TABLE mine (id INTEGER PRIMARY KEY, run VARCHAR)")
        shell.execute("INSERT INTO mine SELECT n, 'run_0001' FROM range(3) t(n)")
        shell.execute("CREATE VIEW my_runs AS SELECT run_id AS mine FROM runs WHERE run_id > 'run_0037'")
    with Store(path) as store:
        before = about(store, "run_0038", "run_0039")
        assert store.sweep(keep=2).runs == RUNS - 2
        assert about(store, "run_0038", "run_0039") == before
        assert store.query("SELECT count(*) <= 2, max(seq) FROM ingest") == [(True, store.log.last_seq())]
        assert store.query("SELECT count(*) FROM my_runs") == [(2,)]
    with closing(duckdb.connect(str(path))) as shell, pytest.raises(duckdb.ConstraintException):
        shell.execute("INSERT INTO mine VALUES (1, 'again')")


def test_numbers_are_not_given_again_when_the_log_is_lost(filled: Store, path: Path) -> None:
    """Also those of the newest events, which are on record no more."""
    last = filled.log.last_seq()
    filled.sweep(keep=0)
    filled.close()
    path.with_name(f"{path.name}-log").unlink()
    with pytest.warns(UserWarning, match="was missing"):
        store = Store(path)
    with store:
        write(store, 100, 1)
        seqs = [event.seq for event in store.events("run_0100")]
        assert seqs == list(range(last + 2, last + 10))


# --- other processes --------------------------------------------------------------------------

READ = (
    f"{WRITE}\n"
    """
store = Store(sys.argv[1])
print("open", flush=True)
for line in sys.stdin:
    runs = [row[0] for row in store.query("SELECT run_id FROM runs ORDER BY run_id")]
    steps = store.query("SELECT count(*) FROM steps WHERE run_id NOT IN (SELECT run_id FROM runs)")
    print(len(runs), steps[0][0], flush=True)
store.close()
"""
)


def test_others_see_the_new_file(filled: Store, path: Path, next_line: Callable[..., str]) -> None:
    """A process that had the history open before asks again and reads the new one, also while it waits."""
    command = [sys.executable, "-W", "error", "-c", READ, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None
        try:
            assert next_line(reader) == "open"
            reader.stdin.write("before\n")
            reader.stdin.flush()
            assert next_line(reader) == "40 0"
            for keep, expected in ((20, "20 0"), (3, "3 0")):
                filled.sweep(keep=keep)
                reader.stdin.write("again\n")
                reader.stdin.flush()
                assert next_line(reader) == expected
        finally:
            reader.kill()


RUN = """
import os, sys
import orchkit as ok

@ok.method
def size(n: int) -> dict:
    return {"n": n, "text": "x" * 200_000}

@ok.method
def total(a: dict, b: dict) -> int:
    return a["n"] + b["n"]

with ok.open(sys.argv[1]) as kit:
    flow = (
        kit.workflow("sums")
        .add_step("size", {"n": 1}, step_id="a")
        .add_step("size", {"n": 2}, step_id="b")
        .add_step("total", {"a": "${steps.a}", "b": "${steps.b}"})
        .with_execution_mode("dag")
        .build()
    )
    for _ in sys.stdin:
        result = kit.run(flow)
        result.raise_for_status()
        print(result.run_id, flush=True)
"""


@pytest.fixture
def worker(path: Path, repository: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts a process that runs a workflow for each line it is given, always with the same large values."""
    script = path.with_name("sums.py")  # in a file, so that the methods have a source
    script.write_text(RUN, encoding="utf-8")
    command = [sys.executable, "-W", "error", str(script), str(path)]
    paths = [str(repository), *filter(None, [os.environ.get("PYTHONPATH")])]
    started: list[subprocess.Popen[str]] = []

    def start_() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        )
        started.append(process)
        return process

    yield start_
    for process in started:
        process.kill()
        process.communicate()


def test_a_process_puts_again_what_another_has_swept(
    worker: Callable[[], subprocess.Popen[str]], next_line: Callable[..., str], store: Store
) -> None:
    """Large values and sources that it has written before, in runs that are gone, are there in the next."""
    other = worker()
    assert other.stdin is not None
    for _ in range(3):
        other.stdin.write("run\n")
        other.stdin.flush()
        run = next_line(other)
        _assert_whole(store)
        assert [found for (found,) in store.query("SELECT run_id FROM runs")] == [run]
        assert store.sweep(keep=0).large_values == 5  # of the steps two outputs and an input, two sources


def test_sweeps_while_others_run_workflows(worker: Callable[[], subprocess.Popen[str]], store: Store) -> None:
    """Runs of two processes all succeed; each is removed whole, or whole on record, large values and all."""
    workers = [worker(), worker()]
    for process in workers:
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin:  # of one that has died: the return code says so
            process.stdin.write("run\n" * 20)
        process.stdin = None
    removed = sweeps = 0
    while any(process.poll() is None for process in workers):
        removed += store.sweep(keep=sweeps % 3).runs
        sweeps += 1
    assert [process.returncode for process in workers] == [0, 0]
    runs = [line for process in workers if process.stdout for line in process.stdout.read().splitlines()]
    left = [run for (run,) in store.query("SELECT run_id FROM run_start ORDER BY seq")]
    assert len(runs) == removed + len(left) == 40
    assert sweeps > 3
    _assert_whole(store)
    store.sweep(keep=2)
    rows = store.query("SELECT DISTINCT run_id FROM events WHERE run_id IS NOT NULL")
    assert {run for (run,) in rows} == set(left[-2:])
    _assert_whole(store)


def _assert_whole(store: Store) -> None:
    """Every run on record is complete, and no number is there twice."""
    for (run,) in store.query("SELECT run_id FROM runs WHERE status = 'success'"):
        outputs = {
            event.step_id: event.payload["output"]
            for event in store.events(run)
            if event.kind == "step.finished"
        }
        assert outputs == {
            "a": {"n": 1, "text": "x" * 200_000},
            "b": {"n": 2, "text": "x" * 200_000},
            "total": 3,
        }
        (code,) = store.query("SELECT code FROM run_start WHERE run_id = ?", [run])
        for facts in codec.loads(code[0]).values():
            assert "def " in store.blob(facts["source"])
    assert store.query("SELECT count(*) - count(DISTINCT seq) FROM event") == [(0,)]


def test_a_process_that_is_gone_and_one_that_is_not(
    start: Start, next_line: Callable[..., str], store: Store, path: Path
) -> None:
    """The run of a killed process is removed, and not listed as open any more; that of a living one stays."""
    code = """
import sys, orchkit as ok

@ok.method
def wait() -> None:
    print(ok.Kit.__name__, flush=True)
    sys.stdin.read()
    import time; time.sleep(600)

with ok.open(sys.argv[1]) as kit:
    kit.run(kit.workflow(sys.argv[2]).add_step("wait").build())
"""
    killed, living = start(code, path, "killed"), start(code, path, "living")
    for process in (killed, living):
        assert next_line(process) == "Kit"
    killed.kill()
    killed.wait()
    names = "SELECT name FROM runs ORDER BY name"
    report = store.sweep(older_than="0s")
    assert (report.runs, list(report.kept.values())) == (1, ["alive"])
    assert store.query(names) == [("living",)]
    assert [run.name for run in store.open_runs.all()] == ["living"]
    living.kill()
    living.wait()
    assert store.sweep(older_than="0s").runs == 1
    assert store.open_runs.all() == []


def test_a_run_that_is_swept_while_it_is_being_resumed(
    start: Start, store: Store, path: Path, open_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not go on without its beginning: it is not there any more, nor listed as open."""
    code = """
import os, sys, orchkit as ok

@ok.method
def die() -> None:
    os.kill(os.getpid(), 9)

with ok.open(sys.argv[1]) as kit:
    kit.run(kit.workflow("cut off").add_step("die").build())
"""
    start(code, path).communicate(timeout=180)
    take_up = store.open_runs.take_up

    def too_late(*arguments: Any) -> None:
        assert open_store().sweep(keep=0).runs == 1
        take_up(*arguments)

    with ok.Kit(store) as kit:
        kit.registry.methods.register_method(lambda: None, name="die")
        monkeypatch.setattr(store.open_runs, "take_up", too_late)
        with pytest.raises(UnknownNameError, match="unknown run"):
            kit.resume(kit.runs[-1].id).result(30)
        assert store.open_runs.all() == []
        assert store.query("SELECT count(*) FROM runs") == [(0,)]


@pytest.mark.parametrize("read_only", [True, False])
def test_a_plain_shell_has_its_turn(
    filled: Store,
    path: Path,
    start: Start,
    next_line: Callable[..., str],
    read_only: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that comes in just before the new file takes its place keeps the old one there, and says so."""
    shell = f"""
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only={read_only})
print(connection.execute("SELECT count(*) FROM runs").fetchone()[0], flush=True)
sys.stdin.read()
import time; time.sleep(600)
"""
    put_in_place = compaction._put_in_place

    def first_a_shell(*arguments: Any) -> str | None:
        assert next_line(start(shell, path)) == "2"
        return put_in_place(*arguments)

    monkeypatch.setattr(compaction, "_put_in_place", first_a_shell)
    report = filled.sweep(keep=2)
    assert (report.runs, report.not_compacted) == (
        RUNS - 2,
        "another program opened it while it was being copied",
    )
    assert not path.with_name(f"{path.name}.compact").exists()


def test_who_takes_the_lease_over_keeps_the_file(
    filled: Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a machine has slept in the middle of the copy, another process may be at work on the file."""
    put_in_place = compaction._put_in_place

    def first_another(*arguments: Any) -> str | None:
        with filled.log.exclusive() as connection:
            connection.execute("UPDATE lease SET owner = 'another'")
        return put_in_place(*arguments)

    monkeypatch.setattr(compaction, "_put_in_place", first_another)
    report = filled.sweep(keep=2)
    assert report.not_compacted == "another process took over while the file was being copied"
    with filled.log.exclusive() as connection:
        connection.execute("DELETE FROM lease")
    assert filled.query("SELECT count(*) FROM runs") == [(2,)]


def test_the_lease_is_renewed_during_a_sweep(
    open_store: Callable[..., Store], path: Path, monkeypatch: pytest.MonkeyPatch, until: Callable[..., None]
) -> None:
    """Also when the housekeeper is asked to ingest meanwhile: it comes back to that later."""
    store = open_store()
    write(store, 0, 2)
    compact, renewed = compaction._copy, threading.Event()
    renew = store._lease.renew  # type: ignore[union-attr]

    def slowly(*arguments: Any) -> None:
        store.append("x", "{}", run_id="run_late")
        store.commit()
        store.ingest_soon()
        monkeypatch.setattr(store._lease, "renew", lambda: (renewed.set(), renew())[1])
        assert renewed.wait(30)
        compact(*arguments)

    monkeypatch.setattr(compaction, "_copy", slowly)
    assert store.sweep(keep=1).not_compacted is None
    until(lambda: store.log.read_after(0, 1) == [])
    assert store.query("SELECT count(*) FROM event WHERE run_id = 'run_late'") == [(1,)]


def test_readers_in_other_threads(filled: Store) -> None:
    """Ask all the time, and get an answer each time: all of a run or nothing of it."""
    over = threading.Event()
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            while not over.is_set():
                rows = filled.query(
                    "SELECT run_id, count(*) FROM event WHERE run_id IS NOT NULL GROUP BY ALL"
                )
                assert {count for _, count in rows} <= {7, 8}
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        reports = [filled.sweep(keep=keep) for keep in range(RUNS - 5, 0, -5)]
    finally:
        over.set()
        for thread in threads:
            thread.join(60)
    assert failures == []
    assert all(report.not_compacted is None for report in reports)
    assert filled.query("SELECT count(*) FROM runs") == [(5,)]


# --- kills, full disks, odd places ------------------------------------------------------------

# Sweeps, and is killed by itself at the moment named by the third argument: before or after that function.
SWEEP = """
import importlib, os, signal, sys
from orchkit.store.store import Store

module, name, when = sys.argv[2].split(":")
holder = importlib.import_module(module)
*classes, name = name.split(".")
for part in classes:
    holder = getattr(holder, part)
function = getattr(holder, name)

def kill(*args, **kwargs):
    if when == "after":
        function(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)

store = Store(sys.argv[1])
setattr(holder, name, kill)
store.sweep(keep=2)
"""


@pytest.mark.parametrize(
    ("moment", "left"),
    [
        ("orchkit.store.log:SqliteLog.begin_sweep:after", RUNS),
        ("orchkit.store.retention:_Sweep._remove:before", RUNS),
        ("orchkit.store.retention:_Sweep._remove:after", RUNS),
        ("orchkit.store.retention:_Sweep._tell:after", RUNS),
        ("orchkit.store.log:SqliteLog.transact:after", RUNS),
        ("orchkit.store.retention:compact:before", 2),
        ("orchkit.store.compaction:_shortage:after", 2),
        ("orchkit.store.compaction:_copy:before", 2),
        ("orchkit.store.compaction:_copy:after", 2),
        ("orchkit.store.history:History.close_file:after", 2),
        ("orchkit.store.compaction:_put_in_place:before", 2),
        ("pathlib:Path.replace:before", 2),
        ("pathlib:Path.replace:after", 2),
        ("orchkit.store.compaction:_put_in_place:after", 2),
        ("orchkit.store.log:SqliteLog.shrink:before", 2),
        ("orchkit.store.log:SqliteLog.shrink:after", 2),
    ],
)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_a_sweep_that_is_killed(filled: Store, path: Path, start: Start, moment: str, left: int) -> None:
    """At any moment: the runs are all there or gone, the rest is untouched, and the next one finishes."""
    before = about(filled, "run_0038", "run_0039")
    filled.close()
    worker = start(SWEEP, path, moment)
    _, errors = worker.communicate(timeout=180)
    assert worker.returncode == -signal.SIGKILL, errors
    with Store(path) as store:
        assert store.query("SELECT count(*) FROM runs") == [(left,)]
        assert store.query("SELECT count(DISTINCT run_id) FROM steps") == [(left,)]
        for (digest,) in store.query(LARGE_ONES):
            assert store.blob(digest)
        assert about(store, "run_0038", "run_0039") == before
        write(store, 100, 1)
        assert store.sweep(keep=3).runs == left - 2
        assert [run for (run,) in store.query("SELECT run_id FROM runs ORDER BY 1")] == [
            "run_0038", "run_0039", "run_0100",
        ]  # fmt: skip
        assert store.query("SELECT count(*) FROM events WHERE kind = 'store.swept'")[0][0] in (1, 2)
    assert leftovers(path) == []


LOOP = (
    f"{WRITE}\n"
    """
import itertools, time
store = Store(sys.argv[1])
first = int(sys.argv[2])
for number in itertools.count(first):
    write(store, number, 1)
    print(number, flush=True)
    if number % 3 == 0:
        store.sweep(keep=4)
"""
)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL")
def test_kills_at_random_moments(path: Path, start: Start) -> None:
    """Each time the newest acknowledged runs are whole, older ones are whole or gone, and the file opens."""
    rng = random.Random(3)
    first = 0
    for _ in range(8):
        worker = start(LOOP, path, first)
        assert worker.stdout is not None
        last = int(worker.stdout.readline())
        time.sleep(rng.uniform(0.0, 0.4))
        worker.kill()
        out, errors = worker.communicate()
        assert worker.returncode == -signal.SIGKILL, errors
        complete = out.rpartition("\n")[0]
        last = int(complete.rpartition("\n")[2] or last)
        with Store(path) as store:
            rows = store.query(
                "SELECT run_id, count(*), count(DISTINCT seq) FROM event "
                "WHERE run_id IS NOT NULL GROUP BY run_id"
            )
            for run, count, numbers in rows:
                number = int(run.removeprefix("run_"))
                assert count == numbers
                assert count == (8 if number % 2 == 0 else 7) or number == last + 1
            found = {run for run, _, _ in rows}
            assert {f"run_{number:04}" for number in range(max(first, last - 2), last + 1)} <= found
            for (digest,) in store.query(LARGE_ONES):
                assert store.blob(digest)
        first = last + 2
    with Store(path) as store:
        store.sweep(keep=1)
    assert leftovers(path) == []


@pytest.fixture
def small_disk(tmp_path: Path, require: Callable[[str], str]) -> Any:
    """A file system of a few megabytes."""
    require("mount")
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", tmp_path], check=True, capture_output=True
        )
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no small file system can be mounted here: {error.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_no_room_for_a_copy(small_disk: Path, open_store: Callable[..., Store]) -> None:
    """The runs are removed, and the report says how much room a copy would need, and how much there is."""
    store = open_store(small_disk / "runs.duckdb")
    write(store, 0, RUNS)
    store.ingest()
    free = shutil.disk_usage(small_disk).free
    (small_disk / "ballast").write_bytes(bytes(free - 2_500_000))
    report = store.sweep(keep=2)
    assert report.runs == RUNS - 2
    assert report.not_compacted is not None
    assert re.fullmatch(r"that takes \d MB beside the file, and [123] MB are free", report.not_compacted)
    assert "the file was not made smaller" in str(report)
    assert store.query("SELECT count(*) FROM runs") == [(2,)]
    (small_disk / "ballast").unlink()
    assert store.sweep().not_compacted is None
    store.close()
    assert leftovers(small_disk / "runs.duckdb") == []


def test_the_room_runs_out_during_the_copy(
    small_disk: Path, open_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, no half copy stays, and the report says why."""
    store = open_store(small_disk / "runs.duckdb")
    write(store, 0, RUNS)
    store.ingest()
    free = shutil.disk_usage(small_disk).free
    monkeypatch.setattr(compaction, "_shortage", lambda *_: None)
    (small_disk / "ballast").write_bytes(bytes(free - 700_000))
    report = store.sweep(keep=RUNS - 2)
    assert report.runs == 2
    assert report.not_compacted is not None
    assert "could not be copied" in report.not_compacted
    assert store.query("SELECT count(*) FROM runs") == [(RUNS - 2,)]
    (small_disk / "ballast").unlink()
    assert store.sweep(keep=2).not_compacted is None
    store.close()
    assert leftovers(small_disk / "runs.duckdb") == []


def test_ctrl_c_during_the_copy(filled: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store goes on, with the runs removed and the old file."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(compaction, "_put_in_place", interrupted)
        with pytest.raises(KeyboardInterrupt):
            filled.sweep(keep=2)
    assert filled.query("SELECT count(*) FROM runs") == [(2,)]
    assert filled.sweep(keep=1).not_compacted is None
    filled.close()
    assert leftovers(path) == []


def test_a_copy_that_was_left_behind(filled: Store, path: Path) -> None:
    """Is in nobody's way, whatever is in it."""
    for suffix in (".compact", ".compact.wal"):
        path.with_name(path.name + suffix).write_bytes(b"half of it")
    assert filled.sweep(keep=2).not_compacted is None
    filled.close()
    assert leftovers(path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="links and permissions are of another kind there")
def test_links_permissions_and_odd_names(tmp_path: Path, open_store: Callable[..., Store]) -> None:
    """A link stays one, the file keeps who may read it, and its name may be anything."""
    real, place = tmp_path / "real", tmp_path / 'it\'s "here"'
    for folder in (real, place):
        folder.mkdir()
    target, link = real / "my runs'.1", place / "runs.duckdb"
    duckdb.connect(str(target)).close()
    link.symlink_to(target)
    for path in (link, place / 'it "is".compact'):
        store = open_store(path)
        write(store, 0, RUNS)
        store.ingest()
        path.chmod(0o640)
        assert store.sweep(keep=2).not_compacted is None
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert store.query("SELECT count(*) FROM runs") == [(2,)]
        store.close()
    assert link.is_symlink()
    assert [file.name for file in real.iterdir()] == ["my runs'.1"]


# --- the log's own file -----------------------------------------------------------------------


def test_a_log_shrinks_while_others_use_it(tmp_path: Path) -> None:
    """Numbers go on as before; a file that is not mostly empty is left alone."""
    path = tmp_path / "log"
    one, other = SqliteFile(path), SqliteFile(path)
    with one.transaction(strict=False) as connection:
        connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT)")
        connection.executemany("INSERT INTO t (text) VALUES (?)", [("x" * 1_000,)] * 10_000)
    assert other.read("SELECT count(*) FROM t") == [(10_000,)]
    one.shrink()
    with one.transaction(strict=False) as connection:
        connection.execute("DELETE FROM t WHERE n > 100")
    full = path.stat().st_size
    other.shrink()
    assert path.stat().st_size < full / 10
    with other.transaction(strict=False) as connection:
        connection.execute("INSERT INTO t (text) VALUES ('y')")
    assert one.read("SELECT count(*), max(n) FROM t") == [(101, 10_001)]
    one.close()
    other.close()
