"""Texts as parts of a picture: named, measured, cut to a width."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from orchkit.analysis.words import JOINERS, whole

_NOT_A_WORD = re.compile(r"[^A-Za-z0-9_]+")
_LONGEST_SLUG = 48

# Widths of Helvetica in thousandths of the size, from space to tilde; of the signs for comparison those
# of DejaVu Sans, where they are much wider.
_WIDTHS = (
    278, 278, 404, 556, 556, 889, 667, 191, 333, 333, 389, 735, 278, 333, 278, 278, 556, 556, 556, 556,
    556, 556, 556, 556, 556, 556, 278, 278, 735, 735, 735, 556, 1015, 667, 667, 722, 722, 667, 611, 778,
    722, 278, 500, 667, 556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278,
    278, 278, 735, 556, 333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 735,
)  # fmt: skip
_SLACK = 1.14
"""The fonts that stand in for Helvetica are up to this much wider (DejaVu Sans is)."""
_BOLD = 1.1


def slug(text: str) -> str:
    """A stable identifier of ASCII letters, digits and underscores; different texts stay different."""
    plain = _NOT_A_WORD.sub("_", text)
    if plain == text and 0 < len(text) <= _LONGEST_SLUG:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain[:_LONGEST_SLUG].strip('_')}_{digest}"


def status_class(status: str) -> str:
    """The class of what has this status: ``status_cut_off``."""
    return f"status_{slug(status.replace(' ', '_'))}"


def width(text: str, size: float, *, bold: bool = False) -> float:
    """About how wide a text is drawn at this font size, in the unit of the size."""
    thousandths = sum(map(_advance, text))
    return thousandths * size * _SLACK * (_BOLD if bold else 1.0) / 1000


def fit(text: str, size: float, limit: float, *, bold: bool = False, middle: bool = False) -> str:
    """The text, with an ellipsis for what is too much for the limit: at the end, or in the ``middle``.

    Names tell more by their end than by their middle.
    """
    if len(text) <= 4 * limit / size and width(text, size, bold=bold) <= limit:
        return text
    room = limit - width("…", size, bold=bold)
    scale = size * _SLACK * (_BOLD if bold else 1.0) / 1000
    tail = _end(text, room * 0.6, scale) if middle else ""
    head = _begin(text, room - width(tail, size, bold=bold), scale)
    return f"{head}…{tail}"


def _begin(text: str, room: float, scale: float) -> str:
    count = 0
    for character in text:
        room -= _advance(character) * scale
        if room < 0:
            break
        count += 1
    return whole(text[:count], text[count : count + 1]).rstrip()


def _end(text: str, room: float, scale: float) -> str:
    count = 0
    for character in reversed(text):
        room -= _advance(character) * scale
        if room < 0:
            break
        count += 1
    return text[len(text) - count :].lstrip(JOINERS + " ")


def _advance(character: str) -> int:
    code = ord(character)
    if 32 <= code < 127:
        return _WIDTHS[code - 32]
    if character in JOINERS or unicodedata.combining(character):
        return 0
    if code >= 0x1F000:
        return 1200
    if code == 0xFFFD or unicodedata.east_asian_width(character) in "WF":
        return 1000
    return 620
