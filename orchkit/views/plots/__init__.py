"""The answers of `orchkit.analysis.retries` and `orchkit.analysis.uptime` as plots.

Each takes the table that its question gave, or what can be asked (a kit, a simulation, of retries also a
run): then it asks with the usual settings. A comparison of policies has none, so `whatif` takes its table.

::

    from orchkit.analysis import retries
    from orchkit.views import plots

    plots.success_rates(retries.success_rates(kit, by="tool"))

Every plot takes ``ax=`` and returns it; without one it makes a figure of its own. They need matplotlib
(``pip install "orchkit[plot]"``) and look as its style is set, light or dark.
"""

from __future__ import annotations

from orchkit.views.plots.breakers import breaker_open_time, breaker_periods
from orchkit.views.plots.steps import attempts_per_step, success_rates, time_to_success
from orchkit.views.plots.storms import retry_load, retry_storms
from orchkit.views.plots.uptime import uptime_hours, uptime_strip
from orchkit.views.plots.uptime_budget import error_budget
from orchkit.views.plots.uptime_states import uptime_timeline
from orchkit.views.plots.waits import wait_histogram, waits
from orchkit.views.plots.waste import waste
from orchkit.views.plots.whatif import whatif

__all__ = [
    "attempts_per_step",
    "breaker_open_time",
    "breaker_periods",
    "error_budget",
    "retry_load",
    "retry_storms",
    "success_rates",
    "time_to_success",
    "uptime_hours",
    "uptime_strip",
    "uptime_timeline",
    "wait_histogram",
    "waits",
    "waste",
    "whatif",
]


def __dir__() -> list[str]:
    return sorted(__all__)
