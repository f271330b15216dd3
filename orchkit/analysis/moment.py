"""A run as it stood after one of its events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import index

from orchkit.analysis.captions import caption
from orchkit.analysis.known import Path
from orchkit.analysis.subruns import states_below
from orchkit.analysis.words import plural
from orchkit.model.event import Event
from orchkit.model.state import RunState, fold


@dataclass(frozen=True, slots=True)
class Moment:
    """What was known then, of the run and of those of its sub-workflows."""

    state: RunState
    below: Mapping[Path, RunState]
    place: int
    """Of the event, from 0."""
    count: int
    """How many events there are by now."""
    event: str
    """The event in words."""

    @property
    def past(self) -> bool:
        """Whether more is on record than what was known then."""
        return self.place < self.count - 1

    @property
    def caption(self) -> str:
        """Which moment it is, in words."""
        return f"after event {self.place + 1:,} of {self.count:,}: {self.event}"


def moment_of(found: Mapping[str, Sequence[Event]], run_id: str, at: int) -> Moment:
    """The moment after the event at a position, from 0, or from -1 backwards.

    ``found`` are the events of the run and of those below it (`orchkit.analysis.subruns.recorded`). After the
    last one everything counts, also what those below did later.

    Raises:
        IndexError: There is no event at this position.
        TypeError: It is no whole number.
    """
    own = found[run_id]
    place = _place(at, len(own))
    last = None if place == len(own) - 1 else own[place].seq
    states = {one: fold(_until(events, last)) for one, events in found.items()}
    state = fold(own[: place + 1])
    below = states_below(state, states)
    return Moment(state, below, place, len(own), caption(own[place], state))


def _place(at: int, count: int) -> int:
    try:
        place = index(at)
    except TypeError:
        raise TypeError(f"at: a position is a whole number, got {at!r}") from None
    if not -count <= place < count:
        known = f"0 to {count - 1:,}, or -1 to {-count:,} from the end"
        raise IndexError(f"at: there is no event {place:,}: the run has {plural(count, 'event')}, {known}")
    return place % count


def _until(events: Sequence[Event], last: int | None) -> Sequence[Event]:
    return [event for event in events if last is None or event.seq <= last]
