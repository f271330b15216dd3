"""What a record suggests: the rules by which limits are chosen, and the part that had no say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import orchkit as ok
from orchkit.analysis import whatif
from orchkit.analysis.whatif.record import Attempt, Case
from orchkit.analysis.whatif.rules import attempt_timeout, failure_threshold, max_attempts
from orchkit.errors import ParameterError, UnknownNameError
from orchkit.model.policy import BreakerPolicy
from orchkit.simulation import Bursts, Failures, Latency, Simulation

S = 1_000_000
"""Microseconds."""
PATIENT = {"max_attempts": 4, "strategy": "exponential", "delay": 2, "jitter": "none"}
WORLD = [Latency(0.3, 0.6), Failures(0.05, error="ConnectionError"), Bursts(7_200, 360)]


def case(*attempts: tuple[float, float, str], tool: str = "send", place: int = 0) -> Case:
    """A case with attempts that began and took so many seconds."""
    found = Case(f"run_{place}", "a", tool, f"run_{place}", int(attempts[0][0] * S))
    for number, (began, took, status) in enumerate(attempts, 1):
        error = None if status == "success" else "ConnectionError"
        found.attempts[number] = Attempt(number, int(began * S), took * S, status, error, False)
    return found


def good(count: int, took: float = 0.5, tool: str = "send") -> list[Case]:
    """So many cases that succeeded at once."""
    return [case((100 * place, took, "success"), tool=tool, place=place) for place in range(count)]


# --- the rules -----------------------------------------------------------------------------


def test_a_timeout_has_a_margin_over_the_slowest_calls() -> None:
    """What one good call in a thousand exceeds, half as much again, rounded up to two digits."""
    slow = [case((place, 0.1 + place / 1000, "success")) for place in range(1001)]
    advice = attempt_timeout(slow)
    assert advice.value == pytest.approx(1.7)  # 1.5 × 1.099, rounded up
    assert "99.9%" in advice.reason
    assert attempt_timeout(good(30)).value == pytest.approx(0.75)


def test_of_several_tools_the_slowest_counts() -> None:
    """A limit for all must leave each of them alone; a tool with few calls has no say."""
    cases = [*good(30), *good(30, 2.0, "fetch"), *good(5, 60.0, "rare")]
    assert attempt_timeout(cases).value == 3.0


def test_a_timeout_is_never_longer_than_the_limit_that_cut_calls_off() -> None:
    """What calls that were cut off would have come to is not on record."""
    cut = case((0, 2, "timeout"))
    assert attempt_timeout([*good(30, 1.5), cut]).value == 2.0
    assert attempt_timeout([*good(30, 0.5), cut]).value == 0.75


def test_without_good_calls_there_is_no_timeout() -> None:
    """A quantile of a few calls means nothing."""
    assert attempt_timeout(good(19)).value is None


@pytest.mark.parametrize(
    ("second", "third", "attempts"),
    [((20, 10), (10, 5), 3), ((20, 10), (10, 0), 2), ((20, 1), (19, 19), 1), ((20, 10), (9, 9), 2)],
)
def test_attempts_are_worth_it_while_one_in_ten_succeeds(
    second: tuple[int, int], third: tuple[int, int], attempts: int
) -> None:
    """The first number of attempts that seldom succeeded, or was seldom made, is one too many."""
    cases = []
    for place in range(second[0]):
        tries = [(0.0, 0.5, "failed"), (1.0, 0.5, "success" if place < second[1] else "failed")]
        beyond = place - second[1]
        if 0 <= beyond < third[0]:
            tries.append((2.0, 0.5, "success" if beyond < third[1] else "failed"))
        cases.append(case(*tries, place=place))
    assert max_attempts(cases).value == attempts


@pytest.mark.parametrize(("present", "thirds", "attempts"), [(3, 5, 3), (5, 5, 5), (3, 0, 3), (1, 5, 2)])
def test_attempts_stay_as_they_are_where_the_record_does_not_tell(
    present: int, thirds: int, attempts: int
) -> None:
    """Too few third attempts, or none, are no reason to leave out those that there were to be."""
    cases = [case((0, 0.5, "failed"), (1, 0.5, "success"), place=place) for place in range(20)]
    for place in range(thirds):
        tries = ((0, 0.5, "failed"), (1, 0.5, "failed"), (2, 0.5, "success"))
        cases.append(case(*tries, place=20 + place))
    advice = max_attempts(cases, present)
    assert advice.value == attempts
    said = f"of {thirds} third attempts {thirds} succeeded: too few to tell"
    assert advice.reason == (said if thirds else "no third attempts are on record")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_suggestion_keeps_the_attempts_of_which_few_were_needed(seed: int) -> None:
    """One call in ten fails, and three attempts are as many as there were: they stay."""
    with ok.open() as kit:
        kit.registry.methods.register_method(_ask, name="ask")
        flow = kit.workflow("ask").add_step("ask", step_id="ask", retry=3).build()
        found = whatif.suggest(ok.simulate(flow, kit=kit, faults=Failures(0.1), runs=300, seed=seed).kit)
    assert found.settings()["max_attempts"] == 3
    assert "third attempts" in found.reasons["max_attempts"]


def test_hedges_are_one_try() -> None:
    """Calls beside each other do not count as attempts one after the other."""
    hedged = [case((0, 2, "cancelled"), (1, 0.5, "success"), place=place) for place in range(50)]
    assert max_attempts(hedged).value == 1


def test_a_threshold_is_above_the_series_that_pass() -> None:
    """Two failures in a row were over within the minute: three open it. Ten that went on would have."""
    noise = [case((0, 1, "failed"), (3, 1, "failed"), (6, 1, "success"))]
    down = [case((100 + 30 * place, 1, "failed")) for place in range(10)] + [case((500, 1, "success"))]
    advice = failure_threshold([*noise, *down], BreakerPolicy(reset_timeout=60))
    assert advice.value == 3
    assert "1 other would have opened it" in advice.reason
    assert failure_threshold(noise[:1], BreakerPolicy(reset_timeout=2)).value == 2
    assert failure_threshold(good(10), BreakerPolicy()).value is None


# --- a suggestion ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def week() -> Iterator[Simulation]:
    """Questions every five minutes or so, up to four attempts each; the service is down now and then."""
    with ok.open() as kit:
        kit.registry.methods.register_method(_ask, name="ask")
        flow = kit.workflow("ask").add_step("ask", step_id="ask", retry=PATIENT, timeout=5).build()
        yield ok.simulate(flow, kit=kit, faults=WORLD, runs=500, every=300, arrivals="poisson", seed=2)


async def _ask() -> None:
    """Never called."""


@pytest.fixture(scope="module")
def suggestion(week: Simulation) -> whatif.Suggestion:
    """What it suggests."""
    return whatif.suggest(week.kit)


def test_a_suggestion_changes_three_numbers(suggestion: whatif.Suggestion) -> None:
    """Everything else is as on record; each number has its reason."""
    assert suggestion.on_record == ok.ReliabilityPolicy(retry=PATIENT, timeout=5)
    found = suggestion.settings()
    changed = suggestion.policy.but(
        timeout={"attempt": 5}, retry={"max_attempts": PATIENT["max_attempts"]}, breaker=None
    )
    assert changed == suggestion.on_record
    assert suggestion.policy.breaker == BreakerPolicy(failure_threshold=found["failure_threshold"])
    assert 1 < found["timeout"] < 5
    assert set(suggestion.reasons) == set(found)


def test_a_suggestion_is_reported_on_what_it_has_not_seen(
    week: Simulation, suggestion: whatif.Suggestion
) -> None:
    """The rows of the later part are those of a comparison over the later cases alone."""
    table = suggestion.table()
    assert table.part.tolist() == ["learned on"] * 2 + ["held out"] * 2
    assert table.policy.tolist() == ["on record", "suggested"] * 2
    assert table.cases.tolist() == [350, 350, 150, 150]
    attempts = week.kit.sql("SELECT * FROM attempts")
    late = attempts[attempts.started_at >= suggestion.split_at]
    assert late.run_id.nunique() == 150
    before, after = table.iloc[2], table.iloc[3]
    assert before.calls_low == before.calls_high == len(late)
    assert before.success_low == (late.status == "success").sum()
    assert after.calls_high < before.calls_high
    runs = late.run_id.unique().tolist()
    asked = whatif.replay(week.kit, suggestion.policy, runs=runs).summary()
    assert after[asked.index].astype(float).to_dict() == pytest.approx(asked.to_dict(), rel=1e-6)


def test_the_later_part_has_no_say(week: Simulation, suggestion: whatif.Suggestion) -> None:
    """The same earlier cases propose the same, whatever came later."""
    frame = week.kit.sql("SELECT *, 'ask' AS tool FROM attempts")
    late = frame.started_at >= suggestion.split_at
    for took in (0, 60):
        other = frame.copy()
        other.loc[late, "finished_at"] = other.started_at + pd.Timedelta(seconds=took)
        other["duration_ms"] = (other.finished_at - other.started_at) / pd.Timedelta(milliseconds=1)
        found = whatif.suggest(other, policy=suggestion.on_record)
        assert found.settings() == suggestion.settings()
        assert found.on_record is None


def test_a_suggestion_keeps_what_it_says(week: Simulation, suggestion: whatif.Suggestion) -> None:
    """Put around the step in the same world, it does to the later runs what it was said to do."""
    flow = week.kit.workflow("ask").add_step("ask", step_id="ask", **suggestion.policy.parts).build()
    after = ok.simulate(
        flow, kit=week.kit, faults=WORLD, runs=500, every=300, arrivals="poisson", seed=2
    ).frame()
    late, said = after.tail(150), suggestion.table().iloc[-1]
    assert said.success_low <= (late.status == "success").sum() <= said.success_high
    assert said.calls_low <= late.attempts.sum() <= said.calls_high
    assert said.on_bounds_share < 0.2


def test_a_timeout_does_not_pass_the_total(week: Simulation) -> None:
    """An attempt longer than the whole makes no sense."""
    found = whatif.suggest(week.kit, policy={"timeout": {"total": 0.8}})
    assert found.policy.timeout == ok.TimeoutPolicy(attempt=0.8, total=0.8)


def test_limits_that_cannot_be_asked_about_stay(week: Simulation) -> None:
    """A bulkhead of the policy on record is left out of the report, not of the suggestion."""
    with ok.open() as kit:
        kit.registry.methods.register_method(_ask, name="ask")
        around = {"policies": {"default": {"retry": PATIENT, "bulkhead": 100}}}
        flow = kit.workflow("ask").add_step("ask", step_id="ask").build()
        few = ok.simulate(flow, kit=kit, policies=around, faults=WORLD, runs=120, every=300)
    found = whatif.suggest(few.kit)
    assert found.policy.bulkhead is not None
    assert found.policy.bulkhead.max_concurrent == 100


def test_a_suggestion_says_what_it_is(suggestion: whatif.Suggestion) -> None:
    """In words and as a card: the numbers, why, and how they fare."""
    text, card = repr(suggestion), suggestion._repr_mimebundle_()["text/html"]
    for name, value in suggestion.settings().items():
        assert name in text
        assert suggestion.reasons[name] in text
        assert str(value).rstrip("0").rstrip(".") in text
    assert "150 cases since then" in text
    for shown in ("held out", "on record", "suggested", "max_attempts"):
        assert shown in card
    assert "<script" not in card


# --- what is refused -------------------------------------------------------------------------


def frame_of(count: int) -> pd.DataFrame:
    """So many cases that succeeded at once."""
    at = pd.Timestamp("2025-03-12T14:00:00Z") + pd.to_timedelta(np.arange(count), unit="min")
    return pd.DataFrame(
        {
            "run_id": [f"run_{place}" for place in range(count)],
            "step_id": "a",
            "attempt": 1,
            "status": "success",
            "started_at": at,
            "finished_at": at + pd.Timedelta(seconds=1),
        }
    )


@pytest.mark.parametrize(
    ("source", "asked", "error", "says"),
    [
        (frame_of(50), {}, ParameterError, "35 to learn from and 15 to report on.*100 cases are enough"),
        (frame_of(60), {}, ParameterError, "42 to learn from and 18 to report on.*held_out=0.5"),
        (frame_of(0), {}, ParameterError, "0 to learn from"),
        (frame_of(200), {"held_out": 0.01}, ParameterError, "held_out"),
        (frame_of(200), {"held_out": 1}, ParameterError, "between 0 and 1"),
        (frame_of(200), {"policy": {"retry": {"max_attempts": 0}}}, ParameterError, "max_attempts"),
        (frame_of(200), {"policy": {"bulkhead": 1}}, ParameterError, "bulkhead"),
        (frame_of(200), {"assume": "luck"}, UnknownNameError, "luck"),
    ],
    ids=["few", "uneven", "none", "small part", "no part", "no policy", "untold", "no assumption"],
)
def test_too_little_is_refused(
    source: pd.DataFrame, asked: dict[str, Any], error: type[Exception], says: str
) -> None:
    """Too few cases to learn from or to report on, and what is no question."""
    with pytest.raises(error) as caught:
        whatif.suggest(source, **asked)
    assert re.search(says, str(caught.value), re.DOTALL), str(caught.value)


def test_a_record_without_failures_leaves_things_as_they_are() -> None:
    """No retry was needed and no breaker would have opened: only a timeout can be told."""
    found = whatif.suggest(frame_of(200))
    assert found.policy == ok.ReliabilityPolicy(timeout=1.5)
    assert found.table().on_bounds.tolist() == [0, 0, 0, 0]
    assert found.reasons["failure_threshold"] == "nothing failed"
