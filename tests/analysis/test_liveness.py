"""Runs whose process is gone: told from those that go on, and explained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchkit.analysis.explain import explain_run, explain_step
from orchkit.analysis.facts import Facts
from orchkit.analysis.known import Known
from orchkit.analysis.liveness import given_up, is_cut_off, process_of, standing
from orchkit.model.workflow import Workflow
from orchkit.store.process import Process, this_process
from orchkit.store.store import Store

NOBODY = 2**22 + 1
"""A process id that Linux does not give."""
US = this_process()
GONE = replace(US, pid=NOBODY)
FLOW = Workflow.from_dict(
    {
        "name": "etl",
        "steps": [
            {"id": "load", "tool": "t", "compensate": "unload"},
            {"id": "finish", "tool": "t", "params": {"n": "${steps.load.n}"}},
            {"id": "tell", "tool": "t", "depends_on": ["finish"]},
        ],
    }
)


@pytest.fixture
def killed(recording: Any) -> Any:
    """A run of which the process was killed in the second of three steps."""
    run = recording().start(FLOW, **GONE.facts).ran("load", "t", ms=30)
    return run.begin("finish", "t").add("attempt.started", "finish", 1, ms=70)


@pytest.mark.parametrize(
    ("status", "process", "expected"),
    [
        ("running", GONE, True),
        ("paused", GONE, True),
        ("running", US, False),
        ("running", replace(US, born="another/boot/1"), True),
        ("running", replace(US, host="elsewhere", born="another/boot/1"), False),
        ("running", None, False),
        ("success", GONE, False),
        ("pending", GONE, False),
    ],
    ids=["gone", "gone, paused", "alive", "its number again", "elsewhere", "unknown", "ended", "not begun"],
)
def test_a_run_without_an_end_is_cut_off_when_its_process_is_gone(
    status: str, process: Process | None, expected: bool
) -> None:
    """Of runs of other machines, and of records without a process, nothing is claimed."""
    assert is_cut_off(status, process) is expected
    assert standing(_row(status, process)) == ("cut off" if expected else status)


def _row(status: str, process: Process | None, imported: bool = False) -> dict[str, Any]:
    """As in the view ``runs``."""
    facts = process.facts if process is not None else dict.fromkeys(("pid", "host", "born"))
    return {"run_id": "run_1", "status": status, "imported": imported, **facts}


def test_the_log_knows_more_than_the_record(killed: Any) -> None:
    """That nothing was heard for too long of another machine, or that a store was closed over a run."""
    elsewhere = replace(US, host="elsewhere", born="another/boot/1")
    assert standing(_row("running", elsewhere), {"run_1"}) == "cut off"
    assert standing(_row("success", elsewhere), {"run_1"}) == "success"
    for process, why in (
        (elsewhere, f"nothing has been heard for too long of process {US.pid} on elsewhere"),
        (US, "the store was closed before it had ended"),
    ):
        killed.add("run.resumed", **process.facts)
        assert not Facts(killed.state).cut_off
        assert Facts(killed.state, Known(given_up={"run_1"})).cut_off
        story = explain_run(killed.state, Known(given_up={"run_1"}))
        assert story.startswith(f"etl was cut off again after 100 ms: {why}.")


def test_who_is_given_up_is_asked_of_the_log(store: Store) -> None:
    """A run whose process is gone is, one that goes on here is not."""
    store.open_runs.begin("run_here", "workflow", "w")
    store.commit()
    assert given_up(store.open_runs) == frozenset()
    store.open_runs.close()
    assert given_up(store.open_runs) == {"run_here"}


@pytest.mark.parametrize("born", ["nonsense", "a/b", "a/b/c/d", 7, None])
def test_a_record_may_say_anything_of_its_process(born: object) -> None:
    """What cannot be a birth counts as none."""
    found = process_of(NOBODY, "h", born)
    assert found is not None
    assert found.born is None
    assert not is_cut_off("running", process_of(None, None, born))


def test_a_killed_run_explains_what_is_in_doubt(killed: Any) -> None:
    """The story says which process is gone, what nobody knows, and that nothing was undone."""
    assert explain_run(killed.state).split("\n") == [
        f"etl was cut off after 100 ms: process {NOBODY} on this machine is gone.",
        "Of 3 steps, 1 succeeded, 1 was cut off and 1 has not begun.",
        "In doubt: finish, whose first attempt had begun and whose end is not on record.",
        "Compensations did not run: what load did still stands.",
        'kit.resume("run_1") goes on from there: what was completed is not repeated.',
    ]


def test_the_steps_of_a_killed_run_explain_themselves(killed: Any) -> None:
    """What was running was cut off; what had not begun never will in this run."""
    assert explain_step(killed.state, "finish").startswith(
        f"finish was cut off on the first attempt: process {NOBODY} on this machine is gone, "
        "and its end is not on record."
    )
    assert explain_step(killed.state, "tell").startswith(
        "tell had not begun when the run was cut off; it waited for finish."
    )


def test_a_step_that_waited_for_its_next_attempt_is_not_in_doubt(killed: Any) -> None:
    """Its attempt had ended, and that is on record."""
    killed.add("attempt.finished", "finish", 1, status="failed", error="OSError: x")
    assert "In doubt" not in explain_run(killed.state)
    assert "finish was cut off before its second attempt:" in explain_step(killed.state, "finish")


def test_several_steps_in_doubt_are_named_together(killed: Any) -> None:
    """With the number of the attempt where it was not the first."""
    killed.begin("tell", "t").attempt("tell", 1, "failed").add("attempt.started", "tell", 2)
    story = explain_run(killed.state)
    assert "In doubt: finish and tell (attempt 2), whose attempts had begun and whose ends are not" in story
    assert "  2. was cut off" in explain_step(killed.state, "tell")


def test_a_compensation_can_be_in_doubt(killed: Any) -> None:
    """The step that it undoes says so too."""
    killed.add("attempt.finished", "finish", 1, status="failed").finish(
        "finish", "failed", error="OSError: x"
    )
    killed.begin("compensate:load", "unload", "compensation").add("attempt.started", "compensate:load", 1)
    assert "In doubt: compensate:load, whose first attempt had begun" in explain_run(killed.state)
    assert "Compensations did not run" not in explain_run(killed.state)
    assert "Undoing it was cut off: unload." in explain_step(killed.state, "load")


def test_a_run_that_another_process_took_over_is_alive(killed: Any) -> None:
    """The process that resumed a run is the one that counts."""
    assert Facts(killed.state).cut_off
    killed.add("run.resumed", **US.facts)
    assert not Facts(killed.state).cut_off
    assert explain_run(killed.state).startswith("etl is running: 1 of 3 steps over.")


@pytest.mark.parametrize(
    "process",
    [US, GONE, Process(NOBODY, "elsewhere"), None],
    ids=["this one", "gone", "elsewhere", "none on record"],
)
def test_an_imported_run_without_an_end_is_cut_off_whatever_its_process(process: Process | None) -> None:
    """A process of here with the same number is another one; what has ended has ended."""
    assert is_cut_off("running", process, imported=True)
    assert standing(_row("paused", process, imported=True)) == "cut off"
    assert not is_cut_off("success", process, imported=True)


def test_an_imported_run_says_where_its_record_ends(killed: Any) -> None:
    """Not that its process is gone, nor that nothing was undone: there it may have gone on."""
    killed.add("run.imported", ms=1e9, file="run.orchkit", host="lab-7", exported_at="2025-03-12T14:03:23Z")
    assert explain_run(killed.state).split("\n") == [
        "etl was cut off after 100 ms: it was exported on lab-7 before it had ended.",
        "Of 3 steps, 1 succeeded, 1 was cut off and 1 has not begun.",
        "In doubt: finish, whose first attempt had begun and whose end is not on record.",
        'kit.fork("run_1", …) begins a new run here that shares its results.',
    ]
    assert "finish was cut off on the first attempt: it was exported on lab-7 before it had ended" in (
        explain_step(killed.state, "finish")
    )


def test_an_imported_run_that_is_taken_up_here_goes_on_here(killed: Any) -> None:
    """From then on the process on record is one of this machine; a later import makes it foreign again."""
    killed.add("run.imported", host="lab-7").add("run.resumed", **US.facts)
    assert not Facts(killed.state).cut_off
    killed.add("run.imported")
    assert Facts(killed.state).cut_off
    assert "it was exported before it had ended" in explain_run(killed.state)


def test_a_run_resumed_by_its_own_process_keeps_it(killed: Any) -> None:
    """Going on after a pause names no process; that of the start holds."""
    killed.add("run.paused").add("run.resumed")
    assert process_of(killed.state.pid, killed.state.host, killed.state.born) == GONE
