"""Processes and threads that want one store at the same moment, and that die at the worst one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from orchkit.errors import StoreBusyError
from orchkit.store.store import Store

Process = subprocess.Popen[str]
Start = Callable[..., Process]
NextLine = Callable[[Process], str]
Finish = Callable[[Process], list[str]]

# Commits many events, and stops within the transaction that moves them to the history, after this statement.
STUCK = """
import sys, time
from orchkit.store.store import Store
store = Store(sys.argv[1])
store._lease._ttl_us = 600_000_000  # so long that nobody waits for its end
for number in range(500):
    store.append("x", '{"n": %d}' % number, run_id="run_1")
store.commit()
harden = store.log.harden
def stick(seq):
    if sys.argv[2] == "before":
        print("stuck", flush=True)
        time.sleep(600)
    harden(seq)
store.log.harden = stick
def trim(seq, blobs):
    print("stuck", flush=True)
    time.sleep(600)
store.log.trim = trim
store.ingest()
"""
WAITS = """
import sys
from orchkit.store.store import Store
store = Store(sys.argv[1])
store.record("x", {"n": 500 + int(sys.argv[2])}, run_id="run_1")
print("waiting", flush=True)
found = [event.payload["n"] for event in store.events("run_1")]
print(found[:500] == list(range(500)))
store.close()
"""
SHELL = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("holding", flush=True)
sys.stdin.readline()
connection.close()
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_process_is_killed_while_it_ingests_and_others_wait(
    path: Path,
    start: Start,
    next_line: NextLine,
    finish: Finish,
    open_store: Callable[..., Store],
    moment: str,
) -> None:
    """Who waits gets in soon; what it was moving is there once, before and after its transaction ended."""
    stuck = start(STUCK, path, moment)
    next_line(stuck)
    waiting = [start(WAITS, path, number) for number in range(2)]
    for process in waiting:
        next_line(process)
    os.kill(stuck.pid, signal.SIGKILL)
    stuck.wait()
    assert [finish(process) for process in waiting] == [["True"]] * 2
    store = open_store()
    assert sorted(event.payload["n"] for event in store.events("run_1")) == list(range(502))
    assert store.log.read_after(0, 1) == []


def test_a_shell_holds_the_file_for_a_while(
    path: Path, start: Start, next_line: NextLine, open_store: Callable[..., Store]
) -> None:
    """Recording does not wait for it; several readers do, and all of them get in when it is closed."""
    with Store(path) as store:
        store.query("SELECT 1")
    shell = start(SHELL, path, stdin=subprocess.PIPE)
    next_line(shell)
    store = open_store()
    for number in range(50):
        store.record("x", {"n": number}, run_id="run_1")
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(len(store.events("run_1")))) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert counts == []
    shell.communicate("\n")
    for thread in threads:
        thread.join()
    assert counts == [50] * 4


@pytest.mark.parametrize("read_only", [False, True])
def test_a_connection_of_the_same_process(
    path: Path, open_store: Callable[..., Store], read_only: bool
) -> None:
    """Somebody's own DuckDB connection in this notebook is named as what is in the way, at once."""
    store = open_store()
    store.record("x", {}, run_id="run_1")
    store.query("SELECT 1")
    assert not store.history.tend(0.0)
    with duckdb.connect(str(path), read_only=read_only) as own:
        store.record("x", {}, run_id="run_1")
        began = time.monotonic()
        with pytest.raises(StoreBusyError, match="a DuckDB connection of this very process"):
            store.events("run_1")
        assert time.monotonic() - began < 30  # half of the time to wait for others
        assert own.execute("SELECT count(*) FROM events").fetchone() == (1,)
    assert len(store.events("run_1")) == 2


def test_sixteen_threads_read_and_write(store: Store) -> None:
    """Every thread finds all that it wrote itself, in order, and everything is there once."""
    wrong: list[object] = []

    def work(thread: int) -> None:
        run_id = f"run_{thread}"
        try:
            for number in range(24):
                store.append("x", f'{{"n": {number}}}', run_id=run_id)
                store.commit()
                if number % 6 == thread % 6:
                    found = [event.payload["n"] for event in store.events(run_id)]
                    if found != list(range(number + 1)):
                        wrong.append((run_id, number, found))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert store.query("SELECT count(*), count(DISTINCT seq), max(seq) FROM events") == [(384, 384, 384)]


FORKS = """
import multiprocessing, sys, warnings
import orchkit as ok
from orchkit.errors import ForkedStoreError, StoreError

warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forking beside threads
kit = ok.open(sys.argv[1])

def add(x: int) -> int:
    return x + 1

kit.registry.methods.register_method(add)
workflow = kit.workflow("flow").add_step("add", {"x": 1}, step_id="a").build()
assert kit.run(workflow).success
kit.sql("SELECT 1")

def in_child(number):
    said = []
    for call in (lambda: kit.sql("SELECT 1"), lambda: kit.run(workflow), lambda: ok.open(sys.argv[1])):
        try:
            call()
        except ForkedStoreError as error:
            said.append("spawn" in str(error))
    with ok.open() as own:  # a store of its own works
        said.append(own.run(own.workflow("flow").add_step(add, {"x": number}, step_id="a").build()).success)
    return said

context = multiprocessing.get_context("fork")
with context.Pool(2) as pool:
    found = pool.map(in_child, range(4), chunksize=1)
print(found == [[True] * 4] * 4, found if found != [[True] * 4] * 4 else "")
process = context.Process(target=kit.close)  # also by mistake
process.start()
process.join()
assert kit.run(workflow).success
print(process.exitcode, len(kit.runs))
kit.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_workers_of_multiprocessing(path: Path) -> None:
    """Forked workers are refused the parent's kit in whatever way they use it; the parent goes on."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKS, path],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert (done.returncode, done.stdout.split("\n")) == (0, ["True ", "0 2", ""]), done.stderr
    with Store(path) as store:
        assert store.query("SELECT count(*) FROM runs WHERE status = 'success'") == [(2,)]
