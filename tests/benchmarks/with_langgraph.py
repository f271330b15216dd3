"""The workloads on LangGraph with its SQLite checkpointer; the variant is the durability.

Each in the shape that is fastest for it: a chain is one node that is run again and again (a graph of a
thousand nodes takes three times as long, the functional API does not wait for the disk between tasks).
"""

from __future__ import annotations

import asyncio
import operator
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypedDict

from floor import NAP_S, RUN_STEPS, TRIES
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, Send
from task import Stopwatch, Task, expect

WARM_UP = 20
_tries: Counter[int] = Counter()


class Chained(TypedDict):
    """What a chain hands on, and how far it goes."""

    x: int
    size: int


class Fanned(TypedDict):
    """What a fan hands on, and the outputs that it collects."""

    x: int
    size: int
    xs: Annotated[list[int], operator.add]


async def _add(state: Chained) -> dict[str, int]:
    return {"x": state["x"] + 1}


def _add_sync(state: Chained) -> dict[str, int]:
    return {"x": state["x"] + 1}


def _flaky(state: Chained) -> dict[str, int]:
    x = state["x"]
    _tries[x] += 1
    if _tries[x] < TRIES:
        raise ConnectionError("not yet")
    return {"x": x + 1}


def _collect(state: Fanned) -> dict[str, list[int]]:
    return {"xs": [state["x"] + 1]}


async def _nap(state: Fanned) -> dict[str, list[int]]:
    await asyncio.sleep(NAP_S)
    return {"xs": [state["x"]]}


def _count(state: Fanned) -> dict[str, int]:
    return {"x": len(state["xs"])}


def _loop(node: Callable[[Chained], Any], saver: Any, retry: RetryPolicy | None = None) -> Any:
    graph = StateGraph(Chained)
    graph.add_node("step", node, retry_policy=retry)
    graph.add_edge(START, "step")
    graph.add_conditional_edges(
        "step", lambda state: "step" if state["x"] < state["size"] else END, ["step", END]
    )
    return graph.compile(checkpointer=saver)


def _fan(node: Callable[[Fanned], Any], saver: Any) -> Any:
    graph = StateGraph(Fanned)
    graph.add_node("source", lambda state: {"x": 0})
    graph.add_node("work", node)
    graph.add_node("join", _count)
    graph.add_edge(START, "source")
    graph.add_conditional_edges(
        "source", lambda state: [Send("work", {"x": state["x"]}) for _ in range(state["size"])], ["work"]
    )
    graph.add_edge("work", "join")
    return graph.compile(checkpointer=saver)


def _retries(saver: Any) -> Any:
    policy = RetryPolicy(
        initial_interval=0.0, backoff_factor=1.0, jitter=False, max_attempts=TRIES, retry_on=ConnectionError
    )
    return _loop(_flaky, saver, policy)


GRAPHS: dict[str, Callable[[Any], Any]] = {
    "chain": lambda saver: _loop(_add, saver),
    "chain_sync": lambda saver: _loop(_add_sync, saver),
    "fan": lambda saver: _fan(_collect, saver),
    "runs": lambda saver: _loop(_add_sync, saver),
    "naps": lambda saver: _fan(_nap, saver),
    "retries": _retries,
}


def _arguments(task: Task, thread: str, size: int) -> dict[str, Any]:
    return {
        "input": {"x": 0, "size": size},
        "config": {"configurable": {"thread_id": thread}, "recursion_limit": task.size + WARM_UP + 10},
        "durability": task.variant,
    }


def measure(task: Task, folder: Path) -> dict[str, float]:
    """Seconds of the workload."""
    path = str(folder / "checkpoints.db")
    if task.workload in ("chain", "naps"):
        return asyncio.run(_async(task, path))
    repeats, size = (task.size, RUN_STEPS) if task.workload == "runs" else (1, task.size)
    with SqliteSaver.from_conn_string(path) as saver:
        graph = GRAPHS[task.workload](saver)
        graph.invoke(**_arguments(task, "warm-up", WARM_UP))
        _tries.clear()
        with Stopwatch() as watch:
            for index in range(repeats):
                result = graph.invoke(**_arguments(task, f"run-{index}", size))
    expect("the result", result["x"], size)
    return {"seconds": watch.seconds}


async def _async(task: Task, path: str) -> dict[str, float]:
    async with AsyncSqliteSaver.from_conn_string(path) as saver:
        graph = GRAPHS[task.workload](saver)
        await graph.ainvoke(**_arguments(task, "warm-up", WARM_UP))
        with Stopwatch() as watch:
            result = await graph.ainvoke(**_arguments(task, "run", task.size))
    expect("the result", result["x"], task.size)
    return {"seconds": watch.seconds}
