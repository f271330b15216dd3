"""A run as a networkx graph, for what pictures and tables do not answer: paths, cuts, critical chains."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchkit.analysis.facts import span_ms
from orchkit.analysis.links import links, workflow_of
from orchkit.model.state import RunState, StepState

if TYPE_CHECKING:
    import networkx as nx


def graph_of(state: RunState) -> nx.DiGraph:
    """The steps of a run as a directed graph; an edge leads to the step that comes after.

    Nodes are step ids with ``name``, ``node_type``, ``status``, ``attempts``, ``duration_ms`` (0.0 for what
    did not run) and, for items of a map, ``parent``. Edges have ``kind``: ``data``, ``condition``,
    ``dependency`` or ``order``; and ``duration_ms`` of the step that they come from, so that
    ``nx.dag_longest_path(graph, weight="duration_ms")`` is the chain that the run took longest for.
    Items of maps stand beside their map without edges.
    """
    import networkx as nx

    graph = nx.DiGraph(run_id=state.run_id, name=state.name, status=state.status)
    for step in state.steps.values():
        graph.add_node(step.step_id, **_facts(step))
    workflow = workflow_of(state.definition)
    for link in links(workflow) if workflow is not None else ():
        duration_ms = graph.nodes[link.source]["duration_ms"]
        graph.add_edge(link.source, link.target, kind=link.kind, duration_ms=duration_ms)
    return graph


def _facts(step: StepState) -> dict[str, str | int | float | None]:
    return {
        "name": step.name,
        "node_type": step.node_type,
        "status": step.status,
        "attempts": len(step.attempts),
        "duration_ms": span_ms(step.scheduled_us, step.finished_us) or 0.0,
        "parent": step.parent,
    }
