"""How large a node is and where its texts stand: the same for every way of laying nodes out."""

from __future__ import annotations

from dataclasses import dataclass

from orchkit.views.diagram import Cluster, Node
from orchkit.views.text import fit, width

TITLE = 13.0
SMALL = 11.0
"""Font sizes in px."""
WIDEST_TEXT = 210.0
NARROWEST = 112.0
PAD = 11.0
ICON = 16.0
GAP = 7.0
STACK = 4.0
"""By how much each of the two sheets behind a stacked node sticks out."""
TITLE_ROW = 18.0
ROW = 15.0
BAR = 6.0
CLUSTER_HEAD = 26.0
"""Height of the strip with a cluster's title."""
CLUSTER_PAD = 14.0


@dataclass(frozen=True, slots=True)
class Box:
    """A node's size and the texts that fit into it."""

    width: float
    height: float
    title: str
    lines: tuple[tuple[str, str], ...]
    """``(text, role)``."""
    indent: float
    """Where texts begin, from the left edge."""
    stack: float
    """Height that the sheets behind it take at the top and at the right."""


def box_of(node: Node) -> Box:
    """Measure a node."""
    stack = 2 * STACK if node.kind in ("map", "group") else 0.0
    indent = PAD + (ICON + GAP if node.status is not None else 0.0)
    title = fit(node.title, TITLE, WIDEST_TEXT, bold=True, middle=True)
    lines = tuple(
        (fit(line.text, SMALL, WIDEST_TEXT, middle=line.role == "tool"), line.role) for line in node.lines
    )
    head = width(title, TITLE, bold=True) + sum(GAP + badge_width(badge) for badge in node.badges) + 4
    rows = [width(text, SMALL) for text, _ in lines] or [0.0]
    if node.note:
        rows[0] += 2 * GAP + width(node.note, SMALL)
    inner = max(head, *rows)
    count = max(len(lines), 1 if node.note else 0)
    height = 2 * 8 + TITLE_ROW + count * ROW + (BAR + 4 if node.tally else 0)
    return Box(
        round(max(NARROWEST, indent + inner + PAD) + stack),
        round(height + stack),
        title,
        lines,
        indent,
        stack,
    )


def badge_width(badge: str) -> float:
    """The width of a badge's pill."""
    return width(badge, SMALL, bold=True) + 12


def cluster_label_width(cluster: Cluster) -> float:
    """The width that the strip with a cluster's title wants."""
    head = width(fit(cluster.title, TITLE, WIDEST_TEXT, bold=True), TITLE, bold=True)
    extras = sum(1.5 * GAP + badge_width(badge) for badge in cluster.badges)
    note = GAP * 2 + width(cluster.note, SMALL) if cluster.note else 0
    return PAD * 2 + ICON + GAP + head + extras + note
