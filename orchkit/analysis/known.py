"""What a store knows about a run beside the events of the run itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchkit.analysis.liveness import GivenUp
from orchkit.model.state import RunState

Path = tuple[str, ...]
"""Where a step stands: its id, after those of the sub-workflows around it."""


@dataclass(frozen=True, slots=True)
class Known:
    """Everything here may be missing: then a run is told as far as its own events tell it."""

    given_up: GivenUp = ()
    """Ids of runs that nobody works on any more: see `orchkit.analysis.liveness.given_up`."""
    below: Mapping[Path, RunState] = field(default_factory=dict)
    """The states of the runs of sub-workflows, by the path of their step, at any depth."""
    replays: int = 0
    """How often its recorded result was given as the answer to a request with the same idempotency key."""
    shared_by: Mapping[str, int] = field(default_factory=dict)
    """By id, other runs that show results of this one, and of how many steps."""
    past: bool = False
    """Whether more is on record than what is told: then nothing of it was the end."""


NOTHING = Known()
