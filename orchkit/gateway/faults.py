"""What can go wrong between client, gateway and service; by these names policies tell it apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchkit.errors import ExecutionError
from orchkit.gateway.headers import RawHeaders


class ServiceFaultError(ExecutionError):
    """The service did not do what it should; ``service`` is its name."""

    kind = "service-died"

    def __init__(self, service: str, message: str) -> None:
        self.service = service
        super().__init__(message)


class NotReachedError(ServiceFaultError):
    """The request certainly never reached the service: no connection came about."""

    kind = "service-unreachable"


class ConnectTimeoutError(NotReachedError):
    """No connection came about in time."""

    kind = "service-timeout"


class NoConnectionFreeError(NotReachedError):
    """As many requests as allowed are with the service, and none of them ended in time: not its fault."""

    kind = "overloaded"


class NoAnswerError(ServiceFaultError):
    """The connection ended before the answer began; what became of the request nobody knows."""


class InvalidAnswerError(ServiceFaultError):
    """What the service sent is no HTTP answer."""

    kind = "invalid-answer"


class AnswerCutError(ServiceFaultError):
    """The answer ended in its midst, when its begin was with the client already."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is held in memory; the headers are as the client gets them."""

    status: int
    headers: RawHeaders
    body: bytes


class FailedAnswerError(ServiceFaultError):
    """The service answered with a status that counts as a failure; without ``answer``, it was passed on."""

    def __init__(self, service: str, status: int, answer: Answer | None, headers: Mapping[str, str]) -> None:
        self.status_code, self.answer = status, answer
        self.headers = headers
        """As far as they say when to come back."""
        super().__init__(service, f"{service} answered {status}")


class NotFinalError(ServiceFaultError):
    """The service answered, not to the request but to the moment (such as 429): not kept under its key."""

    def __init__(self, service: str, answer: Answer) -> None:
        self.answer = answer
        super().__init__(service, f"{service} answered {answer.status}, which is not kept under the key")


class NotRepeatableError(ServiceFaultError):
    """It failed, and cannot be tried again: the body has been passed on and is not held any more."""

    def __init__(self, service: str, cause: BaseException, limit: int) -> None:
        self.cause = cause
        super().__init__(
            service, f"{cause}; its body is longer than {limit:,} bytes, so that it cannot be sent again"
        )


class ClientFaultError(ExecutionError):
    """The client did not do what it should: nothing that the service is to blame for."""

    kind = "bad-request"


class ClientGoneError(ClientFaultError):
    """The client closed the connection before its request was complete, or left its answer unread."""


class ClientSlowError(ClientFaultError):
    """The client was silent for too long in the midst of its body."""

    kind = "client-too-slow"


class BodyTooLargeError(ClientFaultError):
    """The body is longer than allowed."""

    kind = "body-too-large"


class NoLengthError(ClientFaultError):
    """The body is not as long as was said."""
