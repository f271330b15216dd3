"""A call on its way through the policies, where it is written down, and its one attempt at the core."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Protocol

from orchkit.clock import Clock, Limit
from orchkit.errors import ExecutionError

Handler = Callable[["Call"], Awaitable[Any]]


class CallRecord(Protocol):
    """Where a call writes down what happens to it."""

    @property
    def subject(self) -> tuple[str | None, str | None]:
        """The run and the step that the call belongs to; None: there is none."""
        ...

    async def attempt_started(self, attempt: int) -> None:
        """Record the start; returns when the record is as durable as the run asks."""
        ...

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
        """Record the end: ``success``, ``failed``, ``timeout`` or ``cancelled``."""
        ...

    def decided(self, point: str, decision: str, rationale: str, inputs: Mapping[str, Any]) -> None:
        """Record a choice of a policy."""
        ...

    async def written(self) -> None:
        """Return when what was recorded is as durable as the run asks."""
        ...


@dataclass(slots=True)
class Call:
    """One operation on its way through the pipeline."""

    invoke: Callable[[], Awaitable[Any]]
    """Runs the body once."""
    record: CallRecord
    clock: Clock
    rng: Random
    abandons: bool = False
    """Whether a body that overruns goes on in its thread (a sync function)."""
    attempt: int = 0
    """Attempts begun so far; above 0 at the start when some were made before a crash: numbering goes on."""
    forgiven: int = 0
    """How many of those do not count towards the limit (the step of an ended run is taken up again)."""
    aside: Callable[[Callable[[], Any]], Awaitable[Any]] | None = None
    """Calls a sync function where it may take its time; None: on the loop."""
    arguments: Mapping[str, Any] | None = None
    """What the body is called with, for a tool that takes its place."""
    total: Limit | None = None
    """The limit around all attempts, once it is running."""
    deadline: Exception | None = field(default=None)
    """Set when the limit around the attempt is what ended it: what is raised for that."""
    took: float = 0.0
    """Seconds that the last attempt took."""
    injected: bool = False
    """Whether the attempt was made to fail, or slowed down, on purpose."""
    root: Call | None = None
    """The call that this one was started beside; the two number their attempts together."""

    def next_attempt(self) -> int:
        """Begin one more attempt; returns its number."""
        root = self.root or self
        root.attempt += 1
        self.attempt = root.attempt
        return self.attempt

    def twin(self) -> Call:
        """The same call once more, to be made beside this one."""
        return replace(self, root=self.root or self)


class Layer(Protocol):
    """Something around a call; calls ``inner`` zero, one or many times."""

    async def __call__(self, call: Call, inner: Handler) -> Any:
        """Run the call."""
        ...


async def invoke(call: Call) -> Any:
    """The innermost handler: the body itself.

    A body that calls ``sys.exit`` has failed, and so has one that is cancelled although nobody cancelled
    its task: neither may end more than the call.
    """
    try:
        return await call.invoke()
    except SystemExit as error:
        raise ExecutionError(f"the function called sys.exit({error.code!r})") from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise ExecutionError("the function was cancelled from inside, by what it waited for") from error


async def record_attempt(call: Call, inner: Handler) -> Any:
    """Number the attempt and write down its start and its end."""
    number, record, monotonic = call.next_attempt(), call.record, call.clock.monotonic
    call.injected, start, begun = False, monotonic(), False
    try:
        await record.attempt_started(number)
        start, begun = monotonic(), True
        output = await inner(call)
    except Exception as error:
        call.took = monotonic() - start
        # Raised by the body itself, a timeout is a failure like any other.
        ours = error is call.deadline
        status, abandoned = ("timeout", call.abandons) if ours else ("failed", False)
        record.attempt_finished(number, status, call.took, error, abandoned=abandoned, injected=call.injected)
        raise
    except BaseException:  # cancelled, or Ctrl-C
        call.took = monotonic() - start
        out_of_time = call.total is not None and call.total.expired()
        status, abandoned = "timeout" if out_of_time else "cancelled", begun and call.abandons
        record.attempt_finished(number, status, call.took, abandoned=abandoned, injected=call.injected)
        raise
    call.took = monotonic() - start
    record.attempt_finished(number, "success", call.took, injected=call.injected)
    return output
