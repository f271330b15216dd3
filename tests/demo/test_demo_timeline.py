"""Events are drawn from the sources as they are written, with where they stand."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from orchkit.demo.files import list_folder
from orchkit.demo.mail import Message
from orchkit.demo.sheets import Row
from orchkit.demo.timeline import Timeline, build_timeline


def test_events_are_in_order_and_undated_ones_apart(timeline: Timeline) -> None:
    """Nothing is placed by a guess: the mail with the broken date and files without one stand apart."""
    times = [event.time for event in timeline.events if event.time is not None]
    assert len(times) == len(timeline.events)
    assert times == sorted(times)
    assert [event.source for event in timeline.undated] == [
        "mail:w014-01@example.org",
        "mail:w014-01@example.org",
        "file:contract/schedule.csv",
        "file:contract/terms.csv",
        "file:site/photos.csv",
    ]


def test_every_source_is_an_event(timeline: Timeline, messages: list[Message]) -> None:
    """25 messages, 6 formal lines, 8 files, 29 readable rows; the unreadable one is a gap."""
    everything = [*timeline.events, *timeline.undated]
    assert len(everything) == 25 + 6 + 8 + 29
    assert {event.source for event in everything if event.kind == "message"} == {
        f"mail:{message.message_id}" for message in messages
    }
    assert timeline.gaps == (
        "mail w014-01@example.org: Date 'Fri, 28 Marz 2025 25:71 MEZ' cannot be read",
        "sheet line 23: Storage of the panels has no amount",
        "sheet line 15: has 7 cells where the header has 6",
    )


@pytest.mark.parametrize(
    ("body", "kinds"),
    [
        ("Hindrance, Lot A: 2025-03-10 to 2025-03-14", ["hindrance"]),
        (
            "Proposed date, Lot A: 2025-04-02\nHindrance, Lot A: 2025-03-10 to 2025-03-14",
            ["proposal", "hindrance"],
        ),
        ("> Proposed date, Lot A: 2025-04-02", []),
        ("We wrote: Agreed date, Lot A: 2025-04-02", []),
        ("Agreed date, Lot A: 2025-04-02, if it suits you", []),
        ("Agreed date, Lot A: soon", []),
        ("Agreed date, Lot A: 2025-04-02  ", ["agreement"]),
    ],
)
def test_formal_lines_count_where_they_are_said(body: str, kinds: list[str]) -> None:
    """A line that is quoted, embedded or conditional says nothing formally."""
    message = Message(
        message_id="m", sender="s@example.org", date=datetime(2025, 3, 1, tzinfo=UTC), body=body
    )
    assert [event.kind for event in build_timeline([message]).events[1:]] == kinds


def test_an_impossible_day_in_a_formal_line_is_kept_as_none() -> None:
    """The statement was made, but names no day; whoever assesses it must see that."""
    message = Message(
        message_id="m",
        sender="s@example.org",
        date=datetime(2025, 3, 1, tzinfo=UTC),
        body="Agreed date, Lot A: 2025-02-30",
    )
    event = build_timeline([message]).events[1]
    assert (event.kind, event.day) == ("agreement", None)


@pytest.mark.parametrize(
    ("name", "text", "kind", "day"),
    [
        ("note.txt", "Lot: A\nReceived: 2025-04-02\nSigned by: me\n", "delivery", date(2025, 4, 2)),
        ("note.txt", "Lot: A\nReceived: later\n", "document", None),
        ("note.txt", "Received: 2025-04-02\n", "document", None),
        ("minutes-2025-03-20.md", "# Meeting\n", "document", date(2025, 3, 20)),
        ("minutes-2025-03-20.md", "Date: 2025-03-21\n", "document", date(2025, 3, 21)),
        ("x-2025-99-99.md", "nothing\n", "document", None),
    ],
)
def test_files_are_dated_by_what_they_say(
    tmp_path: Path, name: str, text: str, kind: str, day: date | None
) -> None:
    """A line in the text comes before the name; the time of the file itself says nothing."""
    (tmp_path / name).write_text(text)
    timeline = build_timeline([], list_folder(tmp_path).files)
    (event,) = (*timeline.events, *timeline.undated)
    assert (event.kind, event.day) == (kind, day)


@pytest.mark.parametrize(
    ("values", "day", "amount"),
    [
        ({"date": date(2025, 1, 1), "amount": Decimal("1.50")}, date(2025, 1, 1), Decimal("1.50")),
        ({"date": "2025-01-01", "amount": "1.50"}, date(2025, 1, 1), Decimal("1.50")),
        ({"date": datetime(2025, 1, 1, 8, tzinfo=UTC), "amount": 2}, date(2025, 1, 1), Decimal(2)),
        ({"date": "soon", "amount": "much"}, None, None),
        ({"date": None, "amount": "NaN"}, None, None),
        ({}, None, None),
    ],
)
def test_rows_are_read_whether_typed_or_from_json(
    values: dict[str, object], day: date | None, amount: Decimal | None
) -> None:
    """A row that went through JSON on its way counts the same as one straight from the sheet."""
    row = Row.model_validate({"line": 7, "values": values})
    timeline = build_timeline([], (), [row])
    (event,) = (*timeline.events, *timeline.undated)
    assert (event.day, event.amount, event.source) == (day, amount, "sheet:7")
    assert len(timeline.gaps) == (amount is None)


def test_the_timeline_survives_storage(timeline: Timeline) -> None:
    """It comes back from JSON equal to what it was."""
    assert Timeline.model_validate(timeline.model_dump(mode="json")) == timeline
