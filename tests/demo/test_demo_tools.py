"""The tools are registered with their types, work on their own, and put their choices on record in a run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import orchkit.demo.tools  # noqa: F401 - registers the tools
from orchkit.demo.assessment import assess_delay
from orchkit.demo.casefiles import CasefileStore
from orchkit.demo.mail import Message
from orchkit.demo.terms import ContractTerms
from orchkit.demo.timeline import Timeline
from orchkit.engine.dispatch import Orchestrator
from orchkit.engine.sessions import SessionOrchestrator
from orchkit.errors import ParameterError, UnknownNameError
from orchkit.model.request import Request
from orchkit.registry.registration import default_registry
from orchkit.registry.registry import Registry
from orchkit.store.store import Store

NAMES = {
    "create_casefile",
    "create_session",
    "link_run",
    "close_casefile",
    "ask_carrier",
    "draft_letter",
    "store_messages",
    "search_mail",
    "list_files",
    "read_sheet",
    "read_terms",
    "group_threads",
    "summarise_thread",
    "extract_timeline",
    "assess",
    "decide",
    "report",
}


@pytest.fixture
def store() -> Iterator[Store]:
    """A store in memory."""
    opened = Store()
    yield opened
    opened.close()


@pytest.fixture
def registry(store: Store) -> Registry:
    """The default registry with the services of a kit."""
    child = Registry(parent=default_registry)
    child.services.register(Store, store)
    child.services.register(SessionOrchestrator, SessionOrchestrator(store))
    return child


def call(registry: Registry, name: str, **params: Any) -> Any:
    """Call a tool as the engine does: parameters validated, services injected."""
    target = registry.resolve(name)
    given = registry.validate(target, params) | registry.inject(target.method)
    result = target.method.function(**given)
    return asyncio.run(result) if target.method.is_async else result


def test_importing_registers_every_tool_with_a_description() -> None:
    """They can be found by category, and each says what it does."""
    found = {tool.name: tool for tool in default_registry.tools.list_tools()}
    assert set(found) >= NAMES
    for name in NAMES:
        assert found[name].description
        assert found[name].category
        assert default_registry.resolve(name).result_type is not Any


def test_importing_the_package_is_cheap() -> None:
    """``import orchkit.demo`` reads no mail parser and registers nothing."""
    heavy = "('orchkit.demo.', 'orchkit.engine', 'email', 'pydantic')"
    code = f"import sys, orchkit.demo; print([name for name in sys.modules if name.startswith({heavy})])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_setting_up_a_casefile(registry: Registry, store: Store, case_dir: Path) -> None:
    """Casefile, session and messages hang together by the casefile's id."""
    case = call(registry, "create_casefile", title="Late delivery", metadata={"priority": "high"})
    session = call(registry, "create_session", casefile_id=case.casefile_id, user_id="u_1")
    query = "from:client@example.com subject:case"
    mailbox = str(case_dir / "mailbox.mbox")
    stored = call(registry, "store_messages", casefile_id=case.casefile_id, mailbox=mailbox, query=query)
    call(registry, "link_run", casefile_id=case.casefile_id, run_id="run_1")
    assert (stored.messages_stored, stored.messages_new) == (10, 10)
    found = CasefileStore(store).get(case.casefile_id)
    assert (found.session_ids, found.run_ids) == ((session.session_id,), ("run_1",))
    assert session.casefile_id == case.casefile_id
    assert len(CasefileStore(store).messages(case.casefile_id)) == 10


def test_repeating_a_step_of_the_set_up_changes_nothing(
    registry: Registry, store: Store, case_dir: Path
) -> None:
    """A step that is retried after its result was lost finds its work done."""
    case = call(registry, "create_casefile", title="Late delivery").casefile_id
    mailbox = str(case_dir / "mailbox.mbox")
    first, again = (call(registry, "create_session", casefile_id=case, user_id="u_1") for _ in range(2))
    assert first.session_id == again.session_id
    counts = [
        call(registry, "store_messages", casefile_id=case, mailbox=mailbox, query="has:attachment")
        for _ in range(2)
    ]
    assert [(count.messages_stored, count.messages_new) for count in counts] == [(3, 3), (3, 0)]


def test_no_session_is_made_for_a_casefile_that_does_not_exist(registry: Registry, store: Store) -> None:
    """The check comes first, so that no orphan is left behind."""
    with pytest.raises(UnknownNameError, match="casefile"):
        call(registry, "create_session", casefile_id="cf_none", user_id="u_1")
    assert SessionOrchestrator(store).service.list_sessions() == []


