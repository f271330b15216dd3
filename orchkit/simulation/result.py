"""What came of a simulation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from orchkit.kit import Kit
from orchkit.model.display import Displayable

if TYPE_CHECKING:
    import pandas as pd

Z_95: Final = 1.959963984540054
"""The standard normal distribution's quantile for two-sided 95 %."""

LONGEST_ERROR: Final = 160
"""Characters of an error that are shown."""


class Simulation(Displayable):
    """What came of it. ``kit`` looks at the record, in memory: ``kit.runs``, ``kit.sql``, the analyses."""

    def __init__(self, name: str, kit: Kit, seed: int) -> None:
        self.name, self.kit, self.seed = name, kit, seed

    def frame(self) -> pd.DataFrame:
        """One row per run, in order.

        Columns: ``run_id``, ``started_at``, ``status``, ``duration_s``, ``attempts`` (calls of all steps,
        those of sub-workflows included), ``failed_attempts``, ``error``.
        """
        return self.kit.sql(_FRAME)

    def summary(self) -> pd.Series[Any]:
        """The whole in numbers.

        ``runs``, ``success_rate`` with its 95 % Wilson interval ``low`` and ``high``, the quantiles
        ``p50_s``, ``p95_s`` and ``p99_s`` of the duration, ``attempts_per_run``.
        """
        import pandas as pd

        frame = self.frame()
        good, count = int((frame.status == "success").sum()), len(frame)
        low, high = wilson(good, count)
        quantiles = frame.duration_s.quantile([0.5, 0.95, 0.99])
        return pd.Series(
            {
                "runs": count,
                "success_rate": good / count,
                "low": low,
                "high": high,
                **dict(zip(("p50_s", "p95_s", "p99_s"), quantiles, strict=True)),
                "attempts_per_run": frame.attempts.mean(),
            },
            name=self.name,
        )

    @property
    def failure(self) -> str | None:
        """What runs failed with most often, shortened: ``200 x TimeoutError: …``; None: none has failed."""
        errors = self.frame().error.dropna()
        if errors.empty:
            return None
        counts = errors.map(shortened).value_counts()
        return f"{int(counts.iloc[0]):,} x {counts.index[0]}"

    def __repr__(self) -> str:
        found, failure = self.summary(), self.failure
        rate = f"{found.success_rate:.1%} succeeded ({found.low:.1%} to {found.high:.1%})"
        failed = f"; failed: {failure}" if failure is not None else ""
        median = f"median {found.p50_s:.3g} s"
        return f"<Simulation of {self.name}: {int(found.runs):,} runs, {rate}, {median}{failed}>"


def shortened(error: str) -> str:
    """The first line of an error, as much as is shown of it."""
    line = error.strip().partition("\n")[0]
    return line if len(line) <= LONGEST_ERROR else line[: LONGEST_ERROR - 1] + "…"


def wilson(good: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson, 1927); the whole unit interval for no observation."""
    if count == 0:
        return 0.0, 1.0
    share, square = good / count, Z_95**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = Z_95 / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return max(0.0, middle - half), min(1.0, middle + half)


_FRAME = """
WITH RECURSIVE below(run_id, top) AS (
    SELECT run_id, run_id FROM runs WHERE parent_run_id IS NULL
    UNION ALL SELECT r.run_id, b.top FROM runs r JOIN below b ON r.parent_run_id = b.run_id
), counts AS (
    SELECT b.top AS run_id, count(*) AS attempts, count(*) FILTER (a.status <> 'success') AS failed
    FROM attempts a JOIN below b ON b.run_id = a.run_id GROUP BY b.top
), numbers AS (
    SELECT run_id, CAST(payload ->> '$.simulated.number' AS BIGINT) AS number
    FROM events WHERE kind = 'run.started'
)
SELECT r.run_id, r.started_at, r.status, r.duration_ms / 1000 AS duration_s,
       coalesce(c.attempts, 0) AS attempts, coalesce(c.failed, 0) AS failed_attempts, r.error
FROM runs r LEFT JOIN counts c ON c.run_id = r.run_id LEFT JOIN numbers n ON n.run_id = r.run_id
WHERE r.parent_run_id IS NULL ORDER BY n.number
"""
