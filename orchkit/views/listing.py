"""A diagram as text: for terminals, and for when nothing can be drawn."""

from __future__ import annotations

from html import escape

from orchkit.analysis.words import clean, shorten
from orchkit.views.diagram import Cluster, Diagram, Node
from orchkit.views.palette import INK, look_of

_MOST_LINES = 80
_LINE = 16.0
_LONGEST = 110
_CHARACTER = 7.3


def listing(diagram: Diagram) -> str:
    """One line per node: its status, its name, what it comes after; sub-workflows indented."""
    lines = [clean(diagram.caption or diagram.title), *_rows(diagram)]
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], f"  … and {len(lines) - _MOST_LINES:,} more"]
    return "\n".join(lines)


def _rows(diagram: Diagram) -> list[str]:
    before: dict[str, list[str]] = {}
    clusters = {cluster.id: cluster for cluster in diagram.clusters}
    titles = {node.id: node.title for node in diagram.nodes}
    titles |= {cluster.id: cluster.title for cluster in diagram.clusters}
    for edge in diagram.edges:
        source = titles.get(edge.source_cluster or edge.source, edge.source)
        before.setdefault(edge.target_cluster or edge.target, []).append(source)
    # a cluster stands where the first of its steps would
    inside: dict[str | None, list[Node | Cluster]] = {}
    for node in diagram.nodes:
        box: Node | Cluster = node
        parent = node.cluster
        while parent is not None and parent not in inside:
            inside[parent] = [box]
            box = clusters[parent]
            parent = box.parent
        inside.setdefault(parent, []).append(box)
    rows: list[str] = []
    todo: list[tuple[Node | Cluster, int]] = [(box, 1) for box in reversed(inside.get(None, []))]
    while todo:
        box, depth = todo.pop()
        rows.append("  " * depth + _line(box, before.get(box.id, [])))
        todo += [(inner, depth + 1) for inner in reversed(inside.get(box.id, []))]
    return rows


def _line(box: Node | Cluster, before: list[str]) -> str:
    sources = list(dict.fromkeys(before))
    shown = ", ".join(sources[:4]) + (f" and {len(sources) - 4} more" if len(sources) > 4 else "")
    lines = box.lines if isinstance(box, Node) else ()
    tool = next((line.text for line in lines if line.role == "tool"), "")
    parts = [
        box.title,
        *([f"({tool})"] if tool else []),
        *([f"← {shown}"] if shown else []),
        *([box.status] if box.status else []),
        *box.badges,
        *([box.note] if box.note else []),
    ]
    return f"{look_of(box.status).sign} {shorten(' '.join(parts), _LONGEST)}"


def listing_svg(text: str) -> str:
    """Lines of text as an SVG."""
    lines = text.split("\n")
    wide = max(len(line) for line in lines) * _CHARACTER + 24
    high = len(lines) * _LINE + 20
    rows = "".join(
        f'<text x="12" y="{24 + number * _LINE:g}" xml:space="preserve">{escape(clean(line))}</text>'
        for number, line in enumerate(lines)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="orchkit_dag" role="img" width="{wide:g}" '
        f'height="{high:g}" viewBox="0 0 {wide:g} {high:g}"><title>{escape(clean(lines[0]))}</title>'
        f"<style>.orchkit_dag text{{font:12px monospace;fill:{INK}}}</style>"
        f'<rect width="100%" height="100%" rx="8" fill="#EEF0F3"/>{rows}</svg>\n'
    )
