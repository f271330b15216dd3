"""The tables that plots draw: asked of a kit where a plot is given one, and refused where they are others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchkit.analysis.retries.source import InKit, OneRun, Queryable, Recorded
from orchkit.errors import ParameterError, Problem

if TYPE_CHECKING:
    import pandas as pd

HISTORIES = (Queryable, InKit)
"""What health checks are asked of."""
RUNS = (Queryable, InKit, OneRun, Recorded)
"""What attempts are asked of."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The table that a question gives, and what a plot needs of it."""

    question: str
    """How it is asked: ``uptime.states(kit)``."""
    columns: tuple[str, ...]
    """Those that the plot cannot do without."""
    ask: Callable[[Any], pd.DataFrame] | None = None
    """Asks with the usual settings; None: there are none."""
    sources: tuple[type, ...] = ()
    """What it can be asked of."""

    def given(self, table: Any, plot: str) -> pd.DataFrame:
        """The table as it was given, or that of a kit.

        Raises `ParameterError` for what is neither and for a table without a column that is needed, and what
        the question raises.
        """
        import pandas as pd

        expected = f"expects the table of {self.question}"
        if not isinstance(table, pd.DataFrame):
            if self.ask is not None and isinstance(table, self.sources):
                return self.ask(table)
            or_kit = "" if self.ask is None else " or a kit"
            raise ParameterError(plot, [Problem(expected + or_kit, f"a {type(table).__name__} was given")])
        missing = [repr(name) for name in self.columns if name not in table.columns]
        if missing:
            cause = f"column{'s' * (len(missing) > 1)} {', '.join(missing)} {_be(missing)} missing"
            raise ParameterError(plot, [Problem(expected, cause)])
        return table


def _be(many: list[str]) -> str:
    return "are" if len(many) > 1 else "is"
