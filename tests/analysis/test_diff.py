"""Two runs compared: what differs, which difference came first, and how it is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.analysis.aligned import Side, merged
from orchkit.analysis.diff import CAUSES, MOST, Diff
from orchkit.analysis.difftext import headline, story
from orchkit.analysis.known import NOTHING, Known
from orchkit.model.differences import MISSING, differences
from orchkit.model.state import RunState
from orchkit.model.workflow import Workflow

CODE = {"load": {"hash": "1" * 64}, "decide": {"hash": "2" * 64}}


def flow(**last: Any) -> Workflow:
    """The definition that is run; ``last`` is said of its last step."""
    steps = [
        {"id": "load", "tool": "load"},
        {"id": "decide", "tool": "decide", "params": {"x": "${steps.load}"}},
        {"id": "write", "tool": "write", "depends_on": ["decide"], **last},
    ]
    return Workflow.from_dict({"name": "letter", "steps": steps})


@pytest.fixture
def run(recording: Any) -> Any:
    """Makes the state of a run in which ``tone`` is decided; what is given differs from the usual."""

    def make(
        months: int = 1,
        tone: str = "friendly",
        *,
        context: Any = None,
        code: Any = None,
        seen: int | None = None,
        write: str = "success",
        tries: int = 1,
        ms: float = 10,
        definition: Workflow | None = None,
        error: str = "ValueError: no",
    ) -> RunState:
        run = recording().start(definition or flow(), context=context or {}, code=code or CODE)
        run.begin("load", "load")
        for number in range(1, tries):
            run.attempt("load", number, "failed", error="OSError: gone")
            run.decided("load", "retry", "retry", "OSError on attempt 1 of 3", number)
        run.attempt("load", tries, ms=ms).finish(
            "load", tool="load", output={"months_open": months}, attempts=tries
        )
        run.begin("decide", "decide", input={"x": {"months_open": months}})
        run.add("attempt.started", "decide", 1)
        seen_months = months if seen is None else seen
        run.decided(
            "decide", "tone", tone, "as usual", 1, origin="user", input_data={"months_open": seen_months}
        )
        run.add("attempt.finished", "decide", 1, status="success").finish(
            "decide", tool="decide", output=tone
        )
        if write == "failed":
            run.failed("write", error, "write", input={"tone": tone})
        elif write == "skipped":
            run.skipped("write", "not needed", "write")
        else:
            run.ran("write", "write", input={"tone": tone}, output=f"Dear {tone}")
        state: RunState = run.end("failed" if write == "failed" else "success").state
        return state

    return make


def diff(a: RunState, b: RunState, below: Any = None) -> Diff:
    """Compare two states."""
    return Diff(Side(a, NOTHING), Side(b, Known(below=below) if below else NOTHING))


def causes(found: Diff) -> list[tuple[str | None, str]]:
    """Step and cause of each divergence, in order."""
    return [(one.step, one.cause) for one in found.divergences]


def test_runs_that_are_alike(run: Any) -> None:
    """Longer and more often tried is no divergence; the attempts and durations are told all the same."""
    found = diff(run(), run(tries=3, ms=500))
    assert found.first is None
    assert found.differing == {}
    assert [(one.cause, one.a, one.b) for one in found.changes] == [("attempts", 1, 3)]
    told = list(story(found))
    assert told[0] == (
        "The runs are alike: the same definition, code, parameters, evidence, decisions and outputs."
    )
    assert "load took 3 attempts in B, 1 in A." in told


def test_the_decision_at_which_they_part_and_why(run: Any) -> None:
    """The first decision that came out otherwise is named with the input that was different."""
    found = diff(run(), run(months=3, tone="firm"))
    assert headline(found) == (
        "The runs part at decision 'tone' of step 'decide': B chose firm instead of friendly, "
        "because input months_open was 3 instead of 1."
    )
    assert causes(found) == [
        ("load", "output"),
        ("decide", "parameters"),
        ("decide", "decision"),
        ("decide", "output"),
        ("write", "parameters"),
        ("write", "output"),
    ]
    first = "step 'load' returned something else in B, from the same parameters and code"
    assert list(story(found))[1:3] == ["Before that:", f"  {first}: months_open is 3 instead of 1"]


@pytest.mark.parametrize(
    ("changed", "first", "told"),
    [
        ({"context": {"user": "u_2"}}, (None, "context"), "B was given another context: user is u_2"),
        (
            {"code": CODE | {"decide": {"hash": "3" * 64}}, "tone": "firm"},
            ("decide", "code"),
            "B chose firm instead of friendly, because its code was changed",
        ),
        ({"tone": "firm"}, ("decide", "decision"), "from the same input (as usual)"),
        ({"months": 2, "seen": 1}, ("load", "output"), "months_open is 2 instead of 1"),
        (
            {"write": "failed"},
            ("write", "status"),
            "Step 'write' ended failed instead of success in B: ValueError: no",
        ),
        ({"write": "skipped"}, ("write", "status"), "ended skipped instead of success in B: not needed"),
    ],
    ids=["context", "code", "decision", "output", "failed", "skipped"],
)
def test_the_first_difference(run: Any, changed: Any, first: Any, told: str) -> None:
    """Whatever is different first is what is named first, and so is its cause."""
    found = diff(run(), run(**changed))
    assert found.first is not None
    assert (found.first.step, found.first.cause) == first
    assert told in headline(found)


def test_another_definition(run: Any) -> None:
    """What a definition says otherwise of a step is a difference of that step; a description is none."""
    found = diff(run(), run(definition=flow(params={"tone": "kind"}, description="other words")))
    assert causes(found) == [("write", "definition")]
    assert headline(found) == (
        "Step 'write' is defined otherwise in B: parameters.tone is kind instead of nothing."
    )


def test_two_errors(run: Any) -> None:
    """Both failed, but not of the same: that is a difference of status."""
    found = diff(run(write="failed"), run(write="failed", error="KeyError: x"))
    assert headline(found) == (
        "Step 'write' failed with another error in B: KeyError: x instead of ValueError: no."
    )


def test_a_step_that_only_one_has(recording: Any) -> None:
    """Of runs without a definition a step may be missing; what is inside of it is not named again."""
    a = recording().start().ran("one").end().state
    b = recording().start().ran("one").begin("two", "two", "map").ran("two[0]", parent="two")
    found = diff(a, b.finish("two").end().state)
    assert causes(found) == [("two", "presence")]
    assert headline(found) == "Only B has the step 'two'."
    assert found.changes[0].a is MISSING


def test_items_of_maps_are_aligned_and_come_before_the_output_of_the_map(recording: Any) -> None:
    """An item that returned something else is the cause of the map's other output, and stands before it."""

    def state(second: int) -> RunState:
        run = recording().start().begin("m", "t", "map")
        run.decided("m", "map.expanded", "2")
        run.ran("m[0]", "t", output=1, parent="m").ran("m[1]", "t", output=second, parent="m")
        made: RunState = run.finish("m", output=[1, second]).end().state
        return made

    found = diff(state(2), state(5))
    assert causes(found) == [("m[1]", "output"), ("m", "output")]
    assert [one.place for one in found.changes] == ["output", "[1]"]


