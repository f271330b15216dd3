"""Asking a service: what a probe returns or raises, and what that says of the service."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from inspect import isawaitable, iscoroutinefunction
from math import isfinite
from typing import Any, Final

from orchkit.clock import Clock
from orchkit.errors import MissingExtraError
from orchkit.executors.threads import ThreadWorkers
from orchkit.health.http import ask
from orchkit.health.network import causes_of
from orchkit.health.service import Probe, Service
from orchkit.model.health import HealthResult, found_in
from orchkit.reliability.classify import error_message, error_text
from orchkit.store import codec

MOST_DETAILS: Final = 8 * 1024
"""Characters of JSON; what a service tells beyond that is not kept."""
MOST_ERROR: Final = 1_000
BEAT_S: Final = 0.05
CLOSING_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look at a service found."""

    result: HealthResult
    took: float
    """Seconds that the service took."""
    raised: BaseException | None = None
    """What the probe raised."""
    out_of_time: bool = False
    lag: float = 0.0
    """Seconds in which the loop did nothing, because something blocked it."""
    task: asyncio.Task[Any] | None = None
    """The probe that was left behind, because it goes on although its time is over."""


class Prober:
    """Asks services, each within its timeout."""

    def __init__(self, clock: Clock, workers: ThreadWorkers) -> None:
        self._clock, self._workers = clock, workers
        self._inside: Counter[str] = Counter()
        self._lock = threading.Lock()

    def inside(self, name: str) -> int:
        """How many calls of a sync probe have not come back."""
        return self._inside[name]

    async def look(self, service: Service) -> Finding:
        """Ask once. Raises only `asyncio.CancelledError` and `MissingExtraError`."""
        clock = self._clock
        began, lag = clock.monotonic(), Lag(asyncio.get_running_loop())
        task = asyncio.get_running_loop().create_task(self._ask(service))
        task.add_done_callback(heard)
        try:
            # Waited for beside it: a probe that does not let itself be cancelled is left behind.
            async with clock.timeout(service.timeout):
                await asyncio.wait({task})
        except TimeoutError:
            task.cancel()
            result = HealthResult("unhealthy", error=f"no answer within {service.timeout:g} s")
            left = task if service.url is None else None
            took = clock.monotonic() - began
            return Finding(result, took, out_of_time=True, lag=lag.seconds, task=left)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task}, timeout=CLOSING_S)  # it has sockets to close
            raise
        finally:
            lag.end()
        return _found(service, task, clock.monotonic() - began, lag.seconds)

    async def _ask(self, service: Service) -> Any:
        probe = service.probe
        if probe is None:
            return await ask(service, self._clock, self._workers)
        if iscoroutinefunction(probe) or iscoroutinefunction(getattr(probe, "__call__", None)):  # noqa: B004
            return await probe()
        value = await self._workers.run(self._counted, {"name": service.name, "probe": probe})
        return await value if isawaitable(value) else value

    def _counted(self, name: str, probe: Probe) -> Any:
        """Call it; in its thread, where it may stay for good although its time is over."""
        with self._lock:
            self._inside[name] += 1
        try:
            return probe()
        finally:
            with self._lock:
                self._inside[name] -= 1


def heard(task: asyncio.Task[Any]) -> None:
    """What a task raises for which nobody waits any more is nobody's business."""
    if not task.cancelled():
        task.exception()


