"""The fluent way to a workflow: steps are added one by one, all mistakes are reported by ``build()``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from orchkit.engine.calls import NO_TOOL
from orchkit.engine.draft import brief, step_name
from orchkit.engine.policyargs import (
    Breaker,
    Bulkhead,
    Fallback,
    Faults,
    Hedge,
    Policy,
    RateLimit,
    Retry,
    Timeout,
)
from orchkit.engine.references import fresh
from orchkit.engine.validation import check_by_step
from orchkit.errors import OrchkitError, Problem, WorkflowValidationError
from orchkit.model.base import UNKNOWN_FIELD, Record
from orchkit.model.brief import brief_name
from orchkit.model.policy import NO_POLICY, READERS, ReliabilityPolicy
from orchkit.model.presets import as_policy
from orchkit.model.spelling import hinting
from orchkit.model.workflow import Compensation, ErrorHandling, ExecutionMode, StepDefinition, Workflow
from orchkit.registry.registration import default_registry
from orchkit.registry.registry import Registry

Tool = str | Callable[..., Any]
"""A registered name, ``package.module:function``, or a function (registered under its name if it is not)."""
Undo = Tool | Compensation | Mapping[str, Any]
"""A tool that gets the step's own parameters, or ``{"tool": …, "params": …}``."""
RecordT = TypeVar("RecordT", bound=Record)
T = TypeVar("T")
_SHOWN = 8
"""As many steps are named where a builder shows itself."""


