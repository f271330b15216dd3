"""What people pass by mistake, and what they are told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import orchkit as ok
from orchkit.errors import DefinitionError, ParameterError, PolicyError, RegistrationError
from orchkit.registry.registry import Registry


def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture
def kit() -> Any:
    """A kit in memory with one tool."""
    registry = Registry()
    registry.methods.register_method(add)
    with ok.open(registry=registry) as opened:
        yield opened


def test_a_builder_is_not_a_workflow(kit: ok.Kit) -> None:
    """Forgetting `build()` is said, through every door."""
    builder: Any = kit.workflow("w").add_step("add", {"a": 1})
    for door in (kit.run, kit.start):
        with pytest.raises(DefinitionError, match=r"not a WorkflowBuilder: call its build\(\) first"):
            door(builder)
    with pytest.raises(DefinitionError, match="expected a Workflow, not a str"):
        asyncio.run(kit.execute("w"))  # type: ignore[arg-type]


@pytest.mark.parametrize("request_", ["add", {"operation": "add"}, None])
def test_a_request_is_a_request(kit: ok.Kit, request_: Any) -> None:
    """`dispatch` says what it wants."""
    with pytest.raises(ParameterError, match=r"expected a Request, got .*write Request\("):
        asyncio.run(kit.dispatch(request_))


def test_durability_is_checked_when_the_store_is_opened(tmp_path: Path) -> None:
    """A misspelt durability is not found out at the first run, and no file is made."""
    with pytest.raises(ParameterError, match=r"unknown value 'full'.*sync, async, exit"):
        ok.open(tmp_path / "runs.duckdb", durability="full")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_policies_are_taken_in_every_form(tmp_path: Path) -> None:
    """A mapping, a file and a policy engine mean the same."""
    data = {"policies": {"add": {"retry": 5}}}
    file = tmp_path / "policies.yaml"
    file.write_text("policies:\n  add: {retry: 5}\n", encoding="utf-8")
    for policies in (data, file, str(file), ok.PolicyEngine.of(data)):
        with ok.open(policies=policies) as kit:
            retry = kit.policies.get_policy("add").retry
            assert retry is not None
            assert retry.max_attempts == 5


@pytest.mark.parametrize(
    ("policies", "message"),
    [
        (
            {"policies": {"add": {"timeot": 2}}},
            r"policy 'add': there is no field 'timeot' \(did you mean 'timeout'\?\)",
        ),
        ({"policies": {"add": {"retry": {"max_attempts": 0}}}}, "retry.max_attempts is 0"),
        ({"policies": {"a*": {}}}, "only a trailing"),
        ({"policy": {}}, "expected a mapping under 'policies'"),
        ("nowhere.yaml", "cannot read nowhere.yaml"),
        ("policies: [", "not YAML"),
    ],
)
def test_a_wrong_policy_is_named(policies: Any, message: str) -> None:
    """The pattern, the field and the likely meaning are in the error; nothing is opened."""
    with pytest.raises(PolicyError, match=message) as caught:
        ok.open(policies=policies)
    assert "pydantic" not in str(caught.value)


class Wrong:
    """A hook that forgot its argument."""

    def before(self) -> None:
        """Take nothing."""


class WrongLater:
    """A hook that wants too much."""

    def after(self, call: Any, response: Any, more: Any) -> None:
        """Take three."""


@pytest.mark.parametrize(
    ("hook", "call"), [(Wrong(), r"before\(call\)"), (WrongLater(), r"after\(call, response\)")]
)
def test_a_hook_that_could_not_be_called_is_refused(kit: ok.Kit, hook: Any, call: str) -> None:
    """A wrong signature is said when the hook is registered, not in an event that nobody reads."""
    with pytest.raises(RegistrationError, match=f"cannot be called as {call}"):
        kit.hooks.register_hook("mine", hook)


def test_what_cannot_be_data_is_refused_at_build(kit: ok.Kit) -> None:
    """A parameter that cannot go on the record is named, and the way to pass it."""

    def takes(value: object, n: int = 0) -> None:
        """Take anything."""

    builder = kit.workflow("w").add_step(takes, {"value": object(), "n": 2})
    with pytest.raises(
        ok.WorkflowValidationError, match="parameter 'value': a object cannot be part"
    ) as caught:
        builder.build()
    assert len(caught.value.problems) == 1


def test_executions_of_an_unknown_session_make_no_session(kit: ok.Kit) -> None:
    """The view of sessions holds those that were created."""
    asyncio.run(kit.dispatch(ok.Request("add", {"a": 1}, session_id="ses_elsewhere")))
    session = asyncio.run(kit.sessions.find_or_create_session("u_1"))
    asyncio.run(kit.dispatch(ok.Request("add", {"a": 1}, session_id=session.session_id)))
    assert kit.store.query("SELECT session_id, executions FROM sessions") == [(session.session_id, 1)]
