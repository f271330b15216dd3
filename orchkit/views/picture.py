"""Records to a diagram: what the nodes, edges and clusters of a workflow are, and how a run coloured them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from orchkit.analysis.facts import Facts, span_ms
from orchkit.analysis.known import NOTHING, Known, Path
from orchkit.analysis.links import Link, links, workflow_of
from orchkit.analysis.origins import source_of, was_given
from orchkit.analysis.references import plain_condition
from orchkit.analysis.runstory import is_doubtful
from orchkit.analysis.standins import stand_in
from orchkit.analysis.words import clean, duration, plural, shorten
from orchkit.model.state import RunState, StepState
from orchkit.model.workflow import StepDefinition, Workflow
from orchkit.views.condense import condensed
from orchkit.views.diagram import Cluster, Diagram, Edge, EdgeKind, Line, Node
from orchkit.views.palette import BY_PROGRESS
from orchkit.views.text import slug, status_class

MOST_NODES = 150
"""With more nodes than this a condensed picture is drawn."""
MOST_EDGES = 600
"""With more edges than this, too."""

_ORIGINS = {"fork": "shared", "cache": "cached"}
_PLAIN_TYPES = ("", "task", "map", "workflow", "compensation")


def diagram_of(
    workflow: Workflow | Mapping[str, Any] | None,
    state: RunState | None = None,
    *,
    known: Known = NOTHING,
    most_nodes: int = MOST_NODES,
) -> Diagram:
    """The diagram of a definition, or of a run when a state is given.

    Without a workflow the state's own definition is drawn, and without that its steps in their order: those
    of an orchestrator within its pipeline. Sub-workflows are coloured as far as their runs are ``known``.
    Takes time in proportion to the number of steps and references.
    """
    flow = workflow_of(workflow) or (workflow_of(state.definition) if state is not None else None)
    draft = _Draft(known)
    if flow is not None:
        draft.add_workflow(flow, (), state)
        title = flow.name
    else:
        draft.add_bare_run(state or RunState())
        title = (state.name or state.run_id) if state is not None else "a workflow that cannot be read"
    diagram = draft.diagram(clean(title) or "workflow", flow, state)
    if len(diagram.nodes) > most_nodes or len(diagram.edges) > MOST_EDGES:
        return condensed(diagram)
    return diagram


def node_id(path: Path) -> str:
    """The identifier of a step's node; the same in every picture of the step."""
    return "step_" + slug("/".join(part.replace("/", "//") for part in path))


@dataclass(slots=True)
class _Anchor:
    """Where edges into and out of a step end: at its node, or at the border of its cluster."""

    first: str
    last: str
    cluster: str | None = None


