"""Whether a run that has no end on record still goes on."""

from __future__ import annotations

from socket import gethostname

from orchkit.store.process import process_alive

CUT_OFF = "cut off"
"""How a run stands that was under way when its process ended, and what it was doing then."""


def is_cut_off(status: str, pid: int | None, host: str | None, imported: bool = False) -> bool:
    """Whether a run of this recorded status cannot go on: it ran on this machine, and its process is gone.

    The record cannot say so itself, because whoever would have written it was killed. Of runs on other
    machines nothing is claimed. One that was ``imported`` before its end cannot go on here either: its
    process is of another store, perhaps of another machine with the same name, whatever has its number here.
    """
    if status not in ("running", "paused"):
        return False
    if imported:
        return True
    return isinstance(pid, int) and host == gethostname() and not process_alive(pid)


def standing(status: str, pid: int | None, host: str | None, imported: bool = False) -> str:
    """The recorded status of a run, or `CUT_OFF`."""
    return CUT_OFF if is_cut_off(status, pid, host, imported) else status
