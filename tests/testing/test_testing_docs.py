"""The docstrings of the testing tools: their examples run as they stand."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest

import orchkit.testing

MODULES = sorted(
    {getattr(orchkit.testing, name).__module__ for name in orchkit.testing.__all__ if name != "START_US"}
)


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_run(module: str) -> None:
    """Each example prints what it says."""
    result = doctest.testmod(import_module(module))
    assert result.failed == 0


@pytest.mark.parametrize("name", orchkit.testing.__all__)
def test_every_name_is_there(name: str) -> None:
    """Every public name can be had and, unless it is a number, is documented."""
    value = getattr(orchkit.testing, name)
    assert isinstance(value, int) or value.__doc__
