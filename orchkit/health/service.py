"""A service that is looked after: how it is asked, how often, and what is too slow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from ipaddress import ip_address
from math import isfinite
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit, urlunsplit

from pydantic import ValidationError

from orchkit.errors import ParameterError, Problem
from orchkit.model.breaker import BreakerPolicy, as_breaker
from orchkit.model.faults import faults_of
from orchkit.model.span import seconds_in

Probe = Callable[[], Any] | Callable[[], Awaitable[Any]]
Target = str | Probe | Mapping[str, Any]

_FIELDS: Final = ("url", "probe", "interval", "timeout", "degraded_after", "headers", "breaker")
USUAL_BREAKER: Final = BreakerPolicy(failure_threshold=3, reset_timeout=60, success_threshold=2)
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Service:
    """One service; times are seconds."""

    name: str
    url: str | None = None
    probe: Probe | None = None
    interval: float = 30.0
    timeout: float = 5.0
    degraded_after: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    breaker: BreakerPolicy = USUAL_BREAKER

    @property
    def place(self) -> str | None:
        """Its URL as it may be shown: without user, password and query."""
        if self.url is None:
            return None
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))

    @property
    def target(self) -> str:
        """What is asked, to be told from what another monitor asks under the same name."""
        if self.place is not None:
            return self.place
        kind = self.probe if hasattr(self.probe, "__qualname__") else type(self.probe)
        return f"{getattr(kind, '__module__', '')}.{getattr(kind, '__qualname__', '')}"

    @property
    def holds_us(self) -> int:
        """How long the answer of a check may be taken for the state of the service, in microseconds."""
        return round((2 * self.interval + self.timeout) * 1e6)

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port of its URL, unless it is on this machine."""
        if self.url is None:
            return None
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        return None if is_loopback(host) else (host, parts.port or _PORTS[parts.scheme])

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, and can be reached without a network."""
        return self.url is not None and self.address is None


def is_loopback(host: str) -> bool:
    """Whether a host is the machine itself by its name or address."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False


def services_of(targets: Mapping[str, Target], settings: Mapping[str, Any]) -> list[Service]:
    """The services that are to be watched; raises `ParameterError` with all that is wrong."""
    if not isinstance(targets, Mapping):
        raise ParameterError(
            "watch", [Problem("services", "not a mapping", 'write {"writer": "http://..."}')]
        )
    problems: list[Problem] = []
    found = [_service(str(name), target, settings, problems) for name, target in targets.items()]
    if problems:
        raise ParameterError("watch", problems)
    return found


def _service(name: str, target: Target, settings: Mapping[str, Any], problems: list[Problem]) -> Service:
    given: dict[str, Any] = dict(settings)
    if isinstance(target, Mapping):
        problems += [_unknown(name, key) for key in sorted(set(map(str, target)) - set(_FIELDS))]
        given.update({key: value for key, value in target.items() if key in _FIELDS})
    elif callable(target):
        given["probe"] = target
    else:
        given["url"] = target
    for key in ("interval", "timeout", "degraded_after"):
        given[key] = _seconds(f"{name}.{key}", given.get(key), problems, optional=key == "degraded_after")
    given["headers"] = {str(key): str(value) for key, value in (given.get("headers") or {}).items()}
    given["breaker"] = _breaker(f"{name}.breaker", given.get("breaker"), problems)
    problems += [*_asked(name, given), *_named(name)]
    return Service(name, **given)


def _unknown(name: str, key: str) -> Problem:
    found = get_close_matches(key, _FIELDS, n=1)
    hint = f"did you mean {found[0]!r}?" if found else f"there are {', '.join(_FIELDS)}"
    return Problem(name, f"no such setting: {key}", hint)


def _breaker(where: str, value: Any, problems: list[Problem]) -> BreakerPolicy:
    if value is None or value is True:
        return USUAL_BREAKER
    try:
        return as_breaker(value) or USUAL_BREAKER
    except ValidationError as error:
        problems += [Problem(where, text) for text in faults_of(error)]
        return USUAL_BREAKER


def _named(name: str) -> list[Problem]:
    if not name.strip():
        return [Problem("services", "a service without a name")]
    try:
        name.encode()
    except UnicodeEncodeError:
        return [Problem("services", f"the name {name!r} is no valid text")]
    return []


def _asked(name: str, given: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with how it is asked."""
    url, probe = given.get("url"), given.get("probe")
    if (url is None) == (probe is None):
        return [Problem(name, "give a URL or a function", "one of both")]
    if probe is not None:
        return [] if callable(probe) else [Problem(name, f"{probe!r} cannot be called")]
    if not isinstance(url, str):
        return [Problem(name, f"{type(url).__name__} is neither a URL nor a function")]
    try:
        parts: SplitResult = urlsplit(url)
        sound = parts.scheme in _PORTS and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # a port that is no number, brackets that do not close
        sound = False
    return [] if sound else [Problem(name, f"{url!r} is no URL", "write http://host:port/health")]


def _seconds(where: str, value: Any, problems: list[Problem], *, optional: bool) -> Any:
    if value is None and optional:
        return None
    seconds = seconds_in(value) if isinstance(value, str) else value
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, int | float)
        or not isfinite(seconds)
        or seconds <= 0
    ):
        problems.append(Problem(where, f"{value!r} is no number of seconds above 0"))
        return 1.0
    return float(seconds)
