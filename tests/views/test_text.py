"""Foreign text made safe: cleaned, named, measured, cut."""

from __future__ import annotations

import re
from html import escape
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.analysis.words import clean, shorten
from orchkit.views.text import fit, slug, width

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=80)


@given(ANY_TEXT)
def test_clean_text_fits_into_any_document(text: str) -> None:
    """Whatever the text, it becomes one line that XML and UTF-8 can hold."""
    line = clean(text)
    assert line.splitlines() in ([], [line])
    assert ET.fromstring(f'<a b="{escape(line)}"/>'.encode()).get("b") == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\nb\tc\r\nd", "a b c d"),
        ("\x00\x1b[31m", "��[31m"),
        ("\u202egnp.exe", "�gnp.exe"),
        ("\ud800", "�"),
        ("👩‍👧 שלום é", "👩‍👧 שלום é"),
        (None, "None"),
        (3, "3"),
    ],
)
def test_what_clean_changes(text: object, line: str) -> None:
    """Line breaks become spaces; control characters, direction overrides and halves of pairs a sign."""
    assert clean(text) == line


@given(ANY_TEXT, ANY_TEXT)
def test_slugs_are_identifiers_and_stay_different(one: str, other: str) -> None:
    """Every text has an identifier of ASCII letters, digits and underscores, each its own."""
    assert re.fullmatch(r"[A-Za-z0-9_]{1,57}", slug(one))
    assert (slug(one) == slug(other)) == (one == other)


def test_plain_ids_are_their_own_slugs() -> None:
    """A usual step id stays readable; others keep what can be kept."""
    assert slug("fetch_order_2") == "fetch_order_2"
    assert re.fullmatch(r"fetch_order_[0-9a-f]{8}", slug("fetch order"))


@given(ANY_TEXT.map(clean), st.floats(min_value=20, max_value=300), st.booleans(), st.booleans())
def test_a_fitted_text_is_never_wider_than_its_room(
    text: str, limit: float, bold: bool, middle: bool
) -> None:
    """What does not fit is cut, at the end or in the middle; what fits stays as it is."""
    shown = fit(text, 12, limit, bold=bold, middle=middle)
    assert width(shown, 12, bold=bold) <= limit + 1e-6
    assert shown == text or "…" in shown


def test_names_keep_their_end() -> None:
    """Cut in the middle, two long names that differ at their end still differ."""
    names = [f"pipeline.stage.align_sample_number_{n}" for n in (1, 2)]
    shown = [fit(name, 12, 120, middle=True) for name in names]
    assert shown[0] != shown[1]
    assert all(text.startswith("pip") for text in shown)


def test_cutting_does_not_leave_halves_of_a_character() -> None:
    """A cut never ends in a joiner or splits a letter from its accents."""
    for length in range(2, 12):
        cut = shorten("e\u0301\u0301" * 4 + "👩‍👧‍👦" * 3, length).rstrip("…")
        assert not cut.endswith("\u200d")
    assert shorten("ae\u0301bcd", 3) == "a…"


def test_measuring_a_huge_text_is_cheap() -> None:
    """Of a text of a million characters only the begin is looked at."""
    assert len(fit("x" * 1_000_000, 12, 100)) < 60
