"""Small drawings: the sign of a status, the tip of an edge."""

from __future__ import annotations

from math import hypot

from orchkit.views.diagram import EdgeKind
from orchkit.views.layout import Point
from orchkit.views.palette import look_of

# Inside a square of 16: what is drawn on (or instead of) the disc.
_STROKES = {
    "success": "M4.6 8.4 L7 10.8 L11.6 5.6",
    "failed": "M5.4 5.4 L10.6 10.6 M10.6 5.4 L5.4 10.6",
    "cancelled": "M4.4 11.6 L11.6 4.4",
    "skipped": "M4.9 5.4 L7.5 8 L4.9 10.6 M8.7 5.4 L11.3 8 L8.7 10.6",
    "paused": "M6.2 5.2 V10.8 M9.8 5.2 V10.8",
    "cut off": "M9.6 3.9 L6.2 8.3 L9.8 7.7 L6.4 12.1",
    "timeout": "M8 4.6 V8.4 L10.6 10",
}
_FULL_DISC = ("success", "failed")


def number(value: float) -> str:
    """A length with at most two digits after the point."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def icon(status: str, x: float, y: float) -> str:
    """The sign of a status, 16 px wide, with its own form for each."""
    colour = look_of(status).colour
    inside = _inside(status, colour)
    name = status.replace(" ", "_")
    return f'<g class="icon icon_{name}" transform="translate({number(x)} {number(y)})">{inside}</g>'


def _inside(status: str, colour: str) -> str:
    disc = f'<circle cx="8" cy="8" r="7.5" fill="{colour}"/>'
    ring = f'<circle cx="8" cy="8" r="6.6" fill="#FFFFFF" stroke="{colour}" stroke-width="1.8"/>'
    if status == "running":
        return f'{ring}<path d="M6.3 4.9 L11.2 8 L6.3 11.1 Z" fill="{colour}"/>'
    if status == "partial":
        return f'{ring}<path d="M8 2.4 A5.6 5.6 0 0 1 8 13.6 Z" fill="{colour}"/>'
    strokes = _STROKES.get(status)
    if strokes is None:
        return ring
    ink = "#FFFFFF" if status in _FULL_DISC else colour
    ground = disc if status in _FULL_DISC else ring
    return (
        f'{ground}<path d="{strokes}" fill="none" stroke="{ink}" stroke-width="1.8" '
        'stroke-linecap="round" stroke-linejoin="round"/>'
    )


def arrow(kind: EdgeKind, points: tuple[Point, ...], tip: Point) -> str:
    """The end of an edge: a full arrow for data, a diamond for a condition, an open one for the rest."""
    along = _direction(points, tip)
    if kind == "condition":
        corners = [_at(tip, along, back, side) for back, side in ((0, 0), (5.5, 3.6), (11, 0), (5.5, -3.6))]
        return _polygon("tip open", corners)
    if kind == "data":
        return _polygon("tip", [_at(tip, along, back, side) for back, side in ((0, 0), (9, 3.8), (9, -3.8))])
    wings = [_at(tip, along, back, side) for back, side in ((8, 4), (0, 0), (8, -4))]
    drawn = " L".join(f"{number(x)} {number(y)}" for x, y in wings)
    shaft = _at(tip, along, 10, 0)
    return (
        f'<path class="tip vee" d="M{drawn} M{number(shaft[0])} {number(shaft[1])} '
        f'L{number(tip[0])} {number(tip[1])}"/>'
    )


def _direction(points: tuple[Point, ...], tip: Point) -> Point:
    """The unit vector in which the edge arrives."""
    for point in reversed(points):
        x, y = tip[0] - point[0], tip[1] - point[1]
        length = hypot(x, y)
        if length > 0.5:
            return (x / length, y / length)
    return (0.0, 1.0)


def _at(tip: Point, along: Point, back: float, side: float) -> Point:
    return (tip[0] - along[0] * back - along[1] * side, tip[1] - along[1] * back + along[0] * side)


def _polygon(name: str, corners: list[Point]) -> str:
    drawn = " ".join(f"{number(x)},{number(y)}" for x, y in corners)
    return f'<polygon class="{name}" points="{drawn}"/>'
