"""The letter follows from the conclusion, and the carrier's word from the delivery notes."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from orchkit.demo.assessment import Assessment, assess_delay
from orchkit.demo.carrier import Consignment, find_consignment
from orchkit.demo.conclusion import conclude
from orchkit.demo.letter import write_letter
from orchkit.demo.terms import ContractTerms
from orchkit.demo.timeline import Timeline
from orchkit.errors import UnknownNameError


@pytest.fixture
def assessment(timeline: Timeline, terms: ContractTerms) -> Assessment:
    """That of the demonstration."""
    return assess_delay(timeline, terms)


def test_a_claim_comes_with_its_calculation(assessment: Assessment) -> None:
    """Every sum of the claim, and each late lot with its dates; the lot on time is not mentioned."""
    letter = write_letter(assessment, conclude(assessment))
    assert letter.subject == "[case 2025-014] Settlement of the delay"
    assert letter.text.splitlines() == [
        "Penalties for delay: 2,248.00 EUR",
        "Less your credit notes: 500.00 EUR",
        "Less interest on our late advance: 6.09 EUR",
        "You owe us 1,741.91 EUR.",
        "Of 2,000.00 EUR withheld we keep 1,741.91 EUR and pay out 258.09 EUR.",
        "",
        "Lot A (oak shelving) was due on 2025-03-19 and came on 2025-04-02, 14 days late: 1,288.00 EUR.",
        "Lot C (acoustic panels) was due on 2025-04-20 and came on 2025-05-19, 29 days late: 960.00 EUR.",
    ]


@pytest.mark.parametrize(("left", "told"), [(date(2025, 5, 2), True), (date(2025, 4, 20), False)])
def test_the_carrier_is_cleared_only_if_the_goods_left_too_late(
    assessment: Assessment, left: date, told: bool
) -> None:
    """Goods that left by the due date may have been delayed on the road; then nothing is said."""
    consignment = Consignment(lot="C", left=left, received=date(2025, 5, 19), source="note")
    text = write_letter(assessment, conclude(assessment), [consignment]).text
    assert ("so the carrier is not the reason" in text) is told


@pytest.mark.parametrize(
    ("credited", "line"),
    [("2241.91", "Neither of us owes the other anything."), ("2250.00", "We owe you 8.09 EUR.")],
)
def test_who_owes_whom_is_said(assessment: Assessment, credited: str, line: str) -> None:
    """After larger credit notes the balance is even, or turns round."""
    paid = Decimal(credited)
    changed = assessment.model_copy(
        update={"credited": paid, "balance": assessment.penalty - paid - assessment.interest}
    )
    assert line in write_letter(changed, conclude(changed)).text.splitlines()


def test_what_is_open_is_asked(terms: ContractTerms) -> None:
    """No sum is named while questions are open."""
    nothing = assess_delay(Timeline(), terms)
    letter = write_letter(nothing, conclude(nothing))
    assert letter.subject == "[case 2025-014] Questions"
    assert "- lot B (reading tables): nothing shows when it was received" in letter.text.splitlines()
    assert "owe" not in letter.text


@pytest.mark.parametrize(("attempt", "answers"), [(None, True), (1, False), (2, False), (3, True)])
def test_the_carrier_fails_by_count(case_dir: Path, attempt: int | None, answers: bool) -> None:
    """The same attempt always has the same outcome; outside a run it answers at once."""
    if answers:
        found = find_consignment(case_dir / "files", "C", attempt=attempt, outages=2)
        assert (found.left, found.received) == (date(2025, 5, 2), date(2025, 5, 19))
        assert (found.source, found.days_on_the_road) == ("site/delivery-note-c.txt", 17)
    else:
        with pytest.raises(ConnectionError, match=rf"outage {attempt} of 2"):
            find_consignment(case_dir / "files", "C", attempt=attempt, outages=2)


def test_a_lot_without_note_is_unknown(case_dir: Path) -> None:
    """The error names the lot that was asked for."""
    with pytest.raises(UnknownNameError, match="consignment of lot 'Z'"):
        find_consignment(case_dir / "files", "Z", attempt=None, outages=0)
