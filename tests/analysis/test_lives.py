"""Runs that were taken up again: when, what was kept, what ran again and why."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest

from orchkit.analysis.explain import explain_run, explain_step
from orchkit.analysis.facts import Facts
from orchkit.analysis.lives import lives
from orchkit.analysis.words import moment
from orchkit.model.workflow import Workflow
from orchkit.store.process import this_process

US = this_process().facts
FLOW = Workflow.from_dict(
    {
        "name": "etl",
        "execution_mode": "dag",
        "steps": [
            {"id": "load", "tool": "t", "compensate": "unload"},
            {"id": "clean", "tool": "t", "params": {"n": "${steps.load}"}},
            {"id": "store", "tool": "t", "params": {"n": "${steps.clean}"}},
        ],
    }
)
NOT_KNOWN = "whether it took effect is not known"


def resumed(run: Any, decision: str = "go_on", why: str = "its process had ended", **inputs: Any) -> Any:
    """The run is taken up again in this process, ten seconds later."""
    run.add("run.resumed", ms=10_000, **US, **inputs, **({"anew": True} if decision == "try_again" else {}))
    return run.decided(None, "resume", decision, f"{why}: 1 kept", input_data=inputs)


def cut_off(recording: Any) -> Any:
    """A run that was killed in the second of its steps."""
    run = recording().start(FLOW, **US).ran("load", "t")
    return run.begin("clean", "t").add("attempt.started", "clean", 1)


def doubted(run: Any, step: str, number: int, decision: str = "rerun", more: str = "") -> Any:
    """What was decided about an attempt in doubt."""
    why = f"attempt {number} had begun when its process ended: {NOT_KNOWN}{more}"
    return run.decided(step, "resume", decision, why, attempt=number, input_data={"in_doubt": True})


def again(run: Any, step: str, number: int) -> Any:
    """A step that is run once more, and succeeds."""
    return run.begin(step, "t").attempt(step, number).finish(step, tool="t", attempts=number)


def test_a_resumed_run_tells_its_lives(recording: Any) -> None:
    """When it was taken up, what was kept and what was in doubt; the doubt is no retry."""
    run = resumed(cut_off(recording), kept=["load"], in_doubt=["clean"])
    again(again(doubted(run, "clean", 1), "clean", 2), "store", 1).end()
    assert explain_run(run.state) == dedent(
        """\
        etl succeeded after 10 s, resumed once: all 3 steps succeeded.
        Resumed at 2025-03-12 14:03:32 UTC because its process had ended:
          kept: load
          again, in doubt whether it took effect: clean (attempt 1)
        On the record: 2 decisions by the engine."""
    )
    assert explain_step(run.state, "clean") == dedent(
        """\
        clean called t and succeeded on the second attempt after 10 ms.
        When the run was resumed at 2025-03-12 14:03:32 UTC, it was to run again, because its first attempt \