class WorkflowBuilder:
    """Collects steps and settings; every method returns the builder, and none raises for a bad value.

    A builder can be used on after ``build()``: what was built does not change.
    """

    def __init__(
        self, name: str, *, registry: Registry | None = None, description: str | None = None
    ) -> None:
        self._registry = default_registry if registry is None else registry
        self._settings: dict[str, Any] = {"description": description, "metadata": {}}
        self._steps: list[StepDefinition] = []
        self._ids: set[str] = set()
        self._numbers: dict[str, int] = {}
        self._one_parameter: set[int] = set()
        """The maps without parameters: their tool's only one gets the item."""
        self._problems: list[tuple[int, Problem]] = []
        """Each with the place of its step; -1 for the workflow itself."""
        self._settled: set[tuple[str, str]] = set()
        """Step and start of a cause: what would only repeat a problem that is reported already."""
        self._name = str(name)
        if not self._name.strip():
            self._problems.append((-1, Problem(f"workflow {name!r}", "its name is empty")))

    def __repr__(self) -> str:
        count, wrong = len(self._steps), len(self._problems)
        ids = [brief_name(step.step_id) for step in self._steps[:_SHOWN]]
        ids += ["…"] if count > _SHOWN else []
        steps = f"{count:,} step{'' if count == 1 else 's'}" + (f": {', '.join(ids)}" if ids else "")
        told = f"; {wrong} problem{'' if wrong == 1 else 's'} so far, which build() tells" if wrong else ""
        return f"<{type(self).__name__} {brief_name(self._name)}: {steps}{told}>"

    # --- steps -------------------------------------------------------------------------------

    @hinting
    def add_step(
        self,
        tool: Tool,
        params: Mapping[str, Any] | None = None,
        *,
        step_id: str | None = None,
        depends_on: str | Iterable[str] | None = (),
        when: str | None = None,
        timeout: Timeout | None = None,
        retry: Retry | None = None,
        breaker: Breaker | None = None,
        fallback: Fallback | None = None,
        bulkhead: Bulkhead | None = None,
        rate_limit: RateLimit | None = None,
        hedge: Hedge | None = None,
        faults: Faults | None = None,
        policy: Policy | None = None,
        compensate: Undo | None = None,
        node_type: str = "task",
        executor: str | None = None,
        description: str | None = None,
    ) -> Self:
        """Add a call of a tool.

        Args:
            tool: Name of a tool or method, or a function.
            params: Its parameters; ``${...}`` anywhere inside refers to other steps or the context.
            step_id: Defaults to the tool's name, made unique with ``_2``, ``_3``.
            depends_on: Ids of steps that must succeed first; references count without being named here.
            when: Condition over references; the step is skipped when it is false.
            timeout: Seconds per attempt, or a `TimeoutPolicy`.
            retry: Number of attempts, or a `RetryPolicy`.
            breaker: Failures in a row that open it, a name to share one under, or a `BreakerPolicy`;
                False: none, whatever the policy of the operation says.
            fallback: What takes the place of the result when all attempts fail: a number or ``{"value": …}``,
                a function of the error (or of nothing), the name of a tool, a list of those.
            bulkhead: How many of these calls run at the same time, or a `BulkheadPolicy`.
            rate_limit: Calls per second, ``"100/min"``, or a `RateLimitPolicy`.
            hedge: Seconds after which a slow call gets another one beside it, or a `HedgePolicy`; for
                methods registered with ``idempotent=True``.
            faults: The share of attempts that fail on purpose, or a `FaultPolicy`.
            policy: All of that at once: a `ReliabilityPolicy`, or the name of a preset (``"gateway"``).
                What is given beside it changes it, a mapping single fields.
            compensate: What undoes the step when the run fails later.
            node_type: A label of your own; changes the picture, not the run.
            executor: ``inline`` or ``threads``; None: async functions inline, sync ones in threads.
            description: For people.
        """
        return self._add(
            tool,
            step_id,
            parameters=params,
            depends_on=depends_on,
            when=when,
            timeout=timeout,
            retry=retry,
            breaker=breaker,
            fallback=fallback,
            bulkhead=bulkhead,
            rate_limit=rate_limit,
            hedge=hedge,
            faults=faults,
            policy=policy,
            compensate=compensate,
            node_type=node_type,
            executor=executor,
            description=description,
        )

    @hinting
    def add_map(
        self,
        tool: Tool,
        over: str | Sequence[Any],
        params: Mapping[str, Any] | None = None,
        *,
        step_id: str | None = None,
        max_concurrency: int | None = None,
        depends_on: str | Iterable[str] | None = (),
        when: str | None = None,
        timeout: Timeout | None = None,
        retry: Retry | None = None,
        breaker: Breaker | None = None,
        fallback: Fallback | None = None,
        bulkhead: Bulkhead | None = None,
        rate_limit: RateLimit | None = None,
        hedge: Hedge | None = None,
        faults: Faults | None = None,
        policy: Policy | None = None,
        compensate: Undo | None = None,
        executor: str | None = None,
        description: str | None = None,
    ) -> Self:
        """Add one call of a tool per element of a list; the output is the list of their outputs, in order.

        ``over`` is a list, or one reference to a list. ``params`` may use ``${item}`` and ``${index}``;
        without them the tool's only (required) parameter is the item. ``max_concurrency`` limits how many
        items run at the same time. The policies hold for each item, ``when`` for the map as a whole; the rest
        is as for `add_step`.
        """
        if params is None:
            self._one_parameter.add(len(self._steps))
        return self._add(
            tool,
            step_id,
            parameters=params,
            over=over,
            max_concurrency=max_concurrency,
            depends_on=depends_on,
            when=when,
            timeout=timeout,
            retry=retry,
            breaker=breaker,
            fallback=fallback,
            bulkhead=bulkhead,
            rate_limit=rate_limit,
            hedge=hedge,
            faults=faults,
            policy=policy,
            compensate=compensate,
            node_type="map",
            executor=executor,
            description=description,
        )

    @hinting
    def add_workflow(
        self,
        workflow: Workflow,
        params: Mapping[str, Any] | None = None,
        *,
        step_id: str | None = None,
        depends_on: str | Iterable[str] | None = (),
        when: str | None = None,
        compensate: Undo | None = None,
        description: str | None = None,
    ) -> Self:
        """Add a run of another workflow; its output is a dict of the outputs of its steps.

        ``params`` become its context. The default step id is its name. A compensation needs parameters of its
        own; the rest is as for `add_step`.
        """
        return self._add(
            None,
            step_id,
            workflow=workflow,
            parameters=params,
            depends_on=depends_on,
            when=when,
            compensate=compensate,
            node_type="workflow",
            description=description,
        )

    def _add(self, tool: Tool | None, step_id: str | None, **fields: Any) -> Self:
        name, cause = ("", None) if tool is None else self._tool_name(tool)
        default_id = name if tool is not None else str(getattr(fields["workflow"], "name", "workflow"))
        where = step_name(step_id := self._step_id(step_id, default_id))
        if cause is not None:
            self._report(where, cause, then=NO_TOOL)
        fields |= {
            "step_id": step_id,
            "tool_name": name if cause is None else "",
            "parameters": self._parameters(where, fields["parameters"]),
            "depends_on": _ids(fields["depends_on"]),
            "over": _over(fields["over"]) if "over" in fields else None,
            **self._policies(where, fields),
            "compensate": self._compensation(where, fields["compensate"]),
        }
        given = {field: value for field, value in fields.items() if value is not None and field != "policy"}
        step, causes = _made(StepDefinition, given)
        for cause in causes:
            self._report(where, cause)
        self._steps.append(step)
        return self

    # --- settings ----------------------------------------------------------------------------

    def with_execution_mode(self, mode: ExecutionMode) -> Self:
        """``sequential`` (default): one by one; ``parallel``: all at once; ``dag``: as dependencies allow."""
        self._settings["execution_mode"] = mode
        return self

    def with_error_handling(self, strategy: ErrorHandling) -> Self:
        """``stop_on_failure`` (default) or ``continue_on_failure``: finish what does not depend on it."""
        self._settings["error_handling"] = strategy
        return self

    def with_timeout(self, seconds: float | str | timedelta) -> Self:
        """Limit the whole run to so many seconds."""
        self._settings["timeout"] = seconds
        return self

    def with_metadata(self, metadata: Mapping[str, Any] | None = None, /, **more: Any) -> Self:
        """Add entries to the metadata, which are kept with the definition."""
        given = self._read(self._where, "metadata", dict, metadata) or {}
        self._settings["metadata"] |= fresh(given | more)
        return self

    def with_description(self, description: str) -> Self:
        """Say what the workflow is for."""
        self._settings["description"] = description
        return self

    # --- the result --------------------------------------------------------------------------

    def build(self) -> Workflow:
        """The checked definition. Raises `WorkflowValidationError` with all problems."""
        where = self._where
        steps = [self._with_item(index, step) for index, step in enumerate(self._steps)]
        fields = {"name": self._name, "steps": tuple(steps), **fresh(self._settings)}
        workflow, causes = _made(Workflow, fields)
        problems = [*self._problems, *((-1, Problem(where, cause)) for cause in causes)]
        # A kit's registry knows its services; the registry that kits are built over cannot.
        found = check_by_step(workflow, self._registry, services_to_come=self._registry.parent is None)
        problems += [(index, problem) for index, problem in found if not self._is_settled(problem)]
        if problems:
            problems.sort(key=lambda pair: pair[0])
            raise WorkflowValidationError(self._name, [problem for _, problem in problems])
        return workflow

    def _with_item(self, index: int, step: StepDefinition) -> StepDefinition:
        """A map without parameters, its tool's only parameter filled with the item."""
        if index not in self._one_parameter:
            return step
        try:
            target = self._registry.resolve(step.tool_name)
        except OrchkitError:  # reported by the check
            return step
        injected = {name for name, _ in self._registry.services_of(target.method)}
        specs = [spec for spec in target.parameters if spec.name not in injected]
        only = [spec for spec in specs if spec.required] or specs
        return step.model_copy(update={"parameters": {only[0].name: "${item}"}}) if len(only) == 1 else step

    @property
    def _where(self) -> str:
        return f"workflow {self._name!r}"

    # --- reading what people write -----------------------------------------------------------

    def _report(self, where: str, cause: str, *, then: str | None = None) -> None:
        """Keep a problem for ``build()``; ``then`` is how the causes begin that would only repeat it."""
        of_workflow = where == self._where
        self._problems.append((-1 if of_workflow else len(self._steps), Problem(where, cause)))
        if then is not None:
            self._settled.add((where, then))

    def _is_settled(self, problem: Problem) -> bool:
        return any(problem.where == at and problem.cause.startswith(start) for at, start in self._settled)

    def _step_id(self, given: object, default: str) -> str:
        if isinstance(given, str):
            self._ids.add(given)
            return given
        if given is not None:
            self._report(f"step number {len(self._steps) + 1}", f"step_id must be a text, got {brief(given)}")
        step_id, number = default, self._numbers.get(default, 1)
        while step_id in self._ids:
            number += 1
            step_id = f"{default}_{number}"
        self._numbers[default] = number
        self._ids.add(step_id)
        return step_id

    def _tool_name(self, tool: object) -> tuple[str, str | None]:
        """The registered name of a tool, and why it has none."""
        if isinstance(tool, str):
            return tool, None
        if not callable(tool):
            return "step", f"a tool is a name or a function, not {brief(tool)}"
        try:
            return self._registry.resolve(tool).name, None
        except OrchkitError as error:
            return str(getattr(tool, "__name__", "step")), str(error)

    def _parameters(self, where: str, given: object) -> dict[str, Any]:
        if given is None:
            return {}
        if isinstance(given, Mapping) and all(isinstance(name, str) for name in given):
            return {name: fresh(value) for name, value in given.items()}
        self._report(where, f"params must map names to values, got {brief(given)}", then="parameter ")
        return {}

    def _policies(self, where: str, fields: dict[str, Any]) -> dict[str, Any]:
        """The parts of its policy, each read by itself, over those of a whole one."""
        whole = self._read(where, "policy", as_policy, fields.get("policy")) or NO_POLICY
        parts: dict[str, Any] = {}
        for name, read in READERS.items():
            given = fields.pop(name, None)
            if name == "fallback":
                given = self._with_tool_names(given)
            over = getattr(whole, name)
            changing = over is not None and isinstance(given, Mapping)
            reader = partial(_changed, whole, name) if changing else read
            parts[name] = over if given is None else self._read(where, name, reader, given)
        return {"retry_policy": parts.pop("retry"), **parts}

    def _with_tool_names(self, fallback: Any) -> Any:
        """The same with names instead of functions where tools are meant."""
        if isinstance(fallback, list | tuple):
            return [self._with_tool_names(option) for option in fallback]
        if isinstance(fallback, Mapping) and callable(fallback.get("tool")):
            return {**fallback, "tool": self._tool_name(fallback["tool"])[0]}
        return fallback

    def _compensation(self, where: str, given: object) -> Compensation | None:
        if given is None:
            return None
        if isinstance(given, Compensation):
            return given.model_copy(update={"parameters": fresh(given.parameters)})
        fields = dict(given) if isinstance(given, Mapping) else {"tool": given}
        key = "tool_name" if "tool_name" in fields else "tool"
        fields[key], cause = self._tool_name(fields.get(key))
        if cause is not None:
            self._report(where, f"compensate: {cause}")
            return None
        return self._read(where, "compensate", Compensation.model_validate, fresh(fields))

    def _read(self, where: str, name: str, read: Callable[[Any], T | None], given: Any) -> T | None:
        """Read one value; a bad one is a problem and counts as not given."""
        try:
            return read(given) if given is not None else None
        except ValidationError as error:
            for cause in _causes(error):
                self._report(where, f"{name}: {cause}")
        except (TypeError, ValueError, AttributeError) as error:
            self._report(where, f"{name}: {error}, got {brief(given)}")
        return None


