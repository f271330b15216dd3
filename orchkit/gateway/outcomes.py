"""What the client is told of a request that did not succeed."""

from __future__ import annotations

from orchkit.errors import (
    BreakerOpenError,
    DuplicateRequestError,
    IdempotencyConflictError,
    InjectedFaultError,
    RateLimitedError,
    RejectedError,
    StoreError,
    TimeoutExceededError,
)
from orchkit.gateway.faults import (
    Answer,
    ClientFaultError,
    FailedAnswerError,
    NotFinalError,
    NotRepeatableError,
    ServiceFaultError,
)
from orchkit.gateway.problems import HttpProblem


def cause_of(error: BaseException) -> BaseException:
    """What was wrong with the service, whatever kept it from being tried again."""
    return error.cause if isinstance(error, NotRepeatableError) else error


def answer_of(error: BaseException) -> Answer | None:
    """The answer of the service itself, where it gave one that was not passed on yet."""
    error = cause_of(error)
    return error.answer if isinstance(error, FailedAnswerError | NotFinalError) else None


def problem_of(
    error: BaseException, service: str, retry_after: float, reopens_in: float | None = None
) -> HttpProblem:
    """The problem that stands for an error.

    Args:
        error: What the policies raised.
        service: The name of the service.
        retry_after: Seconds after which somebody who was turned away should come back.
        reopens_in: Seconds until the breaker of the service lets calls through, if it is open.
    """
    more = {"service": service}
    when: float | None
    match cause_of(error):
        case BreakerOpenError() as found:
            when = retry_after if found.retry_in is None else max(found.retry_in, 1.0)
            return HttpProblem("breaker-open", _why_open(found, service), when, more=more)
        case RateLimitedError() as found:
            return HttpProblem("overloaded", str(found), max(found.retry_after, 1.0), more=more)
        case RejectedError() as found:
            return HttpProblem("overloaded", str(found), retry_after, more=more)
        case TimeoutExceededError() as found:
            detail = f"{service} did not answer within {found.seconds:g} s"
            return HttpProblem("service-timeout", detail, reopens_in, more=more)
        case ServiceFaultError() as found:
            when = retry_after if found.kind == "overloaded" else reopens_in
            return HttpProblem(found.kind, str(found), when, more=more)
        case ClientFaultError() as found:
            return HttpProblem(found.kind, str(found))
        case InjectedFaultError() as found:
            return HttpProblem("service-died", f"{service} failed: {found}", reopens_in, more=more)
        case StoreError():
            return HttpProblem("not-recorded", "the record of the gateway cannot be written", retry_after)
    return HttpProblem("internal-error", "the gateway failed; its record or its log says why")


def _why_open(error: BreakerOpenError, service: str) -> str:
    """Whether the service failed, or somebody wants it to be left alone."""
    if error.state != "forced_open":
        return f"{service} failed repeatedly"
    why = "" if error.reason is None else f": {error.reason}"
    return f"the breaker of {service} was opened by hand{why}"


def key_problem(error: DuplicateRequestError | IdempotencyConflictError, retry_after: float) -> HttpProblem:
    """The problem of a request whose idempotency key stands for something else, or is in use.

    What the other request was is not said: it may have been somebody else's.
    """
    if isinstance(error, DuplicateRequestError):
        detail = "a request with this Idempotency-Key is being carried out"
        return HttpProblem("request-in-flight", detail, retry_after)
    detail = "this Idempotency-Key was used for a request with another method, path, query, body or sender"
    return HttpProblem("key-used-otherwise", detail)