@dataclass(slots=True)
class _Draft:
    """A diagram in the making."""

    known: Known
    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    clusters: list[Cluster] = field(default_factory=list)
    steps: int = 0

    def diagram(self, title: str, flow: Workflow | None, state: RunState | None) -> Diagram:
        """What has been gathered."""
        words = [plural(self.steps, "step")]
        if flow is not None:
            own = len(flow.steps)
            words = [
                plural(own, "step") + (f" ({self.steps:,} with sub-workflows)" if own < self.steps else "")
            ]
            words.append(flow.execution_mode)
        if state is not None:
            facts = self._facts(state)
            if flow is None and facts.pipeline is not None and len(facts.own_steps) > 1:
                words = [plural(len(facts.own_steps) - 1, "workflow")]
            words.append(facts.run_standing)
            if state.forked_from is not None:
                words.append(f"forked from {state.forked_from.get('run_id')}")
        caption = clean(f"{title}: {', '.join(words)}")
        return Diagram(title, tuple(self.nodes), tuple(self.edges), tuple(self.clusters), caption)

    def _facts(self, state: RunState) -> Facts:
        return Facts(state, self.known)

    # --- a definition, with or without a run -------------------------------------------------

    def add_workflow(
        self, flow: Workflow, path: Path, state: RunState | None, cluster: str | None = None
    ) -> dict[str, _Anchor]:
        """The steps of a workflow and what connects them; at any depth of sub-workflows."""
        facts = self._facts(state) if state is not None else None
        anchors: dict[str, _Anchor] = {}
        for step in flow.steps:
            anchors[step.step_id] = self._add_step(step, (*path, step.step_id), facts, cluster)
        for link in links(flow):
            self._add_link(link, anchors, facts)
        for step in flow.steps:
            if step.compensate is not None:
                self._add_compensation(step, (*path, step.step_id), anchors[step.step_id], facts, cluster)
        return anchors

    def _add_step(
        self, step: StepDefinition, path: Path, facts: Facts | None, cluster: str | None
    ) -> _Anchor:
        self.steps += 1
        state = facts.state.steps.get(step.step_id, StepState(step.step_id)) if facts is not None else None
        node = _node(step, path, state, facts, cluster)
        if step.workflow is None or not step.workflow.steps:
            self.nodes.append(node)
            return _Anchor(node.id, node.id)
        self.clusters.append(
            Cluster(
                f"cluster_{node.id}",
                node.title,
                node.status,
                (*_conditions(node), *node.badges),
                node.note,
                node.tooltip,
                ("cluster", *node.classes),
                cluster,
            )
        )
        sub_state = self._sub_state(path, state)
        inner = self.add_workflow(step.workflow, path, sub_state, f"cluster_{node.id}")
        return _Anchor(*_ends(step.workflow, inner), f"cluster_{node.id}")

    def _sub_state(self, path: Path, state: StepState | None) -> RunState | None:
        if state is None:
            return None
        return self.known.below.get(path) or RunState()

    def _add_link(self, link: Link, anchors: Mapping[str, _Anchor], facts: Facts | None) -> None:
        source, target = anchors[link.source], anchors[link.target]
        words = {
            "data": "uses " + ", ".join(link.references),
            "condition": "when " + ", ".join(link.references),
            "dependency": "waits for " + link.source,
            "order": "comes after " + link.source,
        }
        taken = [] if facts is None or _was_taken(link, facts) else ["edge_idle"]
        self._add_edge(source, target, link.kind, words[link.kind], taken)

    def _add_edge(
        self, source: _Anchor, target: _Anchor, kind: EdgeKind, tooltip: str, more: Iterable[str] = ()
    ) -> None:
        self.edges.append(
            Edge(
                f"edge_{source.cluster or source.last}_{target.cluster or target.first}",
                source.last,
                target.first,
                kind,
                tooltip=shorten(tooltip, 300),
                classes=("edge", f"edge_{kind}", *more),
                source_cluster=source.cluster,
                target_cluster=target.cluster,
            )
        )

    def _add_compensation(
        self,
        step: StepDefinition,
        path: Path,
        anchor: _Anchor,
        facts: Facts | None,
        cluster: str | None = None,
    ) -> None:
        """Drawn where it could happen (a definition) and where it did (a run)."""
        state = facts.compensations.get(step.step_id) if facts is not None else None
        assert step.compensate is not None
        if facts is not None and state is None:
            return
        tool = step.compensate.tool_name
        status = _standing(state, facts)
        node = Node(
            "compensate_" + node_id(path),
            f"undo: {clean(tool)}",
            "compensation",
            status,
            lines=_error_lines(state),
            badges=_attempt_badges(state, facts),
            note=_took(state),
            tooltip=_tooltip(f"undoes {step.step_id}", tool, state, facts),
            classes=_classes("compensation", "compensation", status),
            cluster=cluster,
            tool=tool,
        )
        self.nodes.append(node)
        self._add_edge(anchor, _Anchor(node.id, node.id), "compensation", f"undoes {step.step_id}")

    # --- a run without a definition ----------------------------------------------------------

    def add_bare_run(self, state: RunState) -> None:
        """The steps of an operation or an orchestrator, one after the other as they were scheduled."""
        facts = self._facts(state)
        steps = sorted(facts.own_steps, key=lambda step: step.scheduled_us or 0)
        pipeline = facts.pipeline if len(steps) > 1 else None
        cluster = self._add_pipeline(pipeline, facts) if pipeline is not None else None
        shown = [step for step in steps if step is not pipeline]
        anchors = [self._add_step(self._bare(step), (step.step_id,), facts, cluster) for step in shown]
        for (one, before), (other, after) in pairwise(zip(shown, anchors, strict=True)):
            if pipeline is None or _ended_before(one, other):
                self._add_edge(before, after, "order", "comes after")
        for undone, step in facts.compensations.items():
            definition = StepDefinition(step_id=undone, tool_name="", compensate={"tool": step.name})  # type: ignore[arg-type]
            anchor = _Anchor(node_id((undone,)), node_id((undone,)))
            self._add_compensation(definition, (undone,), anchor, facts)

    def _add_pipeline(self, step: StepState, facts: Facts) -> str:
        """A frame around what the pipeline of an orchestrator ran; its id."""
        self.steps += 1
        node = _node(_bare_step(step), (step.step_id,), step, facts, None)
        frame = Cluster(
            f"cluster_{node.id}",
            node.title,
            node.status,
            node.badges,
            node.note,
            node.tooltip,
            ("cluster", *node.classes),
        )
        self.clusters.append(frame)
        return frame.id

    def _bare(self, step: StepState) -> StepDefinition:
        """A definition for a step that has none; of a workflow that was run, its own."""
        below = self.known.below.get((step.step_id,))
        flow = workflow_of(below.definition) if below is not None else None
        return _bare_step(step) if flow is None else StepDefinition(step_id=step.step_id, workflow=flow)


