"""A laid out diagram as one SVG file: no scripts, no fonts, nothing from outside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from orchkit.analysis.words import clean
from orchkit.views.boxes import (
    BAR,
    CLUSTER_HEAD,
    GAP,
    ICON,
    PAD,
    ROW,
    SMALL,
    STACK,
    TITLE,
    TITLE_ROW,
    Box,
    badge_width,
    box_of,
)
from orchkit.views.diagram import Cluster, Diagram, Edge, Node
from orchkit.views.layout import Curve, Frame, Layout, Point
from orchkit.views.legend import LEGEND_HEIGHT, legend
from orchkit.views.marks import arrow, icon, number
from orchkit.views.palette import look_of
from orchkit.views.stylesheet import STYLE
from orchkit.views.text import fit, status_class, width

MARGIN = 8.0
# What badges say, so that who changes a picture later finds the right one.
_ROLES = (
    ("tries", re.compile(r"try [\d,]+")),
    ("doubt", re.compile(r"(?:[\d,]+ )?in doubt")),
    ("items", re.compile(r"[\d,]+/[\d,]+")),
    ("undo", re.compile(r"↶")),
)


def svg_of(diagram: Diagram, layout: Layout) -> str:
    """Draw a diagram at these places."""
    foot = legend(diagram)
    wide = max(layout.width, foot.width) + 2 * MARGIN
    high = layout.height + 2 * MARGIN + (LEGEND_HEIGHT * foot.rows + 6 if foot.rows else 0)
    size = f'width="{number(wide)}" height="{number(high)}" viewBox="0 0 {number(wide)} {number(high)}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="orchkit_dag" role="img" {size}>',
        f"<title>{xml(diagram.title)}</title>",
        f"<desc>{xml(diagram.caption)}</desc>",
        f"<style>{STYLE}</style>",
        f'<g transform="translate({number(MARGIN)} {number(MARGIN)})">',
        *parts_of(diagram, layout).values(),
        "</g>",
    ]
    if foot.rows:
        lines.append(foot.svg(MARGIN, layout.height + 2 * MARGIN + 4))
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def parts_of(diagram: Diagram, layout: Layout) -> dict[str, str]:
    """The drawing of each cluster, edge and node by its id: what `svg_of` puts together, in its order."""
    frames, curves = layout.clusters, layout.edges
    # outer clusters come before those inside them
    parts = {one.id: _cluster(one, frames[one.id]) for one in diagram.clusters if one.id in frames}
    parts |= {one.id: _edge(one, curves[one.id]) for one in diagram.edges if _is_drawn(one, layout)}
    return parts | {one.id: _node(one, layout.nodes[one.id]) for one in diagram.nodes}


def xml(text: object) -> str:
    """A text inside an element or a quoted attribute."""
    return escape(clean(text), quote=True)


# --- clusters ------------------------------------------------------------------------------


def _cluster(cluster: Cluster, frame: Frame) -> str:
    x, y = frame.x, frame.y
    parts = [
        f'<g id="{cluster.id}" class="{" ".join(cluster.classes)}"><title>{xml(cluster.tooltip)}</title>',
        _rect("frame", x, y, frame.width, frame.height, 10),
    ]
    if "reused" in cluster.classes:
        parts.append(_rect("inner", x + 3, y + 3, frame.width - 6, frame.height - 6, 8))
    left = x + PAD
    if cluster.status is not None:
        parts.append(icon(cluster.status, left, y + (CLUSTER_HEAD - ICON) / 2))
        left += ICON + GAP
    right = x + frame.width - PAD
    middle = y + CLUSTER_HEAD / 2 + TITLE * 0.36
    if cluster.note:
        parts.append(_text("note", right, middle, cluster.note))
        right -= width(cluster.note, SMALL) + GAP
    title = fit(cluster.title, TITLE, max(24.0, right - left), bold=True)
    parts.append(_text("title", left, middle, title))
    left += width(title, TITLE, bold=True) + 1.5 * GAP
    for badge in cluster.badges:
        parts += _badge(badge, left, y + CLUSTER_HEAD / 2)
        left += badge_width(badge) + GAP
    return "".join([*parts, "</g>"])


# --- nodes ---------------------------------------------------------------------------------


def _node(node: Node, frame: Frame) -> str:
    box = box_of(node)
    x, y = frame.x, frame.y + box.stack
    wide, high = frame.width - box.stack, frame.height - box.stack
    classes = " ".join(("node", *node.classes))
    parts = [
        f'<g id="{node.id}" class="{classes}"><title>{xml(node.tooltip or node.title)}</title>',
        *_sheets(node, x, y, wide, high),
    ]
    if node.status is not None:
        parts.append(icon(node.status, x + PAD, y + 8 + (TITLE_ROW - ICON) / 2))
    parts += _texts(node, box, x, y, wide)
    if node.tally:
        parts += _bar(node, x + PAD, y + high - 8 - BAR, wide - 2 * PAD)
    return "".join([*parts, "</g>"])


def _sheets(node: Node, x: float, y: float, wide: float, high: float) -> Iterator[str]:
    """The node's box; behind it two more where it stands for several, inside it one for some kinds."""
    if node.kind in ("map", "group"):
        for shift in (2 * STACK, STACK):
            yield _rect("box sheet", x + shift, y - shift, wide, high, 7)
    yield _rect("box", x, y, wide, high, 7)
    if node.kind == "workflow" or "reused" in node.classes:
        yield _rect("inner", x + 3, y + 3, wide - 6, high - 6, 5)