def test_a_map_of_another_length(recording: Any) -> None:
    """More items are a decision of the map, and steps that only one run has."""

    def state(count: int) -> RunState:
        run = recording().start().begin("m", "t", "map").decided("m", "map.expanded", str(count))
        for place in range(count):
            run.ran(f"m[{place}]", "t", output=1, parent="m")
        made: RunState = run.finish("m", output=[1] * count).end().state
        return made

    assert causes(diff(state(1), state(2))) == [("m", "decision"), ("m[1]", "presence"), ("m", "output")]


def test_sub_workflows_are_compared_inside(recording: Any) -> None:
    """A step of a sub-workflow has the path of the step around it, and differs before that one's output."""

    def side(output: int) -> Side:
        inner = recording("run_2").start("inner").ran("x", output=output).end().state
        outer = recording().start().begin("sub", "inner", "workflow", child_run_id="run_2")
        return Side(outer.finish("sub", output={"x": output}).end().state, Known(below={("sub",): inner}))

    found = Diff(side(1), side(2))
    assert [pair.name for pair in found.steps] == ["sub", "sub/x"]
    assert causes(found) == [("sub/x", "output"), ("sub", "output")]


def test_decisions_are_aligned_by_step_point_and_occurrence(recording: Any) -> None:
    """The second choice at a point is compared with the second one; one too many is a difference."""

    def state(*chosen: str) -> RunState:
        run = recording().start().begin("s").add("attempt.started", "s", 1)
        for one in chosen:
            run.decided("s", "next", one, None, 1, origin="user")
        made: RunState = run.add("attempt.finished", "s", 1, status="success").finish("s").end().state
        return made

    found = diff(state("left", "left"), state("left", "right", "up"))
    assert [(one.place, one.a, one.b) for one in found.changes] == [
        ("next", "left", "right"),
        ("next", MISSING, "up"),
    ]
    assert "(number 2): B chose right instead of left" in headline(found)


