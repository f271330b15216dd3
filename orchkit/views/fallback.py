"""A layout of our own, for when no Graphviz can be had: layers from top to bottom or left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchkit.views.boxes import CLUSTER_HEAD, CLUSTER_PAD, badge_width, box_of, cluster_label_width
from orchkit.views.diagram import Diagram, Edge
from orchkit.views.layers import Arrangement, Pair, Size, arrange
from orchkit.views.layout import Curve, Frame, Layout, Point
from orchkit.views.shape import Direction, direction_of, grid

_TIP = 7.0
"""The curve ends so many px before the box; the arrow's tip covers the rest."""
_PORT = 18.0
"""Most px between two edges at the same side of a box."""


def layout_of(diagram: Diagram) -> Layout:
    """Lay out a diagram; sub-workflows are laid out inside and then treated as one box."""
    return _Fallback(diagram).layout()


@dataclass(slots=True)
class _Level:
    """What stands directly inside one cluster, or on the page itself."""

    sizes: dict[str, Size] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    hidden: list[Pair] = field(default_factory=list)
    arrangement: Arrangement = field(default_factory=Arrangement)


class _Fallback:
    def __init__(self, diagram: Diagram) -> None:
        self.diagram = diagram
        self.direction: Direction = direction_of(diagram)
        self.parents: dict[str, str | None] = {node.id: node.cluster for node in diagram.nodes}
        self.parents |= {cluster.id: cluster.parent for cluster in diagram.clusters}
        self.levels: dict[str | None, _Level] = {None: _Level()}
        self.levels |= {cluster.id: _Level() for cluster in diagram.clusters}

    def layout(self) -> Layout:
        """Inner clusters first, so that their size is known outside; then the places from outside in."""
        for node in self.diagram.nodes:
            box = box_of(node)
            self.levels[node.cluster].sizes[node.id] = self._turned((box.width, box.height))
        for edge in self.diagram.edges:
            self._sort_in(edge)
        for source, target in grid(self.diagram):
            self.levels[self.parents[source]].hidden.append((source, target))
        # a cluster stands in the list before those inside it
        for cluster in reversed(self.diagram.clusters):
            inner = self._arranged(cluster.id)
            wide = max(inner[0] + 2 * CLUSTER_PAD, cluster_label_width(cluster))
            high = inner[1] + CLUSTER_HEAD + 2 * CLUSTER_PAD - 4
            self.levels[cluster.parent].sizes[cluster.id] = self._turned((wide, high))
        size = self._arranged(None)
        result = Layout(*size)
        self._place(result, None, (0.0, 0.0))
        for cluster in self.diagram.clusters:
            frame = result.clusters[cluster.id]
            inner_wide = self._turned(self.levels[cluster.id].arrangement.size)[0]
            left = frame.x + (frame.width - inner_wide) / 2
            self._place(result, cluster.id, (left, frame.y + CLUSTER_HEAD + CLUSTER_PAD - 4))
        return result

    def _turned(self, pair: Size) -> Size:
        return pair if self.direction == "TB" else (pair[1], pair[0])

    def _arranged(self, key: str | None) -> Size:
        level = self.levels[key]
        level.arrangement = arrange(level.sizes, level.pairs, level.hidden)
        return self._turned(level.arrangement.size)

    def _sort_in(self, edge: Edge) -> None:
        """An edge belongs to the innermost level that holds both of its ends, directly or in clusters."""
        around_source = self._around(edge.source_cluster or edge.source)
        around_target = self._around(edge.target_cluster or edge.target)
        for key, source in around_source.items():
            target = around_target.get(key)
            if target is not None:
                if source != target:
                    self.levels[key].edges.append(edge)
                    self.levels[key].pairs.append((source, target))
                return

    def _around(self, name: str) -> dict[str | None, str]:
        """For each level around a box, from inside out: what of that level it is or is in."""
        found: dict[str | None, str] = {}
        while True:
            parent = self.parents[name]
            found[parent] = name
            if parent is None:
                return found
            name = parent

    def _place(self, result: Layout, key: str | None, origin: Point) -> None:
        level = self.levels[key]
        frames: dict[str, Frame] = {}
        for name, centre in level.arrangement.centres.items():
            x, y = self._turned(centre)
            wide, high = self._turned(level.sizes[name])
            frames[name] = Frame(origin[0] + x - wide / 2, origin[1] + y - high / 2, wide, high)
            (result.clusters if name in self.levels else result.nodes)[name] = frames[name]
        routes = [
            [(x + origin[0], y + origin[1]) for x, y in map(self._turned, route)]
            for route in level.arrangement.routes[: len(level.pairs)]
        ]
        leaving, arriving = self._ports(level.pairs, frames, routes)
        for edge, ports, route in zip(level.edges, zip(leaving, arriving, strict=True), routes, strict=True):
            result.edges[edge.id] = self._curve(edge, *ports, route)

    def _ports(
        self, pairs: Sequence[Pair], frames: Mapping[str, Frame], routes: Sequence[Sequence[Point]]
    ) -> tuple[list[Point], list[Point]]:
        """Where the edges leave and arrive: side by side, in the order of where they go to and come from."""
        axis = 0 if self.direction == "TB" else 1
        sources, targets = [source for source, _ in pairs], [target for _, target in pairs]
        towards, origins = [], []
        for source, target, route in zip(sources, targets, routes, strict=True):
            towards.append((route[0] if route else frames[target].centre)[axis])
            origins.append((route[-1] if route else frames[source].centre)[axis])
        leaving = _shifts(sources, towards, frames, axis)
        arriving = _shifts(targets, origins, frames, axis)
        return (
            [self._port(frames[one], shift, 1) for one, shift in zip(sources, leaving, strict=True)],
            [self._port(frames[one], shift, 0) for one, shift in zip(targets, arriving, strict=True)],
        )

    def _port(self, frame: Frame, shift: float, end: int) -> Point:
        """A point on the border at the begin (0) or the end (1) of a box."""
        x, y = frame.centre
        if self.direction == "TB":
            return (x + shift, frame.y + end * frame.height)
        return (frame.x + end * frame.width, y + shift)

    def _curve(self, edge: Edge, start: Point, tip: Point, route: list[Point]) -> Curve:
        """From border to border, with tangents along the direction of the diagram."""
        end = (tip[0], tip[1] - _TIP) if self.direction == "TB" else (tip[0] - _TIP, tip[1])
        points = [start]
        for one, other in zip([start, *route], [*route, end], strict=False):
            points += [*self._handles(one, other), other]
        middle = points[len(points) // 2] if route else _between(start, end)
        label = (middle[0] + badge_width(edge.label) / 2 + 4, middle[1]) if edge.label else None
        return Curve(tuple(points), tip, label)

    def _handles(self, one: Point, other: Point) -> tuple[Point, Point]:
        x, y = _between(one, other)
        if self.direction == "TB":
            return (one[0], y), (other[0], y)
        return (x, one[1]), (x, other[1])


def _shifts(
    boxes: Sequence[str], places: Sequence[float], frames: Mapping[str, Frame], axis: int
) -> list[float]:
    """How far from the middle of its box each edge is, when those of one box stand in order of place."""
    of_box: dict[str, list[int]] = {}
    for number, box in enumerate(boxes):
        of_box.setdefault(box, []).append(number)
    shifts = [0.0] * len(boxes)
    for box, numbers in of_box.items():
        frame = frames[box]
        room = (frame.width if axis == 0 else frame.height) * 0.6
        step = min(_PORT, room / len(numbers))
        numbers.sort(key=lambda number: places[number])
        for index, number in enumerate(numbers):
            shifts[number] = (index - (len(numbers) - 1) / 2) * step
    return shifts


def _between(one: Point, other: Point) -> Point:
    return ((one[0] + other[0]) / 2, (one[1] + other[1]) / 2)
