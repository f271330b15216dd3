"""The widget of a monitor; made only where somebody looks at it."""

from __future__ import annotations

from functools import cache
from typing import Any, Protocol

from orchkit.views.front import module


class Source(Protocol):
    """What the widget shows, and whom it tells of clicks."""

    def snapshot(self) -> dict[str, Any]:
        """All that is shown."""
        ...

    def obey(self, order: Any) -> None:
        """Do what somebody asks for."""
        ...


def make_widget(source: Source, name: str = "monitor", styles: tuple[str, ...] = ("monitor.css",)) -> Any:
    """An anywidget that shows what ``source`` has, and keeps it alive until it is closed.

    It is drawn by the module ``static/NAME.js`` with these style sheets.
    """
    widget = _widget_class(name, styles)(start=source.snapshot())
    widget.source = source
    widget.on_msg(_on_message)
    return widget


def _on_message(widget: Any, content: Any, buffers: Any) -> None:
    widget.source.obey(content)


def _snapshot(value: Any, widget: Any) -> Any:
    """Whoever asks for the state of the widget gets that of now, not that of when it was made."""
    return value if widget.source is None else widget.source.snapshot()


@cache
def _widget_class(name: str, styles: tuple[str, ...]) -> Any:
    import anywidget
    import traitlets

    class MonitorWidget(anywidget.AnyWidget):
        _esm = module(name, *styles)
        start = traitlets.Dict().tag(sync=True, to_json=_snapshot)
        source: Any = None

        def close(self) -> None:
            source, self.source = self.source, None
            super().close()
            if source is not None:
                source.close()

    return MonitorWidget
