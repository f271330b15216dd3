"""Who is late, by how much, and what that costs: the clauses of the contract applied to the timeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

from pydantic import Field

from orchkit.demo.terms import ContractTerms, Lot
from orchkit.demo.timeline import Timeline, TimelineEvent
from orchkit.model.base import Record

_CENT = Decimal("0.01")
_SIGNED, _CLAIMED, _DISPUTED = 0.95, 0.5, 0.15

INCOMPLETE = "incomplete"
"""The decision on an advance that never arrived in full."""


class Finding(Record):
    """One question that had to be answered, the answer and why."""

    point: str
    """What was in question, such as ``hindrance:A``."""
    decision: str
    rationale: str
    alternatives: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    """Where the facts are written, as in `TimelineEvent.source`."""


class LotAssessment(Record):
    """A lot against its date."""

    lot: str
    item: str
    value: Decimal
    due: date
    """As in the contract."""
    due_in_effect: date
    """After agreements, a late advance and hindrances."""
    received: date | None
    days_late: int
    """0 when on time, and when nothing has been received yet: then nothing can be computed."""
    penalty: Decimal
    capped: bool
    """Whether the penalty reached its highest amount."""
    confidence: float = Field(ge=0, le=1)
    """How well the day of receipt is shown."""


class Assessment(Record):
    """What the sources say about who owes what; amounts in ``currency``, rounded to cents."""

    contract: str
    currency: str
    lots: tuple[LotAssessment, ...]
    advance_days_late: int
    interest: Decimal
    """Owed by the buyer for the late advance."""
    penalty: Decimal
    """Owed by the supplier for late lots."""
    credited: Decimal
    """Credit notes of the supplier, which count towards the penalty."""
    balance: Decimal
    """Penalty less credit less interest: what the supplier still owes (below zero: the buyer owes it)."""
    retained: Decimal
    """Withheld by the buyer."""
    late_parties: tuple[str, ...]
    score: float = Field(ge=0, le=1)
    """How well the claim is shown: the lots' confidence, weighted by their penalties."""
    findings: tuple[Finding, ...]
    open_questions: tuple[str, ...]
    """Without an answer to these the amounts are not final."""
    gaps: tuple[str, ...]
    """What could not be read in the sources."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Every answer with its reason, one line each."""
        return tuple(f"{item.point}: {item.decision} ({item.rationale})" for item in self.findings)


def assess_delay(timeline: Timeline, terms: ContractTerms) -> Assessment:
    """Apply the contract to what happened.

    Each lot is due on the date agreed last, or else on the contract's, moved by the days that the advance
    was late and by hindrances notified in time (days are those of UTC). From there to its receipt each
    day costs ``penalty_per_day`` of its value, up to ``penalty_cap``. The receipt is shown by a signed
    delivery note (confidence 0.95) or only claimed (0.5); a statement to the contrary takes 0.15 off.
    """
    case = _Case(timeline, terms)
    findings: list[Finding] = []
    advance_days, interest = _advance(case, findings)
    lots = tuple(_assess_lot(case, lot, advance_days, findings) for lot in terms.lots)
    penalty = sum((lot.penalty for lot in lots), Decimal())
    credited = case.sum_of("Credit note", "supplier")
    late = [party for party, is_late in (("supplier", penalty > 0), ("buyer", advance_days > 0)) if is_late]
    weights = [(float(lot.penalty), lot.confidence) for lot in lots]
    score = sum(weight * confidence for weight, confidence in weights) / (float(penalty) or 1.0)
    return Assessment(
        contract=terms.contract,
        currency=terms.currency,
        lots=lots,
        advance_days_late=advance_days,
        interest=interest,
        penalty=penalty,
        credited=credited,
        balance=penalty - credited - interest,
        retained=case.sum_of("Retention", "buyer"),
        late_parties=tuple(late),
        score=round(score, 3),
        findings=tuple(findings),
        open_questions=tuple(_open_questions(lots, findings)),
        gaps=timeline.gaps,
    )


