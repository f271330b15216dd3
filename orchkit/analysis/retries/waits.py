"""How long was waited before trying again: as it was decided, else as it shows between two attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from orchkit.analysis.frames import Columns
from orchkit.analysis.retries.grouping import STEPS, By, grouping
from orchkit.analysis.retries.source import TIMES, Selection, Source, ask

if TYPE_CHECKING:
    import pandas as pd

# Runs of orchkit have a decision for every retry; imported ones have none, or none that names a delay. Only
# attempts that are followed by another overlap with it: those of a hedge, which did not wait for a failure.
_WAITED = """,
decided AS MATERIALIZED (
    SELECT run_id, step_id, attempt, 1000 * TRY_CAST(input_data ->> '$.delay_s' AS DOUBLE) AS ms
    FROM d WHERE decision_point = 'retry' AND decision = 'retry'
), untold AS (
    SELECT run_id, step_id, attempt, status, started_at, finished_at FROM a
    WHERE (attempt > 1 OR status <> 'success')
        AND run_id NOT IN (SELECT run_id FROM decided WHERE ms IS NOT NULL)
), waited AS (
    SELECT 'decision' AS basis, run_id, step_id, attempt, ms FROM decided WHERE ms IS NOT NULL
    UNION ALL
    SELECT 'gap', p.run_id, p.step_id, p.attempt, (epoch_us(n.started_at) - epoch_us(p.finished_at)) / 1000.0
    FROM untold n JOIN untold p ON p.run_id = n.run_id AND p.step_id = n.step_id AND p.attempt + 1 = n.attempt
    WHERE p.status <> 'success' AND n.started_at >= p.finished_at
)"""
WAITS: Columns = {
    "basis": "text",
    "waits": "int",
    "total_ms": "float",
    "mean_ms": "float",
    "p50_ms": "float",
    "p90_ms": "float",
    "p99_ms": "float",
    "max_ms": "float",
}


def waits(
    source: Source,
    *,
    by: By = "attempt",
    decisions: pd.DataFrame | None = None,
    **selection: Unpack[Selection],
) -> pd.DataFrame:
    """How long was waited before retries, in milliseconds.

    Where a run has decisions to retry on record, their delays are counted: what the policy planned. Where it
    has none, as most imported runs, the gaps are: from the end of a failed attempt to the begin of the next
    one, with whatever else took time there.

    ``by``: ``attempt`` (the one after which was waited), ``step`` (its id), ``tool``, ``workflow``, ``run``,
    several of them, or None for all together. A DataFrame of attempts must have ``started_at`` and
    ``finished_at``; ``decisions`` may be given with it, as `orchkit.Run.decisions` has them.

    =======================  =======  ==================================================================
    column                   dtype    meaning
    =======================  =======  ==================================================================
    basis                    str      ``decision``: planned delays; ``gap``: observed ones
    waits                    Int64    how many
    total_ms, mean_ms        float64  sum and mean
    p50_ms, p90_ms, p99_ms   float64  quantiles, interpolated between two values
    max_ms                   float64  the longest
    =======================  =======  ==================================================================
    """
    group = grouping(by, ("attempt", *STEPS))
    keys = ", ".join((*group.names, "basis"))
    # every name in the text is a constant of this package
    query = f"""{_WAITED}{group.ctes}, spread AS (
        SELECT {group.keys}x.basis, count(*) AS waits, sum(x.ms) AS total_ms, avg(x.ms) AS mean_ms,
               quantile_cont(x.ms, [0.5, 0.9, 0.99]) AS q, max(x.ms) AS max_ms
        FROM waited x{group.joins} GROUP BY ALL
    )
    SELECT *, q[1] AS p50_ms, q[2] AS p90_ms, q[3] AS p99_ms FROM spread ORDER BY {keys}"""  # noqa: S608
    columns = {**group.columns, **WAITS}
    return ask(source, query, columns, selection, needs=TIMES, tables={"decision_traces": decisions})


_BINS: Columns = {"basis": "text", "lower_ms": "float", "upper_ms": "float", "waits": "int", "share": "float"}


def wait_histogram(
    source: Source,
    *,
    bins_per_decade: int = 4,
    decisions: pd.DataFrame | None = None,
    **selection: Unpack[Selection],
) -> pd.DataFrame:
    """The distribution of the waits of `waits`: a row per bin that is not empty, shortest first.

    Waits go over several powers of ten, so the bins are as wide as they are far out: ``bins_per_decade`` of
    them between 1 and 10 ms, as many between 10 and 100 ms. Retries that did not wait at all are the bin
    from 0 to 0.

    ==========================  =======  ==========================================================
    column                      dtype    meaning
    ==========================  =======  ==========================================================
    basis                       str      ``decision``: planned delays; ``gap``: observed ones
    lower_ms, upper_ms          float64  from (included) and to (not included), in milliseconds
    waits                       Int64    how many
    share                       float64  waits / all of this basis
    ==========================  =======  ==========================================================

    Raises `ValueError` for fewer than one bin.
    """
    if bins_per_decade < 1:
        raise ValueError(f"bins_per_decade must be 1 or more, got {bins_per_decade!r}")
    # A power of ten belongs to the bin that it begins, however its logarithm is rounded.
    query = f"""{_WAITED}, numbered AS (
        SELECT basis, CASE WHEN ms > 0 THEN floor(log10(ms) * $bins + 1e-9) END AS bin FROM waited
    ), counted AS (SELECT basis, bin, count(*) AS waits FROM numbered GROUP BY basis, bin)
    SELECT basis, coalesce(pow(10, bin / $bins), 0) AS lower_ms,
           coalesce(pow(10, (bin + 1) / $bins), 0) AS upper_ms, waits,
           waits / sum(waits) OVER (PARTITION BY basis) AS share
    FROM counted ORDER BY basis, lower_ms"""  # noqa: S608
    params = {"bins": bins_per_decade}
    return ask(
        source, query, _BINS, selection, params=params, needs=TIMES, tables={"decision_traces": decisions}
    )
