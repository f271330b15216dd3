"""When services are looked at, and what keeps a check from being performed; in virtual time."""

from __future__ import annotations

import errno
import socket
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orchkit.errors import ParameterError, StoreClosedError, StoreFullError, UnknownNameError
from orchkit.health import probing
from orchkit.testing import FakeClock, FaultyStore

FAILS = RuntimeError("out of order")


def test_checks_come_an_interval_apart_however_long_they_take(timed: Any) -> None:
    """A probe that takes four seconds moves nothing: the moments are fixed from the first one on."""
    probe = timed.script(takes=4.0)
    timed.monitor().watch({"it": probe})
    timed.go(301)
    assert probe.asked == [30.0 * n for n in range(11)]
    assert timed.rows("DISTINCT response_ms") == [4000.0]


def test_a_probe_that_takes_longer_than_the_interval_leaves_moments_out(timed: Any) -> None:
    """The next one is a moment of the same grid, and none of those in between was late."""
    probe = timed.script(takes=12.0)
    timed.monitor().watch({"it": probe}, interval=5, timeout=20)
    timed.go(50)
    assert probe.asked == [0.0, 15.0, 30.0, 45.0]
    assert timed.rows("reason") == [None] * 3


def test_the_first_check_comes_soon_but_not_of_all_at_once(worlds: Callable[..., Any]) -> None:
    """They are spread over a tenth of the interval."""
    from random import Random

    world = worlds()
    monitor = world.monitor()
    monitor._parts.rng = Random(7)
    probes = {f"s{number}": world.script() for number in range(20)}
    monitor.watch(probes)
    world.go(3.1, step=0.1)
    first = [probe.asked[0] for probe in probes.values()]
    assert 0 < min(first) < max(first) <= 3.1
    assert len({round(at, 1) for at in first}) > 10


def test_the_breaker_keeps_checks_from_being_performed(timed: Any) -> None:
    """Three failures open it for 60 s, two successes close it; what it kept away counts not."""
    probe = timed.script(FAILS, FAILS, FAILS, True)
    monitor = timed.monitor().watch({"it": probe}, interval=30)
    timed.go(30 * 7)
    assert timed.rows("status, performed, reason, circuit_state, consecutive_failures") == [
        ("unhealthy", True, None, "closed", 1),
        ("unhealthy", True, None, "closed", 2),
        ("unhealthy", True, None, "open", 3),
        (None, False, "breaker_open", "open", 3),
        ("healthy", True, None, "half_open", 0),
        ("healthy", True, None, "closed", 0),
        ("healthy", True, None, "closed", 0),
        ("healthy", True, None, "closed", 0),
    ]
    assert (monitor["it"].uptime_percentage, monitor["it"].checks) == (57.14, 7)
    assert timed.breakers["health:it"].state == "closed"


def test_an_open_breaker_leaves_what_was_found_standing(timed: Any) -> None:
    """That nobody looks is because it was found unhealthy: it is not unknown then, whatever the interval."""
    monitor = timed.monitor().watch({"it": timed.script(FAILS)}, interval=1, timeout=1)
    timed.go(50)
    health = monitor["it"]
    assert (health.status, health.circuit_state) == ("unhealthy", "open")
    assert health.note is not None
    assert "circuit breaker is open" in health.note
    monitor.stop()
    timed.clock.advance(5)
    assert monitor["it"].status == "unknown"


def test_the_breaker_can_be_reset_by_hand(timed: Any) -> None:
    """It is one of the kit's breakers, seen and led like any other."""
    probe = timed.script(FAILS, FAILS, FAILS, True)
    monitor = timed.monitor().watch({"it": probe}, interval=10)
    timed.go(25)
    assert monitor["it"].circuit_state == "open"
    timed.breakers.reset("health:it", "mended")
    timed.go(10)
    assert monitor["it"].status == "healthy"


@pytest.mark.parametrize(("asleep", "missed"), [(20.0, 1), (3600.0, 121)], ids=["a while", "an hour"])
def test_a_check_that_would_be_late_is_not_performed(timed: Any, asleep: float, missed: int) -> None:
    """More than half an interval: it is recorded once, with how many were missed, and the next is on time."""
    probe = timed.script()
    monitor = timed.monitor().watch({"it": probe})
    timed.go(29)
    timed.clock.advance(1 + asleep)
    timed.settle()
    assert timed.rows("performed, reason, details->>'missed'")[-1] == (False, "late", str(missed))
    assert (monitor["it"].uptime_percentage, monitor["it"].checks) == (100.0, 1)
    timed.go(60)
    assert [at % 30 for at in probe.asked] == [0.0] * len(probe.asked)
    assert len(probe.asked) in (2, 3)


