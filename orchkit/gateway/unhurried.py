"""The record of a request that nobody has to wait for: its begin is written with its end."""

from __future__ import annotations

import logging
from typing import Final

from orchkit.clock import Alarm
from orchkit.engine.recorder import StepScope, current_scope
from orchkit.errors import StoreError
from orchkit.model import event as ev

log = logging.getLogger("orchkit.gateway")
LATEST_S: Final = 0.05
"""A request that takes longer is written down while it goes on: half of all writes are spared, and who looks
sees what takes long; so does who looks after a crash."""


class Unhurried(StepScope):
    """A step whose attempts begin without waiting for the disk."""

    __slots__ = ("_alarm",)

    def __init__(self, step: StepScope) -> None:
        super().__init__(step.recorder, step.step_id, step.attempt, step.forgiven)
        self._alarm: Alarm | None = None

    async def attempt_started(self, attempt: int) -> None:
        """Record the start of an attempt, to be written soon."""
        self.attempt = attempt
        recorder = self.recorder
        current_scope.set(StepScope(recorder, self.step_id, attempt))
        recorder.event(ev.ATTEMPT_STARTED, {}, self.step_id, attempt)
        if self._alarm is None:
            self._alarm = recorder.store.clock.alarm(LATEST_S, self._write)

    def over(self) -> None:
        """The end is written by whoever ends the run."""
        if self._alarm is not None:
            self._alarm.cancel()

    def _write(self) -> None:
        try:
            self.recorder.store.commit()
        except StoreError as error:  # it is tried again with the end, and told then
            log.warning("what a request does cannot be recorded now: %s", error)
