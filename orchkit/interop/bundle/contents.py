"""What a bundle holds: the events of a run and of those below it, and all that follows from them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from orchkit.errors import Problem
from orchkit.interop.bundle import lines as li
from orchkit.interop.bundle import names
from orchkit.interop.bundle.lines import Line
from orchkit.model import event as ev
from orchkit.model.event import Event
from orchkit.model.state import RunState, fold
from orchkit.store import codec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GIVEN = ("kind", "name", "user_id", "session_id", "casefile_id", "request_id", "context", "types")
_SURROUNDINGS = ("pid", "host", "born", "durability", "orchkit", "python", "platform", "environment")
_OF_RUNS = (ev.RUN_STARTED, ev.RUN_RESUMED)


class BadContentsError(Exception):
    """These events are not those of one run and the runs below it; ``problems`` says why."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(map(str, self.problems)))


class Contents:
    """A run with its sub-runs. Everything here is worked out from the events, the same way each time.

    ``blob`` gives the text of a large value. Raises `BadContentsError` for events that do not fit together.
    """

    def __init__(self, lines: Sequence[Line], blob: Callable[[str], str]) -> None:
        self.lines = lines
        self._blob = blob
        self._large = functools.lru_cache(maxsize=8)(self._parsed)
        self.runs: dict[str, RunState] = {}
        """How they stand at the end of the events, the outermost first."""
        self._check(_tree_problems(lines))
        self._check(self._fold())
        self.root = next(iter(self.runs.values()))
        self.tools = self._sources()
        """The tools whose source is on record, each with the hash of it."""
        self._check(self._evidence_problems())

    @staticmethod
    def _check(problems: Iterable[Problem]) -> None:
        found = list(problems)
        if found:
            raise BadContentsError(found)

    def _parsed(self, digest: str) -> Any:
        try:
            return li.strict_json(self._blob(digest))
        except (ValueError, RecursionError) as error:
            raise BadContentsError([Problem(names.blob_name(digest), f"is not JSON: {error}")]) from None

    def _resolved(self, value: Any) -> Any:
        digest = li.digest_of(value)
        return value if digest is None else self._large(digest)

    # --- the runs --------------------------------------------------------------------------

    def _fold(self) -> Iterator[Problem]:
        for number, line in enumerate(self.lines, 1):
            try:
                self.runs[line.run_id] = fold([self._event(number, line)], self.runs.get(line.run_id))
            except BadContentsError:
                raise
            except Exception as error:  # whatever a fold makes of what no run has ever recorded
                where = f"{names.EVENTS} line {number}"
                yield Problem(where, f"cannot be an event {line.kind!r}: {type(error).__name__}: {error}")

    def _event(self, number: int, line: Line) -> Event:
        event = line.event(number)
        if line.kind not in _OF_RUNS:
            return event
        payload = {name: self._resolved(value) for name, value in line.payload.items()}
        return Event(number, line.ts, line.kind, line.run_id, line.step_id, line.attempt, payload)

    @property
    def complete(self) -> bool:
        """Whether the run has an end on record; else this is how it stood when it was exported."""
        return self.root.finished_us is not None

    @property
    def facts(self) -> dict[str, Any]:
        """What a manifest says of the runs."""
        return {
            "run_id": self.root.run_id,
            "name": self.root.name,
            "status": self.root.status,
            "complete": self.complete,
            "events": len(self.lines),
            "runs": [
                {
                    "run_id": run.run_id,
                    "parent_run_id": run.parent_run_id,
                    "parent_step_id": run.parent_step_id,
                    "kind": run.kind,
                    "name": run.name,
                    "status": run.status,
                    "events": run.position,
                }
                for run in self.runs.values()
            ],
            "refers_to": self._others(),
        }

    def _others(self) -> list[str]:
        """The runs that are named and not included: whose results these share, or whose part they are."""
        named = [self.root.parent_run_id]
        for run in self.runs.values():
            sources = [run.forked_from, *(step.source for step in run.steps.values())]
            named += [source.get("run_id") for source in sources if isinstance(source, Mapping)]
        return [one for one in dict.fromkeys(named) if isinstance(one, str) and one not in self.runs]

    # --- large values ----------------------------------------------------------------------

    @property
    def digests(self) -> list[str]:
        """The hashes of all large values that the events name, in the order in which a bundle has them."""
        return sorted({*li.large_values(self.lines), *(digest for _, digest in self.tools)})

    def _sources(self) -> list[tuple[str, str]]:
        found: dict[tuple[str, str], None] = {}
        for line in self.lines:
            if line.kind in _OF_RUNS:
                found.update(dict.fromkeys(li.sources(self._resolved(line.payload.get("code")))))
        return list(found)

    def _evidence_problems(self) -> Iterator[Problem]:
        """Evidence is recorded with the hash of its data: it must still be that data."""
        for number, line in enumerate(self.lines, 1):
            if line.kind == ev.EVIDENCE and "hash" in line.payload:
                data = line.payload.get("data")
                found = li.digest_of(data) or codec.content_hash(codec.dumps(data))
                if found != line.payload["hash"]:
                    what = f"evidence {line.payload.get('evidence_id')}"
                    yield Problem(f"{names.EVENTS} line {number}", f"{what} does not have the hash it names")

    # --- what people look into -------------------------------------------------------------

    def members(self) -> dict[str, bytes]:
        """The members that follow from the events, and the events themselves, in the order of a bundle."""
        return {
            **self._definition(),
            names.INPUTS: document(self._inputs()),
            **self._code(),
            names.DECISIONS: self._said(ev.DECISION),
            names.EVIDENCE: self._said(ev.EVIDENCE),
            names.EVENTS: "".join(f"{li.written(line)}\n" for line in self.lines).encode(),
        }

    def _definition(self) -> dict[str, bytes]:
        definition = self._resolved(self.root.definition)
        return {} if definition is None else {names.DEFINITION: document(definition)}

    def _inputs(self) -> dict[str, Any]:
        started = self.lines[0].payload
        steps = [
            {
                "run_id": line.run_id,
                "step_id": line.step_id,
                **_some(line.payload, ("name", "input", "types")),
            }
            for line in self.lines
            if line.kind == ev.STEP_SCHEDULED
        ]
        return {"run_id": self.root.run_id, **_some(started, _GIVEN), "steps": steps}

    def _code(self) -> dict[str, bytes]:
        members = names.code_names(tool for tool, _ in self.tools)
        found: dict[str, bytes] = {}
        for name, (_, digest) in zip(members, self.tools, strict=True):
            text = self._large(digest)
            if not isinstance(text, str):
                raise BadContentsError([Problem(names.blob_name(digest), "is not the source of a tool")])
            found[name] = text.encode()
        return found

    def _said(self, kind: str) -> bytes:
        """What was decided, or put forward as evidence: when, where and what."""
        found = []
        for line in self.lines:
            if line.kind == kind:
                at = (_EPOCH + timedelta(microseconds=line.ts)).isoformat(timespec="microseconds")
                where = {"at": at, "run_id": line.run_id, "step_id": line.step_id, "attempt": line.attempt}
                found.append(json.dumps({**where, kind: line.payload}, ensure_ascii=False))
        return "".join(f"{one}\n" for one in found).encode()

    @property
    def surroundings(self) -> dict[str, Any]:
        """What the runs themselves say of where they ran, by run id."""
        return {
            line.run_id: _some(line.payload, _SURROUNDINGS)
            for line in self.lines
            if line.kind == ev.RUN_STARTED
        }


def document(value: Any) -> bytes:
    """A JSON document for people."""
    return f"{json.dumps(value, indent=2, ensure_ascii=False)}\n".encode()


def _some(payload: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
    return {name: payload[name] for name in wanted if payload.get(name) is not None}


def _tree_problems(lines: Sequence[Line]) -> Iterator[Problem]:
    """Why these are not the events of one run and of runs below it, each from its begin."""
    begun: set[str] = set()
    if not lines:
        yield Problem(names.EVENTS, "has no events")
    for number, line in enumerate(lines, 1):
        where = f"{names.EVENTS} line {number}"
        if (line.kind == ev.RUN_STARTED) == (line.run_id in begun):
            begins = "begins once more" if line.run_id in begun else "has an event before its begin"
            yield Problem(where, f"{line.run_id} {begins}")
        elif line.kind == ev.RUN_STARTED and begun and line.payload.get("parent_run_id") not in begun:
            yield Problem(where, f"{line.run_id} is no part of {lines[0].run_id}")
        begun.add(line.run_id)
