"""The style that every picture carries inside: literal colours, readable on a white and on a black page."""

from __future__ import annotations

from orchkit.views.palette import INK, LINE, MUTED, NEUTRAL, STATUS
from orchkit.views.text import status_class

_FONT = "Helvetica,Arial,'Liberation Sans','DejaVu Sans',sans-serif"


def _rules() -> list[str]:
    rules = [
        ("text", f"font:11px {_FONT};fill:{MUTED}"),
        (".title", f"font-size:13px;font-weight:600;fill:{INK}"),
        (".note", "text-anchor:end"),
        (".badge", f"text-anchor:middle;font-weight:600;fill:{INK}"),
        (".condition", "font-style:italic"),
        (".error", f"fill:{STATUS['failed'].text}"),
        (".box", f"fill:{NEUTRAL.fill};stroke:{NEUTRAL.colour};stroke-width:1.2"),
        (".inner", f"fill:none;stroke:{NEUTRAL.colour};stroke-width:.8"),
        (".frame", f"fill:#EEF0F3;stroke:{NEUTRAL.colour};stroke-width:1.2"),
        (".pill", f"fill:#FFFFFF;stroke:{NEUTRAL.colour};stroke-width:.8"),
        (".line", f"fill:none;stroke:{LINE};stroke-width:1.5"),
        (".tip", f"fill:{LINE};stroke:{LINE};stroke-width:1;stroke-linejoin:round"),
        (".open", "fill:#FFFFFF"),
        (".vee", "fill:none;stroke-width:1.5;stroke-linecap:round"),
        (".edge_dependency .line", "stroke-width:1.2"),
        # not paler: on a dark page that would be invisible
        (".edge_idle .line", "stroke-width:1.2;stroke-dasharray:5 4"),
        (".edge_order .line", "stroke-dasharray:1.5 4;stroke-linecap:round"),
        (".edge_compensation .line", f"stroke-dasharray:6 4;stroke:{STATUS['partial'].colour}"),
        (".edge_compensation .tip", f"stroke:{STATUS['partial'].colour}"),
        (".compensation .box", f"stroke-dasharray:5 3;stroke:{STATUS['partial'].colour}"),
    ]
    for status, look in STATUS.items():
        rules.append((f".{status_class(status)} .box", f"fill:{look.fill};stroke:{look.colour}"))
        rules.append((f".{status_class(status)} .inner", f"stroke:{look.colour}"))
        rules.append((f".cluster.{status_class(status)} .frame", f"stroke:{look.colour}"))
        rules.append((f".{status_class(status)} .pill", f"stroke:{look.colour}"))
    rules.append((".status_running .box", "stroke-width:2.4"))
    rules.append((".status_failed .box", "stroke-width:2"))
    rules.append((".status_cut_off .box", "stroke-width:2;stroke-dasharray:8 4"))
    rules.append((".status_skipped .box", "stroke-dasharray:4 3"))
    rules.append((".status_pending .box", "stroke-dasharray:1.5 3;stroke-linecap:round"))
    # within the box, so that it shows on dark pages, too
    rules.append((".reused .inner", "stroke-dasharray:.1 3.4;stroke-linecap:round;stroke-width:1.5"))
    rules.append((".differs > .box:not(.sheet)", f"stroke:{STATUS['partial'].colour};stroke-width:3.4"))
    rules.append((".cluster.differs .frame", f"stroke:{STATUS['partial'].colour};stroke-width:3.4"))
    rules.append((".differs .pill", f"stroke:{STATUS['partial'].colour};fill:{STATUS['partial'].fill}"))
    rules.append((".node .box.sheet", "stroke-dasharray:none;stroke-width:1.2"))
    return [f".orchkit_dag {selector}{{{body}}}" for selector, body in rules]


STYLE = "\n".join(_rules())
"""All selectors begin with ``.orchkit_dag``, so that nothing else on a page is styled."""
