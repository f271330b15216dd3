"""A hold on a run that is going on in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any

from orchkit.engine.job import Job
from orchkit.engine.loop import loop_thread
from orchkit.errors import ExecutionError
from orchkit.executors.threads import away
from orchkit.model.display import Displayable
from orchkit.model.result import RunStatus, WorkflowResult


class RunHandle(Displayable):
    """What `start` returns: await it, or ask, wait, pause, step and cancel from any thread."""

    def __init__(
        self,
        job: Job,
        future: Future[WorkflowResult],
        loop: asyncio.AbstractEventLoop,
        open_run: Callable[[str], Any] | None = None,
    ) -> None:
        self._job, self._future, self._loop = job, future, loop
        self._open_run = open_run

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self._job.run_id

    @property
    def status(self) -> RunStatus:
        """Where the run is now."""
        return self._job.status

    @property
    def run(self) -> Any:
        """The record of the run (`orchkit.Run`), also while it goes on."""
        if self._open_run is None:
            raise ExecutionError(f"{self.run_id} has no record to show: the engine was made without a kit")
        return self._open_run(self.run_id)

    @property
    def done(self) -> bool:
        """Whether the run has ended."""
        return self._future.done()

    def result(self, timeout: float | None = None) -> WorkflowResult:
        """Wait for the end, at most ``timeout`` seconds (then TimeoutError), and return the result."""
        if loop_thread.is_current:
            raise ExecutionError(
                "waiting here would block the loop of the run itself: await the handle instead"
            )
        with away():
            return self._future.result(timeout)

    def cancel(self, reason: str = "cancelled by the user") -> None:
        """Cancel what runs, skip the rest; the result then says ``cancelled``."""
        self._tell(self._job.cancel, reason)

    def pause(self) -> None:
        """Start no further steps until `resume` or `step`."""
        self._tell(self._job.pause)

    def resume(self) -> None:
        """Go on after `pause`."""
        self._tell(self._job.resume)

    def step(self) -> None:
        """While paused: let one more step start."""
        self._tell(self._job.step)

    def _tell(self, action: Callable[..., None], *args: Any) -> None:
        if not self._future.done():
            self._loop.call_soon_threadsafe(action, *args)

    def __await__(self) -> Generator[Any, None, WorkflowResult]:
        # Shielded: whoever gives up waiting (`asyncio.wait_for`) does not cancel the run; see `cancel`.
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()

    def __repr__(self) -> str:
        return f"<RunHandle {self.run_id} of {self._job.name!r}: {self.status}>"
