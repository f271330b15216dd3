"""Each fault model against what its formula says; tolerances are four standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.errors import ParameterError
from orchkit.reliability.classify import error_name
from orchkit.reliability.traits import traits_of
from orchkit.simulation import (
    Behaviour,
    Bursts,
    Failures,
    FaultModel,
    Latency,
    Luck,
    Outages,
    Recorded,
    SimulatedCall,
    SlowDowns,
)
from orchkit.simulation.models import error_of, together

CALLS = 20_000


def behaviours(
    model: FaultModel, *, every: float = 1.0, calls: int = CALLS, seed: int = 1
) -> list[Behaviour]:
    """Of one call after the other."""
    draw = model.start(Luck("test", seed))
    return [draw(SimulatedCall(every * number, number, "send", 1)) for number in range(calls)]


def failed(found: list[Behaviour]) -> list[bool]:
    """Which of them."""
    return [one.error is not None for one in found]


def near_share(found: float, expected: float, count: int) -> bool:
    """Within four standard errors of a share."""
    return abs(found - expected) <= 4 * math.sqrt(max(expected * (1 - expected), 1e-12) / count)


# --- luck ----------------------------------------------------------------------------------


def test_luck_is_uniform() -> None:
    """The numbers of calls are uniform: their mean, variance and neighbours are those of the distribution."""
    luck = Luck("uniform")
    numbers = [luck.uniform(SimulatedCall(0.0, number, "send", 1)) for number in range(CALLS)]
    assert abs(fmean(numbers) - 1 / 2) < 4 * math.sqrt(1 / 12 / CALLS)
    assert abs(fmean(number**2 for number in numbers) - 1 / 3) < 4 * math.sqrt(4 / 45 / CALLS)
    products = [(a - 0.5) * (b - 0.5) for a, b in pairwise(numbers)]
    assert abs(fmean(products)) < 4 * stdev(products) / math.sqrt(CALLS)


@given(st.integers(), st.text(), st.integers(0, 99), st.floats(0, 1e9), st.floats(0, 1e9))
def test_luck_does_not_depend_on_time(run: int, step: str, attempt: int, one: float, other: float) -> None:
    """The same call has the same luck whenever it is made, strictly between 0 and 1."""
    luck = Luck("seed", 3)
    number = luck.uniform(SimulatedCall(one, run, step, attempt))
    assert number == luck.uniform(SimulatedCall(other, run, step, attempt))
    assert 0 < number < 1


def test_luck_of_other_names_is_another() -> None:
    """Seeds, models, runs, steps and attempts have numbers of their own, however their names join."""
    call = SimulatedCall(0, 1, "a", 2)
    sources = (Luck("a", "bc"), Luck("ab", "c"), Luck("a"), Luck("a").below(0), Luck("a").below(1))
    assert len({luck.uniform(call) for luck in sources}) == len(sources)
    calls = (call, SimulatedCall(0, 2, "a", 2), SimulatedCall(0, 1, "b", 2), SimulatedCall(0, 1, "a", 1))
    assert len({Luck("a").uniform(one) for one in calls}) == len(calls)


# --- models --------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.3, 0.97, 1.0])
def test_failures_are_independent_with_their_rate(rate: float) -> None:
    """The share of failures is the rate, and so is the share of failures right after a failure."""
    fails = failed(behaviours(Failures(rate)))
    assert near_share(fmean(fails), rate, CALLS)
    after = [now for before, now in pairwise(fails) if before]
    if after:
        assert near_share(fmean(after), rate, len(after))


@pytest.mark.parametrize(("median", "sigma"), [(0.2, 0.5), (3.0, 1.0)])
def test_latencies_are_log_normal(median: float, sigma: float) -> None:
    """The logarithms have the mean ln(median) and the deviation sigma; quantiles are where they belong."""
    durations = sorted(one.duration_s for one in behaviours(Latency(median, sigma)))
    logs = [math.log(duration) for duration in durations]
    assert abs(fmean(logs) - math.log(median)) < 4 * sigma / math.sqrt(CALLS)
    assert abs(stdev(logs) - sigma) < 4 * sigma / math.sqrt(2 * CALLS)
    for z, share in ((-1.2815515655, 0.1), (0.0, 0.5), (2.3263478740, 0.99)):
        below = sum(duration <= median * math.exp(sigma * z) for duration in durations) / CALLS
        assert near_share(below, share, CALLS)


def test_a_latency_without_spread_is_its_median() -> None:
    """With sigma 0 each call takes the median."""
    assert {one.duration_s for one in behaviours(Latency(0.25), calls=50)} == {0.25}


@pytest.mark.parametrize(("up", "down", "rate"), [(300.0, 60.0, 1.0), (50.0, 50.0, 0.6)])
def test_bursts_are_up_and_down_as_long_as_they_say(up: float, down: float, rate: float) -> None:
    """Mean times up and down, and the share of failures, are those of the two-state model.

    Seen every so many seconds it is a Markov chain: it stays in a state with the probability
    share + (1 - share) exp(-(1 / up + 1 / down) seconds), so stretches are geometric.
    """
    seconds, calls = 2.0, 100_000
    is_down = failed(behaviours(Bursts(up, down), every=seconds, calls=calls))
    down_share = down / (up + down)
    for state, share in ((False, 1 - down_share), (True, down_share)):
        stays = share + (1 - share) * math.exp(-(1 / up + 1 / down) * seconds)
        found, mean = list(stretches(is_down, state)), 1 / (1 - stays)
        assert abs(fmean(found) - mean) < 4 * mean / math.sqrt(len(found))
    cycles = calls * seconds / (up + down)
    error = down_share * (1 - down_share) * math.sqrt(2 / cycles)
    assert abs(fmean(is_down) - down_share) < 4 * error
    fails = failed(behaviours(Bursts(up, down, rate), every=seconds, calls=calls))
    assert abs(fmean(fails) - down_share * rate) < 4 * error


def stretches(states: list[bool], wanted: bool) -> Iterator[int]:
    """The lengths of the stretches in one state, without the first and the last, which are cut."""
    changes = [place for place in range(1, len(states)) if states[place] != states[place - 1]]
    for begin, end in pairwise(changes):
        if states[begin] == wanted:
            yield end - begin


def test_bursts_go_their_course_whoever_calls() -> None:
    """When a service is up does not depend on how often, or in which order, it is asked."""
    model = Bursts(100, 50)
    often = model.start(Luck("x"))
    seldom = model.start(Luck("x"))
    seen = {at: often(SimulatedCall(at, at, "s", 1)).error is not None for at in range(2_000)}
    asked = [1_999, 5, 700, 701, 3]
    assert [seldom(SimulatedCall(at, at, "s", 1)).error is not None for at in asked] == [
        seen[at] for at in asked
    ]


@pytest.mark.parametrize(
    ("windows", "every", "inside", "outside"),
    [
        ([(10, 5)], None, [10, 14.999], [0, 9.999, 15, 110]),
        ([(0, 1), (4, 2)], None, [0, 0.5, 4, 5.9], [1, 3.9, 6]),
        ([(3600, 600)], 86_400, [3600, 4199, 90_000, 90_599], [3599, 4200, 89_999, 90_600]),
    ],
)
def test_outages_and_slow_downs_have_their_windows(
    windows: list[tuple[float, float]], every: float | None, inside: list[float], outside: list[float]
) -> None:
    """In a window, from its beginning to just before its end, and in each repetition; nowhere else."""
    down = Outages(windows, every).start(Luck("o"))
    slow = SlowDowns(windows, 2.5, every).start(Luck("o"))
    for at in inside:
        assert down(SimulatedCall(at, 0, "s", 1)).error is not None
        assert slow(SimulatedCall(at, 0, "s", 1)).duration_s == 2.5
    for at in outside:
        assert down(SimulatedCall(at, 0, "s", 1)) == slow(SimulatedCall(at, 0, "s", 1)) == Behaviour()


def test_a_partial_outage_fails_its_share() -> None:
    """With a rate below 1 that share of the calls within the window fails."""
    fails = failed(behaviours(Outages([(0, CALLS)], rate=0.4)))
    assert near_share(fmean(fails), 0.4, CALLS)


def test_recorded_attempts_come_back_in_their_shares() -> None:
    """Durations and errors are those on record, each as often as it is there; what has no end is left out."""
    attempts = pd.DataFrame(
        {
            "status": ["success", "success", "failed", "timeout", "cancelled", "running"],
            "duration_ms": [100.0, 300.0, 50.0, 2000.0, 7.0, None],
            "error_type": [None, None, "lib.http.Refused", "TimeoutExceededError", None, None],
        }
    )
    found = behaviours(Recorded(attempts))
    kinds = [(one.duration_s, error_name(one.error) if one.error else None) for one in found]
    expected = [(0.1, None), (0.3, None), (0.05, "lib.http.Refused"), (2.0, "TimeoutError")]
    assert set(kinds) == set(expected)
    for kind in expected:
        assert near_share(kinds.count(kind) / CALLS, 1 / 4, CALLS)
    errors = [one.error for one in found if one.error is not None]
    assert len({id(error) for error in errors}) == len(errors)


def test_models_add_up_in_their_order() -> None:
    """Times add up; the first error ends the call, and what comes after it takes no time."""
    call = SimulatedCall(0, 0, "s", 1)
    slow, late, fails = Latency(0.2), SlowDowns([(0, 10)], 1.0), Failures(1.0, after=0.5)
    assert together([slow, late], Luck(1))(call) == Behaviour(1.2)
    broken = together([slow, fails, late], Luck(1))(call)
    assert (broken.duration_s, type(broken.error)) == (0.7, ConnectionError)
    assert together([], Luck(1))(call) == Behaviour()


def test_equal_models_in_one_composition_are_independent() -> None:
    """Two models of the same kind draw numbers of their own: the shares of failures multiply."""
    draw = together([Failures(0.5), Failures(0.5)], Luck(7))
    fails = [draw(SimulatedCall(0, number, "s", 1)).error is not None for number in range(CALLS)]
    assert near_share(fmean(fails), 0.75, CALLS)


# --- errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "name", "trait"),
    [
        ("ConnectionError", "ConnectionError", "connection"),
        (TimeoutError, "TimeoutError", "timeout"),
        ("ThrottlingException", "ThrottlingException", "throttling"),
        ("lib.http.ConnectTimeout", "lib.http.ConnectTimeout", "connection"),
        ("lib.http.ConnectTimeout", "lib.http.ConnectTimeout", "ConnectTimeout"),
    ],
)
def test_errors_are_called_what_they_are_said_to_be(kind: Any, name: str, trait: str) -> None:
    """Records and selectors see a simulated error as they would see the real one of that name."""
    error = error_of(kind)
    assert error_name(error) == name
    assert trait in traits_of(error)


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda: Failures(1.5), ["rate"]),
        (lambda: Failures(0.5, after=-1), ["after"]),
        (lambda: Failures(0.5, error=UnicodeDecodeError), ["UnicodeDecodeError"]),
        (lambda: Latency(-1, math.nan), ["median", "sigma"]),
        (lambda: Bursts(0, 60, rate="often"), ["up", "rate"]),
        (lambda: Outages([(0, 0), (-1, 5), (1,), ("a", "b")]), [f"windows[{n}]" for n in range(4)]),
        (lambda: Outages([(0, 120)], every=60), ["every"]),
        (lambda: SlowDowns([(0, 5)], extra=-1), ["extra"]),
        (lambda: Recorded(pd.DataFrame({"status": []})), ["duration_ms", "error_type"]),
        (
            lambda: Recorded(
                pd.DataFrame({"status": ["running"], "duration_ms": [None], "error_type": [None]})
            ),
            ["ended"],
        ),
    ],
)
def test_models_refuse_what_cannot_be(make: Any, names: list[str]) -> None:
    """A number that makes no sense is refused when the model is made, naming each field."""
    with pytest.raises(ParameterError) as caught:
        make()
    assert all(name in str(caught.value) for name in names)


def test_windows_say_what_they_mean() -> None:
    """A window is a start and a duration; the model shows from when to when it holds."""
    assert repr(Outages([(600, 900)])) == "<Outages from 600 s to 1,500 s: ConnectionError>"
    assert repr(Outages([(0, 5)], every=60, rate=0.5)) == (
        "<Outages from 0 s to 5 s, every 60 s: ConnectionError, 50% of the calls>"
    )
    assert repr(SlowDowns([(n, 1) for n in range(0, 50, 10)], extra=2)).endswith("21 s, 2 more: 2 s more>")
