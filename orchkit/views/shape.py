"""Which way a diagram runs, and invisible edges that give it a good shape."""

from __future__ import annotations

from collections import Counter
from math import ceil, sqrt
from typing import Literal

from orchkit.views.boxes import box_of
from orchkit.views.condense import depths
from orchkit.views.diagram import Diagram

Direction = Literal["TB", "LR"]
PAGE = (980.0, 900.0)
"""Width and height in px that a notebook shows at once."""
_BESIDE, _BELOW = 26.0, 48.0
_ROW_OF_LOOSE_NODES = 5


def direction_of(diagram: Diagram) -> Direction:
    """Top to bottom, or left to right where that can be drawn larger; on a draw what is less high."""
    if not diagram.nodes:
        return "TB"
    boxes = [box_of(node) for node in diagram.nodes]
    wide = max(box.width for box in boxes)
    high = sum(box.height for box in boxes) / len(boxes)
    edges = [(edge.source, edge.target) for edge in diagram.edges]
    loose = grid(diagram)
    depth = depths(diagram.nodes, diagram.edges) if not loose else _grid_depths(diagram, loose)
    levels = Counter(depth.values())
    broad, deep = max(levels.values()), len(levels)
    down = (broad * (wide + _BESIDE), deep * (high + _BELOW))
    across = (deep * (wide + _BELOW) if edges else deep * (wide + _BESIDE), broad * (high + _BESIDE))
    return "LR" if _scale(across) > _scale(down) * 1.15 or _is_flatter(across, down) else "TB"


def _scale(size: tuple[float, float]) -> float:
    """By how much a drawing of this size is made smaller; height costs less, pages scroll."""
    return min(1.0, PAGE[0] / size[0], 2 * PAGE[1] / size[1])


def _is_flatter(across: tuple[float, float], down: tuple[float, float]) -> bool:
    return _scale(across) >= _scale(down) and across[1] < down[1] and across[0] <= PAGE[0]


def grid(diagram: Diagram) -> list[tuple[str, str]]:
    """Invisible edges that put nodes without any edge into rows instead of one long line."""
    linked = {edge.source for edge in diagram.edges} | {edge.target for edge in diagram.edges}
    found: list[tuple[str, str]] = []
    loose: dict[str | None, list[str]] = {}
    for node in diagram.nodes:
        if node.id not in linked:
            loose.setdefault(node.cluster, []).append(node.id)
    for ids in loose.values():
        columns = max(_ROW_OF_LOOSE_NODES, ceil(sqrt(len(ids))))
        found += zip(ids, ids[columns:], strict=False)
    return found


def _grid_depths(diagram: Diagram, loose: list[tuple[str, str]]) -> dict[str, int]:
    depth = depths(diagram.nodes, diagram.edges)
    for source, target in loose:
        depth[target] = depth[source] + 1
    return depth


def cluster_hints(diagram: Diagram) -> list[tuple[str, str]]:
    """Invisible edges that keep a whole cluster after what leads into it, and before what follows it."""
    inner_targets = {edge.target for edge in diagram.edges if edge.target_cluster is None}
    inner_sources = {edge.source for edge in diagram.edges if edge.source_cluster is None}
    members: dict[str, list[str]] = {}
    for node in diagram.nodes:
        if node.cluster is not None:
            members.setdefault(node.cluster, []).append(node.id)
    found: list[tuple[str, str]] = []
    for edge in diagram.edges:
        into, out_of = members.get(edge.target_cluster or "", ()), members.get(edge.source_cluster or "", ())
        found += [(edge.source, one) for one in into if one not in inner_targets and one != edge.target]
        found += [(one, edge.target) for one in out_of if one not in inner_sources and one != edge.source]
    return found
