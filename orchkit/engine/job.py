"""What one request to run a workflow comes to: an execution, or the recorded result that answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from orchkit.engine.execution import Execution
from orchkit.engine.gate import Gate
from orchkit.engine.idempotency import LAST_POLL_S, Asked, Granted, Once, Replay
from orchkit.engine.recorded import Code, edited, read_result, recorded_result, result_text
from orchkit.errors import RunInProgressError, StoreError
from orchkit.model.notice import tell
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


class ClaimedJob:
    """A run under an idempotency key that is ours."""

    def __init__(self, execution: Execution, granted: Granted | None = None) -> None:
        self._execution, self._granted = execution, granted
        self._once = Once(execution.orchestrator.store)
        if granted is not None:
            execution.choices.append(granted.decision)

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._execution.run_id

    @property
    def name(self) -> str:
        """The name of the workflow."""
        return self._execution.name

    @property
    def status(self) -> RunStatus:
        """Where the run is."""
        return self._execution.status

    async def run(self) -> WorkflowResult:
        """Run to the end, which settles the key."""
        assert self._granted is not None
        return await self._run_claimed(self._granted.claim)

    async def _run_claimed(self, claim: Claim) -> WorkflowResult:
        self._execution.settle = lambda result: self._settle(claim, result)
        try:
            result = await self._execution.run()
        except BaseException:
            self._once.give_up(claim)
            raise
        if not self._once.finish(claim):
            raise self._once.lost(claim)
        return result

    def _settle(self, claim: Claim, result: WorkflowResult) -> None:
        if result.success:
            self._once.settle(claim, result=result_text(result, self._execution.compiled.code), error=None)
        else:
            error = f"{result.status}: {result.error}" if result.error else result.status
            self._once.settle(claim, result=None, error=error)

    def cancel(self, reason: str) -> None:
        """Cancel the run."""
        self._execution.cancel(reason)

    @property
    def gate(self) -> Gate | None:
        """That of the execution."""
        return self._execution.gate


class KeyedJob(ClaimedJob):
    """A run that begins once its key is ours, if it is not answered by then."""

    def __init__(self, asked: Asked, execution: Execution, go_on: Callable[[str], Execution]) -> None:
        super().__init__(execution)
        self._asked, self._go_on = asked, go_on
        self._task: asyncio.Task[Any] | None = None
        self._waiting = self._interrupted = False
        self._given_up: str | None = None
        self._answer: WorkflowResult | None = None

    @property
    def run_id(self) -> str:
        """The id of the run, which may be that of an earlier one."""
        return super().run_id if self._answer is None else self._answer.run_id

    @property
    def status(self) -> RunStatus:
        """Where the run is; pending while another one with this key is waited for."""
        return super().status if self._answer is None else self._answer.status

    async def run(self) -> WorkflowResult:
        """Run to the end, or return the recorded result; raises what `Once.claim` raises."""
        self._task = asyncio.current_task()
        while True:
            granted = await self._claimed()
            if isinstance(granted, Replay):
                self._answer = await self._replayed(granted)
                return self._answer
            if await self._chosen(granted):
                break
            await self._pause_a_little()
        result = await self._run_claimed(granted.claim)
        if self._interrupted:
            raise asyncio.CancelledError(self._given_up)
        return result

    async def _claimed(self) -> Granted | Replay:
        asked = self._asked
        if self._given_up is not None:  # it is not waited for
            asked = replace(asked, key=replace(asked.key, on_in_flight="raise"))
        with self._interruptible():
            return await self._once.claim(asked, self._execution.run_id)

    async def _pause_a_little(self) -> None:
        with self._interruptible():
            await self._execution.clock.sleep(LAST_POLL_S)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Around the waiting for others: who gives that up with `cancel` is told that they are at it."""
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        self._waiting = True
        try:
            yield
        except asyncio.CancelledError:
            if task is None or self._given_up is None or task.uncancel() > before:
                raise
            raise self._once.in_flight(self._asked) from None
        finally:
            self._waiting = False

    async def _replayed(self, replay: Replay) -> WorkflowResult:
        store, code = self._execution.orchestrator.store, self._execution.compiled.code
        if replay.claim.result is not None:
            return replayed(store, replay, code)
        # A large one is in the history: reading it must not hold up what else runs on this loop.
        return await asyncio.to_thread(replayed, store, replay, code)

    async def _chosen(self, granted: Granted) -> bool:
        """Whether there is an execution to run: the one that was asked for, or what its owner left behind.

        When somebody has resumed the latter by its id it is as if its owner were alive.
        """
        try:
            if granted.goes_on:
                await self._take_over(granted.claim.run_id)
        except RunInProgressError as error:
            self._once.give_up(granted.claim)
            if self._interrupted:
                raise asyncio.CancelledError(self._given_up) from error
            if self._asked.key.on_in_flight == "raise" or self._given_up is not None:
                raise self._once.in_flight(self._asked, error.holder) from error
            return False
        except BaseException:
            self._once.give_up(granted.claim)
            raise
        self._execution.choices.append(granted.decision)
        return True

    async def _take_over(self, run_id: str) -> None:
        """Make the run ours, in a thread because its record is in the history.

        That cannot be interrupted: who cancels it meanwhile cancels what goes on.
        """
        reading = asyncio.ensure_future(asyncio.to_thread(self._go_on, run_id))
        while not reading.done():
            try:
                await asyncio.wait((reading,))
            except asyncio.CancelledError as error:
                self._interrupted = True
                self._given_up = str(error) or "the awaiting task was cancelled"
        asked_for, self._execution = self._execution, reading.result()
        if self._given_up is not None:
            self._execution.cancel(self._given_up)
        if asked_for.gate.closed and not self._execution.gate.closed:
            self._execution.gate.pause(asked_for.gate.reason or "by hand")

    def cancel(self, reason: str) -> None:
        """Cancel the run; while another one is waited for, give that up (`DuplicateRequestError`)."""
        self._given_up = self._given_up or reason
        if self._waiting and self._task is not None:
            self._task.cancel(reason)
        else:
            super().cancel(reason)


def replayed(store: Store, replay: Replay, code: Code) -> WorkflowResult:
    """The recorded result of a run: from its claim, or when it is large from its events.

    When the code has been edited since, which a key does not look at, that is told once.
    """
    claim = replay.claim
    if claim.result is not None:
        result = read_result(claim.result, code)
    else:
        events = store.events(claim.run_id)
        if not events:
            gone = f"the recorded result of request {claim.key!r} is gone: {claim.run_id} was removed"
            raise StoreError(gone)
        state = fold(events)
        result = recorded_result(state)
        result.edited = edited({name: facts.get("hash") for name, facts in state.code.items()}, code)
    if result.edited and (claim.run_id, result.edited) not in _told:
        _told.add((claim.run_id, result.edited))
        tell(
            f"this is the recorded result of request {claim.key!r}, but the code of "
            f"{', '.join(result.edited)} was edited since: use another key, or kit.forget({claim.key!r})"
        )
    return result


_told: set[tuple[str, tuple[str, ...]]] = set()
