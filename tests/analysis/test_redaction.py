"""What is left out before a run is shown to others, and what stands for unreadable values."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchkit.analysis.film import film_of
from orchkit.analysis.redaction import to_show
from orchkit.model.workflow import Workflow
from orchkit.store import codec

SECRET = "s3cr3t"
FLOW = {
    "name": "w",
    "execution_mode": "dag",
    "steps": [
        {
            "id": "a",
            "tool": "t",
            "params": {"key": SECRET},
            "when": f"'{SECRET}' != ''",
            "description": SECRET,
            "compensate": {"tool": "u", "parameters": {"key": SECRET}},
        },
        {
            "id": "sub",
            "workflow": {"name": "inner", "steps": [{"id": "i", "tool": "t", "params": {"k": SECRET}}]},
        },
        {"id": "map", "tool": "t", "over": [SECRET]},
    ],
}


def _everything_secret(recording: Any) -> Any:
    """A run in which every text that a user can write holds the secret."""
    run = recording().start(Workflow.from_dict(FLOW), context={"token": SECRET}, user_id=SECRET)
    run.begin("a", input={"deep": [{"key": SECRET}]})
    run.attempt("a", 1, "failed", error=f"ValueError: {SECRET}")
    run.decided("a", "choose", SECRET, f"because of {SECRET}", 1, alternatives=[SECRET], input_data=SECRET)
    run.decided("a", "retry", "retry", input_data={"error": SECRET}, output_data={"x": SECRET})
    run.add("evidence", "a", 1, type="t", data=[SECRET], metadata={"m": SECRET}, source=SECRET)
    run.add("progress", "a", 1, fraction=0.5, message=SECRET)
    run.add("hook.failed", "a", hook="h", stage="after", error=SECRET)
    run.add("breaker.transition", "a", name="b", from_state="closed", to_state="open", reason=SECRET)
    run.finish("a", "failed", error=SECRET, reason=SECRET, output={"k": SECRET})
    run.add("run.cancelled", reason=SECRET)
    run.add("run.resumed", pid=1, definition=Workflow.from_dict(FLOW).to_dict())
    return run.end("failed", SECRET)


def _hidden(path: str, value: Any) -> Any:
    return value.replace(SECRET, "•••") if isinstance(value, str) else value


def test_a_redactor_sees_everything_that_users_wrote(recording: Any) -> None:
    """Whatever it hides is neither in the events that are shown nor in the film of them."""
    run = _everything_secret(recording)
    events = to_show(run.events, _hidden)
    assert SECRET not in json.dumps([dict(event.payload) for event in events])
    assert SECRET not in json.dumps(film_of(events))
    assert SECRET in json.dumps(film_of(run.events))  # the record itself is as it was


def test_paths_say_what_a_value_is_of(recording: Any) -> None:
    """A redactor can tell by the path: first what it belongs to, then the keys and places inside."""
    paths: dict[str, Any] = {}
    to_show(_everything_secret(recording).events, paths.setdefault)
    expected = {
        "run.context.token",
        "run.user_id",
        "run.error",
        "steps.a.input.deep[0].key",
        "steps.a.output.k",
        "steps.a.error",
        "steps.a.message",
        "decisions.choose.alternatives[0]",
        "decisions.choose.rationale",
        "decisions.retry.input_data.error",
        "evidence.t.data[0]",
        "evidence.t.source",
        "definition.a.parameters.key",
        "definition.a.compensate.key",
        "definition.a.when",
        "definition.i.parameters.k",
        "definition.map.over[0]",
    }
    assert expected <= paths.keys()
    assert paths["steps.a.input"] == {"deep": [{"key": SECRET}]}  # a whole is asked about before its parts


def test_a_whole_value_can_be_taken_away(recording: Any) -> None:
    """What is inside of a value that was replaced is not shown and not asked about."""
    run = recording().start("a run").begin("a", input={"deep": {"key": SECRET}})
    asked: list[str] = []

    def redact(path: str, value: Any) -> Any:
        asked.append(path)
        return "hidden" if path == "steps.a.input" else value

    assert to_show(run.events, redact)[-1].payload["input"] == "hidden"
    assert asked == ["steps.a.input"]


def test_a_redactor_that_fails_lets_nothing_out(recording: Any) -> None:
    """Its error is raised instead of showing what it could not look at."""
    run = recording().start("a run").begin("a", input={"key": SECRET})
    with pytest.raises(KeyError, match="unlucky"):
        to_show(run.events, lambda path, value: {}["unlucky"])


def test_without_a_redactor_nothing_changes(recording: Any) -> None:
    """Events of plain values are shown as they are, the very same objects."""
    run = _everything_secret(recording)
    assert all(one is other for one, other in zip(to_show(run.events), run.events, strict=True))


TABLE = pd.DataFrame(
    {"n": range(40), "x": [0.5, float("nan")] * 20, "when": pd.Timestamp("2025-03-12", tz="UTC")}
)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (
            np.arange(6.0).reshape(3, 2),
            {"$is": "array of float64, shape 3 × 2", "begin": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]},
        ),
        (b"raw" * 400, {"$is": "bytes, 1,200 of them"}),
        (
            pd.Series([1, 2], name="n"),
            {"$table": {"is": "Series", "shape": [2, 1], "columns": ["n"], "rows": [[1], [2]]}},
        ),
        ("2025", "2025"),
    ],
    ids=["array", "bytes", "series", "text"],
)
def test_unreadable_values_have_previews(recording: Any, value: Any, shown: Any) -> None:
    """Tables, arrays and bytes are shown as what they are, wherever in a value they stand."""
    packed = codec.pack({"deep": [value]})
    run = recording().start("a run").begin("a", input=packed.value, types=packed.notes)
    assert to_show(run.events)[-1].payload["input"] == {"deep": [shown]}
    assert run.events[-1].payload["input"] == packed.value


def test_a_table_shows_the_begin_of_its_rows(recording: Any) -> None:
    """Twelve rows, with texts where a cell is no JSON and nothing where it is missing."""
    packed = codec.pack(TABLE)
    run = recording().start("a run").begin("a").finish("a", output=packed.value, types=packed.notes)
    table = to_show(run.events)[-1].payload["output"]["$table"]
    assert (table["shape"], table["columns"]) == ([40, 3], ["n", "x", "when"])
    assert len(table["rows"]) == 12
    assert table["rows"][1] == [1, None, "2025-03-12 00:00:00+00:00"]


@pytest.mark.parametrize("notes", [[[["gone"], "dataframe"]], [[[], "dataframe"]], [[[0, "x"], "bytes"]]])
def test_notes_that_do_not_fit_are_passed_over(recording: Any, notes: Any) -> None:
    """A record with wrong type notes is shown all the same."""
    run = recording().start("a run").begin("a", input={"n": 1}, types=notes)
    assert to_show(run.events)[-1].payload["input"] in ({"n": 1}, {"$is": "DataFrame"})


def test_previews_are_redacted_too(recording: Any) -> None:
    """What a table shows of itself goes through the redactor cell by cell."""
    packed = codec.pack(pd.DataFrame({"name": [SECRET, "b"]}))
    run = recording().start("a run").begin("a").finish("a", output=packed.value, types=packed.notes)
    shown = to_show(run.events, _hidden)[-1].payload
    assert shown["output"]["$table"]["rows"] == [["•••"], ["b"]]
    assert "types" not in shown
