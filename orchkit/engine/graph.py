"""The dependency graph of a definition: pure functions over ``step id -> ids that it depends on``."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from orchkit.engine.grammar import Reference
from orchkit.engine.references import references_in
from orchkit.errors import DefinitionError
from orchkit.model.workflow import StepDefinition, Workflow

Edges = Mapping[str, Collection[str]]
"""For each step id, in definition order, the ids that it depends on; ids without an entry do not count."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What one step depends on, and why."""

    ordering: frozenset[str]
    """The ids in ``depends_on``."""
    data: frozenset[str]
    """The ids whose output is referenced by the parameters, ``when`` or ``over``."""

    @property
    def all(self) -> frozenset[str]:
        """Both kinds."""
        return self.ordering | self.data


def dependencies(workflow: Workflow) -> dict[str, Dependencies]:
    """What each step depends on, in definition order.

    A compensation depends on nothing: it runs when all else is over, and may refer to any step. Unknown ids
    are kept. Raises `ReferenceSyntaxError`.
    """
    return {
        step.step_id: Dependencies(frozenset(step.depends_on), referenced_steps(step_references(step)))
        for step in workflow.steps
    }


def step_references(step: StepDefinition) -> list[tuple[str, Reference]]:
    """The references that must be resolved before a step runs, each with the path to where it stands."""
    found = references_in(step.parameters) if step.parameters else []
    if step.when is not None:
        found += [("when", reference) for _, reference in references_in(step.when)]
    if step.over is not None:
        found += [(f"over{where}", reference) for where, reference in references_in(step.over)]
    return found


def referenced_steps(references: Iterable[tuple[str, Reference]]) -> frozenset[str]:
    """The ids of the steps whose output is referenced."""
    return frozenset(ref.step_id for _, ref in references if ref.step_id is not None)


def find_cycle(edges: Edges) -> list[str] | None:
    """A cycle as a path ``[a, b, a]``, in which each step depends on the next; None if there is none."""
    finished: set[str] = set()
    for root in edges:
        if root not in finished and (cycle := _cycle_from(root, edges, finished)):
            return cycle
    return None


def _cycle_from(root: str, edges: Edges, finished: set[str]) -> list[str] | None:
    """A depth-first walk with its own stack: chains are far longer than Python's."""
    path = {root: None}  # a dict for its order and its fast look-up
    pending = [iter(edges[root])]
    while pending:
        for following in pending[-1]:
            if following in path:
                steps = list(path)
                return [*steps[steps.index(following) :], following]
            if following in edges and following not in finished:
                path[following] = None
                pending.append(iter(edges[following]))
                break
        else:
            pending.pop()
            finished.add(path.popitem()[0])
    return None


def dependents(edges: Edges) -> dict[str, list[str]]:
    """The reverse of the edges: for each step id, the ids that depend on it, in definition order."""
    reverse: dict[str, list[str]] = {step_id: [] for step_id in edges}
    for step_id, needed in edges.items():
        for other in needed:
            if other in reverse:
                reverse[other].append(step_id)
    return reverse


def topological_order(edges: Edges) -> list[str]:
    """All step ids, each after what it depends on; among those that are free, in definition order.

    Raises `DefinitionError` with the path of a cycle.
    """
    position = {step_id: index for index, step_id in enumerate(edges)}
    ids = list(edges)
    reverse = dependents(edges)
    waiting = {step_id: sum(other in position for other in needed) for step_id, needed in edges.items()}
    free = [position[step_id] for step_id, count in waiting.items() if count == 0]
    heapify(free)
    order: list[str] = []
    while free:
        step_id = ids[heappop(free)]
        order.append(step_id)
        for other in reverse[step_id]:
            waiting[other] -= 1
            if waiting[other] == 0:
                heappush(free, position[other])
    if len(order) < len(ids):
        raise DefinitionError("steps depend on each other: " + " -> ".join(find_cycle(edges) or ()))
    return order


def ready_steps(edges: Edges, finished: Collection[str], started: Collection[str] = ()) -> list[str]:
    """The steps that can start now, in definition order: not started, and all they depend on finished.

    Give sets: every id is looked up in them.
    """
    return [
        step_id
        for step_id, needed in edges.items()
        if step_id not in finished
        and step_id not in started
        and all(other in finished or other not in edges for other in needed)
    ]
