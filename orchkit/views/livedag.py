"""The picture of a run that goes on: laid out once, then only the parts are drawn anew that have changed."""

from __future__ import annotations

from dataclasses import replace

from orchkit.analysis.known import Known
from orchkit.model.state import RunState
from orchkit.views.diagram import Diagram, Line, Node
from orchkit.views.layout import Layout
from orchkit.views.picture import diagram_of
from orchkit.views.render import laid_out
from orchkit.views.stage import with_room, without_style
from orchkit.views.svg import parts_of, svg_of

_ROOM_FOR_TRIES = "try 99"
_ROOM_FOR_ITEMS = "999/999"
_ROOM_FOR_OUTCOME = " → false"

Parts = dict[str, str]


class LiveDag:
    """The picture of one run; for one thread at a time."""

    def __init__(self, state: RunState, known: Known) -> None:
        self._shape: tuple[str, ...] | None = None
        self._layout: Layout | None = None
        self._parts: Parts = {}
        self._drawn: tuple[Diagram, Layout] | None = None
        self.look(state, known)

    @property
    def svg(self) -> str:
        """All of it as of the last look, without a style of its own; from any thread.

        Nothing where it cannot be drawn.
        """
        return "" if self._drawn is None else without_style(svg_of(*self._drawn))

    def look(self, state: RunState, known: Known) -> Parts | None:
        """What of the picture has changed since the last look: by id the drawing that takes its place.

        None where the run has got other nodes: then all of `svg` is another one.
        """
        # Errors stand beside the picture: there may be no room for them.
        diagram = diagram_of(None, state, known=known)
        diagram = replace(diagram, nodes=tuple(map(_without_errors, diagram.nodes)))
        shape = (
            *(node.id for node in diagram.nodes),
            *(cluster.id for cluster in diagram.clusters),
            *(edge.id for edge in diagram.edges),
        )
        is_new, self._shape = shape != self._shape, shape
        if is_new:
            roomy = with_room(diagram)
            self._layout = laid_out(replace(roomy, nodes=tuple(map(_with_room, roomy.nodes))))
        if self._layout is None:
            return None if is_new else {}
        self._drawn = diagram, self._layout
        before, self._parts = self._parts, parts_of(diagram, self._layout)
        if is_new:
            return None
        return {name: drawn for name, drawn in self._parts.items() if before.get(name) != drawn}


def _without_errors(node: Node) -> Node:
    return replace(node, lines=tuple(line for line in node.lines if line.role != "error"))


def _with_room(node: Node) -> Node:
    """As wide as it will ever be: with counts of tries and items, and what its condition came to."""
    lines = tuple(map(_decided, _without_errors(node).lines))
    tried = any(badge.startswith("try ") for badge in node.badges)
    badges = node.badges if node.members or tried else (*node.badges, _ROOM_FOR_TRIES)
    if node.kind == "map":
        badges = (_ROOM_FOR_ITEMS, *badges[1:])
    tally = node.tally or ((("pending", 1),) if node.kind == "map" else ())
    return replace(node, lines=lines, badges=badges, tally=tally)


def _decided(line: Line) -> Line:
    open_yet = line.role == "condition" and " → " not in line.text
    return replace(line, text=line.text + _ROOM_FOR_OUTCOME) if open_yet else line
