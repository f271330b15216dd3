"""Repeats of a completed key: how long until the recorded answer is there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from task import Stopwatch, Task

import orchkit as ok


@ok.method
async def bench_answer(x: int) -> int:
    """What is to be computed only once."""
    return x + 1


class BenchAnswer(ok.BaseOrchestrator[dict]):
    """The same as the pipeline of an orchestrator."""

    orchestrator_name = "bench_answer_orchestrator"

    def _execute_pipeline(self, context: dict[str, Any]) -> dict[str, int]:
        return {"n": context["input"]["n"] + 1}


def measure(task: Task, folder: Path) -> dict[str, float]:
    """Microseconds per call."""
    flow = ok.WorkflowBuilder("bench_repeats").add_step(bench_answer, {"x": "${context.n}"}).build()
    with ok.open(folder / "runs.duckdb") as kit:
        pipeline = BenchAnswer(kit)
        for n in range(task.size):
            kit.run(flow, context={"n": n}, idempotency_key=f"run-{n}").raise_for_status()
            pipeline.execute(f"pipe-{n}", {"n": n})
    # A new process would read the same pages: what is cold here is every key, once.
    with ok.open(folder / "runs.duckdb") as kit:
        pipeline = BenchAnswer(kit)
        found = {
            "pipeline_cold": _each(task.size, lambda n: pipeline.execute(f"pipe-{n}", {"n": n})),
            "run_cold": _each(
                task.size, lambda n: kit.run(flow, context={"n": n}, idempotency_key=f"run-{n}")
            ),
            "pipeline_warm": _each(task.size, lambda _: pipeline.execute("pipe-0", {"n": 0})),
            "run_warm": _each(task.size, lambda _: kit.run(flow, context={"n": 0}, idempotency_key="run-0")),
            "await_warm": asyncio.run(_awaited(kit, flow, task.size)),
        }
        again = kit.run(flow, context={"n": 0}, idempotency_key="run-0")
        assert again.replayed
        assert again.outputs == {"bench_answer": 1}
    return found


def _each(size: int, call: Any) -> float:
    with Stopwatch() as watch:
        for n in range(size):
            call(n)
    return watch.seconds / size * 1e6


async def _awaited(kit: ok.Kit, flow: ok.Workflow, size: int) -> float:
    with Stopwatch() as watch:
        for _ in range(size):
            await kit.execute(flow, context={"n": 0}, idempotency_key="run-0")
    return watch.seconds / size * 1e6
