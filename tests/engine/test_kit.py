"""The kit: what it wires together, and how it lets go of it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import orchkit as ok
from orchkit.engine import compiled
from orchkit.errors import StoreError
from orchkit.model.policy import OperationPolicy, RetryPolicy
from orchkit.model.request import Request
from orchkit.testing import FakeClock


class Database:
    """A service that notes when it is closed."""

    def __init__(self, closed: list[str], name: str, *, fails: bool = False) -> None:
        self._closed, self._name, self._fails = closed, name, fails

    def close(self) -> None:
        self._closed.append(self._name)
        if self._fails:
            raise OSError(f"{self._name} does not close")


class OtherDatabase(Database):
    """A service of another type."""


async def work(n: int = 0, fails: int = 0) -> int:
    """Fail as long as the number is below the limit."""
    if n < fails:
        raise ValueError("not yet")
    return n


def test_what_is_registered_in_a_kit_is_seen_by_it_alone() -> None:
    """Its registry is over the default one; another kit has another."""
    with ok.open() as one, ok.open() as two:
        one.registry.methods.register_method(work, name="kit_work")
        assert one.run(one.workflow("w").add_step("kit_work", {"n": 3}).build()).outputs == {"kit_work": 3}
        with pytest.raises(ok.WorkflowValidationError, match="unknown tool or method 'kit_work'"):
            two.workflow("w").add_step("kit_work", {"n": 3}).build()
        with pytest.raises(ok.UnknownNameError):
            ok.Registry().resolve("kit_work")


def test_policies_clock_and_durability_are_those_that_were_given() -> None:
    """A retry of an hour costs nothing on a virtual clock."""
    retry = RetryPolicy(strategy="fixed", delay=3600, max_delay=3600, max_attempts=2, jitter="none")
    clock = FakeClock()
    policies = ok.PolicyEngine([OperationPolicy(pattern="desk.*", retry=retry)])
    with ok.open(policies=policies, clock=clock, durability="exit") as kit:
        kit.registry.methods.register_method(work, domain="desk")
        result = asyncio.run(kit.execute(kit.workflow("w").add_step("work", {"fails": 1}).build()))
        assert (result.status, result.steps["work"].attempts, clock.monotonic()) == ("failed", 2, 3600)
        assert kit.store.query("SELECT durability FROM runs") == [("exit",)]


def test_metrics_count_since_the_kit_was_opened() -> None:
    """Per operation, over workflows and dispatches."""
    with ok.open() as kit:
        kit.registry.methods.register_method(work, domain="desk")
        kit.run(kit.workflow("w").add_map("work", [1, 2, 3]).build())
        asyncio.run(kit.dispatch(Request("desk.work", {"fails": 1})))
        counts = kit.metrics()["desk.work"]
    assert (counts["calls"], counts["failures"]) == (4, 1)
    assert counts["mean_ms"] > 0


def test_closing_a_kit_closes_its_services_and_its_store() -> None:
    """The newest first; one that fails does not keep the others, and is named."""
    closed: list[str] = []
    kit = ok.open()
    kit.services.register(Database, Database(closed, "first"))
    kit.services.register(OtherDatabase, OtherDatabase(closed, "second", fails=True))
    with pytest.raises(OSError, match="second does not close"):
        kit.close()
    assert closed == ["second", "first"]
    assert kit.store.closed
    kit.close()
    assert closed == ["second", "first"]


def test_a_kit_closes_when_its_block_ends(tmp_path: Path) -> None:
    """Also when the block raises."""
    with pytest.raises(KeyError), ok.open(tmp_path / "runs.duckdb") as kit:
        raise KeyError
    assert kit.store.closed


@pytest.mark.parametrize("path", ["", "missing/runs.duckdb"])
def test_a_path_that_cannot_be_a_store_is_refused(tmp_path: Path, path: str) -> None:
    """The error names the folder and what to do."""
    with pytest.raises(StoreError, match=str(tmp_path)):
        ok.open(tmp_path / path)


def test_a_changed_registry_takes_effect_at_the_next_run() -> None:
    """A workflow that was run before is looked at again."""
    with ok.open() as kit:
        kit.registry.methods.register_method(work)
        workflow = kit.workflow("w").add_step("work", {"n": 1}).build()
        assert kit.run(workflow).success
        kit.registry.methods.unregister("work")
        with pytest.raises(ok.WorkflowValidationError, match="unknown tool or method 'work'"):
            kit.run(workflow)


def test_many_workflows_from_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """More workflows than are kept compiled, run again and again, each gives its own result."""
    monkeypatch.setattr(compiled, "KEPT", 3)
    with ok.open(durability="exit") as kit:
        kit.registry.methods.register_method(work)
        workflows = [kit.workflow(f"w{n}").add_step("work", {"n": n}).build() for n in range(9)]
        with ThreadPoolExecutor(6) as pool:
            results = list(pool.map(lambda n: kit.run(workflows[n % 9]), range(180)))
    assert [result.outputs["work"] for result in results] == [n % 9 for n in range(180)]


def test_a_sub_workflow_that_is_large_is_described_once() -> None:
    """A definition beyond 64 KB is kept by its hash, however often it runs."""
    with ok.open() as kit:
        kit.registry.methods.register_method(work)
        inner = kit.workflow("inner").with_execution_mode("parallel")
        for n in range(700):
            inner.add_step("work", {"n": n}, step_id=f"a-rather-long-name-of-a-step-that-does-little-{n}")
        outer = kit.workflow("outer").add_workflow(inner.build(), step_id="a")
        workflow = outer.add_workflow(inner.build(), step_id="b").build()
        for _ in range(2):
            assert kit.run(workflow, durability="exit").success
        # The definitions of `inner` and of `outer`, and the source of their tool.
        assert kit.store.query("SELECT count(*) FROM blob") == [(3,)]
