"""The monitor of a run that goes on: a widget that follows it, leads it, and is a picture at its end."""

from __future__ import annotations

import threading
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from orchkit.analysis.estimate import NONE, Experience, experience
from orchkit.analysis.live import Live
from orchkit.analysis.liveness import CUT_OFF
from orchkit.errors import OrchkitError, StoreError
from orchkit.ids import new_id
from orchkit.model import event as ev
from orchkit.store.log import StoredRow
from orchkit.store.store import Store
from orchkit.views import kitcards, runcards
from orchkit.views.board import Board, Controlled, board_of
from orchkit.views.cards import Cell, card, code, muted, status_chip
from orchkit.views.dag import Dag
from orchkit.views.following import SLOWEST_S, display, follow, has_widgets
from orchkit.views.livedag import LiveDag
from orchkit.views.monitorwidget import make_widget
from orchkit.views.picture import diagram_of
from orchkit.views.run import Run
from orchkit.views.statecard import run_card

_MOMENT_S = 0.005
TICK_S = 0.15
"""Seconds between two looks: seven messages a second at most."""


class Watched(Controlled, Protocol):
    """What a monitor needs of the handle of a run; it may be called from any thread."""

    @property
    def store(self) -> Store:
        """Where the run is recorded."""
        ...

    def pause(self) -> None:
        """Start no further steps."""
        ...

    def resume(self) -> None:
        """Go on by itself."""
        ...

    def step(self, params: Mapping[str, Any] | None = None) -> None:
        """Let one more step start."""
        ...

    def skip(self, step_id: str | None = None) -> None:
        """Pass over a step."""
        ...

    def retry(self, step_id: str | None = None, params: Mapping[str, Any] | None = None) -> None:
        """Run a step that failed once more."""
        ...

    def cancel(self, reason: str = ...) -> None:
        """Cancel what runs, skip the rest."""
        ...


