"""Where everything stands: places of nodes, curves of edges, frames of clusters, in px from the top left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchkit.views.diagram import Diagram

Point = tuple[float, float]
_POINTS_PER_INCH = 72


@dataclass(frozen=True, slots=True)
class Frame:
    """A rectangle by its top left corner."""

    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> Point:
        """The point in the middle."""
        return (self.x + self.width / 2, self.y + self.height / 2)


@dataclass(frozen=True, slots=True)
class Curve:
    """An edge: a start and Bézier segments of three points each, then the arrow's tip."""

    points: tuple[Point, ...]
    tip: Point
    label: Point | None = None


@dataclass(slots=True)
class Layout:
    """The geometry of a diagram."""

    width: float
    height: float
    nodes: dict[str, Frame] = field(default_factory=dict)
    edges: dict[str, Curve] = field(default_factory=dict)
    """By edge id; an edge without a curve is not drawn."""
    clusters: dict[str, Frame] = field(default_factory=dict)


def layout_from_json(text: str | bytes, diagram: Diagram) -> Layout:
    """The geometry in what Graphviz gives for ``json0``.

    Raises ValueError or KeyError when it is not about this diagram.
    """
    data = json.loads(text)
    left, bottom, right, top = _numbers(data["bb"])
    layout = Layout(right - left, top - bottom)
    names: dict[int, str] = {}
    for item in data.get("objects", ()):
        names[item["_gvid"]] = item["name"]
        if "bb" in item:
            x0, y0, x1, y1 = _numbers(item["bb"])
            layout.clusters[item["name"]] = Frame(x0 - left, top - y1, x1 - x0, y1 - y0)
        elif "pos" in item:
            layout.nodes[item["name"]] = _frame(item, left, top)
    for item in data.get("edges", ()):
        if "id" in item and "pos" in item:
            layout.edges[item["id"]] = _curve(item, left, top)
    missing = {node.id for node in diagram.nodes} - layout.nodes.keys()
    if missing:
        raise ValueError(f"the layout has no place for {sorted(missing)[:3]}")
    return layout


def _numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]


def _frame(item: Mapping[str, Any], left: float, top: float) -> Frame:
    x, y = _numbers(item["pos"])
    width, height = float(item["width"]) * _POINTS_PER_INCH, float(item["height"]) * _POINTS_PER_INCH
    return Frame(x - left - width / 2, top - y - height / 2, width, height)


def _curve(item: Mapping[str, Any], left: float, top: float) -> Curve:
    """``e,x,y`` is the arrow's tip; the other pairs are the points of the curve."""
    tip: Point | None = None
    points: list[Point] = []
    for part in item["pos"].split(";")[0].split():
        if part.startswith("e,"):
            x, y = _numbers(part[2:])
            tip = (x - left, top - y)
        elif not part.startswith("s,"):
            x, y = _numbers(part)
            points.append((x - left, top - y))
    label = None
    if "lp" in item:
        x, y = _numbers(item["lp"])
        label = (x - left, top - y)
    return Curve(tuple(points), tip or points[-1], label)
