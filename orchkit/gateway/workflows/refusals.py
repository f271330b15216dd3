"""What the workflow API says when it does not do what was asked: problem details (RFC 9457)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from orchkit.errors import (
    CodecError,
    ParameterError,
    Problem,
    StoreBusyError,
    StoreError,
    StoreFullError,
    UnknownNameError,
    WorkflowValidationError,
)
from orchkit.gateway.problems import MEDIA_TYPE

TYPE: Final = "urn:orchkit:problem:"
MOST_PROBLEMS: Final = 100
"""So many problems of a request are told; of more, how many there are."""


class ProblemEntry(BaseModel):
    """One of the problems of a request."""

    where: str = Field(description="The step, field or parameter.", examples=["step 'load'"])
    cause: str = Field(description="What is wrong.", examples=["unknown tool or method 'fetch'"])
    hint: str | None = Field(default=None, description="The way out, where there is one.")


class ProblemDetails(BaseModel):
    """Why a request was refused."""

    model_config = ConfigDict(extra="allow")
    type: str = Field(
        description="Which kind of problem it is.", examples=["urn:orchkit:problem:no-such-run"]
    )
    title: str = Field(description="The same in words.", examples=["No such run"])
    status: int = Field(description="The status of the answer.", examples=[404])
    detail: str = Field(description="What was wrong this time.", examples=["there is no run 'run_0'"])
    instance: str | None = Field(default=None, description="Which request it was: its correlation id.")
    problems: list[ProblemEntry] | None = Field(default=None, description="All problems of the request.")


class Refusal(Exception):  # noqa: N818 - it is an answer, and nothing failed
    """Ends the handling of a request with problem details."""

    def __init__(
        self,
        status: int,
        name: str,
        detail: str,
        *,
        problems: Iterable[Problem] | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(detail)
        self.status, self.name, self.detail = status, name, detail
        self.problems = None if problems is None else list(problems)
        self.headers, self.more = dict(headers or {}), more

    def response(self, instance: str | None = None) -> Response:
        """The answer; ``instance`` is the correlation id of the request."""
        body: dict[str, Any] = {
            "type": f"{TYPE}{self.name}",
            "title": self.name.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail,
        }
        if instance is not None:
            body["instance"] = f"urn:orchkit:request:{instance}"
        if self.problems is not None:
            body["problems"] = [entry(problem) for problem in self.problems[:MOST_PROBLEMS]]
            if len(self.problems) > MOST_PROBLEMS:
                body["more_problems"] = len(self.problems) - MOST_PROBLEMS
        content = to_json(body | self.more, inf_nan_mode="null", fallback=repr)
        return Response(content, self.status, self.headers, MEDIA_TYPE)


def entry(problem: Problem) -> dict[str, str]:
    """A problem as JSON; what cannot be encoded in it is replaced."""
    parts = {"where": problem.where, "cause": problem.cause, "hint": problem.hint}
    return {name: _valid(text) for name, text in parts.items() if text is not None}


def _valid(text: str) -> str:
    return text.encode(errors="replace").decode()


def invalid(problems: list[Problem], detail: str = "the request cannot be understood") -> Refusal:
    """422 with all problems."""
    return Refusal(422, "invalid-request", detail, problems=problems)


def refusal_of(error: Exception, retry_after_s: int) -> Refusal | None:
    """What an error of ours comes to; None for one that is a fault of the server."""
    again = {"Retry-After": str(retry_after_s)}
    match error:
        case Refusal():
            return error
        case RequestValidationError():
            return invalid([_of_parameter(detail) for detail in error.errors()])
        case UnknownNameError():
            return Refusal(404, f"no-such-{error.what}", f"there is no {error.what} {error.name!r}")
        case CodecError():
            return invalid([Problem(error.path, f"cannot be stored: {error.cause}")])
        case WorkflowValidationError() | ParameterError():
            return invalid(list(error.problems))
        case StoreFullError():
            return Refusal(507, "store-full", "no space is left where runs are recorded", headers=again)
        case StoreBusyError():
            return Refusal(503, "store-busy", "the record is held by another process", headers=again)
        case StoreError():
            return Refusal(503, "store-unavailable", "the record cannot be reached", headers=again)
    return None


def _of_parameter(detail: Mapping[str, Any]) -> Problem:
    """``query.limit``: a fault of a parameter, in the words of pydantic."""
    where = ".".join(map(str, detail["loc"]))
    message: str = detail["msg"].removeprefix("Value error, ").replace("Input should be", "it should be")
    return Problem(where, message[:1].lower() + message[1:])


class ProblemRoute(APIRoute):
    """A route whose errors are answered with problem details."""

    retry_after_s = 5

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the operation, with its errors answered."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:
                refusal = refusal_of(error, self.retry_after_s)
                if refusal is None:
                    raise
                return refusal.response(getattr(request.state, "correlation_id", None))

        return answer


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: answers with problem details."""
    schema = inlined(ProblemDetails.model_json_schema())
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema, "example": _example(status)}},
        }
        for status in statuses
    }


def inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON schema, which must not refer to itself, with what it defines put where it is used."""
    defined = schema.get("$defs", {})

    def put(value: Any) -> Any:
        if isinstance(value, list):
            return [put(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return put(defined[value["$ref"].rpartition("/")[2]])
        return {name: put(item) for name, item in value.items() if name != "$defs"}

    found: dict[str, Any] = put(schema)
    return found


_EXAMPLES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("not-json", "the request is not JSON: EOF while parsing an object at line 1 column 42"),
    401: ("unauthorized", "a bearer token is needed"),
    403: ("tool-not-offered", "the definition names tools that are not offered here"),
    404: ("no-such-run", "there is no run 'run_019a6f0c5f0a7c3e9d1b2a3c4d5e6f70'"),
    408: ("request-too-slow", "the request did not come within 30 s"),
    409: ("run-is-over", "run run_019a6f0c5f0a7c3e9d1b2a3c4d5e6f70 ended success"),
    413: ("request-too-large", "the request is larger than 1,048,576 bytes"),
    415: ("not-json", "send application/json"),
    422: ("invalid-request", "the definition has 1 problem"),
    429: ("too-many-runs", "32 submitted runs are going on, as many as are allowed"),
    503: ("store-busy", "the record is held by another process"),
    507: ("store-full", "no space is left where runs are recorded"),
}


def _example(status: int) -> dict[str, Any]:
    name, detail = _EXAMPLES[status]
    found: dict[str, Any] = {
        "type": f"{TYPE}{name}",
        "title": name.replace("-", " ").capitalize(),
        "status": status,
        "detail": detail,
    }
    if status in (403, 422):
        cause = "tool 'rm' is not offered here" if status == 403 else "unknown parameter 'subjct'"
        found["problems"] = [{"where": "step 'send'", "cause": cause, "hint": "GET /tools lists what is"}]
    return found