def _open_questions(lots: Iterable[LotAssessment], findings: Iterable[Finding]) -> Iterator[str]:
    for finding in findings:
        if finding.decision == INCOMPLETE:
            yield f"{finding.point}: {finding.rationale}"
    for lot in lots:
        if lot.received is None:
            yield f"lot {lot.lot} ({lot.item}): nothing shows when it was received"


@dataclass(frozen=True, slots=True)
class _Case:
    """The timeline asked with the contract in hand."""

    timeline: Timeline
    terms: ContractTerms

    def of_lot(self, lot: str, *kinds: str) -> list[TimelineEvent]:
        events = (*self.timeline.events, *self.timeline.undated)
        return [event for event in events if event.kind in kinds and event.lot == lot]

    def entries(self, item: str, party: str) -> list[tuple[date, Decimal]]:
        """Day and amount of the party's ledger entries whose item begins so, in the contract's currency."""
        return [
            (event.day, event.amount)
            for event in self.timeline.of_kind("entry")
            if event.actor == party
            and event.summary.casefold().startswith(item.casefold())
            and event.currency == self.terms.currency
            and event.amount is not None
            and event.day is not None
        ]

    def sum_of(self, item: str, party: str) -> Decimal:
        return sum((amount for _, amount in self.entries(item, party)), Decimal())


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, rounding=ROUND_HALF_UP)


def _sources(events: Iterable[TimelineEvent]) -> tuple[str, ...]:
    return tuple(event.source for event in events)


# --- the advance ---------------------------------------------------------------------------


def _advance(case: _Case, findings: list[Finding]) -> tuple[int, Decimal]:
    """Days until the whole advance was there, and the interest on each part for its own days."""
    terms = case.terms
    owed = _cents(terms.total * terms.advance_share)
    missing, days, interest = owed, 0, Decimal()
    for day, amount in sorted(case.entries("Advance", "buyer")):
        if missing > 0:
            days = max(0, (day - terms.advance_due).days)
            interest += min(amount, missing) * terms.late_interest_per_year * days / 365
            missing -= amount
    if missing > 0:
        rationale = f"{missing} of {owed} {terms.currency} is not in the ledger, so its last day is not known"
        findings.append(Finding(point="advance", decision=INCOMPLETE, rationale=rationale))
        return 0, Decimal("0.00")
    decision = f"late by {days} days" if days else "on time"
    complete = terms.advance_due + timedelta(days=days)
    when = f"complete on {complete}" if days else "complete by then"
    rationale = f"{owed} {terms.currency} was due on {terms.advance_due} and {when}"
    findings.append(Finding(point="advance", decision=decision, rationale=rationale))
    return days, _cents(interest)


# --- a lot ---------------------------------------------------------------------------------


def _assess_lot(case: _Case, lot: Lot, advance_days: int, findings: list[Finding]) -> LotAssessment:
    due = _due_in_effect(case, lot, advance_days, findings)
    received, confidence = _receipt(case, lot, findings)
    days_late = 0 if received is None else max(0, (received - due).days)
    terms = case.terms
    rate = min(days_late * terms.penalty_per_day, terms.penalty_cap)
    penalty = _cents(lot.value * rate)
    capped = days_late * terms.penalty_per_day > terms.penalty_cap
    if received is not None:
        decision = f"late by {days_late} days" if days_late else "on time"
        limit = f", capped at {terms.penalty_cap:%}" if capped else ""
        cost = f": {penalty} {terms.currency} at {terms.penalty_per_day:%} a day{limit}"
        rationale = f"due {due}, received {received}{cost if days_late else ''}"
        findings.append(Finding(point=f"delay:{lot.lot}", decision=decision, rationale=rationale))
    return LotAssessment(
        lot=lot.lot,
        item=lot.item,
        value=lot.value,
        due=lot.due,
        due_in_effect=due,
        received=received,
        days_late=days_late,
        penalty=penalty,
        capped=capped,
        confidence=confidence,
    )


def _due_in_effect(case: _Case, lot: Lot, advance_days: int, findings: list[Finding]) -> date:
    agreed = _agreed_date(case, lot, findings)
    if agreed is not None:
        return agreed
    due = lot.due + timedelta(days=advance_days)
    for hindrance in case.of_lot(lot.lot, "hindrance"):
        finding, excused = _hindrance(case, hindrance)
        findings.append(finding)
        due += timedelta(days=excused)
    return due


