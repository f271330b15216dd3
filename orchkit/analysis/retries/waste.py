"""What attempts cost that did not help, by the error that they ended with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from orchkit.analysis.frames import Columns
from orchkit.analysis.retries.grouping import STEPS, By, grouping
from orchkit.analysis.retries.source import Selection, Source, ask
from orchkit.analysis.retries.steps import TRIED

if TYPE_CHECKING:
    import pandas as pd

WASTE: Columns = {
    "calls": "int",
    "time_ms": "float",
    "retries": "int",
    "retries_ms": "float",
    "in_vain": "int",
    "in_vain_ms": "float",
    "share_of_calls": "float",
    "share_of_time": "float",
}
# Both joins are with few rows: steps whose first attempt is not number 1, and steps that failed in the end.
_UNHELPFUL = """,
first_numbers AS (
    SELECT run_id, step_id, head FROM rest ANTI JOIN heads USING (run_id, step_id) WHERE head > 1
), lost AS (
    SELECT run_id, step_id FROM rest ANTI JOIN heads USING (run_id, step_id) WHERE NOT ok AND last = 0
), unhelpful AS (
    SELECT a.run_id, a.step_id, coalesce(a.error_type, a.status) AS error_type,
           coalesce(a.duration_ms, 0) AS ms, a.attempt > coalesce(f.head, 1) AS retry,
           l.run_id IS NOT NULL AS in_vain
    FROM a LEFT JOIN first_numbers f ON f.run_id = a.run_id AND f.step_id = a.step_id
        LEFT JOIN lost l ON l.run_id = a.run_id AND l.step_id = a.step_id
    WHERE a.status NOT IN ('success', 'running')
), all_ended AS (
    SELECT count(*) AS calls, sum(duration_ms) AS ms FROM a WHERE status <> 'running'
)"""


def waste(source: Source, *, by: By = "error", **selection: Unpack[Selection]) -> pd.DataFrame:
    """The calls and the time of attempts that ended without success, what took longest first.

    ``by``: ``error`` (the type of the error; the status where there is none), ``step`` (its id), ``tool``,
    ``workflow``, ``run``, several of them, or None for all together. Attempts that go on are left out; those
    in doubt are counted, but took nobody knows how long. Of a DataFrame, ``duration_ms`` (or ``started_at``
    and ``finished_at``) and ``error_type`` are read, if it has them.

    ==============  =======  ===========================================================================
    column          dtype    meaning
    ==============  =======  ===========================================================================
    calls           Int64    attempts that ended without success
    time_ms         float64  time they took, in milliseconds; waits between attempts are not in it
    retries         Int64    those of them that were not the first of their step: made because of retrying
    retries_ms      float64  the time of these
    in_vain         Int64    those of ``calls`` whose step failed in the end, whatever was tried
    in_vain_ms      float64  the time of these
    share_of_calls  float64  calls / all attempts that ended, of all groups
    share_of_time   float64  time_ms / their time
    ==============  =======  ===========================================================================
    """
    group = grouping(by, ("error", *STEPS))
    # every name in the text is a constant of this package
    query = f"""{TRIED}{_UNHELPFUL}{group.ctes}, sums AS (
        SELECT {group.keys}count(*) AS calls, coalesce(sum(x.ms), 0) AS time_ms,
               count(*) FILTER (x.retry) AS retries,
               coalesce(sum(x.ms) FILTER (x.retry), 0) AS retries_ms, count(*) FILTER (x.in_vain) AS in_vain,
               coalesce(sum(x.ms) FILTER (x.in_vain), 0) AS in_vain_ms
        FROM unhelpful x{group.joins}{group.group_by}
    )
    SELECT sums.*, sums.calls / nullif(e.calls, 0) AS share_of_calls,
           sums.time_ms / nullif(e.ms, 0) AS share_of_time
    FROM sums, all_ended e{group.order_by("time_ms DESC", "sums.calls DESC")}"""  # noqa: S608
    return ask(source, query, {**group.columns, **WASTE}, selection)
