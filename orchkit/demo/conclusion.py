"""What to do about a delay: one of four answers, with the sums that follow from it."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from orchkit.demo.assessment import Assessment
from orchkit.model.base import Record

Outcome = Literal["claim", "pay", "clarify", "no_claim"]


class Conclusion(Record):
    """The answer, why it was chosen, and what could have been chosen instead."""

    outcome: Outcome
    """``claim``: the supplier owes; ``pay``: the buyer does; ``no_claim``: neither; ``clarify``: ask first"""
    amount: Decimal
    """What the one party owes the other; 0 unless the outcome is ``claim`` or ``pay``."""
    currency: str
    set_off: Decimal
    """The part of a claim that the buyer keeps from what it has withheld."""
    release: Decimal
    """What the buyer pays out of what it has withheld; 0 while there is something to clarify."""
    rationale: str
    alternatives: tuple[Outcome, ...]
    questions: tuple[str, ...] = ()
    """To be answered first, when the outcome is ``clarify``."""


def conclude(assessment: Assessment, threshold: float = 0.7) -> Conclusion:
    """The conclusion from an assessment; a penalty shown less well than ``threshold`` is not claimed."""
    outcome, rationale = _choose(assessment, threshold)
    amount = abs(assessment.balance) if outcome in ("claim", "pay") else Decimal("0.00")
    set_off = min(amount, assessment.retained) if outcome == "claim" else Decimal("0.00")
    others: tuple[Outcome, ...] = ("claim", "pay", "clarify", "no_claim")
    return Conclusion(
        outcome=outcome,
        amount=amount,
        currency=assessment.currency,
        set_off=set_off,
        release=Decimal("0.00") if outcome == "clarify" else assessment.retained - set_off,
        rationale=rationale,
        alternatives=tuple(other for other in others if other != outcome),
        questions=_questions(assessment, threshold) if outcome == "clarify" else (),
    )


def _choose(assessment: Assessment, threshold: float) -> tuple[Outcome, str]:
    sums = (
        f"penalty {assessment.penalty} less credit note {assessment.credited} less interest "
        f"{assessment.interest} is {assessment.balance} {assessment.currency}"
    )
    if assessment.open_questions:
        return "clarify", f"{len(assessment.open_questions)} open questions change the amount"
    if assessment.penalty and assessment.score < threshold:
        return (
            "clarify",
            f"the delay is shown with a confidence of {assessment.score:.2f} only, {threshold} is asked for",
        )
    if assessment.balance > 0:
        return "claim", f"{sums}, shown with a confidence of {assessment.score:.2f}"
    if assessment.balance < 0:
        return "pay", sums
    return "no_claim", sums


def _questions(assessment: Assessment, threshold: float) -> tuple[str, ...]:
    weak = (
        f"lot {lot.lot} ({lot.item}): is there a signed note of its receipt on {lot.received}?"
        for lot in assessment.lots
        if lot.received is not None and lot.confidence < threshold
    )
    return (*assessment.open_questions, *weak)
