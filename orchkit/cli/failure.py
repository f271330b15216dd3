"""How errors are told: a message on stderr, a line per problem, an exit code."""

from __future__ import annotations

from collections.abc import Sequence

from rich.padding import Padding
from rich.text import Text

from orchkit.analysis.words import plural
from orchkit.cli.screen import stderr
from orchkit.cli.words import plain
from orchkit.errors import (
    DefinitionError,
    OrchkitError,
    ParameterError,
    Problem,
    UnknownNameError,
    WorkflowValidationError,
)

FAILED = 1
NOT_UNDERSTOOD = 2


class UsageError(OrchkitError):
    """What was asked for cannot be done as it was asked."""


def exit_code(error: OrchkitError) -> int:
    """2 when the user has to ask differently (a definition, a name, an argument), 1 when it failed."""
    asked_wrongly = isinstance(error, UsageError | DefinitionError | UnknownNameError | ParameterError)
    return NOT_UNDERSTOOD if asked_wrongly else FAILED


def report(error: OrchkitError) -> None:
    """Say on stderr what went wrong; all problems of a definition, each on its own."""
    problems: Sequence[Problem] = getattr(error, "problems", ())
    if not problems:
        _say(_heading(str(error)))
        return
    _say(_heading(f"{_subject(error)}: {plural(len(problems), 'problem')}"))
    for problem in problems:
        _say(_problem(problem), indent=2)


def note(text: str) -> None:
    """Tell the user something on stderr."""
    _say(Text(text, style="dim"))


def _say(text: Text, indent: int = 0) -> None:
    """Wrapped between words on a terminal; elsewhere (a log) one line, which can be searched."""
    console = stderr()
    if console.is_terminal:
        console.print(Padding(text, (0, 0, 0, indent), expand=False))
    else:
        console.print(Text(" " * indent).append_text(text), soft_wrap=True)


def _subject(error: OrchkitError) -> str:
    if isinstance(error, WorkflowValidationError):
        return f"workflow {error.workflow!r}"
    return str(getattr(error, "subject", type(error).__name__))


def _heading(text: str) -> Text:
    return Text.assemble(("error: ", "bold red"), plain(text))


def _problem(problem: Problem) -> Text:
    text = Text.assemble((plain(problem.where), "bold"), f": {plain(problem.cause)}")
    if problem.hint:
        text.append(f" ({plain(problem.hint)})", style="cyan")
    return text
