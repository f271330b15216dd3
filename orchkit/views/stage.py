"""The picture of a run as a film plays on it: room for all it will show, and which element is which step."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from orchkit.analysis.facts import COMPENSATION
from orchkit.analysis.known import NOTHING, Known, Path
from orchkit.analysis.links import workflow_of
from orchkit.model.state import RunState
from orchkit.model.workflow import Workflow
from orchkit.views.diagram import Diagram, Line, Node
from orchkit.views.picture import MOST_NODES, diagram_of, node_id
from orchkit.views.render import render

_ROOM_FOR_TIME = "59.9 s"
_STYLE = re.compile(r"<style>.*?</style>\n?", re.DOTALL)


def stage_of(state: RunState, known: Known = NOTHING, *, most_nodes: int = MOST_NODES) -> dict[str, Any]:
    """The stage of a run, or of a run that has just begun.

    ::

        {"svg": the picture, without a style of its own,
         "caption", "condensed",
         "nodes": {step_id: id of its element},
         "inner": [[[step_id, …], id of the element], …]}   steps of sub-workflows, by their path

    Items of maps have no elements of their own. In a condensed picture several steps have the same one.
    """
    diagram = diagram_of(None, state, known=known, most_nodes=most_nodes)
    picture = render(with_room(diagram))
    elements = dict(_elements(diagram, _paths(state, known)))
    return {
        "svg": without_style(picture.svg),
        "caption": diagram.caption,
        "condensed": diagram.condensed,
        "nodes": {path[0]: element for path, element in elements.items() if len(path) == 1},
        "inner": [[list(path), element] for path, element in elements.items() if len(path) > 1],
    }


def without_style(svg: str) -> str:
    """The same for a page that has the style."""
    return _STYLE.sub("", svg, count=1)


def with_room(diagram: Diagram) -> Diagram:
    """The same with nodes in which durations and counts of any moment have room; its caption is beside it."""
    return replace(diagram, nodes=tuple(map(_with_room, diagram.nodes)), caption="")


def _with_room(node: Node) -> Node:
    if node.members:
        return replace(node, lines=tuple(_all_counts(line, len(node.members)) for line in node.lines))
    return node if node.note else replace(node, note=_ROOM_FOR_TIME)


def _all_counts(line: Line, count: int) -> Line:
    """As wide as counts of three statuses at once."""
    return line if line.role != "counts" else replace(line, text=f"✓ {count:,}  ▶ {count:,}  ○ {count:,}")


def _elements(diagram: Diagram, paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    clusters = {cluster.id for cluster in diagram.clusters}
    elements = {node.id: node.id for node in diagram.nodes}
    elements |= {member: node.id for node in diagram.nodes for member in node.members}
    for path in paths:
        own = _own_id(path)
        element = f"cluster_{own}" if f"cluster_{own}" in clusters else elements.get(own)
        if element is not None:
            yield path, element


def _own_id(path: Path) -> str:
    undone = path[-1].removeprefix(COMPENSATION)
    return node_id(path) if undone == path[-1] else "compensate_" + node_id((*path[:-1], undone))


def _paths(state: RunState, known: Known) -> Iterator[Path]:
    """Where every step of a run stands, those of sub-workflows too, run or not."""
    yield from _defined(workflow_of(state.definition), ())
    for path, one in ((), state), *known.below.items():
        if one.definition is not None and path:
            yield from _defined(workflow_of(one.definition), path)
        yield from ((*path, step.step_id) for step in one.steps.values() if step.parent is None)


def _defined(flow: Workflow | None, path: Path) -> Iterator[Path]:
    for step in flow.steps if flow is not None else ():
        yield (*path, step.step_id)
        yield from _defined(step.workflow, (*path, step.step_id))
