"""Runs written by hand: events in order, at times that a test chooses."""

from __future__ import annotations

from typing import Any, Self

from orchkit.model.event import Event
from orchkit.model.state import RunState, fold
from orchkit.model.workflow import Workflow
from orchkit.store import codec
from orchkit.store.store import Store
from orchkit.testing import FakeClock

START_US = 1_741_788_202_000_000
"""2025-03-12 14:03:22 UTC."""


class Recording:
    """The events of one run; every method adds some and returns the recording."""

    def __init__(self, run_id: str = "run_1") -> None:
        self.run_id = run_id
        self.events: list[Event] = []
        self.now_us = START_US

    @property
    def state(self) -> RunState:
        return fold(self.events)

    def add(
        self,
        kind: str,
        /,
        step: str | None = None,
        attempt: int | None = None,
        *,
        ms: float = 0,
        **payload: Any,
    ) -> Self:
        """One event, ``ms`` after the one before it."""
        self.now_us += int(ms * 1000)
        self.events.append(
            Event(len(self.events) + 1, self.now_us, kind, self.run_id, step, attempt, payload)
        )
        return self

    def start(self, what: Workflow | str = "a run", **payload: Any) -> Self:
        if isinstance(what, Workflow):
            payload |= {"name": what.name, "definition": what.to_dict(), "workflow_id": what.workflow_id}
        else:
            payload |= {"name": what}
        return self.add("run.started", **({"kind": "workflow"} | payload))

    def end(self, status: str = "success", error: str | None = None, ms: float = 0) -> Self:
        return self.add("run.finished", ms=ms, status=status, error=error)

    def begin(
        self, step: str, tool: str = "tool", node_type: str = "task", ms: float = 0, **payload: Any
    ) -> Self:
        return self.add(
            "step.scheduled", step, ms=ms, name=tool, node_type=node_type, **({"input": {}} | payload)
        )

    def attempt(
        self, step: str, number: int, status: str = "success", ms: float = 10, **payload: Any
    ) -> Self:
        self.add("attempt.started", step, number)
        return self.add(
            "attempt.finished",
            step,
            number,
            ms=ms,
            status=status,
            started_us=self.now_us,
            duration_us=int(ms * 1000),
            **payload,
        )

    def finish(
        self, step: str, status: str = "success", tool: str = "tool", attempts: int = 1, **payload: Any
    ) -> Self:
        more = {"name": tool, "node_type": "task", "started_us": self.now_us, "attempts": attempts}
        return self.add("step.finished", step, status=status, **(more | payload))

    def ran(
        self, step: str, tool: str = "tool", ms: float = 10, output: Any = None, **scheduled: Any
    ) -> Self:
        """A step that succeeded at once."""
        self.begin(step, tool, **scheduled).attempt(step, 1, ms=ms)
        return self.finish(step, tool=tool, output=output)

    def failed(self, step: str, error: str, tool: str = "tool", ms: float = 10, **scheduled: Any) -> Self:
        """A step that failed on its only attempt."""
        kind = error.partition(":")[0]
        self.begin(step, tool, **scheduled).attempt(step, 1, "failed", ms, error=error, error_type=kind)
        return self.finish(step, "failed", tool, error=error, error_type=kind)

    def skipped(self, step: str, reason: str, tool: str = "tool") -> Self:
        return self.finish(step, "skipped", tool, attempts=0, reason=reason)

    def decided(
        self,
        step: str | None,
        point: str,
        decision: str,
        why: str | None = None,
        /,
        attempt: int | None = None,
        *,
        origin: str = "engine",
        **payload: Any,
    ) -> Self:
        return self.add(
            "decision", step, attempt, point=point, decision=decision, rationale=why, origin=origin, **payload
        )

    def store(self, store: Store, clock: FakeClock) -> Self:
        """Put everything into a store, from now on, in the same rhythm."""
        before = self.events[0].ts
        for event in self.events:
            clock.advance((event.ts - before) / 1e6)
            before = event.ts
            store.append(
                event.kind,
                codec.dumps(dict(event.payload)),
                run_id=event.run_id,
                step_id=event.step_id,
                attempt=event.attempt,
            )
        store.commit()
        return self
