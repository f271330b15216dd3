"""What the nodes, edges and clusters of definitions and runs are."""

from __future__ import annotations

from typing import Any

import pytest

from orchkit.analysis.known import Known
from orchkit.model.workflow import Workflow
from orchkit.views.condense import MOST_GROUPS, MOST_PAIRS
from orchkit.views.diagram import Diagram, Node
from orchkit.views.picture import MOST_NODES, diagram_of, node_id


def _workflow(*steps: dict[str, Any], mode: str = "dag") -> Workflow:
    return Workflow.from_dict({"name": "w", "execution_mode": mode, "steps": steps})


def _node(diagram: Diagram, title: str) -> Node:
    return next(node for node in diagram.nodes if node.title == title)


def _edges(diagram: Diagram) -> set[tuple[str, str, str]]:
    return {(edge.source, edge.target, edge.kind) for edge in diagram.edges}


def test_the_picture_of_a_definition() -> None:
    """Ids and classes say which step it is and of which type; a definition has no statuses."""
    diagram = diagram_of(
        _workflow(
            {"id": "a", "tool": "t.a"},
            {"id": "b", "tool": "b", "depends_on": ["a"]},
            {
                "id": "c",
                "tool": "t.c",
                "params": {"x": "${steps.a.n}"},
                "when": "${steps.b.ok}",
                "node_type": "my label",
            },
        )
    )
    assert [(node.id, node.classes) for node in diagram.nodes[:2]] == [
        ("step_a", ("step", "type_task")),
        ("step_b", ("step", "type_task")),
    ]
    assert diagram.nodes[2].classes[1].startswith("type_my_label_")
    assert {node.status for node in diagram.nodes} == {None}
    assert [line.text for line in _node(diagram, "a").lines] == ["t.a"]
    assert _node(diagram, "b").lines == ()  # the tool is called like the step
    assert [line.text for line in _node(diagram, "c").lines] == ["my label · t.c", "if b.ok"]
    assert _edges(diagram) == {
        ("step_a", "step_b", "dependency"),
        ("step_a", "step_c", "data"),
        ("step_b", "step_c", "condition"),
    }
    assert diagram.caption == "w: 3 steps, dag"


def test_a_definition_may_be_a_mapping() -> None:
    """The definition as it stands in a record is drawn like the workflow itself."""
    flow = _workflow({"id": "a", "tool": "t"}, {"id": "b", "tool": "t"}, mode="sequential")
    assert diagram_of(flow.to_dict()) == diagram_of(flow)
    assert _edges(diagram_of(flow)) == {("step_a", "step_b", "order")}


def test_the_picture_of_a_run(recording: Any) -> None:
    """A run colours its nodes, counts attempts, tells how long it took, why it failed and how it chose."""
    flow = _workflow(
        {"id": "a", "tool": "t"},
        {"id": "b", "tool": "t", "depends_on": ["a"]},
        {"id": "c", "tool": "t", "when": "${steps.a.ok}"},
        {"id": "d", "tool": "t", "depends_on": ["b"]},
        {"id": "e", "tool": "t"},
    )
    run = recording().start(flow).ran("a", "t", ms=120).begin("b", "t")
    run.attempt("b", 1, "failed", error="ValueError: x").attempt("b", 2, "failed", error="ValueError: x")
    run.finish("b", "failed", "t", 2, error="ValueError: x")
    run.decided("c", "condition", "false").skipped("c", "its condition is false").begin("e", "t")
    run.add("progress", "e", fraction=0.4)
    diagram = diagram_of(None, run.state)
    assert {node.title: node.classes[-1] for node in diagram.nodes} == {
        "a": "status_success",
        "b": "status_failed",
        "c": "status_skipped",
        "d": "status_pending",
        "e": "status_running",
    }
    assert _node(diagram, "a").note == "120 ms"
    assert _node(diagram, "b").badges == ("try 2",)
    assert [line.text for line in _node(diagram, "b").lines] == ["t", "ValueError: x"]
    assert [line.text for line in _node(diagram, "c").lines] == ["t", "if a.ok → false"]
    assert _node(diagram, "e").note == "40%"
    idle = {edge.target: "edge_idle" in edge.classes for edge in diagram.edges}
    assert idle == {"step_b": False, "step_c": True, "step_d": True}
    assert diagram.caption == "w: 5 steps, dag, running"


