"""What was acknowledged survives: processes killed at random moments, several processes on one store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchkit.engine import recorder
from orchkit.store.store import Store

# A process that forks a worker again and again and kills it after a random while. (Forking saves the
# imports of each worker.) A step tells what it knows to be durable by then: that its own attempt is on
# record, and the result of the step before it. What is told goes to a file, which a kill cannot unwrite.
KILLER = """
import asyncio, os, random, signal, sys, time
from orchkit.engine.builder import WorkflowBuilder
from orchkit.engine.dispatch import Orchestrator
from orchkit.engine.runner import WorkflowEngine
from orchkit.registry.registry import Registry
from orchkit.store.store import Store
import duckdb, numpy

path, told, durability, rounds = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
rng = random.Random(11)

def work():
    file = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    def tell(*words):
        os.write(file, (" ".join(map(str, words)) + "\\n").encode())
    registry = Registry()
    async def on_loop(run: str, n: int, before: int) -> int:
        tell("began", run, n)
        if n:
            tell("result", run, n - 1, before)
        return before * 2 + n
    def in_thread(run: str, n: int, before: int) -> int:
        tell("began", run, n)
        tell("result", run, n - 1, before)
        return before * 2 + n
    for function in (on_loop, in_thread):
        registry.methods.register_method(function)
    flow = WorkflowBuilder("chain", registry=registry).with_execution_mode("sequential")
    for n in range(8):
        before = 1 if n == 0 else "${steps.s%d}" % (n - 1)
        tool = "in_thread" if n % 3 == 2 else "on_loop"
        flow.add_step(tool, {"run": "${run.id}", "n": n, "before": before}, step_id=f"s{n}")
    workflow = flow.build()
    store = Store(path)
    engine = WorkflowEngine(Orchestrator(registry=registry, store=store), durability=durability)
    async def main():
        for count in range(10_000):
            results = await asyncio.gather(*(engine.execute(workflow) for _ in range(count % 3 + 1)))
            for result in results:
                tell("run", result.run_id, result.status)
            if count % 4 == 3:
                store.ingest()
    asyncio.run(main())

for round in range(rounds):
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print("worker:", repr(error), file=sys.stderr)
        finally:
            os._exit(1)
    time.sleep(rng.uniform(0.02, 0.16))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if round % 10 == 9:
        Store(path).close()
"""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@needs_fork
@pytest.mark.parametrize("durability", ["sync", "async"])
def test_thirty_kills_lose_nothing_that_was_acknowledged(tmp_path: Path, durability: str) -> None:
    """Every result that a later step saw, every begun attempt and every returned run is in the store."""
    path, told = tmp_path / "runs.duckdb", tmp_path / "told.txt"
    command = [sys.executable, "-c", KILLER, str(path), str(told), durability, "30"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in told.read_text().splitlines()]
    with Store(path) as store:
        results = {
            (run_id, step_id): output
            for run_id, step_id, output in store.query(
                "SELECT run_id, step_id, output FROM steps WHERE status = 'success'"
            )
        }
        attempts = {
            (run_id, step_id): status
            for run_id, step_id, status in store.query("SELECT run_id, step_id, status FROM attempts")
        }
        runs = dict(store.query("SELECT run_id, status FROM runs"))
        doubled = store.query(
            "SELECT count(*) FROM (SELECT run_id, step_id FROM steps GROUP BY ALL HAVING count(*) > 1)"
        )
        seqs = store.query("SELECT count(*), count(DISTINCT seq) FROM event")
    for what, run_id, *rest in lines:
        if what == "run":
            assert runs[run_id] == rest[0] == "success"
        elif what == "result":
            assert json.loads(results[run_id, f"s{rest[0]}"]) == int(rest[1])
        else:
            assert attempts[run_id, f"s{rest[0]}"] in ("success", "running")
    assert len([line for line in lines if line[0] == "run"]) > 10  # on a busy machine, too
    assert doubled == [(0,)]
    assert seqs[0][0] == seqs[0][1]
    # Work that was cut off is visible as such: its run is still running, its last attempt in doubt.
    open_runs = {run_id for run_id, status in runs.items() if status == "running"}
    in_doubt = {run_id for (run_id, _), status in attempts.items() if status == "running"}
    assert in_doubt
    assert in_doubt <= open_runs
    assert len(open_runs) <= 90


SCRIPT = """
import sys
import orchkit as ok

@ok.method
async def add(x: int) -> int:
    return x + 1

kit = ok.open(sys.argv[1], durability=sys.argv[2])
flow = kit.workflow("flow").add_map("add", list(range(50)), step_id="map").build()
for _ in range(int(sys.argv[3])):
    assert kit.run(flow).success
"""


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_process_that_ends_by_itself_loses_nothing(tmp_path: Path, durability: str) -> None:
    """Also when nobody closed the kit, and when commits were left to the end."""
    path = tmp_path / "runs.duckdb"
    subprocess.run([sys.executable, "-c", SCRIPT, str(path), durability, "3"], check=True, timeout=180)
    with Store(path) as store:
        assert store.query("SELECT count(*) FROM runs WHERE status = 'success'") == [(3,)]
        assert store.query("SELECT count(*) FROM steps WHERE status = 'success'") == [(3 * 51,)]


def test_exit_commits_when_the_run_ends(make_lab: Any) -> None:
    """Nothing is written before that, everything after it, in one transaction."""
    lab = make_lab(durability="exit")
    commits: list[int] = []
    lab.store.subscribe(lambda rows: commits.append(len(rows)))

    async def add(x: int) -> int:
        assert not commits
        return x + 1

    lab.tool(add)
    lab.execute(lab.flow().add_map("add", list(range(20)), step_id="map"))
    assert len(commits) == 1
    assert commits[0] == len(lab.events())


def test_exit_does_not_hold_an_endless_run_in_memory(make_lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number of events some are written early."""
    monkeypatch.setattr(recorder, "EXIT_BUFFER", 50)
    lab = make_lab(durability="exit")
    commits: list[int] = []
    lab.store.subscribe(lambda rows: commits.append(len(rows)))

    async def add(x: int) -> int:
        return x + 1

    lab.tool(add)
    flow = lab.flow(mode="sequential")
    for n in range(100):
        flow.add_step("add", {"x": n}, step_id=f"s{n}")
    assert lab.execute(flow).success
    assert len(commits) > 5
    assert max(commits) < 100


@pytest.fixture
def writers(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes that write runs into one store."""
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "runs.duckdb"), "async", "40"]
    processes = [subprocess.Popen(command) for _ in range(2)]
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def test_two_processes_write_while_a_third_reads(tmp_path: Path, writers: list[Any]) -> None:
    """The reader never meets an error and never sees less than before; in the end all runs are there."""
    seen: list[int] = []
    with Store(tmp_path / "runs.duckdb") as store:
        while any(process.poll() is None for process in writers):
            seen.append(store.query("SELECT count(*) FROM runs")[0][0])
            torn = store.query(
                "SELECT count(*) FROM runs r WHERE status = 'success' AND "
                "(SELECT count(*) FROM steps s WHERE s.run_id = r.run_id) <> 51"
            )
            assert torn == [(0,)]
        assert [process.wait(timeout=180) for process in writers] == [0, 0]
        assert store.query("SELECT status, count(*) FROM runs GROUP BY status") == [("success", 80)]
        assert store.query("SELECT count(*) FROM steps") == [(80 * 51,)]
        assert store.query("SELECT count(DISTINCT pid) FROM runs") == [(2,)]
    assert seen == sorted(seen)
