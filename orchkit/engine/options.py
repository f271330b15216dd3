"""What a run is given beside its workflow: by all three doors of the engine, and by a parent run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict, get_args

from orchkit.engine.gate import NOWHERE, Breakpoints, Pause
from orchkit.errors import ParameterError, Problem
from orchkit.model.idempotency import DEFAULT_TTL_HOURS, IdempotencyKey, InFlight, OnFailed
from orchkit.model.request import NO_DIRECTIVES, Durability, ExecutionDirective


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Everything about a run that is not its workflow."""

    user_id: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    session_id: str | None = None
    casefile_id: str | None = None
    request_id: str | None = None
    durability: Durability = "sync"
    directives: ExecutionDirective = NO_DIRECTIVES
    parent_run_id: str | None = None
    parent_step_id: str | None = None
    key: IdempotencyKey | None = None
    breakpoints: Breakpoints = NOWHERE
    simulated: Mapping[str, Any] | None = None
    """For a run in virtual time against played services: the seed, and which run of how many."""


class RunArguments(TypedDict, total=False):
    """Keyword arguments of `execute`, `run` and `start` beside the user and the context."""

    session_id: str | None
    casefile_id: str | None
    request_id: str | None
    durability: Durability | None
    directives: ExecutionDirective | None
    idempotency_key: str | None
    ttl_hours: float
    on_in_flight: InFlight
    on_failed: OnFailed
    pause: Pause | None
    break_on: Sequence[str] | str


def check_durability(durability: Any) -> None:
    """Raises `ParameterError` unless it is one of the three."""
    if durability not in get_args(Durability):
        hint = f"use {', '.join(get_args(Durability))}"
        raise ParameterError("run", [Problem("durability", f"unknown value {durability!r}", hint)])


def run_options(user_id: Any, context: Any, arguments: RunArguments, durability: Durability) -> RunOptions:
    """Check and complete the arguments. Raises `ParameterError` naming each that is wrong."""
    problems = [
        Problem(name, "no such argument", f"there are {', '.join(RunArguments.__annotations__)}")
        for name in arguments
        if name not in RunArguments.__annotations__
    ]
    directives: Any = arguments.get("directives") or NO_DIRECTIVES
    chosen = arguments.get("durability") or getattr(directives, "durability", None) or durability
    if chosen not in get_args(Durability):
        hint = f"use {', '.join(get_args(Durability))}"
        problems.append(Problem("durability", f"unknown value {chosen!r}", hint))
    if not isinstance(user_id, str | None):
        way_out = "write context={...}" if isinstance(user_id, Mapping) else None
        problems.append(Problem("user_id", f"expected a text, got {type(user_id).__name__}", way_out))
    if not isinstance(context, Mapping | None):
        problems.append(Problem("context", f"expected a mapping, got {type(context).__name__}"))
    if not isinstance(directives, ExecutionDirective):
        problems.append(
            Problem("directives", f"expected ExecutionDirective, got {type(directives).__name__}")
        )
    if problems:
        raise ParameterError("run", problems)
    return RunOptions(
        user_id=user_id,
        context=context or {},
        session_id=arguments.get("session_id"),
        casefile_id=arguments.get("casefile_id"),
        request_id=arguments.get("request_id"),
        durability=chosen,
        directives=directives,
        key=_key(arguments, directives),
        breakpoints=Breakpoints.of(arguments.get("pause"), arguments.get("break_on")),
    )


def _key(arguments: RunArguments, directives: ExecutionDirective) -> IdempotencyKey | None:
    """The key that was given as an argument, else the one of the directives."""
    key = arguments.get("idempotency_key")
    if key is None:
        return directives.key()
    return IdempotencyKey(
        key,
        arguments.get("ttl_hours", DEFAULT_TTL_HOURS),
        arguments.get("on_in_flight", "raise"),
        arguments.get("on_failed", "execute"),
    )
