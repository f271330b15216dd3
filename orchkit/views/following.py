"""What is shown live: a thread that looks now and again, and the output of a cell that is replaced."""

from __future__ import annotations

import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Protocol

SLOWEST_S = 1.0
SHARE = 4
"""Looking takes at most one part in so many of the time."""


class Looking(Protocol):
    """Something that shows what changes by itself."""

    @property
    def pause_s(self) -> float:
        """Seconds between two looks."""
        ...

    def look(self) -> bool:
        """Take in what is new and send what has changed; whether there will be more."""
        ...

    def freeze(self) -> None:
        """Put a picture in its place, for good."""
        ...

    def give_up(self, error: Exception) -> None:
        """It cannot look any more."""
        ...


def follow(reference: weakref.ref[Any], stop: threading.Event, wake: threading.Event) -> None:
    """Look now and again, as long as there is somebody (`Looking`) to look for."""
    pause = 0.0
    while True:
        wake.wait(pause)
        looking: Looking | None = reference()
        if looking is None or stop.is_set():
            return
        wake.clear()
        began = time.monotonic()
        try:
            if not looking.look():
                looking.freeze()
                return
        except Exception as error:
            looking.give_up(error)
            return
        effort_s = time.monotonic() - began
        pause = max(looking.pause_s, min(SLOWEST_S, SHARE * effort_s))
        del looking


def has_widgets() -> bool:
    """Whether a kernel runs this, and somebody may look at it."""
    notebook = sys.modules.get("IPython")
    shell = notebook.get_ipython() if notebook is not None else None
    return getattr(shell, "kernel", None) is not None


def display(bundle: Mapping[str, Any], display_id: str, *, update: bool = False) -> None:
    """Show a MIME bundle as an output of the cell, or replace the one of this id."""
    from IPython.display import display as show

    shown: Callable[..., Any] = show
    shown(dict(bundle), raw=True, display_id=display_id, update=update)
