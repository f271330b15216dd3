"""How a comparison of two runs shows itself: where they part, what differs, and the rest folded away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from orchkit.analysis.aligned import DecisionPair, EvidencePair, Side, StepPair
from orchkit.analysis.diff import TAKEN_OUT, Cause, Change, Diff, evidence_data, of_evidence
from orchkit.analysis.difftext import because, before, headline, ratio, value_text_of
from orchkit.analysis.facts import Facts, span_ms
from orchkit.analysis.known import Path
from orchkit.analysis.words import clean, duration, plural, sentence, shorten
from orchkit.model.differences import MISSING
from orchkit.model.event import Event
from orchkit.model.state import DecisionState, StepState
from orchkit.views.cards import (
    Cell,
    Html,
    card,
    code,
    details,
    html,
    moment,
    muted,
    note,
    short_json,
    status_chip,
    table,
)
from orchkit.views.comparison import Comparison
from orchkit.views.dag import Dag
from orchkit.views.diagram import Diagram
from orchkit.views.picture import node_id
from orchkit.views.workflowcards import picture

_MOST_ROWS = 100
_MOST_PLACES = 4
_LONGEST_VALUE = 110
_LONGEST_DIFF = 12_000
_WORDS: Mapping[Cause, str] = {
    "context": "given", "definition": "definition", "code": "code", "presence": "only in one",
    "parameters": "parameters", "evidence": "evidence", "decision": "decision",
    "output": "output", "status": "status", "attempts": "attempts",
}  # fmt: skip


def of_comparison(comparison: Any) -> dict[str, str]:
    """The two runs, where they part, their picture, what differs; all steps and decisions folded away."""
    assert isinstance(comparison, Comparison)
    try:
        body = _card(comparison)
        told = str(comparison.explain())
    except Exception as error:  # showing never raises: it says what was wrong
        return {"text/html": card("Comparison", [], note(f"cannot be shown: {error}"))}
    return {"text/plain": clean_lines(told), "text/html": body}


def clean_lines(text: str) -> str:
    """Several lines, each fit for a terminal."""
    return "\n".join(clean(line) for line in text.split("\n"))


def _card(comparison: Comparison) -> Html:
    diff = comparison.diff
    head = status_chip("success", "alike") if comparison.same else status_chip("partial", "they differ")
    names = dict.fromkeys(side.state.name or side.state.run_id for side in (diff.a, diff.b))
    return card(
        " and ".join(names),
        [],
        _sides(diff),
        note(headline(diff), "success" if comparison.same else "partial"),
        _before(diff),
        *_pictures(comparison),
        _differences(diff),
        *_folded(comparison),
        head=head,
    )


def _sides(diff: Diff) -> Html:
    rows = [_side("A", diff.a), _side("B", diff.b)]
    return table(rows, ("", "run", "status", "started", "took"), right=("took",))


def _side(name: str, side: Side) -> list[Cell]:
    state = side.state
    took = span_ms(state.started_us, state.finished_us)
    return [
        Html(f"<b>{name}</b>"),
        code(state.run_id),
        status_chip(Facts(state, side.known).run_standing),
        moment(state.started_us),
        duration(took) if took is not None else "",
    ]


def _before(diff: Diff) -> Html:
    lines = before(diff)
    if not lines:
        return Html("")
    shown = "".join(f"<li>{html(shorten(line, 400))}</li>" for line in lines)
    return Html(f'<div style="margin:2px 0">Before that:<ul style="margin:2px 0">{shown}</ul></div>')


# --- the pictures --------------------------------------------------------------------------


def _pictures(comparison: Comparison) -> Iterator[Html]:
    """One picture where both have the same steps, else that of each; what differs is marked."""
    diff = comparison.diff
    if not diff.steps:
        return
    one_sided = any(pair.a is None or pair.b is None for pair in diff.steps if len(pair.path) == 1)
    for name, side, run in (("A", diff.a, comparison.a), ("B", diff.b, comparison.b)):
        if name == "A" and not one_sided:
            continue
        drawn = Dag(marked(run.dag_of(side.state, side.known).diagram, diff))
        yield muted(f"{name}: what differs is marked" if one_sided else "B; what differs from A is marked")
        yield picture(drawn)


def marked(diagram: Diagram, diff: Diff) -> Diagram:
    """The diagram with a badge and a thick border at each step that differs."""
    marks = dict(_marks(diff))
    nodes = tuple(
        replace(node, badges=(*node.badges, marks[node.id]), classes=(*node.classes, "differs"))
        if node.id in marks
        else node
        for node in diagram.nodes
    )
    clusters = tuple(
        # the sign alone: beside the title of a cluster there is little room
        replace(one, badges=(*one.badges, found[0]), classes=(*one.classes, "differs"))
        if (found := marks.get(one.id.removeprefix("cluster_")))
        else one
        for one in diagram.clusters
    )
    return replace(diagram, nodes=nodes, clusters=clusters)


def _marks(diff: Diff) -> Iterator[tuple[str, str]]:
    """By the id of a node what to write on it; items are drawn as their map, which they mark with it."""
    parting = diff.parting or diff.first
    for path, causes in reversed(list(diff.differing.items())):
        sign = "◆" if parting is not None and parting.path == path else "≠"
        yield node_id(_drawn(diff, path)), f"{sign} {_WORDS[causes[0]]}"
    if parting is not None and parting.path:
        yield node_id(_drawn(diff, parting.path)), f"◆ {_WORDS[parting.cause]}"


def _drawn(diff: Diff, path: Path) -> Path:
    pair = diff.step.get(path)
    step = (pair.b or pair.a) if pair is not None else None
    return (*path[:-1], step.top) if step is not None and step.node_type != "call" else path


# --- what differs --------------------------------------------------------------------------


def _differences(diff: Diff) -> Html:
    if not diff.changes:
        return Html("")
    groups = [list(several) for _, several in groupby(diff.changes, lambda one: (one.path, one.cause))]
    rows = (_group(diff, several) for several in groups[:_MOST_ROWS])
    return table(rows, ("step", "what", "where", "A", "B"), most=_MOST_ROWS, total=len(groups))


def _group(diff: Diff, several: Sequence[Change]) -> list[Cell]:
    """The places of one cause at one step, one below the other; of many the first."""
    first, shown = several[0], several[:_MOST_PLACES]
    left = len(several) - len(shown)
    more = Html(f"<br>… and {left:,} more") if left else Html("")
    what: Cell = _WORDS[first.cause]
    if diff.parting is not None and diff.parting.changes[0] is first:
        what = Html(f"<b>◆ {html(what)}</b>")
    return [
        first.step or "the run",
        what,
        Html("<br>".join(_place(one) for one in shown) + more),
        Html("<br>".join(_value(one, one.a) for one in shown)),
        Html("<br>".join(_value(one, one.b) for one in shown)),
    ]


def _place(change: Change) -> Html:
    return html("" if change.place == change.cause else shorten(change.place, 60))


def _value(change: Change, value: Any) -> Html:
    if value is MISSING:
        return Html("–")
    if value is TAKEN_OUT:
        return html(repr(value))
    if change.cause in ("status", "presence") and change.place != "error":
        return status_chip(str(value))
    if change.cause == "code":
        return code(str(value)[:12])
    if change.cause in ("decision", "attempts"):
        return html(shorten(value, _LONGEST_VALUE))
    return code(short_json(value, _LONGEST_VALUE), _LONGEST_VALUE)


# --- folded away ---------------------------------------------------------------------------


def _folded(comparison: Comparison) -> Iterator[Html]:
    diff = comparison.diff
    for tool, change in list(comparison.code_changes().items())[:_MOST_ROWS]:
        yield details(f"The code of {shorten(tool, 80)}", _source(change))
    told = [pair for pair in diff.decisions if pair.a or pair.b]
    if told:
        rows = (_decision(diff, pair) for pair in told[:_MOST_ROWS])
        columns: tuple[str, ...] = ("", "step", "decision", "A", "B", "because")
        shown = table(rows, columns, most=_MOST_ROWS, total=len(told), drop_empty=True)
        yield details(plural(len(told), "decision"), shown)
    if diff.evidence:
        pieces = (_piece(pair) for pair in diff.evidence[:_MOST_ROWS])
        columns = ("", "step", "evidence", "A", "B", "source", "confidence")
        shown = table(pieces, columns, most=_MOST_ROWS, total=len(diff.evidence), drop_empty=True)
        yield details(f"{plural(len(diff.evidence), 'piece')} of evidence", shown)
    if diff.steps:
        steps = (_step(diff, pair) for pair in diff.steps[:_MOST_ROWS])
        columns = ("", "step", "A", "B", "attempts A", "B ", "took A", "B  ", "")
        right = ("attempts A", "B ", "took A", "B  ")
        shown = table(steps, columns, right=right, most=_MOST_ROWS, total=len(diff.steps))
        yield details(f"{plural(len(diff.steps), 'step')}, and what each took", shown)


def _source(change: str) -> Html:
    """A unified diff; added and removed lines have a colour beside their sign."""
    colours = {"+": "#009E73", "-": "#D55E00"}
    lines = []
    for line in change[:_LONGEST_DIFF].split("\n"):
        colour = colours.get(line[:1])
        style = f"border-left:3px solid {colour or 'transparent'};padding-left:6px"
        lines.append(f'<div style="{style}">{_code_line(line)}</div>')
    return Html(f'<pre style="margin:4px 0;background-color:transparent">{"".join(lines)}</pre>')


def _code_line(line: str) -> str:
    """Its indentation kept: `clean` alone would not change it, only what a page cannot take."""
    return html(line) or "&#8203;"


def _decision(diff: Diff, pair: DecisionPair) -> list[Cell]:
    differs = _chosen(pair.a) != _chosen(pair.b)
    number = f" ({pair.occurrence})" if pair.occurrence > 1 else ""
    return [
        "" if not differs else "·" if pair.effort else "≠",
        "/".join(pair.path) or "the run",
        pair.point + number,
        _chosen(pair.a),
        _chosen(pair.b),
        sentence(because(diff, pair)) if differs and not pair.effort else "",
    ]


def _piece(pair: EvidencePair) -> list[Cell]:
    """What stands in it; where both have the same it is told once."""
    pieces = (pair.a, pair.b)
    differs = any(of_evidence(pair))
    return [
        "" if not differs else "·" if pair.effort else "≠",
        "/".join(pair.path) or "the run",
        pair.name,
        *(Html("–") if one is None else _data(one) for one in pieces),
        _both(*(one and one.payload.get("source") for one in pieces)),
        _both(*(one and one.payload.get("confidence_score") for one in pieces)),
    ]


def _data(event: Event) -> Html:
    return code(short_json(evidence_data(event), _LONGEST_VALUE), _LONGEST_VALUE)


def _both(a: Any, b: Any) -> str:
    """``ledger``, or ``ledger → bank`` where the second run has another."""
    said = [shorten(one, 60) for one in (a, b) if one is not None]
    return " → ".join(dict.fromkeys(said))


def _chosen(decision: DecisionState | None) -> str:
    return "–" if decision is None else value_text_of(decision.decision)


def _step(diff: Diff, pair: StepPair) -> list[Cell]:
    took = [_took(pair.a), _took(pair.b)]
    return [
        "≠" if pair.path in diff.differing else "",
        pair.name,
        *(_chip(side, step) for side, step in ((diff.a, pair.a), (diff.b, pair.b))),
        *(str(len(step.attempts) or "") if step is not None else "" for step in (pair.a, pair.b)),
        *(duration(one) if one is not None else "" for one in took),
        ratio(*took).strip(" ()"),
    ]


def _chip(side: Side, step: StepState | None) -> Cell:
    return "–" if step is None else status_chip(Facts(side.state, side.known).standing(step.status))


def _took(step: StepState | None) -> float | None:
    if step is None or step.source is not None or step.status == "skipped":
        return None
    return span_ms(step.scheduled_us, step.finished_us)
