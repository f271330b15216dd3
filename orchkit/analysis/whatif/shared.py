"""What cases share under another policy: breakers and budgets, by name."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Final

from orchkit.analysis.whatif.bounds import TIE, Fate
from orchkit.analysis.whatif.breaker import BOTH, Guarded
from orchkit.analysis.whatif.budget import Tokens
from orchkit.analysis.whatif.going import Going
from orchkit.analysis.whatif.worlds import Loose
from orchkit.model.policy import ReliabilityPolicy

_BUCKET: Final = 2 * TIE


@dataclass(slots=True)
class Shared:
    """The breakers and budgets of a policy, each made at its first use."""

    policy: ReliabilityPolicy
    strict: bool
    guards: dict[str, Guarded] = field(default_factory=dict)
    tokens: dict[str, Tokens] = field(default_factory=dict)
    _begins: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    _ends: Counter[int] = field(default_factory=Counter)
    _lost: float | None = None
    """Since when there may be cases that are not on record."""

    def guard(self, going: Going) -> Guarded | None:
        """The breaker of a case, if it has one."""
        policy = self.policy.breaker
        if policy is None or not policy.enabled:
            return None
        name = policy.name or going.case.tool
        if name not in self.guards:
            self.guards[name] = Guarded(policy, self.strict)
            self._tell(self.guards[name])
        return self.guards[name]

    def bucket(self, going: Going) -> Tokens | None:
        """The retry budget of a case, if it has one."""
        policy = self.policy.retry.budget if self.policy.retry is not None else None
        if policy is None:
            return None
        name = policy.name or going.case.tool
        if name not in self.tokens:
            self.tokens[name] = Tokens(policy)
            self._tell(self.tokens[name])
        return self.tokens[name]

    # --- who begins at the same moment -----------------------------------------------------------

    def expect(self, going: Going, at: float) -> None:
        """A try will begin then."""
        self._begins[self._name(going)][int(at // _BUCKET)] += 1

    def contenders(self, going: Going, at: float) -> int:
        """How many tries begin at a moment, or so close to it that nobody can tell which is first."""
        place, found = int(at // _BUCKET), self._begins[self._name(going)]
        return max(1, found[place - 1] + found[place] + found[place + 1])

    def _name(self, going: Going) -> str:
        breaker = self.policy.breaker
        return (breaker.name if breaker is not None else None) or going.case.tool

    def expect_end(self, going: Going, at: float) -> None:
        """A try will end then, and may have to be paid for."""
        self._ends[int(at // _BUCKET)] += 1

    def rivals(self, going: Going, at: float) -> int:
        """How many others end at a moment, and may want the same tokens."""
        place = int(at // _BUCKET)
        found = self._ends[place - 1] + self._ends[place] + self._ends[place + 1] - 1
        return max(0, found) if self.strict else 0

    # --- cases that are not known any more ---------------------------------------------------------

    def lose(self, going: Going, fate: Fate, since: float, calls_since: float | None = None) -> None:
        """From a moment on it is not known how a case goes on: it may call, and retry, as its fate says.

        ``calls_since``: when it makes another call at the earliest, if that is later.
        """
        first, until = since if calls_since is None else calls_since, going.began + fate.latency.high
        self.lose_call(going, Loose(first, max(first, until), fate.calls.high - going.calls, BOTH))
        self.lose_tokens(going, fate, since)

    def lose_tokens(self, going: Going, fate: Fate, since: float) -> None:
        """Only its retries are not known."""
        bucket = self.bucket(going)
        if bucket is not None:
            retries = max(0, going.limits.attempts - max(1, going.tries))
            bucket.set_loose(retries, going.paid, since, going.began + fate.latency.high)

    def lose_call(self, going: Going, caller: Loose) -> None:
        """Only its calls are not known."""
        guard = self.guard(going)
        if guard is None:
            return
        if going.token is not None:
            guard.lose(going.token, caller)
            going.token = None
        else:
            guard.set_loose(caller)

    def lose_all(self, since: float) -> None:
        """Cases that were never begun may begin from now on, and make any number of calls."""
        if self._lost is None:
            self._lost = since
            known: list[Guarded | Tokens] = [*self.guards.values(), *self.tokens.values()]
            for one in known:
                self._tell(one)

    def _tell(self, one: Guarded | Tokens) -> None:
        if self._lost is None:
            return
        if isinstance(one, Guarded):
            one.set_loose(Loose(self._lost, math.inf, math.inf, BOTH))
        else:
            one.lose_all(self._lost)
