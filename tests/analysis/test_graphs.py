"""Runs as networkx graphs."""

from __future__ import annotations

import networkx as nx

from orchkit.analysis.graphs import graph_of
from orchkit.model.event import Event
from orchkit.model.state import RunState, fold


def told(durations: dict[str, int], steps: list[dict[str, object]], mode: str = "dag") -> RunState:
    """A run whose steps took so many milliseconds, one after the other."""
    definition = {"name": "w", "execution_mode": mode, "steps": steps}
    rows = [(0, "run.started", None, {"name": "w", "definition": definition})]
    now = 0
    for step_id, duration_ms in durations.items():
        rows.append((now, "step.scheduled", step_id, {"name": "t", "node_type": "task"}))
        now += duration_ms * 1000
        rows.append((now, "step.finished", step_id, {"name": "t", "status": "success"}))
    return fold(
        Event(i, ts, kind, "run_1", step, None, load) for i, (ts, kind, step, load) in enumerate(rows)
    )


def test_the_longest_chain_of_a_diamond_is_found() -> None:
    """Edges carry the time of the step they come from, so networkx finds what the run waited for."""
    steps: list[dict[str, object]] = [
        {"step_id": "a", "tool_name": "t"},
        {"step_id": "quick", "tool_name": "t", "parameters": {"x": "${steps.a}"}},
        {"step_id": "slow", "tool_name": "t", "depends_on": ["a"]},
        {"step_id": "z", "tool_name": "t", "when": "${steps.quick} > 1", "depends_on": ["slow"]},
    ]
    graph = graph_of(told({"a": 5, "quick": 1, "slow": 50, "z": 2}, steps))
    assert nx.dag_longest_path(graph, weight="duration_ms") == ["a", "slow", "z"]
    kinds = {(a, b): kind for a, b, kind in graph.edges(data="kind")}
    assert kinds == {
        ("a", "quick"): "data",
        ("a", "slow"): "dependency",
        ("quick", "z"): "condition",
        ("slow", "z"): "dependency",
    }
    assert graph.nodes["slow"]["duration_ms"] == 50
    assert graph.graph["run_id"] == "run_1"


def test_a_sequence_is_a_chain_and_what_did_not_run_takes_no_time() -> None:
    """The order of a sequential workflow is in the graph; a pending step weighs nothing."""
    steps: list[dict[str, object]] = [{"step_id": i, "tool_name": "t"} for i in ("a", "b")]
    graph = graph_of(told({"a": 3}, steps, "sequential"))
    assert list(graph.edges(data="kind")) == [("a", "b", "order")]
    assert (graph.nodes["b"]["status"], graph.nodes["b"]["duration_ms"]) == ("pending", 0.0)


def test_a_run_without_definition_has_its_steps() -> None:
    """Operations have steps and no links."""
    graph = graph_of(
        fold([Event(1, 1, "run.started", "run_1", None, None, {"kind": "operation", "name": "o"})])
    )
    assert (len(graph), graph.graph["name"]) == (0, "o")
