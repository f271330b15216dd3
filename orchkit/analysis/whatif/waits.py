"""What a retry policy would do after a try that failed: the bounds of its decision."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from orchkit.analysis.whatif.errors import may_ask, named, retried, same_selectors
from orchkit.analysis.whatif.record import Case, Wait
from orchkit.model.retry import RetryPolicy
from orchkit.reliability.retry import Hints, RetryVerdict, decide, next_delay

JITTERED: Final = ("strategy", "delay", "multiplier", "max_delay", "jitter", "wait", "delay_for")
"""The fields that delays come from."""
_ASKED: Final = ("retry_after", "retry_after_cap", "retry_after_window")
TIE_S: Final = 5e-6
"""Moments that are closer than this cannot be put in order: the record is exact to a microsecond."""
SAME_S: Final = 2e-6
"""Delays stand on record to the microsecond."""


class _Extreme(Random):
    """The smallest, or the largest, number that a generator may give."""

    def __init__(self, share: float) -> None:
        super().__init__(0)
        self._share = share

    def uniform(self, a: float, b: float) -> float:
        """One of the ends."""
        return a + (b - a) * self._share


_LEAST, _MOST = _Extreme(0.0), _Extreme(1.0)


@dataclass(frozen=True, slots=True)
class Failed:
    """A try that failed, as far as that is known."""

    error: str | None
    """The name of the error; None: nobody knows."""
    on_record: Wait | None = None
    """What was decided on record about this very failure."""
    reopens_in: float | None = None
    """Seconds until the breaker that rejected it lets calls through."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What may come next; seconds."""

    may_retry: bool
    may_give_up: bool
    least: float = 0.0
    most: float = 0.0
    """Bounds of the wait, if there is another try."""

    @property
    def exact(self) -> bool:
        """Whether it is known what comes next, and when."""
        return not (self.may_retry and self.may_give_up) and self.most - self.least <= SAME_S

    def __or__(self, other: Decision) -> Decision:
        """Either."""
        waits = [one for one in (self, other) if one.may_retry] or [self]
        return Decision(
            self.may_retry or other.may_retry,
            self.may_give_up or other.may_give_up,
            min(one.least for one in waits),
            max(one.most for one in waits),
        )


GIVE_UP: Final = Decision(False, True)


