"""A cell that is interrupted while it executes a request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchkit.engine.orchestrator import BaseOrchestrator
from orchkit.errors import OrchestrationError
from orchkit.kit import Kit
from orchkit.testing import MemoryStore


class Interrupted(BaseOrchestrator[int]):
    """Is interrupted the first time, as by Ctrl-C in a notebook cell that awaits it."""

    times = 0

    @property
    def orchestrator_name(self) -> str:
        return "interrupted"

    async def _execute_pipeline(self, context: dict[str, Any]) -> int:
        self.times += 1
        if self.times == 1:
            raise KeyboardInterrupt
        return self.times


def test_an_interrupted_request_can_be_made_again_at_once() -> None:
    """The interrupted execution has an end on record, so that neither its key nor its run stays in flight."""
    store = MemoryStore()
    with Kit(store) as kit, asyncio.Runner() as runner:
        job = Interrupted(kit)
        with pytest.raises(KeyboardInterrupt):
            runner.get_loop().run_until_complete(job.aexecute("r1", {}))
        assert store.open_runs.all() == []
        with pytest.raises(OrchestrationError, match="failed before: KeyboardInterrupt"):
            job.execute("r1", {}, on_failed="raise")
        assert job.execute("r1", {}) == 2
        assert job.execute("r1", {}) == 2
        assert kit.store.query("SELECT status FROM runs ORDER BY started_at") == [
            ("cancelled",),
            ("success",),
        ]
        rows = kit.store.query("SELECT status, executions, replays FROM idempotency_keys")
        assert rows == [("COMPLETED", 2, 1)]
