"""Conversations are put together from references, and from subjects where those are lost."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.demo.mail import Message
from orchkit.demo.threads import group_threads, normalised_subject, summarise

START = datetime(2025, 1, 1, tzinfo=UTC)


def note(
    name: str,
    subject: str = "hello",
    *,
    day: int | None = 0,
    answers: str | None = None,
    refs: tuple[str, ...] = (),
) -> Message:
    """A message that answers others."""
    return Message(
        message_id=name,
        sender=f"{name}@example.com",
        subject=subject,
        date=None if day is None else START + timedelta(days=day),
        in_reply_to=answers,
        references=refs,
    )


def ids(*messages: Message) -> list[list[str]]:
    """The ids of the threads' messages."""
    return [[message.message_id for message in thread.messages] for thread in group_threads(messages)]


def test_the_demonstration_mailbox_has_its_four_threads(messages: list[Message]) -> None:
    """All 25 messages, with the one without references and the one without a date in their places."""
    threads = group_threads(messages)
    assert [len(thread.messages) for thread in threads] == [6, 4, 9, 6]
    dispute = [message.message_id for message in threads[2].messages]
    assert dispute[4:7] == ["c014-22@example.com", "w014-01@example.org", "s014-02@example.com"]
    assert threads[2].subject == "[case 2025-014] Lot A – oak shelving: delivery date"


def test_a_chain_holds_together_across_a_message_that_is_not_there() -> None:
    """Two answers to the same missing message are one conversation."""
    assert ids(note("a", refs=("gone",)), note("b", "other", day=1, answers="gone")) == [["a", "b"]]


def test_a_reply_without_references_joins_the_latest_earlier_of_its_subject() -> None:
    """The subject is compared without prefixes, spaces and case."""
    first, second = note("a", "Invoice"), note("b", "Invoice", day=10)
    late = note("c", "AW: RE[2]:  invoice", day=12)
    early = note("d", "Re: Invoice", day=3)
    assert ids(first, second, late, early) == [["a", "d"], ["b", "c"]]


def test_equal_subjects_alone_join_nothing() -> None:
    """Every month has its invoice."""
    assert ids(note("a", "Invoice"), note("b", "Invoice", day=30)) == [["a"], ["b"]]


def test_a_reply_to_nothing_known_stands_alone() -> None:
    """A later message of the same subject is not what it answers."""
    assert ids(note("a", "Re: Invoice"), note("b", "Invoice", day=5)) == [["a"], ["b"]]


def test_an_undated_message_follows_the_one_it_answers() -> None:
    """Its place is known from what it names, not from a date it does not have."""
    messages = [
        note("a"),
        note("b", day=5, answers="a"),
        note("u", day=None, answers="a"),
        note("c", day=9, answers="b"),
    ]
    assert ids(*messages) == [["a", "u", "b", "c"]]


def test_the_same_message_twice_counts_once() -> None:
    """Exports with labels as folders hold copies."""
    assert ids(note("a"), note("a")) == [["a"]]


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("Re: Fwd: AW:Hello  World", "hello world"),
        ("RE[4]: Hello", "hello"),
        ("Regarding: Hello", "regarding: hello"),
        ("Hello re: you", "hello re: you"),
        ("", ""),
    ],
)
def test_subjects_are_compared_without_reply_prefixes(subject: str, expected: str) -> None:
    """Only prefixes of mail programs go, and only at the beginning."""
    assert normalised_subject(subject) == expected


@given(
    st.lists(st.tuples(st.integers(0, 11), st.one_of(st.none(), st.integers(0, 5))), max_size=12),
    st.randoms(),
)
def test_threads_are_a_partition_whatever_the_order(
    links: list[tuple[int, int | None]], rng: random.Random
) -> None:
    """Each message is in one thread, and the order of the mailbox does not change which are together."""
    messages = [note(f"m{index}", day=day, answers=f"m{other}") for index, (other, day) in enumerate(links)]
    threads = group_threads(messages)
    found = [message.message_id for thread in threads for message in thread.messages]
    assert sorted(found) == sorted(message.message_id for message in messages)
    shuffled = rng.sample(messages, len(messages))
    together = {frozenset(m.message_id for m in thread.messages) for thread in threads}
    assert together == {
        frozenset(m.message_id for m in thread.messages) for thread in group_threads(shuffled)
    }


def test_a_summary_counts_silence_in_whole_days(messages: list[Message]) -> None:
    """The dispute about lot A: eight days without a word, one message without a date."""
    summary = summarise(group_threads(messages)[2])
    assert (summary.messages, summary.undated, summary.longest_silence_days) == (9, 1, 8)
    assert summary.last_word == "client@example.com"
    assert summary.attachments == ("delivery-note-a.txt",)
