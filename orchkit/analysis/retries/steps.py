"""How steps fared over their attempts: how many they needed, which succeeded, how long that took."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from orchkit.analysis.frames import Columns
from orchkit.analysis.retries.grouping import STEPS, By, grouping, key_names
from orchkit.analysis.retries.source import TIMES, Selection, Source, ask

if TYPE_CHECKING:
    import pandas as pd

# A status is put beside the number of its attempt in one whole number, so that the first and the last of a
# step are a minimum and a maximum. Most steps succeed at once, and are told by their only row; but an attempt
# 1 that is missing among the others of a step may be such a row.
TRIED = """,
rest AS MATERIALIZED (
    SELECT run_id, step_id, count(*) AS attempts, bool_or(status = 'success') AS ok,
           min(2 * attempt + (status <> 'success')::INT) // 2 AS head,
           min(2 * attempt + (status <> 'success')::INT) % 2 = 0 AS ok_at_once,
           max(4 * attempt + CASE status WHEN 'running' THEN 2 WHEN 'in_doubt' THEN 2 WHEN 'cancelled' THEN 1
               ELSE 0 END) % 4 AS last,
           min(epoch_us(started_at)) AS began, min(epoch_us(finished_at)) FILTER (status = 'success') AS done
    FROM a WHERE attempt <> 1 OR status <> 'success' GROUP BY run_id, step_id
), headless AS MATERIALIZED (
    SELECT run_id, step_id FROM rest WHERE head > 1
), heads AS MATERIALIZED (
    SELECT run_id, step_id, epoch_us(started_at) AS began, epoch_us(finished_at) AS done
    FROM a SEMI JOIN headless USING (run_id, step_id) WHERE attempt = 1 AND status = 'success'
), tried AS (
    SELECT run_id, step_id, 1 AS attempts, TRUE AS ok, TRUE AS ok_at_once, 0 AS last,
           (epoch_us(finished_at) - epoch_us(started_at)) / 1000.0 AS took_ms
    FROM a ANTI JOIN headless USING (run_id, step_id) WHERE attempt = 1 AND status = 'success'
    UNION ALL
    SELECT r.run_id, r.step_id, r.attempts + (h.run_id IS NOT NULL)::INT, r.ok OR h.run_id IS NOT NULL,
           r.ok_at_once OR h.run_id IS NOT NULL, r.last,
           (least(r.done, h.done) - least(r.began, h.began)) / 1000.0
    FROM rest r LEFT JOIN heads h ON h.run_id = r.run_id AND h.step_id = r.step_id
), outcomes AS (
    SELECT *, CASE WHEN ok THEN 'success' WHEN last = 2 THEN 'open' WHEN last = 1 THEN 'cancelled'
              ELSE 'failed' END AS outcome
    FROM tried
)"""


RATES: Columns = {
    "steps": "int",
    "attempts": "int",
    "retries": "int",
    "first_try": "int",
    "rescued": "int",
    "failed": "int",
    "cancelled": "int",
    "open": "int",
    "first_try_rate": "float",
    "success_rate": "float",
    "rescue_rate": "float",
}


def success_rates(source: Source, *, by: By = None, **selection: Unpack[Selection]) -> pd.DataFrame:
    """How many steps succeeded at once, how many were rescued by a retry, how many were not.

    ``by``: ``step`` (its id), ``tool``, ``workflow``, ``run``, several of them, or None for one row of all.
    The rows with most steps that failed come first, then those with most rescued.

    ==============  =======  ==========================================================================
    column          dtype    meaning
    ==============  =======  ==========================================================================
    steps           Int64    steps that were tried
    attempts        Int64    their attempts
    retries         Int64    attempts beyond the first of each step
    first_try       Int64    steps whose first attempt succeeded
    rescued         Int64    steps that succeeded on a later one
    failed          Int64    steps none of whose attempts succeeded
    cancelled       Int64    the same, but the last attempt was cancelled: nothing is known of the service
    open            Int64    the same, but the last attempt goes on, or is in doubt
    first_try_rate  float64  first_try / (first_try + rescued + failed)
    success_rate    float64  (first_try + rescued) / (first_try + rescued + failed)
    rescue_rate     float64  rescued / (rescued + failed): what retrying was good for
    ==============  =======  ==========================================================================

    A rate is missing where there is nothing to divide by.
    """
    group = grouping(by, STEPS)
    # every name in the text is a constant of this package
    query = f"""{TRIED}{group.ctes}, counts AS (
        SELECT {group.keys}count(*) AS steps, coalesce(sum(x.attempts), 0) AS attempts,
               count(*) FILTER (x.ok_at_once) AS first_try,
               count(*) FILTER (x.ok AND NOT x.ok_at_once) AS rescued,
               count(*) FILTER (x.outcome = 'failed') AS failed,
               count(*) FILTER (x.outcome = 'cancelled') AS cancelled,
               count(*) FILTER (x.outcome = 'open') AS open
        FROM outcomes x{group.joins}{group.group_by}
    )
    SELECT *, attempts - steps AS retries,
           first_try / nullif(first_try + rescued + failed, 0) AS first_try_rate,
           (first_try + rescued) / nullif(first_try + rescued + failed, 0) AS success_rate,
           rescued / nullif(rescued + failed, 0) AS rescue_rate
    FROM counts{group.order_by("failed DESC", "rescued DESC")}"""  # noqa: S608
    return ask(source, query, {**group.columns, **RATES}, selection)


PER_STEP: Columns = {
    "attempts": "int",
    "steps": "int",
    "succeeded": "int",
    "failed": "int",
    "cancelled": "int",
    "open": "int",
    "share": "float",
}


def attempts_per_step(source: Source, *, by: By = None, **selection: Unpack[Selection]) -> pd.DataFrame:
    """How many attempts steps took: a row per number of attempts, fewest first.

    ``by``: ``step`` (its id), ``tool``, ``workflow``, ``run``, several of them, or None for all together.

    =========  =======  ===================================================
    column     dtype    meaning
    =========  =======  ===================================================
    attempts   Int64    so many attempts
    steps      Int64    were made by so many steps
    succeeded  Int64    of which so many succeeded,
    failed     Int64    so many failed,
    cancelled  Int64    so many were cancelled on the last attempt,
    open       Int64    and so many go on, or are in doubt
    share      float64  steps / all steps of the group
    =========  =======  ===================================================
    """
    group = grouping(by, STEPS)
    split = grouping([*key_names(by), "attempts"], (*STEPS, "attempts"))
    query = f"""{TRIED}{split.ctes}, counts AS (
        SELECT {split.keys}count(*) AS steps, count(*) FILTER (x.ok) AS succeeded,
               count(*) FILTER (x.outcome = 'failed') AS failed,
               count(*) FILTER (x.outcome = 'cancelled') AS cancelled,
               count(*) FILTER (x.outcome = 'open') AS open
        FROM outcomes x{split.joins}{split.group_by}
    )
    SELECT *, steps / sum(steps) OVER ({group.partition_by}) AS share
    FROM counts{split.order_by()}"""  # noqa: S608
    return ask(source, query, {**group.columns, **PER_STEP}, selection)


TOOK: Columns = {
    "steps": "int",
    "mean_ms": "float",
    "p50_ms": "float",
    "p90_ms": "float",
    "p99_ms": "float",
    "max_ms": "float",
}


def time_to_success(source: Source, *, by: By = "attempts", **selection: Unpack[Selection]) -> pd.DataFrame:
    """How long steps took to succeed: from the begin of the first attempt to the end of the successful one.

    Waits between attempts are in it. ``by``: ``attempts`` (how many the step made), ``step`` (its id),
    ``tool``, ``workflow``, ``run``, several of them, or None for all together. Steps that did not succeed
    are left out. A DataFrame must have ``started_at`` and ``finished_at``.

    =======================  =======  ==================================================================
    column                   dtype    meaning
    =======================  =======  ==================================================================
    steps                    Int64    steps that succeeded, and whose times are known
    mean_ms                  float64  mean, in milliseconds
    p50_ms, p90_ms, p99_ms   float64  quantiles, interpolated between two values (definition 7 of R. J.
                                      Hyndman and Y. Fan, "Sample Quantiles in Statistical Packages", 1996)
    max_ms                   float64  the longest
    =======================  =======  ==================================================================
    """
    group = grouping(by, (*STEPS, "attempts"))
    query = f"""{TRIED}{group.ctes}, spans AS (
        SELECT {group.keys}count(*) AS steps, avg(x.took_ms) AS mean_ms,
               quantile_cont(x.took_ms, [0.5, 0.9, 0.99]) AS q, max(x.took_ms) AS max_ms
        FROM outcomes x{group.joins} WHERE x.ok AND x.took_ms IS NOT NULL{group.group_by}
    )
    SELECT *, q[1] AS p50_ms, q[2] AS p90_ms, q[3] AS p99_ms FROM spans{group.order_by()}"""  # noqa: S608
    return ask(source, query, {**group.columns, **TOOK}, selection, needs=TIMES)
