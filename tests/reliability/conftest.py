"""A bench for policies: calls under virtual time, and what they wrote down."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from orchkit.model.policy import ReliabilityPolicy
from orchkit.reliability.call import Call
from orchkit.reliability.fallback import CallTool
from orchkit.reliability.guards import Guards
from orchkit.reliability.pipeline import build_pipeline, no_tools
from orchkit.testing import FakeClock


@dataclass
class Decision:
    """One decision of a policy."""

    point: str
    decision: str
    rationale: str
    inputs: Mapping[str, Any]


class Record:
    """Keeps what a call writes down."""

    def __init__(self, step_id: str = "step") -> None:
        self.subject = ("run", step_id)
        self.attempts: dict[int, str] = {}
        self.decisions: list[Decision] = []
        self.barriers = 0

    async def attempt_started(self, attempt: int) -> None:
        assert attempt not in self.attempts
        self.attempts[attempt] = "running"

    async def written(self) -> None:
        self.barriers += 1

    def attempt_finished(
        self,
        attempt: int,
        status: str,
        duration_s: float,
        error: BaseException | None = None,
        **flags: bool,
    ) -> None:
        assert self.attempts[attempt] == "running"
        self.attempts[attempt] = " ".join([status, *(flag for flag, is_set in flags.items() if is_set)])

    def decided(self, point: str, decision: str, rationale: str, inputs: Mapping[str, Any]) -> None:
        self.decisions.append(Decision(point, decision, rationale, dict(inputs)))

    def at(self, point: str) -> list[str]:
        """What was decided at this point, in order."""
        return [one.decision for one in self.decisions if one.point == point]


class Service:
    """Does in turn what it is told: raises an error, or returns a value; each call takes ``seconds``."""

    def __init__(self, clock: FakeClock, *answers: Any, seconds: float = 0.0) -> None:
        self.clock, self.answers, self.seconds = clock, list(answers), seconds
        self.called_at: list[float] = []

    async def __call__(self) -> Any:
        self.called_at.append(self.clock.monotonic())
        answer = self.answers.pop(0) if self.answers else "done"
        if self.seconds:
            await self.clock.sleep(self.seconds)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class Bench:
    """Calls under one set of guards and one virtual clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.guards = Guards(clock=self.clock)
        self.rng = Random(7)

    def service(self, *answers: Any, seconds: float = 0.0) -> Service:
        """A body for calls."""
        return Service(self.clock, *answers, seconds=seconds)

    async def acall(
        self,
        body: Callable[[], Awaitable[Any]],
        policy: ReliabilityPolicy,
        *,
        name: str = "operation",
        record: Record | None = None,
        call_tool: CallTool = no_tools,
        **options: Any,
    ) -> tuple[Any, Record]:
        """The output or the error of one call, and its record."""
        record = record or Record()
        handler = build_pipeline(policy, self.guards, name, call_tool)
        call = Call(body, record, self.clock, self.rng, **options)
        try:
            return await handler(call), record
        except Exception as error:
            return error, record

    def call(
        self, body: Callable[[], Awaitable[Any]], policy: ReliabilityPolicy, **options: Any
    ) -> tuple[Any, Record]:
        """The same, on a loop of its own."""
        return asyncio.run(self.acall(body, policy, **options))


@pytest.fixture
def bench() -> Bench:
    """A bench with nothing on it."""
    return Bench()


@pytest.fixture(scope="session")
def make_bench() -> type[Bench]:
    """A maker of benches, for tests with many examples."""
    return Bench
