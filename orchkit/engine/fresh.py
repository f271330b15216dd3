"""Arguments of a call's own: what a function does to them is seen by nobody else."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

Body = Callable[[Mapping[str, Any]], Awaitable[Any]]

_FIXED: tuple[type, ...] = (str, int, float, bool, type(None), bytes, complex, Decimal, UUID)
_FIXED += (dt.datetime, dt.date, dt.time, dt.timedelta, PurePath, Enum)


def with_fresh_arguments(body: Body, params: Mapping[str, Any], services: Mapping[str, Any]) -> Any:
    """``body`` with its arguments, copied anew for each attempt where they could be changed.

    Else a step that appends to a list that it was given would change the output of the step before, what
    others are given, and what its own next attempt gets; and none of that would be on record. Services are
    shared: that is what they are for.
    """
    changeable = [name for name, value in params.items() if not isinstance(value, _FIXED)]
    if not changeable:
        arguments = {**params, **services} if services else params

        def call() -> Awaitable[Any]:
            return body(arguments)

        return call

    def call_with_copies() -> Awaitable[Any]:
        return body({**params, **{name: _copied(params[name]) for name in changeable}, **services})

    return call_with_copies


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:  # what its class does to be copied is not ours; shared, it works as before
        return value
