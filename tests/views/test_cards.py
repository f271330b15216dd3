"""The building blocks of cards: escaped, within what untrusted notebooks keep."""

from __future__ import annotations

import base64
import re
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from orchkit.views.cards import (
    Html,
    card,
    code,
    details,
    duration,
    html,
    image,
    moment,
    note,
    preview,
    status_chip,
    story,
    table,
)
from orchkit.views.palette import LINE, STATUS
from orchkit.views.render import Picture
from orchkit.views.stylesheet import STYLE


def _body(markup: str) -> ET.Element:
    """Cards are also well-formed XML, apart from the void elements of HTML."""
    return ET.fromstring(f"<root>{markup.replace('<br>', '<br/>')}</root>")


def test_every_text_is_escaped(hostile: str) -> None:
    """A hostile text in any place of any block stays text."""
    blocks = [
        card(hostile, [(hostile, hostile)], head=html(hostile)),
        table([[hostile, None, 3]], [hostile, "b", "c"], right=[hostile]),
        details(hostile, html(hostile)),
        status_chip(hostile),
        note(hostile),
        code(hostile),
        story(hostile),
        preview({hostile: [hostile]}),
    ]
    allowed = {
        "root",
        "div",
        "span",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "details",
        "summary",
        "code",
    }
    for block in blocks:
        root = _body(block)
        assert {element.tag for element in root.iter()} <= allowed
        assert {name for element in root.iter() for name in element.attrib} <= {"style", "class"}


def test_html_is_marked_by_its_type() -> None:
    """Only what the blocks made themselves goes through as it is."""
    assert html("<b>") == "&lt;b&gt;"
    assert html(Html("<b>")) == "<b>"
    assert html(3) == "3"


@pytest.mark.parametrize("status", [*STATUS, "unheard of", None])
def test_a_chip_has_a_sign_and_a_word(status: str | None) -> None:
    """A status can be read without its colour, an unknown one too."""
    text = "".join(_body(status_chip(status)).itertext())
    sign, _, word = text.partition(" ")
    assert sign.strip()
    assert word == (status or "unknown")


def test_the_signs_of_statuses_differ() -> None:
    """No two statuses share a sign or a colour, but timeouts look like what went wrong in part."""
    assert len({look.sign for look in STATUS.values()}) == len(STATUS)
    assert len({look.colour for name, look in STATUS.items() if name != "timeout"}) == len(STATUS) - 1


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("status", STATUS)
def test_colours_can_be_read(status: str) -> None:
    """Text on its tint has a contrast of 4.5 (WCAG AA), strokes on white and on black one of 3."""
    look = STATUS[status]
    assert _contrast(look.text, look.fill) >= 4.5
    assert _contrast(look.colour, "#FFFFFF") >= 3
    assert _contrast(look.colour, "#111111") >= 3
    assert _contrast(look.fill, "#111111") >= 3


def test_edges_can_be_seen_on_light_and_dark_pages() -> None:
    """Every colour of an edge has a contrast of 3 on white and on #111111, and no edge is made paler."""
    edges = [rule for rule in STYLE.splitlines() if re.search(r"\.(edge_|line|tip)", rule)]
    colours = {LINE, *re.findall(r"stroke:(#\w{6})", "".join(edges))}
    assert len(edges) > 5
    assert not [rule for rule in edges if "opacity" in rule]
    for colour in colours:
        assert _contrast(colour, "#FFFFFF") >= 3, colour
        assert _contrast(colour, "#111111") >= 3, colour


def test_a_table_counts_what_it_does_not_show() -> None:
    """Beyond the limit rows are counted, also when only a part of them was given."""
    shown = table(([n] for n in range(5)), ["n"], right=["n"], most=3)
    assert shown.count("<td") == 3
    assert "… and 2 more" in shown
    assert "… and 1,000 more" in table([["x"]], ["n"], total=1001)
    assert "more" not in table([["x"]], ["n"])
    assert "text-align:right" in shown


def test_a_table_can_leave_out_empty_columns() -> None:
    """A column goes when no shown row has anything in it; zero is something."""
    rows: list[list[Any]] = [["a", None, "", 0, Html("")], ["b", "", None, "", Html("")]]
    shown = table(rows, ["p", "q", "r", "s", "t"], drop_empty=True, right=["s"])
    assert [cell.text for cell in _body(shown).iter("th")] == ["p", "s"]
    assert [cell.text for cell in _body(shown).iter("td")] == ["a", "0", "b", None]
    assert [cell.text for cell in _body(table(rows, list("pqrst"))).iter("th")] == list("pqrst")


