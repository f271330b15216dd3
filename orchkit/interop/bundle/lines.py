"""Events as lines of JSON: one way to write each, so that what people read is what is brought back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from orchkit.errors import Problem
from orchkit.model import event as ev
from orchkit.model.event import Event
from orchkit.store import codec
from orchkit.store.log import Row

MEMBER = "events.jsonl"
LATEST_US = 253_402_300_799_999_999
"""The last microsecond of the year 9999: later ones no date can show."""

_BLOB = {"$blob", "bytes"}
_HEXADECIMAL = frozenset("0123456789abcdef")
_MOST_ATTEMPTS = 2**31
_LONGEST_ID = 200
_OF_THE_STORE = ("claim.", "session.", "leader.", "store.")
_TIMES = ("started_us", "duration_us")
_DELIMITER = ',"payload":'
_HEAD = ("ts", "kind", "run_id", "step_id", "attempt")


class Line(NamedTuple):
    """One event on its way between stores: it has a place among others, but no number yet."""

    ts: int
    kind: str
    run_id: str
    step_id: str | None
    attempt: int | None
    text: str
    """The payload as it was recorded."""
    payload: Mapping[str, Any]

    @property
    def row(self) -> Row:
        """The same for the log."""
        return self[:6]

    def event(self, place: int) -> Event:
        """The same for a fold; large values stay where they are."""
        return Event(place, self.ts, self.kind, self.run_id, self.step_id, self.attempt, self.payload)


class NoEventError(Exception):
    """A row or a line is not an event of a run."""


def belongs_to_run(kind: str) -> bool:
    """Whether an event of this kind is part of a run, not of the store that has recorded it.

    Keys and sessions stay where they are: a foreign file must not be able to settle or close one.
    """
    if kind == ev.SESSION_EXECUTION:  # that something was done in it, which the run did
        return True
    return kind != ev.RUN_IMPORTED and not kind.startswith(_OF_THE_STORE)


def line_of(row: Row) -> Line:
    """The line of a recorded event. Raises `NoEventError` for one that is damaged."""
    ts, kind, run_id, step_id, attempt, text = row
    # Between the parts of a JSON text line breaks mean nothing, and within a text they are escaped.
    text = text.replace("\n", " ").replace("\r", " ")
    line = Line(ts, kind, str(run_id), step_id, attempt, text, _payload(text))
    _check(line)
    return line


def written(line: Line) -> str:
    """The text of a line, without the line break."""
    return f"{_head(line[:5])}{_DELIMITER}{line.text}}}"


def _head(parts: tuple[Any, ...]) -> str:
    fields = dict(zip(_HEAD, parts, strict=True))
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))[:-1]


def read(text: str) -> Line:
    """What `written` wrote, and nothing else. Raises `NoEventError`."""
    head, found, rest = text.partition(_DELIMITER)
    if not found or not rest.endswith("}"):
        raise NoEventError("is not an event")
    try:
        fields = json.loads(head + "}")
        parts: tuple[Any, ...] = tuple(fields[name] for name in _HEAD)
        as_written = _head(parts)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise NoEventError("is not an event") from None
    if as_written != head:
        raise NoEventError("is not written as orchkit writes events")
    ts, kind, run_id, step_id, attempt = parts
    line = Line(ts, kind, run_id, step_id, attempt, rest[:-1], _payload(rest[:-1]))
    _check(line)
    return line


def read_all(text: str) -> Iterator[Line | Problem]:
    """The lines of a member; for what is none, the problem."""
    *lines, rest = text.split("\n")
    for number, one in enumerate(lines, 1):
        try:
            yield read(one)
        except NoEventError as error:
            yield Problem(f"{MEMBER} line {number}", str(error))
    if rest:
        yield Problem(f"{MEMBER} line {len(lines) + 1}", "does not end")


# --- what an event must be -----------------------------------------------------------------


def strict_json(text: str) -> Any:
    """The value of a JSON text in which no name stands twice.

    Python takes the last of two, DuckDB the first: such a text would tell them different things. Raises
    ValueError.
    """
    value = codec.loads(text)  # first, because it bounds the depth
    json.loads(text, object_pairs_hook=_each_once)
    return value


def _each_once(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name stands twice in an object")


def _payload(text: str) -> Mapping[str, Any]:
    try:
        payload = strict_json(text)
    except (ValueError, RecursionError) as error:
        raise NoEventError(f"has a payload that is not JSON: {error}") from None
    if not isinstance(payload, dict):
        raise NoEventError("has a payload that is not an object")
    return payload


def _check(line: Line) -> None:
    """Raise `NoEventError` for what would be misread, or would break the tables of a store."""
    for name in ("kind", "run_id"):
        if not _is_id(getattr(line, name)):
            raise NoEventError(f"has an impossible {name}")
    if not belongs_to_run(line.kind):
        raise NoEventError(f"is of kind {line.kind!r}, which is no part of a run")
    if not isinstance(line.step_id, str | None):
        raise NoEventError("has an impossible step_id")
    if not _within(line.ts, LATEST_US):
        raise NoEventError("has an impossible time")
    if line.attempt is not None and not _within(line.attempt, _MOST_ATTEMPTS):
        raise NoEventError("has an impossible attempt")
    for name in _TIMES:
        if line.payload.get(name) is not None and not _within(line.payload[name], LATEST_US):
            raise NoEventError(f"has an impossible {name}")


def _is_id(text: Any) -> bool:
    return isinstance(text, str) and 0 < len(text) <= _LONGEST_ID and text.isprintable()


def _within(value: Any, limit: int) -> bool:
    return type(value) is int and 0 <= value < limit


# --- large values --------------------------------------------------------------------------


def digest_of(value: Any) -> str | None:
    """The hash of the large value that stands here, if one does."""
    if isinstance(value, dict) and value.keys() == _BLOB and isinstance(value["$blob"], str):
        return value["$blob"]
    return None


def is_digest(text: object) -> bool:
    """Whether this is a SHA-256 as it is written."""
    return isinstance(text, str) and len(text) == 64 and _HEXADECIMAL.issuperset(text)


def sources(code: Any) -> Iterator[tuple[str, str]]:
    """The tools whose source is on record where an event has this ``code``, and the hashes of the sources."""
    for tool, facts in code.items() if isinstance(code, dict) else ():
        source = facts.get("source") if isinstance(facts, dict) else None
        if isinstance(source, str):
            yield tool, source


def large_values(lines: Iterable[Line]) -> Iterator[str]:
    """The hashes of the large values that stand in payloads, in order, some more than once."""
    for line in lines:
        for value in line.payload.values():
            digest = digest_of(value)
            if digest is not None:
                yield digest
