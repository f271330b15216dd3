"""When services were down: from when to when, why, how long it takes to mend them and how long they last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from orchkit.analysis.frames import Columns
from orchkit.analysis.uptime.availability import By
from orchkit.analysis.uptime.source import Asked, Selection, Source, ask, read
from orchkit.analysis.uptime.spans import Span, span_us
from orchkit.analysis.uptime.timeline import timeline
from orchkit.errors import UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

GAP_S = 3600.0
"""Not knowing for so long, in seconds, ends an incident."""

# A stretch that ends incidents opens a new group, so that each group holds one incident at most.
INCIDENTS = """,
grouped AS (
    SELECT id, state, b, e, down,
           NOT down AND (state <> 0 OR e - b > $gap_us) AS ends,
           -- Not a count with a filter: in a window, that takes DuckDB quadratic time.
           sum(CAST(ends AS INT)) OVER (PARTITION BY id ORDER BY b ROWS UNBOUNDED PRECEDING) AS number
    FROM s
),
falls AS (
    SELECT id, number, min(b) AS b, max(e) AS seen_e, sum(e - b) AS down_us
    FROM grouped WHERE down GROUP BY id, number
),
incident AS MATERIALIZED (
    SELECT f.id, f.b, CASE WHEN g.state = 0 THEN f.seen_e ELSE g.b END AS e, f.down_us,
           CASE g.state WHEN 0 THEN 'unknown' WHEN 4 THEN 'maintenance' WHEN 1 THEN 'up' WHEN 2 THEN 'up' END
               AS ended_by
    FROM falls f LEFT JOIN grouped g ON g.id = f.id AND g.number = f.number + 1 AND g.ends
)"""
_WITH_CAUSES = """,
errors AS (
    SELECT i.id, i.b, c.t, c.seq, c.error
    FROM c ASOF JOIN incident i ON c.id = i.id AND c.t >= i.b
    WHERE (i.e IS NULL OR c.t < i.e) AND (c.state = 3 OR (c.state = 2 AND $degraded_down))
),
kinds AS (
    SELECT id, b, error, count(*) AS times, min((t, seq)) AS first FROM errors
    WHERE error IS NOT NULL GROUP BY id, b, error
),
why AS (
    SELECT id, b, arg_min(error, first) AS cause, arg_min(error, (-times, first)) AS usual_error
    FROM kinds GROUP BY id, b
),
many AS (SELECT id, b, count(*) AS checks FROM errors GROUP BY id, b)
SELECT service, make_timestamptz(i.b) AS started_at, make_timestamptz(i.e) AS ended_at, ended_by,
       (coalesce(i.e, until_us) - i.b) / 1e6 AS duration_s, down_us / 1e6 AS down_s,
       coalesce(checks, 0) AS checks, cause, usual_error
FROM incident i JOIN w USING (id)
    LEFT JOIN many ON many.id = i.id AND many.b = i.b LEFT JOIN why ON why.id = i.id AND why.b = i.b
