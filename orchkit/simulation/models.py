"""How services behave in a simulation."""

from __future__ import annotations

import builtins
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from orchkit.errors import ExecutionError, ParameterError, Problem
from orchkit.simulation.luck import Luck, SimulatedCall

if TYPE_CHECKING:
    import pandas as pd

ErrorKind = str | type[Exception]
Window = tuple[float, float]
"""``(start, duration)`` in seconds, from the beginning of the simulation."""


class SimulatedError(ExecutionError):
    """A call that failed because the simulation said so; errors that have no class here are subclasses."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one call does: it takes so long, and fails or not."""

    duration_s: float = 0.0
    error: Exception | None = None

    def then(self, other: Behaviour) -> Behaviour:
        """Both of them: the times add up, the first error counts and ends the call."""
        if self.error is not None:
            return self
        return Behaviour(self.duration_s + other.duration_s, other.error)


Draw = Callable[[SimulatedCall], Behaviour]
"""How a call behaves."""


class FaultModel(Protocol):
    """How calls of a service behave."""

    def start(self, luck: Luck) -> Draw:
        """Begin a simulation. All that is random comes from ``luck``: the same seed gives the same world.

        What a call does may depend on the call (`Luck.uniform`) and on when it begins, with a sequence
        (`Luck.course`) for what goes on at its own pace; but not on which calls were made before.
        """
        ...


@dataclass(frozen=True, slots=True)
class Latency:
    """Calls take a log-normal time: ``median`` seconds, ``sigma`` of its logarithm (0: always the median).

    With sigma 0.5 one call in a hundred takes 3.2 times the median, with 1.0 ten times.
    """

    median: float
    sigma: float = 0.0

    def __post_init__(self) -> None:
        _check("Latency", median=(self.median, 0, math.inf), sigma=(self.sigma, 0, math.inf))

    def start(self, luck: Luck) -> Draw:
        """See `FaultModel`."""
        return lambda call: Behaviour(self.median * math.exp(self.sigma * luck.normal(call)))


@dataclass(frozen=True, slots=True)
class Failures:
    """Each call fails with probability ``rate``, whatever the others do; it fails after ``after`` seconds."""

    rate: float
    error: ErrorKind = "ConnectionError"
    after: float = 0.0

    def __post_init__(self) -> None:
        _check("Failures", rate=(self.rate, 0, 1), after=(self.after, 0, math.inf))
        error_of(self.error)

    def start(self, luck: Luck) -> Draw:
        """See `FaultModel`."""
        return lambda call: (
            _failing(self.error, self.after) if luck.uniform(call) < self.rate else Behaviour()
        )


@dataclass(frozen=True, slots=True)
class Bursts:
    """The service is up for ``up`` and down for ``down`` seconds on average (exponential), in turns.

    While it is down a call fails with probability ``rate``. (The two-state model of Gilbert and Elliott.)
    """

    up: float
    down: float
    rate: float = 1.0
    error: ErrorKind = "ConnectionError"
    after: float = 0.0

    def __post_init__(self) -> None:
        positive = (math.ulp(0.0), math.inf)
        rates = {"rate": (self.rate, 0, 1), "after": (self.after, 0, math.inf)}
        _check("Bursts", up=(self.up, *positive), down=(self.down, *positive), **rates)
        error_of(self.error)

    def start(self, luck: Luck) -> Draw:
        """See `FaultModel`."""
        course = luck.course()
        changes = [0.0]  # up from here, down from the next, and so on

        def draw(call: SimulatedCall) -> Behaviour:
            while changes[-1] <= call.at:
                mean = self.up if len(changes) % 2 else self.down
                changes.append(changes[-1] + course.expovariate(1 / mean))
            is_down = bisect_right(changes, call.at) % 2 == 0
            fails = is_down and luck.uniform(call) < self.rate
            return _failing(self.error, self.after) if fails else Behaviour()

        return draw


@dataclass(frozen=True, slots=True)
class Outages:
    """The service is down in these windows, each again ``every`` so many seconds if that is given.

    A window is its start and how long it lasts, in seconds: ``Outages([(600, 900)])`` is down from 600 s to
    1,500 s.
    """

    windows: Sequence[Window]
    """Pairs of start and duration in seconds."""
    every: float | None = None
    rate: float = 1.0
    """The share of calls that fails while it is down."""
    error: ErrorKind = "ConnectionError"
    after: float = 0.0

    def __post_init__(self) -> None:
        _check("Outages", rate=(self.rate, 0, 1), after=(self.after, 0, math.inf))
        _check_windows("Outages", self.windows, self.every)
        error_of(self.error)

    def __repr__(self) -> str:
        share = f", {self.rate:.0%} of the calls" if self.rate < 1 else ""
        return f"<Outages {_spelled(self.windows, self.every)}: {self.error}{share}>"

    def start(self, luck: Luck) -> Draw:
        """See `FaultModel`."""

        def draw(call: SimulatedCall) -> Behaviour:
            fails = _within(self.windows, self.every, call.at) and luck.uniform(call) < self.rate
            return _failing(self.error, self.after) if fails else Behaviour()

        return draw


