"""The port through which records show themselves: views plug in, records only ask."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

Bundle = dict[str, str]

_views: dict[str, str] = {}


def use_views(module: str) -> None:
    """Name the module whose ``bundle(obj) -> dict`` draws records; imported at the first picture."""
    _views["module"] = module


def bundle_of(obj: object) -> Bundle:
    """The MIME bundle of a record; text only when no views are plugged in or they fail.

    A repr must never raise: in a notebook it would hide the value that the user asked for.
    """
    text = {"text/plain": repr(obj)}
    if not _views:
        return text
    try:
        draw: Callable[[object], Bundle] = import_module(_views["module"]).bundle
        return text | draw(obj)
    except Exception as error:  # a picture is never worth an exception in the user's cell
        return {"text/plain": f"{text['text/plain']}\n(no picture: {error!r})"}


def view_of(name: str, obj: object) -> Any:
    """What the function ``name`` of the plugged-in views makes of an object. Raises what it raises."""
    if not _views:
        raise LookupError("no views are plugged in: import orchkit")
    return getattr(import_module(_views["module"]), name)(obj)


class Displayable:
    """Mixin: rich display in notebooks through the plugged-in views."""

    __slots__ = ()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Bundle:
        return bundle_of(self)
