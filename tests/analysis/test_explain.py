"""Runs and steps in plain words, to the letter."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest

from orchkit.analysis.explain import explain_run, explain_step
from orchkit.errors import UnknownNameError
from orchkit.model.workflow import Workflow

TIMEOUT = "TimeoutExceededError: attempt exceeded its timeout of 1 s"
NOT_RUN = "step 'charge', which it depends on, did not succeed"


def _checkout() -> Workflow:
    return Workflow.from_dict(
        {
            "name": "checkout",
            "execution_mode": "dag",
            "steps": [
                {"id": "fetch", "tool": "shop.fetch"},
                {
                    "id": "reserve",
                    "tool": "stock.reserve",
                    "depends_on": ["fetch"],
                    "compensate": "stock.release",
                },
                {
                    "id": "charge",
                    "tool": "pay.charge",
                    "params": {"id": "${steps.fetch.id}"},
                    "depends_on": ["reserve"],
                },
                {"id": "gift", "tool": "mail.note", "when": "${steps.fetch.gift} and ${steps.fetch.n} > 2"},
                {"id": "ship", "tool": "ship.it", "params": {"id": "${steps.charge.id}"}},
            ],
        }
    )


@pytest.fixture
def failed(recording: Any) -> Any:
    """A run whose payment times out twice, so that the rest is not run and the reservation is undone."""
    run = recording().start(_checkout())
    run.ran("fetch", "shop.fetch", ms=120)
    run.ran("reserve", "stock.reserve", ms=30)
    run.decided("gift", "condition", "false", input_data={"${steps.fetch.gift}": False})
    run.skipped("gift", "its condition is false", "mail.note")
    run.begin("charge", "pay.charge")
    run.decided(
        "charge", "policy.selected", "pay.*", "'pay.*' is the longest pattern that fits", attempt=None,
        input_data={
            "operation": "pay.charge",
            "retry": {"max_attempts": 2, "strategy": "fixed", "delay": 0.5},
            "timeout": {"attempt": 1.0, "total": None},
        },
    )  # fmt: skip
    for number, choice, why in ((1, "retry", "attempt 1 of 2"), (2, "give_up", "all 2 attempts are used up")):
        run.attempt("charge", number, "timeout", ms=1000, error=TIMEOUT, abandoned=number == 1)
        run.decided("charge", "retry", choice, why, attempt=number, input_data={"delay_s": 0.5})
        run.now_us += 500_000 if choice == "retry" else 0
    run.finish("charge", "failed", "pay.charge", attempts=2, error=TIMEOUT)
    run.skipped("ship", NOT_RUN, "ship.it")
    run.decided(
        "reserve", "compensation", "stock.release", "the run failed after step 'reserve' was completed"
    )
    run.ran("compensate:reserve", "stock.release", node_type="compensation")
    return run.end("failed", TIMEOUT)


@pytest.mark.parametrize(
    ("step_id", "text"),
    [
        (
            "fetch",
            """\
            fetch called shop.fetch and succeeded on the first attempt after 120 ms.""",
        ),
        (
            "charge",
            f"""\
            charge called pay.charge and failed on the second attempt after 2.5 s: {TIMEOUT}.
            It came after reserve (named in depends_on) and fetch (it uses ${{steps.fetch.id}}).
            It could begin 150 ms into the run, when the last of them, reserve, had ended.
            Its policy is 'pay.*', because 'pay.*' is the longest pattern that fits: up to 2 \
attempts (fixed, 0.5 s) and at most 1 s per attempt.
            Its 2 attempts:
              1. ran into its timeout after 1 s; its thread went on, its late result was \
discarded; then a wait of 500 ms
              2. ran into its timeout after 1 s; no further attempt (all 2 attempts are used up)
            Because of it ship did not run.""",
        ),
        (
            "reserve",
            """\
            reserve called stock.reserve and succeeded on the first attempt after 30 ms.
            It came after fetch (named in depends_on).
            It could begin 120 ms into the run, when fetch had ended.
            It was undone again by stock.release.
            1 decision by the engine:
              compensation: stock.release, because the run failed after step 'reserve' was completed""",
        ),
        (
            "gift",
            """\
            gift did not run because its condition ${steps.fetch.gift} and ${steps.fetch.n} > 2 was false, \
