"""The search language of the mail tools: ``from:client@example.com subject:case after:2025-01-01 words``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from orchkit.demo.mail import Message
from orchkit.errors import ParameterError, Problem

_TOKEN = re.compile(r'(?P<not>-)?(?:(?P<field>[A-Za-z]+):)?(?:"(?P<quoted>[^"]*)"|(?P<word>[^\s"]+))')

Test = Callable[[Message], bool]


@dataclass(frozen=True, slots=True)
class MailQuery:
    """A parsed query: a message matches when it passes every test."""

    text: str
    tests: tuple[Test, ...]

    def matches(self, message: Message) -> bool:
        """Whether the message passes all tests; an empty query matches everything."""
        return all(test(message) for test in self.tests)

    def select(self, messages: Iterable[Message]) -> list[Message]:
        """The messages that match, in their order."""
        return [message for message in messages if self.matches(message)]


def parse_query(text: str) -> MailQuery:
    """A query from its text: terms that must all hold, separated by spaces.

    ``from:`` and ``to:`` look for a part of an address or name, ``subject:`` in the subject, ``after:`` and
    ``before:`` compare with a day in UTC (``after`` includes it, ``before`` does not; undated messages match
    neither), ``has:attachment``; anything else is looked for in subject and body. ``"two words"`` is one
    term, ``-term`` must not hold; case does not matter.

    Raises `ParameterError` naming every term that cannot be read.
    """
    tests: list[Test] = []
    problems: list[Problem] = []
    if text.count('"') % 2:
        problems.append(Problem(f"query {text!r}", "a quotation mark is not closed"))
    for token in _TOKEN.finditer(text):
        value = token["word"] if token["quoted"] is None else token["quoted"]
        try:
            test = _term((token["field"] or "").lower(), value)
        except ValueError as error:
            problems.append(Problem(f"query term {token[0]!r}", str(error), _HINT))
            continue
        tests.append(_negated(test) if token["not"] else test)
    if problems:
        raise ParameterError("search_mail", problems)
    return MailQuery(text, tuple(tests))


def _term(field: str, value: str) -> Test:
    if field not in _FIELDS:
        raise ValueError(f"unknown field {field!r}")
    return _FIELDS[field](value)


def _negated(test: Test) -> Test:
    return lambda message: not test(message)


def _from(value: str) -> Test:
    wanted = value.casefold()
    return lambda message: wanted in f"{message.sender_name} {message.sender}".casefold()


def _to(value: str) -> Test:
    wanted = value.casefold()
    return lambda message: any(wanted in address for address in message.to)


def _subject(value: str) -> Test:
    wanted = value.casefold()
    return lambda message: wanted in message.subject.casefold()


def _anywhere(value: str) -> Test:
    wanted = value.casefold()
    return lambda message: wanted in f"{message.subject}\n{message.body}".casefold()


def _midnight(value: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(value), time(), UTC)
    except ValueError:
        raise ValueError(f"{value!r} is not a day") from None


def _after(value: str) -> Test:
    start = _midnight(value)
    return lambda message: message.date is not None and message.date >= start


def _before(value: str) -> Test:
    end = _midnight(value)
    return lambda message: message.date is not None and message.date < end


def _has(value: str) -> Test:
    if value.casefold() not in ("attachment", "attachments"):
        raise ValueError(f"has: knows only 'attachment', not {value!r}")
    return lambda message: bool(message.attachments)


_FIELDS: dict[str, Callable[[str], Test]] = {
    "": _anywhere,
    "from": _from,
    "to": _to,
    "subject": _subject,
    "after": _after,
    "before": _before,
    "has": _has,
}
_HINT = (
    "write from:, to:, subject:, after:YYYY-MM-DD, before:YYYY-MM-DD, has:attachment, or plain words; "
    'quote the whole term to look for it as text, as in "re: order"'
)
