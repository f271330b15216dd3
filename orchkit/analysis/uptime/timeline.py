"""The state that each service was in, at every moment, as far as its checks tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from orchkit.analysis.frames import Columns
from orchkit.analysis.uptime.source import Selection, Source, ask, read

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN, UP, DEGRADED, DOWN, MAINTENANCE = range(5)
"""States as the queries write them."""

_TIMELINE = """
WITH known AS MATERIALIZED (
    SELECT service, CAST(row_number() OVER (ORDER BY service) AS USMALLINT) AS id,
           min(epoch_us(checked_at)) AS first_us, max(epoch_us(checked_at)) AS last_us
    FROM health_checks GROUP BY service
),
-- The window of each service.
w AS MATERIALIZED (
    SELECT id, service, coalesce(CAST($since_us AS BIGINT), first_us) AS from_us, until_us
    FROM known, (
        SELECT coalesce(CAST($until_us AS BIGINT), (max(last_us) // 1000000 + 1) * 1000000) AS until_us
        FROM known
    )
    WHERE first_us < until_us AND from_us < until_us AND ({which})
),
c AS NOT MATERIALIZED (
    SELECT w.id, epoch_us(checked_at) AS t, seq, error, from_us, until_us,
           CAST(CASE WHEN status = 'maintenance' THEN 4 WHEN NOT performed THEN 0
                WHEN status = 'healthy' THEN 1 WHEN status = 'degraded' THEN 2
                WHEN status = 'unhealthy' THEN 3 ELSE 0 END AS TINYINT) AS state,
           CASE WHEN isfinite(holds_s)
                THEN t + greatest(1, CAST(round(least(holds_s, 1e11) * 1e6) AS BIGINT)) END AS lapse
    FROM health_checks JOIN w USING (service) WHERE epoch_us(checked_at) < until_us
),
-- A million checks are mostly more of the same: only where something begins or lapses is anything kept.
beside AS (
    SELECT id, t, state, lapse, until_us, lead(t) OVER o AS next_t, lag(t) OVER o AS last_t,
           lag(state) OVER o AS last_state, lag(lapse) OVER o AS last_lapse
    FROM c WINDOW o AS (PARTITION BY id ORDER BY t, seq)
),
turns AS MATERIALIZED (
    SELECT id, t, state, lapse, lapse < coalesce(next_t, until_us) AS lapses,
           (next_t IS NULL OR next_t > t)
           AND (last_state IS DISTINCT FROM state OR last_t = t OR last_lapse < t) AS begins
    FROM beside WHERE begins OR lapses
),
away AS MATERIALIZED (
    SELECT id, starts_us, ends_us, until_us FROM (
        SELECT service, epoch_us(starts_at) AS starts_us, epoch_us(ends_at) AS ends_us
        FROM maintenance_windows
        UNION ALL
        SELECT unnest(CAST($away AS VARCHAR[])), unnest(CAST($away_from AS BIGINT[])),
               unnest(CAST($away_until AS BIGINT[]))
    ) JOIN w USING (service)
    WHERE starts_us < until_us AND (ends_us IS NULL OR ends_us > starts_us)
),
-- Windows of maintenance that overlap are counted in and out again.
marks AS (
    SELECT id, t, state, 0 AS deeper FROM turns WHERE begins
    UNION ALL SELECT id, lapse, 0, 0 FROM turns WHERE lapses
    UNION ALL SELECT id, from_us, NULL, 0 FROM w
    UNION ALL SELECT id, starts_us, NULL, 1 FROM away
    UNION ALL SELECT id, ends_us, NULL, -1 FROM away WHERE ends_us < until_us
),
moments AS (SELECT id, t, max(state) AS state, sum(deeper) AS deeper FROM marks GROUP BY id, t),
states AS (
    SELECT id, t, CASE WHEN sum(deeper) OVER o > 0 THEN 4
                  ELSE coalesce(last_value(state IGNORE NULLS) OVER o, 0) END AS state
    FROM moments WINDOW o AS (PARTITION BY id ORDER BY t ROWS UNBOUNDED PRECEDING)
),
changes AS (
    SELECT * FROM states QUALIFY state IS DISTINCT FROM lag(state) OVER (PARTITION BY id ORDER BY t)
),
-- What each service was in, from its first record on, in stretches without gaps or overlaps.
s AS MATERIALIZED (
    SELECT id, state, t AS b, coalesce(lead(t) OVER (PARTITION BY id ORDER BY t), until_us) AS e,
           state = 3 OR (state = 2 AND $degraded_down) AS down
    FROM changes JOIN w USING (id)
)"""

_WORDS = "['unknown', 'up', 'degraded', 'down', 'maintenance']"
_STATES: Columns = {
    "service": "text",
    "state": "text",
    "began_at": "time",
    "ended_at": "time",
    "duration_s": "float",
}


def timeline(which: str) -> str:
    """Common tables: ``w``, the windows; ``c``, the checks; ``s``, the states. A query begins after them."""
    return _TIMELINE.replace("{which}", which)


def states(source: Source, **selection: Unpack[Selection]) -> pd.DataFrame:
    """The states that each service was in, one after the other, without gaps: a row per service and stretch.

    ==========  ========  ================================================================================
    column      dtype     meaning
    ==========  ========  ================================================================================
    service     str       its name
    state       str       ``up``, ``degraded``, ``down``, ``unknown`` or ``maintenance``
    began_at    datetime  when it came into this state, or the begin of the window
    ended_at    datetime  when it left it, or the end of the window
    duration_s  float64   the time between
    ==========  ========  ================================================================================

    Rows are by service, then by time. Raises what `orchkit.analysis.uptime.source.read` and ``ask`` raise.
    """
    asked = read(source, selection)
    query = f"""{timeline(asked.which)}
    SELECT service, {_WORDS}[state + 1] AS state, make_timestamptz(greatest(b, from_us)) AS began_at,
           make_timestamptz(e) AS ended_at, (e - greatest(b, from_us)) / 1e6 AS duration_s
    FROM s JOIN w USING (id) WHERE e > from_us AND $degraded_down IS NOT NULL ORDER BY service, b"""  # noqa: S608 - constants of this module
    return ask(source, query, _STATES, asked)