with ${steps.fetch.gift} = false.
            It would have come after fetch (its condition looks at ${steps.fetch.gift} and \
${steps.fetch.n}).""",
        ),
        (
            "ship",
            f"""\
            ship did not run because {NOT_RUN}.
            It would have come after charge (it uses ${{steps.charge.id}}).""",
        ),
        (
            "compensate:reserve",
            """\
            compensate:reserve called stock.release and succeeded on the first attempt after 10 ms.
            It undoes reserve.""",
        ),
    ],
)
def test_a_step_of_a_failed_run(failed: Any, step_id: str, text: str) -> None:
    """What a step did, waited for and decided, why it was tried again, skipped or undone."""
    assert explain_step(failed.state, step_id) == dedent(text)


def test_a_failed_run(failed: Any) -> None:
    """What failed first, what was skipped because of it and what for other reasons, what was undone."""
    assert explain_run(failed.state) == dedent(
        f"""\
        checkout failed after 2.66 s: of 5 steps, 2 succeeded, 1 failed and 2 were skipped.
        What failed was charge on its second attempt, 2.65 s into the run: {TIMEOUT}.
        gift was skipped because its condition is false.
        ship was skipped because charge failed.
        Undone again: reserve by stock.release.
        On the record: 5 decisions by the engine."""
    )


def test_choices_and_evidence_of_a_step(recording: Any) -> None:
    """The step's own decisions with their reasons and alternatives, and its evidence with its source."""
    run = recording().start("quotes", kind="orchestrator").begin("choose", "carriers.choose")
    run.add("attempt.started", "choose", 1)
    run.decided(
        "choose",
        "carrier",
        "north",
        "it is cheapest",
        attempt=1,
        origin="user",
        alternatives=["south", {"id": 3}],
    )
    run.add("evidence", "choose", 1, type="quotes", source="tariff", confidence_score=0.9, data=[1, 2])
    run.add("evidence", "choose", 1, type="note", data="x")
    run.add("attempt.finished", "choose", 1, ms=5, status="success")
    run.finish("choose", tool="carriers.choose").end()
    assert explain_step(run.state, "choose") == dedent(
        """\
        choose called carriers.choose and succeeded on the first attempt after 5 ms.
        1 decision by the steps:
          carrier: north, because it is cheapest (instead of south and {"id": 3})
        2 pieces of evidence:
          quotes from tariff, confidence 0.9
          note"""
    )
    assert explain_run(run.state) == dedent(
        """\
        The orchestrator quotes succeeded after 5 ms.
        On the record: 1 decision by the steps and 2 pieces of evidence."""
    )


def test_evidence_stands_with_the_decision_that_it_supports(recording: Any) -> None:
    """Evidence is said once: at the decisions that name it, else by itself; ids from elsewhere stay ids."""
    run = recording().start("w").begin("warn", "t")
    for number, kind in ((1, "forecast"), (2, "photo")):
        run.add(
            "evidence", "warn", 1, evidence_id=f"ev_{number}", type=kind, source="gauge", confidence_score=0.7
        )
    run.decided("warn", "warning", "refused", None, 1, origin="user", alternatives=["excused", "refused"],
                evidence=["ev_1", "ev_far"])  # fmt: skip
    run.decided("warn", "timeout", "stop", "the total timeout of 1 s is over on attempt 1", 1)
    run.finish("warn", tool="t").end()
    assert explain_step(run.state, "warn").split("\n")[1:] == [
        "1 decision by the steps:",
        "  warning: refused (instead of excused); supported by forecast from gauge, confidence 0.7; ev_far",
        "1 decision by the engine:",
        "  timeout: stop, because the total timeout of 1 s is over on attempt 1",
        "1 more piece of evidence:",
        "  photo from gauge, confidence 0.7",
    ]
    assert explain_run(run.state).split("\n")[-1] == (
        "On the record: 1 decision by the engine, 1 decision by the steps and 2 pieces of evidence."
    )


