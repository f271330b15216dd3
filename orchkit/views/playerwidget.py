"""The player as a widget; imported only where one is wanted, because widgets are heavy to import."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anywidget
import traitlets

from orchkit.analysis.film import Frame
from orchkit.views.front import module


class PlayerWidget(anywidget.AnyWidget):
    """A film that is played in the browser; the position is known on both sides."""

    _esm = module("widget", "player.css")

    film = traitlets.Unicode().tag(sync=True)
    """The film as JSON, see `orchkit.views.filming.film_text`; read once, when it is first shown."""
    position = traitlets.Int(0).tag(sync=True)
    """The frame that is shown, from 0."""

    def add(self, frames: Sequence[Frame], values: Sequence[Any] = (), **facts: Any) -> None:
        """Send further frames of a run that goes on, with the values that are new in them.

        ``facts`` are new facts of the run. Who stands at the end follows.
        """
        part = {"type": "frames", "frames": list(frames), "values": list(values)}
        self.send(part | ({"run": facts} if facts else {}))
