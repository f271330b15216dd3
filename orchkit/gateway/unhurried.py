"""The record of requests that nobody has to wait for: what happens to all of them is written together."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from orchkit.engine.recorder import RunRecorder, StepScope, current_scope
from orchkit.errors import StoreError
from orchkit.model import event as ev
from orchkit.store.store import Store

log = logging.getLogger("orchkit.gateway")
LATEST_S: Final = 0.03
"""So long after it was recorded, at the latest, something is written; most requests are over by then, and one
write serves all of them. A process that is killed leaves what is older."""


class Batch:
    """What the requests of a gateway record, written together; on its loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._due = False

    def soon(self) -> None:
        """Write what was recorded, soon."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(LATEST_S, self._write)

    async def written(self, _: RunRecorder) -> None:
        """For the end of a run: it is not waited for."""
        self.soon()

    def _write(self) -> None:
        self._due = False
        if self._store.closed:
            return
        try:
            self._store.commit()
        except StoreError as error:  # it stays in memory, and goes with the next
            log.warning("requests cannot be recorded now: %s", error)


class Unhurried(StepScope):
    """A step whose attempts begin without waiting for the disk."""

    __slots__ = ("_batch",)

    def __init__(self, step: StepScope, batch: Batch) -> None:
        super().__init__(step.recorder, step.step_id, step.attempt, step.forgiven)
        self._batch = batch

    async def attempt_started(self, attempt: int) -> None:
        """Record the start of an attempt, to be written soon."""
        self.attempt = attempt
        recorder = self.recorder
        current_scope.set(StepScope(recorder, self.step_id, attempt))
        recorder.event(ev.ATTEMPT_STARTED, {}, self.step_id, attempt)
        self._batch.soon()

    async def written(self) -> None:
        """Whoever looks on sees soon what is waited for."""
        self._batch.soon()
