"""Every error that orchkit raises, in one tree.

::

    OrchkitError
    ├── DefinitionError                 a definition is wrong; nothing has run
    │   ├── WorkflowValidationError       .problems: all of them, each with step and cause
    │   ├── ReferenceSyntaxError          .text, .position
    │   ├── ConditionSyntaxError          .expression
    │   ├── RegistrationError             .name: registered twice, or not registrable
    │   └── PolicyError                   .where: a policy that cannot be read or cannot work
    ├── UnknownNameError (LookupError)  .what, .name, .suggestions
    │   └── UnknownStepError (KeyError)   a result has no such step
    ├── ParameterError (ValueError)     .subject, .problems
    ├── ExecutionError                  something failed while running
    │   ├── WorkflowExecutionError        .run_id, .step_id, .attempt, .cause
    │   ├── OperationError                .operation, .run_id, .cause
    │   ├── OrchestrationError            .name, .request_id, .run_id, .cause
    │   │   ├── DuplicateRequestError       the same request is being executed: .holder
    │   │   └── IdempotencyConflictError    the same key with another input: .differences, .other
    │   ├── RunInProgressError            .run_id, .holder: it goes on elsewhere
    │   ├── CodeChangedError              .run_id, .changes: what was edited since it ran
    │   ├── UnresolvedReferenceError      .reference
    │   ├── ConditionError                .expression, .operands
    │   ├── TimeoutExceededError (TimeoutError)  .seconds, .scope
    │   ├── RejectedError                 .policy, .name: a policy kept the call from being made
    │   │   ├── BreakerOpenError            .state, .retry_in
    │   │   ├── BulkheadFullError           .waited_s
    │   │   └── RateLimitedError            .retry_after
    │   ├── InjectedFaultError            made on purpose, by fault injection
    │   └── HookError                     .hook, .stage
    ├── StoreError
    │   ├── StoreBusyError                .holder, .waited_s
    │   ├── StoreFullError
    │   ├── StoreVersionError             .found, .supported
    │   ├── StoreClosedError
    │   ├── ForkedStoreError
    │   └── CodecError                    .path: where in the value the culprit sits
    ├── BundleError                     .path, .differences: what is wrong with a run in a file
    └── MissingExtraError (ImportError) .package, .extra
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any


class OrchkitError(Exception):
    """The root of the tree: catch this to catch everything orchkit raises."""


# --- definitions ---------------------------------------------------------------------------


class DefinitionError(OrchkitError):
    """A definition (workflow, reference, condition, registration, policy) is wrong."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a definition: where it is, what is wrong and, if known, the way out."""

    where: str
    cause: str
    hint: str | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.cause}" + (f" ({self.hint})" if self.hint else "")


class WorkflowValidationError(DefinitionError):
    """A workflow definition has one or more mistakes; all are reported at once."""

    def __init__(self, workflow: str, problems: Iterable[Problem]) -> None:
        self.workflow = workflow
        self.problems: tuple[Problem, ...] = tuple(problems)
        count = len(self.problems)
        lines = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"workflow {workflow!r} has {count} problem{'s' if count != 1 else ''}:\n{lines}")


class ReferenceSyntaxError(DefinitionError):
    """A ``${...}`` reference cannot be parsed."""

    def __init__(self, text: str, position: int, cause: str) -> None:
        self.text, self.position, self.cause = text, position, cause
        super().__init__(f"{cause} at position {position} of {text!r}")


class ConditionSyntaxError(DefinitionError):
    """A ``when=`` expression cannot be parsed or uses something that is not allowed."""

    def __init__(self, expression: str, cause: str) -> None:
        self.expression, self.cause = expression, cause
        super().__init__(f"{cause} in condition {expression!r}")


class RegistrationError(DefinitionError):
    """A method or tool cannot be registered under this name."""

    def __init__(self, name: str, cause: str) -> None:
        self.name, self.cause = name, cause
        super().__init__(f"cannot register {name!r}: {cause}")


class PolicyError(DefinitionError):
    """A policy cannot be read, or contradicts itself."""

    def __init__(self, where: str, cause: str) -> None:
        self.where, self.cause = where, cause
        super().__init__(f"policy {where}: {cause}")


# --- look-ups and parameters ---------------------------------------------------------------


class UnknownNameError(OrchkitError, LookupError):
    """A method, tool, run, session or step of this name does not exist."""

    def __init__(self, what: str, name: str, known: Iterable[str] = ()) -> None:
        self.what, self.name = what, name
        self.suggestions: tuple[str, ...] = tuple(get_close_matches(name, list(known), n=3))
        hint = f"; did you mean {' or '.join(map(repr, self.suggestions))}?" if self.suggestions else ""
        super().__init__(f"unknown {what} {name!r}{hint}")


class UnknownStepError(UnknownNameError, KeyError):
    """``result.steps`` has no step of this name; a KeyError, as it is for any other mapping."""

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        super().__init__("step", name, known)

    __str__ = Exception.__str__  # a KeyError would show its text in quotes


