"""What stands under a picture: which kind of line means what, and that it is condensed."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from orchkit.analysis.words import clean
from orchkit.views.boxes import SMALL
from orchkit.views.diagram import Diagram, EdgeKind
from orchkit.views.marks import arrow, number
from orchkit.views.text import fit, width

LEGEND_HEIGHT = 24.0
_SAMPLE = 30.0
_GAP = 8.0
_WIDEST = 900.0

_MEANINGS: dict[EdgeKind, str] = {
    "data": "passes data",
    "condition": "decides",
    "dependency": "waits for",
    "order": "comes after",
    "compensation": "undoes",
}


@dataclass(frozen=True, slots=True)
class Legend:
    """Light strips, so that their text can be read on any page."""

    kinds: tuple[EdgeKind, ...]
    caption: str

    @property
    def rows(self) -> int:
        """How many strips there are."""
        return bool(self.kinds) + bool(self.caption)

    @property
    def width(self) -> float:
        """What the wider strip takes."""
        return max(self._kinds_width(), self._caption_width())

    def _kinds_width(self) -> float:
        texts = sum(_SAMPLE + _GAP + width(_MEANINGS[kind], SMALL) + 2 * _GAP for kind in self.kinds)
        return texts + 2 * _GAP if self.kinds else 0.0

    def _caption_width(self) -> float:
        return width(self.caption, SMALL) + 4 * _GAP if self.caption else 0.0

    def svg(self, x: float, y: float) -> str:
        """The strips, the first with its top left corner here."""
        parts = ['<g class="legend">']
        if self.caption:
            parts.append(_strip(x, y, self._caption_width()))
            parts.append(_text(x + 2 * _GAP, y, self.caption))
            y += LEGEND_HEIGHT
        if self.kinds:
            parts.append(_strip(x, y, self._kinds_width()))
            parts += self._samples(x + 2 * _GAP, y)
        return "".join([*parts, "</g>"])

    def _samples(self, x: float, y: float) -> list[str]:
        parts = []
        middle = y + (LEGEND_HEIGHT - 4) / 2
        for kind in self.kinds:
            tip = (x + _SAMPLE, middle)
            stop = tip[0] - 9
            parts.append(
                f'<g class="edge_{kind}"><path class="line" d="M{number(x)} {number(middle)} '
                f'H{number(stop)}"/>{arrow(kind, ((x, middle), (stop, middle)), tip)}</g>'
            )
            parts.append(_text(x + _SAMPLE + _GAP, y, _MEANINGS[kind]))
            x += _SAMPLE + _GAP + width(_MEANINGS[kind], SMALL) + 2 * _GAP
        return parts


def legend(diagram: Diagram) -> Legend:
    """The legend of a diagram; of one kind of edge there is nothing to explain."""
    kinds = diagram.edge_kinds
    caption = fit(clean(diagram.caption), SMALL, _WIDEST) if diagram.condensed else ""
    return Legend(kinds if len(kinds) > 1 else (), caption)


def _strip(x: float, y: float, wide: float) -> str:
    high = LEGEND_HEIGHT - 4
    return (
        f'<rect x="{number(x)}" y="{number(y)}" width="{number(wide)}" height="{number(high)}" '
        f'rx="{number(high / 2)}" fill="#EEF0F3"/>'
    )


def _text(x: float, y: float, text: str) -> str:
    return (
        f'<text x="{number(x)}" y="{number(y + (LEGEND_HEIGHT - 4) / 2 + SMALL * 0.36)}">'
        f"{escape(text)}</text>"
    )