def _bare_step(step: StepState) -> StepDefinition:
    return StepDefinition(step_id=step.step_id, tool_name=step.name, node_type=step.node_type or "task")


def _ended_before(one: StepState, other: StepState) -> bool:
    ended, began = one.finished_us, other.scheduled_us
    return ended is not None and began is not None and ended <= began


def _ends(flow: Workflow, anchors: Mapping[str, _Anchor]) -> tuple[str, str]:
    """A node of the cluster that edges into it reach, and one that edges out of it leave."""
    return anchors[flow.steps[0].step_id].first, anchors[flow.steps[-1].step_id].last


def _was_taken(link: Link, facts: Facts) -> bool:
    """Whether the run went along this edge: the source succeeded and the target began."""
    steps = facts.state.steps
    source, target = steps.get(link.source), steps.get(link.target)
    if source is None or target is None or source.status != "success":
        return False
    return target.status not in ("pending", "skipped")


# --- what a node says ----------------------------------------------------------------------


def _node(
    step: StepDefinition, path: Path, state: StepState | None, facts: Facts | None, cluster: str | None
) -> Node:
    status = _standing(state, facts)
    kind = "map" if step.is_map else "workflow" if step.workflow is not None else "step"
    items = facts.items.get(step.step_id, []) if facts is not None else []
    tool = step.tool_name or (step.workflow.name if step.workflow is not None else "")
    tally = _tally(items, facts)
    return Node(
        node_id(path),
        clean(step.step_id),
        kind,  # type: ignore[arg-type]
        status,
        lines=(*_tool_lines(step, tool), *_condition_lines(step, facts), *_error_lines(state)),
        badges=(*_map_badges(step, tally, state), *_attempt_badges(state, facts), *_undo_badges(step, facts)),
        note=_origin(state, facts) or _took(state),
        tally=tally,
        tooltip=_tooltip(step.step_id, tool, state, facts, step),
        classes=(
            *_classes("step", step.node_type if step.node_type != "task" else kind, status),
            *(("reused",) if _origin(state, facts) else ()),
        ),
        cluster=cluster,
        tool=tool,
    )


def _standing(state: StepState | None, facts: Facts | None) -> str | None:
    return facts.standing(state.status) if state is not None and facts is not None else None


def _classes(what: str, node_type: str, status: str | None) -> tuple[str, ...]:
    node_type = "task" if node_type == "step" else node_type
    classes = (what, f"type_{slug(node_type)}")
    return classes if status is None else (*classes, status_class(status))


