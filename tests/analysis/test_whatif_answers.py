"""What-if on records written by hand: what is known is exact, what is not has bounds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import orchkit as ok
from orchkit.analysis import whatif
from orchkit.errors import ParameterError, UnknownNameError
from orchkit.interop import nextflow
from orchkit.simulation import Failures, Latency
from orchkit.store.store import Store
from orchkit.testing import FakeClock

Made = tuple[float, float, str]
"""When an attempt began and how long it took, in seconds, and how it ended."""
FIXED = {"strategy": "fixed", "delay": 1, "jitter": "none", "retry_after": False}
BOUNDED = ("success", "failed", "success_rate", "calls", "p50_ms", "p95_ms", "p99_ms", "waited_ms")


def record(*cases: Sequence[Made], tool: str = "send", error: str = "TimeoutError") -> pd.DataFrame:
    """Attempts of steps ``a``, ``b`` …, each of a run of its own."""
    base = pd.Timestamp("2025-03-12T14:00:00Z")
    rows = [
        {
            "run_id": f"run_{place}",
            "step_id": chr(ord("a") + place),
            "tool": tool,
            "attempt": number,
            "status": status,
            "started_at": base + pd.Timedelta(seconds=began),
            "finished_at": base + pd.Timedelta(seconds=began + took),
            "error_type": None if status == "success" else error,
        }
        for place, case in enumerate(cases)
        for number, (began, took, status) in enumerate(case, 1)
    ]
    return pd.DataFrame(rows).astype({"attempt": "int64"})


def retry(attempts: int, **fields: Any) -> dict[str, Any]:
    """A second between so many attempts."""
    return {"retry": {**FIXED, "max_attempts": attempts, **fields}}


def one(answer: whatif.Replay) -> Any:
    """Its only case."""
    (case,) = answer.cases().itertuples(index=False)
    return case


RESCUED = [(0, 0.5, "failed"), (1.5, 0.5, "success")]
LOST = [(10, 0.5, "failed"), (11.5, 0.5, "failed")]
AT_ONCE = [(20, 0.25, "success")]


# --- what is known -------------------------------------------------------------------------


def test_the_same_policy_gives_the_record() -> None:
    """Asked about the policy that was there: what happened, and nothing rests on bounds."""
    frame = record(RESCUED, LOST, AT_ONCE)
    compared = whatif.compare(frame, {"the same": retry(2)}).set_index("policy")
    for name in BOUNDED:
        assert compared.loc["the same", f"{name}_low"] == compared.loc["on record", f"{name}_low"], name
        assert compared.loc["the same", f"{name}_high"] == compared.loc["on record", f"{name}_high"], name
    assert compared.on_bounds.tolist() == [0, 0]
    cases = whatif.replay(frame, retry(2)).cases()
    assert cases.status.tolist() == cases.recorded.tolist() == ["success", "failed", "success"]
    assert cases.latency_low_ms.tolist() == [2000, 2000, 250]
    assert cases.waited_high_ms.tolist() == [1000, 1000, 0]


def test_fewer_attempts_are_known_exactly() -> None:
    """The second attempt was made and can be left out: who was rescued by it is lost."""
    answer = whatif.replay(record(RESCUED, LOST, AT_ONCE), retry(1))
    assert answer.cases().status.tolist() == ["failed", "failed", "success"]
    found = answer.summary()
    assert (found.success_low, found.success_high, found.on_bounds) == (1, 1, 0)
    assert (found.calls_low, found.calls_high) == (3, 3)
    assert answer.cases().latency_high_ms.tolist() == [500, 500, 250]


def test_more_attempts_have_bounds_and_are_counted() -> None:
    """Nobody made the third attempt: only the case that would need it rests on bounds."""
    answer = whatif.replay(record(RESCUED, LOST, AT_ONCE), {**retry(4), "timeout": 2})
    found = answer.summary()
    assert (found.success_low, found.success_high, found.on_bounds) == (2, 3, 1)
    assert found.on_bounds_share == pytest.approx(1 / 3)
    assert (found.calls_low, found.calls_high) == (3 + 3, 3 + 4)
    case = answer.cases().iloc[1]
    assert (case.status, case.may_succeed, case.may_fail) == ("unknown", True, True)
    # Failed after 2 s; a wait and a call at least, two waits and two calls of 2 s each at most.
    assert (case.latency_low_ms, case.latency_high_ms) == (3000, 2000 + 2 * (1000 + 2000))
    assert (case.waited_low_ms, case.waited_high_ms) == (2000, 3000)


def test_what_nothing_limits_may_take_any_time() -> None:
    """Without a limit on calls the bounds say so instead of naming a number."""
    answer = whatif.replay(record(LOST), retry(3))
    assert one(answer).latency_high_ms == math.inf
    assert "any time" in repr(answer)


@pytest.mark.parametrize(
    ("limit", "status", "latency"),
    [(0.2, "failed", (200, 200)), (0.3, "success", (250, 250)), ({"total": 0.1}, "failed", (100, 100))],
)
def test_shorter_limits_are_known(limit: Any, status: str, latency: tuple[float, float]) -> None:
    """A call that took longer is cut off, one that was faster is not."""
    case = one(whatif.replay(record(AT_ONCE), {"timeout": limit}))
    assert (case.status, (case.latency_low_ms, case.latency_high_ms)) == (status, latency)
    assert not case.on_bounds


def test_a_longer_limit_than_the_recorded_one_is_not_known() -> None:
    """What would have come of a call that was cut off nobody knows; that it went on until then is known."""
    case = one(whatif.replay(record([(0, 1, "timeout")]), {"timeout": 3}))
    assert (case.status, case.latency_low_ms, case.latency_high_ms) == ("unknown", 1000, 3000)
    assert not one(whatif.replay(record([(0, 1, "timeout")]), {"timeout": 1})).on_bounds


@pytest.mark.parametrize("status", ["success", "timeout"])
def test_clocks_of_real_machines_are_not_exact(
    status: str, recording: Any, store: Store, clock: FakeClock
) -> None:
    """A call that ended a little after its limit, or was cut off late, does so again under the same limit."""
    around = {"operation": "send", "retry": None, "timeout": {"attempt": 0.03}}
    run = recording("run_1").start("mail").decided(None, "policy.selected", "default", input_data=around)
    run.begin("a", "send").attempt("a", 1, status, 47).finish("a", "failed", "send").end("failed")
    run.store(store, clock)
    same, shorter = (one(whatif.replay(store, {"timeout": limit})) for limit in (0.03, 0.02))
    wanted = "success" if status == "success" else "failed"
    assert (same.status, same.latency_low_ms, same.latency_high_ms) == (wanted, 47, 47)
    assert (shorter.status, shorter.latency_low_ms, shorter.latency_high_ms) == ("failed", 20, 20)


def test_a_breaker_keeps_calls_from_what_is_down() -> None:
    """Three failures open it; what comes in the next minute is not called; then a probe closes it."""
    down = [[(10 * place, 0.5, "failed")] for place in range(5)]
    frame = record(*down, [(90, 0.5, "success")], [(100, 0.5, "success")])
    answer = whatif.replay(frame, {"breaker": {"failure_threshold": 3, "reset_timeout": 60}})
    cases = answer.cases()
    assert cases.calls_high.tolist() == cases.calls_low.tolist() == [1, 1, 1, 0, 0, 1, 1]
    assert cases.status.tolist() == ["failed"] * 5 + ["success"] * 2
    assert answer.summary().on_bounds == 0


def test_a_breaker_is_one_per_tool_unless_it_has_a_name() -> None:
    """Failures of one tool keep nobody from another one, but with a breaker that both share."""
    frame = record(*([(10 * place, 0.5, "failed")] for place in range(4)))
    frame["tool"] = ["send", "send", "other", "other"]
    alone = {"breaker": {"failure_threshold": 2, "reset_timeout": 60}}
    assert whatif.replay(frame, alone).cases().calls_high.tolist() == [1, 1, 1, 1]
    shared = {"breaker": {**alone["breaker"], "name": "mail"}}
    assert whatif.replay(frame, shared).cases().calls_high.tolist() == [1, 1, 0, 0]


def test_a_hedge_cannot_be_later_than_the_first_call() -> None:
    """The first call succeeds in any case; the hedge may be faster, and is a call more."""
    case = one(whatif.replay(record([(0, 5, "success")]), {"hedge": 1}))
    assert (case.status, case.calls_low, case.calls_high) == ("success", 2, 2)
    assert (case.latency_low_ms, case.latency_high_ms) == (1000, 5000)
    assert case.on_bounds
    assert one(whatif.replay(record(AT_ONCE), {"hedge": 1})).calls_high == 1


def test_a_budget_is_spent_in_order_of_time() -> None:
    """Two retries are paid for; the third case gives up although it was retried on record."""
    begins = (0, 10, 20)
    tried = ([(at, 0.5, "failed"), (at + 1.5, 0.5, "failed")] for at in begins)
    frame = record(*tried, error="ConnectionError")
    answer = whatif.replay(frame, retry(2, budget={"capacity": 10, "cost": 5}))
    assert answer.cases().calls_high.tolist() == [2, 2, 1]
    assert answer.summary().on_bounds == 0


def test_errors_that_are_not_retried() -> None:
    """Selectors of errors are those of the policy that is asked about; foreign names tell less."""
    for error, calls in (("TimeoutError", (1, 1)), ("lib.http.StatusError", (1, 2))):
        case = one(whatif.replay(record(LOST, error=error), retry(2, give_up_on=("timeout",))))
        assert (case.calls_low, case.calls_high) == calls, error


def test_a_fallback_is_no_success_of_the_call() -> None:
    """What a fallback gives changes nothing here."""
    bare, helped = (whatif.replay(record(LOST), policy) for policy in (None, {"fallback": {"value": 1}}))
    assert helped.cases().equals(bare.cases())


def test_what_goes_on_is_open() -> None:
    """A call without an end may end in any way, also under the policy that is there."""
    frame = record([(0, 1, "running")])
    frame["finished_at"] = pd.NaT
    case = one(whatif.replay(frame, None))
    assert (case.recorded, case.status, case.on_bounds) == ("open", "unknown", True)


def test_an_injected_failure_tells_nothing_of_the_service() -> None:
    """What was broken on purpose is not known to fail under another policy."""
    frame = record([(0, 0.5, "failed")])
    frame["injected"] = True
    case = one(whatif.replay(frame, None))
    assert (case.may_succeed, case.may_fail) == (True, True)


# --- a real record -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trace(shared_data: Path) -> Iterator[ok.Kit]:
    """A kit with the trace of a pipeline: 852 tasks, 516 failed attempts, up to five of a task."""
    (path,) = (shared_data / "nextflow_trace").glob("*.tsv")
    with ok.open() as kit:
        nextflow.load_trace(path, kit)
        yield kit


@pytest.mark.parametrize(
    ("attempts", "success", "calls"),
    [(1, 591, 852), (2, 665, 1113), (3, 795, 1300), (4, 841, 1357), (5, 852, 1368)],
)
def test_fewer_attempts_of_a_real_trace(trace: ok.Kit, attempts: int, success: int, calls: int) -> None:
    """Tasks that were done by their n-th attempt are all that n attempts would have done."""
    policy = {"retry": {"strategy": "immediate", "max_attempts": attempts}}
    found = whatif.replay(trace, policy, assume=["steady", "begins"], estimate=None).summary()
    assert (found.success_low, found.success_high) == (success, success)
    assert (found.calls_low, found.calls_high, found.on_bounds) == (calls, calls, 0)


def test_a_single_run_suggests_by_its_steps(trace: ok.Kit) -> None:
    """Where there are too few runs to hold some out, the later steps are."""
    found = whatif.suggest(trace, assume=["steady", "begins"])
    assert found.table().cases.tolist() == [596, 596, 256, 256]
    assert found.settings()["max_attempts"] > 1


# --- assumptions and estimates -----------------------------------------------------------------


def test_steady_takes_the_call_of_another_moment() -> None:
    """A retry five seconds later was never made; with ``steady`` it ends as the one that was."""
    later = retry(2, delay=5)
    assert one(whatif.replay(record(RESCUED), later)).status == "unknown"
    case = one(whatif.replay(record(RESCUED), later, assume="steady"))
    assert (case.status, case.latency_low_ms, case.latency_high_ms) == ("success", 6000, 6000)


def test_longest_limits_what_nothing_limits() -> None:
    """With ``longest`` no call takes longer than the longest of its tool."""
    frame = record(LOST, [(20, 3, "success")])
    case = whatif.replay(frame, retry(3), assume=["longest"]).cases().iloc[0]
    assert case.latency_high_ms == 2000 + 1000 + 3000


def test_unasked_leaves_out_waits_that_nobody_asked_for() -> None:
    """A service may have asked to wait where nobody looked; with ``unasked`` it has not."""
    polite, frame = retry(4, retry_after=True, max_delay=30), record(LOST, error="lib.http.StatusError")
    waits = [one(whatif.replay(frame, polite, assume=assumed)).waited_high_ms for assumed in ((), "unasked")]
    assert waits == [3 * 30_000, 3 * 1000]


def test_begins_keeps_later_steps_where_they_were() -> None:
    """A step that takes longer moves what comes after it; with ``begins`` it does not."""
    with ok.open() as kit:
        kit.registry.methods.register_method(_send, name="send")
        flow = (
            kit.workflow("chain")
            .add_step("send", step_id="a")
            .add_step("send", step_id="b", depends_on=["a"])
        )
        week = ok.simulate(flow.build(), kit=kit, faults=[Latency(0.3, 0.8), Failures(0.2)], runs=30)
    shares = [
        whatif.replay(week.kit, retry(2), steps=["b"], estimate=None, assume=assumed).summary().on_bounds
        for assumed in ((), "begins")
    ]
    assert shares[1] <= shares[0]
    assert whatif.replay(week.kit, None, steps=["b"]).summary().on_bounds == 0


async def _send() -> None:
    """Never called."""


def test_an_estimate_draws_from_the_calls_nearby() -> None:
    """While others fail it is a failure, while others succeed a success; and it says what it rests on."""
    for status, share in (("failed", 0.0), ("success", 1.0)):
        others = [[(8 + place, 0.5, status)] for place in range(6)]
        answer = whatif.replay(record(LOST, *others), retry(3))
        assert answer.cases().status_estimate[2] == ("success" if share else "failed")
        assert answer.estimate == "nearby"
        assert "(nearby)" in repr(answer)


def test_without_an_estimate_there_are_only_bounds() -> None:
    """``estimate=None`` leaves its columns out; the same seed draws the same."""
    frame = record(RESCUED, LOST, AT_ONCE)
    assert not any("estimate" in name for name in whatif.replay(frame, retry(3), estimate=None).cases())
    first, again = (whatif.replay(frame, retry(5), seed=3).cases() for _ in range(2))
    assert first.equals(again)


# --- which cases, and in what form ---------------------------------------------------------


def test_cases_are_chosen_by_step_and_tool() -> None:
    """``steps`` names steps, of a map also its items; ``tools`` what they call."""
    frame = record(RESCUED, LOST, AT_ONCE)
    frame["step_id"] = ["m[0]", "m[0]", "m[1]", "m[1]", "z"]
    frame.loc[4, "tool"] = "other"
    asked = {("steps", "m"): 2, ("steps", "m[1]"): 1, ("steps", "z"): 1, ("tools", "other"): 1}
    for (kind, name), count in asked.items():
        assert len(whatif.replay(frame, None, **{kind: [name]})) == count  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "policy",
    [
        {"retry": {**FIXED, "max_attempts": 2}},
        ok.ReliabilityPolicy(retry=ok.RetryPolicy(**FIXED, max_attempts=2)),
        ok.RetryPolicy(**FIXED, max_attempts=2),
    ],
    ids=["mapping", "policy", "part"],
)
def test_a_policy_may_be_given_in_several_forms(policy: Any) -> None:
    """A mapping, a policy, or one part of it mean the same."""
    assert whatif.replay(record(RESCUED), policy).policy == ok.ReliabilityPolicy(**retry(2))


def test_a_preset_is_named() -> None:
    """The name of a preset is enough; None is nothing at all."""
    assert whatif.replay(record(RESCUED), "gateway").policy.breaker == ok.policies.gateway().breaker
    assert one(whatif.replay(record(RESCUED), None)).calls_high == 1


def test_cases_have_the_columns_that_are_documented() -> None:
    """One row per case, in order of beginning, with plain dtypes; the docstring names every column."""
    cases = whatif.replay(record(AT_ONCE, RESCUED), retry(3)).cases()
    assert cases.began_at.is_monotonic_increasing
    assert cases.dtypes.astype(str)[["run_id", "calls_low", "on_bounds"]].tolist() == [
        "str",
        "float64",
        "bool",
    ]
    told = whatif.Replay.cases.__doc__ or ""
    assert [name for name in cases if name not in told] == []


def test_an_answer_is_shown_as_a_card() -> None:
    """Bounds and the estimate of the numbers that count, and the policy."""
    card = whatif.replay(record(RESCUED, LOST), retry(3))._repr_mimebundle_()["text/html"]
    for shown in ("2 cases", "50.0% to 100.0%", "any time", "1 (50.0%)", "estimate (nearby)", "RetryPolicy"):
        assert shown in card, shown


def test_a_comparison_begins_with_the_record() -> None:
    """A row per policy after that of the record, in the order in which they were given."""
    compared = whatif.compare(record(RESCUED, LOST), {"more": retry(3), "none": None})
    assert compared.policy.tolist() == ["on record", "more", "none"]
    assert compared.success_estimate[0] == compared.success_low[0] == 1


def test_policies_of_a_comparison_need_no_names() -> None:
    """A list has those of its presets and of the places in it; a single policy may stand alone."""
    source = record(RESCUED, LOST)
    gateway, plain = ok.policies.gateway(), ok.ReliabilityPolicy(**retry(2))
    asked = [gateway, plain, "gateway", ok.RetryPolicy(max_attempts=2), None]
    compared = whatif.compare(source, asked)
    names = ["gateway", "policy 2", "policy 3", "policy 4", "policy 5"]
    assert compared.policy.tolist() == ["on record", *names]
    assert whatif.compare(source, plain).policy.tolist() == ["on record", "policy"]
    assert whatif.compare(source, "gateway").policy.tolist() == ["on record", "gateway"]
    named = dict(zip(names, asked, strict=True))
    pd.testing.assert_frame_equal(compared, whatif.compare(source, named))


@pytest.mark.parametrize(
    ("policies", "error", "says"),
    [
        (3.5, ParameterError, "policy"),
        ([{"retry": 2}, 3.5], ParameterError, "policy 2"),
        ({"retry": 3}, ParameterError, "retry"),
        (["gatewya"], UnknownNameError, "gateway"),
        ({"queue": {"bulkhead": 3}}, ParameterError, "queue"),
    ],
)
def test_what_cannot_be_compared_is_told(policies: Any, error: type[Exception], says: str) -> None:
    """With the name, or the place, of what is no policy."""
    with pytest.raises(error, match=says):
        whatif.compare(record(RESCUED), policies)


@pytest.mark.parametrize(
    "ask", [whatif.replay, whatif.compare, lambda source, _, **asked: whatif.suggest(source, **asked)]
)
@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"tools": "sned"}, r"unknown tool 'sned'; did you mean 'send'\?"),
        ({"tools": ["send", "sned"]}, "unknown tool 'sned'"),
        ({"steps": "stepp0"}, "unknown step 'stepp0'; did you mean"),
    ],
)
def test_names_that_are_not_on_record_are_told(ask: Any, asked: dict[str, Any], says: str) -> None:
    """Rather than that there are no cases; one name may stand without a list."""
    frame = record(RESCUED, LOST)
    frame["step_id"] = [f"step{number}" for number in range(len(frame))]
    with pytest.raises(UnknownNameError, match=says):
        ask(frame, {}, **asked)
    assert len(whatif.replay(frame, None, tools="send", steps="step0")) == 1


@pytest.mark.parametrize("source", ["kit", "frame"])
def test_an_empty_record_has_an_empty_answer(source: str) -> None:
    """Nothing on record: no cases, no rates, and it says so."""
    with ok.open() as kit:
        asked = kit if source == "kit" else record(AT_ONCE).head(0)
        answer = whatif.replay(asked, retry(3))
        assert len(answer) == len(answer.cases()) == 0
        assert math.isnan(answer.summary().success_rate_low)
        assert repr(answer) == "<Replay: no cases on record>"
        assert whatif.compare(asked, {"more": retry(3)}).calls_low.tolist() == [0, 0]


# --- what is no question -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        (
            {"policy": {"bulkhead": 3}},
            ParameterError,
            r"bulkhead.*leave it out: policy\.but\(bulkhead=None\)",
        ),
        ({"policy": {"rate_limit": 3}}, ParameterError, "rate_limit"),
        ({"policy": {"faults": 0.1}}, ParameterError, "faults"),
        ({"policy": {"retry": {"max_attempts": 0}}}, ParameterError, r"retry\.max_attempts"),
        ({"policy": {"retries": 3}}, ParameterError, "retries"),
        ({"policy": 3.5}, ParameterError, "policy"),
        ({"policy": "gatewya"}, UnknownNameError, "gateway"),
        ({"assume": "stedy"}, UnknownNameError, "steady"),
        ({"estimate": "nerby"}, UnknownNameError, "nearby"),
        ({"source": 3}, ParameterError, "source"),
        ({"source": pd.DataFrame({"step_id": ["a"]})}, ParameterError, "started_at"),
    ],
)
def test_bad_questions_are_told(asked: dict[str, Any], error: type[Exception], says: str) -> None:
    """What cannot be asked is refused by an error that names it, and what to do."""
    given = {"source": record(RESCUED), "policy": None} | asked
    with pytest.raises(error) as caught:
        whatif.replay(given.pop("source"), given.pop("policy"), **given)
    assert re.search(says, str(caught.value), re.DOTALL), str(caught.value)


def test_a_comparison_names_the_policy_that_is_none() -> None:
    """Of several policies the error says which one."""
    with pytest.raises(ParameterError, match="patient"):
        whatif.compare(record(RESCUED), {"patient": {"retry": {"max_attempts": 0}}})
