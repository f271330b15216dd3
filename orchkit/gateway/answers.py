"""Answers of the gateway's own operations: documents, and problems where they fail."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from orchkit.gateway.problems import MEDIA_TYPE, TITLES, HttpProblem, RefusedError

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

_BY_STATUS = {400: "bad-request", 404: "not-found", 405: "method-not-allowed", 413: "body-too-large"}


class Refusal(RefusedError):  # noqa: N818 - it is what an operation raises to answer so
    """A problem that an operation answers with."""

    def __init__(self, kind: str, detail: str, **more: Any) -> None:
        super().__init__(HttpProblem(kind, detail, more=more))


def problem_response(problem: HttpProblem, instance: str | None = None) -> Response:
    """The problem as a response of Starlette."""
    body = problem.body(instance)
    headers = {name.decode(): value.decode() for name, value in problem.raw_headers(len(body))}
    return Response(body, problem.status, headers)


def _instance(request: Request) -> str | None:
    found = request.scope.get("state", {}).get("correlation_id")
    return found if isinstance(found, str) else None


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return problem_response(error.problem, _instance(request))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = _BY_STATUS.get(error.status_code)
    if kind is None:
        document = {
            "type": "about:blank",
            "title": str(error.detail),
            "status": error.status_code,
            "detail": str(error.detail),
        }
        return Response(json.dumps(document), error.status_code, error.headers, MEDIA_TYPE)
    title = TITLES[kind][1]
    pairs = tuple((name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items())
    detail = title if error.detail in (None, "Not Found", "Method Not Allowed") else str(error.detail)
    return problem_response(HttpProblem(kind, detail, headers=pairs), _instance(request))


async def _unfit(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"where": ".".join(map(str, detail["loc"])), "cause": detail["msg"]} for detail in error.errors()
    ]
    named = "; ".join(f"{one['where']}: {one['cause']}" for one in errors[:5])
    return problem_response(HttpProblem("invalid-input", named, more={"errors": errors}), _instance(request))


async def _failed(request: Request, error: Exception) -> Response:
    detail = "the gateway failed; its log says why"
    return problem_response(HttpProblem("internal-error", detail), _instance(request))


def install(app: FastAPI) -> None:
    """Every error of the app becomes a problem."""
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(Exception, _failed)
