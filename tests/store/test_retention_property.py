"""Whatever is on record and whatever is asked: what stays is as it was, to the byte, and the rest is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchkit.model.idempotency import RequestStatus
from orchkit.store import codec
from orchkit.store.claims import Wanted
from orchkit.store.store import Store
from orchkit.testing import FakeClock

HOUR_S = 3600.0
VALUES = [json.dumps(f"large {number}") for number in range(3)]
VIEWS = ("runs", "steps", "attempts", "decision_traces", "evidence_bundles", "idempotency_keys")
VIEWS += ("lineage", "events")


@dataclass
class Run:
    """A run of the model."""

    number: int
    above: int | None
    ended: bool
    alive: bool
    hours: int
    """How long after it the next one begins."""
    steps: list[int | None]
    """The outputs: which large value, or a small one."""
    key_hours: int | None
    """For how long its key lasts, if it has one."""
    cached: bool
    late: int = 0
    """Events that come when all is over."""
    over_us: int = field(default=0, compare=False)

    @property
    def id(self) -> str:
        return f"run_{self.number}"


@st.composite
def records(draw: st.DrawFn) -> list[Run]:
    """Up to eight runs, some below others."""
    runs: list[Run] = []
    for number in range(draw(st.integers(0, 8))):
        alive = draw(st.integers(0, 5)) == 0
        runs.append(
            Run(
                number,
                draw(st.none() | st.integers(0, number - 1)) if number else None,
                ended=not alive and draw(st.booleans()),
                alive=alive,
                hours=draw(st.integers(0, 3)),
                steps=draw(st.lists(st.none() | st.integers(0, 2), max_size=3)),
                key_hours=draw(st.none() | st.integers(1, 20)),
                cached=draw(st.booleans()),
                late=draw(st.integers(0, 1)),
            )
        )
    return runs


ASKED = st.fixed_dictionaries(
    {},
    optional={
        "older_than": st.integers(0, 12).map(lambda hours: f"{hours}h"),
        "keep": st.integers(0, 5) | st.lists(st.integers(0, 7), max_size=2),
    },
)


class Scribe:
    """Writes the runs of the model down."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store, self.clock = store, clock

    def write(self, runs: list[Run]) -> None:
        for run in runs:
            self.begin(run)
            self.clock.advance(run.hours * HOUR_S)
        for run in runs:
            for _ in range(run.late):
                self.event("progress", run, fraction=1.0)
        self.store.append("audit", "{}")
        self.store.append("session.created", codec.dumps({"session_id": "ses_1", "user_id": "u"}))
        self.store.commit()

    def begin(self, run: Run) -> None:
        claim = None
        if run.key_hours is not None:
            ttl_us = int(run.key_hours * HOUR_S * 1e6)
            claim = self.store.claims.acquire(Wanted(f"k{run.number}", "w", "f", "{}", ttl_us), run.id).claim
        parent = None if run.above is None else f"run_{run.above}"
        with self.store.together():
            self.event(
                "run.started",
                run,
                kind="workflow",
                name="w",
                parent_run_id=parent,
                request_id=f"k{run.number}",
            )
            if run.alive:
                self.store.open_runs.begin(run.id, "workflow", "w", parent)
        for place, value in enumerate(run.steps):
            self.step(run, f"s{place}", value)
        if run.ended:
            self.event("run.finished", run, status="success")
            run.over_us = self.clock.now_us()
        self.store.commit()
        if claim is not None:
            self.store.claims.settle(claim, RequestStatus.COMPLETED, result="{}")
            self.store.commit()
            self.store.claims.finish(claim)

    def step(self, run: Run, step: str, value: int | None) -> None:
        self.event("step.scheduled", run, step, name="f", node_type="task", input=[step])
        self.event("attempt.started", run, step, 1)
        self.event(
            "decision", run, step, 1, point="p", decision="d", input_data={"n": run.number}, origin="user"
        )
        self.event("evidence", run, step, 1, evidence_id=f"{run.id}/{step}", type="t", data=[1], hash="h")
        self.event("attempt.finished", run, step, 1, status="success", started_us=1, duration_us=2)
        output: Any = step
        with self.store.together():
            if value is not None:
                output = {"$blob": self.store.put_blob(VALUES[value]), "bytes": 9}
            self.event("step.finished", run, step, name="f", status="success", attempts=1, output=output)
        if run.number:
            self.event("step.reused", run, step, how="cache", run_id=f"run_{run.number - 1}", step_id=step)
        if run.cached:
            columns = "key, method, code_hash, input_hash, run_id, step_id, created_us"
            row = (f"{run.id}/{step}", "m", "c", "i", run.id, step, 0)
            with self.store.log.exclusive() as connection:
                connection.execute(f"INSERT INTO cache ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def event(
        self, kind: str, run: Run, step: str | None = None, attempt: int | None = None, /, **payload: Any
    ) -> None:
        self.store.append(kind, codec.dumps(payload), run_id=run.id, step_id=step, attempt=attempt)
        run.over_us = run.over_us if run.ended and run.over_us else self.clock.now_us()


