"""What can be told of an error, whatever library raised it: its names, HTTP status and kind of trouble."""

from __future__ import annotations

from collections.abc import Mapping
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
    names = names_of(type(error))
    status, code = status_of(error), code_of(error)
    found = set(names)
    if code is not None:
        found.add(code)
    if status is not None:
        found |= {str(status), f"{status // 100}xx"}
    found |= _kinds(error, names, status, {code, type(error).__name__})
    return frozenset(found)


def _kinds(
    error: BaseException, names: frozenset[str], status: int | None, codes: set[str | None]
) -> set[str]:
    if isinstance(error, RejectedError):
        return {"rejected"}
    kinds: set[str] = set()
    throttled = status == 429 or not codes.isdisjoint(THROTTLING_CODES)
    if throttled:
        kinds.add("throttling")
    elif status is not None and 400 <= status < 500 and status != 408:
        kinds.add("client_error")
    if status is not None and status >= 500:
        kinds.add("server_error")
    timeout = isinstance(error, TimeoutError) or status == 408 or any(n.endswith(_TIMEOUTS) for n in names)
    connection = isinstance(error, ConnectionError) or any(n.endswith(_CONNECTIONS) for n in names)
    if timeout:
        kinds.add("timeout")
    if connection:
        kinds.add("connection")
    if timeout or connection or status in _TRANSIENT_STATUS or not codes.isdisjoint(_TRANSIENT_CODES):
        kinds.add("transient")
    return kinds


def first_fit(table: Mapping[str, float], traits: frozenset[str]) -> float | None:
    """The number of the first selector that fits; None when none does."""
    return next((number for selector, number in table.items() if selector in traits), None)
