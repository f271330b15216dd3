"""The modules that a definition asks for, imported with the current folder in sight."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Final

import orchkit as ok
from orchkit.errors import ParameterError, Problem, WorkflowValidationError

_UNKNOWN: Final = "unknown tool or method "
_REGISTERED: Final = "name the module that registers it in `imports` of the file, or with --import"


def import_modules(workflow: ok.Workflow, more: Iterable[str] = ()) -> None:
    """Import what the definition and its sub-workflows ask for, and ``more``, from the current folder first.

    Raises `WorkflowValidationError` naming every module that cannot be imported.
    """
    problems = _imported((*more, *_names(workflow)))
    if problems:
        raise WorkflowValidationError(workflow.name, problems)


def import_named(names: Iterable[str]) -> None:
    """Import these modules, from the current folder first. Raises `ParameterError` naming each that fails."""
    problems = _imported(names)
    if problems:
        raise ParameterError("--import", problems)


@contextmanager
def hinting_at_imports() -> Iterator[None]:
    """A tool that a definition names and nobody has registered: perhaps its module was not imported."""
    try:
        yield
    except WorkflowValidationError as error:
        problems = [_hinted(problem) for problem in error.problems]
        raise WorkflowValidationError(error.workflow, problems) from error


def _hinted(problem: Problem) -> Problem:
    if not problem.cause.startswith(_UNKNOWN):
        return problem
    return replace(problem, hint=_REGISTERED if problem.hint is None else f"{problem.hint}; or {_REGISTERED}")


def _imported(names: Iterable[str]) -> list[Problem]:
    """What is wrong with the modules that could not be imported."""
    here = os.getcwd()  # noqa: PTH109 - an entry of sys.path is a string
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    return [problem for name in dict.fromkeys(names) if (problem := _import(name, here))]


def _names(workflow: ok.Workflow) -> Iterator[str]:
    yield from workflow.imports
    for step in workflow.steps:
        if step.workflow is not None:
            yield from _names(step.workflow)


def _import(name: str, here: str) -> Problem | None:
    try:
        import_module(name)
    except Exception as error:  # importing runs the module: anything may come
        cause = f"{type(error).__name__}: {error}"
        if (
            isinstance(error, ModuleNotFoundError)
            and error.name is not None
            and f"{name}.".startswith(f"{error.name}.")
        ):
            return Problem(f"imports {name!r}", cause, f"looked for in {here} and in this Python")
        return Problem(f"imports {name!r}", cause, _raised_at(error))
    return None


def _raised_at(error: Exception) -> str | None:
    """The line of the user's that raised; None where the message itself says it."""
    if isinstance(error, SyntaxError):
        return None
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}, line {frame.lineno}"