def test_a_check_that_is_a_little_late_is_performed(timed: Any) -> None:
    """Up to half an interval what it finds is as good as ever."""
    probe = timed.script()
    timed.monitor().watch({"it": probe})
    timed.go(29)
    timed.clock.advance(15)
    timed.go(17)
    assert probe.asked == [0.0, 44.0, 60.0]


class Sleeper(FakeClock):
    """A clock of a machine that sleeps: its seconds stand still meanwhile, the time of day does not."""

    asleep_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.asleep_us


def test_a_machine_that_slept_is_told_by_the_time_of_day(worlds: Callable[..., Any]) -> None:
    """The monotonic clock of Linux stands still while the machine sleeps; what was missed is on record."""
    clock = Sleeper(autojump=False)
    world = worlds(clock=clock)
    probe = world.script()
    monitor = world.monitor().watch({"it": probe})
    world.go(10)
    clock.asleep_us = 8 * 3_600_000_000
    assert monitor["it"].status == "unknown"
    world.go(21)
    assert world.rows("reason, details->>'missed'")[-1] == ("late", "961")
    world.go(30)
    assert (monitor["it"].status, monitor["it"].checks) == ("healthy", 2)


def test_a_failure_while_the_machine_slept_says_nothing(worlds: Callable[..., Any]) -> None:
    """The connection died with the machine: not performed, whatever the probe says."""
    clock = Sleeper(autojump=False)
    world = worlds(clock=clock)

    async def probe() -> None:
        await clock.sleep(2)
        raise ConnectionResetError("gone")

    world.monitor().watch({"it": probe})
    world.go(1)
    clock.asleep_us = 3_600_000_000
    world.go(2)
    assert world.rows("performed, reason, error") == [(False, "late", "ConnectionResetError: gone")]
    assert world.breakers["health:it"].snapshot.failures == 0


def test_a_clock_that_is_set_back_stops_nothing(worlds: Callable[..., Any]) -> None:
    """The moments come by the monotonic clock."""
    clock = Sleeper(autojump=False)
    world = worlds(clock=clock)
    probe = world.script()
    monitor = world.monitor().watch({"it": probe})
    world.go(10)
    clock.asleep_us = -7_200_000_000
    world.go(60)
    assert probe.asked == [0.0, 30.0, 60.0]
    assert monitor["it"].status == "healthy"


def test_a_probe_that_ends_too_late_is_a_failure(timed: Any) -> None:
    """Its time is the timeout; there is no response time then."""
    monitor = timed.monitor().watch({"it": timed.script(takes=60.0)})
    timed.go(6)
    health = monitor["it"]
    assert (health.status, health.error, health.response_time_ms) == (
        "unhealthy",
        "no answer within 5 s",
        None,
    )


def test_probes_that_do_not_end_do_not_pile_up(timed: Any) -> None:
    """A probe that does not let itself be cancelled is left behind; after three of them none is begun."""
    began = []

    async def stubborn() -> None:
        began.append(1)
        end = timed.clock.monotonic() + 100_000
        while timed.clock.monotonic() < end:
            try:
                await timed.clock.sleep(100_000)
            except BaseException:
                if closing:
                    raise

    closing: list[int] = []
    timed.monitor().watch({"it": stubborn}, interval=100)
    timed.go(700, step=5)
    assert len(began) == 3
    assert timed.rows("reason")[-3:] == ["probe_hangs"] * 3
    closing.append(1)


def test_status_is_unknown_when_nothing_was_found_lately(timed: Any) -> None:
    """What was found holds for two intervals and a timeout; then it is not known."""
    monitor = timed.monitor()
    assert (monitor.overall, len(monitor)) == ("unknown", 0)
    monitor.watch({"it": timed.script()})
    timed.go(5)
    monitor.stop()
    timed.clock.advance(60)
    assert monitor["it"].status == "healthy"
    timed.clock.advance(1)
    assert (monitor["it"].status, monitor.running) == ("unknown", False)
    assert monitor["it"].uptime_percentage == 100.0


