"""However often a run is cut off and resumed: its state as a fold is what the views say of it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchkit.model.result import WorkflowResult
from orchkit.model.state import RunState

LIVES = st.lists(
    st.tuples(st.floats(0, 1), st.sampled_from(["rerun", "keep"]), st.booleans()), min_size=1, max_size=3
)
"""For each life after the first: where the record was cut, what about changes, and whether there is one."""
FAILURES = st.dictionaries(
    st.sampled_from(["a", "b", "c", "1", "2", "3", "x", "y", "undo"]), st.integers(1, 5), max_size=4
)
"""How often the steps fail at first."""


class Scripted:
    """Steps that fail as often as they are told, by label, over all lives."""

    def __init__(self, lab: Any, failures: dict[str, int]) -> None:
        self.lab, self.failures, self.version = lab, Counter(failures), 0
        self.register()

    def register(self) -> None:
        """The tools, as another version each time."""

        async def work(label: str, value: Any = None) -> str:
            await self.lab.clock.sleep(1)
            if self.failures[label]:
                self.failures[label] -= 1
                raise ConnectionError(f"{label} is down")
            return f"{label} done"

        methods = self.lab.registry.methods
        if self.version:
            methods.unregister("work")
        self.version += 1
        methods.register_method(work, version=str(self.version))


def flow(lab: Any, handling: Any, mode: Any) -> Any:
    """A step, a retrying one, a map, a sub-workflow that can be undone, conditions."""
    undo = {"tool": "work", "params": {"label": "undo"}}
    inner = lab.flow("inner").add_step("work", {"label": "x"}, step_id="x", compensate=undo)
    inner.add_step("work", {"label": "y", "value": "${steps.x}"}, step_id="y")
    built = lab.flow("outer", mode).with_error_handling(handling)
    built.add_step("work", {"label": "a"}, step_id="a", compensate=undo)
    built.add_step("work", {"label": "b"}, step_id="b", retry={"max_attempts": 2, "delay": 1})
    built.add_map("work", ["1", "2", "3"], {"label": "${item}"}, step_id="m", max_concurrency=2)
    built.add_workflow(inner.build(), {"n": "${steps.a}"}, step_id="sub")
    built.add_step("work", {"label": "c", "value": "${steps.b}"}, step_id="c", when="${steps.a} != 'no'")
    return built.add_step("work", {"label": "never"}, step_id="never", when="${steps.a} == 'no'")


def rows(store: Any, query: str) -> dict[str, list[Any]]:
    """The rows of a query by their first column, the run id."""
    found: dict[str, list[Any]] = {}
    for run_id, *row in store.query(query):
        found.setdefault(run_id, []).append(tuple(row))
    return found


def compare(lab: Any) -> None:
    """What the views say of all runs is what the fold says."""
    states: dict[str, RunState] = lab.states()
    runs = rows(lab.store, "SELECT run_id, status, error, pid, finished_at IS NULL FROM runs")
    steps = rows(
        lab.store, "SELECT run_id, step_id, status, parent, output, error, reason FROM steps ORDER BY 2"
    )
    attempts = rows(lab.store, "SELECT run_id, step_id, attempt, status, error FROM attempts ORDER BY 2, 3")
    assert runs.keys() == states.keys()
    for run_id, state in states.items():
        assert runs[run_id] == [(state.status, state.error, state.pid, state.finished_us is None)]
        told = [
            (step_id, status, parent, json.loads(output) if output else None, error, reason)
            for step_id, status, parent, output, error, reason in steps.get(run_id, ())
        ]
        assert told == [
            (step.step_id, step.status, step.parent, step.output, step.error, step.reason)
            for step in sorted(state.steps.values(), key=lambda step: step.step_id)
            if step.status != "pending"
        ]
        assert attempts.get(run_id, []) == [
            (step.step_id, attempt.number, attempt.status, attempt.error)
            for step in sorted(state.steps.values(), key=lambda step: step.step_id)
            for attempt in step.attempts
        ]


@pytest.mark.parametrize("mode", ["dag", "sequential"])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives=LIVES, failures=FAILURES, handling=st.sampled_from(["stop_on_failure", "continue_on_failure"]))
def test_the_fold_is_what_the_views_say(
    make_lab: Any, mode: Any, lives: Any, failures: dict[str, int], handling: Any
) -> None:
    """After each cut, and after each life; and what the run gives back is in both."""
    lab = make_lab()
    script = Scripted(lab, failures)
    result = lab.execute(flow(lab, handling, mode))
    known = 0
    for share, on_change, edited in lives:
        count = len(lab.events())
        known = known + 1 + int(share * (count - known - 1))
        lab = lab.cut(known)
        compare(lab)
        if edited:
            script.register()
        if lab.states()[result.run_id].status == "success":
            continue
        result = lab.go_on(result.run_id, on_change)
        compare(lab)
        _check(lab, result)
    lab.store.close()


def _check(lab: Any, result: WorkflowResult) -> None:
    state = lab.states()[result.run_id]
    assert (state.status, state.error) == (result.status, result.error)
    for step_id, step in result.steps.items():
        found = state.steps[step_id]
        assert (found.status, found.error, found.reason) == (step.status, step.error, step.reason)
    assert lab.store.open_runs.all() == []
    assert not [run for run in lab.states().values() if run.open]
