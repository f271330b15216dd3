"""The workflows that the API was asked for, executed as they were written; only the import is another."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from orchkit import WorkflowBuilder, WorkflowEngine
from orchkit.model.result import WorkflowResult
from orchkit.registry.registry import Registry


class Casefile(BaseModel):
    """What creating a casefile gives, as a model."""

    casefile_id: str
    title: str


class Tools:
    """What the workflows call; the two searches only end when both have begun."""

    def __init__(self) -> None:
        self._meeting = asyncio.Barrier(2)

    def create_session(self, casefile_id: str) -> dict[str, str]:
        return {"session_id": f"s-{casefile_id}"}

    async def store_gmail_messages(self, casefile_id: str, query: str) -> dict[str, int]:
        return {"messages_stored": len(query)}

    async def search_gmail(self, query: str) -> list[str]:
        await asyncio.wait_for(self._meeting.wait(), 10)
        return ["gmail"]

    async def list_drive_files(self, folder: str) -> list[str]:
        await asyncio.wait_for(self._meeting.wait(), 10)
        return ["drive"]

    def batch_get_sheets(self, sheet_ids: list[str]) -> list[str]:
        return sheet_ids

    def fetch_data(self, source: str = "") -> dict[str, list[str]]:
        return {"emails": [f"{source} 1", f"{source} 2"], "files": ["a.pdf"]}

    def process_emails(self, emails: list[str]) -> list[str]:
        return [email.upper() for email in emails]

    async def process_files(self, files: list[str]) -> list[str]:
        return files

    def merge_results(self, parts: list[list[str]]) -> list[str]:
        return [name for part in parts for name in part]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The tools, found without naming a registry."""
    registry, tools = Registry(), Tools()
    for name in dir(tools):
        if not name.startswith("_"):
            registry.methods.register_method(getattr(tools, name))
    monkeypatch.setattr("orchkit.engine.builder.default_registry", registry)
    monkeypatch.setattr("orchkit.engine.dispatch.default_registry", registry)
    return registry


@pytest.fixture
def engines() -> Iterator[list[WorkflowEngine]]:
    """Engines whose stores are closed when the test is over."""
    made: list[WorkflowEngine] = []
    yield made
    for engine in made:
        engine.orchestrator.store.close()


def execute(engines: list[WorkflowEngine], workflow: Any, **arguments: Any) -> WorkflowResult:
    """Execute with an engine that is made without arguments."""

    async def main() -> WorkflowResult:
        engine = WorkflowEngine()
        engines.append(engine)
        return await engine.execute(workflow, **arguments)

    return asyncio.run(main())


@pytest.mark.parametrize("as_model", [True, False])
def test_casefile_setup(registry: Registry, engines: list[WorkflowEngine], as_model: bool) -> None:
    """Outputs read as attributes, whether the tool returned a model or a dict."""

    def create_casefile(title: str, description: str, metadata: dict[str, str]) -> Any:
        casefile = {"casefile_id": "cf_7", "title": title}
        return Casefile(**casefile) if as_model else casefile

    registry.methods.register_method(create_casefile)
    workflow = (
        WorkflowBuilder("casefile_setup")
        .add_step(
            "create_casefile",
            params={
                "title": "Legal Case #12345",
                "description": "Client intake for Smith vs. Jones",
                "metadata": {"case_type": "civil", "priority": "high"},
            },
        )
        .add_step(
            "create_session",
            params={"casefile_id": "${steps.create_casefile.casefile_id}"},
            depends_on=["create_casefile"],
        )
        .add_step(
            "store_gmail_messages",
            params={
                "casefile_id": "${steps.create_casefile.casefile_id}",
                "query": "from:client@example.com subject:case",
            },
            depends_on=["create_session"],
        )
        .with_execution_mode("sequential")
        .with_error_handling("stop_on_failure")
        .build()
    )
    result = execute(engines, workflow, user_id="u_abc123", context={"case_id": "12345"})
    assert result.success
    assert result.steps["create_casefile"].output.casefile_id == "cf_7"
    assert result.steps["create_session"].output.session_id == "s-cf_7"
    assert result.steps["store_gmail_messages"].output.messages_stored == 36
    assert result.started_at is not None
    assert result.completed_at is not None
    assert result.completed_at >= result.started_at
    assert result.duration_ms is not None


def test_an_attribute_that_an_output_lacks_is_named(
    registry: Registry, engines: list[WorkflowEngine]
) -> None:
    """The error says what the output has instead."""
    workflow = WorkflowBuilder("w").add_step("create_session", {"casefile_id": "c"}).build()
    output = execute(engines, workflow).steps["create_session"].output
    with pytest.raises(AttributeError, match="the output has no 'sesion_id'; it has session_id"):
        _ = output.sesion_id


def test_parallel_data_collection(registry: Registry, engines: list[WorkflowEngine]) -> None:
    """The two searches wait for each other, so they must run at the same time."""
    workflow = (
        WorkflowBuilder("gather_evidence")
        .add_step("search_gmail", {"query": "subject:case"})
        .add_step("list_drive_files", {"folder": "/evidence"})
        .add_step("batch_get_sheets", {"sheet_ids": ["s_1", "s_2"]})
        .with_execution_mode("parallel")  # All run concurrently
        .build()
    )
    assert execute(engines, workflow).outputs == {
        "search_gmail": ["gmail"],
        "list_drive_files": ["drive"],
        "batch_get_sheets": ["s_1", "s_2"],
    }


def test_complex_dag(registry: Registry, engines: list[WorkflowEngine]) -> None:
    """A diamond: both branches get their part of the data, the join gets both results."""
    workflow = (
        WorkflowBuilder("complex_analysis")
        .add_step("fetch_data", step_id="fetch", params={"source": "mail"})
        .add_step("process_emails", depends_on=["fetch"], params={"emails": "${steps.fetch.emails}"})
        .add_step("process_files", depends_on=["fetch"], params={"files": "${steps.fetch.files}"})
        .add_step(
            "merge_results",
            depends_on=["process_emails", "process_files"],
            params={"parts": ["${steps.process_emails}", "${steps.process_files}"]},
        )
        .with_execution_mode("dag")
        .build()
    )
    result = execute(engines, workflow)
    assert result.steps["merge_results"].output == ["MAIL 1", "MAIL 2", "a.pdf"]
