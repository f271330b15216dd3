"""A timeline as one SVG: a row per step, a bar per attempt, waits hatched, breaks where nothing happened."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from orchkit.analysis.timeline import Bar, Row, Timeline, is_container
from orchkit.analysis.words import clean, duration
from orchkit.views.marks import number as px
from orchkit.views.palette import INK, LINE, MUTED, PAPER, look_of
from orchkit.views.picture import node_id
from orchkit.views.text import fit, status_class, width
from orchkit.views.timescale import Scale

LABELS = 230.0
CHART = 760.0
NOTES = 74.0
PAD = 12.0
HEAD = 40.0
FOOT = 34.0
_WIDE = PAD * 2 + LABELS + CHART + NOTES
_FONT = "Helvetica,Arial,'Liberation Sans','DejaVu Sans',sans-serif"
_INDENT = 12.0
_AXIS_AGAIN = 40
"""So many rows below the axis it is drawn again."""
_MANY = 60
_SIZES = ((24, 24.0, 15.0, 12.0), (_MANY, 18.0, 12.0, 11.0), (float("inf"), 13.0, 9.0, 9.0))
"""Up to how many rows: the heights of a row and of a bar, the size of its text."""
_HATCH = "orchkit_wait"
_PATTERN = (
    f'<defs><pattern id="{_HATCH}" width="6" height="6" patternUnits="userSpaceOnUse" '
    f'patternTransform="rotate(45)"><path d="M0 0 V6" stroke="{LINE}" stroke-width="2"/></pattern></defs>'
)
_MIDDLE = ' text-anchor="middle"'
_LEAST_GAP = 6.0
"""Narrower gaps are not drawn: they would be stripes."""
_LEGEND = ("success", "failed", "timeout", "running", "cut off")


def svg_of(timeline: Timeline, caption: str) -> str:
    """Draw a timeline; with many rows in smaller ones."""
    return _Gantt(timeline).svg(caption)


class _Gantt:
    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        count = len(timeline.rows)
        self.many = count > _MANY
        self.row, self.bar, self.font = next(size for most, *size in _SIZES if count <= most)
        self.scale = Scale(timeline.start_us, timeline.end_us, timeline.gaps, CHART)
        self.left = PAD + LABELS
        self.bottom = HEAD + self.row * len(timeline.rows)

    def svg(self, caption: str) -> str:
        """The whole file."""
        high = self.bottom + FOOT
        size = f'width="{px(_WIDE)}" height="{px(high)}" viewBox="0 0 {px(_WIDE)} {px(high)}"'
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="orchkit_timeline" role="img" {size}>',
            f"<title>{_xml(caption)}</title>",
            f"<style>{_style(self.font)}</style>",
            _PATTERN,
            f'<rect class="paper" width="{px(_WIDE)}" height="{px(high)}" rx="8"/>',
            *self._gaps(),
            *self._axis(),
            *(part for place, row in enumerate(self.timeline.rows) for part in self._row(place, row)),
            *self._now(),
            *self._legend(),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    # --- what is behind the bars -------------------------------------------------------------

    def _gaps(self) -> Iterator[str]:
        """When nothing was going on: a darker stretch, cut short where it is long."""
        for gap in self.timeline.gaps:
            x, end = self.left + self.scale.x(gap.start_us), self.left + self.scale.x(gap.end_us)
            if end - x < _LEAST_GAP:
                continue
            took = duration((gap.end_us - gap.start_us) / 1000)
            name = "gap" if gap.kind == "idle" else "gap cut"
            yield _titled(name, f"{gap.kind} {took}") + _rect(x, HEAD - 4, end - x, self._high())
            told = next((one for one in (f"{gap.kind} {took}", took) if width(one, 10) + 6 <= end - x), "")
            if gap in self.scale.breaks:
                told = told or took
                yield from (_text_break(at) for at in (x, end))
            yield _text("small", (x + end) / 2, HEAD - 11, told, _MIDDLE) if told else ""
            yield "</g>"

    def _high(self) -> float:
        return self.bottom - HEAD + 8

    def _axis(self) -> Iterator[str]:
        ticks = self.scale.ticks()
        yield f'<g class="axis"><path d="M{px(self.left)} {px(HEAD - 4)} h{px(CHART)}"/>'
        for x, told in ticks:
            at = self.left + x
            yield f'<path d="M{px(at)} {px(HEAD - 4)} V{px(self.bottom + 4)}"/>'
            yield self._tick(at, 14, told)
        rows = range(_AXIS_AGAIN, len(self.timeline.rows), _AXIS_AGAIN) if self.many else ()
        for place in rows:
            y = HEAD + place * self.row
            yield from (self._tick(self.left + x, y + self.row * 0.3, told) for x, told in ticks)
        yield "</g>"

    def _tick(self, x: float, y: float, told: str) -> str:
        return _text("small", x, y, told, _MIDDLE)

    # --- rows --------------------------------------------------------------------------------

    def _row(self, place: int, row: Row) -> Iterator[str]:
        y = HEAD + place * self.row
        middle = y + self.row / 2
        yield f'<g id="time_{node_id(row.path)}" class="row {status_class(row.status)}">'
        if place % 2:
            yield f'<g class="band">{_rect(PAD / 2, y, _WIDE - PAD, self.row)}</g>'
        yield from self._label(row, middle)
        bars = sorted(row.bars, key=lambda bar: bar.kind == "attempt")
        yield from (self._bar(row, bar, middle) for bar in bars)
        yield self._note(row, middle)
        yield "</g>"

    def _label(self, row: Row, middle: float) -> Iterator[str]:
        look = look_of(row.status)
        x, baseline = PAD + row.depth * _INDENT, middle + self.font * 0.36
        yield _text("sign", x, baseline, look.sign, f' fill="{look.text}"')
        many = f" ×{row.count:,}" if row.count > 1 else ""
        room = LABELS - row.depth * _INDENT - 26 - width(many, self.font)
        text = fit(clean(row.label), self.font, max(room, 24), bold=is_container(row), middle=True)
        name = "label outer" if is_container(row) else "label"
        yield _text(name, x + self.font + 4, baseline, text + many)

    def _bar(self, row: Row, bar: Bar, middle: float) -> str:
        x = self.left + self.scale.x(bar.start_us)
        wide = max(self.left + self.scale.x(bar.end_us) - x, 2.0 if bar.kind == "attempt" else 0.5)
        took = duration((bar.end_us - bar.start_us) / 1000)
        if bar.kind == "wait":
            why = f": {bar.reason}" if bar.reason else ""
            return _titled("wait", f"wait of {took} before attempt {bar.number}{why}") + (
                f"{_rect(x, middle - self.bar / 4, wide, self.bar / 2, f'url(#{_HATCH})')}</g>"
            )
        look = look_of("cut off" if bar.status == "in doubt" else bar.status)
        told = f"{row.step_id}: attempt {bar.number} {bar.status}, {took}"
        name = f"{bar.kind} {status_class(bar.status)}"
        if bar.kind == "step":
            return _titled(name, f"{row.step_id}: {bar.status}, {took}") + (
                f"{_rect(x, middle - self.bar / 5, wide, self.bar * 0.4, look.colour, opacity=0.55)}</g>"
            )
        dashes = ' stroke-dasharray="3 2"' if bar.open else ""
        drawn = _rect(x, middle - self.bar / 2, wide, self.bar, look.fill, f' stroke="{look.colour}"{dashes}')
        return _titled(name, told) + drawn + self._inside(bar, x, wide, middle) + "</g>"

    def _inside(self, bar: Bar, x: float, wide: float, middle: float) -> str:
        """A stroke of the colour at its begin, and what came of it where there is room."""
        look = look_of("cut off" if bar.status == "in doubt" else bar.status)
        edge = _rect(x, middle - self.bar / 2, min(3.0, wide), self.bar, look.colour)
        if self.many:
            return edge
        words = {"in doubt": "in doubt", "cut off": "cut off", "timeout": "timeout"}
        texts = [f"{look.sign} {words[bar.status]}"] if bar.status in words else []
        plain = bar.status == "success" and (bar.number or 1) == 1
        texts += [] if plain else [f"{look.sign} {bar.number}", look.sign]
        text = next((one for one in texts if width(one, 10) + 8 <= wide), "")
        return edge + (_text("inside", x + 6, middle + 3.6, text, f' fill="{look.text}"') if text else "")

    def _note(self, row: Row, middle: float) -> str:
        """How long it took from its first to its last bar."""
        took = max(bar.end_us for bar in row.bars) - min(bar.start_us for bar in row.bars)
        told = duration(took / 1000) + ("…" if row.bars[-1].open else "")
        return _text("note", self.left + CHART + NOTES, middle + self.font * 0.36, told)

    def _now(self) -> Iterator[str]:
        """Where a run ends that has no end on record."""
        if not (self.timeline.open or self.timeline.cut_off):
            return
        word = "cut off" if self.timeline.cut_off else "now"
        look = look_of("cut off" if self.timeline.cut_off else "running")
        x = self.left + CHART
        line = f'stroke="{look.colour}" stroke-width="2" stroke-dasharray="5 4"'
        yield f'<path d="M{px(x)} {px(HEAD - 4)} V{px(self.bottom + 4)}" {line}/>'
        yield _text("inside", x + 5, HEAD - 8, f"{look.sign} {word}", f' fill="{look.text}"')

    # --- the legend --------------------------------------------------------------------------

    def _legend(self) -> Iterator[str]:
        """What the colours mean that occur; hatched and grey always have their words."""
        present = {bar.status for row in self.timeline.rows for bar in row.bars if bar.kind == "attempt"}
        present = {"cut off" if status == "in doubt" else status for status in present}
        x, y = self.left, self.bottom + 12
        for status in (one for one in _LEGEND if one in present):
            look = look_of(status)
            word = "in doubt, cut off" if status == "cut off" else status
            yield _rect(x, y, 22, 10, look.fill, f' stroke="{look.colour}"') + _rect(x, y, 3, 10, look.colour)
            yield _text("small", x + 27, y + 9, f"{look.sign} {word}")
            x += 43 + width(f"{look.sign} {word}", 10)
        if any(bar.kind == "wait" for row in self.timeline.rows for bar in row.bars):
            yield _rect(x, y + 2, 22, 6, f"url(#{_HATCH})") + _text("small", x + 27, y + 9, "waits")
            x += 43 + width("waits", 10)
        if self.timeline.gaps:
            yield f'<g class="gap">{_rect(x, y, 22, 10)}</g>'
            yield _text("small", x + 27, y + 9, "nothing is going on")


def _text_break(x: float) -> str:
    """The sign that a line is not to scale there."""
    return f'<path class="break" d="M{px(x)} {px(HEAD - 9)} l4 3 l-8 4 l4 3"/>'


def _titled(name: str, told: str) -> str:
    return f'<g class="{name}"><title>{_xml(told)}</title>'


def _rect(
    x: float, y: float, wide: float, high: float, fill: str = "", more: str = "", opacity: float = 1.0
) -> str:
    fill = f' fill="{fill}"' if fill else ""
    faint = f' opacity="{opacity:g}"' if opacity < 1 else ""
    return (
        f'<rect x="{px(x)}" y="{px(y)}" width="{px(max(wide, 0))}" height="{px(max(high, 0))}" '
        f'rx="1.5"{fill}{more}{faint}/>'
    )


def _text(name: str, x: float, y: float, text: object, more: str = "") -> str:
    return f'<text class="{name}" x="{px(x)}" y="{px(y)}"{more}>{_xml(text)}</text>'


def _xml(text: object) -> str:
    return escape(clean(text), quote=True)


def _style(font: float) -> str:
    rules = {
        "text": f"font:{font:g}px {_FONT}",
        ".paper": f"fill:{PAPER}",
        ".band > rect": "fill:#1F2933;opacity:.035",
        ".label": f"fill:{INK}",
        ".outer": "font-weight:600",
        ".note": f"fill:{MUTED};text-anchor:end",
        ".small": f"font-size:10px;fill:{MUTED}",
        ".inside": "font-size:10px",
        ".axis path": "stroke:#1F2933;stroke-opacity:.13;fill:none",
        ".gap > rect": "fill:#1F2933;opacity:.08",
        ".cut > rect": f"fill:{look_of('cut off').colour};opacity:.16",
        ".break": f"stroke:{MUTED};fill:none;stroke-width:1.2",
    }
    return "".join(f".orchkit_timeline {selector}{{{body}}}" for selector, body in rules.items())
