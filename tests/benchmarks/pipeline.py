"""What an idle pipeline costs: all policies around a call, none of them acting, against the bare call.

Run it with ``python tests/benchmarks/pipeline.py``; the aim is 15 µs per call for all policies together.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping
from random import Random
from typing import Any

from orchkit.clock import SystemClock
from orchkit.model.policy import ReliabilityPolicy
from orchkit.reliability.call import Call, Handler
from orchkit.reliability.guards import Guards
from orchkit.reliability.pipeline import BARE, build_pipeline

CALLS = 5_000
ROUNDS = 7

PARTS: dict[str, Any] = {
    "fallback": 0,
    "retry": {"max_attempts": 3, "budget": "shared"},
    "breaker": {"failure_threshold": 3},
    "rate_limit": {"limit": 1_000_000},
    "bulkhead": 100,
    "timeout": {"attempt": 30, "total": 90},
    "faults": {"rate": 1e-9, "seed": 1},
}
ALL: dict[str, Any] = {**PARTS, "hedge": 30}


class NoRecord:
    """Takes everything and keeps nothing, so that only the policies are measured."""

    subject = (None, None)

    async def attempt_started(self, attempt: int) -> None:
        """Nothing."""

    def attempt_finished(self, *args: Any, **flags: bool) -> None:
        """Nothing."""

    def decided(self, point: str, decision: str, rationale: str, inputs: Mapping[str, Any]) -> None:
        """No policy acts, so there is nothing to decide."""
        raise AssertionError(f"{point}: {decision}")

    async def written(self) -> None:
        """Nothing."""


async def body() -> int:
    """Does nothing."""
    return 1


async def microseconds(handler: Handler) -> float:
    """Per call, the mean of many in one coroutine; of processor time, which a busy machine disturbs least."""
    record, clock, rng = NoRecord(), SystemClock(), Random(1)
    start = time.thread_time()
    for _ in range(CALLS):
        await handler(Call(body, record, clock, rng))
    return (time.thread_time() - start) / CALLS * 1e6


def measured() -> dict[str, float]:
    """Microseconds that each policy by itself, and all together, add to the bare call; medians of rounds."""
    candidates: dict[str, dict[str, Any]] = {name: {name: value} for name, value in ALL.items()}
    candidates |= {"rates": {"breaker": {"failure_rate": 0.5}}, "all but hedge": PARTS, "all": ALL}
    times: dict[str, list[float]] = {name: [] for name in ("bare", *candidates)}
    for _ in range(ROUNDS):
        times["bare"].append(asyncio.run(microseconds(BARE)))
        for name, fields in candidates.items():
            handler = build_pipeline(ReliabilityPolicy.model_validate(fields), Guards(), name)
            times[name].append(asyncio.run(microseconds(handler)))
    medians = {name: statistics.median(values) for name, values in times.items()}
    bare = medians.pop("bare")
    return {"bare": bare, **{name: value - bare for name, value in medians.items()}}


def main() -> None:
    """Print the table."""
    for name, value in measured().items():
        print(f"{'' if name == 'bare' else '+'}{value:6.2f} µs  {name}")


if __name__ == "__main__":
    main()
