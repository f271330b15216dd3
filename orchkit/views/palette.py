"""How a status looks: a colour of the Okabe-Ito palette, and always a sign and a word beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

INK = "#1F2933"
"""Text on light fills."""
MUTED = "#5A6672"
"""Lesser text on light fills."""
LINE = "#7B858F"
"""Lines on the page itself: a contrast of 3 and more on white and on #111111."""
PAPER = "#F7F8FA"
"""Fill of what has no status."""


@dataclass(frozen=True, slots=True)
class Look:
    """The signs of one status."""

    colour: str
    """For strokes, signs and bars."""
    fill: str
    """A light tint that carries dark text."""
    text: str
    """Dark text on the tint."""
    sign: str
    """One character for plain text."""


STATUS: Mapping[str, Look] = {
    "success": Look("#009E73", "#E2F4EE", "#00543D", "✓"),
    "failed": Look("#D55E00", "#FCE9DD", "#7A3500", "✗"),
    "running": Look("#0072B2", "#E0EFF8", "#00436A", "▶"),
    "pending": Look("#8A94A0", PAPER, "#46505B", "○"),
    "skipped": Look("#B8638F", "#FAEEF4", "#6B2E4F", "↷"),
    "cancelled": Look("#66717C", "#E9ECEF", "#2B333B", "⊘"),
    "partial": Look("#B87A00", "#FDF1DA", "#634200", "◐"),
    "paused": Look("#8C7F00", "#FBF8D3", "#4D4600", "‖"),
    "cut off": Look("#B8452F", "#FCE9DD", "#7A3500", "↯"),
    "timeout": Look("#B87A00", "#FDF1DA", "#634200", "◷"),
}
"""Hues of M. Okabe and K. Ito, "Color Universal Design" (2008): bluish green, vermillion, blue, reddish
purple, orange and yellow, the last three darkened until their strokes stand out on white."""

DARK: Mapping[str, Look] = {
    "success": Look("#2FBF95", "#12352B", "#BDEBDC", "✓"),
    "failed": Look("#F28B4B", "#40230F", "#FFD5BA", "✗"),
    "running": Look("#56B4E9", "#10314A", "#C6E5F8", "▶"),
    "pending": Look("#7F8B97", "#222930", "#B9C3CC", "○"),
    "skipped": Look("#D58FB6", "#381F2D", "#F3D2E3", "↷"),
    "cancelled": Look("#9AA6B1", "#272E35", "#D5DCE2", "⊘"),
    "partial": Look("#E3AB3A", "#3A2B0D", "#F9E4B3", "◐"),
    "paused": Look("#D1C43C", "#34300C", "#F4EDB0", "‖"),
    "cut off": Look("#EE8069", "#3E1D16", "#FBD2C8", "↯"),
    "timeout": Look("#E3AB3A", "#3A2B0D", "#F9E4B3", "◷"),
}
"""The same on a dark page: brighter strokes, deep fills, light text on them."""

BY_PROGRESS = ("success", "running", "cut off", "failed", "cancelled", "skipped", "pending")
"""The statuses of steps in the order in which counts are shown."""
BY_GRAVITY = ("failed", "cut off", "cancelled", "running", "skipped", "pending", "success")
"""The order in which one of them stands for several steps."""

NEUTRAL = Look("#8A94A0", PAPER, INK, "·")


def look_of(status: str | None) -> Look:
    """The look of a status; a neutral one for none and for unknown ones."""
    return STATUS.get(status or "", NEUTRAL)
