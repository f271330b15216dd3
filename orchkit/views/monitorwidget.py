"""The widget of a monitor; made only where somebody looks at it."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from orchkit.views.marks import icon
from orchkit.views.palette import DARK, STATUS
from orchkit.views.text import status_class

STATIC = Path(__file__).parent / "static"


class Source(Protocol):
    """What the widget shows, and whom it tells of clicks."""

    def snapshot(self) -> dict[str, Any]:
        """All that is shown."""
        ...

    def obey(self, order: Any) -> None:
        """Do what somebody asks for."""
        ...


def make_widget(source: Source) -> Any:
    """An anywidget that shows what ``source`` has, and keeps it alive until it is closed."""
    widget = _widget_class()(start=source.snapshot())
    widget.source = source
    widget.on_msg(_on_message)
    return widget


def _on_message(widget: Any, content: Any, buffers: Any) -> None:
    widget.source.obey(content)


def _snapshot(value: Any, widget: Any) -> Any:
    """Whoever asks for the state of the widget gets that of now, not that of when it was made."""
    return value if widget.source is None else widget.source.snapshot()


# The modules of which the front end is made, each after those that it imports.
_MODULES = ("elements.js", "theme.js", "monitor.js")
_INSIDE = re.compile(r"^<g [^>]*>|</g>$")
_LINKING = re.compile(r"^(?:import [^;]*;|export (?!default))", re.MULTILINE)


def _script() -> str:
    """One ES module of several: notebooks load a widget as a single text."""
    icons = {status: _INSIDE.sub("", icon(status, 0, 0)) for status in STATUS}
    parts = [f"const LOOK = {json.dumps({'icons': icons})};"]
    parts += [_LINKING.sub("", (STATIC / name).read_text(encoding="utf-8")) for name in _MODULES]
    return "\n".join(parts)


def _style() -> str:
    rules = [
        f"{theme} .{status_class(status)} "
        f"{{ --colour: {look.colour}; --fill: {look.fill}; --text: {look.text}; }}"
        for theme, looks in ((".orchkit-monitor", STATUS), ('.orchkit-monitor[data-theme="dark"]', DARK))
        for status, look in looks.items()
    ]
    return "\n".join([*rules, (STATIC / "monitor.css").read_text(encoding="utf-8")])


@cache
def _widget_class() -> Any:
    import anywidget
    import traitlets

    class MonitorWidget(anywidget.AnyWidget):
        _esm = _script()
        _css = _style()
        start = traitlets.Dict().tag(sync=True, to_json=_snapshot)
        source: Any = None

        def close(self) -> None:
            source, self.source = self.source, None
            super().close()
            if source is not None:
                source.close()

    return MonitorWidget