def _tool_lines(step: StepDefinition, tool: str) -> tuple[Line, ...]:
    label = "" if step.node_type in _PLAIN_TYPES else step.node_type
    if step.workflow is not None and not label:
        label = "workflow"
    shown = "" if tool == step.step_id and not label else tool
    text = " · ".join(part for part in (label, shown) if part)
    return (Line(clean(text), "tool"),) if text else ()


def _condition_lines(step: StepDefinition, facts: Facts | None) -> tuple[Line, ...]:
    if not step.when:
        return ()
    text = f"if {clean(plain_condition(step.when)).replace('steps.', '')}"
    decision = facts.decided(step.step_id, "condition") if facts is not None else None
    return (Line(f"{text} → {decision.decision}" if decision is not None else text, "condition"),)


def _conditions(node: Node) -> tuple[str, ...]:
    """A cluster has no lines below its title: its condition stands beside it."""
    return tuple(shorten(line.text, 40) for line in node.lines if line.role == "condition")


def _error_lines(state: StepState | None) -> tuple[Line, ...]:
    if state is None or state.status != "failed" or not state.error:
        return ()
    return (Line(shorten(state.error, 120), "error"),)


def _map_badges(
    step: StepDefinition, tally: tuple[tuple[str, int], ...], state: StepState | None
) -> tuple[str, ...]:
    if not step.is_map:
        return ()
    total = sum(count for _, count in tally)
    if not total and state is not None and state.status == "success" and isinstance(state.output, list):
        return (f"×{len(state.output)}",)  # the items are those of another run
    if not total:
        return (f"×{len(step.over)}",) if isinstance(step.over, list) else ("×n",)
    return (f"{dict(tally).get('success', 0)}/{total}",)


def _attempt_badges(state: StepState | None, facts: Facts | None) -> tuple[str, ...]:
    if state is None:
        return ()
    tries = len(state.attempts)
    found = (f"try {tries}",) if tries > 1 else ()
    doubts = sum(attempt.status == "in_doubt" for attempt in state.attempts)
    if facts is not None and stand_in(facts, state) is not None:
        found = (*found, "fallback")
    if facts is not None and facts.cut_off and is_doubtful(state):
        return (*found, "in doubt")
    return (*found, f"{doubts} in doubt") if doubts else found


def _origin(state: StepState | None, facts: Facts | None) -> str:
    """Where a result comes from that is not the step's own, in one word."""
    if state is None or facts is None or state.status != "success":
        return ""
    if state.source is not None:
        return _ORIGINS.get(state.source.get("how", ""), "reused")
    return "given" if was_given(facts, state) else ""


def _undo_badges(step: StepDefinition, facts: Facts | None) -> tuple[str, ...]:
    """A sign that the step could be undone, where the compensation itself is not drawn."""
    if step.compensate is None or facts is None or step.step_id in facts.compensations:
        return ()
    done = facts.state.steps.get(step.step_id)
    return ("↶",) if done is not None and done.status == "success" else ()


def _took(state: StepState | None) -> str:
    if state is None:
        return ""
    if state.status == "running" and state.progress is not None:
        return f"{state.progress:.0%}"
    if state.status == "skipped":
        return ""
    took = span_ms(state.scheduled_us, state.finished_us)
    return "" if took is None else duration(took)


def _tally(items: Iterable[StepState], facts: Facts | None) -> tuple[tuple[str, int], ...]:
    if facts is None:
        return ()
    counts = facts.counted(items)
    return tuple((status, counts[status]) for status in BY_PROGRESS if counts[status])


def _tooltip(
    what: str,
    tool: str,
    state: StepState | None,
    facts: Facts | None,
    step: StepDefinition | None = None,
) -> str:
    parts = [what + (f" calls {tool}" if tool and tool != what else "")]
    if state is not None:
        parts.append(_standing(state, facts) or state.status)
        if state.attempts:
            parts.append(plural(len(state.attempts), "attempt"))
        source = source_of(state)
        parts += [f"result of {source}"] if source is not None else []
        parts += [text for text in (_took(state), state.reason, state.error) if text]
    if step is not None and step.when:
        parts.append(f"if {step.when}")
    if step is not None and step.description:
        parts.append(step.description)
    return shorten(" · ".join(parts), 300)
