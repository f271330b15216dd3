"""How records are written on a terminal: statuses, values, times, ids."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from orchkit.analysis import liveness
from orchkit.views.palette import look_of

_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

STYLES = {
    "success": "green",
    "failed": "bold red",
    "partial": "yellow",
    "cancelled": "yellow",
    "timeout": "yellow",
    "skipped": "dim",
    "pending": "dim",
    "running": "cyan",
    liveness.CUT_OFF: "bold red",
    liveness.IN_DOUBT: "yellow",
    "paused": "magenta",
}
NOTHING = Text("–", style="dim")


def status(name: str) -> Text:
    """The sign and the word of a status, in its colour."""
    return Text(f"{look_of(name).sign} {name}", style=STYLES.get(name, ""), no_wrap=True)


def standing(run: Mapping[str, Any], given_up: liveness.GivenUp) -> Text:
    """The status of a run (a row of the view ``runs``); of one whose process is gone, that it was cut off."""
    return status(liveness.standing(run, given_up))


def plain(text: object) -> str:
    """Foreign text without what would command the terminal; line breaks and tabs stay."""
    return _CONTROL.sub("�", _ANSI.sub("", str(text)).replace("\r\n", "\n"))


def one_line(text: object) -> str:
    """The same on one line."""
    return " ".join(plain(text).split())


def value(data: Any, limit: int = 300) -> str:
    """A recorded value as JSON on one line; a large one that is kept apart by its size."""
    if isinstance(data, dict) and "$blob" in data:
        return f"({data.get('bytes', 0) / 1024:.0f} kB)"
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, default=str)
    return one_line(text[: limit * 4])[:limit]


def squeeze(text: str, width: int) -> str:
    """At most ``width`` characters, cut in the middle: ids differ at either end."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def moment(time: datetime | int | None) -> str:
    """A time, given as such or in microseconds since the epoch, as local time to the second."""
    if isinstance(time, int):
        time = datetime.fromtimestamp(time / 1e6, UTC)
    return "–" if time is None else f"{time.astimezone():%Y-%m-%d %H:%M:%S}"