RETRY = {"max_attempts": 4, "strategy": "fixed", "delay": 0.05}
EXPONENTIAL = {"max_attempts": 3, "strategy": "exponential", "delay": 1.0}
LIMITS = {"attempt": 0.1, "total": 5.0}
ATTEMPT = "at most 0.1 s per attempt"
TRIES = "up to 3 attempts (exponential, from 1 s)"
UNFIT = "Its policy is 'default', because no name or pattern fits"


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        (
            {"retry": RETRY, "timeout": None, "overrides": ["retry"]},
            f"{UNFIT}; its own retry: up to 4 attempts (fixed, 0.05 s).",
        ),
        (
            {"retry": RETRY, "timeout": LIMITS, "overrides": ["timeout"]},
            f"{UNFIT}: up to 4 attempts (fixed, 0.05 s); its own timeout: {ATTEMPT} and at most 5 s in all.",
        ),
        (
            {"retry": EXPONENTIAL, "timeout": LIMITS | {"total": None}, "overrides": ["retry", "timeout"]},
            f"{UNFIT}; its own retry: {TRIES}; its own timeout: {ATTEMPT}.",
        ),
        (
            {"retry": {"max_attempts": 2, "strategy": "immediate", "delay": 1.0}, "overrides": []},
            f"{UNFIT}: up to 2 attempts (immediate).",
        ),
        ({"retry": {"max_attempts": 1, "strategy": "fixed"}}, f"{UNFIT}: one attempt."),
        ({"retry": None, "timeout": None}, f"{UNFIT}."),
        (None, f"{UNFIT}."),
    ],
)
def test_what_comes_from_the_policy_and_what_from_the_step(recording: Any, inputs: Any, text: str) -> None:
    """Settings of the step are told apart from those of the policy; records that do not say have none."""
    run = recording().start("w").begin("a", "t")
    run.decided("a", "policy.selected", "default", "no name or pattern fits", input_data=inputs)
    run.attempt("a", 1).finish("a", tool="t").end()
    assert explain_step(run.state, "a").split("\n")[1] == text


def test_a_policy_with_settings_of_a_step_is_that_step_s_alone(recording: Any) -> None:
    """Steps of one operation share the choice without such settings; items of a map share their map's."""
    run = recording().start("w")
    own, shared = (
        {"operation": "t", "retry": RETRY, "overrides": ["retry"]},
        {"operation": "t", "retry": None},
    )
    run.begin("m", "t", "map").begin("m[0]", "t", parent="m")
    run.decided("m[0]", "policy.selected", "default", None, input_data=own)
    run.attempt("m[0]", 1).finish("m[0]", tool="t").ran("m[1]", "t", parent="m").finish("m", tool="t")
    run.ran("early", "t").decided(None, "policy.selected", "default", None, input_data=shared)
    run.ran("late", "t").ran("other", "u").end()

    def policy(step_id: str) -> list[str]:
        return [line for line in explain_step(run.state, step_id).split("\n") if "policy" in line]

    assert policy("m[0]") == policy("m[1]")
    assert "its own retry" in policy("m[1]")[0]
    assert policy("early") == policy("late") == ["Its policy is 'default'."]
    assert policy("other") == []


