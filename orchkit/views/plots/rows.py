"""Rows of horizontal bars, and what they are called."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from orchkit.analysis.words import clean

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_LONGEST = 52
_NUMBERED = {"attempts": "{} attempts", "attempt": "after attempt {}"}


def keys_of(table: pd.DataFrame, values: Iterable[str]) -> list[str]:
    """The columns by which a table is grouped: all that are not among its values."""
    known = set(values)
    return [str(name) for name in table.columns if name not in known]


def names(table: pd.DataFrame, keys: Sequence[str], all_of: str) -> list[str]:
    """What each row is called: after its keys, or one name for the only row."""
    if not keys:
        return [all_of] * len(table)
    rows = table[list(keys)].itertuples(index=False, name=None)
    return [" · ".join(map(_name, keys, row)) for row in rows]


def _name(key: str, value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124 - it is no number
        return "–"
    if key in _NUMBERED:
        return "1 attempt" if (key, value) == ("attempts", 1) else _NUMBERED[key].format(value)
    text = clean(value)
    if len(text) <= _LONGEST:
        return text
    # Names of one kind often differ at their ends.
    half = (_LONGEST - 1) // 2
    return f"{text[:half]}…{text[-half:]}"


def name_rows(ax: Axes, labels: Sequence[str]) -> None:
    """Name the rows, the first on top."""
    # A dollar sign in a name is no formula.
    ax.set_yticks(range(len(labels)), labels, parse_math=False)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
