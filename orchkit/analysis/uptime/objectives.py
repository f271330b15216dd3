"""What a service promises (an SLO), how much of its error budget is spent, and how fast that goes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from orchkit.analysis.frames import Columns
from orchkit.analysis.uptime.source import Asked, Selection, Source, ask, read
from orchkit.analysis.uptime.spans import Span, span_us
from orchkit.analysis.uptime.timeline import timeline
from orchkit.errors import ParameterError, Problem

if TYPE_CHECKING:
    import pandas as pd

MONTH = timedelta(days=30)


class BurnWindow(NamedTuple):
    """When to alert: the budget burns ``rate`` times too fast, over the long and over the short time."""

    long: Span
    short: Span
    rate: float


WINDOWS = (
    BurnWindow(timedelta(hours=1), timedelta(minutes=5), 14.4),
    BurnWindow(timedelta(hours=6), timedelta(minutes=30), 6.0),
    BurnWindow(timedelta(days=3), timedelta(hours=6), 1.0),
)
"""The pairs that "The Site Reliability Workbook" (B. Beyer and others, 2018, chapter 5) begins with: 2, 5 and
10 % of the budget of a month spent in the long window."""

# Sums over windows that end with the time asked about, which are few.
_SUMS = """,
spans AS (
    SELECT id, service, number, span_us, greatest(until_us - span_us, 0) AS from_us, until_us
    FROM w, (SELECT generate_subscripts($spans, 1) AS number, unnest($spans) AS span_us)
),
sums AS (
    SELECT spans.id, number,
           sum(s.e - greatest(s.b, spans.from_us)) FILTER (state IN (1, 2, 3)) AS known_us,
           sum(s.e - greatest(s.b, spans.from_us)) FILTER (down) AS down_us,
           sum(s.e - greatest(s.b, spans.from_us)) FILTER (state = 4) AS away_us
    FROM spans JOIN s ON s.id = spans.id AND s.e > spans.from_us GROUP BY spans.id, number
)
SELECT service, number, make_timestamptz(from_us) AS since, make_timestamptz(until_us) AS until,
       span_us / 1e6 AS window_s, coalesce(known_us, 0) / 1e6 AS known_s,
       coalesce(down_us, 0) / 1e6 AS down_s,
       coalesce(away_us, 0) / 1e6 AS maintenance_s
