"""The workflows that the API was asked for, built as they were written; only the import is another."""

from __future__ import annotations

import pytest

from orchkit import Workflow, WorkflowBuilder
from orchkit.engine.plan import compile_plan
from orchkit.registry.registry import Registry


@pytest.fixture(autouse=True)
def _tools_by_default(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small tools, and those of the diamond, are found without naming a registry."""

    def fetch_data(source: str = "") -> dict[str, list[str]]:
        return {"emails": [], "files": []}

    def process_emails(emails: list[str]) -> list[str]:
        return emails

    def process_files(files: list[str]) -> list[str]:
        return files

    def merge_results(parts: list[list[str]]) -> list[str]:
        return [name for part in parts for name in part]

    for tool in (fetch_data, process_emails, process_files, merge_results):
        registry.methods.register_method(tool)
    monkeypatch.setattr("orchkit.engine.builder.default_registry", registry)


def test_casefile_setup(registry: Registry) -> None:
    """A sequence whose later steps use the casefile of the first one."""
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
    assert isinstance(workflow, Workflow)
    plan = compile_plan(workflow, registry)
    assert plan.order == ("create_casefile", "create_session", "store_gmail_messages")
    assert plan.nodes["store_gmail_messages"].requires == ("create_casefile", "create_session")


def test_parallel_data_collection(registry: Registry) -> None:
    """Three searches that do not wait for each other."""
    workflow = (
        WorkflowBuilder("gather_evidence")
        .add_step("search_gmail", {"query": "subject:case"})
        .add_step("list_drive_files", {"folder": "/evidence"})
        .add_step("batch_get_sheets", {"sheet_ids": ["s_1", "s_2"]})
        .with_execution_mode("parallel")  # All run concurrently
        .build()
    )
    plan = compile_plan(workflow, registry)
    assert all(node.after == () for node in plan.nodes.values())


def test_complex_dag(registry: Registry) -> None:
    """A diamond by ``depends_on`` and references together."""
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
    plan = compile_plan(workflow, registry)
    assert plan.nodes["fetch"].dependents == ("process_emails", "process_files")
    assert plan.nodes["merge_results"].after == ("process_emails", "process_files")
