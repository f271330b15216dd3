"""What happened when: events drawn from messages, files and table rows, each with its source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Literal

from orchkit.demo.files import FileRecord
from orchkit.demo.mail import Message
from orchkit.demo.sheets import Row, RowProblem
from orchkit.model.base import Record

EventKind = Literal[
    "message", "proposal", "agreement", "hindrance", "delivery_claim", "delivery", "document", "entry"
]

_DAY = r"(\d{4}-\d{2}-\d{2})"
# Formal lines that people agree on, at the start of a line: what is quoted from another mail ("> …") is
# not said again by the one who quotes it.
_STATEMENTS: dict[EventKind, re.Pattern[str]] = {
    "proposal": re.compile(rf"^Proposed date, Lot (\w+): {_DAY}\s*$", re.MULTILINE),
    "agreement": re.compile(rf"^Agreed date, Lot (\w+): {_DAY}\s*$", re.MULTILINE),
    "hindrance": re.compile(rf"^Hindrance, Lot (\w+): {_DAY} to {_DAY}\s*$", re.MULTILINE),
    "delivery_claim": re.compile(rf"^Delivered, Lot (\w+): {_DAY}\s*$", re.MULTILINE),
}
_FIELD = re.compile(r"^(Lot|Received|Signed by|Date): *(\S.*?)\s*$", re.MULTILINE)
_DAY_IN_NAME = re.compile(_DAY)


class TimelineEvent(Record):
    """One thing that happened, and where it is written."""

    time: datetime | None
    """UTC, midnight where only the day is known; None when the source has no readable date."""
    kind: EventKind
    actor: str
    """A mail address, a party of the ledger, or who signed."""
    summary: str
    source: str
    """``mail:<id>``, ``file:<path>`` or ``sheet:<line>``."""
    lot: str | None = None
    day: date | None = None
    """The day that is spoken of: proposed, agreed, received, first day of a hindrance."""
    until: date | None = None
    """The last day of a hindrance."""
    amount: Decimal | None = None
    currency: str | None = None


class Timeline(Record):
    """Events by time; those without a time are kept apart, not guessed."""

    events: tuple[TimelineEvent, ...] = ()
    undated: tuple[TimelineEvent, ...] = ()
    gaps: tuple[str, ...] = ()
    """What the sources leave open, such as a ledger row without an amount."""

    def of_kind(self, *kinds: EventKind) -> list[TimelineEvent]:
        """The events of these kinds, undated ones last."""
        return [event for event in (*self.events, *self.undated) if event.kind in kinds]


def build_timeline(
    messages: Iterable[Message],
    files: Iterable[FileRecord] = (),
    rows: Iterable[Row] = (),
    row_problems: Iterable[RowProblem] = (),
) -> Timeline:
    """One timeline out of three kinds of sources.

    A message is one event, and one more for each formal line in it (``Hindrance, Lot C: 2025-04-08 to
    2025-04-11``); a text file with ``Lot:`` and ``Received:`` lines is a delivery, another one a document
    dated by its ``Date:`` line or its name; a row is an entry by its ``date``, ``party``, ``item``,
    ``amount`` and ``currency``. What could not be read, here or before, is in ``gaps``.
    """
    events: list[TimelineEvent] = []
    gaps: list[str] = []
    for message in messages:
        events.extend(_message_events(message))
        gaps.extend(f"mail {message.message_id}: {problem}" for problem in message.problems)
    events.extend(map(_file_event, files))
    for row in rows:
        event = _row_event(row)
        if event.amount is None:
            gaps.append(f"sheet line {row.line}: {event.summary} has no amount")
        events.append(event)
    gaps.extend(f"sheet line {problem.line}: {problem.cause}" for problem in row_problems)
    dated = [event for event in events if event.time is not None]
    return Timeline(
        events=tuple(sorted(dated, key=_when)),
        undated=tuple(event for event in events if event.time is None),
        gaps=tuple(gaps),
    )


def _when(event: TimelineEvent) -> datetime:
    assert event.time is not None
    return event.time


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime.combine(day, time(), UTC)


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        return None


def _message_events(message: Message) -> Iterator[TimelineEvent]:
    source = f"mail:{message.message_id}"
    yield TimelineEvent(
        time=message.date, kind="message", actor=message.sender, summary=message.subject, source=source
    )
    for kind, pattern in _STATEMENTS.items():
        for found in pattern.finditer(message.body):
            lot, first, *last = found.groups()
            yield TimelineEvent(
                time=message.date,
                kind=kind,
                actor=message.sender,
                summary=found[0].strip(),
                source=source,
                lot=lot,
                day=_day(first),
                until=_day(last[0]) if last else None,
            )


def _file_event(file: FileRecord) -> TimelineEvent:
    text = file.preview or ""
    fields = dict(reversed(_FIELD.findall(text)))  # the first of a name counts
    source = f"file:{file.path}"
    received = _day(fields.get("Received"))
    if received is not None and "Lot" in fields:
        return TimelineEvent(
            time=_midnight(received),
            kind="delivery",
            actor=fields.get("Signed by", ""),
            summary=_title(text) or file.path,
            source=source,
            lot=fields["Lot"],
            day=received,
        )
    in_name = _DAY_IN_NAME.search(file.path)
    day = _day(fields.get("Date")) or _day(in_name[1] if in_name else None)
    summary = _title(text) if file.kind in ("text", "markdown") else ""
    return TimelineEvent(
        time=_midnight(day), kind="document", actor="", summary=summary or file.path, source=source, day=day
    )


def _title(text: str) -> str:
    return next((line.strip("# ").strip() for line in text.splitlines() if line.strip()), "")


def _row_event(row: Row) -> TimelineEvent:
    values = row.values
    when = values.get("date")
    # A row that came through JSON has its cells as text.
    day = when.date() if isinstance(when, datetime) else when if isinstance(when, date) else _day(_text(when))
    return TimelineEvent(
        time=_midnight(day),
        kind="entry",
        actor=_text(values.get("party")) or "",
        summary=_text(values.get("item")) or f"row {row.line}",
        source=f"sheet:{row.line}",
        day=day,
        amount=_amount(values.get("amount")),
        currency=_text(values.get("currency")),
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _amount(value: object) -> Decimal | None:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() else None
