"""One run of a workflow: starts steps as they become ready, until nothing is left."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import Context, copy_context
from dataclasses import replace
from typing import Any, NoReturn

from orchkit.engine.before import Before
from orchkit.engine.compiled import Compiled
from orchkit.engine.dispatch import Orchestrator
from orchkit.engine.gate import Gate
from orchkit.engine.nodes import NodeRunner
from orchkit.engine.options import RunOptions
from orchkit.engine.plan import Node
from orchkit.engine.recorder import Earlier, RunRecorder
from orchkit.engine.references import Scope
from orchkit.engine.resumption import Resumption
from orchkit.engine.scheduling import Skip, Standing, run_status, skip_of
from orchkit.engine.steprun import fail, finish
from orchkit.engine.strays import end_strays
from orchkit.errors import StoreError
from orchkit.ids import new_id
from orchkit.model import event as ev
from orchkit.model.result import RunStatus, StepResult, WorkflowResult
from orchkit.reliability.classify import error_text


class Execution:
    """The moving parts of one run; everything happens on the loop that `run` is awaited on."""

    def __init__(
        self,
        orchestrator: Orchestrator,
        compiled: Compiled,
        options: RunOptions,
        *,
        run_id: str | None = None,
        parent: Execution | None = None,
        before: Before | None = None,
    ) -> None:
        self.run_id = run_id or new_id("run")
        self.before = before
        """What is known of the run, or of the one it was forked from, when it begins."""
        self.choices: list[Mapping[str, Any]] = []
        """Decisions that led to this run, for its record."""
        self.settle: Callable[[WorkflowResult], None] = _nothing
        """Told how the run ended, together with the events that say so."""
        self.compiled, self.plan, self.workflow = compiled, compiled.plan, compiled.plan.workflow
        self.options = options
        self.orchestrator = orchestrator
        self.clock = orchestrator.clock
        self.recorder = RunRecorder(orchestrator.store, self.run_id, options.durability)
        self.results: dict[str, StepResult] = {}
        self.outputs: dict[str, Any] = {}
        self.scope = Scope(self.outputs, options.context, self._run_facts())
        self._nodes = NodeRunner(self)
        self._standing = Standing()
        self._waiting_for = {step_id: len(node.after) for step_id, node in self.plan.nodes.items()}
        self._ready: deque[str] = deque(step_id for step_id, count in self._waiting_for.items() if not count)
        self._parent = parent
        self._context = Context()
        self._awaiting: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._undoing: asyncio.Task[None] | None = None
        self._unbegun: set[str] = set()
        self._gone_on: set[str] = set()
        self._wakeup: asyncio.Future[None] | None = None
        self._status: RunStatus = "pending"
        self._error: str | None = None
        self._stopped: str | None = None
        self._cancel_at_start: str | None = None
        self._fatal: BaseException | None = None
        self._held: dict[str, tuple[Node, StepResult]] = {}
        self.gate: Gate = parent.gate if parent is not None else Gate(options.breakpoints)

    def _run_facts(self) -> dict[str, Any]:
        options = self.options
        return {
            "id": self.run_id,
            "name": self.workflow.name,
            "user_id": options.user_id,
            "session_id": options.session_id,
            "casefile_id": options.casefile_id,
            "request_id": options.request_id,
        }

    @property
    def name(self) -> str:
        """The name of the workflow."""
        return self.workflow.name

    @property
    def status(self) -> RunStatus:
        """Where the run is."""
        return "paused" if self._status == "running" and self.gate.closed else self._status

    async def run(self) -> WorkflowResult:
        """Run to the end and return the result, whatever it is.

        Raises `StoreError` when the record cannot be written, and CancelledError (after recording)
        when the awaiting task is cancelled.
        """
        started_us = (self.before and self.before.started_us) or self.clock.now_us()
        self._context = copy_context()
        self._awaiting = asyncio.current_task()
        self._cancelling = self._awaiting.cancelling() if self._awaiting is not None else 0
        self._begin()
        interrupted = False
        try:
            self._pump()
            await self._until_drained()
        except asyncio.CancelledError:
            interrupted = True
            self.cancel(self._outer_reason())
            await self._drained_at_last()
        if self._fatal is not None:
            self._end_abruptly(started_us, self._fatal)
        if self._status == "running":
            statuses = (result.status for result in self.results.values())
            self._status = run_status(statuses, self.workflow.error_handling)
        self._sweep()
        if self._status == "failed":
            interrupted = await self._compensate() or interrupted
        result = self._finish(started_us)
        if interrupted or self.options.durability == "exit":
            self.orchestrator.store.commit()
        else:
            await self.recorder.barrier()
        self.orchestrator.store.ingest_soon()
        if interrupted:
            raise asyncio.CancelledError(self._stopped)
        return result

    def _begin(self) -> None:
        if self.before is None:
            with self.orchestrator.store.together():
                self.recorder.run_started(self.compiled.run_started(self.options, self.recorder))
        else:
            self.before.record(self.recorder, self.compiled, self.options)
        for choice in self.choices:
            self.recorder.decided(None, None, **choice)
        self._status = "running"
        if self.before is not None:
            self._adopt(self.before)
        self._watch_decisions()
        self.gate.enter(self)
        if self._cancel_at_start is not None:
            self.cancel(self._cancel_at_start)

    def _adopt(self, before: Before) -> None:
        """Take over the results that are kept, as if their steps had just ended."""
        for step_id, result in before.kept.items():
            node = self.plan.nodes.get(step_id)
            if node is not None:
                self._nodes.remember(step_id, before.inputs.get(step_id))
                if result.status == "skipped":
                    self._standing.passed_over.add(step_id)
                self._settle(node, result)
        self._ready = deque(step_id for step_id in self._ready if step_id not in self.results)
        if not isinstance(before, Resumption):
            return
        for step_id, params in before.given.items():
            self.gate.give(self.run_id, step_id, params)
        undoing = before.undoing
        if undoing is not None and self._stopped is None:
            self._status, self._error = "failed", undoing
            self._stop(undoing)

    async def _until_drained(self) -> None:
        limit = self.clock.timeout(self.workflow.timeout)
        try:
            async with limit:
                await self._drained()
        except TimeoutError:
            if not limit.expired():
                raise
            seconds = self.workflow.timeout
            self._status, self._error = "failed", f"the run exceeded its timeout of {seconds:g} s"
            self.recorder.cancel_reason = self._error
            self._stop(self._error)
            with self._recording():
                self.recorder.decided(
                    None,
                    None,
                    point="timeout",
                    decision="stop",
                    rationale=self._error,
                    input_data={"timeout_s": seconds},
                )
            await self._drained()

    async def _drained(self) -> None:
        while self._tasks or self._ready or self._held:
            self._wakeup = asyncio.get_running_loop().create_future()
            await self._wakeup

    async def _drained_at_last(self) -> None:
        """Wait for what is being cancelled; each further cancellation is passed on to it."""
        while True:
            try:
                return await self._drained()
            except asyncio.CancelledError:
                for task in self._tasks.values():
                    task.cancel()

    async def _compensate(self) -> bool:
        """Undo what was done; whether the awaiting task was cancelled over it, which ends the undoing."""
        interrupted = False
        self._undoing = task = asyncio.get_running_loop().create_task(self._nodes.compensate())
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError:
                interrupted = True
                self.cancel(self._outer_reason())
        if task.cancelled():  # before it had begun
            self._nodes.skip_undoing()
        else:
            task.result()
        return interrupted

    # --- starting and settling steps ---------------------------------------------------------

    def _pump(self) -> None:
        """Start or skip what is ready."""
        try:
            self._start_ready()
        except StoreError as error:
            self.break_off(error)
        if not self._tasks and (self._ready or self._held):
            # It waits for people, who may take all day, and no barrier of a next step comes meanwhile.
            self.recorder.commit_soon(self.break_off)

    def _start_ready(self) -> None:
        while self._ready:
            node = self.plan.nodes[self._ready[0]]
            skip = skip_of(node, self._standing)
            if skip is None and not self.gate.admits():
                return
            self._ready.popleft()
            if skip is not None:
                self._skip(node, skip)
            else:
                self._begin_step(node)

    def _begin_step(self, node: Node) -> None:
        step_id, loop = node.step.step_id, asyncio.get_running_loop()
        self._unbegun.add(step_id)
        # Each step begins in the context of the run, not in that of the step that ended before it; and
        # later: with an eager task factory it could be over before it is in the dict.
        self._tasks[step_id] = asyncio.Task(self._run(node), loop=loop, context=self._context.copy())

    async def _run(self, node: Node) -> None:
        step_id = node.step.step_id
        self._unbegun.discard(step_id)
        try:
            outcome = await self._nodes.run(node)
            if isinstance(outcome, Skip):
                self._skip(node, outcome)
            elif outcome.status == "failed" and self._holds_failures:
                self._held[step_id] = (node, outcome)
                self.gate.failed(step_id)
            else:
                self._settle(node, outcome)
        except BaseException as error:
            self.results.setdefault(step_id, StepResult(step_id, "cancelled", reason="the run ended"))
            self.break_off(error)
        del self._tasks[step_id]
        self._pump()
        self._wake()

    def _wake(self) -> None:
        if self._tasks or self._ready or self._held:
            return
        if self._wakeup is not None and not self._wakeup.done():
            self._wakeup.set_result(None)

    @property
    def _holds_failures(self) -> bool:
        return self.gate.breakpoints.on_failure and self._stopped is None and self._status == "running"

    def _watch_decisions(self) -> None:
        """Pause when a decision is made that was named as a breakpoint, in whichever thread."""
        points, loop = self.gate.breakpoints.decisions, asyncio.get_running_loop()
        if points:

            def watch(point: str) -> None:
                if point in points:
                    loop.call_soon_threadsafe(self.gate.pause, f"decision {point!r} was made")

            self.recorder.watch = watch

    def _settle(self, node: Node, result: StepResult) -> None:
        step_id = node.step.step_id
        self.results[step_id] = result
        if result.status == "success":
            self.outputs[step_id] = result.output
        elif result.status != "skipped":
            self._standing.failed.add(step_id)
            if result.status == "cancelled" and self._is_interrupted():
                self.cancel(self._outer_reason())
            if self._stopped is None and self.workflow.error_handling == "stop_on_failure":
                reason = f"step {step_id!r} {'failed' if result.status == 'failed' else 'was cancelled'}"
                self.recorder.cancel_reason = reason
                self._stop(reason)
        if self._stopped is None:
            self._release(node)

    def _release(self, node: Node) -> None:
        waiting_for = self._waiting_for
        for dependent in node.dependents:
            waiting_for[dependent] -= 1
            if not waiting_for[dependent] and dependent not in self.results:  # its result may be kept
                self._ready.append(dependent)

    def _skip(self, node: Node, skip: Skip) -> None:
        step = node.step
        standing = self._standing.failed if skip.because_of_failure else self._standing.passed_over
        standing.add(step.step_id)
        self.recorder.decided(step.step_id, None, point="skip", decision="skip", rationale=skip.reason)
        now = self.clock.now_us()
        result = StepResult(step.step_id, "skipped", reason=skip.reason, started_us=now)
        finish(self.recorder, result, step.tool_name, step.node_type)
        self._settle(node, result)

    def child(self, node: Node, params: Mapping[str, Any]) -> Execution:
        """The run of a sub-workflow: linked to this one, its context the parameters of the step."""
        assert node.sub_plan is not None
        compiled = self.compiled.below(node.step.step_id, node.sub_plan)
        options = replace(
            self.options, context=params, parent_run_id=self.run_id, parent_step_id=node.step.step_id
        )
        before = self.before.children.get(node.step.step_id) if self.before is not None else None
        if before is not None:
            self._gone_on.add(node.step.step_id)
        run_id = before.state.run_id if before is not None else None
        return type(self)(self.orchestrator, compiled, options, run_id=run_id, parent=self, before=before)

    def record_failure(self, node: Node, error: Exception) -> StepResult:
        """A step that failed before it could begin (its parameters, its condition)."""
        step = node.step
        result = StepResult(step.step_id, started_us=self.clock.now_us())
        fail(result, error)
        finish(self.recorder, result, step.tool_name, step.node_type)
        return result

    # --- ending early ------------------------------------------------------------------------

    def cancel(self, reason: str) -> None:
        """Cancel what runs (also the undoing of a failed run) and skip the rest; on the loop of the run."""
        if self._status == "pending":
            self._cancel_at_start = reason
        if self._undoing is not None and not self._undoing.done():
            self.recorder.cancel_reason = reason
            self._undoing.cancel()
        if self._status != "running" or self._stopped is not None:
            return
        self.recorder.cancel_reason = reason
        self._status, self._error = "cancelled", reason
        self._stop(reason)
        with self._recording():
            self.recorder.event(ev.RUN_CANCELLED, {"reason": reason})
            self.recorder.decided(None, None, point="cancel", decision="cancel", rationale=reason)
        self._wake()

    def _is_interrupted(self) -> bool:
        """Whether the task that awaits `run` was cancelled and will hear of it next.

        When a loop ends it cancels all tasks at once, those of the steps included.
        """
        return self._awaiting is not None and self._awaiting.cancelling() > self._cancelling

    def _outer_reason(self) -> str:
        """Why the task that awaits `run` was cancelled."""
        above = self._parent.recorder.cancel_reason if self._parent is not None else None
        return f"the run above it was stopped: {above}" if above else "the awaiting task was cancelled"

    def _stop(self, reason: str) -> None:
        """Start nothing more; cancel what has begun, forget what has not."""
        if self._stopped is not None:
            return
        self._stopped = reason
        self._ready.clear()
        self.accept(list(self._held))
        current = asyncio.current_task()
        for step_id, task in list(self._tasks.items()):
            if step_id in self._unbegun:
                del self._tasks[step_id]
                task.cancel()
            elif task is not current:
                task.cancel()

    def break_off(self, error: BaseException) -> None:
        """The record itself failed, or Ctrl-C: the run cannot go on, and `run` raises the error."""
        self._fatal = self._fatal or error
        self._stop("the run ended")
        self._wake()

    @contextmanager
    def _recording(self) -> Iterator[None]:
        """Around records that are written on behalf of others, who cannot do anything about a failure."""
        try:
            yield
        except StoreError as error:
            self.break_off(error)

    def _sweep(self) -> None:
        """Put the steps that never began on the record, each with the reason."""
        reason = self._stopped or "the run ended"
        for step_id in self.plan.order:
            if step_id not in self.results:
                node = self.plan.nodes[step_id]
                self._skip(node, skip_of(node, self._standing) or Skip(reason, True))

    # --- in somebody's hand: see gate.py --------------------------------------------------------

    @property
    def ready(self) -> Collection[str]:
        """The steps that could start, in order."""
        return self._ready

    @property
    def held(self) -> Collection[str]:
        """The steps that failed, and about which somebody is to decide."""
        return self._held

    def pump(self) -> None:
        """Start what may start."""
        if self._status == "running":
            self._pump()
            self._wake()

    def pass_over(self, step_id: str, reason: str) -> None:
        """Skip a step that is ready, or held."""
        if self._held.pop(step_id, None) is None:
            self._ready.remove(step_id)
        self._skip(self.plan.nodes[step_id], Skip(reason, False))

    def try_again(self, step_id: str) -> None:
        """Run a held step once more; its attempts are numbered on, and the limit is fresh."""
        node, result = self._held.pop(step_id)
        made = Earlier(result.attempts, result.attempts)
        self.recorder.earlier = {**self.recorder.earlier, step_id: made}
        self._begin_step(node)

    def accept(self, step_ids: Iterable[str]) -> None:
        """Take failures as they are."""
        for step_id in step_ids:
            self._settle(*self._held.pop(step_id))

    def _end_abruptly(self, started_us: int, error: BaseException) -> NoReturn:
        """The record or the process failed: note it (written as soon as writing is possible) and raise."""
        self._status = "failed" if isinstance(error, Exception) else "cancelled"
        self._error = error_text(error)
        with suppress(StoreError):
            self._sweep()
            self._finish(started_us)
            if not isinstance(error, StoreError):
                self.orchestrator.store.commit()
        raise error

    # --- the end -----------------------------------------------------------------------------

    def _finish(self, started_us: int) -> WorkflowResult:
        finished_us = self.clock.now_us()
        error = self._error or next(
            (r.error for r in self.results.values() if r.status == "failed"), self._stopped
        )
        result = WorkflowResult(
            self.run_id,
            self.workflow.workflow_id,
            self.workflow.name,
            self._status,
            {step_id: self.results[step_id] for step_id in self.plan.nodes},
            started_us,
            finished_us,
            error,
        )
        self.gate.leave(self)
        store = self.orchestrator.store
        with store.together():  # who finds the end on record finds also what was to come of it
            if isinstance(self.before, Resumption):
                end_strays(store, self.before, self._gone_on)
            self.recorder.run_finished(self._status, error, max(0, finished_us - started_us))
            self.settle(result)
        return result


def _nothing(result: WorkflowResult) -> None:
    """For runs that nobody else keeps account of."""
