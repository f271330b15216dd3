"""The player of a run: walks through it event by event, in a notebook or wherever HTML is shown.

What a notebook gets is the still picture of the run and, beside it, the player and its film. Where scripts
may run, the player takes the place of the picture; it needs no kernel, so it still does after a restart.
Where they may not, on GitHub or in a notebook that is not trusted, the picture and the table of events stay.
(Not so the output of a widget: where its model is gone, JupyterLab says that, and shows no HTML beside it.)
"""

from __future__ import annotations

import base64
import gzip
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from orchkit.analysis.film import Film
from orchkit.analysis.redaction import Redact
from orchkit.analysis.words import clean, plural
from orchkit.views.cards import card, note
from orchkit.views.filming import Footage, film_of_run, film_text, footage_of
from orchkit.views.front import module
from orchkit.views.frozen import frozen

if TYPE_CHECKING:
    from orchkit.views.playerwidget import PlayerWidget
    from orchkit.views.run import Run

PLAIN_BYTES = 400_000
"""Longer films are compressed in notebooks: front ends drop messages of several megabytes."""


class Player:
    """The replay of a run as it stood when this was made first shown.

    Keys: ``←`` ``→`` one event back or on, ``Home`` ``End``, ``space`` play or pause, ``d`` next decision,
    ``f`` next failure, ``/`` jump to a step, ``?`` all keys.
    """

    def __init__(self, run: Run, redact: Redact | None = None) -> None:
        self._run, self._redact = run, redact

    @cached_property
    def _footage(self) -> Footage:
        return footage_of(self._run, self._redact)

    @cached_property
    def film(self) -> Film:
        """The frames and what they are played on: see `orchkit.views.filming.film_of_run`."""
        return film_of_run(self._footage)

    def widget(self, *, position: int = 0) -> PlayerWidget:
        """The same as an anywidget, for layouts of widgets: its ``position`` can be read, set and observed.

        A widget lives as long as its kernel; what it leaves in a saved notebook is a message that it is gone.
        """
        from orchkit.views.playerwidget import PlayerWidget

        return PlayerWidget(film=film_text(self.film), position=position)

    def _repr_html_(self) -> str:
        """A picture is never worth an exception in the user's cell: it says what was wrong."""
        try:
            return self._html()
        except Exception as error:
            return card(f"Replay of {self._run.id}", [], note(f"cannot be shown: {error}"))

    def _html(self) -> str:
        own_id, text = uuid4().hex[:12], film_text(self.film)
        kind = "application/json"
        if len(text) > PLAIN_BYTES:
            kind = "application/gzip"
            text = base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), mtime=0)).decode()
        return _CELL.format(
            id=own_id,
            still=frozen(self._footage, self.film),
            kind=kind,
            film=text,
            script=f'{module("cell", "player.css")}wake("{own_id}");\n',
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    def __repr__(self) -> str:
        try:
            count = plural(len(self.film["frames"]), "event")
            return clean(f"<Player of {self.film['run']['name'] or self._run.id}: {count}>")
        except Exception as error:  # a repr must never raise
            return clean(f"<Player of {self._run.id}: {error}>")


_CELL = """\
<div class="orchkit tex2jax_ignore mathjax_ignore" data-orchkit-player="{id}">
<div data-orchkit-still>{still}</div>
<script type="{kind}" data-orchkit-film>{film}</script>
<script type="module">{script}</script>
</div>"""
