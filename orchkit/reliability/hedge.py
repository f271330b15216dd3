"""Hedging: another try beside a slow one; the first success counts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from orchkit.model.limits import HedgePolicy
from orchkit.reliability.call import Call, Handler


@dataclass(slots=True)
class _Race:
    """The tries that run, by task, with their numbers."""

    call: Call
    inner: Handler
    running: dict[asyncio.Task[Any], int] = field(default_factory=dict)
    started: int = 0

    def start(self) -> None:
        """One more."""
        self.started += 1
        task = asyncio.ensure_future(_run(self.inner, self.call.twin()))
        self.running[task] = self.started

    async def next(self, seconds: float | None) -> set[asyncio.Task[Any]]:
        """The tries that end first; none when that takes longer than so many seconds."""
        limit = self.call.clock.timeout(seconds)
        try:
            async with limit:
                done, _ = await asyncio.wait(self.running, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            if limit.expired():
                return set()
            raise
        return done

    async def stop(self, tasks: Iterable[asyncio.Task[Any]]) -> None:
        """Cancel them and wait until they have written down their end."""
        left = list(tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


async def _run(inner: Handler, call: Call) -> Any:
    return await inner(call)


@dataclass(frozen=True, slots=True)
class Hedge:
    """The layer: a call with others started beside it while it is slow."""

    policy: HedgePolicy

    async def __call__(self, call: Call, inner: Handler) -> Any:
        """Run the call; raises the last error when all tries fail. A failure by itself starts none."""
        race = _Race(call, inner)
        race.start()
        failure: BaseException | None = None
        try:
            while race.running:
                may_start = race.started <= self.policy.max_hedges
                done = await race.next(self.policy.delay if may_start else None)
                if not done:
                    self._start(race)
                for task in sorted(done, key=race.running.__getitem__):
                    number = race.running.pop(task)
                    failure = task.exception() if not task.cancelled() else asyncio.CancelledError()
                    if failure is None:
                        self._won(race, number)
                        return task.result()
        finally:
            await race.stop(race.running)
        assert failure is not None
        raise failure

    def _start(self, race: _Race) -> None:
        reason = f"no answer after {self.policy.delay * race.started:g} s"
        race.start()
        inputs = {"delay_s": self.policy.delay, "tries": race.started, "max_hedges": self.policy.max_hedges}
        race.call.record.decided("hedge", "started", reason, inputs)

    def _won(self, race: _Race, number: int) -> None:
        if race.started == 1:
            return
        which = "the first try" if number == 1 else f"hedge {number - 1}"
        inputs = {"try": number, "tries": race.started, "cancelled": len(race.running)}
        race.call.record.decided("hedge", "won", f"{which} answered first", inputs)
