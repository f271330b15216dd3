"""Numbers and lists in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.analysis.words import duration, listing, ordinal, plural, sentence, shorten, without_modules


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "–"),
        (0, "0 ms"),
        (0.004, "0 ms"),
        (0.42, "0.42 ms"),
        (3.25, "3.25 ms"),
        (10, "10 ms"),
        (12.34, "12.3 ms"),
        (240, "240 ms"),
        (999.4, "999 ms"),
        (999.6, "1 s"),
        (1240, "1.24 s"),
        (12_400, "12.4 s"),
        (59_960, "1 min 00 s"),
        (185_000, "3 min 05 s"),
        (7_620_000, "2 h 07 min"),
        (273_600_000, "3 d 04 h"),
        (-3, "−3 ms"),
    ],
)
def test_duration_in_words(ms: float | None, text: str) -> None:
    """Milliseconds get the unit that people would choose, rounded before the unit is chosen."""
    assert duration(ms) == text


@given(st.floats(allow_nan=True, allow_infinity=True) | st.none())
def test_any_duration_can_be_said(ms: float | None) -> None:
    """No number raises, and every text is short."""
    assert 0 < len(duration(ms)) < 330


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (list("abcdef"), "a, b, c, d, e and f"),
        (list("abcdefgh"), "a, b, c, d, e and 3 more"),
    ],
)
def test_a_list_in_words(names: list[str], text: str) -> None:
    """Names are joined with commas and an and; beyond six the rest is counted."""
    assert listing(names) == text


def test_counts_and_ordinals() -> None:
    """Nouns follow their number, ordinals are words up to ten."""
    assert [plural(n, "step") for n in (0, 1, 2, 1000)] == ["0 steps", "1 step", "2 steps", "1,000 steps"]
    assert plural(2, "entry", "entries") == "2 entries"
    assert [ordinal(n) for n in (1, 3, 10, 11, 12, 13, 21, 22, 103, 111)] == [
        "first", "third", "tenth", "11th", "12th", "13th", "21st", "22nd", "103rd", "111th",
    ]  # fmt: skip


def test_sentences_and_short_lines() -> None:
    """A sentence has a capital and a full stop; a short line is one line with an ellipsis for the rest."""
    assert sentence("it ended ") == "It ended."
    assert sentence("why?") == "Why?"
    assert sentence("") == ""
    assert shorten("a\n  b\tc", 10) == "a b c"
    assert shorten("abcdefgh", 5) == "abcd…"


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("shop.errors.Closed: at 18.00.Sharp", "Closed: at 18.00.Sharp"),
        ("shop.errors._Closed", "_Closed"),
        ("a.b.Failed on attempt 1", "Failed on attempt 1"),
        ("KeyError: 'a.b.C'", "KeyError: 'a.b.C'"),
        ("shop.closed at night", "shop.closed at night"),
        ("", ""),
    ],
)
def test_types_without_their_modules(text: str, short: str) -> None:
    """Only a dotted type at the very begin is made short; names of tools and the message stay."""
    assert without_modules(text) == short