class ParameterError(OrchkitError, ValueError):
    """Parameters do not fit a tool or method; ``problems`` names each one."""

    def __init__(self, subject: str, problems: Sequence[Problem]) -> None:
        self.subject = subject
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__(f"{subject}: " + "; ".join(map(str, self.problems)))


# --- execution -----------------------------------------------------------------------------


class ExecutionError(OrchkitError):
    """Something failed while running."""


class WorkflowExecutionError(ExecutionError):
    """A run did not succeed; raised by ``result.raise_for_status()`` with the first culprit."""

    def __init__(
        self,
        message: str,
        *,
        run_id: str | None = None,
        step_id: str | None = None,
        attempt: int | None = None,
        cause: str | None = None,
    ) -> None:
        self.run_id, self.step_id, self.attempt, self.cause = run_id, step_id, attempt, cause
        super().__init__(message)


class OperationError(ExecutionError):
    """A dispatched operation failed; raised by ``response.raise_for_status()``."""

    def __init__(self, operation: str, cause: str, *, run_id: str | None = None) -> None:
        self.operation, self.cause, self.run_id = operation, cause, run_id
        super().__init__(f"operation {operation!r} failed: {cause}")


class OrchestrationError(ExecutionError):
    """An orchestrator (or what else was executed under an idempotency key) failed, now or before."""

    def __init__(
        self, name: str, request_id: str, cause: str, *, run_id: str | None = None, text: str | None = None
    ) -> None:
        self.name, self.request_id, self.cause, self.run_id = name, request_id, cause, run_id
        super().__init__(text or f"{name} failed for request {request_id!r}: {cause}")


class DuplicateRequestError(OrchestrationError):
    """The same request is being executed right now; ``on_in_flight="wait"`` waits for its result."""

    def __init__(self, name: str, request_id: str, holder: str, *, run_id: str | None = None) -> None:
        self.holder = holder
        cause = f"it is being executed by {holder}"
        hint = 'wait for its result with on_in_flight="wait"'
        text = f"request {request_id!r} of {name} is in flight: {cause}; {hint}"
        super().__init__(name, request_id, cause, run_id=run_id, text=text)


@dataclass(frozen=True, slots=True)
class Difference:
    """One field in which two inputs differ; ``MISSING`` stands for a field that one of them has not."""

    path: str
    recorded: Any
    given: Any

    def __str__(self) -> str:
        return f"{self.path}: recorded {_short(self.recorded)}, given {_short(self.given)}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


class IdempotencyConflictError(OrchestrationError):
    """A key was used again with another input; ``differences`` names each field.

    ``other`` is what the key was used for before, where that was something else.
    """

    def __init__(
        self,
        name: str,
        request_id: str,
        differences: Sequence[Difference],
        *,
        run_id: str | None = None,
        other: str | None = None,
        unlike: str | None = None,
    ) -> None:
        self.differences: tuple[Difference, ...] = tuple(differences)
        self.other = other
        if other is not None:
            cause = f"it was used for {other!r}; a key is one for the whole store"
            text = f"request {request_id!r} of {name} has the key of another one: {cause} (use another key)"
            super().__init__(name, request_id, cause, run_id=run_id, text=text)
            return
        shown = [str(difference) for difference in self.differences[:5]]
        more = len(self.differences) - len(shown)
        shown += [f"and {more} more"] if more else []
        cause = "; ".join(shown) or unlike or "the recorded input is not the one given"
        hint = "use another key for another input"
        text = f"request {request_id!r} of {name} was made with another input: {cause} ({hint})"
        super().__init__(name, request_id, cause, run_id=run_id, text=text)


class RunInProgressError(ExecutionError):
    """A run cannot be taken up, or removed, because it is still going on."""

    def __init__(self, run_id: str, holder: str) -> None:
        self.run_id, self.holder = run_id, holder
        super().__init__(f"run {run_id} is still going on in {holder}")


class CodeChangedError(ExecutionError):
    """A run was to be resumed with ``on_change="error"``, and what it ran has been edited since."""

    def __init__(self, run_id: str, changes: Sequence[str]) -> None:
        self.run_id = run_id
        self.changes: tuple[str, ...] = tuple(changes)
        listed = "\n".join(f"  - {change}" for change in self.changes)
        hint = 'resume with on_change="rerun" or "keep"'
        super().__init__(f"run {run_id} ran other code ({hint}):\n{listed}")


class UnresolvedReferenceError(ExecutionError):
    """A reference points at something that is not there at run time."""

    def __init__(self, reference: str, cause: str) -> None:
        self.reference, self.cause = reference, cause
        super().__init__(f"{reference} cannot be resolved: {cause}")


