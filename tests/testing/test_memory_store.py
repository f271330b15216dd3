"""A store in memory: what a test may ask of it, and that it is a store like any other."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

import orchkit as ok
from orchkit.engine.dispatch import Orchestrator
from orchkit.errors import StoreClosedError
from orchkit.store import codec
from orchkit.store.store import Store
from orchkit.testing import START_US, FakeClock, MemoryStore


async def double(n: int) -> int:
    """Twice the number."""
    return 2 * n


def test_events_are_given_in_order_and_filtered(memory: MemoryStore) -> None:
    """All, those of a kind, those of a run, and those of both."""
    for number, (kind, run) in enumerate([("a", "run_1"), ("b", "run_2"), ("a", None), ("a", "run_2")]):
        memory.append(kind, codec.dumps({"n": number}), run_id=run, step_id="s", attempt=number)
    memory.commit()

    def numbers(*filters: str | None) -> list[int]:
        return [event.payload["n"] for event in memory.log_events(*filters)]

    assert numbers() == [0, 1, 2, 3]
    assert numbers("a") == [0, 2, 3]
    assert numbers(None, "run_2") == [1, 3]
    assert numbers("a", "run_2") == [3]
    assert numbers("c") == numbers("a", "run_3") == []
    assert memory.kinds() == ["a", "b", "a", "a"]
    assert memory.kinds("run_2") == ["b", "a"]


def test_only_what_is_committed_is_given(memory: MemoryStore) -> None:
    """An event that is only buffered is not there yet."""
    memory.append("a", "{}")
    assert (memory.log_events(), memory.kinds()) == ([], [])
    memory.commit()
    assert memory.kinds() == ["a"]


def test_it_gives_the_very_events_that_the_history_gives() -> None:
    """Also those with large values, before and after they were moved to the history."""
    big = ["x" * 1000] * 100
    with ok.Kit(MemoryStore(clock=FakeClock())) as kit:
        store = kit.store
        assert isinstance(store, MemoryStore)
        kit.registry.methods.register_method(lambda: big, name="big")
        run_id = kit.run(kit.workflow("w").add_step("big").build()).run_id
        before = store.log_events(run_id=run_id)
        assert store.events(run_id) == before
        assert store.log_events(run_id=run_id) == before
        assert store.log_events("step.finished")[0].payload["output"] == big
        assert before[0].ts >= START_US
        assert len(kit.last.steps()) == 1
        assert kit.sql("SELECT count(*) AS n FROM events").n[0] == len(store.kinds())


def test_it_answers_after_the_end(memory: MemoryStore) -> None:
    """A closed store still tells what was written to it, and takes nothing more."""
    digest = memory.put_blob('"large"')
    memory.append("a", codec.dumps({"value": {"$blob": digest, "bytes": 7}}))
    memory.close()
    assert memory.log_events()[0].payload == {"value": "large"}
    assert memory.kinds() == ["a"]
    with pytest.raises(StoreClosedError):
        memory.append("b", "{}")


def test_an_unknown_value_is_an_error(memory: MemoryStore) -> None:
    """A hash that nothing was stored under is named."""
    with pytest.raises(ok.StoreError, match="has the hash nothing"):
        memory.blob("nothing")


def test_an_orchestrator_takes_it(memory: MemoryStore) -> None:
    """A dispatched operation is on it."""
    registry = ok.Registry()
    registry.methods.register_method(double)
    orchestrator = Orchestrator(registry=registry, store=memory)
    response = asyncio.run(orchestrator.dispatch(ok.Request("double", {"n": 2})))
    assert response.output == 4
    assert memory.kinds()[0] == "run.started"
    assert memory.kinds()[-1] == "run.finished"


def test_methods_that_ask_for_the_store_get_it(memory: MemoryStore) -> None:
    """A parameter of type `Store` is given the one in memory."""
    with ok.Kit(memory) as kit:

        def note(store: Store) -> bool:
            return store is memory

        kit.registry.methods.register_method(note)
        assert kit.run(kit.workflow("w").add_step("note").build()).outputs == {"note": True}


QUICK = """
import asyncio, sys, threading
import orchkit as ok
from orchkit.testing import MemoryStore

async def double(n: int) -> int:
    return 2 * n

store = MemoryStore()
with ok.Kit(store) as kit:
    kit.registry.methods.register_method(double)
    result = asyncio.run(kit.execute(kit.workflow("w").add_step("double", {"n": 1}).build()))
    assert store.log_events("run.finished", result.run_id)[0].payload["status"] == "success"
    assert "orchkit-store" not in {thread.name for thread in threading.enumerate()}
print(sorted({"duckdb", "pandas", "numpy"} & set(sys.modules)))
"""


def test_a_test_without_sql_pays_for_no_history() -> None:
    """A run on it, and all questions about its events, load neither DuckDB nor pandas, nor ever will."""
    done = subprocess.run([sys.executable, "-c", QUICK], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
