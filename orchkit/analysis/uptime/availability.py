"""What share of the time, and of the checks, services were up, and how much of it is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, Literal, Unpack

from orchkit.analysis.frames import Columns
from orchkit.analysis.uptime.periods import Every, bounds, common_step, zone_of
from orchkit.analysis.uptime.source import Asked, Selection, Source, ask, extent, read
from orchkit.analysis.uptime.timeline import timeline
from orchkit.analysis.uptime.wilson import wilson_interval
from orchkit.errors import UnknownNameError

if TYPE_CHECKING:
    import pandas as pd

By = Literal["service"] | None
"""A row per service; None: all services together, their times and checks added up."""

_COUNTS: Columns = {
    "checks": "int",
    "up": "int",
    "degraded": "int",
    "down": "int",
    "not_performed": "int",
    "in_maintenance": "int",
}
_TIMES: Columns = {
    "up_s": "float",
    "degraded_s": "float",
    "down_s": "float",
    "unknown_s": "float",
    "maintenance_s": "float",
}
# Each check counts once; then those that fell into maintenance are taken out again, which are few.
_QUERY = """,
cuts AS MATERIALIZED ({cuts}),
slots AS (
    SELECT id, t // $slot_us AS slot,
           count(*) FILTER (state = 1) AS up, count(*) FILTER (state = 2) AS degraded,
           count(*) FILTER (state = 3) AS down, count(*) FILTER (state = 0) AS not_performed,
           count(*) FILTER (state = 4) AS in_maintenance
    FROM c WHERE t >= from_us GROUP BY id, slot
    UNION ALL
    SELECT c.id, t // $slot_us AS slot, -count(*) FILTER (c.state = 1), -count(*) FILTER (c.state = 2),
           -count(*) FILTER (c.state = 3), -count(*) FILTER (c.state = 0), count(*) FILTER (c.state <> 4)
    FROM c JOIN s ON s.id = c.id AND s.state = 4 AND c.t >= s.b AND c.t < s.e
    WHERE t >= from_us GROUP BY c.id, slot
),
counted AS (
    SELECT slots.id, number, CAST(sum(up) AS BIGINT) AS up, CAST(sum(degraded) AS BIGINT) AS degraded,
           CAST(sum(down) AS BIGINT) AS down, CAST(sum(not_performed) AS BIGINT) AS not_performed,
           CAST(sum(in_maintenance) AS BIGINT) AS in_maintenance
    FROM slots ASOF JOIN cuts ON slots.id = cuts.id AND slots.slot * $slot_us >= cuts.opens
    GROUP BY slots.id, number
),
-- States cut where periods begin, so that each piece lies in one period.
pieces AS (
    SELECT id, t, max(state) AS state, max(number) AS number FROM (
        SELECT id, b AS t, state, NULL AS number FROM s
        UNION ALL SELECT id, b, NULL, number FROM cuts
    ) GROUP BY id, t
),
timed AS (
    SELECT id, last_value(state IGNORE NULLS) OVER o AS state,
           last_value(number IGNORE NULLS) OVER o AS number,
           coalesce(lead(t) OVER o, until_us) - t AS us
    FROM pieces JOIN w USING (id) WINDOW o AS (PARTITION BY id ORDER BY t ROWS UNBOUNDED PRECEDING)
),
summed AS (
    SELECT id, number,
           sum(us) FILTER (state = 1) / 1e6 AS up_s, sum(us) FILTER (state = 2) / 1e6 AS degraded_s,
           sum(us) FILTER (state = 3) / 1e6 AS down_s, sum(us) FILTER (state = 0) / 1e6 AS unknown_s,
           sum(us) FILTER (state = 4) / 1e6 AS maintenance_s
    FROM timed WHERE number IS NOT NULL GROUP BY id, number
),
rows AS (
    SELECT {service} cuts.number, min(cuts.b) AS first_us, max(cuts.e) AS last_us,
           min(cuts.opens) AS opens, max(cuts.closes) AS closes, bool_or($degraded_down) AS strict,
           {sums}
    FROM cuts JOIN w USING (id) LEFT JOIN counted ON counted.id = cuts.id AND counted.number = cuts.number
        LEFT JOIN summed ON summed.id = cuts.id AND summed.number = cuts.number
    GROUP BY ALL
)
SELECT *, up + degraded + down AS checks, {times} FROM rows ORDER BY {order} number"""
_SUMS = ", ".join(
    f"coalesce(sum({name}), 0) AS {name}" for name in (*(one for one in _COUNTS if one != "checks"), *_TIMES)
)
_WHOLE = "SELECT id, 0 AS number, from_us AS b, until_us AS e, -1 AS opens, until_us AS closes FROM w"
_PERIODS = """
    SELECT id, number, greatest(opens, from_us) AS b, least(closes, until_us) AS e, opens, closes
    FROM w, (
        SELECT generate_subscripts($opens, 1) AS number, unnest($opens) AS opens, unnest($closes) AS closes
    ) WHERE opens < until_us AND closes > from_us"""
_ONE_SLOT = 1 << 61


@dataclass(frozen=True, slots=True)
class _Cut:
    """How the window is cut into periods."""

    cuts: str
    params: dict[str, Any]
    times: str
    names: tuple[str, str]


def availability(
    source: Source, *, by: By = "service", confidence: float = 0.95, **selection: Unpack[Selection]
) -> pd.DataFrame:
    """How much services were up in the window: a row per service, or with ``by=None`` one row of all.

    ===============  ========  ===========================================================================
    column           dtype     meaning
    ===============  ========  ===========================================================================
    service          str       its name; not with ``by=None``
    since, until     datetime  the window
    checks           Int64     checks that were performed, outside of maintenance: ``up + degraded + down``
    up, degraded,    Int64     what these found
    down
    not_performed    Int64     records of checks that were not made: neither up nor down
    in_maintenance   Int64     records in maintenance, performed or not
    by_checks        float64   share of the checks that found it up; missing without a check
    by_checks_low,   float64   its Wilson interval at ``confidence``: see `wilson_interval`
    by_checks_high
    up_s,            float64   time in each state, seconds: together the length of the window (with
    degraded_s,                ``by=None``, of those of all services)
    down_s,
    unknown_s,
    maintenance_s
    by_time          float64   share of the known time that it was up; missing where nothing is known
    coverage         float64   share of the window that is known, maintenance left out of both; missing
                               where it is all maintenance
    ===============  ========  ===========================================================================

    Rows are by service. Raises `ValueError` for a confidence that is not between 0 and 1, `UnknownNameError`
    for another ``by``, and what `orchkit.analysis.uptime.source.read` and ``ask`` raise.
    """
    names = ("since", "until")
    times = "make_timestamptz(first_us) AS since, make_timestamptz(last_us) AS until"
    cut = _Cut(_WHOLE, {"slot_us": _ONE_SLOT}, times, names)
    return _answer(source, read(source, selection), cut, by, confidence)


def availability_over_time(
    source: Source,
    *,
    every: Every = "day",
    timezone: str | tzinfo = "UTC",
    by: By = "service",
    confidence: float = 0.95,
    **selection: Unpack[Selection],
) -> pd.DataFrame:
    """The same for each hour, day or week of a time zone: a row per service and period, by service and time.

    Instead of ``since`` and ``until`` there are

    =================  ========  =========================================================================
    began_at,          datetime  begin and end of the period, in the time zone asked for
    ended_at
    =================  ========  =========================================================================

    Days are as long as they are there: 23 or 25 hours where clocks are changed; a week begins on Monday, the
    hour that comes twice is two periods. Of the first and the last period only what lies in the window
    counts, in times and in coverage. Periods without any record are there, too.

    Raises what `availability` raises, `ParameterError` for an unknown time zone and `UnknownNameError` for
    another ``every``.
    """
    zone, asked = zone_of(timezone), read(source, selection)
    found = bounds(every, zone, *extent(source, asked))
    params = {"opens": found[:-1], "closes": found[1:], "slot_us": common_step(found)}
    times = "make_timestamptz(opens) AS began_at, make_timestamptz(closes) AS ended_at"
    table = _answer(source, asked, _Cut(_PERIODS, params, times, ("began_at", "ended_at")), by, confidence)
    for name in ("began_at", "ended_at"):
        table[name] = table[name].dt.tz_convert(zone)
    return table


def _answer(source: Source, asked: Asked, cut: _Cut, by: By, confidence: float) -> pd.DataFrame:
    import pandas as pd

    if by not in ("service", None):
        raise UnknownNameError("key to group by", str(by), ["service"])
    wilson_interval([], [], confidence)  # a wrong confidence is told before anything is asked
    own: Columns = {"service": "text"} if by else {}
    query = timeline(asked.which) + _QUERY.format(
        cuts=cut.cuts,
        service="service," if by else "",
        order="service," if by else "",
        sums=_SUMS,
        times=cut.times,
    )
    columns: Columns = {**own, **dict.fromkeys(cut.names, "time"), **_COUNTS, **_TIMES, "strict": "bool"}
    table = ask(source, query, columns, asked, cut.params)
    strict = bool(table.pop("strict").any())
    low, high = wilson_interval(_good(table, strict), table.checks.to_numpy(dtype=float), confidence)
    known = table.up_s + table.degraded_s + table.down_s
    good_s = table.up_s if strict else table.up_s + table.degraded_s
    checks = table.checks.to_numpy(dtype=float, na_value=0)
    shares = {
        "by_checks": pd.Series(_good(table, strict)) / pd.Series(checks).where(checks > 0),
        "by_checks_low": low,
        "by_checks_high": high,
    }
    for place, (name, values) in enumerate(shares.items()):
        table.insert(table.columns.get_loc("in_maintenance") + 1 + place, name, values)
    table["by_time"] = good_s / known.where(known > 0)
    whole = known + table.unknown_s
    table["coverage"] = known / whole.where(whole > 0)
    return table


def _good(table: pd.DataFrame, strict: bool) -> Any:
    good = table.up if strict else table.up + table.degraded
    return good.to_numpy(dtype=float, na_value=0)