@dataclass(frozen=True, slots=True)
class SlowDowns:
    """Calls take ``extra`` seconds more in these windows, each again ``every`` so many seconds if given.

    A window is its start and how long it lasts, in seconds.
    """

    windows: Sequence[Window]
    """Pairs of start and duration in seconds."""
    extra: float
    every: float | None = None

    def __post_init__(self) -> None:
        _check("SlowDowns", extra=(self.extra, 0, math.inf))
        _check_windows("SlowDowns", self.windows, self.every)

    def __repr__(self) -> str:
        return f"<SlowDowns {_spelled(self.windows, self.every)}: {self.extra:g} s more>"

    def start(self, luck: Luck) -> Draw:
        """See `FaultModel`."""
        return lambda call: Behaviour(self.extra if _within(self.windows, self.every, call.at) else 0.0)


@dataclass(frozen=True, slots=True)
class Recorded:
    """Each call behaves like one attempt on record, drawn at random: as long, with the same error.

    Args:
        attempts: The attempts, as `Run.attempts` or ``select * from attempts`` gives them; those of other
            services are to be left out before.
    """

    attempts: pd.DataFrame
    _drawn: tuple[tuple[float, str | None], ...] = field(init=False, repr=False, default=())

    def __post_init__(self) -> None:
        missing = {"status", "duration_ms", "error_type"} - set(self.attempts.columns)
        if missing:
            problem = Problem("attempts", f"has no column {', '.join(sorted(missing))}")
            raise ParameterError("Recorded", [problem])
        ended = self.attempts[self.attempts.duration_ms.notna() & (self.attempts.status != "cancelled")]
        if ended.empty:
            raise ParameterError("Recorded", [Problem("attempts", "there is none that has ended")])
        rows = zip(ended.status, ended.duration_ms, ended.error_type, strict=True)
        object.__setattr__(self, "_drawn", tuple(_recorded(*row) for row in rows))

    def start(self, luck: Luck) -> Draw:
        """See `FaultModel`."""
        drawn = self._drawn

        def draw(call: SimulatedCall) -> Behaviour:
            seconds, kind = drawn[int(luck.uniform(call) * len(drawn))]
            return Behaviour(seconds) if kind is None else _failing(kind, seconds)

        return draw


def _recorded(status: str, duration_ms: float, error_type: Any) -> tuple[float, str | None]:
    """How many seconds an attempt took, and how it failed."""
    if status == "success":
        return duration_ms / 1000, None
    known = status != "timeout" and isinstance(error_type, str) and error_type
    return duration_ms / 1000, error_type if known else "TimeoutError"


def together(models: Iterable[FaultModel], luck: Luck) -> Draw:
    """The behaviour of a call under several models, in their order."""
    draws = [model.start(luck.below(number)) for number, model in enumerate(models)]

    def draw(call: SimulatedCall) -> Behaviour:
        whole = Behaviour()
        for one in draws:
            whole = whole.then(one(call))
            if whole.error is not None:
                break
        return whole

    return draw


def _failing(kind: ErrorKind, after: float) -> Behaviour:
    return Behaviour(after, error_of(kind))


def error_of(kind: ErrorKind) -> Exception:
    """An error of this class or name; for a name without a plain class a subclass of `SimulatedError`."""
    wanted = _class_named(kind) if isinstance(kind, str) else kind
    try:
        return wanted("simulated")
    except Exception as error:  # a class that wants other arguments
        problem = Problem("error", f"{wanted.__name__} cannot be made from a text", "give its name instead")
        raise ParameterError("fault model", [problem]) from error


@lru_cache(maxsize=1_000)
def _class_named(name: str) -> type[Exception]:
    """The class of this name; one of the name that policies and records know is made where there is none."""
    found = getattr(builtins, name, None)
    if isinstance(found, type) and issubclass(found, Exception):
        return found
    module, _, bare = name.rpartition(".")
    # Our own stand bare on the record.
    return type(bare, (SimulatedError,), {"__module__": module or "orchkit.errors"})


def _spelled(windows: Sequence[Window], every: float | None) -> str:
    """``from 600 s to 1,500 s``; at most three windows."""
    shown = [f"from {start:,g} s to {start + length:,g} s" for start, length in windows[:_MOST_WINDOWS]]
    left = len(windows) - len(shown)
    shown += [f"{left:,} more"] if left else []
    return ", ".join(shown) + (f", every {every:,g} s" if every is not None else "")


_MOST_WINDOWS = 3


def _within(windows: Sequence[Window], every: float | None, at: float) -> bool:
    at = at if every is None else at % every
    return any(start <= at < start + duration for start, duration in windows)


def _check(model: str, **bounds: tuple[Any, float, float]) -> None:
    problems = [
        Problem(name, f"must be within [{low:g}, {high:g}], not {value!r}")
        for name, (value, low, high) in bounds.items()
        if not (isinstance(value, int | float) and low <= value <= high)
    ]
    if problems:
        raise ParameterError(model, problems)


def _is_window(start: Any, duration: Any) -> bool:
    numbers = isinstance(start, int | float) and isinstance(duration, int | float)
    return numbers and 0 <= start < math.inf and duration > 0


def _check_windows(model: str, windows: Sequence[Any], every: float | None) -> None:
    problems = [
        Problem(f"windows[{place}]", f"expected (start, duration) in seconds, got {window!r}")
        for place, window in enumerate(windows)
        if not (isinstance(window, tuple | list) and len(window) == 2 and _is_window(*window))
    ]
    if every is not None and not problems and every < max(map(sum, windows), default=math.ulp(0.0)):
        problems.append(Problem("every", f"{every:g} s is shorter than the windows reach"))
    if problems:
        raise ParameterError(model, problems)
