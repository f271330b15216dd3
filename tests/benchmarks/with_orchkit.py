"""The workloads on orchkit; the variant is the durability."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from typing import Any

from floor import NAP_S, RUN_STEPS, TRIES
from task import Stopwatch, Task, expect

import orchkit as ok

WARM_UP = 20
GROWN = 100
"""How many times longer the long chain of the workload ``growth`` is."""
_tries: Counter[int] = Counter()


@ok.method
async def bench_add(x: int) -> int:
    """One more."""
    return x + 1


@ok.method
def bench_add_sync(x: int) -> int:
    """One more, from a worker thread."""
    return x + 1


@ok.method
async def bench_count(xs: list[int]) -> int:
    """How many there are."""
    return len(xs)


@ok.method
async def bench_nap(x: int) -> int:
    """Wait as for a slow service."""
    await asyncio.sleep(NAP_S)
    return x


@ok.method
def bench_nap_sync(x: int) -> int:
    """Wait as for a slow service, blocking."""
    time.sleep(NAP_S)
    return x


@ok.method
async def bench_flaky(x: int) -> int:
    """Fail twice, then succeed."""
    _tries[x] += 1
    if _tries[x] < TRIES:
        raise ConnectionError("not yet")
    return x


def measure(task: Task, folder: Path) -> dict[str, float]:
    """Seconds of the workload (and, for ``growth``, what it says of the length of a chain)."""
    asyncio.run(_warm_up(task))
    if task.workload == "growth":
        return asyncio.run(_growth(task, folder))
    if task.workload == "during_ingest":
        return asyncio.run(_during_ingest(task, folder))
    return asyncio.run(_plain(task, folder))


def _open(task: Task, folder: Path, name: str) -> ok.Kit:
    return ok.open(folder / f"{name}.duckdb", durability=task.variant)  # type: ignore[arg-type]


def _compile(kit: ok.Kit, flow: ok.Workflow) -> float:
    """Check and compile a workflow ahead of its run, as the second run of a cell would find it; seconds."""
    with Stopwatch() as watch:
        kit.engine._compiled.get(flow)
    return watch.seconds


async def _warm_up(task: Task) -> None:
    """Everything that is done once per process, in a store of its own that is gone before we measure."""
    workload = task.workload if task.workload in WORKFLOWS else "chain"
    with ok.open(durability=task.variant) as kit:  # type: ignore[arg-type]
        (await kit.execute(WORKFLOWS[workload](WARM_UP))).raise_for_status()
    _tries.clear()


async def _plain(task: Task, folder: Path) -> dict[str, float]:
    repeats = task.size if task.workload == "runs" else 1
    flow = WORKFLOWS[task.workload](RUN_STEPS if task.workload == "runs" else task.size)
    with _open(task, folder, "runs") as kit:
        compile_s = _compile(kit, flow)
        with Stopwatch() as watch:
            for _ in range(repeats):
                result = await kit.execute(flow)
        _check(task, result.raise_for_status())
    return {"seconds": watch.seconds, "compile_s": compile_s}


def _check(task: Task, result: ok.WorkflowResult) -> None:
    last = list(result.steps.values())[-1].output
    wanted = {"runs": RUN_STEPS, "fan": task.size, "chain": task.size, "chain_sync": task.size}
    expect("the last output", last, wanted.get(task.workload, task.size - 1))


async def _growth(task: Task, folder: Path) -> dict[str, float]:
    """Cost per step of a long chain over that of a short one, which is measured before and after it."""
    short: list[float] = []
    short_compile: list[float] = []

    async def one_short(name: str) -> None:
        seconds, compile_s = await _one_chain(task, folder, name, task.size)
        short.append(seconds / task.size)
        short_compile.append(compile_s / task.size)

    for index in range(3):
        await one_short(f"before-{index}")
    long = task.size * GROWN
    seconds, compile_s = await _one_chain(task, folder, "long", long)
    for index in range(3):
        await one_short(f"after-{index}")
    per_step, base, base_compile = seconds / long, sorted(short)[3], sorted(short_compile)[3]
    return {
        "long_ms": per_step * 1000,
        "ratio": per_step / base,
        "ratio_compiling": (per_step + compile_s / long) / (base + base_compile),
        "compile_s": compile_s,
    }


async def _one_chain(task: Task, folder: Path, name: str, size: int) -> tuple[float, float]:
    flow = WORKFLOWS["chain"](size)
    with _open(task, folder, name) as kit:
        compile_s = _compile(kit, flow)
        with Stopwatch() as watch:
            result = await kit.execute(flow)
        expect("the last output", list(result.raise_for_status().steps.values())[-1].output, size)
    return watch.seconds, compile_s


async def _during_ingest(task: Task, folder: Path) -> dict[str, float]:
    """Milliseconds per step, alone and while the run before it moves into the history."""
    flow = WORKFLOWS["chain"](task.size)
    alone, _ = await _one_chain(task, folder, "alone", task.size)
    with _open(task, folder, "busy") as kit:
        _compile(kit, flow)
        (await kit.execute(flow)).raise_for_status()
        with Stopwatch() as watch:
            (await kit.execute(flow)).raise_for_status()
        begun = kit.store.history.is_open or kit.store.log.read("SELECT min(seq) FROM event")[0][0] > 1
    return {
        "alone_ms": alone / task.size * 1000,
        "busy_ms": watch.seconds / task.size * 1000,
        "cost": watch.seconds / alone,
        "begun": float(begun),
    }


# --- the workflows ---------------------------------------------------------------------------


def _chain(size: int, tool: str = "bench_add") -> ok.Workflow:
    parameters: list[Any] = [0, *(f"${{steps.s{index}}}" for index in range(size - 1))]
    return ok.Workflow(
        name="chain",
        execution_mode="sequential",
        steps=[
            ok.StepDefinition(step_id=f"s{index}", tool_name=tool, parameters={"x": x})
            for index, x in enumerate(parameters)
        ],
    )


def _fan(size: int) -> ok.Workflow:
    source = ok.StepDefinition(step_id="source", tool_name="bench_add", parameters={"x": -1})
    middle = [
        ok.StepDefinition(step_id=f"s{index}", tool_name="bench_add", parameters={"x": "${steps.source}"})
        for index in range(size)
    ]
    joined = {"xs": [f"${{steps.s{index}}}" for index in range(size)]}
    join = ok.StepDefinition(step_id="join", tool_name="bench_count", parameters=joined)
    return ok.Workflow(name="fan", execution_mode="dag", steps=[source, *middle, join])


def _naps(size: int, tool: str = "bench_nap") -> ok.Workflow:
    steps = [
        ok.StepDefinition(step_id=f"s{index}", tool_name=tool, parameters={"x": index})
        for index in range(size)
    ]
    return ok.Workflow(name="naps", execution_mode="parallel", steps=steps)


def _retries(size: int) -> ok.Workflow:
    policy = ok.RetryPolicy(strategy="fixed", delay=0.0, jitter="none", max_attempts=TRIES)
    steps = [
        ok.StepDefinition(
            step_id=f"s{index}", tool_name="bench_flaky", parameters={"x": index}, retry_policy=policy
        )
        for index in range(size)
    ]
    return ok.Workflow(name="retries", execution_mode="sequential", steps=steps)


WORKFLOWS = {
    "chain": _chain,
    "chain_sync": lambda size: _chain(size, "bench_add_sync"),
    "fan": _fan,
    "runs": _chain,
    "naps": _naps,
    "naps_sync": lambda size: _naps(size, "bench_nap_sync"),
    "retries": _retries,
}