def _changed(whole: ReliabilityPolicy, name: str, change: Any) -> Any:
    return getattr(whole.but(**{name: change}), name)


def _over(given: Any) -> Any:
    """A copy of a list; None, which would make the map a plain step, becomes a text that is no list."""
    if given is None:
        return "None"
    return fresh(list(given) if isinstance(given, range) else given)


def _ids(given: Any) -> Any:
    """Step ids in a fixed order: that of a set changes from process to process."""
    if given is None:
        return ()
    return sorted(given, key=str) if isinstance(given, set | frozenset) else given


def _made(model: type[RecordT], fields: dict[str, Any]) -> tuple[RecordT, list[str]]:
    """A record without the fields that are wrong, and what is wrong with them."""
    try:
        return model(**fields), []
    except ValidationError as error:
        causes = _causes(error)
        wrong = {detail["loc"][0] for detail in error.errors()}
    return model(**{field: value for field, value in fields.items() if field not in wrong}), causes


def _causes(error: ValidationError) -> list[str]:
    """``max_attempts: input should be greater than or equal to 1, got 0`` for each mistake."""
    causes = []
    for detail in error.errors(include_url=False):
        path = ".".join(map(str, detail["loc"]))
        message = str(detail["msg"]).removeprefix("Value error, ")
        if detail["type"] == UNKNOWN_FIELD:
            causes.append(message)
            continue
        place = f"{path}: " if path else ""
        causes.append(f"{place}{message[:1].lower()}{message[1:]}, got {brief(detail['input'])}")
    return causes
