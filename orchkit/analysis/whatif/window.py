"""The calls in the window of a circuit breaker, as far as they are known."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from orchkit.analysis.whatif.bounds import US
from orchkit.model.breaker import BreakerPolicy
from orchkit.reliability.breaker import NONE, Counts
from orchkit.reliability.window import Window, window_for


@dataclass(slots=True)
class Windowed:
    """Calls that are known, and how many more there may be among them or in their place."""

    policy: BreakerPolicy
    counts: Counts = NONE
    """All calls that are known and may be in the window; more than are in it when it is not exact."""
    unsure: float = 0
    """Calls that may be in it as well."""
    _window: Window | None = field(init=False)
    _since: float = -math.inf
    """The last moment at which a call may have come that is not known."""
    _known: int = 0
    """Calls since then that certainly count."""

    def __post_init__(self) -> None:
        self._window = window_for(self.policy)

    @property
    def size(self) -> float:
        """Calls that it may hold."""
        return self.policy.window_size if self.policy.window == "count" else math.inf

    @property
    def exact(self) -> bool:
        """Whether all of it is known."""
        return not self.unsure

    def add(self, at: float, *, failed: bool, slow: bool, certain: bool) -> None:
        """A call came back; ``certain``: it counts, if the breaker is closed."""
        if self._window is None:
            return
        self.counts = self._window.add(at / US, failed=failed, slow=slow)
        if certain:
            self._known += 1
        else:
            self.blur(1, at)

    def blur(self, calls: float, until: float) -> None:
        """There may be so many more calls up to this moment."""
        if self._window is not None:
            self.unsure += calls
            self._since, self._known = max(self._since, until), 0

    def clear(self) -> None:
        """Empty: the breaker begins to count anew, whatever it is that happened before."""
        if self._window is not None:
            self._window.clear()
            self.counts, self.unsure, self._known = NONE, 0, 0

    def tidy(self, at: float, *, quiet: bool) -> None:
        """Forget what has certainly left it; ``quiet``: all calls since are known."""
        if self._window is None or not self.unsure or not quiet or at <= self._since:
            return
        by_count = self.policy.window == "count"
        left = self._known >= self.size if by_count else at - self._since > self.policy.window_size * US
        if left:
            self.unsure = 0

    def may_have_enough(self, more: float = 0) -> bool:
        """Whether a rate may be reached, if all of the calls that are not known are bad."""
        policy = self.policy
        unsure = self.unsure + more
        if not policy.by_rate or self.counts.calls + unsure < policy.enough_calls:
            return False
        for rate, bad in (
            (policy.failure_rate, self.counts.failed),
            (policy.slow_call_rate, self.counts.slow),
        ):
            if rate is not None and bad + unsure >= rate * policy.enough_calls:
                return True
        return False
