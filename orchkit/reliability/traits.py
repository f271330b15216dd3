"""What can be told of an error, whatever library raised it: its names, HTTP status and kind of trouble."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from orchkit.errors import RejectedError
from orchkit.reliability.classify import names_of

THROTTLING_CODES: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "ProvisionedThroughputExceededException",
        "RateLimitError",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)
"""Error codes (or type names) by which services say: not so fast. Those of the AWS SDKs, and some more."""

_TRANSIENT_CODES: Final = frozenset({"RequestTimeout", "RequestTimeoutException", "InternalError"})
_TRANSIENT_STATUS: Final = frozenset({408, 500, 502, 503, 504})
_CARRIERS: Final = ("status_code", "status", "http_status", "code", "error_code", "response")
_TIMEOUTS: Final = ("Timeout", "TimeoutError", "TimeoutException", "RequestTimeoutException")
_CONNECTIONS: Final = ("ConnectionError", "ConnectError", "ConnectTimeout", "TransportError", "NetworkError")


def part(value: object, name: str) -> Any:
    """An attribute, or an entry of a mapping; None when there is none, or asking for it fails."""
    if isinstance(value, Mapping):
        return value.get(name)
    try:
        return getattr(value, name, None)
    except Exception:  # a property of a foreign error may do anything
        return None


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error carries, where the well-known clients put it."""
    response = part(error, "response")
    metadata = part(response, "ResponseMetadata")
    found = (
        *(part(error, name) for name in ("status_code", "status", "http_status", "code")),
        *(part(response, name) for name in ("status_code", "status")),
        part(metadata, "HTTPStatusCode"),
    )
    for value in found:
        if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
            return int(value)
    return None


def code_of(error: BaseException) -> str | None:
    """The error code in words that an error carries (``ThrottlingException``)."""
    found = (
        part(error, "error_code"),
        part(error, "code"),
        part(part(part(error, "response"), "Error"), "Code"),
    )
    return next((value for value in found if isinstance(value, str) and value), None)


def traits_of(error: BaseException) -> frozenset[str]:
    """Everything by which a selector can mean this error: names, code, status (``503``, ``5xx``), kinds."""
    kind: Any = type(error)
    known = _of_type(kind)
    if not (known.carries or error.__dict__):
        return known.traits
    status, code = status_of(error), code_of(error)
    if status is None and code is None:
        return known.traits
    found = set(known.traits)
    if code is not None:
        found.add(code)
    if status is not None:
        found |= {str(status), f"{status // 100}xx"}
        found |= _kinds_of_status(status)
    found |= _kinds_of_codes({code, type(error).__name__})
    if "throttling" in found:
        found.discard("client_error")
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class _Known:
    """What an exception type tells of all errors of it."""

    traits: frozenset[str]
    carries: bool
    """Whether it defines anything in which a status or a code could be."""


@lru_cache(maxsize=512)
def _of_type(kind: type[BaseException]) -> _Known:
    names = names_of(kind)
    found = set(names)
    if issubclass(kind, RejectedError):
        found.add("rejected")
    else:
        found |= _kinds_of_codes({kind.__name__})
        if issubclass(kind, TimeoutError) or any(name.endswith(_TIMEOUTS) for name in names):
            found |= {"timeout", "transient"}
        if issubclass(kind, ConnectionError) or any(name.endswith(_CONNECTIONS) for name in names):
            found |= {"connection", "transient"}
    return _Known(frozenset(found), any(hasattr(kind, name) for name in _CARRIERS))


def _kinds_of_status(status: int) -> set[str]:
    kinds: set[str] = set()
    if status == 429:
        kinds.add("throttling")
    elif 400 <= status < 500 and status != 408:
        kinds.add("client_error")
    elif status >= 500:
        kinds.add("server_error")
    if status == 408:
        kinds.add("timeout")
    if status in _TRANSIENT_STATUS:
        kinds.add("transient")
    return kinds


def _kinds_of_codes(codes: set[str | None]) -> set[str]:
    kinds: set[str] = set()
    if not codes.isdisjoint(THROTTLING_CODES):
        kinds.add("throttling")
    if not codes.isdisjoint(_TRANSIENT_CODES):
        kinds.add("transient")
    return kinds


def first_fit(table: Mapping[str, float], traits: frozenset[str]) -> float | None:
    """The number of the first selector that fits; None when none does."""
    return next((number for selector, number in table.items() if selector in traits), None)
