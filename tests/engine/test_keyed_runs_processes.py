"""Workflows under idempotency keys over several processes: races, deaths, interrupts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchkit.store.store import Store

# Two steps that leave a line each; the second waits until a file `go` is there, where that is asked for.
TOOLS = """
import json, os, sys, time
from pathlib import Path
import orchkit as ok

folder = Path(sys.argv[1])

def tell(*words):
    file = os.open(folder / "told.txt", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (" ".join(map(str, words)) + "\\n").encode())
    os.close(file)

registry = ok.Registry()

async def first(n: int) -> int:
    tell("first", n)
    return n + 1

def second(n: int, wait: bool = False) -> int:
    tell("second", n)
    while wait and not (folder / "go").exists():
        time.sleep(0.005)
    return n * 10

for function in (first, second):
    registry.methods.register_method(function)
kit = ok.open(folder / "runs.duckdb", registry=registry)

def flow(wait=False):
    built = kit.workflow("two").add_step("first", {"n": "${context.n}"}, step_id="a")
    return built.add_step("second", {"n": "${steps.a}", "wait": wait}, step_id="b").build()
"""
ONE = (
    TOOLS
    + """
try:
    print("ready", flush=True)
    result = kit.run(flow(True), context={"n": 1}, idempotency_key="k", on_in_flight=sys.argv[2])
    print(result.status, result.replayed, json.dumps(result.outputs), result.run_id, flush=True)
except KeyboardInterrupt:
    print("KeyboardInterrupt", flush=True)
except ok.OrchestrationError as error:
    print(type(error).__name__, error.run_id, flush=True)
kit.close()
"""
)
RACE = (
    TOOLS
    + """
import random
from collections import Counter
keys = list(range(50))
random.Random(int(sys.argv[2])).shuffle(keys)
workflow, outcomes = flow(), Counter()
print("ready", flush=True)
sys.stdin.readline()
for n in keys:
    wait = "wait" if n % 2 else "raise"
    try:
        result = kit.run(workflow, context={"n": n}, idempotency_key=f"k{n}", on_in_flight=wait)
        outcomes["replayed" if result.replayed else "executed"] += 1
        outcomes["wrong"] += result.outputs != {"a": n + 1, "b": (n + 1) * 10}
    except ok.DuplicateRequestError:
        outcomes["duplicate " + wait] += 1
    except Exception as error:
        outcomes[repr(error)] += 1
