"""A run of one step: a dispatched operation, or the pipeline of an orchestrator."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from orchkit.engine.compiled import code_facts
from orchkit.engine.idempotency import Asked, Granted, Once, Replay
from orchkit.engine.recorder import Earlier, RunRecorder, StepScope
from orchkit.engine.resumption import recorded_step
from orchkit.engine.steprun import run_step
from orchkit.errors import StoreError
from orchkit.ids import new_id
from orchkit.model.idempotency import IdempotencyKey
from orchkit.model.request import Durability, Request
from orchkit.model.result import StepResult
from orchkit.model.state import RunState, fold
from orchkit.registry.definition import MethodDefinition
from orchkit.store import codec
from orchkit.store.store import Store

Perform = Callable[[StepScope, RunState | None], Awaitable[Any]]
"""Does the work; is given the earlier state of the run when it goes on after its process had died."""


@dataclass(frozen=True, slots=True)
class Single:
    """What is to be run and recorded."""

    kind: Literal["operation", "orchestrator"]
    name: str
    step_id: str
    request: Request
    """On whose behalf, and for what."""
    input: Any
    """What the key is bound to, and what the record says the step was given."""
    durability: Durability
    key: IdempotencyKey | None
    method: MethodDefinition
    """What does the work, for its code."""
    written: Callable[[RunRecorder], Awaitable[None]] = RunRecorder.barrier
    """Sees to it that the end is as durable as it is to be, before it is told."""

    def asked(self) -> Asked | None:
        """The request to execute it once; None without a key. Raises `CodecError`."""
        if self.key is None:
            return None
        return Asked.of(self.name, self.key, codec.pack(self.input, "input"))

    def started(self) -> dict[str, Any]:
        """The payload of the run.started event."""
        request = self.request
        return {
            "kind": self.kind,
            "name": self.name,
            "user_id": request.user_id,
            "session_id": request.session_id,
            "casefile_id": request.casefile_id,
            "request_id": request.request_id,
            "durability": self.durability,
        }


class SingleRun:
    """One execution of it."""

    def __init__(self, store: Store, single: Single) -> None:
        self._store, self._single = store, single
        self.request = single.request
        self._started_us = 0
        self.run_id = ""
        """Known once it is executed."""

    def recorded(self) -> Replay | None:
        """The recorded result of its key, if that answers: cheap, from any thread, without a loop."""
        asked = self._single.asked()
        return None if asked is None else Once(self._store).recorded(asked)

    async def execute(self, perform: Perform) -> StepResult | Replay:
        """Run it and return how it ended, or the recorded result of its key.

        Raises what `Once.claim` raises, `StoreError`, and CancelledError (after recording).
        """
        single, once = self._single, Once(self._store)
        self._started_us, self.run_id = self._store.clock.now_us(), new_id("run")
        asked = single.asked()
        if asked is None:
            return await self._run(perform, None)
        granted = await once.claim(asked, self.run_id)
        if isinstance(granted, Replay):
            return granted
        self.run_id = granted.claim.run_id
        try:
            result = await self._run(perform, granted)
        except BaseException:
            once.give_up(granted.claim)
            raise
        if not once.finish(granted.claim):
            raise once.lost(granted.claim)
        return result

    async def _run(self, perform: Perform, granted: Granted | None) -> StepResult:
        single, store = self._single, self._store
        recorder = RunRecorder(store, self.run_id, single.durability)
        before = await self._left_behind(granted)
        self._begin(recorder, granted, before)

        async def work(scope: StepScope) -> Any:
            return await perform(scope, before)

        try:
            result = self._done_before(before)
            if result is None:
                result = await run_step(recorder, single.step_id, single.name, single.input, work)
        except BaseException as error:  # Ctrl-C: it ends here, or its key would stay in flight
            self._end(recorder, granted, StepResult(single.step_id, "cancelled", reason=type(error).__name__))
            store.commit()
            raise
        self._end(recorder, granted, result)
        if result.status == "cancelled" or recorder.durability == "exit":
            store.commit()
        else:
            await single.written(recorder)
        store.ingest_soon()
        if result.status == "cancelled":
            raise asyncio.CancelledError(result.reason)
        return result

    def _done_before(self, before: RunState | None) -> StepResult | None:
        """The result of a process that died between the end of its work and that of the run."""
        step = before.steps.get(self._single.step_id) if before is not None else None
        if step is None or step.status != "success":
            return None
        return recorded_step(step, codec.unpack(step.output, step.output_types))

    def _end(self, recorder: RunRecorder, granted: Granted | None, result: StepResult) -> None:
        """Put the end on the record, and what it means for the key."""
        error = result.error or result.reason if not result.success else None
        text = None
        if granted is not None and result.success:
            packed = codec.pack(result.output, "output")
            text = codec.dumps({"value": packed.value, "types": packed.notes})
        with self._store.together():  # who finds the end on record finds also what was to come of it
            recorder.run_finished(result.status, error, self._store.clock.now_us() - self._started_us)
            if granted is not None:
                Once(self._store).settle(granted.claim, result=text, error=error)

    async def _left_behind(self, granted: Granted | None) -> RunState | None:
        """The earlier state of a run that goes on; None where nothing was written yet: it begins."""
        if granted is None or not granted.goes_on:
            return None
        # It may be in the history: reading that must not hold up what else runs on this loop.
        events = await asyncio.to_thread(self._store.events, self.run_id)
        return fold(events) if events else None

    def _begin(self, recorder: RunRecorder, granted: Granted | None, before: RunState | None) -> None:
        """Put the beginning on the record."""
        if before is None:
            with self._store.together():
                recorder.run_started({**self._single.started(), "code": self._code()})
        else:
            recorder.run_taken_up(before, {"reason": "taken over"})
            recorder.earlier = {
                step.step_id: Earlier(max(attempt.number for attempt in step.attempts))
                for step in before.steps.values()
                if step.attempts
            }
        if granted is not None:
            recorder.decided(None, None, **granted.decision)

    def _code(self) -> dict[str, Any]:
        large: dict[str, str] = {}
        facts = code_facts(self._single.method, large)
        for digest, text in large.items():
            self._store.put_blob(text, digest)
        return {self._single.step_id: facts}


async def output_soon(store: Store, replay: Replay) -> Any:
    """`output_of` for a loop, which a large output must not hold up: that is in the history."""
    if replay.claim.result is not None:
        return output_of(store, replay)
    return await asyncio.to_thread(output_of, store, replay)


def output_of(store: Store, replay: Replay) -> Any:
    """The recorded output of a run of one step."""
    claim = replay.claim
    if claim.result is not None:
        recorded = codec.loads(claim.result)
        return codec.unpack(recorded["value"], recorded["types"])
    state = fold(store.events(claim.run_id))
    for step in state.steps.values():
        if step.parent is None and step.node_type != "workflow" and step.status == "success":
            return codec.unpack(step.output, step.output_types)
    raise StoreError(f"the recorded result of request {claim.key!r} is gone: run {claim.run_id} was removed")
