"""The operations of the workflow API."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import AwareDatetime  # noqa: TC002 - FastAPI reads the annotations
from pydantic_core import to_json

from orchkit.gateway.tracecontext import carried
from orchkit.gateway.workflows.catalog import Catalog
from orchkit.gateway.workflows.commits import Commits
from orchkit.gateway.workflows.desk import Desk
from orchkit.gateway.workflows.exposure import Offer
from orchkit.gateway.workflows.intake import Intake, read_body
from orchkit.gateway.workflows.record import Filters, RunRecords
from orchkit.gateway.workflows.refusals import ProblemRoute, Refusal, documented, inlined
from orchkit.gateway.workflows.settings import Offering
from orchkit.gateway.workflows.shapes import (
    EXAMPLE_REQUEST,
    EXAMPLE_RUN,
    Cancelling,
    RunDetails,
    RunKind,
    RunPage,
    RunStanding,
    SubmissionShape,
    Submitted,
    ToolList,
    WorkflowResponsePayload,
)
from orchkit.gateway.workflows.stream import EventStreams
from orchkit.kit import Kit
from orchkit.model.result import RunStatus

_LAST_SEQ: Final = 2**63 - 1
_LONGEST: Final = 200
RunId = Annotated[
    str, Path(description="The id of a run.", min_length=1, max_length=_LONGEST, examples=[EXAMPLE_RUN])
]
_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": inlined(SubmissionShape.model_json_schema()),
                "examples": {
                    "intake": {"summary": "Two steps, one after the other", "value": EXAMPLE_REQUEST}
                },
            }
        },
    }
}
_LOCATION: Final = {
    "headers": {"Location": {"description": "Where the run is read.", "schema": {"type": "string"}}}
}
_STREAM_EXAMPLE: Final = (
    'id: 421\nevent: step.finished\ndata: {"seq":421,"ts":1772357401250000,"kind":"step.finished",'
    f'"run_id":"{EXAMPLE_RUN}","step_id":"notify","attempt":null,"payload":{{"status":"success"}}}}\n\n'
)
_ONE_EVENT: Final = {
    "type": "object",
    "description": "One event of the stream.",
    "properties": {
        "id": {"type": "string", "description": "Its place in the order of all events."},
        "event": {"type": "string", "description": "Its kind, such as `step.finished`; or `cut_off`."},
        "data": {"type": "string", "description": "The event as JSON."},
    },
}
_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The events, each with its number as id and its kind as event name.",
        "content": {"text/event-stream": {"schema": _ONE_EVENT, "example": _STREAM_EXAMPLE}},
    },
    204: {"description": "The run is over, and everything has been sent."},
}


class WorkflowRouter(APIRouter):
    """The operations on one kit."""

    def __init__(self, kit: Kit, config: Offering) -> None:
        self._settings = settings = config.workflows
        super().__init__(prefix=settings.prefix, tags=["workflows"], route_class=ProblemRoute)
        self._commits = Commits(kit.store)
        self._records = RunRecords(kit.store, most_lines=settings.max_log_lines)
        offer = Offer(kit.registry, settings)
        self._intake = Intake(kit.registry, offer, settings)
        self._catalog = Catalog(kit.registry, offer)
        self._desk = Desk(kit, self._commits, settings)
        self._streams = EventStreams(kit.store, self._records, self._commits, settings)
        self._add_writing()
        self._add_reading()
        self._add_following()

    def close(self) -> None:
        """End all streams of events, so that a server that stops does not wait for those who read them.

        From any thread. Runs go on.
        """
        self._commits.close()

    @property
    def running(self) -> int:
        """How many submitted runs go on."""
        return self._desk.running

    @property
    def following(self) -> int:
        """How many clients follow events."""
        return self._streams.count

    # --- the operations ----------------------------------------------------------------------

    async def _submit(
        self,
        request: Request,
        idempotency_key: Annotated[
            str | None,
            Header(
                description="Run it once: a request with the same key and content gets the same run, "
                "or 409 while that goes on; with another content it gets 422."
            ),
        ] = None,
    ) -> Response:
        """Start a run of a definition.

        The answer comes when the beginning of the run is on the record. All problems of a definition are told
        at once. The tools that it may name are those of `GET /tools`.
        """
        media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if media_type != "application/json" and not media_type.endswith("+json"):
            raise Refusal(415, "not-json", "send application/json")
        body = await read_body(request.stream(), self._settings)
        order = await asyncio.to_thread(self._intake.read, body, idempotency_key)
        with carried(request.scope["headers"]):
            run = await self._desk.submit(order, _principal(request), _request_id(request))
        facts = {"run_id": run.run_id, "name": run.name, "status": run.status, "replayed": run.replayed}
        place = request.app.url_path_for("workflows.read_run", run_id=run.run_id)
        headers = {"Location": f"{request.scope.get('root_path', '')}{place}"}
        headers |= {"Idempotency-Replayed": "true"} if run.replayed else {}
        return _json(facts, 200 if run.replayed else 202, headers)

    async def _list(
        self,
        status: Annotated[list[RunStatus] | None, Query(description="Only runs of these statuses.")] = None,
        name: Annotated[str | None, Query(description="Only runs of this name.", max_length=_LONGEST)] = None,
        since: Annotated[
            AwareDatetime | None, Query(description="Only runs that began then or later.")
        ] = None,
        kind: Annotated[
            RunKind, Query(description="Runs of workflows, or of what else is run.")
        ] = "workflow",
        limit: Annotated[
            int, Query(description="Runs in a page; fewer than asked for where that is the limit.", ge=1)
        ] = 50,
        cursor: Annotated[
            str | None, Query(description="`next_cursor` of the page before.", max_length=500)
        ] = None,
    ) -> Response:
        """List runs, the newest first."""
        filters = Filters(kind, tuple(status or ()), name, since)
        page = await asyncio.to_thread(
            self._records.page, filters, cursor, min(limit, self._settings.max_page)
        )
        return _json(page)

    async def _read(self, run_id: RunId) -> Response:
        """Read a run: its definition, its context, and how its steps stand."""
        return _json(await asyncio.to_thread(self._records.details, run_id))

    async def _status(self, run_id: RunId) -> Response:
        """Read how a run stands, in short."""
        return _json(await asyncio.to_thread(self._records.status, run_id))

    async def _result(self, run_id: RunId) -> Response:
        """Read what came of a run, so far, and what happened in words."""
        found = await asyncio.to_thread(self._records.result, run_id)
        return _json(found)

    async def _cancel(self, request: Request, run_id: RunId) -> Response:
        """Cancel a run.

        Asking again changes nothing. The run is over a little later: follow its events, or read its status.
        """
        handle = self._desk.find(run_id)
        if handle is not None:
            who = _principal(request)
            handle.cancel(f"cancelled over HTTP by {who}" if who else "cancelled over HTTP")
            return _json({"run_id": run_id, "status": handle.status}, 202)
        standing = await asyncio.to_thread(self._records.standing, run_id)
        if standing.status == "cancelled":
            return _json({"run_id": run_id, "status": standing.status})
        if standing.cut_off:
            raise Refusal(409, "run-is-cut-off", f"run {run_id} was cut off: nothing of it goes on")
        if standing.over:
            told = f"run {run_id} ended {standing.status}"
            raise Refusal(409, "run-is-over", told, run_status=standing.status)
        raise Refusal(409, "run-is-not-ours", f"run {run_id} was not submitted here: cancel it where it runs")

    async def _events(
        self,
        run_id: RunId,
        last_event_id: Annotated[
            int | None, Header(description="The last event that was seen.", ge=0, le=_LAST_SEQ)
        ] = None,
        after: Annotated[
            int | None,
            Query(description="The same, for clients that cannot set headers.", ge=0, le=_LAST_SEQ),
        ] = None,
    ) -> Response:
        """Follow the events of a run.

        First those on record, then those that come; a comment tells now and then that the stream still lives.
        It ends when the run is over, or, with the event `cut_off`, when nobody works on the run any more.
        """
        return await self._streams.open(run_id, last_event_id if last_event_id is not None else after or 0)

    async def _tools(self) -> Response:
        """List the tools that definitions may name, with the JSON schema of their parameters."""
        return _json({"tools": await asyncio.to_thread(self._catalog.tools)})

    # --- where they are ----------------------------------------------------------------------

    def _add_writing(self) -> None:
        self.add_api_route(
            "/workflows",
            self._submit,
            methods=["POST"],
            name="workflows.submit",
            operation_id="submitWorkflow",
            summary="Submit a workflow",
            status_code=202,
            response_model=Submitted,
            responses={
                202: {"description": "The run has begun.", **_LOCATION},
                200: {"description": "The run that the key names.", "model": Submitted, **_LOCATION},
                **documented(400, 403, 408, 409, 413, 415, 422, 429, 503, 507),
            },
            openapi_extra=_BODY,
        )
        self.add_api_route(
            "/runs/{run_id}/cancel",
            self._cancel,
            methods=["POST"],
            name="workflows.cancel_run",
            operation_id="cancelRun",
            summary="Cancel a run",
            status_code=202,
            response_model=Cancelling,
            responses={
                202: {"description": "It is being cancelled."},
                200: {"description": "It was cancelled before.", "model": Cancelling},
                **documented(404, 409, 422, 503),
            },
        )

    def _add_reading(self) -> None:
        reading: tuple[tuple[str, Any, str, str, Any, tuple[int, ...]], ...] = (
            ("/runs", self._list, "list_runs", "List runs", RunPage, (422, 503)),
            ("/runs/{run_id}", self._read, "read_run", "Read a run", RunDetails, (404, 422, 503)),
            (
                "/runs/{run_id}/status",
                self._status,
                "read_run_status",
                "Read how a run stands",
                RunStanding,
                (404, 422, 503),
            ),
            (
                "/runs/{run_id}/result",
                self._result,
                "read_run_result",
                "Read the result of a run",
                WorkflowResponsePayload,
                (404, 422, 503),
            ),
            ("/tools", self._tools, "list_tools", "List the tools", ToolList, (503,)),
        )
        for path, operation, name, summary, model, statuses in reading:
            self.add_api_route(
                path,
                operation,
                methods=["GET"],
                name=f"workflows.{name}",
                operation_id=_camel(name),
                summary=summary,
                response_model=model,
                responses=documented(*statuses),
            )

    def _add_following(self) -> None:
        self.add_api_route(
            "/runs/{run_id}/events",
            self._events,
            methods=["GET"],
            name="workflows.follow_run",
            operation_id="followRun",
            summary="Follow the events of a run",
            response_class=Response,
            responses={**_STREAM, **documented(404, 422, 429, 503)},
        )


def router(kit: Kit, config: Offering) -> WorkflowRouter:
    """The operations of the workflow API on this kit, for an app to include; `close` it with the server.

    Raises:
        ParameterError: A tool that should be offered is registered nowhere. A prefix that fits none is only
            warned of.
    """
    Offer(kit.registry, config.workflows).check()
    return WorkflowRouter(kit, config)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(to_json(value, inf_nan_mode="null"), status, headers, "application/json")


def _principal(request: Request) -> str | None:
    """The name of the token that the request came with."""
    return getattr(request.state, "principal", None)


def _request_id(request: Request) -> str | None:
    """The correlation id: as the gateway has it, else as the client sent it."""
    known = getattr(request.state, "correlation_id", None) or request.headers.get("x-correlation-id")
    return known if isinstance(known, str) and 0 < len(known) <= _LONGEST and known.isprintable() else None


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))
