"""Cancelling a failed run at the very moment at which its undoing begins."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchkit.engine.compiled import CompiledCache
from orchkit.engine.execution import Execution
from orchkit.engine.options import RunOptions


@pytest.mark.parametrize("turns", range(10))
def test_a_cancellation_in_any_turn_of_the_loop_leaves_a_complete_record(lab: Any, turns: int) -> None:
    """Whether the undoing was about to begin or had begun: each step is undone, or said to be skipped."""

    async def fine() -> None: ...

    async def fail() -> None:
        after(turns)
        raise ValueError("broken")

    def after(left: int) -> None:
        if left:
            asyncio.get_running_loop().call_soon(after, left - 1)
        else:
            execution.cancel("not any more")

    async def undo() -> None:
        await lab.clock.sleep(1)

    for function in (fine, fail, undo):
        lab.tool(function)
    flow = lab.flow(mode="sequential")
    for name in ("a", "b"):
        flow.add_step("fine", step_id=name, compensate="undo")
    compiled = CompiledCache(lab.registry, lab.store).get(flow.add_step("fail").build())
    execution = Execution(lab.orchestrator, compiled, RunOptions())
    result = asyncio.run(execution.run())
    state = lab.states()[result.run_id]
    assert state.status == result.status
    assert result.status in ("failed", "cancelled")
    undone = [state.steps[f"compensate:{name}"].status for name in "ba"] if result.status == "failed" else []
    assert undone in ([], ["skipped", "skipped"], ["cancelled", "skipped"], ["success", "success"])
    assert lab.store.open_runs.all() == []
