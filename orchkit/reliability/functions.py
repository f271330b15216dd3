"""Functions that policies name: themselves, or what ``package.module:function`` imports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchkit.errors import PolicyError, RegistrationError
from orchkit.registry.definition import load_target


def load(what: str, function: Callable[..., Any] | str) -> Callable[..., Any]:
    """The function; raises `PolicyError` saying ``what`` it was to be for when it cannot be imported."""
    if not isinstance(function, str):
        return function
    try:
        return load_target(what, function)
    except RegistrationError as error:
        raise PolicyError(what, error.cause) from error
