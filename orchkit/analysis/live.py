"""A run while it goes on: the rows that are being committed, folded into where it stands now."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from orchkit.analysis.captions import caption
from orchkit.analysis.facts import Facts
from orchkit.analysis.known import Known, Path
from orchkit.analysis.words import error_text
from orchkit.model import event as ev
from orchkit.model.event import Event
from orchkit.model.state import RunState, fold
from orchkit.store import codec
from orchkit.store.log import StoredRow

NEWS = 40
"""How many of the last events are remembered in words."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A step that waits for its next attempt."""

    path: Path
    until_us: int
    why: str


@dataclass(frozen=True, slots=True)
class News:
    """An event in words."""

    seq: int
    ts_us: int
    text: str


class Live:
    """Follows one run and the runs of its sub-workflows.

    `listen` is for `Store.subscribe` and may be called from any thread; all else is for one thread at a time.
    """

    def __init__(self, run_id: str) -> None:
        self._rows: SimpleQueue[list[StoredRow]] = SimpleQueue()
        self.follow(run_id)

    def follow(self, run_id: str) -> None:
        """Begin with a run of which nothing is known yet."""
        self.run_id = run_id
        self.state = RunState()
        """The run itself."""
        self.below: dict[Path, RunState] = {}
        """The runs of its sub-workflows, by the path of their step."""
        self.waits: dict[Path, Wait] = {}
        """The steps that wait for their next attempt, by their path."""
        self.news: deque[News] = deque(maxlen=NEWS)
        """What happened last, the newest last; without what is common."""
        self._paths: dict[str, Path] = {run_id: ()}
        self._seq = 0

    def listen(self, rows: list[StoredRow]) -> None:
        """Take rows that were just committed; returns at once."""
        self._rows.put(rows)

    def catch_up(self, found: Mapping[str, Iterable[Event]]) -> None:
        """Fold in what is on record of the run and those below it; what was listened to before adds to it."""
        for event in sorted((event for events in found.values() for event in events), key=_place):
            self._take(event)

    def drain(self) -> int:
        """Fold in what came since the last call; how many events of this run and those below it that were."""
        taken = 0
        while True:
            try:
                rows = self._rows.get_nowait()
            except Empty:
                return taken
            for seq, ts, kind, run, step, attempt, payload in rows:
                if run is not None and seq > self._seq and (run in self._paths or kind == ev.RUN_STARTED):
                    taken += self._take(Event(seq, ts, kind, run, step, attempt, codec.loads(payload)))

    def known(self) -> Known:
        """What pictures need to know beside the state."""
        return Known(below=self.below)

    def facts(self) -> Facts:
        """The state, looked at as of now."""
        return Facts(self.state, self.known())

    def _take(self, event: Event) -> bool:
        state = self._state_of(event)
        if state is None or event.seq <= self._seq:
            return False
        self._seq = event.seq
        fold((event,), state)
        self._wait(event, state)
        if not _is_common(event):
            self.news.append(News(event.seq, event.ts, caption(event, state)))
        return True

    def _state_of(self, event: Event) -> RunState | None:
        """The state that an event adds to; that of a new run below when it tells of one."""
        run_id = event.run_id or ""
        if event.kind == ev.RUN_STARTED and run_id != self.run_id:
            above = self._paths.get(event.payload.get("parent_run_id") or "")
            if above is not None:
                path = self._paths[run_id] = (*above, event.payload["parent_step_id"] or "")
                self.below[path] = RunState()
        path_of = self._paths.get(run_id)
        return None if path_of is None else self.below[path_of] if path_of else self.state

    def _wait(self, event: Event, state: RunState) -> None:
        if event.kind == ev.RUN_FINISHED and not self._paths[event.run_id or ""]:
            self.waits.clear()
        if event.step_id is None:
            return
        path = (*self._paths[event.run_id or ""], event.step_id)
        if is_retry(event):
            self.waits[path] = Wait(path, event.ts + int(_inputs(event)["delay_s"] * 1e6), _why(event))
        elif event.kind in (ev.ATTEMPT_STARTED, ev.STEP_FINISHED):
            self.waits.pop(path, None)


def _is_common(event: Event) -> bool:
    """Whether it tells nothing that one would look up for: progress, evidence, the usual policy."""
    if event.kind == ev.DECISION:
        return event.payload.get("point") == "policy.selected" and event.payload.get("origin") == "engine"
    return event.kind in (ev.PROGRESS, ev.EVIDENCE)


def is_retry(event: Event) -> bool:
    """Whether the engine decided to try again, after a wait."""
    payload = event.payload
    told = (event.kind, payload.get("point"), payload.get("decision"), payload.get("origin"))
    return told == (ev.DECISION, "retry", "retry", "engine")


def _inputs(event: Event) -> Mapping[str, float]:
    inputs: Mapping[str, float] = event.payload["input_data"]
    return inputs


def _why(event: Event) -> str:
    inputs = event.payload["input_data"]
    kind, message = inputs.get("error_type") or "an error", inputs.get("error")
    told = error_text(f"{kind}: {message}" if message else kind)
    return f"attempt {inputs['attempt']} of {inputs['max_attempts']} failed with {told}"


def _place(event: Event) -> int:
    return event.seq
