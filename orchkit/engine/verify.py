"""Running pure steps once more, to see whether they still give what is on record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchkit.engine.compiled import Compiled, CompiledCache
from orchkit.engine.dispatch import Orchestrator
from orchkit.engine.resume import RecordedRun
from orchkit.errors import Difference
from orchkit.model.differences import differences
from orchkit.model.display import Displayable
from orchkit.model.state import RunState, StepState
from orchkit.registry.target import Target
from orchkit.reliability.classify import error_text
from orchkit.store import codec

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Checked:
    """One completed step that was run once more."""

    run_id: str
    step_id: str
    item: int | None
    """For an item of a map: its place."""
    attempt: int
    """The attempt whose output is on record."""
    name: str
    matches: bool
    expected: Any
    """The recorded output, in its stored form."""
    actual: Any
    """The output now, in its stored form; None when it failed."""
    differences: tuple[Difference, ...] = ()
    error: str | None = None
    """How it failed now."""
    code_changed: bool = False
    """Whether its code is another one than when it ran."""


class Verification(Displayable):
    """What came of it: ``bool(verification)``, `frame`, `mismatches`."""

    def __init__(self, run_id: str, checked: list[Checked], skipped: list[str]) -> None:
        self.run_id = run_id
        self.checked = tuple(checked)
        self.skipped = tuple(skipped)
        """Completed steps that were not run again, because their methods are not declared ``pure=True``."""

    @property
    def mismatches(self) -> tuple[Checked, ...]:
        """Those that gave something else, or failed."""
        return tuple(step for step in self.checked if not step.matches)

    def __bool__(self) -> bool:
        return not self.mismatches

    def __len__(self) -> int:
        return len(self.checked)

    def frame(self) -> pd.DataFrame:
        """One row per step that was run again.

        Columns: ``run_id, step_id, item, attempt, name, matches, expected, actual, differences, error,
        code_changed``.
        """
        import pandas as pd

        rows = [
            {
                "run_id": step.run_id,
                "step_id": step.step_id,
                "item": step.item,
                "attempt": step.attempt,
                "name": step.name,
                "matches": step.matches,
                "expected": step.expected,
                "actual": step.actual,
                "differences": "; ".join(map(str, step.differences)) or None,
                "error": step.error,
                "code_changed": step.code_changed,
            }
            for step in self.checked
        ]
        columns = ["run_id", "step_id", "item", "attempt", "name", "matches", "expected", "actual"]
        columns += ["differences", "error", "code_changed"]
        return pd.DataFrame(rows, columns=columns).astype({"item": "Int64", "attempt": "Int64"})

    def __repr__(self) -> str:
        wrong = len(self.mismatches)
        left = f", {len(self.skipped)} not pure" if self.skipped else ""
        if not self.checked:
            return f"<Verification of {self.run_id}: nothing was run again, no completed step is pure{left}>"
        found = "all match" if not wrong else f"{wrong} of them differ{'s' if wrong == 1 else ''}"
        return f"<Verification of {self.run_id}: {len(self)} steps, {found}{left}>"


async def verify(orchestrator: Orchestrator, compiled_cache: CompiledCache, run: RecordedRun) -> Verification:
    """Run all completed steps of pure methods again, those of sub-workflows too; nothing is recorded."""
    checked: list[Checked] = []
    skipped: list[str] = []
    compiled = compiled_cache.get(run.workflow())
    for state, step, target, of_run in _candidates(run.states, run.state, compiled):
        if target.method.pure:
            checked.append(await _check(orchestrator, state, step, target, of_run))
        else:
            skipped.append(step.step_id)
    return Verification(run.run_id, checked, skipped)


def _candidates(
    states: Mapping[str, RunState], state: RunState, compiled: Compiled
) -> Iterator[tuple[RunState, StepState, Target, Compiled]]:
    """The completed steps that call something, with what they call."""
    nodes = compiled.plan.nodes
    for step in state.steps.values():
        node = nodes.get(step.parent or step.step_id)
        if node is None or step.status != "success":
            continue
        if node.sub_plan is not None:
            child = states.get(step.child_run_id or "")
            if child is not None:
                yield from _candidates(states, child, compiled.below(step.step_id, node.sub_plan))
        elif node.target is not None and (node.over is None or step.parent is not None):
            yield state, step, node.target, compiled


async def _check(
    orchestrator: Orchestrator, state: RunState, step: StepState, target: Target, compiled: Compiled
) -> Checked:
    actual, error = None, None
    found: tuple[Difference, ...] = ()
    try:
        actual = codec.pack(await _output(orchestrator, step, target), "output").value
        found = tuple(differences(step.output, actual, "output"))
    except Exception as failure:  # whatever the user's function raises now
        error = error_text(failure)
    before, now = state.code.get(target.name, {}), compiled.code.get(target.name, {})
    return Checked(
        state.run_id,
        step.step_id,
        _place(step),
        max((attempt.number for attempt in step.attempts), default=0),
        target.name,
        error is None and not found,
        step.output,
        actual,
        found,
        error,
        bool(before.get("hash")) and before["hash"] != now.get("hash"),
    )


async def _output(orchestrator: Orchestrator, step: StepState, target: Target) -> Any:
    method = target.method
    params = orchestrator.registry.validate(target, codec.unpack(step.input, step.input_types))
    run, _ = orchestrator.bodies.runner(method.function, is_async=method.is_async, executor=method.executor)
    return await run({**params, **orchestrator.registry.inject(method)})


def _place(step: StepState) -> int | None:
    return None if step.parent is None else int(step.step_id.rpartition("[")[2][:-1])
