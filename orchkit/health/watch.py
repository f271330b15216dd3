"""One service that is watched: when it is looked at, what keeps it from that, and what was found."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from orchkit.clock import Clock
from orchkit.errors import BreakerOpenError, ExecutionError, StoreError
from orchkit.health.maintenance import Maintenance
from orchkit.health.network import Network
from orchkit.health.probing import Finding, Prober, heard
from orchkit.health.recording import Latest, Note, Recorder
from orchkit.health.service import Service
from orchkit.health.slots import Slots
from orchkit.health.standing import Check, Standing
from orchkit.model.breaker import BreakerState
from orchkit.model.health import ServiceHealth, Status
from orchkit.reliability.breaker import Outcome
from orchkit.reliability.call import Call
from orchkit.reliability.circuit import CircuitBreaker
from orchkit.reliability.guards import Breakers

LATE_SHARE: Final = 0.5
"""A check that begins, or comes back, later than this share of the interval says nothing."""
STOPPED: Final = "the service is not watched any more, or the monitor was stopped"
MOST_HANGING: Final = 3
"""So many probes of a service may go on after their time was over; then none is begun."""


@dataclass(slots=True)
class Parts:
    """What all services of a monitor share."""

    clock: Clock
    rng: Random
    breakers: Breakers
    recorder: Recorder
    maintenance: Maintenance
    network: Network
    prober: Prober
    flush: Callable[[], Awaitable[None]]
    recorded: Callable[[str], Awaitable[Standing]]
    """How a service stands by the history."""
    room: asyncio.Semaphore
    """How many may be asked at the same time."""


class Watch:
    """One service; everything but `health` is for the loop alone."""

    def __init__(self, service: Service, parts: Parts) -> None:
        self._parts = parts
        self.use(service)
        self.standing = Standing()
        self.slots: Slots | None = None
        self._flight: asyncio.Task[Check] | None = None
        self._hanging: list[asyncio.Task[Any]] = []
        self._is_known = self._catch_up() is not None
        parts.maintenance.refresh(service.name)

    def use(self, service: Service) -> None:
        """Go on with these settings; for any thread."""
        self.service, policy = service, service.breaker
        name = policy.name or f"health:{service.name}"
        breakers = self._parts.breakers
        self.breaker: CircuitBreaker | None = breakers.get_or_make(name, policy) if policy.enabled else None

    # --- by the clock ------------------------------------------------------------------------

    def begin(self, delay: float) -> None:
        """Be due in so many seconds, and then again and again."""
        self.slots = Slots.starting(self._parts.clock, self.service.interval, delay)

    @property
    def clock(self) -> Clock:
        """Time."""
        return self._parts.clock

    @property
    def pause(self) -> float:
        """Seconds until it is due."""
        assert self.slots is not None
        return self.slots.pause

    def skip(self) -> None:
        """Be due at the next moment, whatever became of this one."""
        assert self.slots is not None
        self.slots.advance()

    async def slot(self) -> None:
        """What is to be done at a moment at which it is due."""
        assert self.slots is not None
        late = self.slots.late()
        if late > LATE_SHARE * self.service.interval:
            await self._keep(self._late(late))
        elif not self._followed():
            await self.check()
        self.slots.advance()

    def _late(self, seconds: float) -> Check:
        missed = int(seconds // self.service.interval) + 1
        details = {"late_s": round(seconds, 3), "missed": missed}
        return Check(self._parts.clock.now_us(), None, "late", details=details)

    def _followed(self) -> bool:
        """Whether another monitor has looked within this interval; its check is ours, too."""
        latest = self._catch_up()
        if latest is None or latest.by == self._parts.recorder.me or latest.target != self.service.target:
            return False
        # What kept the other one from looking may not keep us.
        seen_us = latest.standing.checked_us if latest.standing.reason is None else None
        return seen_us is not None and 0 <= self._parts.clock.now_us() - seen_us < self.service.interval * 1e6

    def _catch_up(self) -> Latest | None:
        """Take over what is on record, where all who watch this service write; None: nothing is."""
        recorder = self._parts.recorder
        with suppress(StoreError):
            latest = recorder.latest(self.service.name)
            if latest is not None and recorder.idle:  # else we know more than the record
                self.standing = latest.standing
            return latest
        return None

    # --- a check -------------------------------------------------------------------------------

    async def check(self, *, force: bool = False) -> Check:
        """Look, unless something is against it, and record that. Who asks meanwhile gets the same check.

        ``force``: an open breaker is not against it. Raises `ExecutionError` when it is ended before, by
        `land`.
        """
        check = await self._joined(force=force)
        while force and check.reason == "breaker_open":  # that was the check of somebody else
            check = await self._joined(force=True)
        return check

    async def _joined(self, *, force: bool) -> Check:
        if self._flight is None or self._flight.done():
            self._flight = asyncio.get_running_loop().create_task(self._check(force=force))
            self._flight.add_done_callback(heard)
        flight, asking = self._flight, asyncio.current_task()
        try:
            return await asyncio.shield(flight)
        except asyncio.CancelledError:
            if flight.cancelled() and asking is not None and not asking.cancelling():
                raise ExecutionError(f"the check of {self.service.name!r} was ended: {STOPPED}") from None
            raise

    async def land(self) -> None:
        """End a check that is going on, without a verdict, and let go of probes that hang."""
        tasks = [task for task in (self._flight, *self._hanging) if task is not None and not task.done()]
        for task in tasks:
            task.cancel()
        if self._flight is not None:
            await asyncio.wait({self._flight})

    async def _check(self, *, force: bool) -> Check:
        if not self._is_known:
            self._is_known = True
            with suppress(StoreError):
                self.standing = await self._parts.recorded(self.service.name)
        self._catch_up()
        self._parts.maintenance.refresh(self.service.name)
        check = self._prevented()
        if check is None:
            async with self._parts.room:
                check = await self._through_breaker(force=force)
        await self._keep(check)
        return check

    def _prevented(self) -> Check | None:
        now_us = self._parts.clock.now_us()
        window = self._parts.maintenance.current(self.service.name, now_us)
        if window is not None:
            return Check(now_us, None, "maintenance", error=window.reason)
        wait_us = (self.standing.wait_until_us or 0) - now_us
        if wait_us > 0:
            return Check(now_us, None, "retry_after", details={"retry_in_s": round(wait_us / 1e6, 3)})
        self._hanging = [task for task in self._hanging if not task.done()]
        hanging = len(self._hanging) + self._parts.prober.inside(self.service.name)
        if hanging >= MOST_HANGING:
            return Check(now_us, None, "probe_hangs", details={"hanging": hanging})
        return None

    async def _through_breaker(self, *, force: bool) -> Check:
        began_us, breaker = self._parts.clock.now_us(), self.breaker
        if breaker is None:
            return await self._judged(began_us)
        call = _call(self._parts)
        try:
            permit = breaker.acquire(call)
        except BreakerOpenError as error:
            if force:  # it is open all the same, until its own time has come
                return await self._judged(began_us)
            left = None if error.retry_in is None else round(error.retry_in, 3)
            return Check(began_us, None, "breaker_open", details={} if left is None else {"retry_in_s": left})
        outcome: Outcome = "ignored"
        try:
            check = await self._judged(began_us)
            if check.performed:
                outcome = "failure" if check.found == "unhealthy" else "success"
        finally:
            breaker.settle(permit, call, outcome)
        return check

    async def _judged(self, began_us: int) -> Check:
        """What was found, and whether it says something of the service at all."""
        finding = await self._parts.prober.look(self.service)
        if finding.task is not None and not finding.task.done():
            self._hanging.append(finding.task)
        result = finding.result
        if result.status == "unhealthy" and (reason := await self._excuse(finding, began_us)) is not None:
            return Check(began_us, None, reason, error=result.error)
        wait = result.retry_after_s
        return Check(
            began_us,
            result.status,
            response_ms=None if finding.out_of_time else round(finding.took * 1000, 3),
            error=result.error,
            details=result.details,
            wait_until_us=None if wait is None else self._parts.clock.now_us() + round(wait * 1e6),
        )

    async def _excuse(self, finding: Finding, began_us: int) -> str | None:
        """Why a failure is not that of the service."""
        service, clock = self.service, self._parts.clock
        by_day = (clock.now_us() - began_us) / 1e6
        if by_day > service.timeout + LATE_SHARE * service.interval:
            return "late"  # the machine slept meanwhile
        unanswered = finding.out_of_time or finding.raised is not None
        if unanswered and finding.lag > LATE_SHARE * service.timeout:
            return "late"  # the answer may have been there, and nobody to take it
        if service.is_local:
            return None
        silent = finding.out_of_time and service.url is not None
        missing = await self._parts.network.missing(finding.raised, service.address, silent=silent)
        return "no_network" if missing else None

    async def _keep(self, check: Check) -> None:
        before = self.standing
        self.standing = before.after(check)
        self._parts.recorder.note(Note(self.service, check, self.circuit, before))
        await self._parts.flush()

    @property
    def circuit(self) -> BreakerState:
        """The state of its breaker; one that it has not lets everything through."""
        return "disabled" if self.breaker is None else self.breaker.state

    # --- looking -------------------------------------------------------------------------------

    def health(self, *, trouble: str | None = None) -> ServiceHealth:
        """How it stands now; for any thread."""
        standing, circuit = self.standing, self.circuit
        return ServiceHealth(
            name=self.service.name,
            url=self.service.place,
            status=self._status(standing, circuit),
            last_check=standing.last_check,
            response_time_ms=standing.response_ms,
            error=standing.error,
            circuit_state=circuit,
            consecutive_failures=standing.failures,
            uptime_percentage=standing.uptime,
            details=standing.details,
            checks=len(standing.up),
            note="; ".join(filter(None, (self._maintained(), self._note(standing), trouble))) or None,
            looks=standing.looks,
            interval=self.service.interval,
        )

    def _status(self, standing: Standing, circuit: str) -> Status:
        now_us = self._parts.clock.now_us()
        if self._parts.maintenance.current(self.service.name, now_us) is not None:
            return "maintenance"
        if standing.found is None or standing.checked_us is None:
            return "unknown"
        since_us = standing.checked_us
        if standing.reason == "breaker_open" and circuit in ("open", "half_open"):
            # It keeps us from looking because of what was found; as long as we try, that stands.
            since_us = standing.seen_us or since_us
        return standing.found if now_us - since_us <= self.service.holds_us else "unknown"

    def _maintained(self) -> str | None:
        """What there is to say of its maintenance."""
        name, now_us = self.service.name, self._parts.clock.now_us()
        window = self._parts.maintenance.current(name, now_us)
        if window is not None:
            return f"in maintenance {window}"
        planned = self._parts.maintenance.planned(name, now_us)
        return f"maintenance is planned {planned[0]}" if planned else None

    def _note(self, standing: Standing) -> str | None:
        if standing.reason in (None, "maintenance"):
            return None
        return f"the last check was not performed: {REASONS.get(standing.reason or '', standing.reason)}"


REASONS: Final = {
    "breaker_open": "its circuit breaker is open",
    "no_network": "this machine has no network",
    "late": "it would have been too late, or came back too late",
    "retry_after": "the service asked to be left alone for a while",
    "probe_hangs": "probes whose time was over still go on",
}


@dataclass(slots=True)
class _NoRecord:
    """A check is no attempt of a step: the breaker is told, and nobody else."""

    subject: tuple[str | None, str | None] = (None, None)

    async def attempt_started(self, attempt: int) -> None: ...
    def attempt_finished(self, attempt: int, status: str, duration_s: float, *_: Any, **__: Any) -> None: ...
    def decided(self, point: str, decision: str, rationale: str, inputs: Any) -> None: ...
    async def written(self) -> None: ...


async def _nothing() -> None: ...


def _call(parts: Parts) -> Call:
    return Call(_nothing, _NoRecord(), parts.clock, parts.rng)
