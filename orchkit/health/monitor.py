"""The monitor of services: watches them in the background, and says how they stand."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any, Final

from orchkit.clock import Clock
from orchkit.engine.loop import LoopThread, loop_thread
from orchkit.errors import (
    ExecutionError,
    ParameterError,
    Problem,
    StoreClosedError,
    StoreError,
    UnknownNameError,
)
from orchkit.executors.threads import ThreadWorkers
from orchkit.health.http import client_library
from orchkit.health.keeping import Flusher, Keeping, reader
from orchkit.health.maintenance import Maintenance, window_of
from orchkit.health.network import Address, Network
from orchkit.health.probing import Prober
from orchkit.health.recording import Recorder
from orchkit.health.service import Target, services_of
from orchkit.health.watch import Parts, Watch
from orchkit.ids import new_id
from orchkit.model.breaker import BreakerPolicy
from orchkit.model.display import Displayable, view_of
from orchkit.model.health import BY_GRAVITY, ServiceHealth, Status, overall
from orchkit.model.span import seconds_in
from orchkit.model.spelling import hinting
from orchkit.reliability.guards import Breakers
from orchkit.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

JITTER: Final = 0.1
"""The first check of a service comes at random within this share of its interval."""
STOP_S: Final = 10.0


class HealthMonitor(Displayable):
    """Watches services in the background, while cells run; ``kit.health``.

    Every check goes through the circuit breaker ``health:NAME`` (3 failures open it for 60 s, 2 successes
    close it; `watch` can set it otherwise) and is an event, see the view ``health_checks``. A check that says
    nothing of the service is *not performed* and counts neither up nor down: the breaker was open, this
    machine had no network, it would have been late (by more than half an interval: the machine slept, the
    loop was blocked), the service was in maintenance or had asked to be left alone.

    Kernels that watch a service on the same store share it: within an interval one of them looks, the others
    take over what it found. Breakers and maintenance are one for all of them.

    It ends with `stop`, when the kit is closed, or when nobody holds the kit any more.
    """

    def __init__(
        self,
        store: Store,
        breakers: Breakers,
        *,
        rng: Random | None = None,
        concurrency: int = 32,
        workers: ThreadWorkers | None = None,
        loop: LoopThread = loop_thread,
    ) -> None:
        self.store = store
        self._loop = loop
        self._workers = workers or ThreadWorkers(max(4, 2 * concurrency))
        clock: Clock = store.clock
        self._lock = threading.Lock()
        self._watches: dict[str, Watch] = {}
        self._reference: str | Callable[[], Any] | None = None
        watches = self._watches  # not self: what they hold must not hold them
        self._network = Network(clock, lambda: _addresses(watches))
        self._recorder = Recorder(store, new_id("mon"))
        self._parts = Parts(
            clock,
            rng or Random(),  # noqa: S311 - spreads checks, keeps no secret
            breakers,
            self._recorder,
            Maintenance(store),
            self._network,
            Prober(clock, self._workers),
            Flusher(self._recorder, self._workers),
            reader(self._recorder, self._workers),
            asyncio.Semaphore(concurrency),
        )
        self._keeping = Keeping(self._recorder)
        weakref.finalize(self, _let_go, loop, self._keeping)

    # --- what is watched ---------------------------------------------------------------------

    @hinting
    def watch(
        self,
        services: Mapping[str, Target],
        *,
        interval: float | str = 30.0,
        timeout: float | str = 5.0,
        degraded_after: float | str | None = None,
        headers: Mapping[str, str] | None = None,
        breaker: BreakerPolicy | Mapping[str, Any] | bool | int | str | None = None,
        reference: str | Callable[[], Any] | None = None,
    ) -> HealthMonitor:
        """Watch services from now on; one that is watched already goes on with these settings.

        Args:
            services: By name a URL, a function (sync: in a worker thread; async: on the daemon loop), or a
                mapping of ``url`` or ``probe`` and any of the settings below. A function returns None or
                True (healthy), False (unhealthy), a mapping with a ``status`` or a `HealthResult`; what it
                raises is unhealthy. A URL is healthy when it answers 2xx, and degraded when its JSON says so
                or the answer is 429.
            interval: Seconds between two checks, or a text such as ``"30s"``.
            timeout: Seconds that a check may take.
            degraded_after: Seconds beyond which an answer is degraded; None: never.
            headers: Sent with each request; never recorded.
            breaker: When it is spared: a `BreakerPolicy` or its fields, the number of failures, False for
                none. By default 3 failures in a row open it for 60 s, and 2 successes close it:
                ``{"failure_threshold": 3, "reset_timeout": 60, "success_threshold": 2}``.
            reference: A URL or function by which to tell whether this machine has a network. Without it the
                other services that are watched are asked.

        Raises:
            ParameterError: With everything that is wrong.
            MissingExtraError: A URL, and httpx is not installed.
            StoreClosedError: The kit is closed.
        """
        settings = {
            "interval": interval,
            "timeout": timeout,
            "degraded_after": degraded_after,
            "headers": headers,
            "breaker": breaker,
        }
        found = services_of(services, settings)
        if any(service.url is not None for service in found):
            client_library()
        if self._recorder.closed:
            raise StoreClosedError(f"{self.store!r} is closed: nothing can be watched on it")
        if reference is not None:
            self.reference = reference
        with self._lock:
            known = self._watches
            for service in found:
                if service.name not in known:
                    known[service.name] = Watch(service, self._parts)
                known[service.name].use(service)
                self._keeping.expect(service.name)
            # All are known before the first is looked at: they are asked about the network for each other.
            for service in found:
                delay = self._parts.rng.uniform(0, JITTER * service.interval)
                self._loop.call(self._keeping.begin, known[service.name], delay)
        return self

    @property
    def reference(self) -> str | Callable[[], Any] | None:
        """By what it is told whether this machine has a network."""
        return self._reference

    @reference.setter
    def reference(self, value: str | Callable[[], Any] | None) -> None:
        self._reference = value
        if value is None:
            self._network.reference = None
            return
        (service,) = services_of({"reference": value}, {"interval": 1.0, "timeout": 3.0})
        prober = self._parts.prober

        async def answers() -> bool:
            finding = await prober.look(service)
            return finding.result.status != "unhealthy"

        self._network.reference = answers

    def unwatch(self, name: str) -> None:
        """Watch a service no more; what is on record stays. Raises `UnknownNameError`."""
        with self._lock:
            watch = self._watches.pop(name, None)
        if watch is None:
            raise UnknownNameError("service", name, self._watches)
        self._loop.call(self._keeping.end, watch)

    # --- how they stand ------------------------------------------------------------------------

    def status(self) -> dict[str, ServiceHealth]:
        """How all of them stand, by name; asks nobody."""
        return {name: self[name] for name in list(self._watches)}

    def __getitem__(self, name: str) -> ServiceHealth:
        """How one of them stands. Raises `UnknownNameError`."""
        watch = self._watches.get(name)
        if watch is None:
            raise UnknownNameError("service", name, self._watches)
        return watch.health(trouble=self.trouble)

    def frame(self) -> pd.DataFrame:
        """How they stand as a DataFrame, a row for each, with the columns of `to_dict`."""
        import pandas as pd

        rows = [{**health.to_dict(), "last_check": health.last_check} for health in self.status().values()]
        return pd.DataFrame(rows, columns=list(ServiceHealth("").to_dict()))

    def __contains__(self, name: object) -> bool:
        return name in self._watches

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._watches))

    def __len__(self) -> int:
        return len(self._watches)

    @property
    def overall(self) -> Status:
        """The gravest status of all services; ``unknown`` when there are none."""
        return overall(health.status for health in self.status().values())

    @property
    def running(self) -> bool:
        """Whether it looks by itself, again and again."""
        return self._keeping.going

    @property
    def interval(self) -> float | None:
        """Seconds between two checks, the least of all services; None when there are none."""
        return min((watch.service.interval for watch in list(self._watches.values())), default=None)

    @property
    def trouble(self) -> str | None:
        """What keeps checks from being recorded: a full disk, a closed store; None: nothing."""
        return self._recorder.trouble

    # --- by hand -------------------------------------------------------------------------------

    async def check_now(
        self, names: Collection[str] | str | None = None, *, force: bool = False
    ) -> dict[str, ServiceHealth]:
        """Look at services at once, all in parallel, and return how they stand then; from any loop.

        As by the clock: through the breakers, not in maintenance, and recorded. Who asks for one that is
        being looked at gets that check. With ``force`` also where the breaker is open: that is recorded like
        any other check, and the breaker stays as it is (``kit.breakers.reset("health:NAME")`` closes it).

        Raises:
            UnknownNameError: One is not watched.
            ExecutionError: It was stopped meanwhile.
            StoreClosedError: The kit is closed.
        """
        return await asyncio.wrap_future(self._loop.submit(self._check(self._named(names), force=force)))

    def check(
        self, names: Collection[str] | str | None = None, *, force: bool = False
    ) -> dict[str, ServiceHealth]:
        """The same, blocking."""
        if self._loop.is_current:
            raise ExecutionError("check() on the daemon loop would wait for itself: await check_now()")
        return self._loop.run(self._check(self._named(names), force=force))

    def _named(self, names: Collection[str] | str | None) -> list[Watch]:
        chosen = list(self._watches) if names is None else [names] if isinstance(names, str) else list(names)
        unknown = next((name for name in chosen if name not in self._watches), None)
        if unknown is not None:
            raise UnknownNameError("service", unknown, self._watches)
        return [self._watches[name] for name in chosen]

    async def _check(self, watches: list[Watch], *, force: bool) -> dict[str, ServiceHealth]:
        if self._recorder.closed:
            raise StoreClosedError(f"{self.store!r} is closed: nothing can be checked on it")
        await asyncio.gather(*(watch.check(force=force) for watch in watches))
        return {watch.service.name: watch.health(trouble=self.trouble) for watch in watches}

    # --- maintenance ---------------------------------------------------------------------------

    def maintenance(
        self,
        name: str,
        reason: str | None = None,
        duration: float | str | None = None,
        *,
        start: datetime | None = None,
    ) -> None:
        """Say that a service is meant to be away: it is not looked at meanwhile, and nothing counts.

        Args:
            name: The service; one that nobody watches yet may be named, too.
            reason: Why.
            duration: Seconds, or a text such as ``"2h"``; None: until `end_maintenance`.
            start: When it begins, also in the future or in the past; None: now.

        Raises:
            ParameterError: ``start`` has no time zone, ``duration`` is no time.
            StoreError: It cannot be written down.
        """
        seconds = seconds_in(duration) if isinstance(duration, str) else duration
        if isinstance(duration, str) and seconds is None:
            raise ParameterError("maintenance", [Problem("duration", f"{duration!r} is no span of time")])
        window = window_of(self.store.clock.now_us(), start, seconds, reason)
        self._parts.maintenance.begin(name, window)

    def end_maintenance(self, name: str, *, planned: bool = False) -> int:
        """End the maintenance of a service, with ``planned`` also what is to come; how many that were.

        Raises `StoreError`.
        """
        return self._parts.maintenance.end(name, self.store.clock.now_us(), planned=planned)

    # --- the end -------------------------------------------------------------------------------

    def stop(self) -> None:
        """Look no more, and leave nothing behind; idempotent. `watch` begins anew.

        A probe that is a sync function goes on in its thread until it returns: nothing can stop it.
        """
        if self._watches or not self._keeping.idle:
            landed = self._loop.submit(self._keeping.close(list(self._watches.values())))
            if not self._loop.is_current:  # there it will end by itself, as soon as the caller lets it
                with suppress(TimeoutError):
                    landed.result(STOP_S)
            with suppress(StoreError):
                self._recorder.flush()
        self._workers.release()

    def _ipython_display_(self) -> None:
        try:
            view_of("health", self)._ipython_display_()
        except Exception as error:
            raise NotImplementedError from error  # IPython goes on with what never fails

    def __repr__(self) -> str:
        many = len(self)
        if not many:
            return "<HealthMonitor: nothing watched>"
        counts = Counter(health.status for health in self.status().values())
        told = ", ".join(f"{counts[status]} {status}" for status in BY_GRAVITY if counts[status])
        stopped = "" if self.running else " (stopped)"
        return f"<HealthMonitor of {many} service{'s' * (many > 1)}: {told}{stopped}>"


def _addresses(watches: Mapping[str, Watch]) -> list[Address]:
    found = (watch.service.address for watch in list(watches.values()))
    return [address for address in found if address is not None]


def _let_go(loop: LoopThread, keeping: Keeping) -> None:
    """The monitor is gone, and with it whoever could ask how services stand."""
    if not keeping.idle:
        loop.call(keeping.cancel)
