"""The three workflows run to their conclusion, with every choice on record, and fail as they should."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

import orchkit as ok
from orchkit.demo import scenario
from orchkit.demo.casefiles import CasefileStore
from orchkit.engine.dispatch import Orchestrator
from orchkit.engine.runner import WorkflowEngine
from orchkit.engine.sessions import SessionOrchestrator
from orchkit.executors.body import Bodies
from orchkit.model.result import WorkflowResult
from orchkit.model.workflow import Workflow
from orchkit.registry.registration import default_registry
from orchkit.registry.registry import Registry
from orchkit.store import codec
from orchkit.store.store import Store
from orchkit.testing import FakeClock


@dataclass
class Desk:
    """An engine in virtual time, and the paths of the case."""

    engine: WorkflowEngine
    store: Store
    clock: FakeClock
    context: dict[str, Any]

    def run(self, workflow: Workflow, **context: Any) -> WorkflowResult:
        """Run a workflow on a loop of its own."""
        return asyncio.run(self.engine.execute(workflow, "u_1", self.context | context))

    def on_casefile(self, workflow: Workflow) -> WorkflowResult:
        """Run a workflow on a new casefile."""
        casefile = CasefileStore(self.store, self.clock).create("Case")
        return self.run(workflow, casefile_id=casefile.casefile_id)


@pytest.fixture
def desk(case_dir: Path, tmp_path: Path) -> Iterator[Desk]:
    """A fresh store, registry and engine."""
    clock = FakeClock()
    store = Store(clock=clock)
    sessions, registry = SessionOrchestrator(store), Registry(parent=default_registry)
    registry.services.register(Store, store)
    registry.services.register(SessionOrchestrator, sessions)
    bodies = Bodies(clock.threads())
    orchestrator = Orchestrator(session_orchestrator=sessions, registry=registry, store=store, bodies=bodies)
    context = {"data": str(case_dir), "user_id": "u_1", "report": str(tmp_path / "report.md")}
    yield Desk(WorkflowEngine(orchestrator), store, clock, context)
    store.close()


def statuses(result: WorkflowResult) -> dict[str, str]:
    """The status of every step."""
    return {step_id: step.status for step_id, step in result.steps.items()}


def test_the_set_up_hangs_together(desk: Desk) -> None:
    """One casefile with one session and the client's ten messages, reached through the result."""
    result = desk.run(scenario.casefile_setup()).raise_for_status()
    casefile_id = result.steps["create_casefile"].output.casefile_id
    assert result.steps["store_messages"].output.messages_stored == 10
    casefile = CasefileStore(desk.store).get(casefile_id)
    assert casefile.session_ids == (result.steps["create_session"].output.session_id,)
    assert casefile.status == "open"


def test_a_set_up_that_fails_closes_its_casefile(desk: Desk, tmp_path: Path) -> None:
    """The compensation names the casefile that the run itself has made."""
    result = desk.run(scenario.casefile_setup(), data=str(tmp_path / "nowhere"))
    assert result.status == "failed"
    assert "mailbox.mbox: does not exist" in str(result.steps["store_messages"].error)
    (casefile,) = CasefileStore(desk.store).find()
    assert casefile.status == "closed"


def test_gathering_brings_all_sources(desk: Desk) -> None:
    """Three independent steps, each with its typed result."""
    outputs = desk.run(scenario.gather_evidence()).raise_for_status().outputs
    assert (len(outputs["search_mail"].messages), len(outputs["list_files"].files)) == (25, 8)
    assert [problem.line for problem in outputs["read_sheet"].problems] == [15]


def test_the_analysis_comes_to_its_conclusion(desk: Desk) -> None:
    """The right branch is taken, four conversations are summarised, the report is written and linked."""
    result = desk.on_casefile(scenario.complex_analysis()).raise_for_status()
    skipped = {step_id for step_id, status in statuses(result).items() if status != "success"}
    assert skipped == {"question_letter"}
    assert result.outputs["decide"].outcome == "claim"
    assert len(result.outputs["summarise_threads"]) == 4
    assert "It left your yard on 2025-05-02 only" in result.outputs["claim_letter"].text
    assert "1,741.91 EUR" in Path(desk.context["report"]).read_text(encoding="utf-8")
    (casefile,) = CasefileStore(desk.store).find()
    assert casefile.run_ids == (result.run_id,)


@pytest.mark.parametrize(
    ("outages", "attempts", "waits"),
    [(0, 1, []), (1, 2, [0.05]), (2, 3, [0.05, 0.1]), (3, 4, [0.05, 0.1, 0.2])],
)
def test_the_carrier_answers_after_its_outages(
    desk: Desk, outages: int, attempts: int, waits: list[float]
) -> None:
    """Each failure costs one attempt and a longer wait, in virtual time; nothing else is repeated."""
    result = desk.on_casefile(scenario.complex_analysis(outages=outages))
    assert result.status == "success"
    assert result.steps["ask_carrier"].attempts == attempts
    assert desk.clock.sleeps == waits
    others = {step.attempts for name, step in result.steps.items() if name != "ask_carrier"}
    assert others <= {0, 1}


