"""What another policy would have done, as tables and in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from orchkit.analysis.whatif.bounds import FAILED, SUCCESS, Fate, total
from orchkit.analysis.whatif.record import Case
from orchkit.analysis.words import duration
from orchkit.model.display import Displayable
from orchkit.model.policy import ReliabilityPolicy

if TYPE_CHECKING:
    import pandas as pd

QUANTILES: Final[Mapping[str, float]] = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
Fates = Sequence[tuple[Case, Fate]]


class Replay(Displayable):
    """What would have become of the cases of a record under a policy.

    Attributes:
        policy: The policy.
        assumed: What is assumed beyond the record; see `orchkit.analysis.whatif`.
        estimate: What the estimate rests on: ``nearby``, ``steady``, or None when there is none.
    """

    def __init__(
        self,
        policy: ReliabilityPolicy,
        fates: Fates,
        estimates: Fates | None,
        *,
        assumed: frozenset[str],
        estimate: str | None,
        base: int,
    ) -> None:
        self.policy, self.assumed, self.estimate = policy, assumed, estimate
        self._base = base
        self._fates, self._estimates = fates, estimates

    def __len__(self) -> int:
        """How many cases there are."""
        return len(self._fates)

    def cases(self) -> pd.DataFrame:
        """One row per case, in order of their beginning.

        ===================  ========  ====================================================================
        column               dtype     meaning
        ===================  ========  ====================================================================
        run_id, step_id      str       the step of a run
        tool                 str       what it called
        began_at             datetime  when its first try began
        recorded             str       how it ended: ``success``, ``failed``, ``cancelled``, or ``open``
        status               str       how it would have ended, or ``unknown``
        may_succeed          bool      whether it may have succeeded
        may_fail             bool      whether it may have failed
        calls_low,           float64   calls that would have been made
        calls_high
        latency_low_ms,      float64   from its beginning to its end, however it ended
        latency_high_ms
        waited_low_ms,       float64   of that, waits between tries
        waited_high_ms
        on_bounds            bool      whether any of this is not known exactly
        status_estimate,     ...       the estimate, if there is one
        calls_estimate,
        latency_estimate_ms
        ===================  ========  ====================================================================

        Bounds are infinite where nothing limits them.
        """
        import pandas as pd

        rows = [_row(case, fate, self._base) for case, fate in self._fates]
        frame = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
        frame["began_at"] = pd.to_datetime(frame["began_at"], unit="us", utc=True).astype(
            "datetime64[us, UTC]"
        )
        if self._estimates is not None:
            guessed = [fate for _, fate in self._estimates]
            frame["status_estimate"] = pd.Series([_status(fate) for fate in guessed], dtype="str")
            frame["calls_estimate"] = pd.Series([fate.calls.low for fate in guessed], dtype="float64")
            ends = [fate.latency.low / 1000 for fate in guessed]
            frame["latency_estimate_ms"] = pd.Series(ends, dtype="float64")
        return frame

    def summary(self) -> pd.Series[Any]:
        """The whole in numbers, each as ``…_low`` and ``…_high``.

        ``cases``; ``success`` and ``failed`` (how many), ``success_rate`` (of all cases), ``calls``,
        ``p50_ms``, ``p95_ms`` and ``p99_ms`` of the latency of all cases (interpolated between two values),
        ``waited_ms``; ``on_bounds``: how many cases are not known exactly, and ``on_bounds_share``. With an
        estimate, the same as ``…_estimate``.
        """
        import pandas as pd

        found = summarized([fate for _, fate in self._fates])
        if self._estimates is not None:
            guessed = summarized([fate for _, fate in self._estimates])
            middle = {name: guessed[f"{name}_low"] for name in _BOUNDED}
            found |= {f"{name}_estimate": value for name, value in middle.items()}
        return pd.Series(found, dtype="float64")

    def __repr__(self) -> str:
        found = self.summary()
        if not len(self):
            return "<Replay: no cases on record>"
        lines = [
            f"<Replay of {len(self):,} cases",
            f"  success      {_percent(found.success_rate_low)} to {_percent(found.success_rate_high)}",
            f"  calls        {found.calls_low:,.0f} to {_count(found.calls_high)}",
            *(f"  latency {name:<4} {_times(found, name)}" for name in QUANTILES),
            f"  waited       {duration(found.waited_ms_low)} to {_time(found.waited_ms_high)}",
            f"  on bounds    {found.on_bounds:,.0f} cases ({_percent(found.on_bounds_share)})",
        ]
        if self.assumed:
            lines.append(f"  assumed      {', '.join(sorted(self.assumed))}")
        if self.estimate is not None:
            rate, calls = found.success_rate_estimate, found.calls_estimate
            lines.append(f"  estimate     {_percent(rate)} success, {calls:,.0f} calls ({self.estimate})")
        return "\n".join(lines) + ">"


_COLUMNS: Final[Mapping[str, str]] = {
    "run_id": "str",
    "step_id": "str",
    "tool": "str",
    "began_at": "int64",
    "recorded": "str",
    "status": "str",
    "may_succeed": "bool",
    "may_fail": "bool",
    "calls_low": "float64",
    "calls_high": "float64",
    "latency_low_ms": "float64",
    "latency_high_ms": "float64",
    "waited_low_ms": "float64",
    "waited_high_ms": "float64",
    "on_bounds": "bool",
}
_BOUNDED: Final = ("success", "failed", "success_rate", "calls", *(f"{q}_ms" for q in QUANTILES), "waited_ms")


def _row(case: Case, fate: Fate, base: int) -> tuple[Any, ...]:
    return (
        case.run_id,
        case.step_id,
        case.tool,
        base + case.began,
        case.status,
        _status(fate),
        "success" in fate.statuses,
        "failed" in fate.statuses,
        fate.calls.low,
        fate.calls.high,
        fate.latency.low / 1000,
        fate.latency.high / 1000,
        fate.waited.low / 1000,
        fate.waited.high / 1000,
        not fate.known,
    )


def _status(fate: Fate) -> str:
    return next(iter(fate.statuses)) if len(fate.statuses) == 1 else "unknown"


def summarized(fates: Sequence[Fate]) -> dict[str, float]:
    """The numbers of `Replay.summary`."""
    count, on_bounds = len(fates), sum(not fate.known for fate in fates)
    calls, waited = total(fate.calls for fate in fates), total(fate.waited for fate in fates)
    success = (
        sum(fate.statuses == SUCCESS for fate in fates),
        sum("success" in fate.statuses for fate in fates),
    )
    failed = sum(fate.statuses == FAILED for fate in fates), sum("failed" in fate.statuses for fate in fates)
    found: dict[str, float] = {
        "cases": count,
        "success_low": success[0],
        "success_high": success[1],
        "failed_low": failed[0],
        "failed_high": failed[1],
        "success_rate_low": share(success[0], count),
        "success_rate_high": share(success[1], count),
        "calls_low": calls.low,
        "calls_high": calls.high,
    }
    lows = sorted(fate.latency.low / 1000 for fate in fates)
    highs = sorted(fate.latency.high / 1000 for fate in fates)
    for name, q in QUANTILES.items():
        found |= {f"{name}_ms_low": quantile(lows, q), f"{name}_ms_high": quantile(highs, q)}
    found |= {"waited_ms_low": waited.low / 1000, "waited_ms_high": waited.high / 1000}
    return found | {"on_bounds": on_bounds, "on_bounds_share": share(on_bounds, count)}


def share(part: float, whole: float) -> float:
    """Missing where there is nothing to divide by."""
    return part / whole if whole else math.nan


def quantile(ordered: Sequence[float], q: float) -> float:
    """The value below which that share lies, interpolated (definition 7 of Hyndman and Fan); may be infinite.

    No smaller than for values none of which is smaller: so quantiles of bounds are bounds of quantiles.
    """
    if not ordered:
        return math.nan
    place = (len(ordered) - 1) * q
    below = math.floor(place)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    part = place - below
    return low if part == 0 or low == high else low + part * (high - low)


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _count(value: float) -> str:
    return f"{value:,.0f}" if value < math.inf else "any number"


def _times(found: Any, name: str) -> str:
    return f"{duration(found[f'{name}_ms_low'])} to {_time(found[f'{name}_ms_high'])}"


def _time(ms: float) -> str:
    return duration(ms) if ms < math.inf else "any time"