WHERE i.e IS NULL OR i.e > from_us ORDER BY i.b, service"""
_INCIDENTS: Columns = {
    "service": "text",
    "started_at": "time",
    "ended_at": "time",
    "ended_by": "maybe",
    "duration_s": "float",
    "down_s": "float",
    "checks": "int",
    "cause": "maybe",
    "usual_error": "maybe",
}


def incidents(source: Source, *, max_gap_s: Span = GAP_S, **selection: Unpack[Selection]) -> pd.DataFrame:
    """The times in which services were down: a row per incident, oldest first.

    An incident begins when a service is found down and lasts until it is found up, or until its maintenance
    begins. Not knowing (no check, or none that was performed) does not end it, unless it lasts longer than
    ``max_gap_s`` (seconds, or a text such as ``"2h"``): then it ended, for all one knows, with the last
    moment at which it was known.

    ===========  ========  ===============================================================================
    column       dtype     meaning
    ===========  ========  ===============================================================================
    service      str       its name
    started_at   datetime  when it was found down; this may be before the window
    ended_at     datetime  when it ended; missing for one that goes on at the end of the window
    ended_by     object    ``up``, ``maintenance`` or ``unknown``; None while it goes on
    duration_s   float64   from begin to end, or to the end of the window, seconds
    down_s       float64   how much of that it is known to have been down
    checks       Int64     checks that found it down
    cause        object    the first error that these give, if any
    usual_error  object    the one that they give most often, of several the first
    ===========  ========  ===============================================================================

    Listed are those that reach into the window. Raises `ParameterError` for a ``max_gap_s`` below 0, and what
    `orchkit.analysis.uptime.source.read` and ``ask`` raise.
    """
    asked = read(source, selection)
    query = timeline(asked.which) + INCIDENTS + _WITH_CAUSES
    return ask(source, query, _INCIDENTS, asked, gap(max_gap_s))


def gap(max_gap_s: Span) -> dict[str, Any]:
    """As a value for a query. Raises `ParameterError`."""
    return {"gap_us": span_us(max_gap_s, "max_gap_s", most_s=1e11, zero=True)}


# What goes on has no time to repair yet, and what began before the window is no failure in it.
_OUTAGES = """,
times AS (
    SELECT id, sum(e - greatest(b, from_us)) FILTER (state IN (1, 2) AND NOT down) AS up_us,
           sum(e - greatest(b, from_us)) FILTER (down) AS down_us
    FROM s JOIN w USING (id) WHERE e > from_us GROUP BY id
),
ours AS (
    SELECT i.*, from_us, coalesce(e, until_us) - b AS us FROM incident i JOIN w USING (id)
    WHERE e IS NULL OR e > from_us
),
counted AS (
    SELECT id, count(*) AS incidents, count(*) FILTER (b >= from_us) AS began,
           count(*) FILTER (e IS NULL) AS open,
           count(*) FILTER (e IS NOT NULL) AS ended, sum(us) FILTER (e IS NOT NULL) AS repair_us,
           max(us) AS longest_us, arg_max(b, (us, -b)) AS longest_b
    FROM ours GROUP BY id
)
SELECT {service} CAST(coalesce(sum(incidents), 0) AS BIGINT) AS incidents,
       CAST(coalesce(sum(open), 0) AS BIGINT) AS open,
       sum(repair_us) / nullif(sum(ended), 0) / 1e6 AS mttr_s,
       coalesce(sum(up_us), 0) / nullif(sum(began), 0) / 1e6 AS mtbf_s,
       max(longest_us) / 1e6 AS longest_s,
       make_timestamptz(arg_max(longest_b, (longest_us, -longest_b))) AS longest_at,
       coalesce(sum(up_us), 0) / 1e6 AS up_s, coalesce(sum(down_us), 0) / 1e6 AS down_s
FROM w LEFT JOIN times USING (id) LEFT JOIN counted USING (id) {grouping}"""
_TOTALS: Columns = {
    "incidents": "int",
    "open": "int",
    "mttr_s": "float",
    "mtbf_s": "float",
    "longest_s": "float",
    "longest_at": "time",
    "up_s": "float",
    "down_s": "float",
}


def outages(
    source: Source, *, by: By = "service", max_gap_s: Span = GAP_S, **selection: Unpack[Selection]
) -> pd.DataFrame:
    """How often services fail and how long it takes: a row per service, or with ``by=None`` one row of all.

    ==========  ========  ================================================================================
    column      dtype     meaning
    ==========  ========  ================================================================================
    service     str       its name; not with ``by=None``
    incidents   Int64     incidents that reach into the window: see `incidents`
    open        Int64     those of them that go on at its end
    mttr_s      float64   mean time to repair, seconds: of those that ended, their mean length, which may
                          have begun before the window; missing where none ended
    mtbf_s      float64   mean time between failures, seconds: the known time that it was up, over the
                          number of incidents that began in the window; missing where none began
    longest_s   float64   length of the longest one, or of what there is of it up to the end of the window
    longest_at  datetime  when that began
    up_s        float64   known time in the window that it was up, seconds
    down_s      float64   known time in the window that it was down, seconds
    ==========  ========  ================================================================================

    A degraded service is up or down as ``degraded_is_up`` says. Raises what `incidents` raises, and
    `UnknownNameError` for another ``by``.
    """
    if by not in ("service", None):
        raise UnknownNameError("key to group by", str(by), ["service"])
    asked = read(source, selection)
    query = _outages_query(asked, by)
    columns: Columns = {"service": "text", **_TOTALS} if by else _TOTALS
    return ask(source, query, columns, asked, gap(max_gap_s))


def _outages_query(asked: Asked, by: By) -> str:
    parts = {
        "service": "service," if by else "",
        "grouping": "GROUP BY service ORDER BY service" if by else "HAVING count(w.id) > 0",
    }
    return timeline(asked.which) + INCIDENTS + _OUTAGES.format(**parts)
