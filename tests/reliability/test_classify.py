"""Naming errors: for policies that select them, and for the record."""

from __future__ import annotations

import pytest

from orchkit.reliability.classify import MESSAGE_CHARS, error_message, error_name, error_text, matches


class BrokenError(Exception):
    """Cannot even say what is wrong."""

    def __str__(self) -> str:
        raise KeyError("code")


class Outer:
    class InnerError(ValueError):
        """A nested type."""


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no such day"), "ValueError: no such day"),
        (ValueError(), "ValueError"),
        (Outer.InnerError("x"), "Outer.InnerError: x"),
        (ValueError("two\nlines"), "ValueError: two\nlines"),
        (ValueError("bad \udcff name"), "ValueError: bad \\udcff name"),
        (ValueError("größer"), "ValueError: größer"),
        (BrokenError(), "BrokenError: (its message cannot be read: KeyError)"),
    ],
)
def test_any_error_gives_a_text_that_can_be_stored(error: Exception, text: str) -> None:
    """Type and message; a message that is no valid text, or raises, does not stop the record."""
    assert error_text(error) == text
    error_text(error).encode()


def test_an_endless_message_is_cut() -> None:
    """A message that carries a whole input keeps its beginning and says how much is missing."""
    message = error_message(ValueError("x" * (MESSAGE_CHARS + 5)))
    assert message.startswith("x" * MESSAGE_CHARS)
    assert message.endswith("… and 5 more characters")


def test_the_name_on_record_is_qualified_unless_builtin() -> None:
    """Builtins are bare, other types carry their module."""
    assert error_name(ValueError()) == "ValueError"
    assert error_name(Outer.InnerError()) == f"{__name__}.Outer.InnerError"


@pytest.mark.parametrize("name", ["InnerError", "ValueErr", "valueerror", "builtins", ""])
def test_a_part_of_a_name_does_not_match(name: str) -> None:
    """Only whole names of the type or a base match, bare or qualified."""
    assert not matches(Outer.InnerError(), [name])
    assert matches(Outer.InnerError(), ["Outer.InnerError"])
    assert matches(Outer.InnerError(), ["builtins.ValueError"])