class ConditionError(ExecutionError):
    """A ``when=`` expression failed on the values it was given."""

    def __init__(self, expression: str, operands: Mapping[str, Any], cause: str) -> None:
        self.expression, self.operands, self.cause = expression, dict(operands), cause
        values = ", ".join(f"{name}={value!r}" for name, value in self.operands.items())
        super().__init__(f"condition {expression!r} failed: {cause}" + (f" with {values}" if values else ""))


class TimeoutExceededError(ExecutionError, TimeoutError):
    """An attempt, a step or a run took longer than it was allowed."""

    def __init__(self, scope: str, seconds: float) -> None:
        self.scope, self.seconds = scope, seconds
        super().__init__(f"{scope} exceeded its timeout of {seconds:g} s")


class RejectedError(ExecutionError):
    """A policy kept a call from being made; ``policy`` says of which kind it is, ``name`` which one."""

    policy = "policy"

    def __init__(self, name: str, cause: str) -> None:
        self.name = name
        super().__init__(f"{self.policy} {name!r} {cause}")


class BreakerOpenError(RejectedError):
    """A circuit breaker let the call not through; ``retry_in`` seconds later it may.

    ``reason`` is what was given by whoever forced it open; None: nothing, or nobody did.
    """

    policy = "circuit breaker"

    def __init__(self, name: str, state: str, retry_in: float | None, reason: str | None = None) -> None:
        self.state, self.retry_in, self.reason = state, retry_in, reason
        by_hand = "" if state != "forced_open" else " by hand" if reason is None else f" by hand: {reason}"
        after = "" if retry_in is None else f"; it lets calls through in {retry_in:.3g} s"
        super().__init__(name, f"is {state.replace('_', ' ')}{by_hand}{after}")


class BulkheadFullError(RejectedError):
    """As many calls as allowed were running and waiting, or none of them ended in time."""

    policy = "bulkhead"

    def __init__(self, name: str, cause: str, waited_s: float = 0.0) -> None:
        self.waited_s = waited_s
        super().__init__(name, cause)


class RateLimitedError(RejectedError):
    """The call would have had to wait longer for its turn than it was willing to: ``retry_after`` seconds."""

    policy = "rate limit"

    def __init__(self, name: str, cause: str, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(name, cause)


class InjectedFaultError(ExecutionError):
    """A failure made on purpose, by fault injection."""

    def __init__(self, message: str = "injected fault") -> None:
        super().__init__(message)


class HookError(ExecutionError):
    """A hook marked ``required`` raised."""

    def __init__(self, hook: str, stage: str, cause: BaseException) -> None:
        self.hook, self.stage = hook, stage
        super().__init__(f"required hook {hook!r} failed in {stage}: {cause!r}")


# --- store ---------------------------------------------------------------------------------


class StoreError(OrchkitError):
    """The store cannot do what was asked."""


class StoreBusyError(StoreError):
    """Somebody else holds the history file, and did not let go in time."""

    def __init__(self, path: str, holder: str, waited_s: float) -> None:
        self.path, self.holder, self.waited_s = path, holder, waited_s
        super().__init__(f"{path} is held by {holder}; gave up after waiting {waited_s:.1f} s")


class StoreFullError(StoreError):
    """No space is left on the store's disk; nothing acknowledged is lost."""


class StoreVersionError(StoreError):
    """The store was written by a newer orchkit."""

    def __init__(self, path: str, found: int, supported: int) -> None:
        self.path, self.found, self.supported = path, found, supported
        super().__init__(
            f"{path} has schema version {found}, this orchkit reads up to {supported}: upgrade orchkit"
        )


class StoreClosedError(StoreError):
    """The store has been closed."""


class ForkedStoreError(StoreError):
    """A forked child process used the store that its parent opened."""


class CodecError(StoreError):
    """A value cannot be stored; ``path`` says where in the value the culprit sits."""

    def __init__(self, path: str, cause: str) -> None:
        self.path, self.cause = path, cause
        super().__init__(f"{path} cannot be stored: {cause}")


# --- runs in files -------------------------------------------------------------------------

_MOST_DIFFERENCES = 20


class BundleError(OrchkitError):
    """A run cannot be written into a file, or a file is refused; ``differences`` names all that is wrong."""

    def __init__(self, path: str, differences: Iterable[Problem]) -> None:
        self.path = path
        self.differences: tuple[Problem, ...] = tuple(differences)
        shown = [str(difference) for difference in self.differences[:_MOST_DIFFERENCES]]
        if len(self.differences) == 1:
            super().__init__(f"bundle {path}: {shown[0]}")
            return
        more = len(self.differences) - len(shown)
        shown += [f"and {more:,} more"] if more else []
        listed = "\n".join(f"  - {difference}" for difference in shown)
        super().__init__(f"bundle {path} is not what it says in {len(self.differences):,} places:\n{listed}")


# --- extras --------------------------------------------------------------------------------


class MissingExtraError(OrchkitError, ImportError):
    """An optional part needs a package that is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(f'{package} is not installed: pip install "orchkit[{extra}]"')
