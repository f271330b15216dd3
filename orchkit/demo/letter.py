"""The letter that follows from a conclusion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from orchkit.demo.assessment import Assessment, LotAssessment
from orchkit.demo.carrier import Consignment
from orchkit.demo.conclusion import Conclusion
from orchkit.model.base import Record

_RESULT = {
    "claim": "You owe us {amount} {currency}.",
    "pay": "We owe you {amount} {currency}.",
    "no_claim": "Neither of us owes the other anything.",
}


class Letter(Record):
    """A draft, to be read by a person before it is sent."""

    subject: str
    text: str


def write_letter(
    assessment: Assessment, conclusion: Conclusion, consignments: Iterable[Consignment] = ()
) -> Letter:
    """The draft to the supplier: a claim with its calculation, or the questions to be answered first."""
    if conclusion.outcome == "clarify":
        lines = ["Before we settle the delay, please answer:", "", *(f"- {q}" for q in conclusion.questions)]
        return Letter(subject=f"[case {assessment.contract}] Questions", text="\n".join(lines) + "\n")
    on_the_road = {consignment.lot: consignment for consignment in consignments}
    lines = [*_calculation(assessment, conclusion), ""]
    for lot in assessment.lots:
        if lot.days_late:
            lines.append(_late(lot, assessment.currency, on_the_road.get(lot.lot)))
    return Letter(
        subject=f"[case {assessment.contract}] Settlement of the delay", text="\n".join(lines) + "\n"
    )


def _calculation(assessment: Assessment, conclusion: Conclusion) -> Iterator[str]:
    unit = assessment.currency
    yield f"Penalties for delay: {assessment.penalty:,} {unit}"
    yield f"Less your credit notes: {assessment.credited:,} {unit}"
    yield f"Less interest on our late advance: {assessment.interest:,} {unit}"
    yield _RESULT[conclusion.outcome].format(amount=f"{conclusion.amount:,}", currency=unit)
    if assessment.retained:
        kept, released = f"{conclusion.set_off:,} {unit}", f"{conclusion.release:,} {unit}"
        yield f"Of {assessment.retained:,} {unit} withheld we keep {kept} and pay out {released}."


def _late(lot: LotAssessment, currency: str, consignment: Consignment | None) -> str:
    text = (
        f"Lot {lot.lot} ({lot.item}) was due on {lot.due_in_effect} and came on {lot.received}, "
        f"{lot.days_late} days late: {lot.penalty:,} {currency}."
    )
    if consignment is not None and consignment.left > lot.due_in_effect:
        text += f" It left your yard on {consignment.left} only, so the carrier is not the reason."
    return text