class Monitor:
    """What `RunHandle.monitor` returns: shown in a notebook it is live until the run ends.

    Then it replaces itself by the card of the run, so that a saved notebook keeps it. `close` ends it before;
    so does forgetting one that was never shown. Where there are no widgets it shows as the card right away.
    """

    def __init__(self, handle: Watched) -> None:
        self._handle = handle
        self._live = Live(handle.run_id)
        self._known: Experience | None = None
        self._dag: LiveDag | None = None
        self._shown: tuple[int, Board] = (0, {"run": _standing(handle)})
        self._wake = threading.Event()
        self._ending: Callable[[], Any] | None = None
        self._display_id: str | None = None
        self._greeted = False
        self._begun = time.monotonic()
        self.widget: Any = None
        """The anywidget, once it was shown."""

    # --- following -------------------------------------------------------------------------

    @property
    def active(self) -> bool:
        """Whether it follows the run."""
        return self._ending is not None

    def start(self) -> None:
        """Follow the run, in a thread of its own; showing it does that. Does nothing when it does already."""
        if self._ending is None:
            stop = threading.Event()
            self._ending = weakref.finalize(self, _end, self._listen(), stop, self._wake)
            arguments = (weakref.ref(self), stop, self._wake)
            threading.Thread(target=follow, args=arguments, name="orchkit-monitor", daemon=True).start()

    def _listen(self) -> Callable[[], None]:
        live, wake = self._live, self._wake  # not of self: what listens must not keep the monitor

        def listen(rows: list[StoredRow]) -> None:
            live.listen(rows)
            if any(row[2] == ev.RUN_FINISHED and row[3] == live.run_id for row in rows):
                wake.set()  # at once: a notebook that ends now is to have the card, and no widget

        return self._handle.store.subscribe(listen)

    def _begin_anew(self) -> None:
        """Under an idempotency key another run was found, and is gone on with."""
        self._live.follow(self._handle.run_id)
        self._known = self._dag = None

    def look(self) -> bool:
        """Take in what is new and send what has changed; whether the run goes on.

        For one thread at a time.
        """
        done = self._handle.done or self._handle.store.closed
        if not done:
            # What a step decides before it waits is written with what comes next; it is to be seen now.
            # If it cannot be written, the run itself will say so.
            with suppress(StoreError):
                self._handle.store.commit()
        if self._live.run_id != self._handle.run_id:
            self._begin_anew()
        if self._known is None and not self._handle.store.closed:
            self._live.catch_up(self._handle.store.events_below(self._live.run_id))
        self._live.drain()
        if self._known is None and self._live.state.run_id:
            self._known = self._experience()
            self._tell(self._changes())  # laying the picture out takes a moment
        self._tell(self._changes() | self._picture_changes())
        return not done and not self._is_ending()

    def _is_ending(self) -> bool:
        """Whether its end is on record; the handle knows it a moment later, which is waited for."""
        until = time.monotonic() + TICK_S
        while self._live.state.finished_us is not None and time.monotonic() < until:
            if self._handle.done:
                return True
            time.sleep(_MOMENT_S)
        return False

    def _board(self) -> Board:
        now_us = self._handle.store.clock.now_us()
        return board_of(self._live, self._handle, self._known or NONE, now_us)

    def _experience(self) -> Experience:
        try:
            return experience(self._handle.store, self._live.state.definition_hash, self._live.run_id)
        except OrchkitError:  # an estimate is not worth more than not being there
            return NONE

    def _changes(self) -> Board:
        board, before = self._board(), self._shown[1]
        changed = {name: value for name, value in board.items() if before.get(name) != value}
        return {"board": changed} if changed else {}

    def _picture_changes(self) -> Board:
        state, known = self._live.state, self._live.known()
        if not state.run_id:
            return {}
        if self._dag is None:
            self._dag = LiveDag(state, known)
            return {"svg": self._dag.svg}
        parts = self._dag.look(state, known)
        return {"svg": self._dag.svg} if parts is None else {"parts": parts} if parts else {}

    def _tell(self, news: Board) -> None:
        """Send what has changed; all of it as long as nobody has said that he is there to put it together."""
        if not news:
            return
        self._shown = self._shown[0] + 1, self._shown[1] | news.get("board", {})
        if self.widget is None:
            return
        if self._greeted:
            now_us = self._handle.store.clock.now_us()
            self.widget.send({"version": self._shown[0], "now_us": now_us, **news})
        else:
            self.widget.send({"all": True, **self.snapshot()})

    @property
    def pause_s(self) -> float:
        """Seconds between two looks: more where perhaps nobody looks, or is kept from saying so."""
        shown_s = time.monotonic() - self._begun
        return TICK_S if self._greeted else min(SLOWEST_S, max(TICK_S, shown_s / 10))

    def snapshot(self) -> dict[str, Any]:
        """All that is shown, for a page that has just been opened; from any thread."""
        version, board = self._shown
        svg = "" if self._dag is None else self._dag.svg
        now_us = self._handle.store.clock.now_us()
        widget = self.widget
        kept = (
            {"model": widget.model_id, "left": self._cut_off(), "text": repr(self)}
            if widget is not None
            else {}
        )
        return {"version": version, "now_us": now_us, "board": board, "svg": svg, **kept}

    # --- leading ---------------------------------------------------------------------------

    def obey(self, order: Any) -> None:
        """Do what is asked for on the page, ``{"do", "step", "params"}``; what is wrong is said there."""
        if isinstance(order, Mapping) and order.get("do") == "refresh":
            self._greeted = True
            self.widget.send({"all": True, **self.snapshot()})
            return
        try:
            problem = _obey(self._handle, order)
        except (OrchkitError, TimeoutError) as error:
            problem = str(error)
        if self.widget is not None and problem is not None:
            self.widget.send({"problem": problem})
        self._wake.set()

    # --- being shown -----------------------------------------------------------------------

    def _ipython_display_(self) -> None:
        if self._handle.done or not has_widgets():
            display(self._repr_mimebundle_(), new_id("view"))
            return
        if self.widget is None:
            self.widget = make_widget(self)
        self._display_id = self._display_id or new_id("view")
        display(self.widget._repr_mimebundle_()[0] | self._repr_mimebundle_(), self._display_id)
        self.start()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        """The run as it stands, without anything that moves."""
        if self._handle.done:
            return {"text/plain": repr(self)} | self._final()
        return {"text/plain": repr(self), "text/html": self._still()}

    def _still(self) -> str:
        """What a page shows that has no widgets."""
        run = _standing(self._handle)
        told = "It went on when this was shown, and only the kernel that runs it can show how it goes on."
        return card(run["name"], self._where(), muted(told), head=status_chip(run["status"]))

    def _cut_off(self) -> str:
        """What is left on a page where the kernel ends before the run."""
        told = "The kernel that ran it has ended before it did."
        return card(_standing(self._handle)["name"], self._where(), muted(told), head=status_chip(CUT_OFF))

    def _where(self) -> list[tuple[str, Cell]]:
        if self._handle.store.path is None:
            return [("", code(self._handle.run_id)), ("", "it was kept in memory, and nowhere else")]
        return [("how far it came is on record:", code(f'kit.runs["{self._handle.run_id}"]'))]

    def freeze(self) -> None:
        """Put the card of the run in the place of the widget, for good."""
        final = {"text/plain": repr(self)} | self._final()
        if self.widget is not None:
            # for pages on which the display cannot be replaced any more, because they were loaded anew
            self._shown = self._shown[0] + 1, {"final": final["text/html"]}
            self._dag = None
            self.widget.send({"all": True, **self.snapshot()})
        if self._display_id is not None:
            display(final, self._display_id, update=True)
        self._stop()

    def _final(self) -> dict[str, str]:
        """The card of the run; when its store is closed, as far as it was followed."""
        store, run_id = self._handle.store, self._handle.run_id
        found = runcards.of_run(Run(store, run_id)) if not store.closed else {}
        if "text/plain" in found:
            return found
        facts = self._live.facts()
        if not facts.state.run_id:
            return kitcards.of_handle(self._handle)
        return {"text/html": run_card(facts, Dag(diagram_of(None, facts.state, known=facts.known)))}

    def give_up(self, error: Exception) -> None:
        """What shows a run must not fail it; that a store is closed meanwhile is no failure at all."""
        self._stop()
        if not self._handle.store.closed:
            warnings.warn(f"{self!r} cannot go on: {error!r}", stacklevel=1)

    def _stop(self) -> None:
        if self._ending is not None:
            self._ending()
            self._ending = None

    def close(self) -> None:
        """Follow the run no more, and take the widget away; the run itself goes on. Idempotent."""
        self._stop()
        if self.widget is not None:
            self.widget.close()
            self.widget = None

    def __repr__(self) -> str:
        return f"<Monitor of {self._handle.run_id}: {self._handle.status}>"


def _end(unsubscribe: Callable[[], None], stop: threading.Event, wake: threading.Event) -> None:
    unsubscribe()
    stop.set()
    wake.set()


def _standing(handle: Watched) -> Board:
    return {"id": handle.run_id, "name": handle.name, "status": handle.status}


# --- orders --------------------------------------------------------------------------------


def _obey(handle: Watched, order: Any) -> str | None:
    """Do it; what is wrong with it."""
    do = order.get("do") if isinstance(order, Mapping) else None
    step_id, params = (order.get("step"), order.get("params")) if do else (None, None)
    if not (isinstance(params, Mapping | None) and isinstance(step_id, str | None)):
        return "the parameters must be a JSON object"
    actions: Mapping[object, Callable[[], None]] = {
        "pause": handle.pause,
        "resume": handle.resume,
        "step": lambda: handle.step(params),
        "skip": lambda: handle.skip(step_id),
        "retry": lambda: handle.retry(step_id, params),
        "cancel": lambda: handle.cancel("cancelled by hand"),
    }
    if do not in actions:
        return f"unknown order {do!r}"
    actions[do]()
    return None
