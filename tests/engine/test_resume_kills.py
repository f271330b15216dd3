"""Real processes, killed at random moments and at every commit, and resumed: what is done stays done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import orchkit as ok
from orchkit.store.store import Store
from orchkit.testing import FaultyStore, crash_points

ROUNDS = int(os.environ.get("ORCHKIT_KILL_ROUNDS", "25"))
SEED = os.environ.get("ORCHKIT_KILL_SEED", "3")
"""How many runs are killed, and after that resumed, some of them killed again and again."""

# It forks a worker for each life, which saves the imports. A worker begins a run, or resumes what was cut
# off. Every effect is a line in a file, written at once, which no kill can take back.
KILLER = """
import asyncio, os, random, signal, sys, time
import duckdb, numpy
from orchkit.engine.builder import WorkflowBuilder
from orchkit.engine.dispatch import Orchestrator
from orchkit.engine.runner import WorkflowEngine
from orchkit.registry.registry import Registry
from orchkit.store.store import Store

folder, rounds, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
path, told = folder + "/runs.duckdb", folder + "/told.txt"

def tell(line):
    file = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (line + "\\n").encode())
    os.close(file)

def count(line):
    with open(told) as file:
        return file.read().splitlines().count(line)

def tools():
    registry = Registry()

    async def on_loop(label: str, value: int = 0) -> int:
        await asyncio.sleep(0.002)
        tell(label)
        await asyncio.sleep(0.002)
        return value + 1

    def in_thread(label: str, value: int = 0) -> int:
        time.sleep(0.002)
        tell(label)
        time.sleep(0.002)
        return value + 10

    def flaky(label: str) -> str:
        tell(label)
        if count(label) < 3:
            raise ConnectionError("not yet")
        return "at last"

    async def broken(label: str) -> None:
        tell(label)
        raise ValueError("broken")

    for function in (on_loop, in_thread, flaky, broken):
        registry.methods.register_method(function)
    return registry

def flow(registry, mode, fails):
    def named(name, **more):
        return {"label": "${context.nonce} " + name, **more}

    def new(name, how="dag"):
        return WorkflowBuilder(name, registry=registry).with_execution_mode(how)

    deep = new("deep").add_step("in_thread", named("deep", value="${context.v}"), step_id="deep")
    inner = new("inner", "sequential").add_step("on_loop", named("in1", value="${context.v}"), step_id="in1")
    inner.add_workflow(deep.build(), {"v": "${steps.in1}", "nonce": "${context.nonce}"}, step_id="below")
    inner.add_step("on_loop", named("in2"), step_id="in2")
    built = new("outer", mode)
    undo = {"tool": "in_thread", "params": named("undo a")}
    built.add_step("on_loop", named("a", value="${context.n}"), step_id="a", compensate=undo)
    retry = {"max_attempts": 9, "delay": 0.002}
    built.add_step("flaky", named("flaky"), step_id="flaky", retry=retry)
    items = named("item${item}", value="${steps.a}")
    built.add_map("in_thread", [0, 1, 2, 3, 4], items, step_id="map", max_concurrency=2)
    built.add_step("on_loop", named("never"), step_id="never", when="${steps.a} > 100")
    built.add_step("on_loop", named("always"), step_id="always", when="${steps.a} < 100")
    built.add_workflow(inner.build(), {"v": "${steps.map[2]}", "nonce": "${context.nonce}"}, step_id="sub")
    undo = {"tool": "on_loop", "params": named("undo b")}
    built.add_step("in_thread", named("b", value="${steps.sub.in2}"), step_id="b", compensate=undo)
    last = "broken" if fails else "on_loop"
    built.add_step(last, named("last"), step_id="last", depends_on=["b", "always", "flaky"])
    return built.build()

