"""Hooks: objects that are told before and after every operation."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from orchkit.engine.recorder import StepScope
from orchkit.errors import HookError, RegistrationError, UnknownNameError
from orchkit.model import event as ev
from orchkit.model.policy import OperationPolicy
from orchkit.model.request import Request, Response
from orchkit.reliability.classify import error_text

Stage = Literal["before", "after", "failed"]
STAGES: tuple[Stage, ...] = ("before", "after", "failed")
_ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "before": ("call",),
    "after": ("call", "response"),
    "failed": ("call", "error"),
}


@dataclass(frozen=True, slots=True)
class HookCall:
    """What a hook is told about an operation."""

    request: Request
    operation: str
    params: Mapping[str, Any]
    policy: OperationPolicy
    scope: StepScope
    """Where to record: ``scope.recorder.event(...)``."""

    @property
    def run_id(self) -> str:
        """The run that the operation belongs to."""
        return self.scope.recorder.run_id

    @property
    def step_id(self) -> str | None:
        """The step that the operation is."""
        return self.scope.step_id


class Hook:
    """Base of hooks: override what you need, sync or async; any object with these methods will do.

    A hook that raises leaves a ``hook.failed`` event and nothing else, unless it is ``required``:
    then the operation fails with `HookError`, or with its own error if it had failed already.
    """

    required: bool = False

    def before(self, call: HookCall) -> Any:
        """Told before the operation runs."""

    def after(self, call: HookCall, response: Response) -> Any:
        """Told when it succeeded."""

    def failed(self, call: HookCall, error: BaseException) -> Any:
        """Told when it failed, also when a required hook refused it."""


@dataclass(frozen=True, slots=True)
class _Bound:
    name: str
    method: Any
    required: bool


@dataclass(frozen=True, slots=True)
class HookSet:
    """The hooks of one kind of operation, sorted by stage; stages that nobody implements are empty."""

    names: tuple[str, ...]
    before: tuple[_Bound, ...]
    after: tuple[_Bound, ...]
    failed: tuple[_Bound, ...]


class HookManager:
    """Knows hooks by name, chooses those of an operation, and calls them."""

    def __init__(self, hooks: Mapping[str, Any] | None = None) -> None:
        self._hooks: dict[str, Any] = {}
        self._filtered = lru_cache(maxsize=512)(self._filter)
        for name, hook in (hooks or {}).items():
            self.register_hook(name, hook)

    def register_hook(self, name: str, hook: Any) -> None:
        """Make a hook known; a later one of the same name replaces it.

        Raises `RegistrationError` when it has none of ``before(call)``, ``after(call, response)``,
        ``failed(call, error)``, or one of them takes other arguments.
        """
        methods = {stage: getattr(hook, stage, None) for stage in STAGES}
        if not any(map(callable, methods.values())):
            raise RegistrationError(name, f"a hook needs at least one of the methods {', '.join(STAGES)}")
        for stage, method in methods.items():
            if callable(method) and not _takes(method, len(_ARGUMENTS[stage])):
                expected = f"{stage}({', '.join(_ARGUMENTS[stage])})"
                raise RegistrationError(name, f"its method {stage} cannot be called as {expected}")
        self._hooks[name] = hook
        self._filtered.cache_clear()

    @property
    def names(self) -> tuple[str, ...]:
        """The registered names."""
        return tuple(self._hooks)

    def get_hook(self, name: str) -> Any:
        """A hook by name. Raises `UnknownNameError`."""
        try:
            return self._hooks[name]
        except KeyError:
            raise UnknownNameError("hook", name, self._hooks) from None

    def filter_hooks(
        self, hooks: Sequence[str], skip: Sequence[str] = (), execution_mode: str = "normal"
    ) -> HookSet:
        """The hooks to run, in the policy's order.

        ``skip=["*"]`` skips all; a dry run skips those that are not ``required``.
        """
        return self._filtered(tuple(hooks), tuple(skip), execution_mode)

    def _filter(self, hooks: tuple[str, ...], skip: tuple[str, ...], execution_mode: str) -> HookSet:
        chosen = []
        for name in hooks:
            hook = self.get_hook(name)
            required = bool(getattr(hook, "required", False))
            skipped = "*" in skip or name in skip or (execution_mode == "dry_run" and not required)
            if not skipped:
                chosen.append((name, hook, required))
        stages = {
            stage: tuple(
                _Bound(name, getattr(hook, stage), required)
                for name, hook, required in chosen
                if _implements(hook, stage)
            )
            for stage in STAGES
        }
        return HookSet(tuple(name for name, _, _ in chosen), **stages)

    async def run_hooks(self, stage: Stage, hooks: HookSet, call: HookCall, *outcome: Any) -> None:
        """Call the hooks of one stage in order. Raises `HookError` for a required one that raised."""
        for bound in getattr(hooks, stage):
            try:
                result = bound.method(call, *outcome)
                if inspect.isawaitable(result):
                    await result
            except Exception as error:
                call.scope.recorder.event(
                    ev.HOOK_FAILED,
                    {
                        "hook": bound.name,
                        "stage": stage,
                        "error": error_text(error),
                        "required": bound.required,
                    },
                    call.step_id,
                    call.scope.attempt,
                )
                if bound.required and stage != "failed":
                    raise HookError(bound.name, stage, error) from error


def _takes(method: Any, count: int) -> bool:
    """Whether a callable takes this many arguments by position; also when it does not tell."""
    try:
        inspect.signature(method).bind(*range(count))
    except TypeError:
        return False
    except ValueError:  # some callables written in C have no signature
        return True
    return True


def _implements(hook: Any, stage: Stage) -> bool:
    """Whether the hook really has this stage (and does not just inherit the empty one)."""
    method = getattr(hook, stage, None)
    return callable(method) and getattr(type(hook), stage, None) is not getattr(Hook, stage)


class MetricsHook(Hook):
    """Counts calls, failures and time per operation, in memory (`frame`)."""

    def __init__(self) -> None:
        self._counts: dict[str, list[float]] = {}
        self._lock = threading.Lock()  # runs on several loops share the hook

    def after(self, call: HookCall, response: Response) -> None:
        """Count a success."""
        self._add(call.operation, 0, float(response.metadata.get("duration_ms", 0.0)))

    def failed(self, call: HookCall, error: BaseException) -> None:
        """Count a failure."""
        self._add(call.operation, 1, 0.0)

    def _add(self, operation: str, failures: int, duration_ms: float) -> None:
        with self._lock:
            counts = self._counts.setdefault(operation, [0, 0, 0.0])
            counts[0] += 1
            counts[1] += failures
            counts[2] += duration_ms

    def snapshot(self) -> dict[str, dict[str, float]]:
        """Per operation: ``calls``, ``failures``, ``mean_ms`` of the successful ones."""
        return {
            operation: {
                "calls": int(calls),
                "failures": int(failures),
                "mean_ms": total / (calls - failures) if calls > failures else 0.0,
            }
            for operation, (calls, failures, total) in list(self._counts.items())
        }


class AuditHook(Hook):
    """Writes an ``audit`` event per operation: who did what, to which casefile, with which outcome."""

    def after(self, call: HookCall, response: Response) -> None:
        """Record a success."""
        self._write(call, "success", None)

    def failed(self, call: HookCall, error: BaseException) -> None:
        """Record a failure."""
        self._write(call, "failed", error_text(error))

    def _write(self, call: HookCall, outcome: str, error: str | None) -> None:
        request = call.request
        payload = {
            "operation": call.operation,
            "outcome": outcome,
            "user_id": request.user_id,
            "session_id": request.session_id,
            "casefile_id": request.casefile_id,
            "parameters": sorted(call.params),
            "error": error,
        }
        call.scope.recorder.event(ev.AUDIT, payload, call.step_id, call.scope.attempt)
