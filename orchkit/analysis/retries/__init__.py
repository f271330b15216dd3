"""What retrying did: how often it was needed, what it rescued, what it cost, and when it came in storms.

Every question is asked of

- a kit, a store or a simulation: all runs, or those that ``runs=`` names or ``origins=`` selects (``live``,
  ``imported``, ``simulated``; by default what was simulated is left out, unless there is nothing else);
- a run, or the result of one;
- a DataFrame of attempts: ``step_id``, ``attempt`` and ``status`` as `orchkit.Run.attempts` has them,
  ``run_id`` where there are several runs, ``started_at``, ``finished_at`` and ``duration_ms`` for questions
  about time, ``error_type``, ``injected``, and ``tool`` and ``workflow`` to group by, if there are any.

``include_injected=False`` leaves out attempts into which a fault was injected. The answers are
DataFrames with documented columns; times are UTC, durations milliseconds. The same SQL answers for all three:
it runs in DuckDB, where the records of a store lie, and needs less than a second for ten million attempts.

A *step* here is one step of one run, or an operation that was dispatched alone; the numbers of its attempts
are unique. It
*succeeded* when any of its attempts did; it is *open* when none did and the last one goes on or is in doubt,
*cancelled* when none did and the last one was cancelled, else it *failed*. A *retry* is an attempt that is
not the first one of its step.

`orchkit.views.plots` draws each of the answers.
"""

from __future__ import annotations

from orchkit.analysis.retries.breakers import breaker_open_time, breaker_periods
from orchkit.analysis.retries.steps import attempts_per_step, success_rates, time_to_success
from orchkit.analysis.retries.storms import retry_load, retry_storms
from orchkit.analysis.retries.waits import wait_histogram, waits
from orchkit.analysis.retries.waste import waste

__all__ = [
    "attempts_per_step",
    "breaker_open_time",
    "breaker_periods",
    "retry_load",
    "retry_storms",
    "success_rates",
    "time_to_success",
    "wait_histogram",
    "waits",
    "waste",
]


def __dir__() -> list[str]:
    return sorted(__all__)