def _agreed_date(case: _Case, lot: Lot, findings: list[Finding]) -> date | None:
    """The date that one party proposed and the other agreed to last; proposals alone move nothing."""
    proposals = case.of_lot(lot.lot, "proposal")
    agreed: TimelineEvent | None = None
    for answer in case.of_lot(lot.lot, "agreement"):
        if any(_is_answer(case.terms, proposal, answer) for proposal in proposals):
            agreed = answer
    if agreed is not None:
        rationale = f"proposed by one party, agreed by {agreed.actor} for the other"
        decision = f"{agreed.day} replaces {lot.due}"
    elif proposals:
        rationale = "proposed but not agreed by the other party"
        decision = "no new date"
    else:
        return None
    sources = _sources([*proposals, agreed] if agreed else proposals)
    point = f"new_date:{lot.lot}"
    findings.append(Finding(point=point, decision=decision, rationale=rationale, sources=sources))
    return agreed.day if agreed else None


def _is_answer(terms: ContractTerms, proposal: TimelineEvent, answer: TimelineEvent) -> bool:
    roles = {terms.role_of(proposal.actor), terms.role_of(answer.actor)}
    in_order = proposal.time is None or answer.time is None or proposal.time <= answer.time
    return proposal.day == answer.day is not None and roles == {"buyer", "supplier"} and in_order


def _hindrance(case: _Case, notice: TimelineEvent) -> tuple[Finding, int]:
    """Whether a hindrance counts, and for how many days."""
    begin, end = notice.day, notice.until
    accepted, days = "excused", 0
    if begin is None or end is None or end < begin:
        decision, rationale = "refused", "its days cannot be read"
    elif case.terms.role_of(notice.actor) != "supplier":
        decision, rationale = "refused", f"{notice.actor} is not the supplier"
    elif notice.time is None:
        decision, rationale = "refused", "the notice has no readable date, so it is not shown to be in time"
    else:
        last_day = begin + timedelta(days=case.terms.notice_days)
        sent = notice.time.date()
        days = (end - begin).days + 1 if sent <= last_day else 0
        decision = f"{accepted}: {days} days" if days else "refused"
        when = "by then" if days else "too late"
        rationale = f"notice was due by {last_day} and sent on {sent}, {when}"
    finding = Finding(
        point=f"hindrance:{notice.lot}",
        decision=decision,
        rationale=rationale,
        alternatives=(accepted, "refused"),
        sources=_sources([notice]),
    )
    return finding, days


def _receipt(case: _Case, lot: Lot, findings: list[Finding]) -> tuple[date | None, float]:
    """The day of receipt and how well it is shown; a note counts more than what somebody says."""
    # An unsigned note is no more than a claim.
    notes = [event for event in case.of_lot(lot.lot, "delivery") if event.actor]
    claims = [event for event in case.of_lot(lot.lot, "delivery", "delivery_claim") if event not in notes]
    shown = notes or claims
    days = [event.day for event in shown if event.day is not None]
    if not days:
        return None, 0.0
    received = max(days)  # a lot in several deliveries is there with the last of them
    contrary = [event for event in claims if event.day != received]
    confidence = (_SIGNED if notes else _CLAIMED) - (_DISPUTED if contrary else 0.0)
    finding = _receipt_finding(lot, received, notes, contrary, _sources(shown))
    findings.append(finding)
    return received, round(confidence, 2)


def _receipt_finding(
    lot: Lot,
    received: date,
    notes: Sequence[TimelineEvent],
    contrary: Sequence[TimelineEvent],
    sources: tuple[str, ...],
) -> Finding:
    rationale = f"signed by {notes[0].actor}" if notes else "only stated, no signed note"
    if contrary:
        others = ", ".join(f"{event.actor} says {event.day}" for event in contrary)
        rationale += f"; {others}"
    return Finding(
        point=f"receipt:{lot.lot}",
        decision=f"received {received}",
        rationale=rationale,
        alternatives=tuple(f"received {event.day}" for event in contrary),
        sources=(*sources, *_sources(contrary)),
    )
