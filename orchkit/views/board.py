"""What a monitor shows, as JSON: where the run is, what it does and waits for, what one can do about it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from orchkit.analysis.estimate import Experience, remaining_ms
from orchkit.analysis.facts import OVER, Facts
from orchkit.analysis.known import Path
from orchkit.analysis.live import Live
from orchkit.analysis.words import clean, error_text, plural, shorten
from orchkit.model.state import RunState, StepState
from orchkit.views.palette import BY_PROGRESS

Board = dict[str, Any]

MOST = 12
"""So many steps that run, wait or are held are listed; of the rest there is the number."""
_NEWS = 6
_LONGEST_PARAMS = 20_000


class Lamp(Protocol):
    """A circuit breaker."""

    @property
    def state(self) -> str:
        """``closed``, ``open``, ``half_open``, ``forced_open`` or ``disabled``."""
        ...

    def reopens_in(self) -> float | None:
        """Seconds until an open one lets a probe through."""
        ...


class Controlled(Protocol):
    """A run in the hand, as far as a board shows it."""

    @property
    def run_id(self) -> str:
        """The id of the run."""
        ...

    @property
    def name(self) -> str:
        """The name of the workflow."""
        ...

    @property
    def status(self) -> str:
        """Where the run is now."""
        ...

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        ...

    @property
    def waiting(self) -> tuple[str, ...]:
        """While paused: the steps that would start next."""
        ...

    @property
    def held(self) -> tuple[str, ...]:
        """The steps that failed and wait for a decision."""
        ...

    @property
    def paused_because(self) -> str | None:
        """Why the run is paused."""
        ...

    @property
    def breakers(self) -> Mapping[str, Lamp]:
        """The circuit breakers by name."""
        ...


def board_of(live: Live, handle: Controlled, known: Experience, now_us: int) -> Board:
    """Everything but the picture. Times are microseconds since the epoch, those to come are estimates."""
    facts = live.facts()
    steps = facts.own_steps
    counts = facts.counted(steps)
    return {
        "run": _run(live.state, handle),
        "done": sum(step.status in OVER for step in steps),
        "total": len(steps),
        "counts": [[status, counts[status]] for status in BY_PROGRESS if counts[status]],
        "paused": handle.paused_because,
        "estimate": _estimate(facts, known, now_us),
        "doing": _listed(_doing(live, facts)),
        "waits": _listed(
            {"step": _label(wait.path), "until_us": wait.until_us, "why": wait.why}
            for wait in live.waits.values()
        ),
        "waiting": _listed(_in_hand(live, handle.waiting)),
        "held": _listed(row for row in _in_hand(live, handle.held) if row["error"]),
        "lamps": list(_lamps(handle.breakers, now_us)),
        "news": [[one.ts_us, one.text] for one in list(live.news)[-_NEWS:]],
    }


def _run(state: RunState, handle: Controlled) -> Board:
    return {
        "id": handle.run_id,
        "name": clean(state.name or handle.name),
        "status": state.status if handle.done and state.finished_us is not None else handle.status,
        "started_us": state.started_us,
        "finished_us": state.finished_us,
        "error": error_text(state.error) if state.error else None,
    }


def _estimate(facts: Facts, known: Experience, now_us: int) -> Board | None:
    """When the run will be over, and how many earlier runs that is judged by."""
    left = remaining_ms(facts, known, now_us)
    if left is None:
        return None
    # To a tenth of a second: what is merely computed anew is not sent anew.
    end_us = round((now_us + left * 1000) / 100_000) * 100_000
    return {"end_us": end_us if left else None, "based_on": plural(known.runs, "earlier run")}


def _listed(rows: Iterable[Board]) -> Board:
    found = list(rows)
    return {"rows": found[:MOST], "more": max(0, len(found) - MOST)}


def _label(path: Path) -> str:
    return " › ".join(map(clean, path))


# --- what goes on --------------------------------------------------------------------------


def _doing(live: Live, facts: Facts) -> Iterator[Board]:
    for path, state in ((), live.state), *live.below.items():
        inside = facts if not path else Facts(state)
        for step in state.steps.values():
            if step.status == "running" and step.parent is None and (*path, step.step_id) not in live.waits:
                yield _doing_of(step, path, inside)


def _doing_of(step: StepState, path: Path, facts: Facts) -> Board:
    items = facts.items.get(step.step_id, ())
    return {
        "step": _label((*path, step.step_id)),
        "since_us": step.scheduled_us,
        "attempt": len(step.attempts),
        "progress": step.progress,
        "message": shorten(step.progress_message, 200) if step.progress_message else None,
        "items": [sum(item.status in OVER for item in items), len(items)] if items else None,
    }


def _in_hand(live: Live, step_ids: Iterable[str]) -> Iterator[Board]:
    """Steps that somebody is to decide about: with which parameters, and what went wrong."""
    for step_id in step_ids:
        step = _find(live, step_id)
        params = _params(live, step_id, step)
        if params is None:  # its record is on the way: it is shown when it can be edited
            continue
        yield {
            "step": step_id,
            "calls": clean(step.name) if step is not None else "",
            "error": error_text(step.error) if step is not None and step.error else None,
            "params": params,
        }


def _find(live: Live, step_id: str) -> StepState | None:
    for state in (live.state, *live.below.values()):
        if step_id in state.steps:
            return state.steps[step_id]
    return None


def _params(live: Live, step_id: str, step: StepState | None) -> str | None:
    """Parameters to edit, as JSON: of the last try, else of the definition; None: not known yet."""
    value = step.input if step is not None else None
    if value is None:
        value = _defined(live, step_id)
    if value is None and step is None:
        return None
    text = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    return text if isinstance(value, dict) and len(text) <= _LONGEST_PARAMS else "{}"


def _defined(live: Live, step_id: str) -> Any:
    """The parameters of the definition that can be given as they are: without references."""
    for state in (live.state, *live.below.values()):
        for step in (state.definition or {}).get("steps", ()):
            if step.get("step_id") == step_id:
                params = step.get("parameters") or {}
                return {name: value for name, value in params.items() if "${" not in json.dumps(value)}
    return None


def _lamps(breakers: Mapping[str, Lamp], now_us: int) -> Iterator[Board]:
    """The breakers, those that reject calls first."""
    states = [(name, breakers[name]) for name in breakers]
    states.sort(key=lambda one: one[1].state == "closed")
    for name, breaker in states[:MOST]:
        ahead = breaker.reopens_in()
        again_us = None if ahead is None else round((now_us + ahead * 1e6) / 500_000) * 500_000
        yield {"name": clean(name), "state": breaker.state.replace("_", " "), "again_us": again_us}
