"""What a function traces when a test calls it on its own, outside any run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from orchkit.engine.recorder import TraceScope, current_scope
from orchkit.model import event as ev
from orchkit.store import codec


@dataclass(frozen=True, slots=True)
class TracedDecision:
    """One call of `orchkit.trace_decision`; what was not given is None."""

    point: str
    decision: str
    rationale: str | None
    alternatives: list[Any] | None
    input_data: Any
    output_data: Any
    duration_ms: float | None
    evidence: tuple[str, ...]
    """The ids that `orchkit.bundle_evidence` returned; empty when none were given."""


@dataclass(frozen=True, slots=True)
class BundledEvidence:
    """One call of `orchkit.bundle_evidence`; what was not given is None."""

    evidence_id: str
    type: str
    data: Any
    source: str | None
    confidence_score: float | None
    metadata: dict[str, Any] | None
    content_hash: str
    """SHA-256 of the data, hexadecimal."""


@dataclass(frozen=True, slots=True)
class ReportedProgress:
    """One call of `orchkit.report_progress`; what was not given is None."""

    fraction: float | None
    message: str | None


class Traces:
    """What was captured, each kind in the order of the calls; see `capture`.

    Attributes:
        decisions: Of `orchkit.trace_decision`: a list of `TracedDecision`.
        evidence: Of `orchkit.bundle_evidence`: a list of `BundledEvidence`.
        progress: Of `orchkit.report_progress`: a list of `ReportedProgress`.
    """

    def __init__(self) -> None:
        self.decisions: list[TracedDecision] = []
        self.evidence: list[BundledEvidence] = []
        self.progress: list[ReportedProgress] = []

    def decision(self, point: str) -> TracedDecision:
        """The one decision that was taken at this point.

        Raises:
            AssertionError: There was none, or more than one; the message lists what there was.
        """
        found = [decision for decision in self.decisions if decision.point == point]
        if len(found) == 1:
            return found[0]
        if found:
            outcomes = ", ".join(repr(decision.decision) for decision in found)
            raise AssertionError(f"{len(found)} decisions were traced at {point!r}: {outcomes}")
        others = ", ".join(f"{one.point!r} ({one.decision!r})" for one in self.decisions)
        raise AssertionError(f"no decision was traced at {point!r}; there were: {others or 'none at all'}")

    def __repr__(self) -> str:
        return (
            f"<Traces: {len(self.decisions)} decisions, {len(self.evidence)} evidence, "
            f"{len(self.progress)} progress>"
        )


@contextmanager
def capture() -> Iterator[Traces]:
    """Capture what the code in the block traces, so that a function can be tested on its own.

    >>> import orchkit as ok
    >>> def choose_carrier(weight_kg: float) -> str:
    ...     letter = ok.bundle_evidence("letter", {"kg": weight_kg}, source="Letter:7")
    ...     carrier = "rail" if weight_kg > 1000 else "road"
    ...     ok.trace_decision("choose_carrier", carrier, "by weight", evidence=letter)
    ...     return carrier
    >>> with capture() as traces:
    ...     carrier = choose_carrier(2000)
    >>> traces.decision("choose_carrier").decision
    'rail'
    >>> traces.evidence[0].data
    {'kg': 2000}
    >>> traces.decision("choose_carrier").evidence == (traces.evidence[0].evidence_id,)
    True

    Values are what the record would hold and its tables show: plain JSON, so a date is its ISO text and a
    tuple is a list. What cannot be stored raises `CodecError` here as it would in a run.

    It reaches as far as context variables do: tasks started in the block, `asyncio.to_thread`, and threads
    that are given a copied context. The nearest one takes all: of two nested captures the inner one, and
    inside a step the capture and not the record. A run that is started in the block puts what its steps
    trace on its own record, so nothing of it is captured: look at ``result.run.decisions()`` there.

    As a fixture of pytest::

        @pytest.fixture
        def traces():
            with capture() as traces:
                yield traces
    """
    traces = Traces()
    token = current_scope.set(_Capture(traces))
    try:
        yield traces
    finally:
        current_scope.reset(token)


class _Capture(TraceScope):
    """Takes what user code says, in place of a step."""

    step_id = None
    attempt = None

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def trace(self, kind: str, payload: Mapping[str, Any]) -> None:
        # Through JSON and back: the values as they will be read, and untouched by later changes.
        read: dict[str, Any] = codec.loads(codec.dumps(payload))
        if kind == ev.DECISION:
            self._traces.decisions.append(_decision(read))
        elif kind == ev.EVIDENCE:
            self._traces.evidence.append(_evidence(read))
        else:
            self._traces.progress.append(ReportedProgress(read["fraction"], read["message"]))


def _decision(payload: Mapping[str, Any]) -> TracedDecision:
    return TracedDecision(
        payload["point"],
        payload["decision"],
        payload.get("rationale"),
        payload.get("alternatives"),
        payload.get("input_data"),
        payload.get("output_data"),
        payload.get("duration_ms"),
        tuple(payload.get("evidence", ())),
    )


def _evidence(payload: Mapping[str, Any]) -> BundledEvidence:
    return BundledEvidence(
        payload["evidence_id"],
        payload["type"],
        payload["data"],
        payload.get("source"),
        payload.get("confidence_score"),
        payload.get("metadata"),
        payload["hash"],
    )
