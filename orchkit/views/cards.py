"""The HTML that records are shown with: only what untrusted notebooks keep, on light and on dark pages.

That is: inline styles with literal colours, images as data URIs, tables and ``<details>``; no scripts, no
style sheets, no SVG elements. Text takes its colour from the page.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from orchkit.analysis.words import clean, duration, moment, shorten
from orchkit.model.brief import brief
from orchkit.views.palette import look_of
from orchkit.views.render import Picture

__all__ = [
    "Html",
    "card",
    "code",
    "details",
    "duration",
    "html",
    "image",
    "mark",
    "moment",
    "muted",
    "note",
    "preview",
    "short_json",
    "status_chip",
    "story",
    "table",
]

_LINE = "1px solid rgba(128,128,128,0.35)"
_CELL = "text-align:{align};vertical-align:top;padding:4px 14px 4px 0;border:0;border-bottom:" + _LINE
_LONGEST_CELL = 160
_READABLE_WIDTH = 1300
_SIZE = re.compile(r'<svg[^>]* width="([\d.]+)"')


class Html(str):
    """A text that is HTML already; every other text is escaped."""

    __slots__ = ()


Cell = Html | str | float | int | None


def html(value: object) -> Html:
    """Any value inside an element or a quoted attribute; `Html` as it is."""
    return value if isinstance(value, Html) else Html(escape(clean(value), quote=True))


def card(
    title: object,
    facts: Iterable[tuple[str, Cell]],
    *body: Html,
    head: Html | None = None,
    marks: Iterable[str] = (),
) -> Html:
    """A framed block: a headline, facts as ``(name, value)`` in one line, then the body.

    ``head`` stands before the title, ``marks`` behind it. Facts without a value are left out.
    """
    shown = "".join(map(_fact, facts))
    behind = " ".join(map(mark, marks))
    # the classes keep notebooks from taking the text between two dollars for a formula
    return Html(
        '<div class="orchkit tex2jax_ignore mathjax_ignore" '
        f'style="border:{_LINE};border-radius:8px;padding:12px 16px;margin:4px 0;max-width:1240px">'
        f'<div style="margin:0 0 6px 0">{head or ""} '
        f'<span style="font-weight:600;font-size:115%;margin-right:8px">{html(title)}</span>{behind}</div>'
        + (f'<div style="margin:0 0 8px 0">{shown}</div>' if shown else "")
        + "".join(body)
        + "</div>"
    )


def _fact(fact: tuple[str, Cell]) -> str:
    name, value = fact
    if value is None or value == "":
        return ""
    label = f'<span style="opacity:0.65">{html(name)}</span> ' if name else ""
    return f'<span style="display:inline-block;margin:0 18px 2px 0">{label}{html(value)}</span> '


def table(
    rows: Iterable[Sequence[Cell]],
    columns: Sequence[str],
    *,
    right: Collection[str] = (),
    most: int = 200,
    total: int | None = None,
    drop_empty: bool = False,
) -> Html:
    """A table; ``right`` names the columns of numbers, beyond ``most`` rows the rest is counted.

    ``total`` says how many rows there are when not all are given. With ``drop_empty`` columns in which no
    shown row has anything are left out.
    """
    shown, count = [], 0
    for row in rows:
        count += 1
        if count <= most:
            shown.append(row)
    kept = [
        place for place in range(len(columns)) if not drop_empty or any(_says(row[place]) for row in shown)
    ]
    aligned = ["right" if column in right else "left" for column in columns]
    head = "".join(
        f'<th style="{_CELL.format(align=aligned[place])};font-weight:600">{html(columns[place])}</th>'
        for place in kept
    )
    cells = ("".join(_cell(row[place], aligned[place]) for place in kept) for row in shown)
    body = [f'<tr style="background:transparent">{row}</tr>' for row in cells]
    left = max(count, total or 0) - len(body)
    return Html(
        '<div style="overflow-x:auto">'
        '<table style="border-collapse:collapse;border:0;margin:6px 0;font-size:92%">'
        f'<thead><tr style="background:transparent">{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>" + (muted(f"… and {left:,} more") if left > 0 else "")
    )


def _says(value: Cell) -> bool:
    return value is not None and value != ""


def _cell(value: Cell, align: str) -> str:
    text = value if isinstance(value, Html) else html("" if value is None else shorten(value, _LONGEST_CELL))
    # numbers and their units stay on one line
    style = _CELL.format(align=align) + (";white-space:nowrap" if align == "right" else "")
    return f'<td style="{style}">{text}</td>'


def status_chip(status: str | None, word: str | None = None) -> Html:
    """A status as a coloured pill with its sign and its word, or another one."""
    look = look_of(status)
    return Html(
        f'<span style="display:inline-block;background-color:{look.fill};color:{look.text};'
        f"border:1px solid {look.colour};border-radius:10px;padding:0 9px;font-size:92%;line-height:1.6;"
        f'white-space:nowrap;margin-right:6px">{look.sign} {html(word or status or "unknown")}</span>'
    )


def mark(text: object) -> Html:
    """A quiet pill, for what is no status."""
    return Html(
        '<span style="display:inline-block;border:1px solid rgba(128,128,128,0.6);border-radius:10px;'
        f'padding:0 8px;font-size:82%;line-height:1.6;white-space:nowrap;margin:0 4px 0 0;opacity:0.85">'
        f"{html(text)}</span>"
    )


def details(summary: object, body: Html, *, is_open: bool = False) -> Html:
    """A part that is folded away."""
    return Html(
        f'<details{" open" if is_open else ""} style="margin:6px 0"><summary style="cursor:pointer">'
        f"{html(summary)}</summary>{body}</details>"
    )


def image(picture: Picture) -> Html:
    """A picture as a data URI, at its own size where there is room."""
    found = _SIZE.search(picture.svg)
    wide = math.ceil(float(found[1])) if found else 600
    data = base64.b64encode(picture.svg.encode("utf-8", "replace")).decode("ascii")
    # a broad picture is made smaller only as far as it can still be read, then it scrolls
    least = f";min-width:{round(wide * 0.6)}px" if wide > _READABLE_WIDTH else ""
    return Html(
        '<div style="overflow:auto;max-height:760px;margin:6px 0">'
        f'<img alt="{html(picture.caption)}" width="{wide}" style="max-width:100%;height:auto{least}" '
        f'src="data:image/svg+xml;base64,{data}"></div>'
    )


def muted(text: object) -> Html:
    """A lesser line."""
    return Html(f'<div style="opacity:0.7;font-size:92%;margin:2px 0">{html(text)}</div>')


def story(text: str) -> Html:
    """Several lines; those that begin with spaces are entries of a list."""
    lines = (
        f'<div style="margin:2px 0 2px {18 if line.startswith("  ") else 0}px">{html(line)}</div>'
        for line in text.split("\n")
    )
    return Html("".join(lines))


def note(text: object, status: str = "failed", *, way_on: str = "") -> Html:
    """A line that must not be overlooked: an error, a problem, or the reason of another status.

    ``way_on`` says on a line of its own what to do.
    """
    look = look_of(status)
    more = f"<br>{html(shorten(way_on, 1000))}" if way_on else ""
    return Html(
        f'<div style="border-left:4px solid {look.colour};padding:2px 10px;margin:6px 0;'
        f'white-space:pre-wrap;overflow-wrap:anywhere">{html(shorten(text, 1000))}{more}</div>'
    )


def code(text: object, length: int = 200) -> Html:
    """A piece of code or data in one line; nothing for nothing."""
    line = shorten(text, length)
    if not line:
        return Html("")
    return Html(
        '<code style="background-color:transparent;padding:0;white-space:pre-wrap;overflow-wrap:anywhere">'
        f"{html(line)}</code>"
    )


def preview(value: Any, length: int = 90) -> Html:
    """A value as short JSON."""
    return Html("") if value is None else code(short_json(value, length), length)


def short_json(value: Any, length: int) -> str:
    """JSON of as much of the value as can be shown: of a large one only the begin is made into text."""
    try:
        return json.dumps(_clipped(value, length), ensure_ascii=False, default=_no_json)
    except (TypeError, ValueError, RecursionError):
        return str(type(value))


def _no_json(value: Any) -> str:
    """Bytes and arrays in short: a text of all of them would be made only to be cut."""
    return brief(value) if isinstance(value, bytes | bytearray) or hasattr(value, "shape") else str(value)


def _clipped(value: Any, length: int) -> Any:
    if isinstance(value, str):
        return value[:length]
    if isinstance(value, Mapping):
        return {str(key): _clipped(value[key], length) for key in list(value)[: length // 4]}
    if isinstance(value, list | tuple):
        return [_clipped(item, length) for item in value[: length // 2]]
    return value
