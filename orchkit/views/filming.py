"""The film of a run as front ends play it: its frames, the stage they play on, and the runs below it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchkit.analysis.explain import explain_run
from orchkit.analysis.facts import Facts
from orchkit.analysis.film import Film, film_of
from orchkit.analysis.known import Known
from orchkit.analysis.redaction import Redact, to_show
from orchkit.analysis.shown import Values
from orchkit.analysis.subruns import recorded, states_below
from orchkit.errors import UnknownNameError
from orchkit.model.event import Event
from orchkit.model.state import RunState, fold
from orchkit.store import codec
from orchkit.views.picture import MOST_NODES
from orchkit.views.runmarks import marks_of
from orchkit.views.stage import stage_of

if TYPE_CHECKING:
    from orchkit.views.run import Run

MOST_BELOW = 40
"""So many runs of sub-workflows are part of a film; of further ones it says only their ids."""


@dataclass(frozen=True, slots=True)
class Footage:
    """What a film is made of, fit to be shown: nothing of it leaves that a redactor took away."""

    events: Sequence[Event]
    state: RunState
    known: Known
    below: Mapping[str, Sequence[Event]]
    """The events of the runs of sub-workflows, at any depth, by run id."""

    @property
    def facts(self) -> Facts:
        """The state and what is known beside it."""
        return Facts(self.state, self.known)


def footage_of(run: Run, redact: Redact | None = None) -> Footage:
    """Read a run and those below it; ``redact`` as in `orchkit.analysis.redaction.to_show`.

    Raises `UnknownNameError` when the store has no such run, and what the redactor raises.
    """
    found = recorded(run.store, run.id)
    if run.id not in found:
        raise UnknownNameError("run", run.id)
    shown = {run_id: to_show(events, redact) for run_id, events in found.items()}
    states = {run_id: fold(events) for run_id, events in shown.items()}
    state = states[run.id]
    known = replace(run.known_of(state, below=False), below=states_below(state, states))
    return Footage(shown.pop(run.id), state, known, shown)


def film_of_run(footage: Footage, *, most_nodes: int = MOST_NODES) -> Film:
    """The film of a run: what `orchkit.analysis.film` gives, and more.

    ::

        {"run": {…, "standing": its status or "cut off", "cut_off", "marks", "story": the run in words},
         "dag": see `orchkit.views.stage.stage_of`,
         "below": {run_id: the film of the run of a sub-workflow, with a "dag" of its own}}
    """
    films = {run_id: _film(events, footage.known, most_nodes) for run_id, events in _shown_below(footage)}
    return _film(footage.events, footage.known, most_nodes) | {"below": films}


def _shown_below(footage: Footage) -> Iterable[tuple[str, Sequence[Event]]]:
    return list(footage.below.items())[:MOST_BELOW]


def _film(events: Sequence[Event], known: Known, most_nodes: int) -> Film:
    state = fold(events)
    about = _known_of(state, known)
    facts = Facts(state, about)
    film = film_of(events, Values())
    film["run"] |= {
        "standing": facts.run_standing,
        "cut_off": facts.cut_off,
        "marks": marks_of(state, about),
        "story": explain_run(state, about),
    }
    film["dag"] = stage_of(state, about, most_nodes=most_nodes)
    return film


def _known_of(state: RunState, known: Known) -> Known:
    """What is known about a run that is the one itself or one below it."""
    paths = [path for path, below in known.below.items() if below.run_id == state.run_id]
    if not paths:
        return known
    depth = len(paths[0])
    inner = {path[depth:]: one for path, one in known.below.items() if path[:depth] == paths[0]}
    return Known(known.given_up, {path: one for path, one in inner.items() if path})


def film_text(film: Any) -> str:
    """A film as JSON that a browser reads, also from within a ``<script>`` element of a page."""
    return escaped(codec.dumps(film))


def escaped(text: str) -> str:
    """JSON text in which nothing can end or open an element, nor be taken for the end of a line."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
