"""Forks that are cut off: they go on as the forks that they are."""

from __future__ import annotations

import threading
from typing import Any

import pytest


@pytest.fixture
def forked(lab: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``(lab, result, calls, commits)``: a fork, what is called from now on, and where each commit ended.

    While it ran another thread committed whenever it could.
    """
    calls: list[str] = []

    async def work(name: str, after: Any = None) -> str:
        calls.append(name)
        return f"{after} {name}"

    lab.tool(work)
    inner = lab.flow("inner").add_step("work", {"name": "i", "after": "${context.v}"}, step_id="i").build()
    flow = lab.flow().add_step("work", {"name": "a"}, step_id="a")
    flow.add_workflow(inner, {"v": "${steps.a}"}, step_id="sub")
    flow.add_map("work", ["p", "q"], {"name": "${item}"}, step_id="m")
    flow.add_step("work", {"name": "b", "after": ["${steps.a}", "${steps.m}"]}, step_id="b")
    flow.add_step("work", {"name": "c", "after": ["${steps.b}", "${steps.sub.i}"]}, step_id="c")
    source = lab.execute(flow).run_id
    append = lab.store.log.append

    def append_and_commit(row: Any, *, durable: bool) -> None:
        append(row, durable=durable)
        threads.append(threading.Thread(target=lab.store.commit))
        threads[-1].start()
        threads[-1].join(0.005)

    threads: list[threading.Thread] = []
    monkeypatch.setattr(lab.store.log, "append", append_and_commit)
    commits: list[int] = []
    lab.store.subscribe(lambda rows: commits.append(rows[-1][0]))
    result = lab.engine.fork(source, "b", {"m": {"output": ["given"]}}).result(30)
    for thread in threads:
        thread.join()
    monkeypatch.undo()
    calls.clear()
    return lab, result, calls, commits


def test_a_fork_goes_on_wherever_it_was_cut_off(forked: Any) -> None:
    """What it shares and what it was given are on record with its beginning, or nothing is."""
    lab, result, calls, commits = forked
    seqs = [event.seq for event in lab.events()]
    done = {"a", "sub", "m"}
    for seq in commits[:-1]:
        rest = lab.cut(seqs.index(seq) + 1)
        state = rest.states()[result.run_id]
        assert {step_id for step_id, step in state.steps.items() if step.status == "success"} >= done
        calls.clear()
        assert rest.go_on(result.run_id).outputs == result.outputs
        assert calls in (["b", "c"], ["c"], [])
        assert rest.states()[result.run_id].steps["a"].source == {
            "how": "fork",
            "run_id": state.forked_from["run_id"],
            "step_id": "a",
        }
    assert len(commits) > 4
