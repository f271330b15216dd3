"""A diagram as text: for terminals, and for when nothing can be drawn."""

from __future__ import annotations

from html import escape

from orchkit.views.diagram import Diagram, Edge, Node
from orchkit.views.palette import INK, look_of
from orchkit.views.text import clean, shorten

_MOST_LINES = 80
_LINE = 16.0
_LONGEST = 110
_CHARACTER = 7.3


def listing(diagram: Diagram) -> str:
    """One line per node: its status, its name, what it comes after."""
    before: dict[str, list[Edge]] = {}
    for edge in diagram.edges:
        before.setdefault(edge.target, []).append(edge)
    titles = {node.id: node.title for node in diagram.nodes}
    lines = [clean(diagram.caption or diagram.title)]
    lines += [_line(node, before.get(node.id, []), titles) for node in diagram.nodes[:_MOST_LINES]]
    if len(diagram.nodes) > _MOST_LINES:
        lines.append(f"  … and {len(diagram.nodes) - _MOST_LINES} more")
    return "\n".join(lines)


def _line(node: Node, edges: list[Edge], titles: dict[str, str]) -> str:
    sources = list(dict.fromkeys(titles.get(edge.source, edge.source) for edge in edges))
    shown = ", ".join(sources[:4]) + (f" and {len(sources) - 4} more" if len(sources) > 4 else "")
    tool = next((line.text for line in node.lines if line.role == "tool"), "")
    parts = [
        node.title,
        *([f"({tool})"] if tool else []),
        *([f"← {shown}"] if shown else []),
        *([node.status] if node.status else []),
        *node.badges,
        *([node.note] if node.note else []),
    ]
    return f"  {look_of(node.status).sign} {shorten(' '.join(parts), _LONGEST)}"


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
