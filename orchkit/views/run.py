"""A run as it stands in the store: its state, its tables, its picture, its explanation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, Protocol

from orchkit.analysis import frames, sharing, subruns
from orchkit.analysis.aligned import Side
from orchkit.analysis.explain import explain_run, explain_step
from orchkit.analysis.facts import Facts, span_ms
from orchkit.analysis.graphs import graph_of
from orchkit.analysis.known import Known, Path
from orchkit.analysis.links import workflow_of
from orchkit.analysis.liveness import CUT_OFF, given_up, is_run_cut_off
from orchkit.analysis.moment import moment_of
from orchkit.analysis.redaction import Redact, to_show
from orchkit.analysis.timeline import timeline_of
from orchkit.analysis.words import clean
from orchkit.clock import Clock
from orchkit.errors import UnknownNameError
from orchkit.interop.bundle import export_run
from orchkit.model.display import Displayable
from orchkit.model.event import Event
from orchkit.model.result import RunStatus
from orchkit.model.state import RunState, fold
from orchkit.model.workflow import Workflow
from orchkit.store.openruns import OpenRuns
from orchkit.views.browse import Table
from orchkit.views.dag import Dag
from orchkit.views.filming import footage_of
from orchkit.views.picture import MOST_NODES, diagram_of
from orchkit.views.player import Player
from orchkit.views.recordtables import decision_table, evidence_table
from orchkit.views.report import page_of, write_page
from orchkit.views.steprecord import StepRecord, step_record
from orchkit.views.timeline import MOST_ROWS, Gantt

if TYPE_CHECKING:
    import networkx as nx
    import pandas as pd


class Record(frames.Readable, Protocol):
    """The read side of a store."""

    clock: Clock

    @property
    def open_runs(self) -> OpenRuns:
        """Its runs that have not ended."""
        ...

    def query(self, query: str, params: Any = None) -> list[tuple[Any, ...]]:
        """Rows as tuples."""
        ...

    def events(self, run_id: str) -> list[Event]:
        """The events of a run in order."""
        ...

    def events_below(self, run_id: str) -> dict[str, list[Event]]:
        """The events of a run and of the runs of sub-workflows below it, by run id."""
        ...


class Explanation(str):
    """A text that is shown as it is, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Run(Displayable):
    """The record of one run; everything is read from the store when it is asked for.

    What needs the events raises `UnknownNameError` when the store has no such run; showing never raises.
    """

    def __init__(self, store: Record, run_id: str) -> None:
        self._store = store
        self._id = run_id

    @property
    def id(self) -> str:
        """The run's id."""
        return self._id

    @property
    def store(self) -> Record:
        """The store that it is read from."""
        return self._store

    # --- facts -----------------------------------------------------------------------------

    @property
    def state(self) -> RunState:
        """The run as its events tell it, up to now."""
        events = self._store.events(self._id)
        if not events:
            raise UnknownNameError("run", self._id)
        return fold(events)

    @property
    def status(self) -> RunStatus:
        """``running``, ``paused``, ``success``, ``failed``, ``partial`` or ``cancelled``: what is on record.

        A run whose process was killed stays ``running`` there, because nobody was left to write down its
        end: `cut_off` tells it from one that goes on.
        """
        return self.state.status

    @property
    def cut_off(self) -> bool:
        """Whether it has no end on record and never will: it ran on this machine, and its process is gone.

        Of runs on other machines nothing is claimed. One that was exported before its end and imported here
        counts as cut off, until a later bundle brings the rest. `explain` says which steps are in doubt.
        """
        return self._cut_off(self.state)

    def _cut_off(self, state: RunState) -> bool:
        return is_run_cut_off(state, given_up(self._store.open_runs))

    def known_of(self, state: RunState, *, below: bool = True) -> Known:
        """What the store knows beside the events of this run, from which ``state`` was folded.

        ``below``: whether its sub-workflows are needed.
        """
        return Known(
            given_up(self._store.open_runs),
            self._sub_runs(state) if below else {},
            sharing.replays(self._store, [self._id]).get(self._id, 0),
            sharing.shared_by(self._store, self._id),
        )

    @property
    def name(self) -> str:
        """The name of the workflow, operation or orchestrator."""
        return self.state.name

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from begin to end; None before the end."""
        state = self.state
        return span_ms(state.started_us, state.finished_us)

    @property
    def definition(self) -> Workflow | None:
        """What was run; None for runs that are not of a workflow."""
        return workflow_of(self.state.definition)

    def step(self, step_id: str) -> StepRecord:
        """One step: its input, output, status, attempts, decisions and evidence.

        Input and output are Python values of the types they had, where these can be brought back.
        Items of a map are ``ID[0]``, ``ID[1]`` … Raises `UnknownNameError` for an unknown step.
        """
        return step_record(self.state, step_id, Known(given_up(self._store.open_runs)))

    # --- tables ----------------------------------------------------------------------------

    def steps(self) -> pd.DataFrame:
        """The steps, one row each: see `orchkit.analysis.frames.steps`."""
        return frames.steps(self._store, self._id)

    def attempts(self) -> pd.DataFrame:
        """The attempts, one row each: see `orchkit.analysis.frames.attempts`."""
        return frames.attempts(self._store, self._id)

    def decisions(self) -> pd.DataFrame:
        """The decisions, one row each: see `orchkit.analysis.frames.decisions`."""
        return frames.decisions(self._store, self._id)

    def evidence(self) -> pd.DataFrame:
        """The evidence, one row each: see `orchkit.analysis.frames.evidence`."""
        return frames.evidence(self._store, self._id)

    def lineage(self) -> pd.DataFrame:
        """The steps that show results of other runs, one row each: see `orchkit.analysis.frames.lineage`."""
        return frames.lineage(self._store, self._id)

    def shared(self) -> pd.DataFrame:
        """Which other runs show results of this one, one row each: see `orchkit.analysis.frames.shared`."""
        return frames.shared(self._store, self._id)

    def events(self) -> pd.DataFrame:
        """The raw events, one row each: see `orchkit.analysis.frames.events`."""
        return frames.events(self._store, self._id)

    def graph(self) -> nx.DiGraph:
        """The steps as a networkx graph: see `orchkit.analysis.graphs.graph_of`."""
        return graph_of(self.state)

    # --- views -----------------------------------------------------------------------------

    def explain(self, step_id: str | None = None, *, redact: Redact | None = None) -> Explanation:
        """The run, or one step of it, in plain words; ``redact`` as in `to_html`.

        Raises `UnknownNameError` for an unknown step.
        """
        if redact is not None:
            footage = footage_of(self, redact)
            return self._explained(step_id, footage.state, footage.known)
        state = self.state
        # of runs below there is something to tell only where nobody will
        return self._explained(step_id, state, self.known_of(state, below=self._cut_off(state)))

    def _explained(self, step_id: str | None, state: RunState, known: Known) -> Explanation:
        told = explain_run(state, known) if step_id is None else explain_step(state, step_id, known)
        return Explanation(told)

    def dag(
        self, at: int | None = None, *, most_nodes: int = MOST_NODES, redact: Redact | None = None
    ) -> Dag:
        """The picture; with more nodes than ``most_nodes`` a condensed one.

        Args:
            at: A position in the run's events, as in ``run.events().iloc[at]``: the picture of the run as it
                stood after that event, the same as in a replay. Negative ones count from the end.
            most_nodes: From how many nodes on they are grouped.
            redact: What is shown instead of an error or a condition: see `to_html`.

        Raises:
            UnknownNameError: The store has no such run.
            IndexError: There is no event at this position.
        """
        if at is None and redact is None:
            return self.dag_of(self.state, most_nodes=most_nodes)
        found = subruns.recorded(self._store, self._id)
        if self._id not in found:
            raise UnknownNameError("run", self._id)
        shown = {run_id: to_show(events, redact) for run_id, events in found.items()}
        moment = moment_of(shown, self._id, -1 if at is None else at)
        known = Known(given_up(self._store.open_runs), moment.below, past=moment.past)
        drawn = diagram_of(None, moment.state, known=known, most_nodes=most_nodes)
        return Dag(drawn if at is None else replace(drawn, caption=f"{drawn.caption}, {moment.caption}"))

    def timeline(self, *, most_rows: int = MOST_ROWS, redact: Redact | None = None) -> Gantt:
        """When what was going on: attempts, waits, and when nothing was; ``frame()`` has the numbers.

        With more steps than ``most_rows`` several share a row. ``redact`` as in `to_html`.
        """
        footage = footage_of(self, redact)
        side = Side(footage.state, footage.known)
        return Gantt(timeline_of(side, self._store.clock.now_us()), most_rows=most_rows)

    def decision_table(self, *, redact: Redact | None = None) -> Table:
        """The decisions to look through: with search and choices in a notebook, plain everywhere else.

        ``redact`` as in `to_html`.
        """
        return decision_table(Facts(self._shown(redact)))

    def evidence_table(self, *, redact: Redact | None = None) -> Table:
        """The evidence to look through, and which decisions it supports; ``redact`` as in `to_html`."""
        return evidence_table(Facts(self._shown(redact)))

    def _shown(self, redact: Redact | None) -> RunState:
        """The state of which nothing that must not be seen is part; tables and bytes as previews."""
        events = self._store.events(self._id)
        if not events:
            raise UnknownNameError("run", self._id)
        return fold(to_show(events, redact))

    def replay(self, redact: Redact | None = None) -> Player:
        """The run event by event: the picture, the state, the decisions and their evidence change together.

        Shows itself in notebooks, and is still there in a saved one. Values that must not be in a notebook
        are taken out by ``redact(path, value)``, see `to_html`.
        """
        return Player(self, redact)

    def dag_of(self, state: RunState, known: Known | None = None, *, most_nodes: int = MOST_NODES) -> Dag:
        """The picture of a state of this run."""
        if known is None:
            known = Known(given_up(self._store.open_runs), self._sub_runs(state))
        return Dag(diagram_of(None, state, known=known, most_nodes=most_nodes))

    def _sub_runs(self, state: RunState) -> Mapping[Path, RunState]:
        """The states of the runs of sub-workflows, by the path of their step, at any depth."""
        if not any(step.child_run_id is not None for step in state.steps.values()):
            return {}
        found = subruns.recorded(self._store, self._id)
        return subruns.states_below(state, {run_id: fold(events) for run_id, events in found.items()})

    # --- taking it along -------------------------------------------------------------------

    def to_html(self, path: str | FilePath, redact: Redact | None = None) -> FilePath:
        """Write the replay into one HTML file that needs no network and no Python; returns its path.

        The file is for anybody's browser, and may be mailed. A file that is there is replaced. Its size is
        said in notebooks, and to the log ``orchkit`` elsewhere.

        Args:
            path: The file, named ``*.html``.
            redact: ``redact(path, value)`` returns what is shown instead of a value: an input, an output,
                what a decision is based on, a piece of evidence, an error, and everything inside of them,
                such as ``steps.load.input.token``; see `orchkit.analysis.redaction.to_show`. Values of type
                ``SecretStr`` are not on the record, so they are never shown.

        Raises:
            UnknownNameError: The store has no such run.
            ValueError: The name has another ending, or it is a folder.
            FileNotFoundError: The folder does not exist.
        """
        return write_page(page_of([self], redact, made_us=self._store.clock.now_us()), path)

    def export(self, path: str | FilePath, *, overwrite: bool = False) -> FilePath:
        """Write everything about the run into one file, such as ``run.orchkit``, and return its path.

        Definition, code, inputs, events, evidence and large values, those of sub-workflows too, with a hash
        of each part: a zip that anybody can look into, described in `orchkit.interop.bundle`.
        `orchkit.Kit.import_bundle` brings it into another store. A run that still goes on can be exported:
        the file says that it is not complete, and a later one continues it. Runs that are only referred to
        (a fork's origin, a result from the cache) are named, not included.

        What the run was given and what it returned is in the file as it is on the record; values of type
        ``SecretStr`` are not.

        Raises:
            UnknownNameError: The store has no such run.
            BundleError: The file exists (and ``overwrite`` is false) or cannot be written, or the record
                itself is damaged: it names where.
        """
        return export_run(self._store, self._id, path, overwrite=overwrite)

    def to_dict(self) -> dict[str, Any]:
        """Everything on the record as plain values: the facts of the run, its definition and its events."""
        events = self._store.events(self._id)
        if not events:
            raise UnknownNameError("run", self._id)
        state = fold(events)
        return {
            "run_id": self._id,
            "kind": state.kind,
            "name": state.name,
            "status": state.status,
            "started_at": _iso(events[0].time),
            "finished_at": _iso_us(state.finished_us),
            "duration_ms": span_ms(state.started_us, state.finished_us),
            "error": state.error,
            "forked_from": dict(state.forked_from) if state.forked_from is not None else None,
            "resumed": state.resumed,
            "definition": dict(state.definition) if state.definition is not None else None,
            "events": [_event(event) for event in events],
        }

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Run):
            return NotImplemented
        return (self._store, self._id) == (other._store, other._id)

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        try:
            state = self.state
            standing = CUT_OFF if self._cut_off(state) else state.status
        except Exception as error:  # a repr must never raise
            return clean(f"<Run {self._id}: {error}>")
        return clean(f"<Run {state.name} {standing} {self._id}>")


def _iso(time: datetime) -> str:
    return time.isoformat()


def _iso_us(us: int | None) -> str | None:
    return None if us is None else _iso(datetime.fromtimestamp(us / 1e6, UTC))


def _event(event: Event) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "ts": _iso(event.time),
        "kind": event.kind,
        "step_id": event.step_id,
        "attempt": event.attempt,
        "payload": dict(event.payload),
    }
