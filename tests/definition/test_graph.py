"""The dependency graph: what depends on what, cycles as paths, and a fixed order."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.engine.graph import dependencies, dependents, find_cycle, ready_steps, topological_order
from orchkit.errors import DefinitionError, ReferenceSyntaxError
from orchkit.model.workflow import Compensation, StepDefinition, Workflow

LONG = 100_000

_GRAPHS = st.dictionaries(st.integers(0, 12), st.sets(st.integers(0, 12), max_size=3), max_size=13).map(
    lambda graph: {f"s{node}": [f"s{other}" for other in needed] for node, needed in graph.items()}
)


def _as_networkx(edges: dict[str, list[str]]) -> nx.DiGraph:
    """The same graph with arrows from what is needed to what needs it; unknown ids left out."""
    graph = nx.DiGraph()
    graph.add_nodes_from(edges)
    graph.add_edges_from(
        (other, node) for node, needed in edges.items() for other in needed if other in edges
    )
    return graph


@given(_GRAPHS)
def test_cycles(edges: dict[str, list[str]]) -> None:
    """A path is found exactly when there is a cycle; it follows the edges and ends where it began."""
    path = find_cycle(edges)
    assert (path is None) == nx.is_directed_acyclic_graph(_as_networkx(edges))
    if path is not None:
        assert path[0] == path[-1]
        assert len(set(path)) == len(path) - 1
        assert all(following in edges[step] for step, following in pairwise(path))


@given(_GRAPHS)
def test_topological_order(edges: dict[str, list[str]]) -> None:
    """The order is the first in definition order among all valid ones, or a DefinitionError shows a cycle."""
    position = {step_id: index for index, step_id in enumerate(edges)}
    graph = _as_networkx(edges)
    if nx.is_directed_acyclic_graph(graph):
        assert topological_order(edges) == list(nx.lexicographical_topological_sort(graph, position.get))
    else:
        with pytest.raises(DefinitionError, match=" -> "):
            topological_order(edges)


@given(_GRAPHS)
def test_running_what_is_ready_runs_everything_once(edges: dict[str, list[str]]) -> None:
    """Repeatedly finishing the ready steps ends with all steps, each after all it depends on."""
    graph = _as_networkx(edges)
    finished: set[str] = set()
    while ready := ready_steps(edges, finished):
        for step_id in ready:
            assert step_id not in finished
            assert set(graph.predecessors(step_id)) <= finished
        finished.update(ready)
    assert (len(finished) == len(edges)) == nx.is_directed_acyclic_graph(graph)


def test_ready_steps_leave_out_what_has_started() -> None:
    """A step that is running is not ready again, and what waits for it is not ready yet."""
    edges = {"a": [], "b": ["a"], "c": [], "d": ["a", "unknown"]}
    assert ready_steps(edges, set()) == ["a", "c"]
    assert ready_steps(edges, {"a"}, {"c", "b"}) == ["d"]


@given(_GRAPHS)
def test_dependents_are_the_reverse(edges: dict[str, list[str]]) -> None:
    """The reverse holds each edge between known steps once, in definition order."""
    position = {step_id: index for index, step_id in enumerate(edges)}
    reverse = dependents(edges)
    assert {(a, b) for a, found in reverse.items() for b in found} == set(_as_networkx(edges).edges)
    assert all(found == sorted(found, key=position.__getitem__) for found in reverse.values())


def test_long_chains() -> None:
    """A chain of 100,000 steps, defined from either end, is ordered and searched without recursion."""
    forwards = {f"s{n}": [f"s{n - 1}"] if n else [] for n in range(LONG)}
    backwards = dict(reversed(forwards.items()))
    expected = list(forwards)
    assert topological_order(forwards) == expected
    assert topological_order(backwards) == expected
    assert find_cycle(forwards) is None
    assert find_cycle(backwards) is None
    closed = forwards | {"s0": [f"s{LONG - 1}"]}
    assert len(find_cycle(closed) or []) == LONG + 1


def test_a_cycle_of_one() -> None:
    """A step that depends on itself is the shortest cycle."""
    assert find_cycle({"a": ["a"]}) == ["a", "a"]


def test_dependencies_of_a_definition() -> None:
    """Order and data are told apart; parameters, `when` and `over` count, compensations do not."""
    steps = (
        StepDefinition(step_id="a", tool_name="t"),
        StepDefinition(
            step_id="b",
            tool_name="t",
            parameters={"x": ["${steps.p.q}", {"y": "${steps.a} ${steps.p}"}], "z": "${context.k}"},
            when="${steps.w.flag}",
            over="${steps.o}",
            depends_on=("a", "d"),
            compensate=Compensation(tool_name="u", parameters={"id": "${steps.c.id}"}),
        ),
    )
    found = dependencies(Workflow(name="w", steps=steps))
    assert list(found) == ["a", "b"]
    assert found["a"].all == frozenset()
    assert found["b"].ordering == {"a", "d"}
    assert found["b"].data == {"a", "p", "w", "o"}
    assert found["b"].all == {"a", "d", "p", "w", "o"}


def test_dependencies_of_an_unreadable_definition() -> None:
    """A reference that cannot be parsed is an error, not a missing edge."""
    step = StepDefinition(step_id="a", tool_name="t", parameters={"x": "${steps.b"})
    with pytest.raises(ReferenceSyntaxError):
        dependencies(Workflow(name="w", steps=(step,)))
