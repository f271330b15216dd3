"""Idempotency keys as clients send them, and what they are bound to."""

from __future__ import annotations

import re
from contextlib import suppress
from hmac import digest
from secrets import token_hex
from typing import Any, Final

from orchkit.gateway.config import IdempotencySettings
from orchkit.gateway.headers import RawHeaders, values_of
from orchkit.gateway.problems import HttpProblem, RefusedError
from orchkit.store.log import StateConflictError
from orchkit.store.store import Store

HEADER: Final = b"idempotency-key"
KEYED: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
"""Methods for which a key means something: the others change nothing."""
_KEY: Final = re.compile(rb"[\x21-\x7e]([\x20-\x7e]{0,253}[\x21-\x7e])?")
_STATE: Final = ("gateway", "salt")


def key_of(headers: RawHeaders, method: str, settings: IdempotencySettings) -> str | None:
    """The key of a request; None when it has none that counts. Raises `RefusedError` for one that is none."""
    if not settings.enabled or method not in KEYED:
        return None
    values = values_of(headers, HEADER)
    if not values:
        return None
    value = values[0]
    if len(value) > 2 and value[:1] == value[-1:] == b'"':  # the structured form of the header
        value = value[1:-1]
    if len(values) > 1 or not _KEY.fullmatch(value):
        detail = "an Idempotency-Key has 1 to 255 visible ASCII characters, and there is one of it"
        raise RefusedError(HttpProblem("bad-idempotency-key", detail))
    return value.decode()


def salt_of(store: Store) -> bytes:
    """What makes digests on the record of this store useless to who guesses what they are of."""
    found = store.get_state(*_STATE)
    if found is None:
        with suppress(StateConflictError):  # another process was faster
            store.put_state(*_STATE, {"salt": token_hex(32)}, expect_version=0)
        found = store.get_state(*_STATE)
    assert found is not None
    return bytes.fromhex(found.value["salt"])


def sender_of(headers: RawHeaders, principal: str | None, settings: IdempotencySettings, salt: bytes) -> str:
    """A digest of what makes the same request another one: who sends it, and in which form."""
    parts: list[Any] = [principal]
    parts += [[name, values_of(headers, name.encode())] for name in settings.vary]
    return digest(salt, repr(parts).encode(), "sha256").hex()
