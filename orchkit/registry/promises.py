"""What the author of a method promises about it: what may be repeated, and what need not be."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal, TypedDict, get_args

from orchkit.errors import RegistrationError

CacheMode = Literal["inputs"]


class Promises(TypedDict, total=False):
    """Options of a method, all off unless given; nothing checks that they are kept."""

    pure: bool
    """Calling it again changes nothing in the world and gives the same result: verifying may execute it."""
    cache: CacheMode | None
    """"inputs": same code and same input reuse the recorded output, across runs, instead of calling it."""
    idempotent: bool
    """Twice is as good as once: it may be hedged, that is called a second time before the first has ended."""


def check_promises(name: str, given: Mapping[str, Any]) -> Promises:
    """The promises, each with its value; RegistrationError for an option or a value that there is not."""
    for option in given:
        if option not in Promises.__annotations__:
            close = get_close_matches(option, Promises.__annotations__, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise RegistrationError(name, f"there is no option {option!r}{hint}")
    for option in ("pure", "idempotent"):
        if not isinstance(given.get(option, False), bool):
            raise RegistrationError(name, f"{option}={given[option]!r} is neither True nor False")
    cache = given.get("cache")
    if cache is not None and cache not in get_args(CacheMode):
        raise RegistrationError(name, f"cache={cache!r} is neither 'inputs' nor None")
    pure, idempotent = given.get("pure", False), given.get("idempotent", False)
    return Promises(pure=pure, cache=cache, idempotent=idempotent)
