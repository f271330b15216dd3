"""When the record cannot be written: nothing is done that would not be on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from orchkit.errors import StoreError, StoreFullError
from orchkit.model.result import WorkflowResult


@pytest.fixture
def calls(lab: Any) -> list[str]:
    """``note`` writes its name down here."""
    names: list[str] = []

    async def note(name: str) -> str:
        names.append(name)
        return name

    lab.tool(note)
    return names


def full_at(lab: Any, monkeypatch: pytest.MonkeyPatch, is_full: Callable[[int], bool]) -> None:
    """Make the n-th commit (from 1) fail when ``is_full(n)``."""
    commit, count = lab.store.commit, 0

    def commit_or_not() -> None:
        nonlocal count
        count += 1
        if is_full(count):
            raise StoreFullError("no space left")
        commit()

    monkeypatch.setattr(lab.store, "commit", commit_or_not)


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_nothing_runs_whose_beginning_cannot_be_recorded(
    lab: Any, calls: list[str], monkeypatch: pytest.MonkeyPatch, durability: Any
) -> None:
    """The bodies are not called, nothing is retried, the caller gets the error."""
    full_at(lab, monkeypatch, lambda n: True)
    flow = lab.flow().with_error_handling("continue_on_failure")
    flow.add_step("note", {"name": "a"}, step_id="a", retry=5).add_step("note", {"name": "b"}, step_id="b")
    with pytest.raises(StoreFullError):
        lab.execute(flow, durability=durability)
    assert calls == []


def test_the_record_is_completed_when_there_is_space_again(
    lab: Any, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be written is not dropped: the next commit writes how the run ended."""
    with monkeypatch.context() as patch:
        full_at(lab, patch, lambda n: n > 1)
        flow = lab.flow(mode="sequential").add_step("note", {"name": "a"}, step_id="a")
        with pytest.raises(StoreFullError):
            lab.execute(flow.add_step("note", {"name": "b"}, step_id="b"))
    assert calls == ["a"]
    lab.store.commit()
    ends = [(e.step_id, e.payload["status"]) for e in lab.events(None, "step.finished")]
    assert ends == [("a", "success"), ("b", "failed")]
    assert lab.events()[-1].payload["status"] == "failed"


def test_a_moment_without_space_fails_the_steps_that_began_in_it(
    lab: Any, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later steps run; the run ends with an honest record."""
    full_at(lab, monkeypatch, lambda n: n == 2)
    flow = lab.flow(mode="sequential").with_error_handling("continue_on_failure")
    for name in "abc":
        flow.add_step("note", {"name": name}, step_id=name, retry=3)
    result = lab.execute(flow)
    assert calls == ["a", "c"]
    assert [step.status for step in result.steps.values()] == ["success", "failed", "success"]
    assert isinstance(result.steps["b"].exception, StoreFullError)
    assert lab.attempts(result.run_id, "b") == ["failed"]


def test_runs_that_share_a_commit_share_its_failure(
    lab: Any, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them gets the error; none is left waiting."""
    full_at(lab, monkeypatch, lambda n: n == 1)
    workflow = lab.flow().add_step("note", {"name": "${run.id}"}).build()

    async def main() -> list[WorkflowResult | BaseException]:
        return await asyncio.gather(*(lab.aexecute(workflow) for _ in range(10)), return_exceptions=True)

    results = lab.run(main())
    assert calls == []
    assert {result.status for result in results} == {"failed"}


def test_a_log_that_refuses_events_ends_the_run(
    lab: Any, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is that cannot be recorded, at any point: the error is raised and nothing goes on."""
    append, count = lab.store.append, 0
    flow = lab.flow(mode="sequential").add_step("note", {"name": "a"}, step_id="a")
    flow.add_step("note", {"name": "never"}, step_id="never", when="false")
    workflow = flow.add_map("note", ["x", "y"], {"name": "${item}"}, step_id="map").build()
    lab.execute(workflow)
    total = len(lab.events())
    for broken_from in range(1, total + 1):
        calls.clear()

        def refuse(*args: Any, limit: int = broken_from, **options: Any) -> None:
            nonlocal count
            count += 1
            if count >= limit:
                raise StoreError("the log is gone")
            append(*args, **options)

        count = 0
        monkeypatch.setattr(lab.store, "append", refuse)
        with pytest.raises(StoreError, match="the log is gone"):
            lab.run(asyncio.wait_for(lab.aexecute(workflow), 5))
        assert len(calls) <= 3
    assert calls == ["a", "x", "y"]
