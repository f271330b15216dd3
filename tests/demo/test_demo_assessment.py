"""The contract is applied as it is written; each clause has its case."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.demo.assessment import Assessment, assess_delay
from orchkit.demo.conclusion import conclude
from orchkit.demo.terms import ContractTerms, Lot
from orchkit.demo.timeline import EventKind, Timeline, TimelineEvent

DUE = date(2025, 3, 1)
TERMS = ContractTerms(
    contract="T-1",
    buyer_domain="buyer.example",
    supplier_domain="supplier.example",
    currency="EUR",
    advance_share=Decimal("0.5"),
    advance_due=date(2025, 1, 10),
    late_interest_per_year=Decimal("0.0365"),
    notice_days=3,
    penalty_per_day=Decimal("0.01"),
    penalty_cap=Decimal("0.10"),
    lots=(Lot(lot="X", item="things", value=Decimal(1000), due=DUE),),
)
BUYER, SUPPLIER = "b@buyer.example", "s@supplier.example"


def at(day: date, hour: int = 12) -> datetime:
    """An hour of a day, UTC."""
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def said(
    kind: EventKind, actor: str, day: date, *, sent: date | None = DUE, until: date | None = None
) -> TimelineEvent:
    """Something that a message or note says about lot X."""
    time = None if sent is None else at(sent)
    return TimelineEvent(
        time=time, kind=kind, actor=actor, summary=kind, source=f"mail:{kind}", lot="X", day=day, until=until
    )


def paid(item: str, amount: str, day: date, *, party: str = "buyer", currency: str = "EUR") -> TimelineEvent:
    """An entry of the ledger."""
    sums = {"amount": Decimal(amount), "currency": currency}
    entry = {
        "time": at(day),
        "kind": "entry",
        "actor": party,
        "summary": item,
        "source": "sheet:1",
        "day": day,
    }
    return TimelineEvent.model_validate(entry | sums)


ADVANCE = paid("Advance", "500", TERMS.advance_due)


def assess(*events: TimelineEvent, advance: tuple[TimelineEvent, ...] = (ADVANCE,)) -> Assessment:
    """The assessment of these events, with the advance paid in time unless told otherwise."""
    everything = [*advance, *events]
    dated = sorted((event for event in everything if event.time), key=lambda event: event.time or at(DUE))
    undated = tuple(event for event in everything if event.time is None)
    return assess_delay(Timeline(events=tuple(dated), undated=undated), TERMS)


def received(days_after_due: int) -> TimelineEvent:
    """A signed note of receipt."""
    return said("delivery", "site office", DUE + timedelta(days=days_after_due))


# --- the demonstration ---------------------------------------------------------------------


def test_the_demonstration_case(timeline: Timeline, terms: ContractTerms) -> None:
    """Worked out by hand from the nine clauses (see data/README.md)."""
    result = assess_delay(timeline, terms)
    assert [
        (lot.due_in_effect, lot.received, lot.days_late, lot.penalty, lot.capped) for lot in result.lots
    ] == [
        (date(2025, 3, 19), date(2025, 4, 2), 14, Decimal("1288.00"), False),
        (date(2025, 4, 4), date(2025, 4, 3), 0, Decimal("0.00"), False),
        (date(2025, 4, 20), date(2025, 5, 19), 29, Decimal("960.00"), True),
    ]
    assert (result.advance_days_late, result.interest) == (5, Decimal("6.09"))
    assert (result.penalty, result.credited, result.balance) == (
        Decimal(2248),
        Decimal(500),
        Decimal("1741.91"),
    )
    assert result.late_parties == ("supplier", "buyer")
    assert result.score == pytest.approx((0.80 * 1288 + 0.95 * 960) / 2248, abs=5e-4)
    assert not result.open_questions
    assert len(result.gaps) == 3


def test_the_demonstration_conclusion(timeline: Timeline, terms: ContractTerms) -> None:
    """The supplier owes 1,741.91 EUR, which the buyer keeps from what it has withheld."""
    conclusion = conclude(assess_delay(timeline, terms))
    assert conclusion.outcome == "claim"
    assert (conclusion.amount, conclusion.set_off, conclusion.release) == (
        Decimal("1741.91"),
        Decimal("1741.91"),
        Decimal("258.09"),
    )
    assert conclude(assess_delay(timeline, terms), threshold=0.9).outcome == "clarify"


def test_every_finding_of_the_demonstration_names_its_point(timeline: Timeline, terms: ContractTerms) -> None:
    """Each disputed question is answered once, in the order of the lots."""
    points = [finding.point for finding in assess_delay(timeline, terms).findings]
    assert points == [
        "advance",
        "new_date:A", "hindrance:A", "receipt:A", "delay:A",
        "new_date:B", "receipt:B", "delay:B",
        "hindrance:C", "receipt:C", "delay:C",
    ]  # fmt: skip


# --- clause by clause ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "penalty", "capped"),
    [
        (-3, "0", False),
        (0, "0", False),
        (1, "10", False),
        (10, "100", False),
        (11, "100", True),
        (500, "100", True),
    ],
)
def test_penalty_per_day_up_to_the_cap(days: int, penalty: str, capped: bool) -> None:
    """The day of the date itself is no delay; the cap is reached, then held."""
    (lot,) = assess(received(days)).lots
    assert (lot.penalty, lot.capped, lot.days_late) == (Decimal(penalty), capped, max(0, days))


@pytest.mark.parametrize(
    ("parts", "days", "interest"),
    [
        ([("500", 0)], 0, "0.00"),
        ([("500", -9)], 0, "0.00"),
        ([("500", 10)], 10, "0.50"),
        ([("300", 0), ("200", 10)], 10, "0.20"),
        ([("250", 4), ("250", 10)], 10, "0.35"),
        ([("500", 0), ("100", 30)], 0, "0.00"),
        ([("300", 0), ("400", 10)], 10, "0.20"),
    ],
)
def test_a_late_advance_moves_the_date_and_bears_interest(
    parts: list[tuple[str, int]], days: int, interest: str
) -> None:
    """The last part counts for the date, each late part for its own interest, and no more than was owed."""
    advance = tuple(
        paid(f"Advance {n}", sum_, TERMS.advance_due + timedelta(days=d)) for n, (sum_, d) in enumerate(parts)
    )
    result = assess(received(days), advance=advance)
    assert (result.advance_days_late, result.interest) == (days, Decimal(interest))
    assert result.lots[0].days_late == 0


@pytest.mark.parametrize(
    "advance",
    [(), (paid("Advance", "499.99", TERMS.advance_due),), (paid("Advance", "500", DUE, currency="CHF"),)],
    ids=["none", "a cent short", "another currency"],
)
def test_an_incomplete_advance_leaves_the_question_open(advance: tuple[TimelineEvent, ...]) -> None:
    """Without its last day no date can be moved rightly, so nothing is claimed."""
    result = assess(received(5), advance=advance)
    assert any("advance" in question for question in result.open_questions)
    assert conclude(result).outcome == "clarify"


@pytest.mark.parametrize(
    ("sent_after_days", "excused"), [(0, 4), (3, 4), (4, 0), (30, 0), (None, 0)], ids=str
)
def test_a_hindrance_counts_if_notified_in_time(sent_after_days: int | None, excused: int) -> None:
    """The third day is still in time; a notice without a readable date shows nothing."""
    begin = date(2025, 2, 10)
    sent = None if sent_after_days is None else begin + timedelta(days=sent_after_days)
    notice = said("hindrance", SUPPLIER, begin, sent=sent, until=begin + timedelta(days=3))
    (lot,) = assess(notice, received(10)).lots
    assert lot.due_in_effect == DUE + timedelta(days=excused)


@pytest.mark.parametrize(
    ("actor", "length"),
    [(BUYER, 3), ("x@elsewhere.example", 3), (SUPPLIER, -1)],
    ids=["buyer", "other", "backwards"],
)
def test_a_hindrance_needs_the_supplier_and_possible_days(actor: str, length: int) -> None:
    """Nobody else can give the notice, and an end before the beginning is no period."""
    begin = date(2025, 2, 10)
    notice = said("hindrance", actor, begin, sent=begin, until=begin + timedelta(days=length))
    assert assess(notice, received(10)).lots[0].due_in_effect == DUE


NEW = DUE + timedelta(days=20)


@pytest.mark.parametrize(
    ("build", "agreed"),
    [
        (lambda: [said("proposal", SUPPLIER, NEW), said("agreement", BUYER, NEW)], True),
        (lambda: [said("proposal", BUYER, NEW), said("agreement", SUPPLIER, NEW)], True),
        (lambda: [said("proposal", SUPPLIER, NEW)], False),
        (lambda: [said("agreement", BUYER, NEW)], False),
        (lambda: [said("proposal", SUPPLIER, NEW), said("agreement", SUPPLIER, NEW)], False),
        (lambda: [said("proposal", SUPPLIER, NEW), said("agreement", BUYER, NEW + timedelta(days=1))], False),
        (lambda: [said("proposal", SUPPLIER, NEW), said("agreement", "x@other.example", NEW)], False),
        (
            lambda: [said("proposal", SUPPLIER, NEW), said("agreement", BUYER, NEW, sent=date(2025, 1, 2))],
            False,
        ),
    ],
    ids=[
        "supplier asks",
        "buyer asks",
        "only asked",
        "only agreed",
        "alone",
        "another day",
        "stranger",
        "too early",
    ],
)
def test_a_new_date_takes_both(build: Callable[[], list[TimelineEvent]], agreed: bool) -> None:
    """One party proposes, the other agrees to the same day, afterwards."""
    assert (assess(*build(), received(30)).lots[0].due_in_effect == NEW) is agreed


def test_an_agreed_date_is_not_moved_again() -> None:
    """Neither the late advance nor a hindrance adds to it (clause 7)."""
    begin = date(2025, 2, 10)
    late = (paid("Advance", "500", TERMS.advance_due + timedelta(days=9)),)
    events = [
        said("proposal", SUPPLIER, NEW),
        said("agreement", BUYER, NEW),
        said("hindrance", SUPPLIER, begin, sent=begin, until=begin),
        received(30),
    ]
    assert assess(*events, advance=late).lots[0].due_in_effect == NEW


@pytest.mark.parametrize(
    ("events", "day", "confidence"),
    [
        ([received(5)], 5, 0.95),
        ([said("delivery_claim", SUPPLIER, DUE)], 0, 0.5),
        ([said("delivery", "", DUE)], 0, 0.5),
        ([received(5), said("delivery_claim", SUPPLIER, DUE)], 5, 0.8),
        ([received(5), said("delivery_claim", SUPPLIER, DUE + timedelta(days=5))], 5, 0.95),
        ([received(2), received(7)], 7, 0.95),
        ([], None, 0.0),
    ],
    ids=["note", "claim", "unsigned", "disputed", "confirmed", "in two parts", "nothing"],
)
def test_the_receipt_and_how_well_it_is_shown(
    events: list[TimelineEvent], day: int | None, confidence: float
) -> None:
    """A signed note beats a statement; a contradiction weakens it; the last delivery completes the lot."""
    (lot,) = assess(*events).lots
    assert lot.received == (None if day is None else DUE + timedelta(days=day))
    assert lot.confidence == confidence


def test_what_was_never_received_is_asked_about() -> None:
    """No penalty is computed for a lot that has not come: its delay has no end yet."""
    result = assess()
    assert result.penalty == 0
    conclusion = conclude(result)
    assert conclusion.outcome == "clarify"
    assert conclusion.questions == ("lot X (things): nothing shows when it was received",)


@pytest.mark.parametrize(
    ("events", "advance_days", "outcome", "amount", "release"),
    [
        ([received(5)], 0, "claim", "50.00", "0.00"),
        ([received(5), paid("Retention", "80", DUE)], 0, "claim", "50.00", "30.00"),
        ([received(5), paid("Retention", "20", DUE)], 0, "claim", "50.00", "0.00"),
        ([received(0), paid("Retention", "20", DUE)], 0, "no_claim", "0.00", "20.00"),
        ([received(5), paid("Credit note", "50", DUE, party="supplier")], 0, "no_claim", "0.00", "0.00"),
        ([received(5), paid("Credit note", "70", DUE, party="supplier")], 0, "pay", "20.00", "0.00"),
        ([received(5), paid("Credit note", "70", DUE, party="buyer")], 0, "claim", "50.00", "0.00"),
        ([received(20)], 20, "pay", "1.00", "0.00"),
        ([said("delivery_claim", BUYER, DUE + timedelta(days=5))], 0, "clarify", "0.00", "0.00"),
    ],
)
def test_conclusions(
    events: list[TimelineEvent], advance_days: int, outcome: str, amount: str, release: str
) -> None:
    """Penalties less credits less interest; what is withheld is kept only as far as it is owed."""
    late = (paid("Advance", "500", TERMS.advance_due + timedelta(days=advance_days)),)
    conclusion = conclude(assess(*events, advance=late))
    assert (conclusion.outcome, conclusion.amount, conclusion.release) == (
        outcome,
        Decimal(amount),
        Decimal(release),
    )
    assert conclusion.outcome not in conclusion.alternatives
    assert len(conclusion.alternatives) == 3


@given(
    st.integers(-400, 400), st.integers(0, 60), st.decimals(0, 300, places=2), st.decimals(0, 300, places=2)
)
def test_sums_are_exact_and_within_bounds(
    days: int, advance_days: int, credit: Decimal, retained: Decimal
) -> None:
    """No cent appears or disappears, and no penalty exceeds its cap, for any course of events."""
    result = assess(
        received(days),
        paid("Credit note", str(credit), DUE, party="supplier"),
        paid("Retention", str(retained), DUE),
        advance=(paid("Advance", "500", TERMS.advance_due + timedelta(days=advance_days)),),
    )
    conclusion = conclude(result)
    assert 0 <= result.penalty <= TERMS.total * TERMS.penalty_cap
    assert result.balance == result.penalty - result.credited - result.interest
    assert conclusion.set_off + conclusion.release == retained
    assert 0 <= conclusion.set_off <= conclusion.amount
    assert 0 <= result.score <= 1
    assert Assessment.model_validate(result.model_dump(mode="json")) == result
