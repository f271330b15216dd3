"""The tools of the demonstration case; importing this module registers them in the default registry.

Each is a typed function that also works on its own; inside a run it puts its choices, and the evidence
for them, on the record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from orchkit.demo.assessment import Assessment, Finding, assess_delay
from orchkit.demo.carrier import Consignment, find_consignment
from orchkit.demo.casefiles import Casefile, CasefileStore
from orchkit.demo.conclusion import Conclusion, conclude
from orchkit.demo.files import FileList, FileRecord, list_folder
from orchkit.demo.letter import Letter, write_letter
from orchkit.demo.mail import Message, read_mailbox
from orchkit.demo.query import parse_query
from orchkit.demo.report import render_report, write_report
from orchkit.demo.sheets import Row, RowProblem, Sheet, read_table
from orchkit.demo.terms import ContractTerms, read_contract
from orchkit.demo.threads import Thread, ThreadSummary, summarise
from orchkit.demo.threads import group_threads as put_together
from orchkit.demo.timeline import EventKind, Timeline, TimelineEvent, build_timeline
from orchkit.engine.recorder import bundle_evidence, current_scope, trace_decision
from orchkit.engine.sessions import Session, SessionOrchestrator
from orchkit.errors import ParameterError, Problem
from orchkit.model.base import Record
from orchkit.registry.registration import register_tool
from orchkit.store.store import Store

T = TypeVar("T")

_SPEAKS_OF: Mapping[str, tuple[EventKind, ...]] = {
    "new_date": ("proposal", "agreement"),
    "hindrance": ("hindrance",),
    "receipt": ("delivery", "delivery_claim"),
}
"""What kinds of events support the findings on a point."""
_CONFIDENCE: Mapping[EventKind, float] = {"delivery": 0.95, "delivery_claim": 0.5}
_CONFIDENCE_OF_MAIL = 0.9
"""That something was said is well shown by the mail that says it."""


class StoredMessages(Record):
    """What became of a search whose hits were to be stored."""

    casefile_id: str
    query: str
    messages_stored: int
    """Messages of the query that the casefile now holds; the same however often the step is repeated."""
    messages_new: int
    """Those of them that it did not hold before."""


class SearchResult(Record):
    """The messages that match a query, in the mailbox's order."""

    query: str
    searched: int
    """Messages in the mailbox."""
    messages: tuple[Message, ...]


class Report(Record):
    """A written report."""

    path: str
    text: str
    """Markdown."""


# --- casefile, session, messages -----------------------------------------------------------


@register_tool("create_casefile", category="casefile", domain="casefile")
def create_casefile(
    title: str, description: str = "", metadata: dict[str, Any] | None = None, store: Store | None = None
) -> Casefile:
    """Open a new casefile."""
    return _casefiles(store).create(title, description, metadata)


@register_tool("create_session", category="casefile", domain="session")
async def create_session(
    casefile_id: str, user_id: str, store: Store | None = None, sessions: SessionOrchestrator | None = None
) -> Session:
    """The open session of a user on a casefile, or a new one, linked to it."""
    casefiles = _casefiles(store)
    casefiles.get(casefile_id)  # before there is a session on a casefile that does not exist
    session = await _given(sessions, "sessions").find_or_create_session(user_id, casefile_id)
    casefiles.link_session(casefile_id, session.session_id)
    return session


@register_tool("link_run", category="casefile", domain="casefile")
def link_run(casefile_id: str, run_id: str, store: Store | None = None) -> Casefile:
    """Note on a casefile that a run belongs to it (``${run.id}`` is the run itself)."""
    return _casefiles(store).link_run(casefile_id, run_id)


@register_tool("close_casefile", category="casefile", domain="casefile")
def close_casefile(casefile_id: str, store: Store | None = None) -> Casefile:
    """Mark a casefile as closed."""
    return _casefiles(store).close(casefile_id)


@register_tool("store_messages", category="mail", domain="mail")
def store_messages(casefile_id: str, mailbox: str, query: str, store: Store | None = None) -> StoredMessages:
    """Keep the messages that match a query with a casefile; repeating it changes nothing."""
    found = parse_query(query).select(read_mailbox(mailbox))
    new = _casefiles(store).store_messages(casefile_id, found)
    stored = len({message.message_id for message in found})
    return StoredMessages(casefile_id=casefile_id, query=query, messages_stored=stored, messages_new=new)


def _casefiles(store: Store | None) -> CasefileStore:
    given = _given(store, "store")
    return CasefileStore(given, given.clock)


def _given(service: T | None, name: str) -> T:
    # Services come from the kit that runs a tool. Were they required, no workflow could be defined before
    # a kit is open.
    if service is None:
        problem = Problem(name, "no such service here", "run it with a kit: kit = orchkit.open()")
        raise ParameterError("casefile tools", [problem])
    return service


# --- gathering -----------------------------------------------------------------------------


@register_tool("search_mail", category="mail", domain="mail")
def search_mail(mailbox: str, query: str = "") -> SearchResult:
    """The messages of an mbox, Maildir or .eml folder that match a query such as ``from:client words``."""
    messages = read_mailbox(mailbox)
    found = parse_query(query).select(messages)
    return SearchResult(query=query, searched=len(messages), messages=tuple(found))