def test_decisions_of_tries_that_failed_are_effort(recording: Any) -> None:
    """What an attempt decided that then failed does not shift the decisions of the one that counted."""

    def state(tries: int) -> RunState:
        run = recording().start().begin("s")
        for number in range(1, tries + 1):
            run.add("attempt.started", "s", number).decided("s", "way", "a", None, number, origin="user")
            run.add("attempt.finished", "s", number, status="success" if number == tries else "failed")
        made: RunState = run.finish("s", attempts=tries).end().state
        return made

    found = diff(state(1), state(3))
    assert found.divergences == []
    assert [pair.effort for pair in found.decisions].count(False) == 1


def test_a_step_whose_output_was_given(recording: Any) -> None:
    """It did not run in the fork: it has no other parameters there, and no other code."""

    def ran(given: bool) -> RunState:
        told = recording().start("a run", code={"load": {"hash": ("2" if given else "1") * 64}})
        if given:
            told.decided("load", "fork", "given").begin("load", "load", input=None)
            return told.finish("load", tool="load", attempts=0, output=3).end().state  # type: ignore[no-any-return]
        return told.ran("load", "load", input={"x": 1}, output=1).end().state  # type: ignore[no-any-return]

    found = diff(ran(False), ran(True))
    assert causes(found) == [("load", "output")]
    assert headline(found) == "Step 'load' was given another output in B: output is 3 instead of 1."


def supported(recording: Any, *pieces: dict[str, Any], chosen: str = "yes") -> RunState:
    """A run whose only step shows these pieces of evidence, and decides by the last of them."""
    told = recording().start("a run").begin("judge").add("attempt.started", "judge", 1)
    for number, piece in enumerate(pieces, 1):
        told.add("evidence", "judge", 1, evidence_id=f"ev_{number}_{chosen}", **piece)
    named = [f"ev_{len(pieces)}_{chosen}"]
    told.decided("judge", "trust", chosen, "", 1, origin="user", evidence=named)
    told.add("attempt.finished", "judge", 1, status="success")
    state: RunState = told.finish("judge", output=1).end().state
    return state


@pytest.mark.parametrize(
    ("a", "b", "places", "told"),
    [
        (
            {"data": {"months": 1, "items": [1]}},
            {"data": {"months": 3, "items": [1, 2]}},
            [("invoice.data.months", 1, 3), ("invoice.data.items[1]", MISSING, 2)],
            "data.months was 3 instead of 1 and evidence invoice.data.items[1] was 2 instead of nothing",
        ),
        (
            {"data": 7, "source": "ledger"},
            {"data": 7, "source": "bank"},
            [("invoice.source", "ledger", "bank")],
            "because evidence invoice.source was bank instead of ledger",
        ),
        (
            {"data": 7, "confidence_score": 0.9},
            {"data": 7, "confidence_score": 0.4},
            [("invoice.confidence_score", 0.9, 0.4)],
            "because evidence invoice.confidence_score was 0.4 instead of 0.9",
        ),
        (
            {"data": "2025-01-01"},
            {"data": "2025-01-01", "types": [[[], "date"]]},
            [("invoice.data types", [], ["date"])],
            "because evidence invoice.data types was",
        ),
    ],
    ids=["data", "source", "confidence", "types"],
)
def test_evidence_is_compared_and_gives_the_reason(
    recording: Any, a: dict[str, Any], b: dict[str, Any], places: list[Any], told: str
) -> None:
    """Every part of it; where a decision that came out otherwise names it, it is why."""
    pieces = ({"type": "invoice", **a}, {"type": "invoice", **b})
    found = diff(supported(recording, pieces[0]), supported(recording, pieces[1], chosen="no"))
    assert causes(found) == [("judge", "evidence"), ("judge", "decision")]
    assert [(one.place, one.a, one.b) for one in found.divergences[0].changes] == places
    assert told in headline(found)
    assert list(story(found))[2].startswith("  step 'judge' had other evidence in B: invoice.")