class Model:
    """What a sweep should do, said the long way round."""

    def __init__(self, runs: list[Run], now_us: int, asked: dict[str, Any]) -> None:
        self.runs, self.now_us = runs, now_us
        tops = [run for run in runs if run.above is None]
        due = tops if asked.get("keep", []) != [] or "older_than" in asked else []
        if "older_than" in asked:
            cutoff = now_us - int(asked["older_than"][:-1]) * HOUR_S * 1e6
            due = [run for run in due if self.over_us(run) <= cutoff]
        keep = asked.get("keep", [])
        if isinstance(keep, int):
            due = [run for run in due if run in tops[: max(0, len(tops) - keep)]]
        else:
            due = [run for run in due if run.id not in {self.top(runs[number]).id for number in keep}]
        self.kept = {run.id for run in due if any(map(self.held, self.tree(run)))}
        self.gone = {below.id for run in due if run.id not in self.kept for below in self.tree(run)}
        self.stays = {run.id for run in runs} - self.gone

    def top(self, run: Run) -> Run:
        return run if run.above is None else self.top(self.runs[run.above])

    def tree(self, top: Run) -> list[Run]:
        return [run for run in self.runs if self.top(run) is top]

    def over_us(self, top: Run) -> int:
        last = self.now_us if any(run.late for run in self.tree(top)) else 0  # they come last of all
        return top.over_us if top.ended else max(last, *(run.over_us for run in self.tree(top)))

    def held(self, run: Run) -> bool:
        return run.alive or self.has_key(run)

    def has_key(self, run: Run) -> bool:
        return run.key_hours is not None and self.key_until(run) > self.now_us

    def key_until(self, run: Run) -> float:
        begun = self.now_us - sum(later.hours for later in self.runs[run.number :]) * HOUR_S * 1e6
        return begun + (run.key_hours or 0) * HOUR_S * 1e6

    def values(self, run_ids: set[str]) -> set[str]:
        named = {value for run in self.runs if run.id in run_ids for value in run.steps if value is not None}
        return {codec.content_hash(VALUES[value]) for value in named}


@contextmanager
def recorded(runs: list[Run]) -> Iterator[Store]:
    """A store in memory with these runs in it."""
    clock = FakeClock()
    with Store(clock=clock) as store:
        Scribe(store, clock).write(runs)
        yield store


def rows_of(store: Store, run_ids: set[str]) -> dict[str, list[Any]]:
    """What the views say of these runs."""
    return {
        view: store.query(
            f"SELECT * FROM {view} WHERE run_id IN (SELECT unnest(?)) ORDER BY ALL", [sorted(run_ids)]
        )
        for view in VIEWS
    }


def rest_of(store: Store, run_ids: set[str]) -> list[Any]:
    """Events that are about none of these runs."""
    query = "SELECT * FROM events WHERE run_id IS NULL OR run_id NOT IN (SELECT unnest(?)) ORDER BY seq"
    return [row for row in store.query(query, [sorted(run_ids)]) if row[2] != "store.swept"]


@given(runs=records(), asked=ASKED)
@settings(max_examples=15)
def test_what_a_sweep_leaves(runs: list[Run], asked: dict[str, Any]) -> None:
    """The model agrees on what goes, what stays and what is spared; a trial says the same in advance."""
    if isinstance(asked.get("keep"), list):
        asked["keep"] = [number for number in asked["keep"] if number < len(runs)]
    arguments = {**asked}
    if isinstance(asked.get("keep"), list):
        arguments["keep"] = [f"run_{number}" for number in asked["keep"]]
    with recorded(runs) as store:
        model = Model(runs, store.clock.now_us(), asked)
        before, entries = rows_of(store, model.stays), len(store.log.read("SELECT key FROM cache"))
        claims = "claim.acquired", "claim.settled"
        about_none = [row for row in rest_of(store, {run.id for run in runs}) if row[2] not in claims]
        trial = store.sweep(**arguments, dry_run=True)
        assert rows_of(store, model.stays) == before
        last = store.log.last_seq()
        report = store.sweep(**arguments)

        assert report.counts == trial.counts
        assert set(report.kept) == set(trial.kept) == model.kept
        assert report.runs + report.sub_runs == len(model.gone)
        assert report.keys == sum(run.key_hours is not None and not model.has_key(run) for run in runs)
        assert rows_of(store, model.stays) == before
        assert not any(rows_of(store, model.gone).values())
        assert [row for row in rest_of(store, {run.id for run in runs}) if row[2] not in claims] == about_none
        told = {row[6] and json.loads(row[6])["run_id"] for row in rest_of(store, set()) if row[2] in claims}
        assert told <= model.stays
        hashes = {digest for (digest,) in store.query("SELECT hash FROM blob")}
        assert hashes == model.values(model.stays)
        left = {key.partition("/")[0] for (key,) in store.log.read("SELECT key FROM cache")}
        assert left == {run.id for run in runs if run.cached and run.steps} - model.gone
        assert report.cache_entries == entries - len(store.log.read("SELECT key FROM cache"))
        for run in model.stays:
            numbers = [event.seq for event in store.events(run)]
            assert numbers == sorted(set(numbers))
        store.record("x", {})
        assert store.query("SELECT max(seq) FROM event")[0][0] > last
        assert store.sweep(**arguments).counts == store.sweep(**arguments, dry_run=True).counts
