"""The case as a Markdown page: the conclusion first, then how it was reached and from what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from orchkit.demo.assessment import Assessment, LotAssessment
from orchkit.demo.conclusion import Conclusion
from orchkit.demo.threads import ThreadSummary
from orchkit.demo.timeline import Timeline, TimelineEvent
from orchkit.ids import new_id

_HEADLINES = {
    "claim": "The supplier owes the buyer {amount} {currency}.",
    "pay": "The buyer owes the supplier {amount} {currency}.",
    "clarify": "There is something to clarify before anything is claimed.",
    "no_claim": "Neither party owes the other anything for delay.",
}


def render_report(
    title: str,
    timeline: Timeline,
    assessment: Assessment,
    conclusion: Conclusion,
    threads: Iterable[ThreadSummary] = (),
) -> str:
    """The page as Markdown; the same input gives the same text."""
    sections = (
        (f"# {title}",),
        _conclusion(assessment, conclusion),
        ("## Lots", "", *_table(_LOT_HEADER, map(_lot_row, assessment.lots))),
        ("## Findings", "", *(f"- {reason}" for reason in assessment.reasons)),
        ("## Timeline", "", *_table(_EVENT_HEADER, map(_event_row, _telling(timeline)))),
        _threads(tuple(threads)),
        _list("## Not readable in the sources", assessment.gaps),
    )
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def write_report(path: str | Path, text: str) -> Path:
    """Write the page, complete or not at all; folders are made. Returns the absolute path."""
    target = Path(path).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    # Not a file of `tempfile`: those are readable by their owner alone, and so would the report be.
    unfinished = target.with_name(f".{target.name}.{new_id('tmp')}")
    unfinished.write_text(text, encoding="utf-8")
    return unfinished.replace(target)


def _conclusion(assessment: Assessment, conclusion: Conclusion) -> Iterator[str]:
    yield "## Conclusion"
    yield ""
    amount = f"{conclusion.amount:,}"
    yield f"**{_HEADLINES[conclusion.outcome].format(amount=amount, currency=conclusion.currency)}**"
    yield f"{conclusion.rationale[:1].upper()}{conclusion.rationale[1:]}."
    if conclusion.set_off:
        yield (
            f"Of the {assessment.retained:,} {conclusion.currency} withheld, {conclusion.set_off:,} are kept "
            f"and {conclusion.release:,} are paid out."
        )
    if conclusion.questions:
        yield ""
        yield from (f"- {question}" for question in conclusion.questions)


_LOT_HEADER = ("lot", "item", "value", "due", "due in effect", "received", "days late", "penalty", "shown")
_EVENT_HEADER = ("day", "what", "lot", "who", "source")


def _lot_row(lot: LotAssessment) -> Sequence[object]:
    penalty = f"{lot.penalty:,}" + (" (highest)" if lot.capped else "")
    dates = (lot.due, lot.due_in_effect, lot.received or "–")
    return (lot.lot, lot.item, f"{lot.value:,}", *dates, lot.days_late, penalty, lot.confidence)


def _telling(timeline: Timeline) -> Iterator[TimelineEvent]:
    """The events that say something: not every message and every expense."""
    for event in (*timeline.events, *timeline.undated):
        if event.kind not in ("message", "entry") and (event.time is not None or event.kind != "document"):
            yield event


def _event_row(event: TimelineEvent) -> Sequence[object]:
    day = event.time.date() if event.time else "no date"
    what = f"{event.kind.replace('_', ' ')}: {event.summary}"
    return (day, what, event.lot or "", event.actor, f"`{event.source}`")


def _threads(threads: Sequence[ThreadSummary]) -> Sequence[str]:
    header = ("conversation", "messages", "longest silence", "last word")
    rows = (
        (thread.subject, thread.messages, f"{thread.longest_silence_days} days", thread.last_word)
        for thread in threads
    )
    return ("## Mail", "", *_table(header, rows)) if threads else ()


def _list(heading: str, items: Sequence[str]) -> Sequence[str]:
    return (heading, "", *(f"- {item}" for item in items)) if items else ()


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield _line(header)
    yield _line(["---"] * len(header))
    yield from map(_line, rows)


def _line(cells: Iterable[object]) -> str:
    # A bar or a line break inside a cell would end it.
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
