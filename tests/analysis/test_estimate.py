"""How long a run still takes: by the record of earlier runs, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from orchkit.analysis.estimate import NONE, Experience, experience, remaining_ms
from orchkit.analysis.facts import Facts
from orchkit.model.workflow import Workflow
from orchkit.store.store import Store
from orchkit.testing import FakeClock

KNOWN = Experience(5, {"a": 100.0, "b": 40.0, "c": 70.0, "d": 10.0})
DIAMOND = Workflow.from_dict(
    {
        "name": "diamond",
        "execution_mode": "dag",
        "steps": [
            {"id": "a", "tool": "t"},
            {"id": "b", "tool": "t", "depends_on": ["a"]},
            {"id": "c", "tool": "t", "depends_on": ["a"]},
            {"id": "d", "tool": "t", "depends_on": ["b", "c"]},
        ],
    }
)


@pytest.mark.parametrize(
    ("done", "begun_ms", "left"),
    [
        ([], {}, 180.0),  # the longer way: a, c, d
        ([], {"a": 30.0}, 150.0),
        (["a"], {"b": 0.0, "c": 60.0}, 50.0),  # now the other one is the longer way
        (["a"], {"b": 500.0, "c": 500.0}, 10.0),  # what is overdue is taken to end at any moment
        (["a", "b", "c"], {"d": 500.0}, 0.0),
    ],
)
def test_what_is_left_is_the_longest_way_to_the_end(
    recording: Any, done: list[str], begun_ms: dict[str, float], left: float
) -> None:
    """Steps that go on at the same time do not add up; what has been waited already counts."""
    run = recording().start(DIAMOND)
    for step in done:
        run.ran(step)
    now_us = run.now_us + 1_000_000
    for step, ms in begun_ms.items():
        run.now_us = now_us - int(ms * 1000)
        run.begin(step)
    assert remaining_ms(Facts(run.state), KNOWN, now_us) == pytest.approx(left)


def test_without_experience_nothing_is_said(recording: Any) -> None:
    """No earlier run, a step that none of them has run, a run that is paused or over: nothing is invented."""
    run = recording().start(DIAMOND)
    facts = Facts(run.state)
    assert remaining_ms(facts, NONE, run.now_us) is None
    assert remaining_ms(facts, Experience(3, {"a": 1.0, "b": 1.0, "c": 1.0}), run.now_us) is None
    assert remaining_ms(Facts(run.add("run.paused").state), KNOWN, run.now_us) is None
    assert remaining_ms(Facts(run.end().state), KNOWN, run.now_us) is None
    assert remaining_ms(Facts(recording().start("no definition").state), KNOWN, 0) is None


def test_experience_is_the_median_of_successful_runs(recording: Any, store: Store, clock: FakeClock) -> None:
    """Of the same definition, without results that were taken from elsewhere, without the run itself."""

    def ran(run_id: str, ms: float, *, of: str = "x", status: str = "success", reused: bool = False) -> None:
        run = recording(run_id)
        run.now_us = began_us = clock.now_us()
        run.start(DIAMOND, definition_hash=of).begin("a")
        if reused:
            run.add("step.reused", "a", how="cache", run_id="run_0", step_id="a")
        run.attempt("a", 1, ms=ms).finish("a", started_us=began_us).end(status).store(store, clock)

    for number, ms in enumerate((100, 300, 200)):
        ran(f"run_{number}", ms)
    ran("failed", 9000, status="failed")
    ran("other", 9000, of="y")
    ran("cached", 1, reused=True)
    ran("now", 9000)
    found = experience(store, "x", "now")
    assert found.typical_ms == {"a": pytest.approx(200.0)}
    assert found.runs == 4
    assert experience(store, "z", "now") == NONE
    assert experience(store, None, "now") == NONE
