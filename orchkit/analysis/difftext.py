"""What two runs differ in, in plain words: B is told by what it did instead of A."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from orchkit.analysis.aligned import DecisionPair
from orchkit.analysis.diff import TAKEN_OUT, Cause, Change, Diff, Divergence, of_evidence
from orchkit.analysis.facts import evidence_ids, span_ms
from orchkit.analysis.references import plain_condition
from orchkit.analysis.words import duration, error_text, listing, plural, sentence, value_text
from orchkit.errors import Difference
from orchkit.model.differences import MISSING, differences
from orchkit.model.state import DecisionState, StepState

_MOST = 3
_MOST_STEPS = 8


def story(diff: Diff) -> Iterator[str]:
    """Where the runs part and what came before, then what else differs; one sentence per line."""
    yield headline(diff)
    earlier = before(diff)
    if earlier:
        yield "Before that:"
        yield from (f"  {line}" for line in earlier)
    names = ["/".join(path) for path in diff.differing]
    if names:
        of = plural(len(diff.steps), "step")
        yield f"{len(names):,} of {of} differ: {listing(names, most=_MOST_STEPS)}."
    yield from effort(diff)


def headline(diff: Diff) -> str:
    """The first decision in which they part; without one the first thing in which they differ."""
    found = diff.parting or diff.first
    if found is None:
        return "The runs are alike: the same definition, code, parameters, evidence, decisions and outputs."
    return sentence(told(diff, found))


def before(diff: Diff) -> list[str]:
    """What differed before the decision in which they part, the first of it."""
    if diff.parting is None:
        return []
    earlier = diff.divergences[: diff.divergences.index(diff.parting)]
    lines = [told(diff, one) for one in earlier[:_MOST]]
    left = len(earlier) - len(lines)
    return [*lines, f"and {plural(left, 'more difference')}"] if left else lines


def effort(diff: Diff) -> Iterator[str]:
    """What cost more or less; that is no divergence."""
    took = [span_ms(side.state.started_us, side.state.finished_us) for side in (diff.a, diff.b)]
    if took[0] is not None and took[1] is not None:
        yield f"B took {duration(took[1])}, A {duration(took[0])}{ratio(took[0], took[1])}."
    for one in diff.changes:
        if one.cause == "attempts":
            yield f"{one.step} took {plural(one.b, 'attempt')} in B, {one.a:,} in A."


def ratio(a: float | None, b: float | None) -> str:
    """`` (×1.6)``: how many times as long B took; nothing where that cannot be said."""
    return f" (×{b / a:.2g})" if a and b is not None and a > 0 else ""


def told(diff: Diff, one: Divergence) -> str:
    """A divergence as a clause."""
    return _TELL[one.cause](diff, one)


def _context(diff: Diff, one: Divergence) -> str:
    return f"B was given another context: {_places(one.changes)}"


def _definition(diff: Diff, one: Divergence) -> str:
    what = f"step '{one.step}' is" if one.path else "the workflow is"
    return f"{what} defined otherwise in B: {_places(one.changes)}"


def _code(diff: Diff, one: Divergence) -> str:
    tool = one.changes[0].place
    return f"step '{one.step}' ran other code in B" + (f": {tool}" if tool != one.path[-1] else "")


def _presence(diff: Diff, one: Divergence) -> str:
    only = "A" if one.changes[0].b is MISSING else "B"
    return f"only {only} has the step '{one.step}'"


def _parameters(diff: Diff, one: Divergence) -> str:
    return f"step '{one.step}' got other parameters in B: {_places(one.changes)}"


def _evidence(diff: Diff, one: Divergence) -> str:
    several, first = one.changes, one.changes[0]
    if len(several) == 1 and MISSING in (first.a, first.b):
        only, data = ("B", first.b) if first.a is MISSING else ("A", first.a)
        return f"only {only} has evidence '{first.place}' at step '{one.step}': {value_text_of(data)}"
    return f"step '{one.step}' had other evidence in B: {_places(several)}"


def _decision(diff: Diff, one: Divergence) -> str:
    pair = one.changes[0].decision
    assert pair is not None
    where = f" of step '{one.step}'" if one.path else ""
    number = f" (number {pair.occurrence})" if pair.occurrence > 1 else ""
    return f"the runs part at decision '{pair.point}'{where}{number}: {chosen(pair)}, {because(diff, pair)}"


def _output(diff: Diff, one: Divergence) -> str:
    if any(one.path in side.given for side in (diff.a, diff.b)):
        return f"step '{one.step}' was given another output in B: {_places(one.changes)}"
    given = "parameters" in diff.differing.get(one.path, ()) or "code" in diff.differing.get(one.path, ())
    though = "" if given else ", from the same parameters and code"
    return f"step '{one.step}' returned something else in B{though}: {_places(one.changes)}"


def _status(diff: Diff, one: Divergence) -> str:
    change = one.changes[0]
    if change.a is TAKEN_OUT:
        return f"step '{one.step}' failed with another error in B, which is taken out here"
    if change.place == "error":
        errors = f"{error_text(change.b)} instead of {error_text(change.a)}"
        return f"step '{one.step}' failed with another error in B: {errors}"
    pair = diff.step.get(one.path)
    what = f"step '{one.step}'" if one.path else "the run"
    return f"{what} ended {change.b} instead of {change.a} in B{_why(pair.b if pair is not None else None)}"


def _why(step: StepState | None) -> str:
    text = (step.error or step.reason) if step is not None else None
    return f": {error_text(text)}" if text else ""


_TELL: Mapping[Cause, Callable[[Diff, Divergence], str]] = {
    "context": _context,
    "definition": _definition,
    "code": _code,
    "presence": _presence,
    "parameters": _parameters,
    "evidence": _evidence,
    "decision": _decision,
    "output": _output,
    "status": _status,
}


# --- decisions -----------------------------------------------------------------------------


def chosen(pair: DecisionPair) -> str:
    """``B chose firm instead of friendly``."""
    if pair.a is None:
        return f"only B made it, and chose {error_text(pair.either.decision)}"
    if pair.b is None:
        return f"only A made it, and chose {error_text(pair.either.decision)}"
    return f"B chose {error_text(pair.b.decision)} instead of {error_text(pair.a.decision)}"


def because(diff: Diff, pair: DecisionPair) -> str:
    """Why a decision came out otherwise: what it was based on, else what its step was given."""
    if pair.a is None or pair.b is None:
        return "because the way there was another one" if diff.divergences[0].cause != "decision" else "alone"
    found = list(differences(_inputs(pair.a), _inputs(pair.b)))
    if found:
        return f"because {_were('input ', found)}"
    if diff.is_hidden(pair):
        return "because its input was another one, which is taken out here"
    shown = list(_shown_otherwise(diff, pair))
    if shown:
        return f"because {_were('evidence ', shown)}"
    given = [one for one in diff.changed.get(pair.path, ()) if one.cause == "parameters"]
    if given:
        return f"because {_were('parameter ', [_plain(one) for one in given])}"
    if "code" in diff.differing.get(pair.path, ()):
        return "because its code was changed"
    return (
        f"from the same input ({error_text(pair.b.rationale)})" if pair.b.rationale else "from the same input"
    )


def _inputs(decision: DecisionState) -> Any:
    return decision.payload.get("input_data")


def _shown_otherwise(diff: Diff, pair: DecisionPair) -> Iterator[Difference]:
    """Where the evidence differs that a decision names in both runs."""
    named = {one for decision in (pair.a, pair.b) if decision is not None for one in evidence_ids(decision)}
    for piece in diff.supported.get(pair.path, ()):
        both = [one for one in (piece.a, piece.b) if one is not None]
        if len(both) == 2 and all(one.payload.get("evidence_id") in named for one in both):
            yield from (_plain(one) for one in of_evidence(piece))


def _plain(change: Change) -> Difference:
    return Difference(change.place, change.a, change.b)


def _were(kind: str, found: Sequence[Difference]) -> str:
    shown = listing(
        f"{_name(kind, one.path)} was {value_text_of(one.given)} instead of {value_text_of(one.recorded)}"
        for one in found[:2]
    )
    left = len(found) - 2
    return shown + (f" and {plural(left, 'more place')} differed" if left > 0 else "")


def _name(kind: str, path: str) -> str:
    """A reference of a condition speaks for itself."""
    return plain_condition(path) if "${" in path else "its input" if path == "input" else f"{kind}{path}"


def _places(changes: Iterable[Change]) -> str:
    several = list(changes)
    if several[0].a is TAKEN_OUT:
        return "it is taken out here"
    shown = [f"{one.place} is {value_text_of(one.b)} instead of {value_text_of(one.a)}" for one in several]
    left = len(shown) - _MOST
    return ", ".join(shown[:_MOST]) + (f" and {plural(left, 'more place')}" if left > 0 else "")


def value_text_of(value: Any) -> str:
    """A value in a few words; ``nothing`` for what is not there."""
    return "nothing" if value is MISSING else value_text(value)
