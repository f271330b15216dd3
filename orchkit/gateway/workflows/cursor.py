"""Where a page of a list ends, as a text that means nothing to clients."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from hashlib import blake2b
from typing import Any, NamedTuple

from pydantic_core import from_json, to_json

from orchkit.errors import Problem
from orchkit.gateway.workflows.refusals import invalid

_LARGEST = 2**63 - 1


class Place(NamedTuple):
    """The last run of a page; the next page begins after it."""

    started_us: int
    run_id: str


def written(place: Place, filters: dict[str, Any]) -> str:
    """The cursor of the page after this place, of a list with these filters."""
    return urlsafe_b64encode(to_json([*place, _mark(filters)])).decode().rstrip("=")


def read(cursor: str, filters: dict[str, Any]) -> Place:
    """The place that a cursor stands for. Raises a 422 when it is none, or of a list with other filters."""
    try:
        found = from_json(urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
    except (ValueError, Error):
        found = None
    match found:
        case [int() as started_us, str() as run_id, str() as mark] if 0 <= started_us <= _LARGEST:
            if mark == _mark(filters):
                return Place(started_us, run_id)
            cause, hint = "it is of a list with other filters", "begin without a cursor"
            raise invalid([Problem("query.cursor", cause, hint)])
    raise invalid([Problem("query.cursor", "it is none that this API has given", "begin without one")])


def _mark(filters: dict[str, Any]) -> str:
    return blake2b(to_json(filters), digest_size=6).hexdigest()
