"""How long a service asked to be left alone: ``Retry-After`` in its forms, wherever an error carries it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from orchkit.reliability.traits import part

_SECONDS: Final = re.compile(r"\d+(\.\d*)?|\.\d+")
# Header and how many of its units are a second; the precise ones first.
_HEADERS: Final = (("x-amz-retry-after", 1000.0), ("retry-after-ms", 1000.0), ("retry-after", 1.0))


def retry_after(error: BaseException, now_us: int) -> float | None:
    """Seconds from ``now_us`` that an error asks to wait; None when it asks for nothing sensible.

    Looked at are the attribute ``retry_after`` (seconds, a timedelta, a datetime, or the text of the header)
    and the headers ``Retry-After`` (seconds or an HTTP date, RFC 9110), ``Retry-After-Ms`` and
    ``X-Amz-Retry-After`` (milliseconds) of the error or its response. A date that is over means 0.
    """
    asked = _seconds(part(error, "retry_after"), now_us)
    if asked is not None:
        return asked
    response = part(error, "response")
    metadata = part(response, "ResponseMetadata")
    for headers in (part(response, "headers"), part(error, "headers"), part(metadata, "HTTPHeaders")):
        if headers is not None:
            asked = _of_headers(headers, now_us)
            if asked is not None:
                return asked
    return None


def _of_headers(headers: Any, now_us: int) -> float | None:
    for name, units in _HEADERS:
        value = _header(headers, name)
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        asked = _seconds(value, now_us) if units == 1 or _is_number(value) else None
        if asked is not None:
            return asked / units
    return None


def _header(headers: Any, name: str) -> Any:
    """A header by its name in lower case; of a plain dict in whatever case it was put there."""
    try:
        if isinstance(headers, Mapping):
            found = headers.get(name)
            if found is not None:
                return found
            return next((value for key, value in headers.items() if str(key).lower() == name), None)
        return headers.get(name)
    except Exception:  # not what we take for headers
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) or (
        isinstance(value, str) and bool(_SECONDS.fullmatch(value.strip()))
    )


def _seconds(value: Any, now_us: int) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        return _of_text(value.strip(), now_us)
    if isinstance(value, timedelta):
        value = value.total_seconds()
    elif isinstance(value, datetime):
        return _until(value, now_us)
    if not isinstance(value, int | float):
        return None
    return _sound(float(value)) if abs(value) < 1e300 else None


def _of_text(text: str, now_us: int) -> float | None:
    if _SECONDS.fullmatch(text):
        return _sound(float(text))
    try:
        return _until(parsedate_to_datetime(text), now_us)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _until(moment: datetime, now_us: int) -> float:
    if moment.tzinfo is None:  # HTTP dates are in GMT
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, moment.timestamp() - now_us / 1e6)


def _sound(seconds: float) -> float | None:
    return max(0.0, seconds) if math.isfinite(seconds) else None