def test_evidence_is_aligned_by_type_and_occurrence(recording: Any) -> None:
    """Ids and order of other types do not matter; the second of a type is compared with the second."""
    pieces = [{"type": "listing", "data": 1}, {"type": "invoice", "data": 2}, {"type": "listing", "data": 3}]
    alike = [pieces[1], pieces[0], pieces[2]]
    assert diff(supported(recording, *pieces), supported(recording, *alike)).changes == []
    more = diff(supported(recording, *pieces[:2]), supported(recording, *pieces))
    assert headline(more) == "Only B has evidence 'listing (2)' at step 'judge': 3."
    less = diff(supported(recording, *pieces), supported(recording, *pieces[:2]))
    assert headline(less) == "Only A has evidence 'listing (2)' at step 'judge': 3."


def test_evidence_of_tries_that_failed_is_effort(recording: Any) -> None:
    """What an attempt showed that then failed is no difference of the runs."""

    def tried(first: int) -> RunState:
        told = recording().start("a run").begin("a").add("attempt.started", "a", 1)
        told.add("evidence", "a", 1, type="page", data=first)
        told.add("attempt.finished", "a", 1, status="failed").add("attempt.started", "a", 2)
        told.add("evidence", "a", 2, type="page", data=0).add("attempt.finished", "a", 2, status="success")
        state: RunState = told.finish("a", attempts=2).end().state
        return state

    found = diff(tried(1), tried(2))
    assert found.changes == []
    assert [(pair.effort, pair.occurrence) for pair in found.evidence] == [(True, 1), (False, 1)]


def test_which_item_had_the_choice_for_all_of_them_does_not_matter(recording: Any) -> None:
    """The policy is chosen at the item that comes first, by chance: that is the same choice."""

    def state(first: int) -> RunState:
        run = recording().start().begin("m", "t", "map")
        run.ran("m[0]", "t", parent="m").ran("m[1]", "t", parent="m")
        made: RunState = run.decided(f"m[{first}]", "policy.selected", "default").finish("m").end().state
        return made

    found = diff(state(0), state(1))
    assert found.divergences == []
    assert len(found.decisions) == 1


def test_values_whose_types_alone_differ(recording: Any) -> None:
    """The same JSON that stands for another type is another value."""

    def state(notes: Any) -> RunState:
        made: RunState = (
            recording().start().ran("s").finish("s", output="2025-01-01", types=notes).end().state
        )
        return made

    found = diff(state(None), state([[[], "date"]]))
    assert [(one.place, one.a, one.b) for one in found.changes] == [("types", [], ["date"])]


def test_very_long_and_very_deep_values(recording: Any) -> None:
    """Of many places the first are listed; of what is nested too deep it is said that it differs."""

    def state(output: Any) -> RunState:
        made: RunState = recording().start().ran("s", output=output).end().state
        return made

    assert len(diff(state([0] * 5000), state([1] * 5000)).changes) == MOST
    deep: list[Any] = [1]
    other: list[Any] = [2]
    for _ in range(3000):
        deep, other = [deep], [other]
    assert [one.cause for one in diff(state(deep), state(other)).changes] == ["output"]


def test_a_run_that_was_cut_short(run: Any, recording: Any) -> None:
    """A run without any steps can be compared with one that has some."""
    empty = recording().start("letter").state
    found = diff(empty, run())
    assert {one.cause for one in found.divergences} <= set(CAUSES)
    assert headline(found) == "Only B has the step 'load'."
    assert causes(found)[-1] == (None, "status")
    assert next(story(diff(empty, empty))).startswith("The runs are alike")


@given(st.lists(st.integers(0, 12), unique=True), st.lists(st.integers(0, 12), unique=True))
def test_merging_keeps_the_order_of_the_first(a: list[int], b: list[int]) -> None:
    """Each key once, the first's in its order, and those of the second alone in their own."""
    found = list(merged(a, b))
    assert sorted(found) == sorted({*a, *b})
    assert [key for key in found if key in a] == a
    alone = [key for key in b if key not in a]
    assert sorted(key for key in found if key not in a) == sorted(alone)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    """No place differs, not even where there is NaN."""
    assert list(differences(value, value)) == []
