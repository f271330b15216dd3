"""The record of a reliable call: a step inside the step that makes it, a run of its own, or nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from orchkit.engine.groupcommit import group_commit
from orchkit.engine.recorder import RunRecorder, StepScope, TraceScope, current_scope
from orchkit.engine.steprun import fail, finish
from orchkit.errors import CodecError
from orchkit.ids import new_id
from orchkit.model import event as ev
from orchkit.model.brief import brief
from orchkit.model.request import Durability
from orchkit.model.result import StepResult
from orchkit.reliability.classify import error_text
from orchkit.store import codec
from orchkit.store.store import Store

KIND = "call"
Perform = Callable[[StepScope], Awaitable[Any]]
_EMPTY: Mapping[str, Any] = {}


class _InnerScope(StepScope):
    """A call that a step makes: what comes of it is written with what the step writes next."""

    __slots__ = ()

    async def attempt_started(self, attempt: int) -> None:
        """No barrier: that the step around it was in doubt is on disk already."""
        self.attempt = attempt
        current_scope.set(_InnerScope(self.recorder, self.step_id, attempt))
        self.recorder.event(ev.ATTEMPT_STARTED, _EMPTY, self.step_id, attempt)

    async def written(self) -> None:
        """On whichever loop the call runs."""
        if self.recorder.durability != "exit":
            await group_commit(self.recorder.store).barrier()


class Unrecorded:
    """A call outside of any run and without a store; its decisions can still be captured in tests."""

    subject = (None, None)

    def __init__(self, scope: TraceScope | None) -> None:
        self._scope = scope

    async def attempt_started(self, attempt: int) -> None:
        """Nothing to write."""

    def attempt_finished(
        self,
        attempt: int,
        status: str,
        duration_s: float,
        error: BaseException | None = None,
        *,
        abandoned: bool = False,
        injected: bool = False,
    ) -> None:
        """Nothing to write."""

    async def written(self) -> None:
        """Nothing to wait for."""

    def decided(self, point: str, decision: str, rationale: str, inputs: Mapping[str, Any]) -> None:
        """For whoever captures."""
        if self._scope is not None:
            payload = {"point": point, "decision": decision, "rationale": rationale, "input_data": inputs}
            self._scope.trace(ev.DECISION, {**payload, "origin": "engine"})


async def inside(scope: StepScope, name: str, params: Mapping[str, Any], perform: Perform) -> Any:
    """The call as a step below the one that makes it, of kind ``call``."""
    recorder = scope.recorder
    around = scope.step_id or ""
    again = f"#{scope.attempt}" if (scope.attempt or 1) > 1 else ""
    step_id = _unique(recorder, f"{around}{again}/{name}" if around else name)
    inner = _InnerScope(recorder, step_id)
    return await _step(recorder, inner, name, params, perform, {"parent": scope.step_id})


async def alone(
    store: Store, durability: Durability, name: str, params: Mapping[str, Any], perform: Perform
) -> Any:
    """The call as a run of its own, of kind ``call``."""
    recorder = RunRecorder(store, new_id("run"), durability)
    started_us = store.clock.now_us()
    recorder.run_started({"kind": KIND, "name": name, "durability": durability})
    status, error = "cancelled", None
    try:
        output = await _step(recorder, StepScope(recorder, name), name, params, perform, {})
    except Exception as failure:
        status, error = "failed", error_text(failure)
        raise
    else:
        status = "success"
        return output
    finally:
        recorder.run_finished(status, error, store.clock.now_us() - started_us)
        if status == "cancelled" or durability == "exit":
            store.commit()
        else:
            await recorder.barrier()
        store.ingest_soon()


async def _step(
    recorder: RunRecorder,
    scope: StepScope,
    name: str,
    params: Mapping[str, Any],
    perform: Perform,
    more: Mapping[str, Any],
) -> Any:
    """Record the step and give what the call itself gives, whether or not that can be stored."""
    result = StepResult(scope.step_id or name, "cancelled", started_us=recorder.store.clock.now_us())
    recorder.scheduled(result.step_id, name, KIND, storable(dict(params)), **more)
    token, packed = current_scope.set(scope), None
    try:
        output = await perform(scope)
    except Exception as error:
        fail(result, error)
        raise
    except BaseException as error:
        result.reason = str(error) or "its task was cancelled"
        raise
    else:
        result.status, packed = "success", codec.pack(storable(output), "output")
        return output
    finally:
        current_scope.reset(token)
        result.attempts = scope.attempt or 0
        finish(recorder, result, name, KIND, packed)


def storable(value: Any) -> Any:
    """The value, or as much of it as can be stored: the function is not to fail over its record."""
    try:
        codec.pack(value, "value")
    except CodecError:
        if type(value) is dict:
            return {str(name): storable(item) for name, item in value.items()}
        return {"not stored": brief(value)}
    return value


def _unique(recorder: RunRecorder, step_id: str) -> str:
    number = recorder.next_number(step_id)
    return step_id if number == 1 else f"{step_id}_{number}"
