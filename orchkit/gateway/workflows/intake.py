"""From the bytes of a request to a definition that can be run, or all that is wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from orchkit.engine.validation import check
from orchkit.errors import ParameterError, Problem, WorkflowValidationError
from orchkit.gateway.workflows.exposure import Offer, settings_refused
from orchkit.gateway.workflows.refusals import Refusal, invalid
from orchkit.gateway.workflows.settings import WorkflowSettings
from orchkit.model.faults import problems_of
from orchkit.model.idempotency import IdempotencyKey
from orchkit.model.near import at_most
from orchkit.model.request import NO_DIRECTIVES, ExecutionDirective, WorkflowRequestPayload
from orchkit.model.workflow import Workflow
from orchkit.registry.registry import Registry

_COMPARISONS: Final = 20_000
"""For all hints to wrong names in a request, half a second."""
_MOST_FIELDS: Final = 100
_LONGEST_KEY: Final = 255
_DEFINITION: Final = "workflow_definition"
_DIRECTIVES: Final = "execution_directives"


@dataclass(frozen=True, slots=True)
class Order:
    """A request that can be carried out."""

    workflow: Workflow
    context: Mapping[str, Any]
    directives: ExecutionDirective
    """Without an idempotency key: that is beside it."""
    key: IdempotencyKey | None


async def read_body(chunks: AsyncIterator[bytes], settings: WorkflowSettings) -> bytes:
    """The body, as far as it may reach. Raises a 413, or a 408 when it takes too long to come."""
    body = bytearray()
    try:
        async with asyncio.timeout(settings.max_body_s):
            async for chunk in chunks:
                body += chunk
                if len(body) > settings.max_bytes:
                    told = f"the request is larger than {settings.max_bytes:,} bytes"
                    raise Refusal(413, "request-too-large", told, headers={"Connection": "close"})
    except TimeoutError:
        told = f"the request did not come within {settings.max_body_s:g} s"
        raise Refusal(408, "request-too-slow", told, headers={"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refusal(400, "request-cut-off", "the client went away") from None
    return bytes(body)


class Intake:
    """Reads requests, by the settings of the operator."""

    def __init__(self, registry: Registry, offer: Offer, settings: WorkflowSettings) -> None:
        self._registry, self._offer, self._settings = registry, offer, settings

    def read(self, body: bytes, key: str | None) -> Order:
        """What is asked for; ``key`` is that of the ``Idempotency-Key`` header.

        Takes a while for a large definition: call it in a thread. Raises a `Refusal`: 400 for what is not
        JSON, 403 for tools that are not offered, else 422, each with all problems of that kind.
        """
        with at_most(_COMPARISONS):
            return self._read(body, key)

    def _read(self, body: bytes, key: str | None) -> Order:
        data = _parsed(body)
        self._check_size(data)
        payload, workflow, problems = _shaped(data)
        if problems or payload is None or workflow is None:
            raise invalid(problems)
        refused = self._offer.refused(workflow)
        if refused:
            told = "the definition names what is not offered here"
            raise Refusal(403, "tool-not-offered", told, problems=refused)
        directives = payload.execution_directives or NO_DIRECTIVES
        wanted = _key(key, directives, problems)
        problems += self._directive_problems(directives)
        problems += settings_refused(workflow, self._settings)
        problems += check(workflow, self._registry)
        if problems:
            raise invalid(problems, _count(workflow.name, problems))
        directives = directives.model_copy(update={"idempotency_key": None})
        return Order(self._limited(workflow), payload.context, directives, wanted)

    def _limited(self, workflow: Workflow) -> Workflow:
        limit = self._settings.max_seconds
        if limit is None or workflow.timeout is not None:
            return workflow
        return workflow.model_copy(update={"timeout": limit})

    def _check_size(self, data: Any) -> None:
        """Before anything is made of it. Raises a 422."""
        settings, problems = self._settings, []
        steps, below, fields = _counted(data.get(_DEFINITION) if isinstance(data, dict) else None)
        fields = max(fields, len(data) if isinstance(data, dict) else 0)
        if fields > _MOST_FIELDS:
            cause = f"a definition or step with {fields:,} fields, there are not so many"
            problems.append(Problem("the request", cause))
        if _deeper(data, settings.max_depth):
            problems.append(Problem("the request", f"nested deeper than {settings.max_depth} levels"))
        if steps > settings.max_steps:
            cause = f"{steps:,} steps, at most {settings.max_steps:,} are allowed"
            problems.append(Problem(_DEFINITION, cause))
        if below > settings.max_sub_workflows:
            cause = f"sub-workflows are nested {below} deep, {settings.max_sub_workflows} is allowed"
            problems.append(Problem(_DEFINITION, cause))
        if problems:
            raise invalid(problems, "the request is too large")

    def _directive_problems(self, directives: ExecutionDirective) -> Iterator[Problem]:
        if directives.skip_hooks and not self._settings.allow_skip_hooks:
            cause = "hooks are not for a client to leave out here"
            yield Problem(f"{_DIRECTIVES}.skip_hooks", cause, "leave it out")
        if directives.on_in_flight == "wait":
            cause = "a submission waits for nothing"
            yield Problem(f"{_DIRECTIVES}.on_in_flight", cause, "ask for the run that the answer names")


def _parsed(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        raise Refusal(400, "not-json", f"the request is not JSON: {error}") from None


def _shaped(data: Any) -> tuple[WorkflowRequestPayload | None, Workflow | None, list[Problem]]:
    """The payload and its definition, or the faults of both."""
    payload, workflow, problems = None, None, []
    try:
        payload = WorkflowRequestPayload.model_validate(data)
    except ValidationError as error:
        problems += [replace(problem, where="the request") for problem in problems_of(error, data=data)]
    definition = data.get(_DEFINITION) if isinstance(data, dict) else None
    if isinstance(definition, dict):
        try:
            workflow = Workflow.from_dict(definition)
        except WorkflowValidationError as error:
            problems += [Problem(f"{_DEFINITION}, {p.where}", p.cause, p.hint) for p in error.problems]
    return payload, workflow, problems


def _key(
    header: str | None, directives: ExecutionDirective, problems: list[Problem]
) -> IdempotencyKey | None:
    """The idempotency key, from the header or the directives."""
    header, named = _unquoted(header), directives.idempotency_key
    if header is not None and named is not None and header != named:
        cause = "another key than in execution_directives.idempotency_key"
        problems.append(Problem("Idempotency-Key", cause, "give one of them"))
        return None
    text = header if header is not None else named
    if text is None:
        return None
    if len(text) > _LONGEST_KEY:
        problems.append(Problem("Idempotency-Key", f"longer than {_LONGEST_KEY} characters"))
        return None
    try:
        return IdempotencyKey(text, directives.ttl_hours, "raise", directives.on_failed)
    except ParameterError as error:
        problems += [Problem(f"Idempotency-Key: {p.where}", p.cause, p.hint) for p in error.problems]
        return None


def _unquoted(header: str | None) -> str | None:
    """The text of a header that may be a quoted string, as the standard to be has it."""
    if header is not None and len(header) >= 2 and header[0] == header[-1] == '"':
        return header[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return header


def _deeper(data: Any, levels: int) -> bool:
    """Whether values are nested deeper than so many levels."""
    level = [data]
    for _ in range(levels):
        level = [item for value in level for item in _inside(value)]
        if not level:
            return False
    return True


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _counted(definition: Any) -> tuple[int, int, int]:
    """Of a definition: how many steps it has in all, how deep sub-workflows are, the most fields of any."""
    count = deepest = fields = 0
    left = [(definition, 0)]
    while left:
        inner, depth = left.pop()
        deepest = max(deepest, depth)
        if not isinstance(inner, dict):
            continue
        steps = inner.get("steps")
        found = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
        count += len(steps) if isinstance(steps, list) else 0
        fields = max(fields, len(inner), *map(len, found), 0)
        left += [(step["workflow"], depth + 1) for step in found if step.get("workflow") is not None]
    return count, deepest, fields


def _count(name: str, problems: list[Problem]) -> str:
    several = f"{len(problems):,} problem{'' if len(problems) == 1 else 's'}"
    return f"the request to run {name!r} has {several}"