def test_an_immediate_retry_is_at_once(recording: Any) -> None:
    """No wait is told where none was planned, and types are said without their modules."""
    run = recording().start("w").begin("a", "t")
    run.attempt("a", 1, "failed", error="shop.errors.Closed: at night")
    run.decided("a", "retry", "retry", "shop.errors.Closed on attempt 1 of 2", 1, input_data={"delay_s": 0.0})
    run.attempt("a", 2, "failed", error="shop.errors.Closed: at night")
    run.decided("a", "retry", "give_up", "shop.errors.Closed is among give_up_on", 2)
    run.finish("a", "failed", "t", 2, error="shop.errors.Closed: at night").end("failed")
    assert explain_step(run.state, "a").split("\n") == [
        "a called t and failed on the second attempt after 20 ms: Closed: at night.",
        "Its 2 attempts:",
        "  1. failed after 10 ms: Closed: at night; then at once",
        "  2. failed after 10 ms: Closed: at night; no further attempt (Closed is among give_up_on)",
    ]


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ("skipped", "a did not run because its condition ${context.n} > 2 was false, with ${context.n} = 1."),
        ("success", "Its condition ${context.n} > 2 was true, with ${context.n} = 1."),
    ],
)
def test_a_condition_is_told_once(recording: Any, status: str, line: str) -> None:
    """With its expression and operands: as the reason of a skip, else in a sentence of its own."""
    step = {"id": "a", "tool": "t", "when": "${context.n} > 2"}
    run = recording().start(Workflow.from_dict({"name": "w", "steps": [step]}))
    verdict = "false" if status == "skipped" else "true"
    run.decided("a", "condition", verdict, input_data={"${context.n}": 1})
    if status == "skipped":
        run.skipped("a", "its condition '${context.n} > 2' is false", "t")
    else:
        run.ran("a", "t")
    text = explain_step(run.state, "a")
    assert line in text.split("\n")
    assert text.count("condition") == 1


def test_a_map_and_its_items(recording: Any) -> None:
    """A map tells how its items ended and which failed; an item tells whose it is."""
    flow = Workflow.from_dict({"name": "m", "steps": [{"id": "each", "tool": "t", "over": [1, 2, 3]}]})
    run = recording().start(flow).begin("each", "t", "map")
    run.ran("each[0]", "t", parent="each").failed("each[1]", "ValueError: odd", "t", parent="each")
    run.ran("each[2]", "t", parent="each")
    run.finish("each", "failed", "t", 0, error="WorkflowExecutionError: 1 of 3 items failed").end("failed")
    assert explain_step(run.state, "each") == dedent(
        """\
        each called t and failed after 30 ms: WorkflowExecutionError: 1 of 3 items failed.
        It is a map over 3 items: 2 succeeded and 1 failed.
          each[1]: ValueError: odd"""
    )
    assert explain_step(run.state, "each[1]") == dedent(
        """\
        each[1] called t and failed on the first attempt after 10 ms: ValueError: odd.
        It is an item of the map each."""
    )


def test_a_step_that_failed_before_its_first_attempt(recording: Any) -> None:
    """A parameter that cannot be resolved fails the step without an attempt."""
    run = (
        recording()
        .start("w")
        .finish("a", "failed", "t", 0, error="UnresolvedReferenceError: no x", reason="early")
    )
    assert (
        explain_step(run.state, "a")
        == "a failed before its first attempt: UnresolvedReferenceError: no x (early)."
    )


def test_a_run_under_way(recording: Any) -> None:
    """While it runs: how many steps are over, what runs, on which attempt, how far, what waits for what."""
    flow = Workflow.from_dict(
        {"name": "w", "steps": [{"id": "a", "tool": "t"}, {"id": "b", "tool": "t"}, {"id": "c", "tool": "t"}]}
    )
    run = recording().start(flow).ran("a", "t").begin("b", "t")
    run.attempt("b", 1, "failed", error="ValueError: x").add("attempt.started", "b", 2)
    run.add("progress", "b", 2, ms=40, fraction=0.25, message="page 3")
    state = run.state
    assert explain_run(state) == "w is running: 1 of 3 steps over.\nRunning now: b (attempt 2)."
    assert (
        explain_step(state, "b").splitlines()[0] == "b is running t, attempt 2, 50 ms so far (25%, page 3)."
    )
    assert explain_step(state, "c") == "c has not begun; it waits for b."