def test_a_carrier_that_never_answers_costs_only_the_letter(desk: Desk) -> None:
    """What does not depend on it is finished: the run is partial, the report is there."""
    result = desk.on_casefile(scenario.complex_analysis(outages=9))
    assert result.status == "partial"
    assert {name: status for name, status in statuses(result).items() if status != "success"} == {
        "ask_carrier": "failed",
        "claim_letter": "skipped",
        "question_letter": "skipped",
    }
    assert "(outage 4 of 9)" in str(result.steps["ask_carrier"].error)
    assert Path(desk.context["report"]).is_file()


def test_the_whole_argument_is_on_record(desk: Desk) -> None:
    """The user's decisions in the order of the argument, the engine's beside them, all evidence sourced."""
    run_id = desk.on_casefile(scenario.complex_analysis()).run_id
    rows = desk.store.query(
        "SELECT decision_point, origin FROM decision_traces WHERE run_id = ? ORDER BY seq", [run_id]
    )
    own = [point for point, origin in rows if origin == "user"]
    assert own[:3] == ["undated", "undated", "advance"]
    assert own[-2:] == ["delay:C", "conclusion"]
    assert {"retry", "condition", "skip", "map.expanded"} <= {
        point for point, origin in rows if origin == "engine"
    }
    ((evidence, unsourced),) = desk.store.query(
        "SELECT count(*), count(*) FILTER (source IS NULL) FROM evidence_bundles WHERE run_id = ?", [run_id]
    )
    assert (evidence, unsourced) == (10, 0)


def test_every_output_comes_back_from_the_record_as_what_it_was(desk: Desk) -> None:
    """Messages, timelines and decimals survive storage with their types, so a run can be taken up again."""
    result = desk.on_casefile(scenario.complex_analysis())
    finished = {
        event.step_id: event.payload
        for event in desk.store.events(result.run_id)
        if event.kind == "step.finished" and event.step_id in result.outputs
    }
    for step_id, output in result.outputs.items():
        payload = finished[step_id]
        if step_id != "summarise_threads":  # a map's output is made of its items'
            assert codec.unpack(payload["output"], payload.get("types")) == output
            assert type(codec.unpack(payload["output"], payload.get("types"))) is type(output)


def test_the_three_runs_belong_together(case_dir: Path, tmp_path: Path) -> None:
    """`scenario.run` puts the later runs on the casefile and the session of the first."""
    report = tmp_path / "out" / "report.md"
    with ok.open() as kit:
        stages = scenario.run(kit, report, data=case_dir, user_id="u_1")
        assert [stage.run.name for stage in stages] == [
            "casefile_setup",
            "gather_evidence",
            "complex_analysis",
        ]
        assert all(stage.fresh for stage in stages)
        steps = stages[0].run.state.steps
        casefile = steps["create_casefile"].output["casefile_id"]
        session = steps["create_session"].output["session_id"]
        rows = kit.store.query("SELECT name, user_id, casefile_id, session_id FROM runs ORDER BY started_at")
    assert rows == [
        ("casefile_setup", "u_1", None, None),
        ("gather_evidence", "u_1", casefile, session),
        ("complex_analysis", "u_1", casefile, session),
    ]
    assert report.is_file()


def test_what_has_been_done_is_not_repeated(case_dir: Path, tmp_path: Path) -> None:
    """The same over the same files gives the recorded runs; a changed file or a lost report does not."""
    data, report = tmp_path / "case", tmp_path / "report.md"
    copytree(case_dir, data)
    with ok.open(tmp_path / "runs.duckdb") as kit:
        first = scenario.run(kit, report, data=data)
        again = scenario.run(kit, report, data=data)
        assert [stage.fresh for stage in again] == [False, False, False]
        assert [stage.run for stage in again] == [stage.run for stage in first]
        report.unlink()
        assert [stage.fresh for stage in scenario.run(kit, report, data=data)] == [False, False, True]
        (data / "files" / "later.md").write_text("A note.\n", encoding="utf-8")
        assert [stage.fresh for stage in scenario.run(kit, report, data=data)] == [True, True, True]


@pytest.mark.parametrize(
    "build",
    [scenario.casefile_setup, scenario.gather_evidence, scenario.complex_analysis],
    ids=lambda f: f.__name__,
)
def test_the_workflows_survive_yaml(build: Any) -> None:
    """They can be kept as files and read back."""
    workflow = build()
    assert Workflow.from_yaml(workflow.to_yaml()) == workflow
