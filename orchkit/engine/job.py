"""What one request to run a workflow comes to: an execution, or the recorded result that answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from orchkit.engine.execution import Execution
from orchkit.engine.gate import Gate
from orchkit.engine.idempotency import Asked, Granted, Once, Replay
from orchkit.engine.recorded import read_result, recorded_result, result_text
from orchkit.errors import StoreError
from orchkit.model.result import RunStatus, WorkflowResult
from orchkit.model.state import fold
from orchkit.store.claims import Claim
from orchkit.store.store import Store


class Job(Protocol):
    """What a handle holds."""

    @property
    def run_id(self) -> str:
        """The id of the run."""
        ...

    @property
    def name(self) -> str:
        """The name of the workflow."""
        ...

    @property
    def status(self) -> RunStatus:
        """Where the run is."""
        ...

    async def run(self) -> WorkflowResult:
        """Run to the end."""
        ...

    def cancel(self, reason: str) -> None:
        """Cancel it."""
        ...

    @property
    def gate(self) -> Gate | None:
        """Where it can be paused and led; None when it is over already."""
        ...


class Answered:
    """A request whose result is on record: there is nothing to run."""

    def __init__(self, result: WorkflowResult) -> None:
        self.result = result
        self.run_id, self.name = result.run_id, result.name
        self.status: RunStatus = result.status

    async def run(self) -> WorkflowResult:
        """The recorded result."""
        return self.result

    def cancel(self, reason: str) -> None:
        """It is over already."""

    gate: Gate | None = None


class KeyedJob:
    """A run under an idempotency key: begins once the key is ours, if it is not answered by then."""

    def __init__(self, asked: Asked, execution: Execution, go_on: Callable[[str], Execution]) -> None:
        self._asked, self._execution, self._go_on = asked, execution, go_on
        self._once = Once(execution.orchestrator.store)
        self._waiting: asyncio.Task[WorkflowResult] | None = None
        self._answer: WorkflowResult | None = None

    @property
    def run_id(self) -> str:
        """The id of the run, which may be that of an earlier one."""
        return self._execution.run_id if self._answer is None else self._answer.run_id

    @property
    def name(self) -> str:
        """The name of the workflow."""
        return self._execution.name

    @property
    def status(self) -> RunStatus:
        """Where the run is; pending while another one with this key is waited for."""
        return self._execution.status if self._answer is None else self._answer.status

    async def run(self) -> WorkflowResult:
        """Run to the end, or return the recorded result; raises what `Once.claim` raises."""
        self._waiting = asyncio.current_task()
        granted = await self._once.claim(self._asked, self._execution.run_id)
        self._waiting = None
        if isinstance(granted, Replay):
            self._answer = replayed(self._execution.orchestrator.store, granted)
            return self._answer
        try:
            self._execution = await self._chosen(granted)
            result = await self._execution.run()
        except BaseException:
            self._once.give_up(granted.claim)
            raise
        if not self._once.finish(granted.claim):
            raise self._once.lost(granted.claim)
        return result

    async def _chosen(self, granted: Granted) -> Execution:
        """The execution that is to run: the one that was asked for, or the one that its owner left behind."""
        execution = self._execution
        if granted.goes_on:
            # The record is in the history: reading it must not hold up what else runs on this loop.
            execution = await asyncio.to_thread(self._go_on, granted.claim.run_id)
        execution.choices.append(granted.decision)
        execution.settle = lambda result: self._settle(granted.claim, result)
        return execution

    def _settle(self, claim: Claim, result: WorkflowResult) -> None:
        if result.success:
            self._once.settle(claim, result=result_text(result), error=None)
        else:
            error = f"{result.status}: {result.error}" if result.error else result.status
            self._once.settle(claim, result=None, error=error)

    def cancel(self, reason: str) -> None:
        """Cancel the run, or the waiting for another one."""
        if self._waiting is not None:
            self._waiting.cancel(reason)
        else:
            self._execution.cancel(reason)

    @property
    def gate(self) -> Gate | None:
        """That of the execution."""
        return self._execution.gate


def replayed(store: Store, replay: Replay) -> WorkflowResult:
    """The recorded result of a run: from its claim, or when it is large from its events."""
    claim = replay.claim
    if claim.result is not None:
        return read_result(claim.result)
    events = store.events(claim.run_id)
    if not events:
        raise StoreError(f"the recorded result of request {claim.key!r} is gone: {claim.run_id} was removed")
    return recorded_result(fold(events))
