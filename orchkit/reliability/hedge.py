"""Hedging: another try beside a slow one; the first success counts."""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass
from typing import Any

from orchkit.clock import Alarm
from orchkit.model.limits import HedgePolicy
from orchkit.reliability.call import Call, Handler


@dataclass(frozen=True, slots=True)
class Hedge:
    """The layer: a call with others started beside it while it is slow."""

    policy: HedgePolicy

    async def __call__(self, call: Call, inner: Handler) -> Any:
        """Run the call; raises the last error when all tries fail. A failure by itself starts none."""
        race = _Race(self.policy, call, inner)
        race.set_alarm()
        try:
            try:
                output = await inner(call)
            except asyncio.CancelledError:
                if not race.lost():
                    raise
                return race.result()
            except Exception as error:
                if not race.hedges:
                    raise
                return await race.others(error)
            race.won(1)
            return output
        finally:
            await race.over()


class _Race:
    """One call, which runs in the task of the caller, and its hedges, which have tasks of their own.

    A call that is quick costs only an alarm that does not ring. When a hedge is first, the call is cancelled
    as a limit would cancel it.
    """

    __slots__ = (
        "alarm",
        "before",
        "call",
        "cancelled",
        "context",
        "end",
        "hedges",
        "inner",
        "policy",
        "started",
        "task",
        "winner",
    )

    def __init__(self, policy: HedgePolicy, call: Call, inner: Handler) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a call that may be hedged needs a task to cancel")
        self.task, self.before, self.cancelled = task, task.cancelling(), False
        self.policy, self.call, self.inner = policy, call, inner
        self.hedges: list[asyncio.Task[Any]] = []
        self.started = 1
        self.alarm: Alarm | None = None
        self.winner: asyncio.Task[Any] | None = None
        self.end: asyncio.Future[None] | None = None
        """Set when the call itself has failed: done when there is nothing to wait for any more."""
        self.context = contextvars.copy_context()

    # --- hedges ------------------------------------------------------------------------------

    def set_alarm(self) -> None:
        """Start another try in a while, if there may be one."""
        self.alarm = None
        if self.started > self.policy.max_hedges:
            return
        if self.policy.delay > 0:
            self.alarm = self.call.clock.alarm(self.policy.delay, self.start)
        else:
            self.start()

    def start(self) -> None:
        """One more try."""
        if self.winner is not None or self.task.cancelling() > self.before:
            return
        self.started += 1
        loop = asyncio.get_running_loop()
        task = loop.create_task(self.hedge(self.started), context=self.context.copy())
        self.hedges.append(task)
        task.add_done_callback(self.ended)
        self.set_alarm()

    async def hedge(self, number: int) -> Any:
        """In a task of its own: the same call once more."""
        reason = f"no answer after {self.policy.delay * (number - 1):g} s"
        inputs = {"delay_s": self.policy.delay, "tries": number, "max_hedges": self.policy.max_hedges}
        self.call.record.decided("hedge", "started", reason, inputs)
        return await self.inner(self.call.twin())

    def ended(self, task: asyncio.Task[Any]) -> None:
        """A hedge is done."""
        failed = task.cancelled() or task.exception() is not None
        if not failed and self.winner is None:
            self.winner = task
            if self.end is None:
                self.cancelled = True
                self.task.cancel()
        if self.end is not None and not self.end.done() and (self.winner is not None or self.all_done):
            self.end.set_result(None)

    @property
    def all_done(self) -> bool:
        """Whether no hedge runs."""
        return all(hedge.done() for hedge in self.hedges)

    # --- the end -----------------------------------------------------------------------------

    def lost(self) -> bool:
        """Whether the call was cancelled because a hedge was first, and by nobody else."""
        if not self.cancelled:
            return False
        self.cancelled = False
        return self.task.uncancel() <= self.before

    def result(self) -> Any:
        """What the first hedge gave."""
        assert self.winner is not None
        self.won(self.hedges.index(self.winner) + 2)
        return self.winner.result()

    async def others(self, error: Exception) -> Any:
        """The call itself has failed: wait for the hedges; raises the last error."""
        if self.winner is None and not self.all_done:
            self.end = asyncio.get_running_loop().create_future()
            await self.end
        if self.winner is not None:
            return self.result()
        failures = [hedge.exception() for hedge in self.hedges if not hedge.cancelled()]
        raise next((failure for failure in reversed(failures) if failure is not None), error)

    def won(self, number: int) -> None:
        """Say which try was first, if there were several."""
        if self.started == 1:
            return
        which = "the first try" if number == 1 else f"hedge {number - 1}"
        running = sum(not hedge.done() for hedge in self.hedges) + (number > 1 and self.end is None)
        inputs = {"try": number, "tries": self.started, "cancelled": running}
        self.call.record.decided("hedge", "won", f"{which} answered first", inputs)

    async def over(self) -> None:
        """Cancel what runs, and wait until it has written down its end."""
        if self.cancelled:  # and the call has answered all the same
            self.task.uncancel()
        if self.alarm is not None:
            self.alarm.cancel()
        running = [hedge for hedge in self.hedges if not hedge.done()]
        for hedge in running:
            hedge.cancel()
        if running:
            await asyncio.gather(*running, return_exceptions=True)