@pytest.mark.parametrize(
    ("scheduled", "text"),
    [
        (True, "a called t and was cancelled after 300 ms because the user asked for it."),
        (False, "a was cancelled before it began because the user asked for it."),
    ],
)
def test_a_cancelled_step(recording: Any, scheduled: bool, text: str) -> None:
    """A step that was running when the run was cancelled, and one that had not begun."""
    run = recording().start("w")
    if scheduled:
        run.begin("a", "t")
    run.now_us += 300_000
    run.finish("a", "cancelled", "t", 0, reason="the user asked for it").end(
        "cancelled", "the user asked for it"
    )
    assert explain_step(run.state, "a") == text
    assert explain_run(run.state) == dedent(
        """\
        w was cancelled after 300 ms: its only step was cancelled.
        The recorded reason of the run: the user asked for it.
        a was cancelled because the user asked for it."""
    )


def test_several_failures_and_recoveries(recording: Any) -> None:
    """With continue_on_failure the failures come in their order; successful retries are told."""
    run = (
        recording()
        .start("w")
        .failed("a", "ValueError: first")
        .failed("b", "KeyError: second")
        .begin("c", "t")
    )
    run.attempt("c", 1, "failed", error="OSError: x").attempt("c", 2).finish("c", tool="t", attempts=2)
    run.end("partial", "ValueError: first")
    assert explain_run(run.state) == dedent(
        """\
        w ended partial after 40 ms: of 3 steps, 1 succeeded and 2 failed.
        The first failure was a, 10 ms into the run: ValueError: first.
        Then b, 20 ms into the run: KeyError: second.
        Succeeded only after retries (attempts): c (2)."""
    )


def test_a_run_without_steps(recording: Any) -> None:
    """An empty run says so."""
    assert explain_run(recording().start("w").end(ms=1).state) == "w succeeded after 1 ms; it had no steps."


def test_an_unknown_step_is_named(failed: Any) -> None:
    """Asking for a step that the run does not have suggests the one that was meant."""
    with pytest.raises(UnknownNameError, match="unknown step 'chrge'; did you mean 'charge'"):
        explain_step(failed.state, "chrge")


def test_many_failures_take_time_in_proportion(recording: Any) -> None:
    """Who is to blame is found for thousands of steps, also when hundreds failed."""
    steps = [{"id": "s0", "tool": "t"}]
    steps += [{"id": f"s{n}", "tool": "t", "depends_on": [f"s{n - 1}"]} for n in range(1, 3000)]
    run = recording().start(Workflow.from_dict({"name": "w", "execution_mode": "dag", "steps": steps}))
    for number in range(600):
        run.failed(f"s{number}", "ValueError: x")
    for number in range(600, 3000):
        run.skipped(f"s{number}", "…")
    text = explain_run(run.end("failed", "ValueError: x").state)
    assert "were skipped because s0, s1, s2, s3, s4 and s5 failed." in text


@pytest.mark.parametrize(
    ("count", "text"),
    [(1, "its only step succeeded"), (2, "both steps succeeded"), (3, "all 3 steps succeeded")],
)
def test_a_run_in_which_all_went_well(recording: Any, count: int, text: str) -> None:
    """Success is said in one sentence."""
    run = recording().start("w")
    for number in range(count):
        run.ran(f"s{number}")
    assert explain_run(run.end().state) == f"w succeeded after {count * 10} ms: {text}."


def test_what_people_decided_is_told_apart(recording: Any) -> None:
    """Whoever stepped into a run is neither its engine nor one of its steps."""
    run = recording().start("a run").decided("a", "policy.selected", "default").begin("a")
    run.decided("a", "operator", "skip", "step 'a' is passed over by hand").decided(
        "a", "x", "y", origin="user"
    )
    state = run.skipped("a", "passed over by hand").end().state
    assert "1 decision by hand:\n  operator: skip, because step 'a' is passed over by hand" in explain_step(
        state, "a"
    )
    assert "because it was passed over by hand." in explain_step(state, "a").split("\n")[0]
    assert explain_run(state).endswith(
        "1 decision by the engine, 1 decision by hand and 1 decision by the steps."
    )
