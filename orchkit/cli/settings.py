"""``--set key=value``: the context of a run from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NoReturn

from orchkit.cli.failure import UsageError


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """The context: dotted keys nest, values are JSON where they can be read as JSON, else text.

    Of two settings of one key the later wins. Raises `UsageError` for a setting without ``=``, an empty
    part of a key, or a key inside of what is not a mapping.
    """
    context: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        path = [part.strip() for part in key.split(".")]
        if not equals or not all(path):
            raise UsageError(
                f"--set {setting!r} is not key=value, such as --set limit=10 or --set db.host=local"
            )
        into = context
        for depth, part in enumerate(path[:-1], start=1):
            into = into.setdefault(part, {})
            if not isinstance(into, dict):
                raise UsageError(
                    f"--set {key}: {'.'.join(path[:depth])} is {into!r}, so nothing can be set in it"
                )
        into[path[-1]] = parse_value(text)
    return context


def parse_value(text: str) -> Any:
    """JSON if it is JSON (``10``, ``true``, ``[1, 2]``, ``"10"``), else the text itself."""
    try:
        return json.loads(text, parse_constant=_not_json)
    except ValueError:
        return text


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
