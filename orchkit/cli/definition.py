"""A workflow definition read from a file: all its faults at once, each with the line it is in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orchkit as ok
from orchkit.cli.failure import UsageError
from orchkit.errors import DefinitionError, Problem


class FaultyFileError(DefinitionError):
    """A file is not a workflow definition; ``problems`` names each fault with its line."""

    def __init__(self, subject: str, problems: Sequence[Problem]) -> None:
        self.subject, self.problems = subject, tuple(problems)
        super().__init__(f"{subject}: " + "; ".join(map(str, self.problems)))


def read_definition(path: Path) -> ok.Workflow:
    """Read a ``.yaml``, ``.yml`` or ``.json`` file.

    Raises `UsageError` when it cannot be read, `FaultyFileError` with all its faults.
    """
    try:
        return ok.Workflow.from_file(path)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read {path}: it is not UTF-8 text (at byte {error.start})") from error
    except ok.WorkflowValidationError as error:
        raise FaultyFileError(path.name, error.problems) from error
