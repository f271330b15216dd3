"""Fallbacks: what takes the place of a result, for which errors, in which order."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from orchkit.errors import PolicyError, StoreFullError
from orchkit.model.fallback import FallbackOption, FallbackPolicy, as_fallback
from orchkit.model.policy import ReliabilityPolicy


def policy(fallback: Any, **fields: Any) -> ReliabilityPolicy:
    """A fallback, and whatever else is asked for."""
    return ReliabilityPolicy.model_validate({"fallback": fallback, **fields})


def told(error: Exception) -> str:
    """Says what it was told."""
    return f"instead of {error}"


async def nothing() -> str:
    """An async function without parameters."""
    return "nothing"


def broken(error: Exception) -> str:
    """Fails itself."""
    raise KeyError("also down")


@pytest.mark.parametrize(
    ("fallback", "output", "named"),
    [
        (7, 7, "a value"),
        ({"value": [1]}, [1], "a value"),
        ({"value": None}, None, "a value"),
        (told, "instead of down", f"function {__name__}:told"),
        (nothing, "nothing", f"function {__name__}:nothing"),
        (f"{__name__}:told", None, ""),
        ({"function": f"{__name__}:told"}, "instead of down", f"function {__name__}:told"),
        ([broken, told], "instead of down", f"function {__name__}:told"),
        ([{"value": 1, "on": ["ValueError"]}, {"value": 2, "on": OSError}], 2, "a value"),
    ],
)
def test_a_fallback_takes_the_place_of_the_result(bench: Any, fallback: Any, output: Any, named: str) -> None:
    """A value, a function (sync or async, with the error or without), the first of a chain that works."""
    if not named:  # a text names a tool, and there are none here
        with pytest.raises(PolicyError, match="cannot be called here"):
            bench.call(bench.service(), policy(fallback))
        return
    result, record = bench.call(bench.service(OSError("down")), policy(fallback))
    assert result == output
    assert record.attempts == {1: "failed"}
    last = record.decisions[-1]
    assert (last.point, last.decision, last.inputs["fallback"]) == ("fallback", "used", named)
    assert (last.inputs["error"], last.inputs["error_type"]) == ("down", "OSError")


def test_a_success_needs_none(bench: Any) -> None:
    """No decision, no call of anything."""
    result, record = bench.call(bench.service(), policy(broken))
    assert (result, record.decisions) == ("done", [])


def test_it_comes_when_the_retries_have_given_up(bench: Any) -> None:
    """The fallback is outermost: also for a total timeout and for an open breaker."""
    retry = {"strategy": "immediate", "max_attempts": 3}
    _, record = bench.call(bench.service(*[OSError()] * 3), policy(0, retry=retry))
    assert [one.point for one in record.decisions] == ["retry", "retry", "retry", "fallback"]
    assert bench.call(bench.service(seconds=9), policy(0, timeout={"total": 5}))[0] == 0
    for _ in range(3):
        bench.call(bench.service(OSError()), policy(0, breaker="b"))
    _, record = bench.call(bench.service(), policy(0, breaker="b"))
    assert [one.point for one in record.decisions] == ["breaker", "fallback"]


def test_errors_that_it_is_not_for_pass(bench: Any) -> None:
    """By type, status or kind."""
    error = ValueError("wrong input")
    result, record = bench.call(bench.service(error), policy({"value": 0, "on": ["transient", "OSError"]}))
    assert result is error
    assert record.decisions == []
    assert bench.call(bench.service(TimeoutError()), policy({"value": 0, "on": "transient"}))[0] == 0


def test_when_all_fallbacks_fail_the_first_error_is_raised(bench: Any) -> None:
    """It is what has to be explained; that they failed is on the record."""
    error = OSError("down")
    result, record = bench.call(bench.service(error), policy([broken, broken]))
    assert result is error
    assert record.at("fallback") == ["failed", "failed"]
    assert record.decisions[0].inputs["fallback_error_type"] == "KeyError"


def test_what_cannot_be_recorded_is_not_papered_over(bench: Any) -> None:
    """A store that cannot write fails the call."""
    assert isinstance(bench.call(bench.service(StoreFullError("full")), policy(0))[0], StoreFullError)


def test_a_value_is_given_anew_each_time(bench: Any) -> None:
    """What one caller does to it, another does not see."""
    rates = policy({"value": {"eur": [1]}})
    first, _ = bench.call(bench.service(OSError()), rates)
    first["eur"].append(2)
    assert bench.call(bench.service(OSError()), rates)[0] == {"eur": [1]}


def test_a_tool_is_called_through_whoever_can(bench: Any) -> None:
    """The pipeline is told how tools are called."""

    def call_tool(option: FallbackOption) -> Any:
        async def call(call: Any, error: Exception) -> str:
            return f"{option.tool} after {call.attempt}"

        return call

    result, _ = bench.call(bench.service(OSError()), policy("cached"), call_tool=call_tool)
    assert result == "cached after 1"


@pytest.mark.parametrize(
    ("given", "chain"),
    [
        (False, [FallbackOption(value=False)]),
        ("cached", [FallbackOption(tool="cached")]),
        ({"tool": "cached", "params": {"n": 1}}, [FallbackOption(tool="cached", params={"n": 1})]),
        (["cached", {"value": 0}], [FallbackOption(tool="cached"), FallbackOption(value=0)]),
        ({"chain": ["cached"]}, [FallbackOption(tool="cached")]),
    ],
    ids=str,
)
def test_what_people_write(given: Any, chain: list[FallbackOption]) -> None:
    """It survives its text."""
    read = as_fallback(given)
    assert read == FallbackPolicy(chain=tuple(chain))
    assert FallbackPolicy.model_validate_json(read.model_dump_json(exclude_defaults=True)) == read


@pytest.mark.parametrize(
    "given",
    [[], {"value": 1, "tool": "x"}, {"params": {}}, {"vlaue": 1}, {"function": "nonsense"}, object],
    ids=["empty", "two", "params alone", "misspelt", "no function", "a type"],
)
def test_what_is_no_fallback_is_refused(given: Any) -> None:
    """An empty chain, two at once, an unknown field; a type is a function, though."""
    if given is object:
        assert as_fallback(given) == FallbackPolicy(chain=(FallbackOption(function=object),))
        return
    with pytest.raises(ValidationError):
        as_fallback(given)
