"""The breaker of a service that is watched: how it is set, and how one looks although it is open."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import orchkit as ok
from orchkit.engine.loop import loop_thread
from orchkit.errors import ParameterError
from orchkit.model.breaker import BreakerPolicy

FAILS = RuntimeError("out of order")


def asked(timed: Any, seconds: float, **watching: Any) -> list[float]:
    """When a service that always fails is asked."""
    probe = timed.script(FAILS)
    service = {"probe": probe, **watching.pop("service", {})}
    timed.monitor().watch({"it": service}, interval=10, **watching)
    timed.go(seconds)
    return list(probe.asked)


@pytest.mark.parametrize(
    ("breaker", "times"),
    [
        (None, [0, 10, 20, 80, 140]),
        (True, [0, 10, 20, 80, 140]),
        (2, [0, 10, 70, 130]),
        ({"failure_threshold": 2, "reset_timeout": "30s"}, [0, 10, 40, 70, 100, 130]),
        (BreakerPolicy(failure_threshold=5, reset_timeout=100), [0, 10, 20, 30, 40, 140]),
        (False, [10.0 * number for number in range(15)]),
        ({"enabled": False}, [10.0 * number for number in range(15)]),
    ],
)
@pytest.mark.parametrize("of", ["all", "one"])
def test_the_breaker_is_as_it_is_set(timed: Any, of: str, breaker: Any, times: list[float]) -> None:
    """For all services that are watched together, or for one of them; by default 3 failures and 60 s."""
    watching = {"breaker": breaker} if of == "all" else {"service": {"breaker": breaker}}
    assert asked(timed, 141, **watching) == times


def test_a_service_has_a_breaker_of_its_own_beside_that_of_all(timed: Any) -> None:
    """What is said of one service counts before what is said of all."""
    one, other = timed.script(FAILS), timed.script(FAILS)
    services = {"one": {"probe": one, "breaker": 1}, "other": other}
    timed.monitor().watch(services, interval=10, breaker=False)
    timed.go(41)
    assert (len(one.asked), len(other.asked)) == (1, 5)


def test_without_a_breaker_it_is_said_to_be_disabled(timed: Any) -> None:
    """Its state says so, also on record, and there is none among the breakers."""
    monitor = timed.monitor().watch({"it": timed.script(FAILS)}, interval=10, breaker=False)
    timed.go(55)
    assert (monitor["it"].circuit_state, monitor["it"].consecutive_failures) == ("disabled", 6)
    assert set(timed.rows("circuit_state")) == {"disabled"}
    assert "health:it" not in timed.breakers


def test_successes_that_close_it_are_set_too(timed: Any) -> None:
    """After four good probes it is closed, and before that half open."""
    probe = timed.script(FAILS, True)
    breaker = {"failure_threshold": 1, "reset_timeout": 10, "success_threshold": 4}
    timed.monitor().watch({"it": probe}, interval=10, breaker=breaker)
    timed.go(45)
    assert timed.rows("circuit_state") == ["open", "half_open", "half_open", "half_open", "closed"]


def test_watching_again_sets_it_anew(timed: Any) -> None:
    """The state stays, the settings are the new ones; so does taking the breaker away."""
    probe = timed.script(FAILS)
    monitor = timed.monitor().watch({"it": probe}, interval=10, breaker={"reset_timeout": 1000})
    timed.go(35)
    assert len(probe.asked) == 3
    monitor.watch({"it": probe}, interval=10, breaker={"reset_timeout": 1})
    timed.go(1)
    assert len(probe.asked) == 4
    monitor.watch({"it": probe}, interval=10, breaker=False)
    timed.go(25)
    assert len(probe.asked) == 7
    assert monitor["it"].circuit_state == "disabled"


@pytest.mark.parametrize(
    ("breaker", "said"),
    [
        ({"failure_treshold": 3}, r"it\.breaker: .*did you mean 'failure_threshold'"),
        ({"reset_timeout": "soon"}, r"it\.breaker: .*no such span of time"),
        (0, r"it\.breaker: .*greater than or equal to 1"),
        (2.5, r"it\.breaker: "),
        ({"failure_threshold": 2, "reset_timeout": -1}, r"it\.breaker: .*greater than 0"),
    ],
)
def test_a_breaker_that_cannot_be_is_refused(timed: Any, breaker: Any, said: str) -> None:
    """The error names the service and the field; nothing is watched then."""
    monitor = timed.monitor()
    with pytest.raises(ParameterError, match=said):
        monitor.watch({"it": timed.script()}, breaker=breaker)
    with pytest.raises(ParameterError, match=said):
        monitor.watch({"it": {"probe": timed.script(), "breaker": breaker}})
    assert len(monitor) == 0


# --- looking all the same --------------------------------------------------------------------


def test_one_can_look_although_it_is_open() -> None:
    """The check is performed and recorded as such; the breaker goes its own way."""
    answers: list[Any] = [False]
    with ok.open() as kit:
        kit.health.watch({"it": lambda: answers[0]}, interval=36_000, breaker=1)
        assert kit.health.check()["it"].status == "unhealthy"
        answers[0] = True
        kept = kit.health.check("it")["it"]
        assert (kept.status, kept.circuit_state, kept.checks) == ("unhealthy", "open", 1)
        seen = kit.health.check("it", force=True)["it"]
        assert (seen.status, seen.circuit_state, seen.consecutive_failures) == ("healthy", "open", 0)
        assert seen.checks == 2
        query = "SELECT performed, reason, status, circuit_state FROM health_checks ORDER BY seq"
        assert kit.store.query(query)[-1] == (True, None, "healthy", "open")
        assert kit.health.check("it")["it"].note == (
            "the last check was not performed: its circuit breaker is open"
        )
        kit.breakers.reset("health:it")
        assert kit.health.check("it")["it"].note is None


def test_it_can_be_awaited_as_well() -> None:
    """`check_now` has the same word for it."""
    with ok.open() as kit:
        kit.health.watch({"it": lambda: False}, interval=36_000, breaker=1)

        async def look() -> list[int]:
            forces = (False, False, True)
            return [
                (await kit.health.check_now("it", force=force))["it"].consecutive_failures for force in forces
            ]

        assert asyncio.run(look()) == [1, 1, 2]


def test_maintenance_is_in_the_way_all_the_same() -> None:
    """A service that is meant to be away is not looked at, however much one wants to."""
    with ok.open() as kit:
        kit.health.maintenance("it", "new disks")
        kit.health.watch({"it": lambda: True}, interval=36_000)
        found = kit.health.check("it", force=True)["it"]
        assert (found.status, found.checks) == ("maintenance", 0)


def test_a_look_by_force_is_not_content_with_one_that_the_breaker_kept_away(timed: Any) -> None:
    """Where the check of somebody else is going on and is not performed, another one is made."""
    probe = timed.script(FAILS)
    monitor = timed.monitor().watch({"it": probe}, interval=36_000, breaker=1)
    timed.settle()
    assert len(probe.asked) == 1

    async def both() -> list[Any]:
        return list(await asyncio.gather(monitor.check_now("it"), monitor.check_now("it", force=True)))

    loop_thread.run(both())
    assert len(probe.asked) == 2
    assert timed.rows("performed") == [True, False, True]


# --- misspelt --------------------------------------------------------------------------------


def test_a_misspelt_setting_is_named_with_what_was_meant(timed: Any) -> None:
    """For all of them, and for one; what is near nothing is answered with what there is."""
    monitor, probe = timed.monitor(), timed.script()
    with pytest.raises(TypeError, match=r"watch\(\) has no argument 'intervall', did you mean 'interval'\?"):
        monitor.watch({"it": probe}, intervall=3)
    with pytest.raises(TypeError, match="no argument 'xyz', there are services, interval, timeout"):
        monitor.watch({"it": probe}, xyz=3)
    with pytest.raises(ParameterError, match=r"it: no such setting: intervall \(did you mean 'interval'\?\)"):
        monitor.watch({"it": {"probe": probe, "intervall": 3}})
    with pytest.raises(ParameterError, match=r"it: no such setting: xyz \(there are url, probe, interval"):
        monitor.watch({"it": {"probe": probe, "xyz": 3}})