FROM spans LEFT JOIN sums USING (id, number) ORDER BY service, number"""
_SUMMED: Columns = {
    "service": "text",
    "number": "int",
    "since": "time",
    "until": "time",
    "window_s": "float",
    "known_s": "float",
    "down_s": "float",
    "maintenance_s": "float",
}


def slo(
    source: Source, *, target: float = 0.999, window: Span = MONTH, **selection: Unpack[Selection]
) -> pd.DataFrame:
    """Whether each service keeps a promise, and what is left of its error budget: a row per service.

    ``target`` is the share of the time that it promises to be up, ``window`` the time up to ``until`` over
    which that is reckoned (``"28d"``, a timedelta or seconds); ``since`` is not asked for. Time in
    maintenance is not promised.

    ===============  ========  ===========================================================================
    column           dtype     meaning
    ===============  ========  ===========================================================================
    service          str       its name
    target           float64   the share that is promised
    since, until     datetime  the window
    window_s         float64   its length, seconds
    maintenance_s    float64   how much of that was maintenance
    known_s          float64   how much of it is known
    coverage         float64   known, over the window without maintenance; missing where it is all
                               maintenance
    budget_s         float64   time that it may be down: ``(1 - target) * (window_s - maintenance_s)``
    spent_s          float64   time that it is known to have been down
    remaining_s      float64   what is left; below 0 when it was down longer than it may be
    remaining_share  float64   ``remaining_s / budget_s``
    availability     float64   share of the known time that it was up; missing where nothing is known
    burn_rate        float64   ``(1 - availability) / (1 - target)``: at 1, the budget is spent just when the
                               window is over
    met              bool      whether budget is left
    ===============  ========  ===========================================================================

    What is not known is not spent: read ``coverage`` first. Raises `ParameterError` for a target that does
    not lie between 0 and 1 and for a window that has no length, and what
    `orchkit.analysis.uptime.source.read` and ``ask`` raise.
    """
    _check(target)
    asked = _read(source, selection)
    table = ask(source, timeline(asked.which) + _SUMS, _SUMMED, asked, {"spans": [span_us(window, "window")]})
    table = table.drop(columns="number").rename(columns={"down_s": "spent_s"})
    table.insert(1, "target", target)
    whole = table.window_s - table.maintenance_s
    table["budget_s"] = (1 - target) * whole
    table["coverage"] = table.known_s / whole.where(whole > 0)
    table["remaining_s"] = table.budget_s - table.spent_s
    table["remaining_share"] = table.remaining_s / table.budget_s.where(table.budget_s > 0)
    table["availability"] = 1 - table.spent_s / table.known_s.where(table.known_s > 0)
    table["burn_rate"] = table.spent_s / table.known_s.where(table.known_s > 0) / (1 - target)
    table["met"] = table.remaining_s >= 0
    return table[list(_SLO)]


_SLO = (
    "service", "target", "since", "until", "window_s", "maintenance_s", "known_s", "coverage", "budget_s",
    "spent_s", "remaining_s", "remaining_share", "availability", "burn_rate", "met",
)  # fmt: skip


def burn_rates(
    source: Source,
    *,
    target: float = 0.999,
    windows: Sequence[BurnWindow | tuple[Span, Span, float]] = WINDOWS,
    **selection: Unpack[Selection],
) -> pd.DataFrame:
    """How fast error budgets burn, over a long and a short time up to ``until``: a row per service and pair.

    An alert on the long time alone goes on for long after the service is back, one on the short time alone
    cries at every moment of trouble; so both must burn.

    ===========  ========  ===============================================================================
    column       dtype     meaning
    ===========  ========  ===============================================================================
    service      str       its name
    until        datetime  at which time
    long_s       float64   the long time, seconds
    short_s      float64   the short time, seconds
    threshold    float64   the rate from which on it is too fast
    long_burn    float64   share of the known time that it was down, over ``1 - target``; missing where
                           nothing is known
    short_burn   float64   the same of the short time
    long_known   float64   share of the long time, without maintenance, that is known
    short_known  float64   the same of the short time
    alert        bool      both burn at the threshold or faster
    ===========  ========  ===============================================================================

    Raises what `slo` raises.
    """
    _check(target)
    pairs = [_pair(pair) for pair in windows]
    asked = _read(source, selection)
    spans = [span_us(span, "windows") for pair in pairs for span in (pair.long, pair.short)]
    table = ask(source, timeline(asked.which) + _SUMS, _SUMMED, asked, {"spans": spans})
    table["burn"] = table.down_s / table.known_s.where(table.known_s > 0) / (1 - target)
    whole = table.window_s - table.maintenance_s
    table["known"] = table.known_s / whole.where(whole > 0)
    long, short = (table[table.number % 2 == odd].reset_index(drop=True) for odd in (1, 0))
    answer = long[["service", "until"]].copy()
    answer["long_s"], answer["short_s"] = long.window_s, short.window_s
    rates = [pair.rate for pair in pairs]
    answer["threshold"] = rates * (len(long) // len(pairs)) if pairs else []
    answer["long_burn"], answer["short_burn"] = long.burn, short.burn
    answer["long_known"], answer["short_known"] = long.known, short.known
    enough = (answer.long_burn >= answer.threshold) & (answer.short_burn >= answer.threshold)
    answer["alert"] = enough.astype(bool)
    return answer


_LEFT = """,
windows AS (
    SELECT id, service, greatest(until_us - $span_us, 0) AS from_us, until_us,
           (1 - $target) * ($span_us - coalesce((
               SELECT sum(e - greatest(b, until_us - $span_us)) FROM s
               WHERE s.id = w.id AND s.state = 4 AND e > until_us - $span_us), 0)) AS budget_us
    FROM w
),
falls AS (
    SELECT id, greatest(b, from_us) AS b, e,
           sum(e - greatest(b, from_us)) OVER (PARTITION BY id ORDER BY b) AS spent
    FROM s JOIN windows USING (id) WHERE down AND e > from_us
),
points AS (
    SELECT id, from_us AS moment_us, CAST(0 AS HUGEINT) AS spent FROM windows
    UNION SELECT id, b, spent - (e - b) FROM falls
    UNION SELECT id, e, spent FROM falls
    UNION
    SELECT id, until_us, coalesce((SELECT max(spent) FROM falls WHERE falls.id = windows.id), 0) FROM windows
)
SELECT service, make_timestamptz(moment_us) AS moment, budget_us / 1e6 AS budget_s, spent / 1e6 AS spent_s
FROM points JOIN windows USING (id) ORDER BY service, moment_us, spent"""
_POINTS: Columns = {"service": "text", "moment": "time", "budget_s": "float", "spent_s": "float"}


def error_budget(
    source: Source, *, target: float = 0.999, window: Span = MONTH, **selection: Unpack[Selection]
) -> pd.DataFrame:
    """The error budget over the window, from full at its begin: a row per service and turn.

    ===============  ========  ===========================================================================
    column           dtype     meaning
    ===============  ========  ===========================================================================
    service          str       its name
    moment           datetime  begin of the window, begin and end of each time that it was down, end of the
                               window; in between it goes straight
    budget_s         float64   time that it may be down in this window, seconds
    spent_s          float64   time that it was down until then
    remaining_s      float64   what is left
    remaining_share  float64   ``remaining_s / budget_s``
    ===============  ========  ===========================================================================

    What is asked is as in `slo`, and so is what is raised.
    """
    _check(target)
    asked = _read(source, selection)
    params = {"span_us": span_us(window, "window"), "target": target}
    table = ask(source, timeline(asked.which) + _LEFT, _POINTS, asked, params)
    table["remaining_s"] = table.budget_s - table.spent_s
    table["remaining_share"] = table.remaining_s / table.budget_s.where(table.budget_s > 0)
    return table


def _read(source: Source, selection: Any) -> Asked:
    if "since" in selection:
        hint = "the window says how far back from until it goes"
        raise ParameterError("uptime", [Problem("since", "is not asked for here", hint)])
    return read(source, selection)


def _check(target: Any) -> None:
    if not (isinstance(target, int | float) and 0 < target < 1):
        hint = "give a share, such as 0.999"
        raise ParameterError("uptime", [Problem("target", f"{target!r} is not between 0 and 1", hint)])


def _pair(given: Any) -> BurnWindow:
    try:
        long, short, rate = given
        return BurnWindow(long, short, float(rate))
    except (TypeError, ValueError):
        hint = "give a long time, a short one and a rate, such as ('1h', '5m', 14.4)"
        raise ParameterError("uptime", [Problem("windows", f"{given!r} is no pair", hint)]) from None
