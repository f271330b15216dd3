"""Circuit breakers on the record: when they were open, and what that saved and cost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Unpack

from orchkit.analysis.frames import Columns
from orchkit.analysis.retries.source import Selection, Source, ask

if TYPE_CHECKING:
    import pandas as pd

TRANSITIONS = ("breaker", "to_state", "changed_at")
"""Columns that a DataFrame of transitions must have."""

# A clock that was set back makes no time negative.
_PERIODS = """,
stretches AS (
    SELECT breaker, to_state AS state, changed_at AS began_at, lead(changed_at) OVER w AS ended_at, reason,
           coalesce(lead(changed_at) OVER w, $until) AS counted_to,
           lag(to_state, 1, from_state) OVER w AS before,
           lead(to_state) OVER w AS next, lead(to_state, 2) OVER w AS next_but_one,
           run_id, step_id, attempt, row_number() OVER w AS number
    FROM b WINDOW w AS (PARTITION BY breaker ORDER BY seq, changed_at)
), periods AS (
    SELECT *, CASE WHEN counted_to IS NOT NULL
              THEN greatest(0, epoch_us(counted_to) - epoch_us(began_at)) / 1000.0 END AS duration_ms
    FROM stretches
)"""
_PERIOD: Columns = {
    "breaker": "text",
    "state": "text",
    "began_at": "time",
    "ended_at": "time",
    "duration_ms": "float",
    "reason": "maybe",
}


def breaker_periods(
    source: Source, *, until: datetime | None = None, **selection: Unpack[Selection]
) -> pd.DataFrame:
    """The states that circuit breakers were in, one after the other: a row per breaker and period.

    What is asked is a kit, a store, a run (whose attempts caused the transitions), or a DataFrame with the
    columns of the view ``breaker_transitions``: needed are ``breaker``, ``to_state`` and ``changed_at``.

    ===========  ========  ==========================================================================
    column       dtype     meaning
    ===========  ========  ==========================================================================
    breaker      str       its name
    state        str       ``closed``, ``open``, ``half_open``, ``forced_open`` or ``disabled``
    began_at     datetime  when it came into this state; what was before the first transition is not
                           on record
    ended_at     datetime  when it left it; missing for the last one, which goes on
    duration_ms  float64   the time between, of the last one up to ``until``; missing without it
    reason       object    why it came into this state
    ===========  ========  ==========================================================================
    """
    query = f"{_PERIODS} SELECT * FROM periods ORDER BY breaker, number"  # noqa: S608 - constants of this module
    tables = {"attempts": None, "decision_traces": None}
    return ask(
        source, query, _PERIOD, selection, params={"until": _utc(until)}, needs=TRANSITIONS, tables=tables
    )


_OPEN: Columns = {
    "breaker": "text",
    "state": "text",
    "opened": "int",
    "reopened": "int",
    "open_ms": "float",
    "half_open_ms": "float",
    "longest_open_ms": "float",
    "rejected": "int",
    "steps_lost": "int",
    "saved_ms_at_most": "float",
    "late_ms_at_most": "float",
}


def breaker_open_time(
    source: Source,
    *,
    until: datetime | None = None,
    attempts: pd.DataFrame | None = None,
    decisions: pd.DataFrame | None = None,
    **selection: Unpack[Selection],
) -> pd.DataFrame:
    """How long each breaker was open, and what that saved and cost: a row per breaker, open longest first.

    What is asked is as in `breaker_periods`. With a DataFrame of transitions, ``attempts`` and ``decisions``
    may be given; without them, what is counted of them is 0 or missing.

    ================  =======  ======================================================================
    column            dtype    meaning
    ================  =======  ======================================================================
    breaker           str      its name
    state             str      the state that it is in
    opened            Int64    how many times it opened or was forced open
    reopened          Int64    how many times it opened again because its probes failed
    open_ms           float64  time that it was open or forced open; of a period that goes on, what is
                               before ``until``, nothing without it
    half_open_ms      float64  time that it was half open
    longest_open_ms   float64  the longest time without a probe
    rejected          Int64    calls that it did not allow
    steps_lost        Int64    steps of which it rejected a call, and that never succeeded
    saved_ms_at_most  float64  rejected, times the mean duration of the attempts that opened it: the
                               time of the callers that failing would have taken, had all these calls
                               been made and had all failed like those; missing where it is not known
    late_ms_at_most   float64  the last open time before each probing that closed it: the service was
                               back at some moment in it, or even before, and was not called
    ================  =======  ======================================================================

    Whether a call that was rejected would have succeeded is on no record, so these are bounds: a breaker
    saved between nothing and ``saved_ms_at_most``, and for between nothing and ``late_ms_at_most`` it kept
    callers from a service that was back.
    """
    query = f"""{_PERIODS}, rejections AS MATERIALIZED (
        SELECT input_data ->> '$.breaker' AS breaker, run_id, step_id
        FROM d WHERE decision_point = 'breaker' AND decision = 'rejected'
    ), rejected AS (SELECT breaker, count(*) AS rejected FROM rejections GROUP BY breaker),
    saved_in_the_end AS (
        SELECT run_id, step_id FROM a SEMI JOIN rejections USING (run_id, step_id) WHERE status = 'success'
    ), lost AS (
        SELECT breaker, count(*) AS steps_lost
        FROM (SELECT DISTINCT breaker, run_id, step_id FROM rejections) ANTI JOIN saved_in_the_end
            USING (run_id, step_id)
        GROUP BY breaker
    ), openers AS (
        SELECT p.breaker, avg(a.duration_ms) AS mean_ms
        FROM a JOIN periods p ON p.run_id = a.run_id AND p.step_id = a.step_id AND p.attempt = a.attempt
        WHERE p.state = 'open' AND a.status NOT IN ('success', 'running') GROUP BY p.breaker
    ), sums AS (
        SELECT breaker, arg_max(state, number) AS state,
               count(*) FILTER (state IN ('open', 'forced_open')
                                AND before NOT IN ('open', 'forced_open', 'half_open')) AS opened,
               count(*) FILTER (state = 'open' AND before = 'half_open') AS reopened,
               sum(duration_ms) FILTER (state IN ('open', 'forced_open')) AS open_ms,
               sum(duration_ms) FILTER (state = 'half_open') AS half_open_ms,
               max(duration_ms) FILTER (state IN ('open', 'forced_open')) AS longest_open_ms,
               sum(duration_ms) FILTER (state = 'open' AND next = 'half_open' AND next_but_one = 'closed')
                   AS late_ms
        FROM periods GROUP BY breaker
    )
    SELECT breaker, s.state, s.opened, s.reopened, coalesce(s.open_ms, 0) AS open_ms,
           coalesce(s.half_open_ms, 0) AS half_open_ms, coalesce(s.longest_open_ms, 0) AS longest_open_ms,
           coalesce(r.rejected, 0) AS rejected, coalesce(l.steps_lost, 0) AS steps_lost,
           coalesce(r.rejected, 0) * o.mean_ms AS saved_ms_at_most, coalesce(s.late_ms, 0) AS late_ms_at_most
    FROM sums s LEFT JOIN rejected r USING (breaker) LEFT JOIN lost l USING (breaker)
        LEFT JOIN openers o USING (breaker)
    ORDER BY open_ms DESC, breaker"""  # noqa: S608 - constants of this module
    tables = {"attempts": attempts, "decision_traces": decisions}
    return ask(
        source, query, _OPEN, selection, params={"until": _utc(until)}, needs=TRANSITIONS, tables=tables
    )


def _utc(time: datetime | None) -> datetime | None:
    """The time with a zone: without one it is in UTC, as all times of the record are."""
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time