def test_a_slow_answer_is_degraded(timed: Any) -> None:
    """Beyond ``degraded_after`` seconds; it counts as up."""
    settings = {"probe": timed.script(takes=2.0), "degraded_after": 1.5}
    monitor = timed.monitor().watch({"it": settings, "other": timed.script(takes=2.0)})
    timed.go(3)
    health = monitor["it"]
    assert (health.status, health.error) == ("degraded", "slow: 2 s, more than 1.5 s")
    assert (health.uptime_percentage, monitor["other"].status, monitor.overall) == (
        100.0,
        "healthy",
        "degraded",
    )


# --- maintenance ---------------------------------------------------------------------------


def test_nobody_looks_during_maintenance(timed: Any) -> None:
    """It is recorded as such and counts neither up nor down; afterwards it goes on."""
    probe = timed.script()
    monitor = timed.monitor().watch({"it": probe})
    timed.go(1)
    monitor.maintenance("it", "new disks", duration="1min")
    assert (monitor["it"].status, monitor.overall) == ("maintenance", "maintenance")
    timed.go(90)
    assert timed.rows("status, performed, reason") == [
        ("healthy", True, None),
        ("maintenance", False, "maintenance"),
        ("maintenance", False, "maintenance"),
        ("healthy", True, None),
    ]
    assert monitor["it"].status == "healthy"
    window = timed.store.query("SELECT service, ends_at - starts_at, reason FROM maintenance_windows")
    assert window == [("it", timedelta(minutes=1), "new disks")]


def test_maintenance_is_planned_and_called_off(timed: Any) -> None:
    """It may begin in the future; what is called off leaves an empty window on record."""
    probe = timed.script()
    monitor = timed.monitor().watch({"it": probe})
    start = datetime.fromtimestamp(timed.clock.now_us() / 1e6, UTC) + timedelta(minutes=1)
    monitor.maintenance("it", duration=30, start=start)
    monitor.maintenance("it", duration=30, start=start + timedelta(hours=1))
    assert "is planned from 2025-01-01 00:01 UTC" in str(monitor["it"].note)
    timed.go(65)
    assert monitor["it"].status == "maintenance"
    assert monitor.end_maintenance("it") == 1
    assert monitor["it"].status == "healthy"
    assert monitor.end_maintenance("it", planned=True) == 1
    lengths = timed.store.query("SELECT ends_at - starts_at FROM maintenance_windows ORDER BY starts_at")
    assert lengths == [(timedelta(seconds=5),), (timedelta(0),)]


def test_maintenance_is_one_for_all_kernels(timed: Any) -> None:
    """Another monitor on the store hears of it before its next check."""
    first, second = timed.monitor(), timed.monitor()
    probe = timed.script()
    second.watch({"it": probe})
    timed.go(1)
    first.maintenance("it")
    timed.go(60)
    assert probe.asked == [0.0]
    assert second["it"].status == "maintenance"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"start": datetime(2025, 1, 1)}, "no time zone"),  # noqa: DTZ001
        ({"start": "tomorrow"}, "no datetime"),
        ({"duration": 0}, "above 0"),
        ({"duration": "soon"}, "no span of time"),
    ],
)
def test_maintenance_that_makes_no_sense_is_refused(timed: Any, arguments: Any, word: str) -> None:
    """The error says what is wrong."""
    with pytest.raises(ParameterError, match=word):
        timed.monitor().maintenance("it", **arguments)


# --- no network ----------------------------------------------------------------------------

NAMES = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
NO_WAY = OSError(errno.ENETUNREACH, "Network is unreachable")
REFUSED = ConnectionRefusedError(errno.ECONNREFUSED, "refused")


def answering(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Exception]) -> None:
    """Requests to these hosts fail so; all others are answered."""

    async def ask(service: Any, *_: Any) -> None:
        for host, error in answers.items():
            if host in service.url:
                raise error

    monkeypatch.setattr(probing, "ask", ask)


def reaching(monitor: Any, answers: dict[str, Exception]) -> None:
    """Connecting to these hosts fails so."""

    async def reach(address: tuple[str, int]) -> None:
        if address[0] in answers:
            raise answers[address[0]]

    monitor._network._reach = reach