def test_long_cells_are_cut() -> None:
    """A cell of a million characters does not make a page of a million characters."""
    assert len(table([["x" * 1_000_000]], ["a"])) < 2000
    assert len(preview({"a" * 10_000: ["x" * 1_000_000] * 10_000})) < 1000
    assert len(note("x" * 1_000_000)) < 2000


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ({"a": [1, 2.5, None, True]}, '{"a": [1, 2.5, null, true]}'),
        ("é", '"é"'),
        ({1: {2}}, '{"1": "{2}"}'),
        (float("nan"), "NaN"),
        (Exception("x"), '"x"'),
    ],
)
def test_previews_are_json(value: Any, text: str | None) -> None:
    """Values are shown as JSON, what JSON does not know as text, nothing as nothing."""
    assert (_body(preview(value))[0].text if value is not None else preview(value) or None) == text


def test_a_preview_of_something_endless_does_not_raise() -> None:
    """A list that contains itself is shown by its type."""
    endless: list[Any] = []
    endless.append(endless)
    assert "list" in preview(endless)


@pytest.mark.parametrize(
    "time",
    [
        1_741_788_202_000_000,
        datetime(2025, 3, 12, 15, 3, 22, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_moments_are_said_in_utc(time: Any) -> None:
    """Times are shown in UTC and say so, wherever they come from."""
    assert moment(time) == "2025-03-12 14:03:22 UTC"
    assert moment(None) == ""


def test_a_picture_becomes_a_data_uri() -> None:
    """The image needs no file and no network, has an alternative text and keeps its size."""
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="320.4" height="5"><title>é</title></svg>'
    element = _body(image(Picture(svg, "dot", 'a "caption"')).replace('"></div>', '"/></div>')).find(".//img")
    assert element is not None
    assert (element.get("alt"), element.get("width")) == ('a "caption"', "321")
    kind, _, data = element.attrib["src"].partition(",")
    assert kind == "data:image/svg+xml;base64"
    assert base64.b64decode(data).decode() == svg


def test_facts_without_a_value_are_left_out() -> None:
    """A card shows what is known."""
    text = "".join(
        _body(card("t", [("user", None), ("case", ""), ("took", duration(1200)), ("n", 0)])).itertext()
    )
    assert "user" not in text
    assert "case" not in text
    assert "took 1.2 s" in text
    assert "n 0" in text


class _Collector(HTMLParser):
    """The tags, attributes and style properties of some HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.styles: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name == "style":
                self.styles |= {part.partition(":")[0] for part in (value or "").split(";")}


# What JupyterLab 4 leaves of the HTML in notebooks that are not trusted (its sanitizer's lists, in part).
KEPT_TAGS = {
    "div",
    "span",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "details",
    "summary",
    "code",
    "img",
    "br",
}
KEPT_ATTRIBUTES = {"class", "style", "alt", "src", "width", "open"}
KEPT_STYLES = {
    "background", "background-color", "border", "border-bottom", "border-collapse", "border-left",
    "border-radius", "color", "cursor", "display", "font-size", "font-weight", "height", "line-height",
    "margin", "margin-right", "max-height", "max-width", "min-width", "opacity", "overflow",
    "overflow-wrap", "overflow-x", "padding", "text-align", "vertical-align", "white-space",
}  # fmt: skip


def check_kept(markup: str) -> None:
    """Raise unless an untrusted notebook would show this as it is."""
    found = _Collector()
    found.feed(markup)
    assert found.tags <= KEPT_TAGS
    assert found.attributes <= KEPT_ATTRIBUTES
    assert found.styles <= KEPT_STYLES
    assert "var(" not in markup


def test_untrusted_notebooks_keep_all_blocks() -> None:
    """No block uses an element, attribute or property that notebooks take away."""
    blocks = [
        card("t", [("a", "b")], head=status_chip("failed")),
        table([["a", 1]], ["x", "y"], right=["y"]),
        details("s", story("a\n  b"), is_open=True),
        note("n"),
        code("c"),
        image(Picture('<svg width="2000">', "dot")),
    ]
    for block in blocks:
        check_kept(block)
