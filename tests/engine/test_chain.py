"""Chains: each tool gets the output of the one before it."""

from __future__ import annotations

from typing import Any

import pytest

from orchkit.engine.chain import ChainExecutor
from orchkit.errors import DefinitionError, UnknownNameError, WorkflowValidationError


@pytest.fixture
def chains(lab: Any) -> ChainExecutor:
    """A chain executor over the tools ``read``, ``count``, ``scale``, ``nothing``."""

    async def read(city: str = "Lund") -> dict[str, Any]:
        return {"city": city, "rows": [1, 2, 3]}

    async def count(table: dict[str, Any], start: int = 0) -> int:
        return start + len(table["rows"])

    def scale(factor: int = 2, *, value: int) -> int:
        return value * factor

    def optional(value: int = 0) -> int:
        return value + 100

    async def nothing() -> int:
        return 5

    for function in (read, count, scale, optional, nothing):
        lab.tool(function)
    return ChainExecutor(lab.engine)


@pytest.mark.parametrize(
    ("links", "output"),
    [
        (["read"], {"city": "Lund", "rows": [1, 2, 3]}),
        (["read", "count"], 3),
        (["read", "count", "scale"], 6),
        (["read", "count", "scale", "scale"], 12),
        (["read", ("count", {"table": "${previous}", "start": 10})], 13),
        (
            [("read", {"city": "${context.city}"}), ("scale", {"value": 1, "factor": "${previous.rows[2]}"})],
            3,
        ),
        (["nothing", "optional"], 105),
        (["read", "count", ("optional", {})], 100),
    ],
)
def test_a_chain_hands_its_value_on(lab: Any, chains: ChainExecutor, links: list[Any], output: Any) -> None:
    """To the first required parameter, or wherever ``${previous}`` stands."""
    result = lab.run(chains.execute_chain(links, context={"city": "Ghent"}))
    assert list(result.outputs.values())[-1] == output


def test_a_tool_gets_the_value_in_its_own_parameter(lab: Any, chains: ChainExecutor) -> None:
    """A tool with parameters of its own is called by those, not by those of its method."""

    def work(value: int, times: int = 1) -> int:
        return value * times

    lab.tool(work)
    lab.registry.tools.register_tool("measure", "work", parameters={"times": int, "value": (int, 7)})
    result = lab.run(chains.execute_chain(["nothing", "measure"]))
    assert result.outputs == {"nothing": 5, "measure": 35}


def test_a_chain_is_a_sequential_workflow(lab: Any, chains: ChainExecutor) -> None:
    """With ids of its own for tools that come twice; recorded like any run."""
    workflow = chains.build_chain(["read", "count", "scale", "scale"], name="figures")
    assert (workflow.name, workflow.execution_mode) == ("figures", "sequential")
    assert [step.step_id for step in workflow.steps] == ["read", "count", "scale", "scale_2"]
    result = lab.run(chains.execute_chain(["read", "count"], "u_1", name="figures"))
    (started,) = lab.events(result.run_id, "run.started")
    assert (started.payload["name"], started.payload["user_id"]) == ("figures", "u_1")


@pytest.mark.parametrize(
    ("links", "error", "complaint"),
    [
        ([], DefinitionError, "at least one tool"),
        (["read", "nothing"], DefinitionError, "'nothing' takes no parameter"),
        (
            [("read", {"city": "${previous}"})],
            DefinitionError,
            r"the first tool of a chain has no \$\{previous\}",
        ),
        (["raed"], UnknownNameError, "did you mean 'read'"),
        (["read", ("count", {"tabel": "${previous}"})], WorkflowValidationError, "did you mean 'table'"),
    ],
)
def test_a_chain_that_does_not_fit_is_refused(
    lab: Any, chains: ChainExecutor, links: list[Any], error: type[Exception], complaint: str
) -> None:
    """Before anything runs."""
    with pytest.raises(error, match=complaint):
        lab.run(chains.execute_chain(links))
    assert lab.events() == []
