"""What a step put on the record of its own: its decisions, with what supports them, and its evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from orchkit.analysis import standins
from orchkit.analysis.facts import Facts, evidence_ids
from orchkit.analysis.words import error_text, listing, plural, value_text
from orchkit.model.state import DecisionState, StepState

MAKERS = ("by the steps", "by hand", "by the engine")
"""By hand: whoever stepped into a run that was going on, or ended one that was cut off."""

_TOLD_ELSEWHERE = ("policy.selected", "condition", "skip", "retry", "map.expanded", "fork")
_TOLD_OF_RESUMING = ("rerun", "leave")


def lines(facts: Facts, step: StepState) -> Iterator[str]:
    """Its decisions, those of its own code first; then the evidence that supports none of them."""
    standin = standins.stand_in(facts, step)
    told = [
        one
        for one in facts.decisions.get(step.step_id, ())
        if not _is_told_elsewhere(one) and one is not standin
    ]
    for who in MAKERS:
        some = [decision for decision in told if maker(decision) == who]
        if some:
            yield f"{plural(len(some), 'decision')} {who}:"
            yield from (f"  {_decision(facts, decision)}" for decision in some)
    yield from _evidence(facts, step, told)


def _is_told_elsewhere(decision: DecisionState) -> bool:
    """Only of the engine: a step may use the same words for choices of its own."""
    if not decision.by_engine:
        return False
    told = decision.point == "resume" and decision.decision in _TOLD_OF_RESUMING
    return told or decision.point in _TOLD_ELSEWHERE


def maker(decision: DecisionState) -> str:
    """Who made a decision, in the words that are used wherever people read of it: one of `MAKERS`."""
    if not decision.by_engine:
        return "by the steps"
    return "by hand" if decision.point == "operator" else "by the engine"


def tally(found: Iterable[DecisionState]) -> list[str]:
    """How many were made by whom: ``2 decisions by the engine``, ``1 decision by the steps``."""
    counts = Counter(map(maker, found))
    return [f"{plural(counts[who], 'decision')} {who}" for who in reversed(MAKERS) if counts[who]]


def pieces(count: int, *, more: bool = False) -> str:
    """``2 pieces of evidence``, ``1 more piece of evidence``."""
    word = "more " if more else ""
    return plural(count, f"{word}piece of evidence", f"{word}pieces of evidence")


def supports(facts: Facts, decision: DecisionState) -> list[str]:
    """The evidence that a decision names: what it is, or its id where this run has no such evidence."""
    found = ((one, facts.evidence.get(one)) for one in evidence_ids(decision))
    return [piece(event.payload) if event is not None else one for one, event in found]


def piece(payload: Mapping[str, Any]) -> str:
    """``forecast from last four hours of the gauge, confidence 0.7``."""
    source, confidence = payload.get("source"), payload.get("confidence_score")
    text = str(payload.get("type", "evidence"))
    text += f" from {source}" if source else ""
    return text + (f", confidence {confidence:g}" if confidence is not None else "")


def _decision(facts: Facts, decision: DecisionState) -> str:
    text = f"{decision.point}: {error_text(decision.decision)}"
    text += f", because {error_text(decision.rationale)}" if decision.rationale else ""
    others = decision.payload.get("alternatives")
    if isinstance(others, list):
        shown = [other for other in map(value_text, others) if other != value_text(decision.decision)]
        text += f" (instead of {listing(shown)})" if shown else ""
    support = supports(facts, decision)
    return text + (f"; supported by {'; '.join(support)}" if support else "")


def _evidence(facts: Facts, step: StepState, told: list[DecisionState]) -> Iterator[str]:
    named = {one for decision in told for one in evidence_ids(decision)}
    mine = [event for event in facts.state.evidence if event.step_id == step.step_id]
    rest = [event for event in mine if event.payload.get("evidence_id") not in named]
    if rest:
        yield f"{pieces(len(rest), more=len(rest) < len(mine))}:"
        yield from (f"  {piece(event.payload)}" for event in rest)
