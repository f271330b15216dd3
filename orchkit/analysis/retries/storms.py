"""How much of the load is retries, over time, and when they came in storms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

from orchkit.analysis.frames import Columns
from orchkit.analysis.retries.source import ATTEMPTS, Selection, Source, ask

if TYPE_CHECKING:
    import pandas as pd

# Windows are numbered from the epoch on, so that the same attempts fall into the same windows whatever else
# is asked for.
_LOAD = """,
load AS (
    SELECT CAST(floor(epoch_us(started_at) / $window_us) AS BIGINT) AS number, count(*) AS attempts,
           count(*) FILTER (attempt > 1) AS retries,
           count(*) FILTER (status NOT IN ('success', 'running', 'cancelled', 'in_doubt')) AS failed
    FROM a WHERE started_at IS NOT NULL GROUP BY number
), load_per_window AS (
    SELECT *, make_timestamptz(number * $window_us) AS began_at, retries / attempts AS share,
           retries * 1e6 / $window_us AS retries_per_s
    FROM load
)"""
_PER_WINDOW: Columns = {
    "began_at": "time",
    "attempts": "int",
    "retries": "int",
    "failed": "int",
    "share": "float",
    "retries_per_s": "float",
}


def retry_load(source: Source, *, window_s: float = 60.0, **selection: Unpack[Selection]) -> pd.DataFrame:
    """The attempts that began in each window of ``window_s`` seconds, and how many of them were retries.

    Windows follow each other without overlap and begin at whole multiples of their length since the epoch;
    those in which nothing began are left out. A DataFrame must have ``started_at``.

    =============  ========  ==========================================================
    column         dtype     meaning
    =============  ========  ==========================================================
    began_at       datetime  begin of the window
    attempts       Int64     attempts that began in it
    retries        Int64     those of them with a number above 1
    failed         Int64     those of them that failed or ran into a timeout
    share          float64   retries / attempts
    retries_per_s  float64   retries / length of the window
    =============  ========  ==========================================================

    Raises `ValueError` for a window that is not longer than nothing.
    """
    query = f"{_LOAD} SELECT * FROM load_per_window ORDER BY number"  # noqa: S608 - constants of this module
    return ask(
        source, query, _PER_WINDOW, selection, params=_window(window_s), needs=(*ATTEMPTS, "started_at")
    )


_STORMS: Columns = {
    "began_at": "time",
    "ended_at": "time",
    "windows": "int",
    "attempts": "int",
    "retries": "int",
    "failed": "int",
    "share": "float",
    "peak_share": "float",
    "peak_retries_per_s": "float",
}


def retry_storms(
    source: Source,
    *,
    window_s: float = 60.0,
    share: float = 0.5,
    retries_per_s: float | None = None,
    min_retries: int = 10,
    **selection: Unpack[Selection],
) -> pd.DataFrame:
    """The times in which retries were much of the load, or much in themselves: a row per storm, oldest first.

    A window (see `retry_load`) is stormy when it has at least ``min_retries`` retries, and these are at least
    ``share`` of its attempts or, where ``retries_per_s`` is given, at least so many per second. Stormy
    windows that follow each other are one storm.

    ==================  ========  ====================================================
    column              dtype     meaning
    ==================  ========  ====================================================
    began_at, ended_at  datetime  begin of the first and end of the last window
    windows             Int64     how many windows
    attempts, retries,  Int64     sums over the windows
    failed
    share               float64   retries / attempts
    peak_share          float64   of the window with the largest share
    peak_retries_per_s  float64   of the window with most retries
    ==================  ========  ====================================================

    Raises `ValueError` for a window that is not longer than nothing.
    """
    query = f"""{_LOAD}, stormy AS (
        SELECT *, number - row_number() OVER (ORDER BY number) AS storm
        FROM load_per_window WHERE retries >= $min_retries AND (share >= $share OR retries_per_s >= $rate)
    )
    SELECT min(began_at) AS began_at, make_timestamptz((max(number) + 1) * $window_us) AS ended_at,
           count(*) AS windows, sum(attempts) AS attempts, sum(retries) AS retries, sum(failed) AS failed,
           sum(retries) / sum(attempts) AS share, max(share) AS peak_share,
           max(retries_per_s) AS peak_retries_per_s
    FROM stormy GROUP BY storm ORDER BY began_at"""  # noqa: S608 - constants of this module
    params = _window(window_s) | {
        "min_retries": min_retries,
        "share": share,
        "rate": float("inf") if retries_per_s is None else retries_per_s,
    }
    return ask(source, query, _STORMS, selection, params=params, needs=(*ATTEMPTS, "started_at"))


def _window(seconds: float) -> dict[str, Any]:
    if not seconds >= 1e-6:
        raise ValueError(f"window_s must be a microsecond or longer, got {seconds!r}")
    return {"window_us": round(seconds * 1e6)}