def live(nonce):
    registry = tools()
    store = Store(path)
    orchestrator = Orchestrator(registry=registry, store=store)
    engine = WorkflowEngine(orchestrator, durability=["sync", "async"][nonce % 2])
    if nonce >= 0:
        mode, fails = ["dag", "sequential"][nonce // 2 % 2], nonce % 3 == 2
        asyncio.run(engine.execute(flow(registry, mode, fails), context={"nonce": f"n{nonce}", "n": 3}))
    else:
        for run in store.open_runs.cut_off():
            engine.resume(run.run_id).result(60)
    os._exit(0)

def size():
    return os.stat(told).st_size if os.path.exists(told) else 0

def one_life(nonce, effects):
    # Whether it came to its end; killed a moment after so many effects, unless that is None.
    before = size()
    child = os.fork()
    if child == 0:
        try:
            live(nonce)
        except BaseException as error:
            print("worker:", repr(error), file=sys.stderr, flush=True)
        finally:
            os._exit(1)
    if effects is not None:
        while size() - before < effects * 9:
            if os.waitpid(child, os.WNOHANG)[0]:
                return True
            time.sleep(0.0005)
        time.sleep(rng.choice((0, rng.uniform(0, 0.004), rng.uniform(0, 0.02))))
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == 0

rng = random.Random(seed)
Store(path).close()
for nonce in range(rounds):
    one_life(nonce, rng.randrange(1, 15))
    while not one_life(-1, rng.choice((None, rng.randrange(0, 9)))):
        pass
"""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
EXPECTED = {
    **dict.fromkeys(["a", "always", "in1", "deep", "in2", "b", "last"], 1),
    **{f"item{n}": 1 for n in range(5)},
    "flaky": 3,
}


def steps_of(store: Store) -> dict[str, dict[str, Any]]:
    """By label: how many attempts ended, and which were in doubt, by the table and by the decisions."""
    found: dict[str, dict[str, Any]] = {}
    names = {}
    query = "SELECT run_id, step_id, payload->>'$.input.label' FROM events WHERE kind = 'step.scheduled'"
    for run_id, step_id, label in store.query(query):
        if label is not None:
            names[run_id, step_id] = label
            found[label] = {"ended": 0, "in_doubt": [], "said": []}
    for run_id, step_id, number, status in store.query(
        "SELECT run_id, step_id, attempt, status FROM attempts"
    ):
        step = found[names[run_id, step_id]]
        if status == "in_doubt":
            step["in_doubt"].append(number)
        else:
            step["ended"] += 1
    query = (
        "SELECT run_id, step_id, attempt FROM decision_traces "
        "WHERE decision_point = 'resume' AND step_id IS NOT NULL"
    )
    for run_id, step_id, number in store.query(query):
        found[names[run_id, step_id]]["said"].append(number)
    return found


@needs_fork
def test_runs_that_are_killed_at_random_moments_end_as_if_they_had_not_been(tmp_path: Path) -> None:
    """A completed step had its effect once, one in doubt once more for each kill; the record says which."""
    command = [sys.executable, "-c", KILLER, str(tmp_path), str(ROUNDS), SEED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30 + 4 * ROUNDS, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    effects = Counter((tmp_path / "told.txt").read_text().splitlines())
    with Store(tmp_path / "runs.duckdb") as store:
        steps = steps_of(store)
        runs = store.query("SELECT run_id, name, status, parent_run_id FROM runs")
        results = {
            (run_id, step_id): (status, output)
            for run_id, step_id, status, output in store.query(
                "SELECT run_id, step_id, status, output FROM steps"
            )
        }
        started = {
            nonce: (run_id, killed)
            for run_id, nonce, killed in store.query(
                "SELECT e.run_id, e.payload->>'$.context.nonce', (SELECT count(*) FROM events r "
                "WHERE r.run_id = e.run_id AND r.kind = 'run.resumed') FROM events e "
                "WHERE e.kind = 'run.started' AND e.payload->>'$.parent_run_id' IS NULL"
            )
        }
        assert store.open_runs.all() == []
    assert {status for _, _, status, _ in runs} <= {"success", "failed"}
    in_doubt = 0
    for nonce, (run_id, killed) in started.items():
        fails = int(nonce[1:]) % 3 == 2
        expected = {**EXPECTED, **({"undo a": 1, "undo b": 1} if fails else {})}
        for label, times in expected.items():
            step, happened = steps[f"{nonce} {label}"], effects[f"{nonce} {label}"]
            doubtful = len(step["in_doubt"])
            assert sorted(set(step["said"])) == sorted(step["in_doubt"]), (nonce, label)
            assert step["ended"] <= happened <= step["ended"] + doubtful, (nonce, label)
            assert doubtful <= killed
            assert times <= happened <= times + doubtful, (nonce, label, step, happened)
            in_doubt += doubtful
        assert effects[f"{nonce} never"] == 0
        ends = {step_id: outcome for (of, step_id), outcome in results.items() if of == run_id}
        assert ends["last"][0] == ("failed" if fails else "success")
        assert ends["never"][0] == "skipped"
        assert json.loads(ends["map"][1]) == [14] * 5
        assert json.loads(ends["sub"][1]) == {"in1": 15, "below": {"deep": 25}, "in2": 1}
        assert json.loads(ends["b"][1]) == 11
    # The kills were well spread: most runs had begun, and quite a few steps were in doubt.
    kills = sum(killed for _, killed in started.values())
    assert (len(started), kills, in_doubt) >= (ROUNDS * 0.8, ROUNDS, ROUNDS * 0.5)
    print(f"{len(started)} runs, {kills} kills, {in_doubt} steps in doubt")


# --- at every commit -----------------------------------------------------------------------


def tell(folder: Path, label: str) -> int:
    """Leave a line; how many of its kind there are by now."""
    with (folder / "told.txt").open("a") as file:
        file.write(f"{label}\n")
    return (folder / "told.txt").read_text().splitlines().count(label)


def wired(store: Any) -> tuple[ok.Kit, Any]:
    """A kit with tools that leave lines beside the store, and a workflow of them."""
    folder = store.path.parent
    registry = ok.Registry()

    async def on_loop(label: str, value: int = 0) -> int:
        tell(folder, label)
        return value + 1

    def in_thread(label: str, value: int = 0) -> int:
        tell(folder, label)
        return value + 10

    async def flaky(label: str) -> str:
        if tell(folder, label) < 2:
            raise ConnectionError("not yet")
        return label

    for function in (on_loop, in_thread, flaky):
        registry.methods.register_method(function)
    kit = ok.Kit(store, registry=registry)
    inner = kit.workflow("inner").add_step("in_thread", {"label": "x", "value": "${context.v}"}, step_id="x")
    built = kit.workflow("outer").with_execution_mode("sequential")
    built.add_step("on_loop", {"label": "a"}, step_id="a")
    built.add_step("flaky", {"label": "flaky"}, step_id="flaky", retry={"max_attempts": 3, "delay": 0})
    built.add_map("in_thread", [1, 2], {"label": "item${item}", "value": "${steps.a}"}, step_id="map")
    built.add_workflow(inner.build(), {"v": "${steps.map[0]}"}, step_id="sub")
    return kit, built.add_step("on_loop", {"label": "b", "value": "${steps.sub.x}"}, step_id="b").build()


OUTPUTS = {"a": 1, "flaky": "flaky", "map": [11, 11], "sub": {"x": 21}, "b": 22}
ONCE = Counter({"a": 1, "flaky": 2, "item1": 1, "item2": 1, "x": 1, "b": 1})


def keyed(store: FaultyStore) -> None:
    """Run it under a key."""
    kit, workflow = wired(store)
    with kit:
        kit.run(workflow, idempotency_key="k")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_keyed_run_that_is_killed_at_any_commit_goes_on_when_it_is_asked_for_again(
    tmp_path: Path, when: Any
) -> None:
    """It is resumed, not begun again; from then on it is answered."""
    crashes = 0
    for crash in crash_points(keyed, tmp_path, when=when):
        crashes += 1
        kit, workflow = wired(Store(crash.path))
        with kit:
            in_doubt = kit.store.query("SELECT count(*) FROM attempts WHERE status = 'running'")[0][0]
            result = kit.run(workflow, idempotency_key="k")
            assert result.outputs == OUTPUTS, crash
            again = kit.run(workflow, idempotency_key="k")
            assert (again.replayed, again.run_id, again.outputs) == (True, result.run_id, OUTPUTS), crash
            assert kit.store.query("SELECT count(*) FROM runs WHERE parent_run_id IS NULL") == [(1,)]
            assert kit.store.open_runs.all() == []
        told = Counter((crash.path.parent / "told.txt").read_text().splitlines())
        assert not ONCE - told, crash
        assert (told - ONCE).total() <= in_doubt, crash
    assert crashes >= 8