def test_from_sources_to_report(registry: Registry, case_dir: Path, tmp_path: Path) -> None:
    """The whole analysis through validated tool calls; also with what JSON makes of the results."""
    mail = call(registry, "search_mail", mailbox=str(case_dir / "mailbox.mbox"), query="subject:case")
    files = call(registry, "list_files", folder=str(case_dir / "files"))
    sheet = call(registry, "read_sheet", path=str(case_dir / "ledger.csv"))
    terms = call(registry, "read_terms", folder=str(case_dir / "files" / "contract"))
    threads = call(registry, "group_threads", messages=mail.messages)
    summaries = [call(registry, "summarise_thread", thread=thread) for thread in threads]
    timeline = call(
        registry, "extract_timeline", messages=mail.messages, files=files.files, rows=sheet.rows,
        row_problems=sheet.problems,
    )  # fmt: skip
    assessment = call(registry, "assess", timeline=timeline, terms=terms)
    conclusion = call(registry, "decide", assessment=assessment)
    page = call(
        registry, "report", title="Late delivery", path=str(tmp_path / "report.md"), timeline=timeline,
        assessment=assessment, conclusion=conclusion, threads=summaries,
    )  # fmt: skip
    assert (mail.searched, len(mail.messages), len(threads)) == (25, 25, 4)
    assert Path(page.path).read_text(encoding="utf-8") == page.text
    assert "**The supplier owes the buyer 1,741.91 EUR.**" in page.text

    as_json = {
        "messages": [message.model_dump(mode="json") for message in mail.messages],
        "files": [file.model_dump(mode="json") for file in files.files],
        "rows": [row.model_dump(mode="json") for row in sheet.rows],
        "row_problems": [problem.model_dump(mode="json") for problem in sheet.problems],
    }
    assert call(registry, "extract_timeline", **as_json) == timeline


def test_a_wrong_parameter_is_named_before_anything_runs(registry: Registry) -> None:
    """The validator of the registry sees the tools' types."""
    with pytest.raises(ParameterError, match="timeline"):
        call(registry, "assess", timeline="soon", terms={})
    with pytest.raises(ParameterError, match="store"):
        call(registry, "create_casefile", title="x", store="mine")


def test_without_a_kit_casefiles_say_what_is_missing() -> None:
    """A workflow can be defined before a kit is open; only running it needs one."""
    with pytest.raises(ParameterError, match=r"store: no such service here \(run it with a kit"):
        call(default_registry, "create_casefile", title="x")


def dispatched(
    registry: Registry, store: Store, operation: str, **payload: Any
) -> tuple[list[Any], list[Any]]:
    """The decisions and the evidence that an operation leaves on record, in order."""
    orchestrator = Orchestrator(registry=registry, store=store)
    response = asyncio.run(orchestrator.dispatch(Request(operation, payload))).raise_for_status()
    events = store.events(response.metadata["run_id"])
    own = [
        event.payload for event in events if event.kind == "decision" and event.payload["origin"] == "user"
    ]
    return own, [event.payload for event in events if event.kind == "evidence"]


def test_inside_a_run_every_finding_is_a_decision_with_its_evidence(
    registry: Registry, store: Store, timeline: Timeline, terms: ContractTerms
) -> None:
    """Eleven findings; what supports one is named by its id and its source."""
    decisions, evidence = dispatched(registry, store, "assess", timeline=timeline, terms=terms)
    findings = assess_delay(timeline, terms).findings
    assert [(item["point"], item["decision"], item["rationale"]) for item in decisions] == [
        (finding.point, finding.decision, finding.rationale) for finding in findings
    ]
    by_point = {decision["point"]: decision for decision in decisions}
    by_id = {item["evidence_id"]: item for item in evidence}
    receipt = [by_id[name] for name in by_point["receipt:A"]["evidence"]]
    assert {(item["type"], item["source"], item["confidence_score"]) for item in receipt} == {
        ("delivery", "file:site/delivery-note-a.txt", 0.95),
        ("delivery_claim", "mail:w014-01@example.org", 0.5),
    }
    (notice,) = (by_id[name] for name in by_point["hindrance:A"]["evidence"])
    assert notice["data"]["said"] == "Hindrance, Lot A: 2025-03-10 to 2025-03-14"
    assert {name for item in decisions for name in item["evidence"]} == set(by_id), "no evidence for nothing"


def test_the_conclusion_is_a_decision_with_its_numbers(
    registry: Registry, store: Store, timeline: Timeline, terms: ContractTerms
) -> None:
    """What was compared with what, and what else could have been chosen, can be read afterwards."""
    ((decision,), _) = dispatched(registry, store, "decide", assessment=assess_delay(timeline, terms))
    assert (decision["point"], decision["decision"]) == ("conclusion", "claim")
    assert decision["alternatives"] == ["pay", "clarify", "no_claim"]
    assert decision["input_data"]["balance"] == "1741.91"
    assert (decision["input_data"]["score"], decision["input_data"]["threshold"]) == (0.864, 0.7)


def test_what_is_undated_is_on_record(registry: Registry, store: Store, messages: list[Message]) -> None:
    """That nothing was guessed can be read afterwards."""
    decisions, _ = dispatched(registry, store, "extract_timeline", messages=messages)
    assert [decision["input_data"]["source"] for decision in decisions] == ["mail:w014-01@example.org"] * 2
