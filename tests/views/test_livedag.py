"""The picture of a run that goes on: laid out once, changed part by part."""

from __future__ import annotations

import re
from typing import Any

from orchkit.analysis.known import Known
from orchkit.model.state import RunState, fold
from orchkit.model.workflow import Workflow
from orchkit.views.livedag import LiveDag

FLOW = Workflow.from_dict(
    {
        "name": "w",
        "execution_mode": "dag",
        "steps": [
            {"id": "a", "tool": "t"},
            {"id": "b", "tool": "t", "params": {"x": "${steps.a}"}},
            {"id": "m", "tool": "t", "over": [1, 2], "depends_on": ["a"], "when": "${steps.a} > 0"},
        ],
    }
)


def _frames(svg: str) -> dict[str, list[str]]:
    """Of each node where its boxes are and how large."""
    nodes = re.findall(r'<g id="(step_\w+)"[^>]*>(.*?)</g>\n', svg, re.DOTALL)
    return {name: re.findall(r'class="box[^"]*"( x=.*?)/>', drawn) for name, drawn in nodes}


def test_only_what_has_changed_is_drawn_anew(recording: Any) -> None:
    """A step that begins changes its node; put together, the parts are the whole picture."""
    run = recording().start(FLOW)
    live = LiveDag(run.state, Known())
    parts = {**live._parts}
    assert live.look(run.state, Known()) == {}
    changed = live.look(run.begin("a").state, Known())
    assert changed is not None
    assert set(changed) == {"step_a"}
    assert "status_running" in changed["step_a"]
    for state in (run.attempt("a", 1, "failed").attempt("a", 2).state, run.finish("a", output=1).state):
        changed = live.look(state, Known())
        assert changed
        parts |= changed
    assert "try 2" in parts["step_a"]
    assert all(parts[name] in live.svg for name in ("step_a", "step_b", "step_m"))
    assert "<style>" not in live.svg


def test_nothing_moves_while_the_run_goes_on(recording: Any) -> None:
    """There is room from the begin for durations, tries, items of maps, outcomes; errors are left out."""
    run = recording().start(FLOW)
    live = LiveDag(run.state, Known())
    before = _frames(live.svg)
    run.ran("a", output=1).begin("m", node_type="map")
    run.decided("m", "condition", "true", "1 > 0")
    run.ran("m[0]", parent="m").failed("m[1]", "ValueError: a long story of what went wrong", parent="m")
    run.finish("m", "failed", error="ValueError: a long story of what went wrong")
    run.failed("b", "ValueError: another long story")
    assert live.look(run.state, Known())
    assert _frames(live.svg) == before
    assert before
    assert "story" not in re.sub(r"<title>.*?</title>", "", live.svg)


def test_a_run_that_gets_other_nodes_is_laid_out_anew(recording: Any) -> None:
    """A compensation, or the next step of a run without a definition, was not in the picture before."""
    run = recording().start("bare").begin("a")
    live = LiveDag(run.state, Known())
    assert live.look(run.begin("b").state, Known()) is None
    assert 'id="step_b"' in live.svg
    assert LiveDag(RunState(), Known()).look(fold([]), Known()) == {}
