"""A diagram as DOT text: every node, edge and cluster with its own id and class."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchkit.analysis.words import clean
from orchkit.views.boxes import CLUSTER_PAD, SMALL, TITLE, box_of, cluster_label_width
from orchkit.views.diagram import Cluster, Diagram, Edge, EdgeKind, Node
from orchkit.views.palette import INK, LINE, look_of
from orchkit.views.shape import cluster_hints, direction_of, grid
from orchkit.views.text import width

FONT = "Helvetica,Arial,sans-serif"
_POINTS_PER_INCH = 72
_LONGEST_LABEL = 200

_EDGE_STYLES: dict[EdgeKind, str] = {
    "data": "solid",
    "condition": "solid",
    "dependency": "solid",
    "order": "dotted",
    "compensation": "dashed",
}
_ARROWS: dict[EdgeKind, str] = {"condition": "odiamond", "dependency": "vee", "order": "vee"}


def dot_of(diagram: Diagram, *, bare: bool = False) -> str:
    """DOT text of a diagram; ``bare`` leaves out what only matters for looks, for laying it out."""
    return "\n".join(_lines(diagram, bare)) + "\n"


def quoted(text: object) -> str:
    r"""A DOT string that stands for exactly this text, whatever is in it.

    Backslashes would begin escapes (``\N`` is the node's name), ``&`` an HTML entity.
    """
    escaped = clean(text).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
    return f'"{escaped}"'


def _lines(diagram: Diagram, bare: bool) -> Iterator[str]:
    yield f"digraph {quoted(diagram.title)} {{"
    yield _statement(
        "graph",
        id="orchkit_dag",
        **{"class": "orchkit_dag"},
        rankdir=direction_of(diagram),
        compound="true",
        bgcolor="transparent",
        fontname=FONT,
        nodesep="0.36",
        # the frames and the titles of clusters take their room from the gap between ranks
        ranksep=f"{0.8 + 0.15 * _nesting(diagram):.4g}" if diagram.clusters else "0.5",
        # the limits keep dense graphs from taking minutes
        nslimit="4",
        nslimit1="4",
        mclimit="0.5",
        **({} if bare else {"tooltip": diagram.caption}),
    )
    yield _statement(
        "node",
        shape="box",
        style="rounded,filled",
        fixedsize="true",
        fontname=FONT,
        fontsize=SMALL,
        fontcolor=INK,
    )
    yield _statement("edge", color=LINE, fontname=FONT, fontsize=SMALL, fontcolor=LINE, arrowsize="0.7")
    yield from _level(diagram, None, bare)
    for edge in diagram.edges:
        yield _edge(edge, bare)
    for source, target in (*grid(diagram), *cluster_hints(diagram)):
        yield f'  "{source}" -> "{target}" [style="invis"];'
    yield "}"


def _nesting(diagram: Diagram) -> int:
    """How many clusters stand around the innermost steps."""
    depths: dict[str | None, int] = {None: 0}
    for cluster in diagram.clusters:  # outer ones come before those inside them
        depths[cluster.id] = depths.get(cluster.parent, 0) + 1
    return max(depths.values())


def _level(diagram: Diagram, parent: str | None, bare: bool) -> Iterator[str]:
    for node in diagram.nodes:
        if node.cluster == parent:
            yield _node(node, bare)
    for cluster in diagram.clusters:
        if cluster.parent == parent:
            yield f'subgraph "{cluster.id}" {{'
            yield _cluster(cluster, bare)
            yield from _level(diagram, cluster.id, bare)
            yield "}"


def _node(node: Node, bare: bool) -> str:
    box, look = box_of(node), look_of(node.status)
    attributes: dict[str, object] = {
        "id": node.id,
        "class": " ".join(node.classes),
        "label": "",
        "width": f"{box.width / _POINTS_PER_INCH:.4f}",
        "height": f"{box.height / _POINTS_PER_INCH:.4f}",
    }
    if not bare:
        attributes |= {"fillcolor": look.fill, "color": look.colour, "tooltip": node.tooltip or node.title}
        if node.kind == "compensation" or node.status == "skipped":
            attributes["style"] = "rounded,filled,dashed"
        elif "reused" in node.classes:
            attributes["style"] = "rounded,filled,dotted"
        if node.kind in ("map", "group"):
            attributes["shape"] = "box3d"
        if node.kind == "workflow":
            attributes["peripheries"] = 2
    text = _statement(f'  "{node.id}"', **attributes)
    return text if bare else text.replace('label=""', f"label={_label(_texts(node))}", 1)


def _texts(node: Node) -> Iterator[str]:
    box = box_of(node)
    sign = f"{look_of(node.status).sign} " if node.status is not None else ""
    yield "  ".join((sign + box.title, *node.badges))
    yield from (text for text, _ in box.lines)
    if node.note:
        yield node.note


def _label(lines: Iterable[str]) -> str:
    """Several lines; the line breaks are ours, those of the texts are gone."""
    return '"' + "\\n".join(quoted(line[:_LONGEST_LABEL])[1:-1] for line in lines) + '"'


def _cluster(cluster: Cluster, bare: bool) -> str:
    look = look_of(cluster.status)
    # for the layout only the room that the title takes matters
    filler = "x" * int(cluster_label_width(cluster) / width("x", TITLE) + 1)
    sign = f"{look.sign} " if cluster.status is not None else ""
    label = filler if bare else f"{sign}{cluster.title[:_LONGEST_LABEL]} {' '.join(cluster.badges)}".rstrip()
    attributes: dict[str, object] = {
        "id": cluster.id,
        "class": " ".join(cluster.classes),
        "label": label,
        "fontsize": TITLE,
        "margin": CLUSTER_PAD,
    }
    if not bare:
        attributes |= {
            "style": "rounded,filled",
            "fillcolor": look.fill,
            "color": look.colour,
            "fontcolor": INK,
            "tooltip": cluster.tooltip or cluster.title,
        }
    return _statement("  graph", **attributes)


def _edge(edge: Edge, bare: bool) -> str:
    attributes: dict[str, object] = {"id": edge.id, "class": " ".join(edge.classes)}
    if edge.label:
        attributes["label"] = edge.label
    if edge.source_cluster:
        attributes["ltail"] = edge.source_cluster
    if edge.target_cluster:
        attributes["lhead"] = edge.target_cluster
    if not bare:
        style = "dashed" if "edge_idle" in edge.classes else _EDGE_STYLES[edge.kind]
        attributes |= {"style": style, "tooltip": edge.tooltip or edge.kind}
        if edge.kind in _ARROWS:
            attributes["arrowhead"] = _ARROWS[edge.kind]
    return _statement(f'  "{edge.source}" -> "{edge.target}"', **attributes)


def _statement(head: str, **attributes: object) -> str:
    return f"{head} [{' '.join(f'{name}={quoted(value)}' for name, value in attributes.items())}];"
