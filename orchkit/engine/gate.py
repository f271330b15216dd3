"""A run in the hand: pausing it, letting single steps go, deciding about steps that failed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from orchkit.engine.recorder import RunRecorder
from orchkit.errors import ExecutionError, ParameterError, Problem, StoreError
from orchkit.model import event as ev
from orchkit.model.state import PASSED_OVER

Pause = Literal["before_each"]
DECISION = "decision:"


@dataclass(frozen=True, slots=True)
class Breakpoints:
    """Where a run is to pause by itself."""

    before_each: bool = False
    on_failure: bool = False
    decisions: frozenset[str] = frozenset()
    """Points of decisions."""

    @classmethod
    def of(cls, pause: Any, break_on: Any) -> Breakpoints:
        """``pause="before_each"``, ``break_on=["step", "failure", "decision:name"]``.

        Raises `ParameterError` naming each that means nothing.
        """
        several = isinstance(break_on, list | tuple | set | frozenset)
        names = list(break_on) if several else [] if break_on is None else [break_on]
        problems = []
        if pause not in (None, "before_each"):
            problems.append(Problem("pause", f"unknown value {pause!r}", "use before_each"))
        for name in names:
            known = isinstance(name, str) and (name in ("step", "failure") or name.startswith(DECISION))
            if not known:
                hint = "use step, failure or decision:NAME"
                problems.append(Problem("break_on", f"unknown breakpoint {name!r}", hint))
        if problems:
            raise ParameterError("start", problems)
        decisions = {name.removeprefix(DECISION) for name in names if name.startswith(DECISION)}
        return cls(pause is not None or "step" in names, "failure" in names, frozenset(decisions))

    def __bool__(self) -> bool:
        return self.before_each or self.on_failure or bool(self.decisions)


NOWHERE = Breakpoints()


class Room(Protocol):
    """A run behind the gate: the run itself, or that of a sub-workflow; all on one loop."""

    recorder: RunRecorder

    @property
    def ready(self) -> Collection[str]:
        """The steps that could start, in order."""
        ...

    @property
    def held(self) -> Collection[str]:
        """The steps that failed, and about which somebody is to decide."""
        ...

    def pump(self) -> None:
        """Start what may start."""
        ...

    def pass_over(self, step_id: str, reason: str) -> None:
        """Skip a step that is ready, or held."""
        ...

    def try_again(self, step_id: str) -> None:
        """Run a held step once more."""
        ...

    def accept(self, step_ids: Iterable[str]) -> None:
        """Take failures as they are."""
        ...

    def break_off(self, error: BaseException) -> None:
        """The record cannot be written any more: the run cannot go on."""
        ...


class Gate:
    """Whether steps may start, of a run and of all runs below it; everything happens on their loop.

    Each thing that somebody does here is a decision on the record (``operator``).
    """

    def __init__(self, breakpoints: Breakpoints = NOWHERE) -> None:
        self.breakpoints = breakpoints
        self.closed = breakpoints.before_each
        """Whether steps wait."""
        self.reason: str | None = "before each step" if breakpoints.before_each else None
        """Why, for people."""
        self._allowance = 0
        self._by_failure = False
        self._rooms: list[Room] = []
        self._edited: dict[tuple[str, str], Mapping[str, Any]] = {}

    # --- what runs ask ----------------------------------------------------------------------

    def enter(self, room: Room) -> None:
        """A run begins."""
        self._rooms.append(room)
        if self.closed and len(self._rooms) == 1:
            self._say_paused()

    def leave(self, room: Room) -> None:
        """A run is over."""
        self._rooms.remove(room)

    def admits(self) -> bool:
        """Whether one more step may start; if it had to be let go, it was."""
        if not self.closed:
            return True
        if self._allowance == 0:
            return False
        self._allowance -= 1
        return True

    def edited(self, run_id: str, step_id: str) -> Mapping[str, Any]:
        """Parameters that somebody gave a step in place of its own; once."""
        return self._edited.pop((run_id, step_id), {}) if self._edited else {}

    def give(self, run_id: str, step_id: str, params: Mapping[str, Any]) -> None:
        """Let a step begin with these parameters, which somebody gave it in an earlier life of the run."""
        self._edited[run_id, step_id] = params

    def failed(self, step_id: str) -> None:
        """A step was held because it failed."""
        self._by_failure = self._by_failure or not self.closed
        self.pause(f"step {step_id!r} failed")

    # --- what people do ---------------------------------------------------------------------

    @property
    def waiting(self) -> tuple[str, ...]:
        """The steps that would start next, in order."""
        return tuple(step_id for room in self._rooms for step_id in room.ready) if self.closed else ()

    @property
    def held(self) -> tuple[str, ...]:
        """The steps that failed and wait for a decision: `retry`, `skip`, or `resume` to accept it."""
        return tuple(step_id for room in self._rooms for step_id in room.held)

    def pause(self, reason: str = "by hand") -> None:
        """Start no further steps; what runs goes on."""
        if not self.closed:
            self.closed, self.reason = True, reason
            if self._rooms:
                self._say_paused()

    def resume(self) -> None:
        """Go on by itself; failures that were held are accepted."""
        held = {id(room): list(room.held) for room in self._rooms}
        if any(held.values()):
            self._decided("accept", f"the failure of {', '.join(self.held)} is accepted")
        self._open()
        for room in list(self._rooms):
            room.accept(held[id(room)])
            room.pump()

    def step(self, params: Mapping[str, Any] | None = None) -> None:
        """Let one more step start, with these parameters in place of its own if they are given."""
        if not self.closed:
            return
        if params is not None:
            room, step_id = self._first(self._waiting_in(None))
            self._edit(room, step_id, params)
        self._allowance += 1
        for room in list(self._rooms):
            room.pump()

    def skip(self, step_id: str | None = None) -> None:
        """Pass over a step that waits or is held, by default the first: its output will be missing."""
        room, found = self._first([*self._held_in(step_id), *self._waiting_in(step_id)], step_id)
        self._decided("skip", f"step {found!r} is passed over by hand", step_id=found, room=room)
        room.pass_over(found, PASSED_OVER)
        self._after_failure()
        room.pump()

    def retry(self, step_id: str | None = None, params: Mapping[str, Any] | None = None) -> None:
        """Run a step that is held once more, by default the first, perhaps with other parameters."""
        room, found = self._first(self._held_in(step_id), step_id)
        if params is not None:
            self._edit(room, found, params)
        self._decided("retry", f"step {found!r} is tried again by hand", step_id=found, room=room)
        room.try_again(found)
        self._after_failure()

    # --- how --------------------------------------------------------------------------------

    def _open(self) -> None:
        if self.closed:
            self.closed, self.reason, self._allowance, self._by_failure = False, None, 0, False
            if self._rooms:
                self._say(ev.RUN_RESUMED, {})

    def _after_failure(self) -> None:
        """Where only a failure had closed the gate, it opens when nothing is held any more."""
        if self._by_failure and not self.held:
            self._open()

    def _say_paused(self) -> None:
        self._say(ev.RUN_PAUSED, {"reason": self.reason})

    def _say(self, kind: str, payload: Mapping[str, Any]) -> None:
        with self._recording(self._rooms[0]):
            self._rooms[0].recorder.event(kind, payload)

    @contextmanager
    def _recording(self, room: Room) -> Iterator[None]:
        """Around records that are written on behalf of others, who cannot do anything about a failure."""
        try:
            yield
        except StoreError as error:
            room.break_off(error)

    def _waiting_in(self, step_id: str | None) -> list[tuple[Room, str]]:
        return [(room, found) for room in self._rooms for found in room.ready if step_id in (None, found)]

    def _held_in(self, step_id: str | None) -> list[tuple[Room, str]]:
        return [(room, found) for room in self._rooms for found in room.held if step_id in (None, found)]

    def _first(self, found: Sequence[tuple[Room, str]], step_id: str | None = None) -> tuple[Room, str]:
        if not found:
            what = "no step waits here" if step_id is None else f"step {step_id!r} does not wait here"
            known = [*self.held, *self.waiting]
            raise ExecutionError(f"{what}" + (f"; there are {', '.join(known)}" if known else ""))
        return found[0]

    def _edit(self, room: Room, step_id: str, params: Mapping[str, Any]) -> None:
        self._edited[room.recorder.run_id, step_id] = params
        self._decided("edit", f"step {step_id!r} is given other parameters", step_id=step_id, room=room)

    def _decided(
        self, decision: str, rationale: str, *, step_id: str | None = None, room: Room | None = None
    ) -> None:
        room = room or (self._rooms[0] if self._rooms else None)
        if room is not None:
            with self._recording(room):
                room.recorder.decided(step_id, None, point="operator", decision=decision, rationale=rationale)
