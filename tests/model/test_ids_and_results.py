"""Identifiers, results and the port through which records show themselves."""

from __future__ import annotations

import copy
import pickle
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.errors import OperationError, UnknownNameError, WorkflowExecutionError
from orchkit.ids import new_id, uuid7_hex
from orchkit.model import display
from orchkit.model.request import Response
from orchkit.model.result import OutputDict, StepResult, WorkflowResult


@given(st.integers(0, 2**48 - 1), st.binary(min_size=10, max_size=10))
def test_ids_are_uuid_version_7(now_ms: int, noise: bytes) -> None:
    """Version and variant are set, and the time stands in front, so that ids sort by it."""
    found = uuid.UUID(hex=uuid7_hex(now_ms, noise))
    assert (found.variant, found.version) == (uuid.RFC_4122, 7)
    assert found.int >> 80 == now_ms


def test_new_ids_differ_and_say_what_they_are() -> None:
    """A thousand ids in a row are a thousand ids."""
    ids = {new_id("run") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(text.startswith("run_") and len(text) == 36 for text in ids)


def result(**steps: StepResult) -> WorkflowResult:
    """A result of a run of a second with these steps."""
    statuses = {step.status for step in steps.values()}
    status = "failed" if "failed" in statuses else "success"
    return WorkflowResult("run_1", "wf_1", "w", status, steps, 0, 1_000_000)


def test_raise_for_status_names_the_first_culprit() -> None:
    """Run, step, attempt and cause are in the error, and the original exception is its cause."""
    cause = ValueError("boom")
    failed = StepResult("b", "failed", error="ValueError: boom", attempts=3, exception=cause)
    with pytest.raises(WorkflowExecutionError, match=r"'b' failed on attempt 3: ValueError: boom") as caught:
        result(a=StepResult("a", "success"), b=failed).raise_for_status()
    assert (caught.value.run_id, caught.value.step_id, caught.value.attempt) == ("run_1", "b", 3)
    assert caught.value.__cause__ is cause


def test_a_success_passes_raise_for_status_and_gives_its_outputs() -> None:
    """`raise_for_status` returns the result, so that calls can be chained."""
    good = result(a=StepResult("a", "success", output=1), b=StepResult("b", "skipped"))
    assert good.raise_for_status() is good
    assert good.outputs == {"a": 1}
    assert good.duration_ms == 1000
    assert good.completed_at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_a_step_that_is_none_is_named_with_what_is_near() -> None:
    """As with `run.step`; it stays the KeyError of a mapping, and `in` and `get` are those of a dict."""
    steps = result(load=StepResult("load", "success")).steps
    with pytest.raises(KeyError) as caught:
        _ = steps["laod"]
    assert isinstance(caught.value, UnknownNameError)
    assert str(caught.value) == "unknown step 'laod'; did you mean 'load'?"
    with pytest.raises(UnknownNameError, match="unknown step '1'"):
        _ = steps[1]  # type: ignore[index]
    assert "laod" not in steps
    assert steps.get("laod") is None
    assert steps == {"load": StepResult("load", "success")}
    assert pickle.loads(pickle.dumps(steps)) == copy.deepcopy(steps) == steps


def test_a_result_without_a_store_says_so() -> None:
    """Asking for the record of an unrecorded run is an error that names the run."""
    with pytest.raises(WorkflowExecutionError, match="run_1 was not recorded"):
        _ = result().run


def test_dict_outputs_read_as_attributes() -> None:
    """`output.x` and `output["x"]` are the same; a missing one names what is there."""
    output = OutputDict(casefile_id="cf_1")
    assert output.casefile_id == output["casefile_id"] == "cf_1"
    assert output == {"casefile_id": "cf_1"}
    with pytest.raises(AttributeError, match=r"no 'title'; it has casefile_id"):
        _ = output.title


def test_a_failed_response_raises_with_its_cause() -> None:
    """`raise_for_status` of a response chains the exception of the operation."""
    cause = KeyError("k")
    response = Response("op", "failed", error="KeyError: 'k'", exception=cause, metadata={"run_id": "run_1"})
    with pytest.raises(OperationError, match="'op' failed: KeyError") as caught:
        response.raise_for_status()
    assert caught.value.__cause__ is cause
    assert caught.value.run_id == "run_1"


def test_a_picture_that_fails_does_not_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A repr never hides the value: the text is shown, with the reason why there is no picture."""
    monkeypatch.setattr(display, "_views", {"module": "orchkit.no_such_module"})
    bundle = result()._repr_mimebundle_()
    assert list(bundle) == ["text/plain"]
    assert "run_1" in bundle["text/plain"]
    assert "no_such_module" in bundle["text/plain"]


def test_a_result_prints_as_a_short_text() -> None:
    """One line for the run, one for each step, with the error or the reason."""
    failed = StepResult("b", "failed", error="ValueError: boom")
    text = str(
        result(a=StepResult("a", "success"), b=failed, c=StepResult("c", "skipped", reason="b failed"))
    )
    assert text.splitlines() == [
        "w: failed after 1000 ms (run_1)",
        "  a: success",
        "  b: failed, ValueError: boom",
        "  c: skipped, b failed",
    ]


# --- reprs -----------------------------------------------------------------------------------


class Loud:
    """Its repr fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def test_the_repr_of_a_result_is_one_line() -> None:
    """Name, status, number of steps and id, however large the outputs are."""
    steps = {f"s{number}": StepResult(f"s{number}", "success", output="x" * 10**6) for number in range(1000)}
    assert repr(result(**steps)) == "<WorkflowResult w: success, 1,000 steps, run_1>"
    assert repr(result(a=StepResult("a", "failed"))) == "<WorkflowResult w: failed, 1 step, run_1>"


@pytest.mark.parametrize(
    "output",
    [
        "x" * 10**6,
        b"x" * 10**6,
        list(range(10**6)),
        OutputDict(dict.fromkeys(range(10**5), "y" * 100)),
        {"a": {"b": {"c": ["z" * 10**6]}}},
        10**5000,
        Loud(),
    ],
    ids=["text", "bytes", "list", "output", "nested", "number", "loud"],
)
def test_the_repr_of_a_step_is_short(output: object) -> None:
    """Also where all of the output would not be, and where it has no repr at all."""
    shown = repr(StepResult("a", "success", output=output, attempts=2))
    assert shown.startswith("StepResult(step_id='a', status='success', output=")
    assert shown.endswith(", attempts=2)")
    assert len(shown) < 1000


def test_the_repr_of_a_step_says_what_went_wrong() -> None:
    """What is not there is left out; small outputs are whole."""
    failed = StepResult("a", "failed", error="ValueError: no", reason="why", attempts=1)
    shown = "StepResult(step_id='a', status='failed', error='ValueError: no', reason='why', attempts=1)"
    assert repr(failed) == shown
    assert "output={'a': 1}" in repr(StepResult("a", "success", output={"a": 1}))


def test_a_table_in_a_repr_is_its_shape() -> None:
    """The repr of a DataFrame takes many lines."""
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": range(100)})
    assert "output=<DataFrame of shape (100, 1)>" in repr(StepResult("a", "success", output=frame))