URLS = {
    "a": "http://a.example/health",
    "b": "https://b.example:8443/health",
    "here": "http://127.0.0.1:9/health",
}


def test_without_a_network_nothing_is_held_against_services(
    timed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All remote services fail for want of a network: not performed. What runs here still counts."""
    gone = {"a.example": NAMES, "b.example": NO_WAY}
    answering(monkeypatch, {**gone, "127.0.0.1": REFUSED})
    monitor = timed.monitor()
    reaching(monitor, gone)
    monitor.watch(URLS)
    timed.go(100)
    assert set(timed.rows("reason", "a")) == {"no_network"} == set(timed.rows("reason", "b"))
    assert timed.rows("status, circuit_state", "here")[2] == ("unhealthy", "open")
    assert [monitor[name].status for name in URLS] == ["unknown", "unknown", "unhealthy"]
    assert timed.breakers["health:a"].state == "closed"


@pytest.mark.parametrize(
    ("other", "found"),
    [(None, "unhealthy"), (REFUSED, "unhealthy"), (TimeoutError(), None), (NAMES, None)],
    ids=["answers", "refuses", "is silent", "has no name either"],
)
def test_one_service_that_cannot_be_reached_is_its_own_fault(
    timed: Any, monkeypatch: pytest.MonkeyPatch, other: Exception | None, found: str | None
) -> None:
    """As long as anything comes back from another one, the network is there."""
    answering(monkeypatch, {"a.example": NAMES})
    monitor = timed.monitor()
    reaching(monitor, {"a.example": NAMES} | ({"b.example": other} if other else {}))
    monitor.watch(URLS)
    timed.go(1)
    assert timed.rows("status", "a") == [found]


def test_silence_of_the_others_is_no_answer_and_no_proof(timed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is surely unknown is not excused by others from which nothing comes back."""
    gone = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    answering(monkeypatch, {"a.example": gone})
    monitor = timed.monitor()
    reaching(monitor, {"b.example": TimeoutError()})
    monitor.watch(URLS)
    timed.go(1)
    assert timed.rows("status", "a") == ["unhealthy"]


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (NO_WAY, None),
        (NAMES, None),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "unhealthy"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), "unhealthy"),
        (REFUSED, "unhealthy"),
        (RuntimeError("a bug"), "unhealthy"),
    ],
    ids=["no way out", "no resolver", "no such name", "no way to it", "refused", "a bug"],
)
def test_a_single_service_is_believed_only_what_is_certain(
    timed: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, found: str | None
) -> None:
    """With nobody else to ask, only errors that are surely about this machine excuse a service."""
    answering(monkeypatch, {"a.example": error})
    timed.monitor().watch({"a": URLS["a"]})
    timed.go(1)
    assert timed.rows("status", "a") == [found]


@pytest.mark.parametrize(("reference", "reason"), [(True, None), (False, "no_network")])
def test_a_reference_tells_whether_there_is_a_network(
    timed: Any, monkeypatch: pytest.MonkeyPatch, reference: bool, reason: str | None
) -> None:
    """It is asked instead of the others, also when a service is only silent."""
    answering(monkeypatch, {"a.example": NAMES})
    monitor = timed.monitor().watch(URLS, reference=lambda: reference)
    timed.go(1)
    assert timed.rows("reason", "a") == [reason]
    assert monitor.reference is not None


# --- the record ----------------------------------------------------------------------------


def test_what_was_found_is_known_when_the_store_is_opened_again(timed: Any) -> None:
    """Failures in a row, the last checks and the breaker go on where they were."""
    first = timed.monitor().watch({"it": timed.script(True, True, FAILS, FAILS)})
    timed.go(91)
    first.stop()
    timed.clock.advance(5)
    second = timed.monitor().watch({"it": timed.script(FAILS)})
    before = second["it"]
    assert (before.consecutive_failures, before.uptime_percentage, before.checks) == (2, 50.0, 4)
    assert [look.status for look in before.looks] == ["healthy", "healthy", "unhealthy", "unhealthy"]
    timed.go(61)
    assert (second["it"].consecutive_failures, second["it"].circuit_state) == (3, "open")


