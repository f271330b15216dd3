"""Uptime: what share of the time and of the checks services were up, when they were down, what is promised.

Every question is asked of

- a kit or a store: the health checks on its record, and its windows of maintenance;
- a DataFrame of checks with the columns of the view ``health_checks``: ``service``, ``checked_at`` and
  ``status`` (``healthy``, ``degraded``, ``unhealthy``, ``maintenance`` or missing), and, if there are any,
  ``performed`` (by default: where there is a status), ``holds_s`` (by default missing), ``error`` and ``seq``
  (by default the order of the rows). Windows of maintenance are given with ``maintenance=``.

The answers are DataFrames with documented columns; times are UTC unless a time zone was asked for, lengths of
time seconds. The same SQL answers for both: it runs in DuckDB, where the records of a store lie, and a
million checks take it less than half a second.

What is known when:

- The *records* of a service are in the order of ``checked_at``; of several at the same time the one with the
  highest ``seq`` counts, though each is a check. So where a clock was set back, records from before and
  after are put in between each other, as their times say.
- A check that was *performed* says what the service is from its time until the next record, but no longer
  than ``holds_s`` seconds; where that is missing, until the next record or the end of the window. A check
  that was *not performed* (``performed`` is false, or there is no status) says nothing: from its time on the
  state is unknown, neither up nor down.
- Between records that no longer hold the state is *unknown*, and before the first one, too.
- *Maintenance* (a window of it, or a record with that status) covers everything: checks in it do not count,
  and its time is neither up nor down nor unknown.
- The *window* goes from ``since`` (not given: the first record of the service) to ``until`` (not given: the
  end of the second of the last record of any service), which is not in it any more. What was recorded at
  ``until`` or later is not looked at, so a question about the past has the answer that it would have had
  then; what was recorded before ``since`` tells the state at its begin. Services without a record before
  ``until`` are left out.
- *Coverage* is the share of the window that is known. A service that is watched no more, but whose last
  answer holds until the next record, seems to be known for ever: name the ``services`` that are meant.
- A *degraded* service is up, unless ``degraded_is_up=False``.

`orchkit.views.plots` draws the answers; `orchkit.interop.upptime` brings in histories of Upptime.
"""

from __future__ import annotations

from orchkit.analysis.uptime.agreement import agreement
from orchkit.analysis.uptime.availability import availability, availability_over_time
from orchkit.analysis.uptime.incidents import incidents, outages
from orchkit.analysis.uptime.objectives import WINDOWS, BurnWindow, burn_rates, error_budget, slo
from orchkit.analysis.uptime.timeline import states
from orchkit.analysis.uptime.wilson import wilson_interval

__all__ = [
    "WINDOWS",
    "BurnWindow",
    "agreement",
    "availability",
    "availability_over_time",
    "burn_rates",
    "error_budget",
    "incidents",
    "outages",
    "slo",
    "states",
    "wilson_interval",
]


def __dir__() -> list[str]:
    return sorted(__all__)
