"""Conversations: messages grouped by what they answer, or by subject where a mail program forgot to say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from pydantic import Field

from orchkit.demo.mail import Message
from orchkit.model.base import Record

_PREFIX = re.compile(r"^\s*(?:(?:re|aw|antw|sv|vs|fwd?|wg|tr|rif|odp)(?:\[\d+\])?\s*:\s*)+", re.IGNORECASE)
_NEVER = datetime.max.replace(tzinfo=UTC)


class Thread(Record):
    """Messages that answer each other."""

    thread_id: str
    """The id of its first message."""
    subject: str
    """Of the first message, without ``Re:`` and the like."""
    messages: tuple[Message, ...] = Field(min_length=1)
    """By time; one without a readable date stands right after the message it answers."""
    participants: tuple[str, ...]
    """Addresses of the senders, in the order of their first message."""


class ThreadSummary(Record):
    """What can be said of a thread at a glance."""

    thread_id: str
    subject: str
    messages: int
    participants: tuple[str, ...]
    first: datetime | None
    last: datetime | None
    longest_silence_days: int
    """Whole days between two messages that follow each other."""
    last_word: str
    """Address of who wrote last."""
    undated: int
    attachments: tuple[str, ...]


def normalised_subject(subject: str) -> str:
    """A subject as thread grouping compares it: no reply prefixes, one space, no case."""
    return " ".join(_PREFIX.sub("", subject).split()).casefold()


def is_reply_by_subject(subject: str) -> bool:
    """Whether a subject begins with ``Re:``, ``AW:``, ``Fwd:`` or the like."""
    return _PREFIX.match(subject) is not None


def group_threads(messages: Iterable[Message]) -> list[Thread]:
    """Threads in the order of their first message.

    Messages belong together when they name each other (or a common third, even one that is not here) in
    References or In-Reply-To. One that names none but whose subject is a reply joins the latest earlier
    message of the same subject. Equal subjects alone join nothing: every month has its "Invoice".
    """
    ordered = list({message.message_id: message for message in messages}.values())
    links = _Links()
    for message in ordered:
        for other in _named_by(message):
            links.join(message.message_id, other)
    by_subject: dict[str, list[tuple[int, Message]]] = {}
    for place, message in enumerate(ordered):
        by_subject.setdefault(normalised_subject(message.subject), []).append((place, message))
    for place, message in enumerate(ordered):
        if not _named_by(message) and is_reply_by_subject(message.subject):
            earlier = _latest_before(place, message, by_subject[normalised_subject(message.subject)])
            if earlier is not None:
                links.join(message.message_id, earlier.message_id)
    groups: dict[str, list[Message]] = {}
    for message in ordered:
        groups.setdefault(links.root(message.message_id), []).append(message)
    threads = [_thread(group) for group in groups.values()]
    return sorted(threads, key=lambda thread: thread.messages[0].date or _NEVER)


def summarise(thread: Thread) -> ThreadSummary:
    """Length, people, silences and the last word of a thread."""
    dates = sorted(message.date for message in thread.messages if message.date is not None)
    gaps = [(after - before).days for before, after in pairwise(dates)]
    return ThreadSummary(
        thread_id=thread.thread_id,
        subject=thread.subject,
        messages=len(thread.messages),
        participants=thread.participants,
        first=dates[0] if dates else None,
        last=dates[-1] if dates else None,
        longest_silence_days=max(gaps, default=0),
        last_word=thread.messages[-1].sender,
        undated=len(thread.messages) - len(dates),
        attachments=tuple(part.name for message in thread.messages for part in message.attachments),
    )


class _Links:
    """Disjoint sets of message ids."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def root(self, item: str) -> str:
        above = self._above
        while (parent := above.get(item, item)) != item:
            above[item] = above.get(parent, parent)  # halve the path, so that long chains stay cheap
            item = parent
        return item

    def join(self, one: str, other: str) -> None:
        self._above[self.root(one)] = self.root(other)


def _named_by(message: Message) -> tuple[str, ...]:
    own = (message.in_reply_to,) if message.in_reply_to else ()
    return (*message.references, *own)


def _latest_before(place: int, message: Message, same: Iterable[tuple[int, Message]]) -> Message | None:
    """The latest of the messages of the same subject before this one: by date, by place if undated."""
    earlier = [
        other
        for at, other in same
        if (other.date < message.date if other.date and message.date else at < place)
    ]
    return max(earlier, key=lambda other: other.date or datetime.min.replace(tzinfo=UTC), default=None)


def _thread(group: Sequence[Message]) -> Thread:
    messages = _in_order(group)
    first = messages[0]
    subject = _PREFIX.sub("", first.subject).strip()
    participants = tuple(dict.fromkeys(message.sender for message in messages))
    return Thread(
        thread_id=first.message_id, subject=subject, messages=tuple(messages), participants=participants
    )


def _in_order(group: Sequence[Message]) -> list[Message]:
    dated, undated = [[m for m in group if (m.date is None) is wanted] for wanted in (False, True)]
    ordered = sorted(dated, key=lambda message: message.date or _NEVER)
    for message in undated:
        ids = [other.message_id for other in ordered]
        answered = [ids.index(named) for named in _named_by(message) if named in ids]
        ordered.insert(max(answered) + 1 if answered else len(ordered), message)
    return ordered
