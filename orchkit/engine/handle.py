"""A hold on a run that is going on in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future
from typing import Any

from orchkit.engine.dispatch import Orchestrator
from orchkit.engine.job import Job
from orchkit.engine.loop import loop_thread
from orchkit.errors import ExecutionError
from orchkit.executors.threads import away
from orchkit.model.display import Displayable, view_of
from orchkit.model.result import RunStatus, WorkflowResult
from orchkit.reliability.guards import Breakers
from orchkit.store.store import Store

ANSWER_S = 30.0
"""How long something may hold up the loop of a run before who asked gives up."""


class RunHandle(Displayable):
    """What `start` returns: await it, or ask, wait, pause, step and cancel from any thread."""

    def __init__(
        self,
        job: Job,
        future: Future[WorkflowResult],
        loop: asyncio.AbstractEventLoop,
        orchestrator: Orchestrator,
        open_run: Callable[[str], Any] | None = None,
    ) -> None:
        self._job, self._future, self._loop = job, future, loop
        self._open_run = open_run
        self.store: Store = orchestrator.store
        """Where the run is recorded."""
        self.breakers: Breakers = orchestrator.guards.breakers
        """The circuit breakers that its calls go through."""

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
    def name(self) -> str:
        """The name of the workflow."""
        return self._job.name

    def monitor(self) -> Any:
        """The run as it goes on, to watch and to lead it in a notebook; a handle shows itself as one.

        Shown while the run goes on it is live: the steps on the picture, what is waited for and why, buttons
        to pause, step, skip, retry and cancel. When the run ends it turns into a plain picture and tables,
        which a saved notebook keeps. See `orchkit.views.monitor.Monitor`.
        """
        return view_of("monitor", self)

    def _ipython_display_(self) -> None:
        if self.done:
            raise NotImplementedError  # then IPython shows it like any other record
        self.monitor()._ipython_display_()

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

    @property
    def waiting(self) -> tuple[str, ...]:
        """While paused: the ids of the steps that would start next, in order."""
        gate = self._job.gate
        return () if gate is None or self.done else gate.waiting

    @property
    def held(self) -> tuple[str, ...]:
        """The ids of the steps that failed and wait for `retry`, `skip`, or `resume` to accept it."""
        gate = self._job.gate
        return () if gate is None or self.done else gate.held

    @property
    def paused_because(self) -> str | None:
        """Why the run is paused; None while it goes on by itself."""
        gate = self._job.gate
        return None if gate is None or self.done else gate.reason

    def pause(self) -> None:
        """Start no further steps until `resume` or `step`; also in sub-workflows."""
        if self._job.gate is not None:
            self._tell(self._job.gate.pause)

    def resume(self) -> None:
        """Go on by itself, up to the next breakpoint; failures that were held are accepted."""
        if self._job.gate is not None:
            self._tell(self._job.gate.resume)

    def step(self, params: Mapping[str, Any] | None = None) -> None:
        """While paused: let one more step start, with some of its parameters replaced if they are given.

        Raises `ExecutionError` when parameters are given and no step waits.
        """
        if self._job.gate is None:
            return
        if params is None:
            self._tell(self._job.gate.step)
        else:
            self._ask(self._job.gate.step, params)

    def skip(self, step_id: str | None = None) -> None:
        """While paused: pass over a step that waits or is held, by default the first.

        Steps that need its output are skipped as well. Raises `ExecutionError` when it does not wait.
        """
        if self._job.gate is not None:
            self._ask(self._job.gate.skip, step_id)

    def retry(self, step_id: str | None = None, params: Mapping[str, Any] | None = None) -> None:
        """Run a step that is held because it failed once more, by default the first.

        With ``params`` some of its parameters are replaced. Raises `ExecutionError` when it is not held.
        """
        if self._job.gate is not None:
            self._ask(self._job.gate.retry, step_id, params)

    def _ask(self, action: Callable[..., None], *args: Any) -> None:
        """Do something on the loop of the run, and raise what it raises."""
        if self._future.done():
            raise ExecutionError(f"{self.run_id} is over")
        if loop_thread.is_current:
            action(*args)
            return
        answer: Future[None] = Future()

        def act() -> None:
            try:
                action(*args)
                answer.set_result(None)
            except Exception as error:
                answer.set_exception(error)

        self._loop.call_soon_threadsafe(act)
        with away():
            answer.result(ANSWER_S)

    def _tell(self, action: Callable[..., None], *args: Any) -> None:
        if not self._future.done():
            self._loop.call_soon_threadsafe(action, *args)

    def __await__(self) -> Generator[Any, None, WorkflowResult]:
        # Shielded: whoever gives up waiting (`asyncio.wait_for`) does not cancel the run; see `cancel`.
        return asyncio.shield(asyncio.wrap_future(self._future)).__await__()

    def __repr__(self) -> str:
        return f"<RunHandle {self.run_id} of {self._job.name!r}: {self.status}>"
