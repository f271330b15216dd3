"""A run as a still picture with its events as a table: what is seen where no script may run."""

from __future__ import annotations

from orchkit.analysis.film import Film
from orchkit.analysis.words import duration, plural
from orchkit.views.cards import Html, details, mark, table
from orchkit.views.dag import Dag
from orchkit.views.filming import Footage
from orchkit.views.picture import diagram_of
from orchkit.views.statecard import run_card

MOST_FRAMES = 200


def frozen(footage: Footage, film: Film) -> Html:
    """The card of a run as it stands, with a table of the frames of its film."""
    facts = footage.facts
    dag = Dag(diagram_of(None, footage.state, known=footage.known))
    return run_card(facts, dag, below=[_frames(film)])


def _frames(film: Film) -> Html:
    frames = film["frames"]
    begin = frames[0]["ts_us"] if frames else 0
    rows = (
        [
            str(number),
            f"+{duration((frame['ts_us'] - begin) / 1000)}",
            frame["text"],
            mark(frame["mark"]) if "mark" in frame else "",
        ]
        for number, frame in enumerate(frames[:MOST_FRAMES], 1)
    )
    shown = table(rows, ("#", "when", "event", ""), right=("#", "when"), total=len(frames), most=MOST_FRAMES)
    return details(plural(len(frames), "event"), shown)
