"""Fault injection: the innermost layer, which fails or waits instead of the body, as its sequence says."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from random import Random
from typing import Any

from orchkit.errors import InjectedFaultError, PolicyError
from orchkit.model.limits import FaultPolicy
from orchkit.model.reference import function_name
from orchkit.reliability.call import Call, Handler
from orchkit.reliability.functions import load


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to one attempt."""

    wait: float
    """Seconds."""
    fails: bool


def draw(policy: FaultPolicy, rng: Random) -> Fault:
    """The fault of the next attempt; always as many numbers are drawn, so that policies can be compared."""
    slow, where, bad = rng.random(), rng.random(), rng.random()
    low, high = policy.wait_bounds
    wait = low + (high - low) * where if slow < policy.latency_rate else 0.0
    return Fault(wait, bad < policy.rate)


class Injector:
    """The sequence of faults of one name."""

    def __init__(self, name: str, policy: FaultPolicy) -> None:
        self.name = name
        self.policy = policy
        self.injected = 0
        """How many attempts it has touched."""
        self._lock = threading.Lock()
        self._rng = self._seeded()

    def _seeded(self) -> Random | None:
        return None if self.policy.seed is None else Random(self.policy.seed)  # noqa: S311 - to be repeated

    def next(self, rng: Random) -> Fault:
        """The fault of the next attempt; ``rng`` is used when the policy has no seed."""
        with self._lock:
            fault = draw(self.policy, self._rng or rng)
            self.injected += bool(fault.wait or fault.fails)
            return fault

    def error(self, attempt: int) -> Exception:
        """A new error to raise; `PolicyError` when the policy's cannot be made."""
        named = self.policy.error
        try:
            made = load("error", named)(f"injected by {self.name!r} into attempt {attempt}")
        except Exception as broken:
            raise PolicyError(f"faults {self.name!r}", f"{function_name(named)}: {broken}") from broken
        return made if isinstance(made, Exception) else InjectedFaultError(str(made))

    def adopt(self, policy: FaultPolicy) -> None:
        """Go on with other settings; another seed begins its own sequence."""
        with self._lock:
            anew = policy.seed != self.policy.seed
            self.policy = policy
            if anew:
                self._rng = self._seeded()


@dataclass(frozen=True, slots=True)
class FaultInjection:
    """The layer: attempts that fail or wait on purpose."""

    injector: Injector

    async def __call__(self, call: Call, inner: Handler) -> Any:
        """Run the attempt, or not."""
        fault = self.injector.next(call.rng)
        if fault.wait > 0:
            call.injected = True
            await call.clock.sleep(fault.wait)
        if fault.fails:
            call.injected = True
            raise self.injector.error(call.attempt)
        return await inner(call)