print(json.dumps(outcomes), flush=True)
kit.close()
"""
)


def told(folder: Path) -> list[str]:
    """The effects so far."""
    file = folder / "told.txt"
    return file.read_text().splitlines() if file.exists() else []


def until(condition: Callable[[], object]) -> None:
    """Wait for what other processes do."""
    end = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A starter of processes, which are ready when it returns, and gone when the test is over."""
    started: list[subprocess.Popen[str]] = []

    def begin(script: str, *args: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", script, str(tmp_path), *args]
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()


def said(process: Any) -> str:
    """What it says at its end."""
    # Not `communicate`, which knows nothing of what came in together with "ready".
    process.stdin.close()
    text = process.stdout.read()
    process.wait(180)
    return str(text).strip()


def test_processes_race_for_keys(start: Any, tmp_path: Path) -> None:
    """Eight processes ask for fifty keys each: fifty executions, and everybody else has the result."""
    racers = [start(RACE, str(seed)) for seed in range(8)]
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    outcomes: Counter[str] = Counter()
    for racer in racers:
        outcomes.update(json.loads(said(racer)))
    assert outcomes.pop("wrong") == 0
    assert outcomes["executed"] == 50
    assert outcomes.keys() <= {"executed", "replayed", "duplicate raise"}
    assert sum(outcomes.values()) == 400
    assert sorted(told(tmp_path)) == sorted(
        line for n in range(50) for line in (f"first {n}", f"second {n + 1}")
    )
    with Store(tmp_path / "runs.duckdb") as store:
        assert store.query("SELECT status, count(*) FROM runs GROUP BY status") == [("success", 50)]
        query = "SELECT status, sum(executions), sum(replays) FROM idempotency_keys GROUP BY status"
        assert store.query(query) == [("COMPLETED", 50, outcomes["replayed"])]
        assert store.open_runs.all() == []


def test_who_waits_for_one_that_dies_goes_on_with_its_run(start: Any, tmp_path: Path) -> None:
    """What that one had completed is not done again; the record says from whom it was taken over."""
    first = start(ONE, "raise")
    until(lambda: "second 2" in told(tmp_path))
    waiting = [start(ONE, "wait") for _ in range(2)]
    time.sleep(0.2)
    first.kill()
    first.wait()
    until(lambda: told(tmp_path).count("second 2") == 2)
    (tmp_path / "go").touch()
    results = [said(process).split(" ", 2) for process in waiting]
    assert sorted((status, replayed) for status, replayed, _ in results) == [
        ("success", "False"),
        ("success", "True"),
    ]
    assert results[0][2] == results[1][2]
    assert results[0][2].startswith('{"a": 2, "b": 20} run_')
    assert told(tmp_path) == ["first 1", "second 2", "second 2"]
    with Store(tmp_path / "runs.duckdb") as store:
        assert store.query("SELECT count(*) FROM runs") == [(1,)]
        decisions = store.query(
            "SELECT decision, rationale FROM decision_traces WHERE decision_point = 'idempotency' ORDER BY 1"
        )
        assert decisions == [
            ("execute", "no earlier request has this key"),
            ("take_over", "the process that executed it is gone"),
        ]
        query = "SELECT status, executions, replays FROM idempotency_keys"
        assert store.query(query) == [("COMPLETED", 1, 1)]
        attempts = store.query("SELECT step_id, attempt, status FROM attempts ORDER BY 1, 2")
        assert attempts == [("a", 1, "success"), ("b", 1, "in_doubt"), ("b", 2, "success")]
        assert store.open_runs.all() == []


def test_one_that_was_stopped_is_waited_for(start: Any, tmp_path: Path) -> None:
    """It may go on any moment: its key does not pass to who waits, nor to who asks."""
    first = start(ONE, "raise")
    until(lambda: "second 2" in told(tmp_path))
    first.send_signal(signal.SIGSTOP)
    waiting = start(ONE, "wait")
    asking = start(ONE, "raise")
    assert said(asking).startswith("DuplicateRequestError run_")
    (tmp_path / "go").touch()
    time.sleep(0.2)
    assert waiting.poll() is None
    first.send_signal(signal.SIGCONT)
    assert said(first).startswith("success False")
    assert said(waiting).startswith("success True")
    assert told(tmp_path) == ["first 1", "second 2"]


def test_an_interrupted_run_has_failed_and_is_executed_when_asked_for_again(
    start: Any, tmp_path: Path
) -> None:
    """Ctrl-C cancels the run, which is on record with its key before the interrupt goes on."""
    first = start(ONE, "raise")
    until(lambda: "second 2" in told(tmp_path))
    first.send_signal(signal.SIGINT)
    assert said(first) == "KeyboardInterrupt"
    with Store(tmp_path / "runs.duckdb") as store:
        assert store.query("SELECT status, error FROM idempotency_keys") == [
            ("FAILED", "cancelled: interrupted by the user")
        ]
        assert store.query("SELECT status FROM runs") == [("cancelled",)]
        assert store.open_runs.all() == []
    (tmp_path / "go").touch()
    assert said(start(ONE, "raise")).startswith("success False")
    assert told(tmp_path) == ["first 1", "second 2", "first 1", "second 2"]


def test_an_interrupt_while_waiting_is_an_interrupt(start: Any, tmp_path: Path) -> None:
    """It ends the waiting and nothing else."""
    first = start(ONE, "raise")
    until(lambda: "second 2" in told(tmp_path))
    waiting = start(ONE, "wait")
    time.sleep(0.3)
    waiting.send_signal(signal.SIGINT)
    assert said(waiting) == "KeyboardInterrupt"
    (tmp_path / "go").touch()
    assert said(first).startswith("success False")
    assert told(tmp_path) == ["first 1", "second 2"]


@pytest.mark.parametrize("durability", ["async", "exit"])
def test_what_was_not_on_disk_is_done_again(start: Any, tmp_path: Path, durability: str) -> None:
    """``async`` survives a kill as ``sync`` does; of an ``exit`` nothing is there: it begins again."""
    script = ONE.replace('idempotency_key="k"', f'idempotency_key="k", durability="{durability}"')
    first = start(script, "raise")
    until(lambda: "second 2" in told(tmp_path))
    first.kill()
    first.wait()
    (tmp_path / "go").touch()
    status, replayed, rest = said(start(script, "raise")).split(" ", 2)
    assert (status, replayed, json.loads(rest.rpartition(" ")[0])) == ("success", "False", {"a": 2, "b": 20})
    again = ["first 1", "second 2"] if durability == "exit" else ["second 2"]
    assert told(tmp_path) == ["first 1", "second 2", *again]
    with Store(tmp_path / "runs.duckdb") as store:
        assert store.query("SELECT status, durability FROM runs") == [("success", durability)]
        assert store.open_runs.all() == []


def test_a_run_that_is_resumed_by_its_id_answers_its_key(start: Any, tmp_path: Path) -> None:
    """While it goes on the key is in flight; after that it is settled."""
    first = start(ONE, "raise")
    until(lambda: "second 2" in told(tmp_path))
    first.kill()
    first.wait()
    resume = (
        TOOLS
        + """
print("ready", flush=True)
((run_id,),) = kit.store.query("SELECT run_id FROM runs")
print(kit.engine.resume(run_id).result(90).status, flush=True)
kit.close()
"""
    )
    resuming = start(resume)
    until(lambda: told(tmp_path).count("second 2") == 2)
    assert said(start(ONE, "raise")).startswith("DuplicateRequestError run_")
    waiting = start(ONE, "wait")
    (tmp_path / "go").touch()
    assert said(resuming) == "success"
    assert said(waiting).startswith("success True")
    assert said(start(ONE, "raise")).startswith("success True")
    assert told(tmp_path) == ["first 1", "second 2", "second 2"]
