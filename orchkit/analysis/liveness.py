"""Whether a run that has no end on record still goes on."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from orchkit.model.state import RunState
from orchkit.store import process
from orchkit.store.openruns import OpenRuns
from orchkit.store.process import Process

CUT_OFF = "cut off"
"""How a run stands that was under way when its process ended, and what it was doing then."""
IN_DOUBT = "in doubt"
"""How an attempt stands that had begun when its process ended, in a run that was taken up again."""

GivenUp = Collection[str]
"""Ids of runs of which a log knows that nobody works on them any more: see `given_up`."""


def given_up(open_runs: OpenRuns) -> GivenUp:
    """The runs without an end of which their log knows that nobody works on them any more.

    The log also knows what the record of a run does not tell: that a process of another machine or container
    has not been heard of for too long, and that one which is still there closed its store over the run.
    """
    return frozenset(run.run_id for run in open_runs.all() if open_runs.is_cut_off(run))


def is_cut_off(status: str, of_process: Process | None, imported: bool = False) -> bool:
    """Whether a run of this recorded status cannot go on: its process is gone.

    The record cannot say so itself, because whoever would have written it was killed. Of a process of
    another machine, or of another container, nothing is claimed. One that was ``imported`` before its end
    cannot go on here either: its process is of another store, perhaps of another machine with the same name,
    whatever has its number here.
    """
    if status not in ("running", "paused"):
        return False
    return imported or is_gone(of_process)


def is_gone(of_process: Process | None) -> bool:
    """Whether a process is known to be no more; of what is not known nothing is claimed."""
    return of_process is not None and process.standing(of_process) is process.Standing.GONE


def is_run_cut_off(state: RunState, given_up: GivenUp = ()) -> bool:
    """The same as `is_cut_off` of a folded run."""
    if is_cut_off(state.status, process_of(state.pid, state.host, state.born), state.imported is not None):
        return True
    return state.open and state.run_id in given_up


def standing(run: Mapping[str, Any], given_up: GivenUp = ()) -> str:
    """The recorded status of a run (a row of the view ``runs``), or `CUT_OFF`."""
    status: str = run["status"]
    if is_cut_off(status, process_of(run["pid"], run["host"], run["born"]), run["imported"]):
        return CUT_OFF
    return CUT_OFF if status in ("running", "paused") and run["run_id"] in given_up else status


def process_of(pid: object, host: object, born: object) -> Process | None:
    """The process that a record names; None where it names none."""
    if not isinstance(pid, int) or not isinstance(host, str):
        return None
    # in a record that somebody else has written anything may stand
    return Process(pid, host, born if isinstance(born, str) and born.count("/") == 2 else None)
