"""What policies can tell of errors that foreign libraries raise, and how selectors mean them."""

from __future__ import annotations

import urllib.error
from email.message import Message
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from orchkit.errors import BreakerOpenError, TimeoutExceededError
from orchkit.model.policy import RetryPolicy
from orchkit.reliability.traits import traits_of


class ApiError(Exception):
    """An error with whatever attributes a client library gives it."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__ |= attributes


class ReadTimeout(Exception):  # noqa: N818 - as client libraries name theirs
    """A timeout that is no TimeoutError."""


class ConnectError(Exception):
    """A failed connection that is no ConnectionError."""


class ThrottlingException(Exception):  # noqa: N818
    """As service models name theirs."""


class BrokenError(Exception):
    """Has a response that cannot be asked for."""

    @property
    def response(self) -> Any:
        """As some clients do before there is one."""
        raise RuntimeError("no response yet")


def refused(status: int) -> urllib.error.HTTPError:
    """What the standard library raises."""
    return urllib.error.HTTPError("http://x", status, "no", Message(), None)


BOTO = {"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}

KINDS = {"timeout", "connection", "throttling", "transient", "client_error", "server_error", "rejected"}


@pytest.mark.parametrize(
    ("error", "kinds", "status"),
    [
        (ValueError("x"), set(), None),
        (TimeoutError(), {"timeout", "transient"}, None),
        (TimeoutExceededError("attempt", 1), {"timeout", "transient"}, None),
        (ReadTimeout(), {"timeout", "transient"}, None),
        (ConnectionResetError(), {"connection", "transient"}, None),
        (ConnectError(), {"connection", "transient"}, None),
        (ThrottlingException(), {"throttling"}, None),
        (ApiError(status_code=404), {"client_error"}, 404),
        (ApiError(status=429), {"throttling"}, 429),
        (ApiError(code=408), {"timeout", "transient"}, 408),
        (ApiError(http_status=500), {"server_error", "transient"}, 500),
        (ApiError(status_code=501), {"server_error"}, 501),
        (ApiError(response=SimpleNamespace(status_code=503)), {"server_error", "transient"}, 503),
        (ApiError(response=BOTO), {"server_error", "transient", "throttling"}, 503),
        (ApiError(code="ThrottlingException", status_code=400), {"throttling"}, 400),
        (ApiError(status_code=True, code=7), set(), None),
        (ApiError(status_code="503"), set(), None),
        (refused(502), {"server_error", "transient"}, 502),
        (BrokenError(), set(), None),
        (BreakerOpenError("mail", "open", 3.0), {"rejected"}, None),
    ],
)
def test_kind_and_status_are_told_whatever_library_raised_it(
    error: Exception, kinds: set[str], status: int | None
) -> None:
    """Statuses, error codes and type names of the well-known clients are understood alike."""
    traits = traits_of(error)
    assert traits & KINDS == kinds
    assert {one for one in traits if one.isdigit()} == ({str(status)} if status else set())
    assert (f"{status // 100}xx" in traits) if status else True


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (ValueError, ("ValueError",)),
        ([503, "5xx", "timeout", "pkg.mod.Error"], ("503", "5xx", "timeout", "pkg.mod.Error")),
        (ApiError, (f"{ApiError.__module__}.ApiError",)),
        (None, ()),
    ],
)
def test_a_policy_keeps_selectors_as_texts(given: Any, kept: tuple[str, ...]) -> None:
    """Types, statuses and kinds are the same in code and in files."""
    assert RetryPolicy(retry_on=given).retry_on == kept
    assert RetryPolicy.model_validate_json(RetryPolicy(retry_on=given).model_dump_json()).retry_on == kept


@pytest.mark.parametrize("wrong", [5, 600, True, 2.5, "", " ", int, [None]])
def test_what_names_no_error_is_refused(wrong: Any) -> None:
    """A number that is no status, a type that is no exception, nothing at all."""
    with pytest.raises(ValidationError, match="give_up_on"):
        RetryPolicy(give_up_on=wrong)
