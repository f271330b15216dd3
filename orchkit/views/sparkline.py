"""The last checks of a service as a small picture: a bar for each, its height the response time."""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Sequence

from orchkit.analysis.words import duration
from orchkit.model.health import HealthLook
from orchkit.views.cards import Html, html
from orchkit.views.marks import number
from orchkit.views.palette import LINE, STATUS

PLACES = 48
_STEP, _BAR, _HIGH = 5.0, 4.0, 28.0
_WIDE = PLACES * _STEP
_LEAST = 3.0
_LOW_MS = 1.0

_HEALTHY, _DEGRADED, _FAILED = (STATUS[name].colour for name in ("success", "partial", "failed"))


def sparkline(looks: Sequence[HealthLook]) -> Html:
    """The picture with its words, for a cell of a table; the newest check is at the right."""
    shown = list(looks)[-PLACES:]
    data = base64.b64encode(svg_of(shown).encode()).decode("ascii")
    return Html(
        f'<img alt="{html(told(shown))}" title="{html(told(shown))}" width="{number(_WIDE)}" '
        f'height="{number(_HIGH)}" style="vertical-align:middle" src="data:image/svg+xml;base64,{data}">'
    )


def svg_of(looks: Sequence[HealthLook]) -> str:
    """The SVG. Colours stand out on light and on dark; what differs in colour differs in form, too.

    Healthy: a full bar. Degraded: a hollow one. Unhealthy: a broken one over the whole height. Not performed:
    a dot on the line. Heights grow with the logarithm of the response time, between 1 ms and the longest one.
    """
    longest = max((look.response_time_ms or 0.0 for look in looks), default=0.0)
    start = PLACES - len(looks)
    marks = (_mark(look, (start + place) * _STEP, longest) for place, look in enumerate(looks))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(_WIDE)}" height="{number(_HIGH)}" '
        f'viewBox="0 0 {number(_WIDE)} {number(_HIGH)}">'
        f'<path d="M0 {number(_HIGH - 0.5)}H{number(_WIDE)}" stroke="{LINE}" stroke-width="1" opacity="0.6"/>'
        f"{''.join(marks)}</svg>"
    )


def _mark(look: HealthLook, x: float, longest: float) -> str:
    left, foot = x + 0.5, _HIGH - 1.0
    if look.status is None:
        return f'<circle cx="{number(left + _BAR / 2)}" cy="{number(foot - 3)}" r="1.3" fill="{LINE}"/>'
    if look.status == "unhealthy":
        middle = foot / 2
        return _bar(left, 1.0, middle - 2.5, _FAILED) + _bar(left, middle + 1.5, foot, _FAILED)
    top = foot - _height(look.response_time_ms, longest)
    if look.status == "degraded":
        outline = (
            f"M{number(left + 0.5)} {number(foot)}V{number(top + 0.5)}h{number(_BAR - 1)}V{number(foot)}"
        )
        return f'<path d="{outline}" fill="none" stroke="{_DEGRADED}"/>'
    return _bar(left, top, foot, _HEALTHY)


def _bar(left: float, top: float, foot: float, colour: str) -> str:
    outline = f"M{number(left)} {number(top)}h{number(_BAR)}V{number(foot)}h-{number(_BAR)}z"
    return f'<path d="{outline}" fill="{colour}"/>'


def _height(ms: float | None, longest: float) -> float:
    if ms is None or longest <= _LOW_MS:
        return _LEAST
    share = math.log(max(ms, _LOW_MS) / _LOW_MS) / math.log(longest / _LOW_MS)
    return _LEAST + share * (_HIGH - 3 - _LEAST)


def told(looks: Sequence[HealthLook]) -> str:
    """The same in words."""
    if not looks:
        return "no check yet"
    counts: Counter[str] = Counter(look.status or "not performed" for look in looks)
    order = ("healthy", "degraded", "unhealthy", "not performed")
    words = [f"the last {len(looks)} checks: " if len(looks) > 1 else "the only check: "]
    words.append(", ".join(f"{counts[one]} {one}" for one in order if counts[one]))
    times = [look.response_time_ms for look in looks if look.response_time_ms is not None]
    if times:
        words.append(f"; {duration(min(times))} to {duration(max(times))}")
    return "".join(words)
