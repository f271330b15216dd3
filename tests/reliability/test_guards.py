"""The tables of a kit: what policies keep between calls, seen and taken in hand."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

import orchkit as ok
from orchkit.errors import BreakerOpenError, UnknownNameError
from orchkit.testing import FakeClock, MemoryStore


@pytest.fixture
def kit() -> Any:
    """A kit in memory with a tool that fails."""
    with ok.Kit(MemoryStore(clock=FakeClock())) as made:

        async def fails() -> None:
            raise OSError("no")

        made.registry.methods.register_method(fails)
        yield made


def run(kit: Any, **policies: Any) -> Any:
    """One run of the failing tool."""
    return asyncio.run(kit.execute(kit.workflow("w").add_step("fails", **policies).build()))


def test_tables_show_what_is_in_use(kit: Any) -> None:
    """A line each, as text and as a DataFrame; nothing before the first call."""
    assert repr(kit.breakers) == "<Breakers: none used yet>"
    retry = {"strategy": "immediate", "max_attempts": 4, "budget": {"name": "mail", "capacity": 12}}
    run(kit, breaker="mail", retry=retry, bulkhead={"name": "mail", "max_concurrent": 3}, rate_limit=5)
    assert repr(kit.breakers).splitlines() == [
        "name  state  failures  probes_in_s  rejected",
        "mail  open   0         60           0",
    ]
    assert repr(kit.budgets).splitlines() == [
        "name  tokens  capacity  denied",
        "mail  2       12        1",
    ]
    assert kit.bulkheads.frame().to_dict("records") == [
        {"name": "mail", "running": 0, "max_concurrent": 3, "waiting": 0, "rejected": 0}
    ]
    assert list(kit.rate_limits.frame().columns) == ["name", "limit", "period_s", "burst", "rejected"]
    assert str(kit.breakers["mail"]) == "<CircuitBreaker 'mail': open>"
    assert str(kit.budgets["mail"]) == "<Budget 'mail': 2 of 12 tokens>"
    assert str(kit.bulkheads["mail"]) == "<Bulkhead 'mail': 0 of 3 places taken, 0 waiting>"
    assert str(kit.rate_limits["fails"]) == "<RateLimit 'fails': 5 per 1 s>"


def test_notebooks_show_them_as_tables(kit: Any) -> None:
    """Through the same port as all records, empty or not."""
    for table in (kit.breakers, kit.budgets, kit.bulkheads, kit.rate_limits):
        assert "<table" in _html(table) or "Nothing" in _html(table)
    run(kit, breaker="mail")
    assert "mail" in _html(kit.breakers)


def _html(table: Any) -> str:
    html: str = table._repr_mimebundle_()["text/html"]
    return html


def test_a_name_that_is_not_there_is_told_with_what_is_like_it(kit: Any) -> None:
    """As everywhere else."""
    run(kit, breaker="mail")
    with pytest.raises(UnknownNameError, match="did you mean 'mail'"):
        kit.breakers["mial"]
    with pytest.raises(UnknownNameError):
        kit.budgets["mail"]
    assert "mial" not in kit.breakers
    assert dict(kit.breakers).keys() == {"mail"}


def test_a_breaker_can_be_taken_in_hand_before_its_first_call(kit: Any) -> None:
    """Then its first calls are rejected, until it is enabled."""
    kit.breakers.force_open("mail", "maintenance")
    error = run(kit, breaker="mail").steps["fails"].exception
    assert isinstance(error, BreakerOpenError)
    assert error.state == "forced_open"
    kit.breakers.enable("mail")
    assert run(kit, breaker="mail").steps["fails"].error == "OSError: no"
    kit.breakers.disable("mail")
    kit.breakers.reset("mail", "done")
    told = [(e.payload["to_state"], e.payload["reason"]) for e in kit.store.log_events("breaker.transition")]
    assert told == [
        ("forced_open", "maintenance"),
        ("closed", "enabled by hand"),
        ("disabled", "disabled by hand"),
        ("closed", "done"),
    ]


def test_resetting_a_budget_is_on_the_record(kit: Any) -> None:
    """With what was in it before, and why."""
    run(kit, retry={"strategy": "immediate", "max_attempts": 9, "budget": 12})
    kit.budgets["fails"].reset("the service is back")
    assert kit.budgets["fails"].tokens == 12
    assert [json.loads(json.dumps(e.payload)) for e in kit.store.log_events("budget.reset")] == [
        {"name": "fails", "from_tokens": 2, "to_tokens": 12, "reason": "the service is back"}
    ]


def test_breakers_of_earlier_processes_are_in_the_table(tmp_path: Path) -> None:
    """The store remembers those that ever changed; they can be seen and reset without a call."""
    path = tmp_path / "runs.duckdb"
    with ok.open(path) as kit:
        kit.breakers.force_open("mail")
    with ok.open(path) as kit:
        assert list(kit.breakers) == ["mail"]
        assert kit.breakers["mail"].state == "forced_open"
        kit.breakers["mail"].reset()
        rows = kit.sql("SELECT breaker, to_state, manual FROM breaker_transitions ORDER BY seq")
    assert rows.values.tolist() == [["mail", "forced_open", True], ["mail", "closed", True]]


def test_a_closed_kit_still_shows_its_tables(tmp_path: Path) -> None:
    """A repr never raises; what would have to be written does."""
    kit = ok.open(tmp_path / "runs.duckdb")
    kit.breakers.force_open("mail")
    kit.close()
    assert "forced_open" in repr(kit.breakers)
    assert "mail" in _html(kit.breakers)
    with pytest.raises(ok.StoreClosedError):
        kit.breakers["mail"].reset()
