"""A table to look through: static HTML everywhere; with search, choices and sorting where scripts may run.

As with the player, no kernel is needed: the script stands in the output itself and works on the table that is
there. On GitHub and in notebooks that are not trusted the table stays as it is, long values in ``<details>``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from orchkit.analysis.words import clean, plural, shorten
from orchkit.views.cards import Cell, Html, card, code, html, muted, short_json
from orchkit.views.front import module

if TYPE_CHECKING:
    from orchkit.views.browsewidget import TableWidget

MOST_ROWS = 2000
"""Of more rows the first are shown; the DataFrame beside it has them all."""

_LINE = "1px solid rgba(128,128,128,0.35)"
_CELL = f"vertical-align:top;padding:4px 14px 4px 0;border:0;border-bottom:{_LINE}"
_PRE = "margin:2px 0;white-space:pre-wrap;overflow-wrap:anywhere;background-color:transparent;max-width:640px"
_SHORT = 60
_LONGEST_CELL = 200
_LONGEST_VALUE = 20_000
_TEXT_ROWS = 20
_LONGEST_LINE = 160


@dataclass(frozen=True, slots=True)
class Column:
    """How a column is shown."""

    name: str
    right: bool = False
    choice: bool = False
    """Whether one can choose among its values."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A cell with more to it than what is seen."""

    shown: Cell
    sort: float | None = None
    """What it is sorted by; without it by its text."""
    value: str | None = None
    """What it is chosen by; without it its text."""
    text: str | None = None
    """What a terminal gets; without it what is seen."""


class Table:
    """Rows of the record, to be looked through."""

    def __init__(
        self,
        title: str,
        columns: Sequence[Column],
        rows: Sequence[Sequence[Cell | Entry]],
        *,
        total: int | None = None,
        whole: str = "",
    ) -> None:
        self.title, self.columns = title, columns
        self.rows = rows[:MOST_ROWS]
        self._total, self._whole = len(rows) if total is None else total, whole

    def widget(self) -> TableWidget:
        """The same as an anywidget, for layouts of widgets; it lives as long as its kernel."""
        from orchkit.views.browsewidget import TableWidget

        return TableWidget(html=self._card(uuid4().hex[:12]))

    def __len__(self) -> int:
        return self._total

    # --- showing -----------------------------------------------------------------------------

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        own_id = uuid4().hex[:12]
        page = self._card(own_id)
        if self.rows:
            script = f'{module("table")}wake("{own_id}");'
            page = Html(f'{page}<script type="module">{script}</script>')
        return {"text/plain": repr(self), "text/html": page}

    def _card(self, own_id: str) -> Html:
        if not self.rows:
            return card(self.title, [], muted("There is nothing to show."))
        left = self._total - len(self.rows)
        hint = f"; all of them are in {self._whole}" if self._whole else ""
        return card(
            self.title,
            [("", plural(self._total, "row"))],
            Html(
                f'<div data-orchkit-table="{own_id}" data-title="{html(self.title)}">'
                '<div data-orchkit-scroll style="overflow:auto;max-height:560px">'
                '<table style="border-collapse:collapse;border:0;margin:6px 0;font-size:92%">'
                f"<thead>{self._head()}</thead><tbody>{''.join(self._body())}</tbody></table></div></div>"
            ),
            muted(f"… and {left:,} more{hint}") if left > 0 else Html(""),
        )

    def _head(self) -> str:
        cells = (
            f'<th scope="col" style="{_CELL};text-align:{_side(one)};font-weight:600;white-space:nowrap"'
            f"{' data-choice' if one.choice else ''}>{html(one.name)}</th>"
            for one in self.columns
        )
        return f'<tr style="background:transparent">{"".join(cells)}</tr>'

    def _body(self) -> Iterator[str]:
        for row in self.rows:
            cells = (_cell(column, cell) for column, cell in zip(self.columns, row, strict=True))
            yield f'<tr style="background:transparent">{"".join(cells)}</tr>'

    def __repr__(self) -> str:
        lines = [clean(f"{self.title}: {plural(self._total, 'row')}")]
        for row in self.rows[:_TEXT_ROWS]:
            texts = (_text(cell) for cell in row)
            lines.append("  " + shorten("  ".join(text for text in texts if text), _LONGEST_LINE))
        left = self._total - _TEXT_ROWS
        return "\n".join([*lines, f"  … and {left:,} more"] if left > 0 else lines)


def _side(column: Column) -> str:
    return "right" if column.right else "left"


def _cell(column: Column, cell: Cell | Entry) -> str:
    entry = cell if isinstance(cell, Entry) else Entry(cell)
    shown = entry.shown
    text = shown if isinstance(shown, Html) else html("" if shown is None else shorten(shown, _LONGEST_CELL))
    more = "" if entry.sort is None else f' data-sort="{entry.sort!r}"'
    more += "" if entry.value is None else f' data-value="{html(shorten(entry.value, _LONGEST_CELL))}"'
    style = f"{_CELL};text-align:{_side(column)}" + (";white-space:nowrap" if column.right else "")
    return f'<td style="{style}"{more}>{text}</td>'


def _text(cell: Cell | Entry) -> str:
    if isinstance(cell, Entry) and cell.text is not None:
        return clean(cell.text)
    shown = cell.shown if isinstance(cell, Entry) else cell
    return "" if shown is None or isinstance(shown, Html) else clean(shown)


def folded(value: Any) -> Entry:
    """A value: a short one as it is, of a longer one the begin, and all of it to be opened."""
    if value is None:
        return Entry(Html(""), text="")
    short = short_json(value, _SHORT)
    whole = json.dumps(value, ensure_ascii=False, indent=2, default=str)
    if len(whole) <= _SHORT:
        return Entry(code(short, _SHORT), text=short)
    lines = [clean(line) for line in whole[:_LONGEST_VALUE].split("\n")]
    cut = [f"… {len(whole) - _LONGEST_VALUE:,} characters more"] if len(whole) > _LONGEST_VALUE else []
    body = "\n".join(map(html, [*lines, *cut]))
    return Entry(
        Html(
            f'<details><summary style="cursor:pointer">{code(short, _SHORT)}</summary>'
            f'<pre style="{_PRE}">{body}</pre></details>'
        ),
        text=shorten(short, _SHORT),
    )