class Lag:
    """Measures for how long the loop is blocked, from now on until `end`; in real time, as it is real."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._seconds = 0.0
        self._expected = 0.0
        self._beat()

    def _beat(self) -> None:
        self._expected = self._loop.time() + BEAT_S
        self._next = self._loop.call_later(BEAT_S, self._late)

    def _late(self) -> None:
        self._seconds = self.seconds
        self._beat()

    @property
    def seconds(self) -> float:
        """How long so far; less than a beat is not noticed."""
        behind = self._loop.time() - self._expected
        return self._seconds + (behind if behind > BEAT_S else 0.0)

    def end(self) -> None:
        """Measure no more."""
        self._next.cancel()


def _found(service: Service, task: asyncio.Task[Any], took: float, lag: float) -> Finding:
    if task.cancelled():
        return Finding(HealthResult("unhealthy", error="the probe was cancelled from inside"), took)
    error = task.exception()
    if isinstance(error, MissingExtraError):
        raise error
    if error is not None:
        return Finding(HealthResult("unhealthy", error=_short(told(error))), took, error, lag=lag)
    result = result_of(task.result())
    slow = service.degraded_after
    took = took if result.response_time_ms is None else result.response_time_ms / 1000
    if slow is not None and took - lag > slow and result.status == "healthy":
        text = result.error or f"slow: {took:.3g} s, more than {slow:g} s"
        result = replace(result, status="degraded", error=text)
    return Finding(result, took, lag=lag)


def result_of(value: Any) -> HealthResult:
    """What a probe means by its result: None and True are healthy, False is not; mappings say more.

    A mapping has a ``status`` (``healthy``, ``degraded``, ``unhealthy`` or what services call these), an
    ``error``, a ``response_time_ms``, ``details``; whatever else is in it are details, too.
    """
    if isinstance(value, HealthResult):
        took = value.response_time_ms if _is_duration(value.response_time_ms) else None
        return replace(value, details=plain(value.details), error=_short(value.error), response_time_ms=took)
    if value is None or value is True:
        return HealthResult()
    if value is False:
        return HealthResult("unhealthy", error="the probe returned False")
    if not isinstance(value, Mapping):
        text = f"the probe returned {type(value).__name__}: return True, False, a mapping or a HealthResult"
        return HealthResult("unhealthy", error=text)
    return _of_mapping(value)


def _of_mapping(value: Mapping[Any, Any]) -> HealthResult:
    rest = {str(key): item for key, item in value.items()}
    word, error, took = (
        rest.pop("status", "healthy"),
        rest.pop("error", None),
        rest.pop("response_time_ms", None),
    )
    told = rest.pop("details", None)
    details = {**(told if isinstance(told, Mapping) else {} if told is None else {"details": told}), **rest}
    status = found_in(word)
    if status is None:
        text = f"the probe returned the status {word!r}: say healthy, degraded or unhealthy"
        return HealthResult("unhealthy", plain(details), _short(text))
    number = float(took) if _is_duration(took) else None
    return HealthResult(status, plain(details), None if error is None else _short(str(error)), number)


def _is_duration(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and isfinite(value) and value >= 0  # type: ignore[arg-type,operator]


def plain(details: Mapping[Any, Any]) -> dict[str, Any]:
    """Details as plain data that can be recorded; too many of them are left out, and that is said."""
    try:
        text = json.dumps({str(key): item for key, item in details.items()}, default=str)
        if len(text) > MOST_DETAILS:
            return {"left_out": f"{len(text):,} characters"}
        plainly = json.loads(text, parse_constant=str, parse_float=_finite)
        kept: dict[str, Any] = codec.loads(codec.dumps(plainly))
    except Exception as error:  # whatever a probe made of them, it must not get as far as the record
        return {"left_out": f"what cannot be recorded: {_short(error_text(error))}"}
    return kept


def _finite(text: str) -> float | str:
    """A number; as a text where JSON has none for it."""
    number = float(text)
    return number if isfinite(number) else text


def told(error: BaseException) -> str:
    """What went wrong; of errors of the HTTP client what they are about."""
    if not type(error).__module__.startswith("httpx"):
        return error_text(error)
    for cause in causes_of(error):
        if isinstance(cause, socket.gaierror):
            return f"its name cannot be resolved: {cause.strerror or error_message(cause)}"
        if isinstance(cause, ssl.SSLError):
            return error_text(cause)
        if isinstance(cause, OSError) and cause.errno is not None:
            return os.strerror(cause.errno).lower()
    return error_text(error)


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= MOST_ERROR else f"{text[:MOST_ERROR]}…"