@register_tool("list_files", category="files", domain="files")
def list_files(folder: str, pattern: str = "*") -> FileList:
    """The files below a folder whose name or path matches, with hash and the beginning of their text."""
    return list_folder(folder, pattern)


@register_tool("read_sheet", category="files", domain="files")
def read_sheet(path: str) -> Sheet:
    """The rows of a CSV or TSV file, typed; rows that cannot be read are reported with their line."""
    return read_table(path)


@register_tool("read_terms", category="files", domain="contract")
def read_terms(folder: str) -> ContractTerms:
    """The numbers of a contract from ``terms.csv`` and ``schedule.csv``."""
    return read_contract(folder)


@register_tool("ask_carrier", category="files", domain="carrier")
def ask_carrier(folder: str, lot: str, outages: int = 2) -> Consignment:
    """When a lot was on the road, from a service that is down for the first ``outages`` attempts."""
    scope = current_scope.get()
    attempt = None if scope is None else scope.attempt
    consignment = find_consignment(folder, lot, attempt=attempt, outages=outages)
    data = consignment.model_dump(mode="json")
    bundle_evidence("consignment", data, source=f"file:{consignment.source}", confidence_score=0.9)
    return consignment


# --- analysing -----------------------------------------------------------------------------


@register_tool("group_threads", category="analysis", domain="mail")
def group_threads(messages: Sequence[Message]) -> list[Thread]:
    """The conversations that messages make up."""
    return put_together(messages)


@register_tool("summarise_thread", category="analysis", domain="mail")
def summarise_thread(thread: Thread) -> ThreadSummary:
    """Length, people, silences and last word of a conversation."""
    return summarise(thread)


@register_tool("extract_timeline", category="analysis", domain="case")
def extract_timeline(
    messages: Sequence[Message],
    files: Sequence[FileRecord] = (),
    rows: Sequence[Row] = (),
    row_problems: Sequence[RowProblem] = (),
) -> Timeline:
    """What happened when, from three kinds of sources; what has no date stands apart."""
    timeline = build_timeline(messages, files, rows, row_problems)
    for event in timeline.undated:
        if event.kind == "document":
            continue  # a table of prices has no date to miss
        trace_decision(
            "undated",
            "kept apart",
            "its source has no date that can be read, and a guess would look like a fact",
            alternatives=["order of the mailbox", "time of the file"],
            input_data={"source": event.source, "summary": event.summary},
        )
    return timeline


@register_tool("assess", category="analysis", domain="case")
def assess(timeline: Timeline, terms: ContractTerms) -> Assessment:
    """Who is late, by how much and what it costs, with a decision on record for each disputed point."""
    assessment = assess_delay(timeline, terms)
    for finding in assessment.findings:
        _trace_finding(finding, _support(timeline, finding))
    return assessment


@register_tool("decide", category="analysis", domain="case")
def decide(assessment: Assessment, threshold: float = 0.7) -> Conclusion:
    """What to do: claim, pay, clarify first, or nothing."""
    conclusion = conclude(assessment, threshold)
    trace_decision(
        "conclusion",
        conclusion.outcome,
        conclusion.rationale,
        alternatives=conclusion.alternatives,
        input_data={
            "score": assessment.score,
            "threshold": threshold,
            "balance": assessment.balance,
            "open_questions": assessment.open_questions,
        },
        output_data=conclusion.model_dump(include={"amount", "set_off", "release"}),
    )
    return conclusion


@register_tool("draft_letter", category="analysis", domain="case")
def draft_letter(
    assessment: Assessment, conclusion: Conclusion, consignments: Sequence[Consignment] = ()
) -> Letter:
    """The draft of what to write to the supplier: the claim with its calculation, or the questions."""
    return write_letter(assessment, conclusion, consignments)


@register_tool("report", category="analysis", domain="case")
def report(
    title: str,
    path: str,
    timeline: Timeline,
    assessment: Assessment,
    conclusion: Conclusion,
    threads: Sequence[ThreadSummary] = (),
) -> Report:
    """Write the case up as a Markdown page."""
    text = render_report(title, timeline, assessment, conclusion, threads)
    return Report(path=str(write_report(Path(path), text)), text=text)


def _support(timeline: Timeline, finding: Finding) -> list[TimelineEvent]:
    point, _, lot = finding.point.partition(":")
    events = timeline.of_kind(*_SPEAKS_OF.get(point, ()))
    return [event for event in events if event.lot == lot and event.source in finding.sources]


def _trace_finding(finding: Finding, events: Iterable[TimelineEvent]) -> None:
    evidence = [
        bundle_evidence(
            event.kind,
            {"said": event.summary, "by": event.actor, "day": event.day, "time": event.time},
            source=event.source,
            confidence_score=_CONFIDENCE.get(event.kind, _CONFIDENCE_OF_MAIL),
        )
        for event in events
    ]
    trace_decision(
        finding.point,
        finding.decision,
        finding.rationale,
        alternatives=finding.alternatives,
        input_data={"sources": finding.sources},
        evidence=evidence,
    )