def test_a_map_shows_its_items_as_counts(recording: Any) -> None:
    """The items of a map are one stacked node with how many succeeded and a tally by status."""
    flow = _workflow(
        {"id": "m", "tool": "t", "over": "${context.rows}"}, {"id": "n", "tool": "t", "over": [1, 2]}
    )
    assert [node.badges for node in diagram_of(flow).nodes] == [("×n",), ("×2",)]
    run = recording().start(flow).begin("m", "t", "map")
    run.ran("m[0]", parent="m").ran("m[1]", parent="m").failed("m[2]", "ValueError: x", parent="m")
    run.begin("m[3]", parent="m")
    node = _node(diagram_of(None, run.state), "m")
    assert (node.kind, node.badges) == ("map", ("2/4",))
    assert node.tally == (("success", 2), ("running", 1), ("failed", 1))
    assert "type_map" in node.classes


def test_compensations_are_drawn_where_they_can_and_where_they_did_happen(recording: Any) -> None:
    """A definition shows how a step is undone; a run only what was undone, else a sign that it could be."""
    flow = _workflow({"id": "a", "tool": "t", "compensate": "undo_a"})
    diagram = diagram_of(flow)
    assert _node(diagram, "undo: undo_a").kind == "compensation"
    assert _edges(diagram) == {("step_a", "compensate_step_a", "compensation")}
    run = recording().start(flow).ran("a")
    assert [(node.title, node.badges) for node in diagram_of(None, run.state).nodes] == [("a", ("↶",))]
    run.ran("compensate:a", "undo_a", node_type="compensation")
    undo = _node(diagram_of(None, run.state), "undo: undo_a")
    assert (undo.status, undo.classes) == ("success", ("compensation", "type_compensation", "status_success"))


def _nested() -> Workflow:
    inner = {"name": "inner", "steps": [{"id": "x", "tool": "t"}, {"id": "y", "tool": "t"}]}
    outer = {"name": "outer", "steps": [{"id": "p", "tool": "t"}, {"id": "q", "workflow": inner}]}
    return _workflow(
        {"id": "a", "tool": "t"},
        {"id": "s", "workflow": outer, "depends_on": ["a"], "when": "${steps.a.ok}"},
        {"id": "z", "tool": "t", "params": {"v": "${steps.s.p}"}},
        {"id": "empty", "workflow": {"name": "nothing"}},
    )


def test_sub_workflows_are_clusters() -> None:
    """A sub-workflow is drawn around its steps, at any depth; edges end at its border."""
    diagram = diagram_of(_nested())
    assert [(c.id, c.parent, c.badges) for c in diagram.clusters] == [
        ("cluster_step_s", None, ("if a.ok",)),
        (f"cluster_{node_id(('s', 'q'))}", "cluster_step_s", ()),
    ]
    assert {node.title: node.cluster for node in diagram.nodes} == {
        "a": None,
        "p": "cluster_step_s",
        "x": f"cluster_{node_id(('s', 'q'))}",
        "y": f"cluster_{node_id(('s', 'q'))}",
        "z": None,
        "empty": None,
    }
    ends = {(edge.source_cluster, edge.target_cluster) for edge in diagram.edges}
    assert (None, "cluster_step_s") in ends
    assert ("cluster_step_s", None) in ends
    assert _node(diagram, "empty").kind == "workflow"
    assert diagram.caption == "w: 4 steps (8 with sub-workflows), dag"


def test_runs_of_sub_workflows_colour_their_clusters(recording: Any) -> None:
    """The states of sub-runs, given by the path of their step, colour the steps inside."""
    run = recording().start(_nested()).ran("a").begin("s", "outer", "workflow")
    sub = recording("run_2").start("outer").ran("p")
    diagram = diagram_of(None, run.state, known=Known(below={("s",): sub.state}))
    assert {node.title: node.status for node in diagram.nodes} == {
        "a": "success", "p": "success", "x": "pending", "y": "pending", "z": "pending", "empty": "pending",
    }  # fmt: skip
    assert {c.title: c.status for c in diagram.clusters} == {"s": "running", "q": "pending"}


def test_a_run_without_a_definition_shows_its_steps_in_a_row(recording: Any) -> None:
    """Operations and orchestrators have no definition: their steps follow each other as they began."""
    run = recording().start("op", kind="orchestrator").ran("b").ran("a").ran("compensate:a", "undo")
    diagram = diagram_of(None, run.state)
    assert [node.title for node in diagram.nodes] == ["b", "a", "undo: undo"]
    assert _edges(diagram) == {
        ("step_b", "step_a", "order"),
        ("step_a", "compensate_step_a", "compensation"),
    }
    assert diagram_of(None, recording().start("op").state).nodes == ()


