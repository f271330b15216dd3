"""A picture before it is drawn: nodes, edges and clusters as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

NodeKind = Literal["step", "map", "workflow", "compensation", "group"]
"""``workflow`` is a sub-workflow that is not drawn out, ``group`` stands for several steps."""
EdgeKind = Literal["data", "condition", "dependency", "order", "compensation"]
EDGE_KINDS: tuple[EdgeKind, ...] = get_args(EdgeKind)
"""The strongest first."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a node's label."""

    text: str
    role: Literal["tool", "condition", "error", "counts"]


@dataclass(frozen=True, slots=True)
class Node:
    """A step, or something that stands for several."""

    id: str
    """An identifier that stays the same as long as the step's id does."""
    title: str
    kind: NodeKind = "step"
    status: str | None = None
    """None in the picture of a definition."""
    lines: tuple[Line, ...] = ()
    badges: tuple[str, ...] = ()
    """Short texts at the right of the title: ``×3`` attempts, ``10/12`` items."""
    note: str = ""
    """At the right of the first line: how long it took."""
    tally: tuple[tuple[str, int], ...] = ()
    """For what stands for several: how many have which status."""
    tooltip: str = ""
    classes: tuple[str, ...] = ()
    cluster: str | None = None
    tool: str = ""
    members: tuple[str, ...] = ()
    """For what stands for several steps: the ids of their nodes."""


@dataclass(frozen=True, slots=True)
class Edge:
    """Something comes after something."""

    id: str
    source: str
    target: str
    kind: EdgeKind
    label: str = ""
    tooltip: str = ""
    classes: tuple[str, ...] = ()
    source_cluster: str | None = None
    """The edge begins at the border of this cluster, in which the source node is."""
    target_cluster: str | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A sub-workflow, drawn around its steps."""

    id: str
    title: str
    status: str | None = None
    badges: tuple[str, ...] = ()
    note: str = ""
    tooltip: str = ""
    classes: tuple[str, ...] = ()
    parent: str | None = None


@dataclass(frozen=True, slots=True)
class Diagram:
    """Everything there is to draw, and what to say under it."""

    title: str
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    caption: str = ""
    condensed: bool = False

    @property
    def edge_kinds(self) -> tuple[EdgeKind, ...]:
        """The kinds of edges that occur, the strongest first."""
        present = {edge.kind for edge in self.edges}
        return tuple(kind for kind in EDGE_KINDS if kind in present)
