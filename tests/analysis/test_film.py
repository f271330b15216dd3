"""Films: every frame is what one event changed, and all of them together are the run."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.analysis.film import Camera, applied, film_of, picture
from orchkit.analysis.shown import LONGEST, Values, json_text, shown
from orchkit.model.event import Event
from orchkit.model.state import fold
from orchkit.model.workflow import Workflow

DEFINITION = {
    "name": "w",
    "execution_mode": "dag",
    "steps": [
        {"id": "a", "tool": "t"},
        {"id": "b", "tool": "t", "params": {"x": "${steps.a.n}"}, "when": "${steps.a.n} > 1"},
        {"id": "m", "tool": "t", "over": "${steps.a.rows}"},
    ],
}
STEPS = ("a", "b", "m", "m[0]", "m[1]", "compensate:a", "elsewhere")
NOTHING = st.none()
VALUES = st.sampled_from([None, 1, {"n": 2}, {"n": 2, "rows": [1, 2]}, "text", [], {}, [{"deep": [None]}]])
ENDS = st.sampled_from(["success", "failed", "cancelled", "skipped"])


def _payloads() -> st.SearchStrategy[tuple[str, str | None, int | None, dict[str, Any]]]:
    step, number = st.sampled_from(STEPS), st.integers(1, 3)
    text = st.sampled_from([None, "E: no", ""])

    def of(kind: str, payload: dict[str, Any], attempt: Any = NOTHING, of_step: Any = step) -> Any:
        return st.tuples(st.just(kind), of_step, attempt, st.fixed_dictionaries(payload))

    resumed = {
        "pid": st.integers(1, 9),
        "again": st.lists(step, max_size=3),
        "anew": st.booleans(),
        "definition": st.sampled_from([None, Workflow.from_dict(DEFINITION).to_dict()]),
    }
    name = st.just("t")
    return st.one_of(
        of("step.scheduled", {"name": name, "node_type": st.sampled_from(["task", "map"]), "input": VALUES}),
        of("step.finished", {"status": ENDS, "output": VALUES, "error": text, "reason": text, "name": name}),
        of("step.reused", {"how": st.just("fork"), "run_id": st.just("run_0"), "step_id": step}),
        of("attempt.started", {}, number),
        of("attempt.finished", {"status": ENDS, "error": text, "abandoned": st.booleans()}, number),
        of("progress", {"fraction": st.sampled_from([None, 0.5]), "message": text}, number),
        of("decision", {"point": name, "decision": st.just("x"), "input_data": VALUES}, number),
        of("evidence", {"evidence_id": st.just("evd_1"), "type": name, "data": VALUES}, number),
        of("run.resumed", resumed, of_step=NOTHING),
        of("run.paused", {}, of_step=NOTHING),
        of("run.resumed", {}, of_step=NOTHING),
        of("run.finished", {"status": ENDS, "error": text}, of_step=NOTHING),
        of("run.imported", {"file": name}, of_step=NOTHING),
        of("later.kind", {"what": VALUES}),
    )


@st.composite
def runs(draw: st.DrawFn) -> list[Event]:
    """The events of some run: in any order, of any steps, more often strange than not."""
    rows = draw(st.lists(_payloads(), max_size=16))
    begin = {"kind": "workflow", "name": "w", "context": {"k": 1}, "definition": DEFINITION_STORED}
    rows = [*draw(st.sampled_from([[], [("run.started", None, None, begin)]])), *rows]
    return [Event(n, 1000 + n, kind, "run_1", *rest) for n, (kind, *rest) in enumerate(rows, 1)]  # type: ignore[arg-type]


DEFINITION_STORED = Workflow.from_dict(DEFINITION).to_dict()


def _told(shown: dict[str, Any], values: list[Any]) -> dict[str, Any]:
    """The same with the values themselves in the places of their numbers."""
    data = {"input", "output", "context", "alternatives", "input_data", "output_data", "data", "metadata"}

    def put(facts: Any) -> Any:
        if isinstance(facts, list):
            return [put(one) for one in facts]
        if not isinstance(facts, dict):
            return facts
        return {
            name: values[one] if name in data and isinstance(one, int) else put(one)
            for name, one in facts.items()
        }

    found: dict[str, Any] = put(shown)
    return found


@given(runs())
def test_the_frames_up_to_any_event_add_up_to_the_fold(events: list[Event]) -> None:
    """At every position the deltas give what folding the events up to there gives."""
    film = film_of(events)
    for k in range(len(events) + 1):
        values = Values()
        expected = picture(fold(events[:k]), values)
        found = applied(film["frames"][:k])
        if not fold(events[:k]).run_id:  # nothing is said of a run before its begin is on record
            expected["run"] = found["run"] = {}
        assert _told(found, film["values"]) == _told(expected, values.entries)


@given(runs(), st.integers(0, 16))
def test_a_camera_that_goes_on_takes_the_same_film(events: list[Event], cut: int) -> None:
    """Frames that are sent while a run goes on are those of the film that is made afterwards."""
    camera = Camera()
    first = [camera.take(event) for event in events[:cut]]
    rest = [camera.take(event) for event in events[cut:]]
    film = film_of(events)
    assert [*first, *rest] == film["frames"]
    assert camera.values.entries == film["values"]


@given(runs())
def test_a_film_is_strict_json_with_a_sentence_for_each_event(events: list[Event]) -> None:
    """Browsers read it as it is; every frame says in one line what happened."""
    film = film_of(events)
    assert json.loads(json.dumps(film, allow_nan=False)) == film
    assert [frame["seq"] for frame in film["frames"]] == [event.seq for event in events]
    assert all(frame["text"] and "\n" not in frame["text"] for frame in film["frames"])


def test_what_the_definition_says_is_told_once(recording: Any) -> None:
    """The steps of the definition come with what they wait for and their condition."""
    film = film_of(recording().start(Workflow.from_dict(DEFINITION)).ran("a").events)
    assert film["steps"] == [
        {"id": "a", "after": []},
        {"id": "b", "after": [["a", "data"]], "when": "${steps.a.n} > 1"},
        {"id": "m", "after": [["a", "data"]]},
    ]


def test_captions_tell_what_happened(recording: Any) -> None:
    """The sentences name the step, the attempt, how long it took and why."""
    run = recording().start("a run").begin("load", "t.load")
    run.attempt("load", 1, "failed", 20, error="builtins.OSError: no")
    run.decided("load", "retry", "retry", "OSError on attempt 1 of 2", 1)
    run.add("attempt.started", "load", 2, ms=50).add("progress", "load", 2, fraction=0.25, message="half")
    run.add("attempt.finished", "load", 2, ms=10, status="success", duration_us=10_000)
    run.add("evidence", "load", 2, evidence_id="evd_1", type="log", source="disk", confidence_score=0.5)
    run.finish("load", tool="t.load").skipped("send", "load says no").end("success", ms=1)
    assert [frame["text"] for frame in film_of(run.events)["frames"]] == [
        "a run begins",
        "load begins",
        "load: attempt 1 begins",
        "load: attempt 1 failed after 20 ms: OSError: no",
        "load: retry → retry: OSError on attempt 1 of 2",
        "load: attempt 2 begins, after a wait of 50 ms",
        "load: 25%, half",
        "load: attempt 2 succeeded after 10 ms",
        "load: evidence, log from disk, confidence 0.5",
        "load succeeded after 80 ms",
        "send was skipped: load says no",
        "a run succeeded after 81 ms",
    ]


def test_decisions_and_failures_are_marked(recording: Any) -> None:
    """What a person may want to go to next can be found without reading sentences."""
    run = recording().start("a run").failed("a", "ValueError: no")
    run.decided("a", "give_up", "give_up").add("hook.failed", "a", hook="h", stage="after", error="E")
    run.add("breaker.transition", "a", name="s", from_state="closed", to_state="open", reason="3 failures")
    run.ran("b").end("partial")
    marks = [(frame["kind"], frame["mark"]) for frame in film_of(run.events)["frames"] if "mark" in frame]
    assert marks == [
        ("attempt.finished", "failure"),
        ("step.finished", "failure"),
        ("decision", "decision"),
        ("hook.failed", "failure"),
        ("breaker.transition", "failure"),
        ("run.finished", "failure"),
    ]


def test_a_run_that_was_taken_up_again(recording: Any) -> None:
    """Attempts without an end become in doubt, kept results stay, what runs again is pending again."""
    run = recording().start("a run", pid=1, host="h").ran("kept", output=1).begin("load")
    run.add("attempt.started", "load", 1)
    run.add("run.resumed", pid=2, host="h", again=["kept"], anew=False)
    run.add("attempt.started", "load", 2)
    frames = film_of(run.events)["frames"]
    assert frames[-2]["text"] == "a run is taken up again, in process 2: kept runs again"
    delta = frames[-2]["d"]
    assert delta["attempts"] == {"load": {"0": {"status": "in_doubt"}}}
    assert delta["steps"]["load"] == {"status": "pending"}
    assert delta["steps"]["kept"]["status"] == "pending"
    assert delta["run"] == {"resumed": 1, "pid": 2}


def test_results_of_other_runs_say_whose_they_are(recording: Any) -> None:
    """A step of a fork that was not run shows where its result comes from."""
    run = recording().start("a fork", forked_from={"run_id": "run_0", "from_step": ["b"]})
    run.begin("a").finish("a", output=7)
    run.add("step.reused", "a", how="fork", run_id="run_0", step_id="a")
    film = film_of(run.events)
    assert film["frames"][0]["text"] == "a fork begins, forked from run_0"
    assert film["frames"][-1]["text"] == "a takes the recorded result of a in run_0 (fork)"
    source = film["frames"][-1]["d"]["steps"]["a"]["source"]
    assert (source["how"], source["run_id"]) == ("fork", "run_0")


def test_the_same_value_is_kept_once(recording: Any) -> None:
    """What one step returns and the next is given is in the film one time."""
    run = recording().start("a run").ran("a", output={"rows": [1, 2]}).begin("b", input={"rows": [1, 2]})
    film = film_of(run.events)
    assert film["values"].count('{"rows":[1,2]}') == 1


def test_frames_cost_the_same_at_the_end_of_a_long_run(recording: Any) -> None:
    """A step with thousands of attempts has frames of the same size from first to last."""
    run = recording().start("a run").begin("a")
    for number in range(1, 2001):
        run.attempt("a", number, "failed", 1, error="E: no")
    sizes = [len(json.dumps(frame.get("d"))) for frame in film_of(run.events)["frames"]]
    assert max(sizes[-200:]) <= max(sizes[2:200]) + 8


# --- values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None, True, "é"]}, '{"a":[1,2.5,null,true,"é"]}'),
        (2**53, '{"$exactly":"9007199254740992"}'),
        (-(2**60), '{"$exactly":"-1152921504606846976"}'),
        (float("nan"), '{"$exactly":"nan"}'),
        ([float("inf")], '[{"$exactly":"inf"}]'),
        ({1: "int key"}, '{"1":"int key"}'),
        ((1, 2), "[1,2]"),
        (b"raw", "\"b'raw'\""),
    ],
)
def test_values_are_json_that_javascript_reads_exactly(value: Any, text: str) -> None:
    """No number is rounded and nothing is there that JSON has not."""
    assert json_text(value) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=20), inner, max_size=30),
    max_leaves=60,
)


@given(JSON, st.integers(64, 2000))
def test_a_large_value_is_cut_and_says_so(value: Any, longest: int) -> None:
    """What is shown is valid JSON, no longer than allowed, and comes with the length of the whole."""
    text, length = shown(value, longest)
    json.loads(text)
    assert len(text) <= max(longest, 64 + longest // 2)
    assert (length == len(text)) == (text == json_text(value))


def test_a_cut_value_names_how_much_is_missing() -> None:
    """Texts, lists and objects say how much of them is left out."""
    text, length = shown(
        {"rows": list(range(5000)), "text": "x" * 9000, "more": {str(n): n for n in range(900)}}
    )
    value = json.loads(text)
    assert length > LONGEST
    assert value["rows"][-1] == {"$more": 4800}
    assert value["text"].endswith("… (+5,000 characters)")
    assert value["more"]["…"] == {"$more": 700}


def test_nesting_without_end_is_shown_as_such() -> None:
    """A value that is nested too deep for Python does not keep the rest from being shown."""
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert json.loads(shown(value)[0]) == "nested too deep to be shown"
    while value:  # a list so deep cannot be freed in one go
        value = value.pop()


def test_all_values_together_have_a_limit() -> None:
    """After so many characters each further value is kept only in short."""
    values = Values(longest=1000, most=3000)
    texts = ["x" * 900 + str(n) for n in range(8)]
    numbers = [values.add(text) for text in texts]
    assert numbers == list(range(8))
    assert [isinstance(entry, dict) for entry in values.entries] == [False] * 4 + [True] * 4
    sizes = [len(entry["text"]) for entry in values.entries[4:]]
    assert all(b <= a for a, b in pairwise(sizes))
    assert sizes[0] < 400
    assert values.add(None) is None
