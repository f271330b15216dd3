"""What the rows of an answer stand for: steps, tools, workflows, runs, all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchkit.analysis.frames import Columns, Kind
from orchkit.errors import UnknownNameError

By = str | Sequence[str] | None
"""A key or several; None: one row for all."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """The parts of a query that group a relation ``x`` with ``run_id`` and ``step_id``."""

    ctes: str
    """Common tables, each with a comma in front."""
    keys: str
    """Expressions with names, each with a comma behind."""
    joins: str
    names: tuple[str, ...]
    columns: Columns

    @property
    def group_by(self) -> str:
        """The clause, by place: what is joined may have columns of these names. None for one row of all."""
        places = ", ".join(str(place) for place in range(1, len(self.names) + 1))
        return f" GROUP BY {places}" if places else ""

    @property
    def partition_by(self) -> str:
        """The clause of a window over the rows of one group."""
        return f"PARTITION BY {', '.join(self.names)}" if self.names else ""

    def order_by(self, *first: str) -> str:
        """The clause: these, then the keys."""
        names = (*first, *(name for name in self.names if name not in first))
        return f" ORDER BY {', '.join(names)}" if names else ""


@dataclass(frozen=True, slots=True)
class _Key:
    column: str
    expression: str
    kind: Kind = "maybe"
    ctes: str = ""
    joins: str = ""


# The name that a step has everywhere is looked up by its id alone: there are far fewer of these than steps
# of runs. From the table behind the view `steps`, whose joins would cost more than all the rest. Attempts of
# no step belong to their run: their tool is what it is called.
_TOOL_NAMES = """,
names AS MATERIALIZED (
    SELECT step_id, min(name) AS name, min(name) = max(name) AS everywhere FROM step_start GROUP BY step_id
), own_names AS (
    SELECT run_id, step_id, max(name) AS name
    FROM step_start WHERE step_id IN (SELECT step_id FROM names WHERE NOT everywhere) GROUP BY run_id, step_id
), operation_names AS (SELECT run_id, name FROM runs)"""
_TOOL_JOINS = """
    LEFT JOIN names ON names.step_id = x.step_id AND names.everywhere
    LEFT JOIN own_names ON own_names.run_id = x.run_id AND own_names.step_id = x.step_id
    LEFT JOIN operation_names ON operation_names.run_id = x.run_id AND x.step_id = ''"""
_KEYS: Mapping[str, _Key] = {
    "step": _Key("step_id", "nullif(x.step_id, '')"),
    "run": _Key("run_id", "x.run_id", "text"),
    "tool": _Key(
        "tool",
        "coalesce(names.name, own_names.name, operation_names.name)",
        "maybe",
        _TOOL_NAMES,
        _TOOL_JOINS,
    ),
    "workflow": _Key(
        "workflow",
        "workflows.name",
        "maybe",
        ", workflows AS (SELECT run_id, name FROM runs)",
        " LEFT JOIN workflows ON workflows.run_id = x.run_id",
    ),
    "error": _Key("error_type", "x.error_type"),
    "attempt": _Key("attempt", "x.attempt", "int"),
    "attempts": _Key("attempts", "x.attempts", "int"),
}
STEPS = ("step", "tool", "workflow", "run")
"""Keys of everything that belongs to a step."""


def key_names(by: By) -> tuple[str, ...]:
    """The keys, each once."""
    return () if by is None else (by,) if isinstance(by, str) else tuple(dict.fromkeys(by))


def grouping(by: By, allowed: Sequence[str]) -> Grouping:
    """How to group. Raises `UnknownNameError` for a key that the question does not know."""
    names = key_names(by)
    for name in names:
        if name not in allowed:
            raise UnknownNameError("key to group by", name, allowed)
    keys = [_KEYS[name] for name in names]
    return Grouping(
        ctes="".join(key.ctes for key in keys),
        keys="".join(f"{key.expression} AS {key.column}, " for key in keys),
        joins="".join(key.joins for key in keys),
        names=tuple(key.column for key in keys),
        columns={key.column: key.kind for key in keys},
    )
