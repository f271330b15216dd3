"""The search language finds what it says."""

from __future__ import annotations

import pytest

from orchkit.demo.mail import Message
from orchkit.demo.query import parse_query
from orchkit.errors import ParameterError


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 25),
        ("from:client@example.com subject:case", 10),
        ("from:example.org", 10),
        ('from:"site office"', 4),
        ("to:dispatch@freight.example.org", 1),
        ('subject:"lot b"', 4),
        ("after:2025-04-11 subject:panels", 6),
        ("after:2025-04-12 subject:panels", 4),
        ("before:2025-01-11", 2),
        ("has:attachment", 3),
        ('"clause 6"', 4),
        ("hindrance -from:client@example.com", 2),
        ("SUBJECT:Säle", 4),
        ("-subject:case", 0),
    ],
)
def test_queries_select(messages: list[Message], query: str, count: int) -> None:
    """Terms all hold at once; words look at subject and text; case does not matter."""
    assert len(parse_query(query).select(messages)) == count


def test_days_are_utc_days_and_undated_messages_match_none(messages: list[Message]) -> None:
    """What was written on the evening of the 10th in New York belongs to the 11th."""
    ids = [
        message.message_id for message in parse_query("after:2025-04-11 before:2025-04-12").select(messages)
    ]
    assert ids == ["j014-30@example.org", "c014-30@example.com"]
    undated = next(message for message in messages if message.date is None)
    assert not parse_query("before:2030-01-01").matches(undated)
    assert not parse_query("after:2000-01-01").matches(undated)


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("sender:me", "unknown field 'sender'"),
        ("after:soon", "'soon' is not a day"),
        ("has:photos", "knows only 'attachment'"),
        ('"late delivery', "quotation mark is not closed"),
    ],
)
def test_what_cannot_be_read_is_named(query: str, complaint: str) -> None:
    """A misspelt field is an error, not a search for something else."""
    with pytest.raises(ParameterError, match=complaint):
        parse_query(query)


def test_all_faults_are_named_at_once() -> None:
    """One round is enough to mend a query."""
    with pytest.raises(ParameterError) as caught:
        parse_query("foo:1 after:x words")
    assert len(caught.value.problems) == 2
