"""Whether a store and a bundle say the same of a run, and what of it is new to the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from orchkit.errors import Problem
from orchkit.interop.bundle.contents import BadContentsError
from orchkit.interop.bundle.lines import Line
from orchkit.interop.bundle.record import Recorded

_NOT_HERE: Recorded = Recorded([], True)


def what_is_new(lines: Sequence[Line], here: Mapping[str, Recorded]) -> list[Line]:
    """The lines that a store lacks, which has these runs.

    A bundle may be of the same run at another time: what was exported before its end is continued by what
    was exported later, and adds nothing to it. A run of this store is never continued from outside. Raises
    `BadContentsError` naming the first event of a run that differs.
    """
    places = dict.fromkeys(here, 0)
    news: list[Line] = []
    problems: dict[str, Problem] = {}
    for line in lines:
        run_id = line.run_id
        known, place = here.get(run_id, _NOT_HERE), places.get(run_id, 0)
        places[run_id] = place + 1
        if run_id in problems:
            continue
        if place < len(known.lines):
            if (ours := known.lines[place])[:6] != line[:6]:
                problems[run_id] = Problem(_name(run_id, place), _difference(ours, line))
        elif known.foreign:
            news.append(line)
        else:
            cause = f"is not on record here, where the run is one of this store: {_told(line)}"
            problems[run_id] = Problem(_name(run_id, place), cause)
    if problems:
        raise BadContentsError(problems.values())
    return news


def _name(run_id: str, place: int) -> str:
    return f"event {place + 1} of {run_id}"


def _difference(ours: Line, theirs: Line) -> str:
    if _told(ours) != _told(theirs):
        return f"differs: here it is {_told(ours)}, in the bundle {_told(theirs)}"
    names = [
        name
        for name in {**ours.payload, **theirs.payload}
        if ours.payload.get(name) != theirs.payload.get(name)
    ]
    return f"differs in its {', '.join(names[:5]) or 'wording'}: it is {_told(ours)}"


def _told(line: Line) -> str:
    """``step.finished of load at 2025-03-12T14:03:22.000000+00:00``."""
    of = f" of {line.step_id}" if line.step_id else ""
    attempt = f", attempt {line.attempt}," if line.attempt else ""
    at = datetime.fromtimestamp(line.ts / 1e6, UTC).isoformat(timespec="microseconds")
    return f"{line.kind}{of}{attempt} at {at}"
