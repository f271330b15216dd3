"""A large diagram made small: one node for all steps of the same kind at about the same depth."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchkit.analysis.words import clean, plural
from orchkit.views.diagram import EDGE_KINDS, Diagram, Edge, EdgeKind, Line, Node
from orchkit.views.palette import BY_GRAVITY, BY_PROGRESS, look_of
from orchkit.views.text import slug, status_class

# Numbers, and names of samples in parentheses, at the end: align_ID0007, FASTQC (sample 3).
_NUMBERING = re.compile(r"(?:\s*\([^()]*\)|[\s_.:#-]*(?:ID|id)?\d+)+$")
MOST_GROUPS = 90
"""A condensed picture has at most this many nodes."""
MOST_PAIRS = 250
"""And at most about this many edges: more are a tangle."""


def depths(nodes: Sequence[Node], edges: Sequence[Edge]) -> dict[str, int]:
    """The length of the longest chain of edges above each node.

    Nodes on a cycle, which a faulty definition may have, come after all others.
    """
    waiting = Counter(edge.target for edge in edges)
    after: dict[str, list[str]] = {}
    for edge in edges:
        after.setdefault(edge.source, []).append(edge.target)
    depth = {node.id: 0 for node in nodes}
    ready = deque(node.id for node in nodes if not waiting[node.id])
    seen = set(ready)
    while ready:
        source = ready.popleft()
        for target in after.get(source, ()):
            depth[target] = max(depth[target], depth[source] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
                seen.add(target)
    bottom = 1 + max((depth[one] for one in seen), default=-1)
    return {one: level if one in seen else bottom for one, level in depth.items()}


@dataclass(slots=True)
class _Group:
    """Several nodes that are drawn as one."""

    number: int
    title: str
    band: tuple[int, int]
    nodes: list[Node] = field(default_factory=list)


def condensed(diagram: Diagram) -> Diagram:
    """The same in at most `MOST_GROUPS` nodes, with counts; says so in the caption."""
    depth = depths(diagram.nodes, diagram.edges)
    groups, band, by_tool = _grouping(diagram, depth)
    what = "steps of the same kind" if by_tool else "steps"
    where = "at the same depth" if band == 1 else f"within {band} levels of depth"
    drawn = f"{plural(len(diagram.nodes), 'step')} drawn as {plural(len(groups), 'group')}"
    return replace(
        diagram,
        nodes=tuple(map(_node, groups)),
        edges=tuple(_edges(diagram.edges, groups)),
        clusters=(),
        caption=f"{diagram.caption} (condensed: {drawn}, {what} {where})",
        condensed=True,
    )


def _grouping(diagram: Diagram, depth: Mapping[str, int]) -> tuple[list[_Group], int, bool]:
    """The finest grouping that is small enough; by tool as long as that is possible."""
    nodes = diagram.nodes
    deepest = max(depth.values(), default=0) + 1
    nothing = dict.fromkeys((node.id for node in nodes), "")
    for names in (_names(nodes), nothing):
        band = 1
        while band < 2 * deepest:
            keys = {node.id: (names[node.id], depth[node.id] // band) for node in nodes}
            if len(set(keys.values())) <= MOST_GROUPS:
                pairs = {(keys[edge.source], keys[edge.target]) for edge in diagram.edges}
                if len(pairs) <= MOST_PAIRS:
                    return _grouped(nodes, depth, band, names), band, names is not nothing
            band *= 2
    return _grouped(nodes, depth, deepest, nothing), deepest, False


def _names(nodes: Sequence[Node]) -> dict[str, str]:
    """What each node is called after: its tool, or its id where all have the same tool; without numbers."""
    tools = {node.id: _stem(node.tool or node.title) for node in nodes}
    if len(set(tools.values())) == 1:
        return {node.id: _stem(node.title) for node in nodes}
    return {node.id: "undo: " * (node.kind == "compensation") + tools[node.id] for node in nodes}


def _stem(text: str) -> str:
    return _NUMBERING.sub("", text) or text


def _grouped(
    nodes: Sequence[Node], depth: Mapping[str, int], band: int, names: Mapping[str, str]
) -> list[_Group]:
    groups: dict[tuple[str, int], _Group] = {}
    for node in sorted(nodes, key=lambda node: depth[node.id]):
        name, level = names[node.id], depth[node.id] // band
        group = groups.get((name, level))
        if group is None:
            group = _Group(len(groups), name or "various tools", (level * band, level * band + band - 1))
            groups[name, level] = group
        group.nodes.append(node)
    return list(groups.values())


def _node(group: _Group) -> Node:
    if len(group.nodes) == 1:
        return replace(group.nodes[0], cluster=None)
    counts = Counter(node.status for node in group.nodes if node.status is not None)
    tally = tuple((one, counts[one]) for one in BY_PROGRESS if counts[one])
    status = next((one for one in BY_GRAVITY if counts[one]), None)
    signs = "  ".join(f"{look_of(one).sign} {counts[one]:,}" for one in BY_PROGRESS if counts[one])
    words = ", ".join(f"{counts[one]:,} {one}" for one in BY_PROGRESS if counts[one])
    low, high = group.band
    level = f"level {low + 1}" if low == high else f"levels {low + 1}–{high + 1}"
    classes = ("group",) if status is None else ("group", status_class(status))
    return Node(
        f"group_{slug(group.title)}_{low}",
        clean(group.title),
        "group",
        status,
        lines=(Line(level, "tool"), *((Line(signs, "counts"),) if signs else ())),
        badges=(f"×{len(group.nodes):,}",),
        tally=tally,
        tooltip=f"{plural(len(group.nodes), 'step')}, {level}" + (f": {words}" if words else ""),
        classes=classes,
        tool=group.title,
        members=tuple(node.id for node in group.nodes),
    )


def _edges(edges: Sequence[Edge], groups: Sequence[_Group]) -> list[Edge]:
    """One edge per pair of groups, downward only: bands of several levels would else be full of loops."""
    of_node = {node.id: group.number for group in groups for node in group.nodes}
    ids = [_node(group).id for group in groups]
    found: dict[tuple[int, int], list[Edge]] = {}
    for edge in edges:
        source, target = of_node[edge.source], of_node[edge.target]
        if source < target:
            found.setdefault((source, target), []).append(edge)
    return [_merged(ids[source], ids[target], several) for (source, target), several in found.items()]


def _merged(source: str, target: str, edges: Sequence[Edge]) -> Edge:
    kind: EdgeKind = min((edge.kind for edge in edges), key=EDGE_KINDS.index)
    idle = all("edge_idle" in edge.classes for edge in edges)
    label = f"{len(edges):,}" if len(edges) > 1 else ""
    classes = ("edge", f"edge_{kind}", "edge_idle") if idle else ("edge", f"edge_{kind}")
    return Edge(
        f"edge_{source}_{target}", source, target, kind, label, plural(len(edges), "connection"), classes
    )