def test_an_unreadable_definition_is_drawn_from_the_record(recording: Any) -> None:
    """A definition of another version does not keep the run from being drawn."""
    definition = {"name": "w", "steps": [{"step_id": "a", "tool_name": "t"}], "from_the_future": True}
    run = recording().start("w", definition=definition).ran("a", "t")
    assert [(node.title, node.status) for node in diagram_of(None, run.state).nodes] == [("a", "success")]
    assert diagram_of(definition).caption == "a workflow that cannot be read: 0 steps"


def test_the_same_id_in_several_workflows_gives_several_nodes() -> None:
    """Ids come from the whole path, so that equal step ids of sub-workflows do not collide."""
    inner = {"name": "i", "steps": [{"id": "a", "tool": "t"}]}
    diagram = diagram_of(
        _workflow({"id": "a", "tool": "t"}, {"id": "s", "workflow": inner}, {"id": "s/a", "tool": "t"})
    )
    assert len({node.id for node in diagram.nodes}) == 3


# --- large ones ----------------------------------------------------------------------------


def _large(count: int, tools: int = 5) -> Workflow:
    steps: list[dict[str, Any]] = [{"id": "start", "tool": "start"}]
    for number in range(count - 1):
        source = "start" if number < 40 else f"s{number - 40}"
        tool = f"tool.{chr(97 + number % tools)}"
        steps.append({"id": f"s{number}", "tool": tool, "params": {"x": f"${{steps.{source}.v}}"}})
    return _workflow(*steps)


def _stands_for(node: Node) -> int:
    return int(node.badges[0].removeprefix("×")) if node.kind == "group" else 1


def test_a_large_graph_is_condensed_and_says_so(recording: Any) -> None:
    """Above the limit steps of a tool and depth become one node with counts; nothing gets lost."""
    flow = _large(400)
    run = recording().start(flow).ran("start").failed("s0", "ValueError: x", "tool.a").ran("s5", "tool.a")
    diagram = diagram_of(None, run.state)
    assert diagram.condensed
    assert "condensed: 400 steps drawn as" in diagram.caption
    assert sum(map(_stands_for, diagram.nodes)) == 400
    first = next(node for node in diagram.nodes if node.tool == "tool.a")
    assert (first.status, first.tally) == ("failed", (("success", 1), ("failed", 1), ("pending", 6)))
    assert [line.text for line in first.lines] == ["level 2", "✓ 1  ✗ 1  ○ 6"]
    edge = next(edge for edge in diagram.edges if edge.target == first.id)
    assert (edge.source, edge.label) == ("step_start", "8")


@pytest.mark.parametrize(("count", "condensed"), [(MOST_NODES, False), (MOST_NODES + 1, True)])
def test_where_condensing_begins(count: int, condensed: bool) -> None:
    """Up to the limit every step is drawn."""
    assert diagram_of(_large(count)).condensed is condensed
    assert not diagram_of(_large(count), most_nodes=10_000).condensed


@pytest.mark.parametrize("tools", [1, 7, 10_000])
def test_ten_thousand_steps_stay_few_nodes(tools: int) -> None:
    """Whatever the shape and the number of tools, the condensed picture is small and quickly made."""
    chain = [
        {"id": f"c{n}", "tool": f"t{n % tools}x", "depends_on": [f"c{n - 1}"] if n else []}
        for n in range(5000)
    ]
    loose = [{"id": f"l{n}", "tool": f"t{n % tools}x"} for n in range(5000)]
    diagram = diagram_of(_workflow(*chain, *loose))
    assert diagram.condensed
    assert len(diagram.nodes) <= MOST_GROUPS
    assert len({node.id for node in diagram.nodes}) == len(diagram.nodes)


def test_a_dense_graph_is_condensed_until_it_can_be_read() -> None:
    """Not only many steps, many edges are condensed, too; and further than the number of steps asks for."""
    steps = [
        {"id": f"s{n}", "tool": f"t{n % 12}x", "depends_on": [f"s{m}" for m in range(max(0, n - 20), n)]}
        for n in range(400)
    ]
    diagram = diagram_of(_workflow(*steps))
    assert len(diagram.edges) <= MOST_PAIRS
    few = diagram_of(_workflow(*steps[:60]))
    assert few.condensed
    assert sum(map(_stands_for, few.nodes)) == 60


def test_numbered_names_are_grouped_by_what_is_before_the_number() -> None:
    """Where all steps call one tool, or each its own, their names without numbers make the groups."""
    steps = [{"id": f"align_ID{n:04}", "tool": "play"} for n in range(100)]
    steps += [{"id": f"merge_{n}", "tool": "play", "depends_on": [f"align_ID{n:04}"]} for n in range(100)]
    assert [(n.title, n.badges) for n in diagram_of(_workflow(*steps)).nodes] == [
        ("align", ("×100",)),
        ("merge", ("×100",)),
    ]