@dataclass(frozen=True, slots=True)
class Waits:
    """The decisions of a retry policy over the cases of a record."""

    policy: RetryPolicy
    rng: Random | None = None
    """Where delays are drawn from; None: their bounds are wanted."""
    unasked: bool = False
    """Whether it is assumed that no service asks to wait that did not on record."""

    def after(
        self, case: Case, tries: int, failed: Failed, elapsed: float, previous: float | None
    ) -> Decision:
        """What may come after ``tries`` tries, the last one failed, ``elapsed`` seconds after the first."""
        policy, recorded = self.policy, case.retry
        about_it = failed.on_record
        known = about_it is not None and recorded is not None and same_selectors(policy, recorded)
        wanted = retried(policy, failed.error, about_it.rule if known and about_it is not None else None)
        if wanted is False or policy.strategy == "none" or tries >= policy.max_attempts:
            return GIVE_UP
        asked = self._asked(case, failed)
        # A policy with a classifier does not give up because of a breaker; without it, as here, it might.
        endless = policy.strategy == "circuit_breaker"
        reopens = failed.reopens_in if endless or policy.classifier is None else None
        found = [
            self._verdict(variant, tries, failed, at, previous, rng, Hints(seconds, reopens))
            for variant in self._variants(failed.error)
            for rng in self._generators()
            for at in self._moments(elapsed)
            for seconds in asked
        ]
        if policy.classifier is not None:
            found += self._classified(tries, elapsed)
        delays = [one.delay for one in found if one.retry]
        if not delays:
            return GIVE_UP
        if policy.max_elapsed is not None and any(one.rule == "max_elapsed" for one in found):
            delays.append(max(0.0, policy.max_elapsed - elapsed) + TIE_S)  # the longest that is in time
        may_give_up = wanted is None or not all(one.retry for one in found)
        same = self._as_recorded(case, tries, failed, previous) if len(asked) == 1 else None
        if same is None or not min(delays) - SAME_S <= same <= max(delays) + SAME_S:
            return Decision(True, may_give_up, min(delays), max(delays))
        late = policy.max_elapsed is not None and elapsed + same > policy.max_elapsed
        shut = any(one.rule == "breaker" for one in found)
        return Decision(True, may_give_up and (wanted is None or late or shut), same, same)

    def most(self, tries: int, previous: float | None) -> float:
        """The longest wait after so many tries, whatever the error was and the service asked for."""
        policy = self.policy
        try:
            longest = max(next_delay(one, tries, _MOST, previous) for one in self._variants(None))
        except Exception:  # a function of the user's that does not say: then there is no retry
            longest = policy.max_delay
        asked = policy.retry_after and not self.unasked
        if asked and policy.retry_after_window is not None:
            return longest + policy.retry_after_window
        if asked or policy.classifier is not None:
            return max(longest, self._cap)
        return longest

    @property
    def _cap(self) -> float:
        policy = self.policy
        return policy.max_delay if policy.retry_after_cap is None else policy.retry_after_cap

    def _generators(self) -> tuple[Random, ...]:
        return (_LEAST, _MOST) if self.rng is None else (self.rng,)

    def _moments(self, elapsed: float) -> tuple[float, ...]:
        """When it decides, as exactly as that is on record."""
        if self.rng is not None or self.policy.max_elapsed is None:
            return (elapsed,)
        return max(0.0, elapsed - TIE_S), elapsed + TIE_S

    def _variants(self, error: str | None) -> list[RetryPolicy]:
        """The policy, which retries whatever comes; once per first delay that an error may mean."""
        bare = self.policy.model_copy(
            update={"retry_on": ("Exception",), "give_up_on": (), "classifier": None}
        )
        if not bare.delay_for or named(error).certain:
            return [bare]
        firsts = {bare.delay, *bare.delay_for.values()}
        return [bare.model_copy(update={"delay_for": {}, "delay": delay}) for delay in sorted(firsts)]

    def _verdict(
        self,
        policy: RetryPolicy,
        tries: int,
        failed: Failed,
        elapsed: float,
        previous: float | None,
        rng: Random,
        hints: Hints,
    ) -> RetryVerdict:
        return decide(policy, tries, named(failed.error).error, elapsed, rng, previous, hints)

    def _asked(self, case: Case, failed: Failed) -> Sequence[float | None]:
        """What the service may have asked for, in seconds: a policy that looked wrote it down."""
        looked = case.retry is not None and case.retry.retry_after
        if failed.on_record is not None and (looked or failed.on_record.retry_after is not None):
            return (failed.on_record.retry_after,)
        silent = self.unasked or self.rng is not None or not self.policy.retry_after
        return (None,) if silent or not may_ask(failed.error) else (None, 0.0, math.inf)

    def _classified(self, tries: int, elapsed: float) -> list[RetryVerdict]:
        """What a classifier, which sees the error itself, may say of the wait."""
        limit = self.policy.max_elapsed
        return [
            RetryVerdict(limit is None or elapsed + delay <= limit, delay, "") for delay in (0.0, self._cap)
        ]

    def _as_recorded(self, case: Case, tries: int, failed: Failed, previous: float | None) -> float | None:
        """The wait on record, where this policy would have drawn it from the same numbers.

        Jitter is luck, and luck does not depend on the policy: the n-th wait of a case falls as it fell.
        """
        recorded, policy = case.retry, self.policy
        wait = case.waits[tries - 1] if tries <= len(case.waits) else None
        if recorded is None or wait is None or wait.delay is None or wait.reopens:
            return None
        if policy.strategy == "circuit_breaker" or policy.classifier or recorded.classifier:
            return None
        fields = JITTERED if wait.retry_after is None else (*JITTERED, *_ASKED)
        if any(getattr(recorded, name) != getattr(policy, name) for name in fields):
            return None
        if wait is not failed.on_record and (wait.retry_after is not None or policy.delay_for):
            return None
        before = case.waits[tries - 2].delay if tries > 1 else None
        return wait.delay if policy.jitter != "decorrelated" or before == previous else None