had begun when the process ended, and whether it took effect is not known.
        It came after load (it uses ${steps.load}).
        It could begin 10 s into the run, when that was resumed.
        Its 2 attempts:
          1. is in doubt: it had begun when the process ended; whether it took effect is not known
          2. succeeded after 10 ms"""
    )
    assert "When the run was resumed at 2025-03-12 14:03:32 UTC, its result was kept." in explain_step(
        run.state, "load"
    )
    assert "resumed" not in explain_step(run.state, "store")


def test_changed_code_is_named(recording: Any) -> None:
    """Each changed step with what changed about it, and what comes after them."""
    run = recording().start(FLOW, **US).ran("load", "t").ran("clean", "t").ran("store", "t")
    changed = {"load": "the code of t was edited"}
    resumed(run, kept=[], again=["load", "clean", "store"], changed=changed)
    story = explain_run(run.state).split("\n")
    assert story[1:4] == [
        "Resumed at 2025-03-12 14:03:32 UTC because its process had ended:",
        "  again, changed: load (the code of t was edited)",
        "  again, after those: clean and store",
    ]
    assert "it was to run again, because the code of t was edited." in explain_step(run.state, "load")
    assert "because it comes after others that did." in explain_step(run.state, "store")


def test_changed_code_that_was_to_be_kept(recording: Any) -> None:
    """With ``on_change="keep"`` both are said; a changed step in doubt runs again for both reasons."""
    changed = {"load": "the code of t was edited", "clean": "version 1 of t became 2"}
    run = resumed(cut_off(recording), kept=["load"], in_doubt=["clean"], changed=changed)
    doubted(run, "clean", 1)
    assert explain_run(run.state).split("\n")[2:4] == [
        "  kept, though changed: load (the code of t was edited)",
        "  again, changed: clean (version 1 of t became 2; in doubt: attempt 1)",
    ]
    assert "its result was kept, though the code of t was edited." in explain_step(run.state, "load")
    assert (
        "because version 1 of t became 2; and its first attempt had begun when the process ended, "
        "and whether it took effect is not known." in explain_step(run.state, "clean")
    )


def test_a_run_that_had_ended_is_tried_again(recording: Any) -> None:
    """What had failed, and what had been undone, is told apart from what was kept."""
    run = recording().start(FLOW, **US).ran("load", "t").failed("clean", "OSError: x", "t")
    run.skipped("store", "step 'clean' failed").ran("compensate:load", "unload").end("failed", "OSError: x")
    resumed(run, "try_again", "it had ended failed", kept=[], again=["load"])
    again(again(again(run, "load", 2), "clean", 2), "store", 1).end()
    story = explain_run(run.state)
    assert "Resumed at 2025-03-12 14:03:32 UTC because it had ended failed:" in story
    assert "\n  again, undone before: load\n  again, without success before: clean (failed)\n" in story
    assert "because it had been undone." in explain_step(run.state, "load")
    assert "because it had not succeeded." in explain_step(run.state, "clean")


def test_what_is_left_in_doubt_is_said(recording: Any) -> None:
    """A step that is not run again, because the run had failed already."""
    run = resumed(cut_off(recording), kept=["load"], in_doubt=["clean"])
    doubted(run, "clean", 1, "leave", "; it is left at that, because 'load' had failed")
    assert "  not again, though in doubt whether it took effect: clean (attempt 1)" in explain_run(run.state)
    assert "it was not run again: it is left at that, because 'load' had failed." in explain_step(
        run.state, "clean"
    )


def test_the_items_of_a_map_are_counted(recording: Any) -> None:
    """Several of one map together, one by its name."""
    run = recording().start("w", **US)
    resumed(run, kept=["a", "m[0]", "m[1]", "n[4]"])
    assert "  kept: a, 2 items of m and n[4]" in explain_run(run.state)


def test_every_life_has_its_lines(recording: Any) -> None:
    """A run that was cut off twice says so, with both times; in between it was cut off again."""
    run = resumed(cut_off(recording), kept=["load"], in_doubt=["clean"])
    assert [life.at_us for life in lives(Facts(run.state))] == [run.now_us]
    doubted(run, "clean", 1).begin("clean", "t").add("attempt.started", "clean", 2)
    doubted(resumed(run, kept=["load"], in_doubt=["clean"]), "clean", 2)
    again(again(run, "clean", 3), "store", 1).end()
    story = explain_run(run.state)
    assert story.startswith("etl succeeded after 20 s, resumed 2 times: all 3 steps succeeded.")
    assert story.count("Resumed at") == 2
    assert "clean (attempt 1)" in story
    assert "clean (attempt 2)" in story


def test_a_step_that_has_not_begun_again_is_in_doubt_still(recording: Any) -> None:
    """Cut off before it was tried again: it is named, and what it waits for."""
    run = resumed(cut_off(recording), kept=["load"], in_doubt=["clean"])
    assert explain_step(run.state, "clean").startswith("clean has not begun again.")
    run.add("run.imported")  # cut off, whoever runs it
    assert "In doubt: clean, whose first attempt had begun" in explain_run(run.state)
    assert explain_step(run.state, "clean").startswith("clean had not begun again when the run was cut off.")


def test_a_request_that_was_taken_over(recording: Any) -> None:
    """An orchestrator's run goes on when somebody makes its request again."""
    run = recording().start("sums", kind="orchestrator", **US).begin("sums", "sums")
    run.add("attempt.started", "sums", 1).add("run.resumed", ms=500, **US)
    why = "the process that executed it is gone"
    run.decided(None, "idempotency", "take_over", why, input_data={"key": "k"})
    run.begin("sums", "sums").attempt("sums", 2, ms=1).finish("sums", tool="sums").end()
    assert explain_run(run.state).split("\n")[:2] == [
        "The orchestrator sums succeeded after 501 ms, resumed once.",
        f"Taken over by another request with its key at {moment(run.events[2].ts)} because {why}.",
    ]


@pytest.mark.parametrize(
    "inputs", [None, "nonsense", {"kept": 3, "changed": ["x"], "in_doubt": "y", "again": 1}]
)
def test_strange_records_are_told_as_far_as_they_go(recording: Any, inputs: Any) -> None:
    """What somebody else has written, or an older version, raises nothing."""
    run = cut_off(recording).add("run.resumed", **US)
    run.decided(None, "resume", "go_on", None, input_data=inputs)
    assert "Resumed at 2025-03-12 14:03:22 UTC because somebody asked for it" in explain_run(run.state)
    assert explain_step(run.state, "clean")


def test_the_words_of_a_step_are_its_own(recording: Any) -> None:
    """Decisions of the user's code at points of the same names are told like any other."""
    run = recording().start("w").begin("a", "t")
    for point in ("resume", "fork", "retry", "idempotency"):
        run.decided("a", point, "yes", "mine", origin="user")
    story = explain_step(run.attempt("a", 1).finish("a", tool="t").state, "a")
    assert "4 decisions by the steps:\n  resume: yes, because mine\n  fork: yes, because mine\n" in story
