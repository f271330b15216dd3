"""A run as it goes on: the rows that this process commits, folded into what is happening now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from orchkit.analysis.facts import OVER, Facts
from orchkit.analysis.known import Path
from orchkit.model import event as ev
from orchkit.model.event import Event
from orchkit.model.state import RunState, fold
from orchkit.store import codec
from orchkit.store.log import StoredRow


@dataclass(slots=True)
class Doing:
    """What a step that has begun is doing."""

    label: str
    since_us: int
    attempt: int = 0
    attempts: int | None = None
    """How many attempts its policy allows, once that is known."""
    retry_us: int | None = None
    """When the next attempt is made, while it waits for one."""
    error: str | None = None
    """Why the last attempt failed."""
    items: int | None = None
    """For a map: how many items there are."""
    items_done: int = 0
    waiting: set[str] = field(default_factory=set)
    """For a map: the items that wait for their next attempt."""
    fraction: float | None = None
    message: str | None = None


class Feed:
    """Follows one run and the runs of its sub-workflows.

    `listen` is for `Store.subscribe` and may be called from any thread; all else is for one thread.
    """

    def __init__(self, state: RunState | None = None, below: Mapping[Path, RunState] | None = None) -> None:
        """``state``: of a run that is going to be resumed; ``below``: those of its sub-workflows."""
        self._rows: SimpleQueue[list[StoredRow]] = SimpleQueue()
        self._prefixes = {run.run_id: _prefix(path) for path, run in (below or {}).items()}
        self.state = state or RunState()
        """The run itself."""
        self.since_us: int | None = None
        """When it began, or was taken up again."""
        if state is not None:
            self._prefixes[state.run_id] = ""
        self.doing: dict[tuple[str, str], Doing] = {}
        """The steps that have begun and are not over; items of maps are counted in their map."""
        self.done = 0
        """Steps of the definition that are over."""

    def label(self, event: Event) -> str:
        """The step of an event, after those of the sub-workflows around it."""
        return f"{self._prefixes.get(event.run_id or '', '')}{event.step_id}"

    def listen(self, rows: list[StoredRow]) -> None:
        """Take rows that were just committed; returns at once."""
        self._rows.put(rows)

    def drain(self, run_id: str) -> Iterator[Event]:
        """Fold in what came since the last call; the events of the run ``run_id`` and below, in order."""
        while True:
            try:
                rows = self._rows.get_nowait()
            except Empty:
                return
            for seq, ts, kind, run, step, attempt, payload in rows:
                event = Event(seq, ts, kind, run, step, attempt, codec.loads(payload))
                if event.run_id == run_id:
                    fold((event,), self.state)
                if self._concerns(event, run_id):
                    self._follow(event, run_id)
                    yield event

    def _concerns(self, event: Event, root: str) -> bool:
        run_id = event.run_id or ""
        if event.kind == ev.RUN_STARTED:
            if run_id == root:
                self._prefixes[run_id], self.since_us = "", event.ts
            elif (parent := event.payload.get("parent_run_id")) in self._prefixes:
                self._prefixes[run_id] = f"{self._prefixes[parent]}{event.payload['parent_step_id']} › "
        if run_id == root and event.kind == ev.RUN_RESUMED and "pid" in event.payload:
            self.since_us = event.ts
            self.done = sum(step.status in OVER for step in Facts(self.state).own_steps)
        return run_id in self._prefixes

    def _follow(self, event: Event, root: str) -> None:
        if event.step_id is None or event.run_id is None:
            return
        key, payload = (event.run_id, event.step_id), event.payload
        if event.kind == ev.STEP_SCHEDULED and payload.get("parent") is None:
            self.doing[key] = Doing(self.label(event), event.ts)
        elif event.kind == ev.STEP_FINISHED:
            self._finished(event, key, root)
        elif doing := self.doing.get(key):
            _UPDATES.get(event.kind, _nothing)(doing, event)
        elif around := self._map_around(event):
            _of_item(around, event)

    def _map_around(self, event: Event) -> Doing | None:
        """The map that a step is an item of, if it is one."""
        around = self.doing.get((event.run_id or "", (event.step_id or "").rpartition("[")[0]))
        return around if around is not None and around.items is not None else None

    def _finished(self, event: Event, key: tuple[str, str], root: str) -> None:
        self.doing.pop(key, None)
        around = self._map_around(event)
        if around is not None:
            around.items_done += 1
            around.waiting.discard(key[1])
        elif key[0] == root and event.payload.get("node_type") != "compensation":
            self.done += 1


def _prefix(path: Path) -> str:
    return "".join(f"{step_id} › " for step_id in path)


def _of_item(around: Doing, event: Event) -> None:
    step_id = event.step_id or ""
    if event.kind == ev.ATTEMPT_STARTED:
        around.waiting.discard(step_id)
    elif is_retry(event):
        around.waiting.add(step_id)


def is_retry(event: Event) -> bool:
    """Whether the engine decided to try again, after a wait."""
    payload = event.payload
    return (event.kind, payload.get("point"), payload.get("decision")) == (
        ev.DECISION,
        "retry",
        "retry",
    ) and (payload.get("origin") == "engine")


def _nothing(doing: Doing, event: Event) -> None:
    pass


def _attempt_started(doing: Doing, event: Event) -> None:
    doing.attempt = event.attempt or 1
    doing.retry_us = None


def _attempt_finished(doing: Doing, event: Event) -> None:
    doing.error = event.payload.get("error")


def _decision(doing: Doing, event: Event) -> None:
    payload = event.payload
    if is_retry(event):
        doing.attempts = payload["input_data"]["max_attempts"]
        doing.retry_us = event.ts + int(payload["input_data"]["delay_s"] * 1e6)
    elif payload["point"] == "map.expanded" and payload["origin"] == "engine":
        doing.items = payload["input_data"]["items"]


def _progress(doing: Doing, event: Event) -> None:
    doing.fraction, doing.message = event.payload.get("fraction"), event.payload.get("message")


_UPDATES = {
    ev.ATTEMPT_STARTED: _attempt_started,
    ev.ATTEMPT_FINISHED: _attempt_finished,
    ev.DECISION: _decision,
    ev.PROGRESS: _progress,
}
