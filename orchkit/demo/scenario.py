"""The demonstration: three workflows over the case, from opening a casefile to the report.

They read the files below ``${context.data}`` and can be run on any folder of the same make-up.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orchkit.demo.tools  # noqa: F401 - the workflows name its tools
from orchkit.demo import data_dir
from orchkit.demo.files import list_folder
from orchkit.engine.builder import WorkflowBuilder
from orchkit.model.policy import RetryPolicy
from orchkit.model.workflow import Workflow
from orchkit.store import codec
from orchkit.views.run import Run

if TYPE_CHECKING:
    from orchkit.kit import Kit

MAILBOX = "${context.data}/mailbox.mbox"
FILES = "${context.data}/files"
LEDGER = "${context.data}/ledger.csv"

CARRIER_RETRY = RetryPolicy(
    strategy="exponential",
    max_attempts=4,
    delay=0.05,
    max_delay=0.2,
    jitter="none",
    retry_on=("ConnectionError",),
)
"""For a service that comes back soon: 0.05 s, 0.1 s, 0.2 s."""

TTL_HOURS = 24.0 * 365


def casefile_setup() -> Workflow:
    """One after the other: open a casefile, open a session on it, keep the client's mail with it.

    Needs ``data`` and ``user_id`` in the context. Should a later step fail, the casefile is closed again.
    """
    casefile_id = "${steps.create_casefile.casefile_id}"
    return (
        WorkflowBuilder("casefile_setup")
        .add_step(
            "create_casefile",
            {
                "title": "Late delivery of the library fit-out",
                "description": "Contract 2025-014: who is late, and what follows from it",
                "metadata": {"case_type": "contract", "priority": "high"},
            },
            compensate={"tool": "close_casefile", "params": {"casefile_id": casefile_id}},
        )
        .add_step("create_session", {"casefile_id": casefile_id, "user_id": "${context.user_id}"})
        .add_step(
            "store_messages",
            {
                "casefile_id": casefile_id,
                "mailbox": MAILBOX,
                "query": "from:client@example.com subject:case",
            },
        )
        .with_execution_mode("sequential")
        .with_error_handling("stop_on_failure")
        .with_description("Opens a casefile with a session and the client's mail")
        .build()
    )


def gather_evidence() -> Workflow:
    """All at once: search the mail, list the files, read the ledger. Needs ``data`` in the context."""
    return (
        WorkflowBuilder("gather_evidence")
        .add_step("search_mail", {"mailbox": MAILBOX, "query": "subject:case"})
        .add_step("list_files", {"folder": FILES})
        .add_step("read_sheet", {"path": LEDGER})
        .with_execution_mode("parallel")
        .with_description("Everything that is known about the case")
        .build()
    )


def complex_analysis(*, outages: int = 2) -> Workflow:
    """As dependencies allow: gather, group, summarise each conversation, assess, decide, write.

    The carrier's service fails ``outages`` times before it answers; with more than 3 the retries are not
    enough, and the run ends ``partial``: with a report, without a letter. Of the two letters only the one
    that fits the conclusion is drafted. Needs ``data``, ``casefile_id`` and ``report`` (the path to write
    to) in the context.
    """
    assessed = {"assessment": "${steps.assess}", "conclusion": "${steps.decide}"}
    builder = WorkflowBuilder("complex_analysis")
    _add_sources(builder, outages)
    _add_analysis(builder)
    return (
        builder.add_step(
            "draft_letter",
            {**assessed, "consignments": ["${steps.ask_carrier}"]},
            step_id="claim_letter",
            when="${steps.decide.outcome} == 'claim'",
        )
        .add_step(
            "draft_letter", assessed, step_id="question_letter", when="${steps.decide.outcome} == 'clarify'"
        )
        .add_step(
            "report",
            {
                "title": "Late delivery of the library fit-out",
                "path": "${context.report}",
                "timeline": "${steps.extract_timeline}",
                "threads": "${steps.summarise_threads}",
                **assessed,
            },
        )
        .add_step(
            "link_run",
            {"casefile_id": "${context.casefile_id}", "run_id": "${run.id}"},
            depends_on=["report"],
        )
        .with_execution_mode("dag")
        .with_error_handling("continue_on_failure")
        .with_description("From the sources to a conclusion that can be checked")
        .build()
    )


def _add_sources(builder: WorkflowBuilder, outages: int) -> None:
    builder.add_step("read_terms", {"folder": f"{FILES}/contract"}, node_type="source")
    builder.add_step("search_mail", {"mailbox": MAILBOX, "query": "subject:case"}, node_type="source")
    builder.add_step("list_files", {"folder": FILES}, node_type="source")
    builder.add_step("read_sheet", {"path": LEDGER}, node_type="source")
    builder.add_step(
        "ask_carrier",
        {"folder": f"{FILES}/site", "lot": "C", "outages": outages},
        retry=CARRIER_RETRY,
        node_type="source",
        description="Answers only after some failures",
    )


def _add_analysis(builder: WorkflowBuilder) -> None:
    builder.add_step("group_threads", {"messages": "${steps.search_mail.messages}"})
    builder.add_map(
        "summarise_thread",
        "${steps.group_threads}",
        {"thread": "${item}"},
        step_id="summarise_threads",
        max_concurrency=4,
    )
    builder.add_step(
        "extract_timeline",
        {
            "messages": "${steps.search_mail.messages}",
            "files": "${steps.list_files.files}",
            "rows": "${steps.read_sheet.rows}",
            "row_problems": "${steps.read_sheet.problems}",
        },
    )
    builder.add_step("assess", {"timeline": "${steps.extract_timeline}", "terms": "${steps.read_terms}"})
    builder.add_step("decide", {"assessment": "${steps.assess}"}, node_type="decision")


@dataclass(frozen=True, slots=True)
class Stage:
    """One of the three runs, and whether it was made now."""

    run: Run
    fresh: bool
    """False when the record of an earlier run with the same definition and input was used instead."""


def run(
    kit: Kit, report: str | Path = "report.md", *, data: str | Path | None = None, user_id: str = "u_demo"
) -> list[Stage]:
    """Run the three workflows on a kit, one after the other, the last two on the casefile of the first.

    A workflow that has succeeded before in this store, with the same definition, the same parameters and
    the same files to read, is not repeated. The analysis is, when its report is gone.

    ``data``: a folder made up like the demonstration's, which is the default. ``report``: where the report
    is written. Raises `WorkflowExecutionError` when one of them does not succeed.
    """
    folder, report = Path(data or data_dir()), Path(report)
    context: dict[str, Any] = {"data": str(folder), "user_id": user_id, "report": str(report)}
    files = _files_hash(folder)
    first = _once(kit, casefile_setup(), context, files)
    steps = first.run.state.steps
    context["casefile_id"] = steps["create_casefile"].output["casefile_id"]
    context["session_id"] = steps["create_session"].output["session_id"]
    second = _once(kit, gather_evidence(), context, files)
    third = _once(kit, complex_analysis(), context, files, product=report)
    return [first, second, third]


def _once(
    kit: Kit, workflow: Workflow, context: dict[str, Any], files: str, *, product: Path | None = None
) -> Stage:
    key = "demo-" + codec.content_hash(codec.dumps([workflow.to_anonymous(), context, files]))[:16]
    if product is not None and not product.exists():
        kit.store.claims.forget(key)
    result = kit.run(
        workflow,
        user_id=context["user_id"],
        context=context,
        casefile_id=context.get("casefile_id"),
        session_id=context.get("session_id"),
        idempotency_key=key,
        ttl_hours=TTL_HOURS,
    )
    return Stage(result.raise_for_status().run, fresh=not result.replayed)


def _files_hash(folder: Path) -> str:
    """One hash of the names and contents of all files below a folder."""
    return codec.content_hash("\n".join(f"{file.path} {file.sha256}" for file in list_folder(folder).files))
