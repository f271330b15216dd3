"""The card of watched services as it changes: a widget while they are watched, a picture afterwards."""

from __future__ import annotations

import threading
import warnings
import weakref
from typing import Any, Protocol

from orchkit.ids import new_id
from orchkit.model.health import ServiceHealth
from orchkit.views import healthcards
from orchkit.views.cards import muted
from orchkit.views.following import display, follow, has_widgets
from orchkit.views.monitorwidget import make_widget

TICK_S = 0.5
"""Seconds between two looks."""


class Watching(Protocol):
    """What the view needs of a monitor of services; it may be called from any thread."""

    @property
    def running(self) -> bool:
        """Whether it looks by itself."""
        ...

    @property
    def trouble(self) -> str | None:
        """What keeps it from recording."""
        ...

    def status(self) -> dict[str, ServiceHealth]:
        """How the services stand."""
        ...


class HealthView:
    """What a notebook shows of `kit.health`. It does not keep the monitor: one that is gone ends it."""

    def __init__(self, monitor: Watching) -> None:
        self._monitor = weakref.ref(monitor)
        self._text = repr(monitor)
        self._html = healthcards.of_monitor(monitor)["text/html"]
        self._version = 0
        self._over = False
        self._display_id = new_id("view")
        self._stop = threading.Event()
        self._wake = threading.Event()
        self.widget: Any = None
        """The anywidget, once it was shown."""

    def _ipython_display_(self) -> None:
        monitor = self._monitor()
        if monitor is None or not monitor.running or not has_widgets():
            display(self._bundle(), self._display_id)
            return
        if self.widget is None:
            self.widget = make_widget(self, "health", ())
            weakref.finalize(self, _end, self._stop, self._wake)
            arguments = (weakref.ref(self), self._stop, self._wake)
            threading.Thread(target=follow, args=arguments, name="orchkit-health", daemon=True).start()
        display(self.widget._repr_mimebundle_()[0] | self._bundle(), self._display_id)

    def _bundle(self) -> dict[str, str]:
        return {"text/plain": self._text, "text/html": self._html}

    # --- following -----------------------------------------------------------------------------

    pause_s = TICK_S

    def look(self) -> bool:
        """Send the card when it has changed; whether the services are still watched."""
        monitor = self._monitor()
        if monitor is None:
            return False
        self._text, html = repr(monitor), healthcards.of_monitor(monitor)["text/html"]
        if html != self._html:
            self._html = html
            self._tell()
        return monitor.running

    def freeze(self) -> None:
        """Put the card as it stands in the place of the widget, for good."""
        self._over = True
        self._tell()
        display(self._bundle(), self._display_id, update=True)

    def give_up(self, error: Exception) -> None:
        """What shows services must not end anything else."""
        warnings.warn(f"the card of {self._text} is not renewed any more: {error!r}", stacklevel=1)

    def _tell(self) -> None:
        self._version += 1
        if self.widget is not None:
            self.widget.send(self.snapshot())

    # --- the widget ----------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """All that is shown; from any thread."""
        model = {} if self.widget is None else {"model": self.widget.model_id}
        left = self._html + muted("So they stood when the kernel that watched them ended.")
        shown = {"all": True, "version": self._version, "left": left, "text": self._text, **model}
        return {**shown, "board": {"final" if self._over else "html": self._html}}

    def obey(self, order: Any) -> None:
        """A page was opened: it gets all of it."""
        self._tell()

    def close(self) -> None:
        """Renew it no more; the services are watched on. Idempotent."""
        _end(self._stop, self._wake)


def _end(stop: threading.Event, wake: threading.Event) -> None:
    stop.set()
    wake.set()