def test_of_two_kernels_one_looks_and_both_know(timed: Any) -> None:
    """Within an interval a service is looked at once; when that kernel is gone, the other one does it."""
    mine, theirs = timed.script(True), timed.script(True)
    mine.__class__.__qualname__ = theirs.__class__.__qualname__ = "Script"
    first = timed.monitor().watch({"it": mine})
    timed.go(10)
    second = timed.monitor().watch({"it": theirs})
    timed.go(100)
    assert (len(mine.asked), len(theirs.asked)) == (4, 0)
    assert second["it"].checks == 4
    first.stop()
    timed.go(60)
    assert len(theirs.asked) in (1, 2)
    assert len(timed.rows("seq")) == len(mine.asked) + len(theirs.asked)


def test_the_same_name_for_something_else_is_looked_at_by_each(
    timed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another kernel asks at another URL says nothing of ours."""
    answering(monkeypatch, {})
    timed.monitor().watch({"it": "http://127.0.0.1:1/health"})
    timed.monitor().watch({"it": "http://127.0.0.1:2/health"})
    timed.go(31)
    assert len(timed.rows("seq")) == 4


def test_a_full_disk_is_told_and_nothing_is_lost(worlds: Callable[..., Any]) -> None:
    """Checks go on, wait in memory, and are written when there is room again."""
    clock = FakeClock(autojump=False)
    store = FaultyStore(fail_before=2, times=3, error=StoreFullError, clock=clock)
    world = worlds(store=store, clock=clock)
    monitor = world.monitor().watch({"it": world.script()})
    world.go(61)
    assert "not recorded now" in str(monitor["it"].note)
    assert monitor["it"].checks == 3
    world.go(60)
    assert (monitor.trouble, monitor["it"].checks) == (None, 5)
    assert len(world.rows("seq")) == 5


def test_checks_come_into_the_history_by_themselves(timed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing else happens the log does not grow without end."""
    moved: list[int] = []
    monkeypatch.setattr(timed.store, "ingest_soon", lambda: moved.append(1))
    timed.monitor().watch({"it": timed.script()}, interval=1, timeout=1)
    timed.go(1001, step=0.5)
    assert len(moved) == 2


def test_a_closed_store_ends_the_monitor_and_it_says_so(worlds: Callable[..., Any]) -> None:
    """It does not go on as if nothing were, and nothing is raised into the loop."""
    world = worlds()
    monitor = world.monitor().watch({"it": world.script()})
    world.go(1)
    with warnings.catch_warnings():
        world.store.close()
        world.go(31)
    assert not monitor.running
    assert "store is closed" in str(monitor["it"].note)
    with pytest.raises(StoreClosedError):
        monitor.check()
    with pytest.raises(StoreClosedError):
        monitor.watch({"it": world.script()})


def test_unwatching_ends_it_and_leaves_the_record(timed: Any) -> None:
    """The name is not known any more; what was recorded stays."""
    probe = timed.script()
    monitor = timed.monitor().watch({"it": probe, "other": timed.script()})
    timed.go(1)
    monitor.unwatch("it")
    timed.go(60)
    assert (list(monitor), probe.asked) == (["other"], [0.0])
    with pytest.raises(UnknownNameError):
        monitor["it"]
    with pytest.raises(UnknownNameError):
        monitor.unwatch("it")
    with pytest.raises(UnknownNameError):
        monitor.check("it")
    assert len(timed.rows("seq")) == 1


def test_watching_again_changes_the_settings(timed: Any) -> None:
    """The service goes on with what is known of it."""
    first, second = timed.script(FAILS), timed.script()
    monitor = timed.monitor().watch({"it": first})
    timed.go(1)
    monitor.watch({"it": second}, interval=5)
    timed.go(11)
    assert (len(first.asked), len(second.asked), monitor["it"].checks) == (1, 3, 4)
    assert monitor.interval == 5.0


def test_who_asks_by_hand_gets_the_check_that_is_going_on(timed: Any) -> None:
    """One check serves all who want one at the moment; it is recorded once."""
    import asyncio

    probe = timed.script(takes=3.0)
    monitor = timed.monitor().watch({"it": probe})
    timed.go(1)

    async def three() -> list[Any]:
        asked = asyncio.gather(*(monitor.check_now() for _ in range(3)))
        await asyncio.sleep(0.05)
        timed.clock.advance(2)
        return await asked

    answers = asyncio.run(three())
    assert [answer["it"].status for answer in answers] == ["healthy"] * 3
    assert len(timed.rows("seq")) == 1