def _texts(node: Node, box: Box, x: float, y: float, wide: float) -> Iterator[str]:
    left, right = x + box.indent, x + wide - PAD
    baseline = y + 8 + TITLE_ROW / 2 + TITLE * 0.36
    yield _text("title", left, baseline, box.title)
    edge = right
    for badge in reversed(node.badges):
        edge -= badge_width(badge)
        yield from _badge(badge, edge, y + 8 + TITLE_ROW / 2)
        edge -= GAP
    baseline = y + 8 + TITLE_ROW + ROW / 2 + SMALL * 0.36
    if node.note:
        yield _text("note", right, baseline, node.note)
    for text, role in box.lines:
        yield _text(role, left, baseline, text)
        baseline += ROW


def _badge(badge: str, x: float, middle: float) -> Iterator[str]:
    wide = badge_width(badge)
    role = next((role for role, form in _ROLES if form.fullmatch(badge)), "plain")
    yield f'<g class="tag tag_{role}">'
    yield _rect("pill", x, middle - 8, wide, 16, 8)
    yield _text("badge", x + wide / 2, middle + SMALL * 0.36, badge)
    yield "</g>"


def _bar(node: Node, x: float, y: float, wide: float) -> Iterator[str]:
    """How many of what it stands for have which status, as parts of one bar."""
    total = sum(count for _, count in node.tally)
    left = x
    for status, count in node.tally:
        part = wide * count / total
        yield (
            f'<rect class="bar {status_class(status)}" x="{number(left)}" y="{number(y)}" '
            f'width="{number(part)}" height="{number(BAR)}" fill="{look_of(status).colour}"/>'
        )
        left += part


def _rect(name: str, x: float, y: float, wide: float, high: float, radius: float) -> str:
    return (
        f'<rect class="{name}" x="{number(x)}" y="{number(y)}" width="{number(max(wide, 0))}" '
        f'height="{number(max(high, 0))}" rx="{number(radius)}"/>'
    )


def _text(name: str, x: float, y: float, text: str) -> str:
    return f'<text class="{name}" x="{number(x)}" y="{number(y)}">{xml(text)}</text>'


# --- edges ---------------------------------------------------------------------------------


def _is_drawn(edge: Edge, layout: Layout) -> bool:
    curve = layout.edges.get(edge.id)
    return curve is not None and len(curve.points) > 1


def _edge(edge: Edge, curve: Curve) -> str:
    parts = [
        f'<g id="{edge.id}" class="{" ".join(edge.classes)}"><title>{xml(edge.tooltip)}</title>',
        f'<path class="line" d="{_path(curve.points)}"/>',
        arrow(edge.kind, curve.points, curve.tip),
    ]
    if edge.label and curve.label is not None:
        x, y = curve.label
        parts += _badge(edge.label, x - badge_width(edge.label) / 2, y)
    return "".join([*parts, "</g>"])


def _path(points: tuple[Point, ...]) -> str:
    start, *rest = (f"{number(x)} {number(y)}" for x, y in points)
    curves = " ".join("C" + ",".join(rest[n : n + 3]) for n in range(0, len(rest) - 2, 3))
    return f"M{start} {curves}"
