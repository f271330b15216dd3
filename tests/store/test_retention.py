"""What a sweep removes and what it leaves: which runs are due, what goes with them, what holds them back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from orchkit.errors import ParameterError, StoreError, UnknownNameError
from orchkit.model.idempotency import RequestStatus
from orchkit.store import codec
from orchkit.store.arrivals import Arrivals
from orchkit.store.claims import Wanted
from orchkit.store.retention import numbered_tables
from orchkit.store.schema import script, statements
from orchkit.store.store import Store
from orchkit.store.sweepreport import SweepReport
from orchkit.testing import FakeClock

DAY_S = 86_400.0
LARGE = json.dumps("x" * 100)


class Book:
    """Writes down runs as the engine does, on virtual time."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store, self.clock = store, clock

    def begin(self, run: str, *, parent: str | None = None, open_: bool = False, **payload: Any) -> None:
        """A run begins; with ``open_`` it is listed as going on in this process."""
        facts = {"kind": "workflow", "name": "w", "parent_run_id": parent, **payload}
        with self.store.together():
            self._append("run.started", run, None, None, **facts)
            if open_:
                self.store.open_runs.begin(run, "workflow", "w", parent)
        self.store.commit()

    def work(self, run: str, step: str = "a", **output: Any) -> None:
        """A step of everything there is."""
        self.event("step.scheduled", run, step, name="f", node_type="task", input={"n": 1})
        self.event("attempt.started", run, step, 1)
        self.event("decision", run, step, 1, point="p", decision="d", origin="user")
        self.event("evidence", run, step, 1, evidence_id=f"evd_{run}", type="t", data={}, hash="h")
        self.event("attempt.finished", run, step, 1, status="success", started_us=1, duration_us=1)
        self.event(
            "step.finished",
            run,
            step,
            name="f",
            node_type="task",
            status="success",
            attempts=1,
            output=output,
        )

    def end(self, run: str) -> None:
        """It ends."""
        with self.store.together():
            self._append("run.finished", run, None, None, status="success")
            self.store.open_runs.end(run)
        self.store.commit()

    def whole(self, run: str, **payload: Any) -> None:
        """A run with one step, from begin to end."""
        self.begin(run, **payload)
        self.work(run)
        self.end(run)

    def event(
        self,
        kind: str,
        run: str | None,
        step: str | None = None,
        attempt: int | None = None,
        /,
        **payload: Any,
    ) -> None:
        """One event, committed."""
        self._append(kind, run, step, attempt, **payload)
        self.store.commit()

    def _append(
        self, kind: str, run: str | None, step: str | None, attempt: int | None, /, **payload: Any
    ) -> None:
        self.store.append(kind, codec.dumps(payload), run_id=run, step_id=step, attempt=attempt)

    def value(self, run: str, text: str) -> str:
        """A step whose output is a large value; its hash."""
        with self.store.together():
            digest = self.store.put_blob(text)
            self._append("step.finished", run, "large", None, output={"$blob": digest, "bytes": len(text)})
        self.store.commit()
        return digest

    def cached(self, key: str, run: str) -> None:
        """An output of a run that is in the cache."""
        columns = "key, method, code_hash, input_hash, run_id, step_id, created_us"
        with self.store.log.exclusive() as connection:
            connection.execute(
                f"INSERT INTO cache ({columns}) VALUES (?, 'm', 'c', 'i', ?, 'a', 0)", (key, run)
            )

    def later(self, days: float) -> None:
        """Time passes."""
        self.clock.advance(days * DAY_S)

    def runs(self) -> list[str]:
        """The runs on record, in order."""
        return [row[0] for row in self.store.query("SELECT run_id FROM run_start ORDER BY seq")]

    def claim(self, key: str, run: str, *, ttl_s: float = DAY_S, settle: bool = True) -> None:
        """A key is claimed for a run, and its result given."""
        answer = self.store.claims.acquire(Wanted(key, "w", f"print of {key}", "{}", int(ttl_s * 1e6)), run)
        if settle:
            self.store.claims.settle(answer.claim, RequestStatus.COMPLETED, result="{}")
            self.store.commit()
            assert self.store.claims.finish(answer.claim)


@pytest.fixture
def book(memory: Store, clock: FakeClock) -> Book:
    """In a store in memory."""
    return Book(memory, clock)


# --- which runs are due ----------------------------------------------------------------------


@pytest.fixture
def daily(book: Book) -> Book:
    """Five runs, ``run_0`` to ``run_4``; they ended 4, 3, 2, 1 and 0 days ago."""
    for number in range(5):
        if number:
            book.later(1)
        book.whole(f"run_{number}")
    return book


@pytest.mark.parametrize(
    ("older_than", "keep", "left"),
    [
        (None, (), "01234"),
        (None, [], "01234"),
        ("2d", (), "34"),
        ("49h", (), "234"),
        ("2.5d", (), "234"),
        (timedelta(days=2), (), "34"),
        ("2880m", (), "34"),
        (" 0 s", (), ""),
        (timedelta(0), (), ""),
        ("1w", (), "01234"),
        (None, 2, "34"),
        (None, 0, ""),
        (None, 9, "01234"),
        ("3d", 4, "1234"),
        ("1d", 1, "4"),
        ("1d", 2, "34"),
        (None, ["run_1", "run_3"], "13"),
        (None, "run_1", "1"),
        ("3d", ("run_0",), "0234"),
        ("0s", SimpleNamespace(id="run_2"), "2"),
        ("0s", [SimpleNamespace(id="run_2"), "run_0"], "02"),
    ],
)
def test_which_runs_go(daily: Book, older_than: Any, keep: Any, left: str) -> None:
    """Those that are old enough, and neither named nor among the newest; none when nothing is asked."""
    report = daily.store.sweep(older_than=older_than, keep=keep)
    assert daily.runs() == [f"run_{number}" for number in left]
    assert report.runs == 5 - len(left)
    assert not report.kept


def test_the_age_of_a_run_counts_from_its_end(book: Book) -> None:
    """A run that began long ago and ended a moment ago is young; once it was taken up again, it is open."""
    book.begin("run_long")
    book.later(10)
    book.end("run_long")
    assert book.store.sweep(older_than="1d").empty
    book.later(2)
    book.event("run.resumed", "run_long", pid=1, host="elsewhere")
    assert book.store.sweep(older_than="1d").empty
    book.later(1)
    assert book.store.sweep(older_than="1d").runs == 1


def test_the_age_of_a_cut_off_run_counts_from_its_last_event(book: Book) -> None:
    """Its own or that of a run below; and an event that comes after the end of a run makes it no younger."""
    book.begin("run_cut")
    book.whole("run_over")
    book.later(2)
    book.begin("run_below", parent="run_cut")
    book.event("progress", "run_over", "a", fraction=1.0)
    assert book.store.sweep(older_than="1d").runs == 1
    assert book.runs() == ["run_cut", "run_below"]
    book.later(1)
    report = book.store.sweep(older_than="1d")
    assert (report.runs, report.sub_runs, book.runs()) == (1, 1, [])


def test_the_age_of_a_run_from_another_store_counts_from_its_arrival(book: Book) -> None:
    """Who brings an old run here wants to look at it; that it came is forgotten with it."""
    book.whole("run_old")
    book.later(100)
    arrivals = Arrivals(book.store.log)
    event = (book.clock.now_us(), "run.imported", "run_old", None, None, "{}")
    assert arrivals.write([event], [], arrivals.versions(["run_old"]), book.clock.now_us())
    assert book.store.sweep(older_than="1d").empty
    book.later(1)
    assert book.store.sweep(older_than="1d").runs == 1
    assert book.store.list_state("import") == []


def test_what_arrives_while_a_sweep_removes_its_run(book: Book) -> None:
    """Is not written, because half of it would be missing: the import looks again."""
    book.whole("run_1")
    arrivals = Arrivals(book.store.log)
    seen = arrivals.versions(["run_1"])
    assert book.store.sweep(keep=0).runs == 1
    event = (book.clock.now_us(), "run.imported", "run_1", None, None, "{}")
    assert not arrivals.write([event], [], seen, book.clock.now_us())
    assert arrivals.write([event], [], arrivals.versions(["run_1"]), book.clock.now_us())


def test_runs_below_stay_and_go_with_the_run_above(book: Book) -> None:
    """They are no runs of their own for ``keep``; one that is named keeps all of them."""
    for number in range(3):
        book.begin(f"run_{number}")
        for below in ("a", "b"):
            book.whole(f"run_{number}{below}", parent=f"run_{number}")
        book.whole(f"run_{number}aa", parent=f"run_{number}a")
        book.end(f"run_{number}")
        book.later(1)
    report = book.store.sweep(older_than="1d", keep=["run_1aa"])
    assert (report.runs, report.sub_runs) == (2, 6)
    assert book.runs() == ["run_1", "run_1a", "run_1b", "run_1aa"]
    assert book.store.sweep(keep=1).empty


def test_runs_that_are_each_other_s_parents(book: Book) -> None:
    """A record that makes no sense is swept like any other, and does not hang."""
    book.whole("run_x", parent="run_y")
    book.whole("run_y", parent="run_x")
    book.whole("run_lone", parent="run_that_never_was")
    assert book.store.sweep(keep=0).runs == 3
    assert book.runs() == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"older_than": "soon"}, "sweep: older_than: 'soon' is no span of time .*'30d', '12h' or '90m'"),
        ({"older_than": "30"}, "older_than: '30' is no span"),
        ({"older_than": "-3d"}, "older_than: '-3d' is no span"),
        ({"older_than": "3 months"}, "older_than: '3 months' is no span"),
        ({"older_than": "9999999999d"}, "older_than: '9999999999d' is no span"),
        ({"older_than": timedelta(seconds=-1)}, r"older_than: datetime.timedelta\(.* is no span"),
        ({"older_than": 30}, "older_than: 30 is no span"),
        ({"keep": -1}, "keep: -1 is no number of runs"),
        ({"keep": True}, "keep: True is no number of runs"),
        ({"keep": [3]}, "keep: 3 is no run"),
        ({"keep": 2.5}, "keep: 2.5 is no run"),
        ({"keep": [None]}, "keep: None is no run"),
    ],
)
def test_what_is_not_understood_removes_nothing(daily: Book, arguments: dict[str, Any], words: str) -> None:
    """It says which argument, what was wrong and what would be right."""
    with pytest.raises(ParameterError, match=words):
        daily.store.sweep(**arguments)
    assert len(daily.runs()) == 5


def test_a_run_to_keep_that_is_not_there_removes_nothing(daily: Book) -> None:
    """A slip of the pen must not cost the run that was meant."""
    with pytest.raises(UnknownNameError, match="unknown run 'run_33'; did you mean 'run_3'"):
        daily.store.sweep(older_than="0s", keep=["run_33"])
    assert len(daily.runs()) == 5
    assert daily.store.sweep(older_than="0s", keep=["run_3"]).runs == 4


# --- what goes with them ----------------------------------------------------------------------


def test_everything_about_a_run_goes(book: Book) -> None:
    """No table and no view has a row of it; one of the same shape is untouched."""
    for run in ("run_1", "run_2"):
        book.claim(f"key of {run}", run, ttl_s=1)
        book.begin(run, request_id=f"key of {run}", definition={"steps": []}, forked_from={"run_id": "run_0"})
        book.event("run.paused", run)
        book.event("run.resumed", run, pid=1, host="h")
        book.work(run)
        book.event("step.reused", run, "b", how="fork", run_id="run_0", step_id="b")
        book.event("session.execution", run, "a", 1, session_id="ses_1", operation="o", status="success")
        book.event("run.imported", run, digest="d")
        book.event("breaker.transition", run, "a", 1, name="b", from_state="closed", to_state="open")
        book.event("hook.failed", run, "a", 1, hook="h")
        book.value(run, codec.dumps(run * 30))
        book.cached(f"cached {run}", run)
        book.end(run)
        book.later(1)
    store = book.store
    book.claim("key of run_2", "run_2", ttl_s=DAY_S)
    store.ingest()
    of_services = {"health_check", "health_maintenance"}  # what is watched belongs to no run
    counts = {table: _count(store, table) for table in set(numbered_tables()) - of_services}
    assert [table for table, count in counts.items() if not count] == []
    report = store.sweep(keep=1)
    assert report == SweepReport(
        runs=1, events=18, evidence=1, large_values=1, keys=1, cache_entries=1, kept={}
    )
    assert _count(store, "event") == counts["event"] - report.events + 1  # store.swept
    for table in counts.keys() - {"event"}:
        assert _count(store, table) < counts[table], table
    for name, columns in _relations(store):
        for column in columns & {"run_id", "request_id", "payload", "evidence_id"}:
            text = f"SELECT count(*) FROM {name} WHERE CAST({column} AS VARCHAR) LIKE '%run_1%'"
            assert store.query(text) == [(0,)], (name, column)
    assert [row[0] for row in store.log.read("SELECT key FROM cache")] == ["cached run_2"]
    assert store.blob(codec.content_hash(codec.dumps("run_2" * 30)))
    with pytest.raises(StoreError, match="no stored value"):
        store.blob(codec.content_hash(codec.dumps("run_1" * 30)))


def test_old_health_checks_go_when_that_is_asked_for(book: Book) -> None:
    """Those that are older than asked, but of each service the last; runs stay, and the other way round."""
    book.begin("run_1")
    book.end("run_1")
    for service in ("a", "a", "gone", "a", "b"):
        book.event("health.check", None, service=service, status="healthy", performed=True)
        book.later(DAY_S)
    store = book.store
    assert store.sweep(older_than="9d").checks == 0
    report = store.sweep(checks_older_than="36h", dry_run=True)
    assert (report.checks, report.runs) == (2, 0)
    report = store.sweep(checks_older_than="36h")
    assert (report.checks, report.events, report.runs) == (2, 2, 0)
    assert "2 health checks" in str(report)
    assert store.query("SELECT service FROM health_checks ORDER BY seq") == [("gone",), ("a",), ("b",)]
    assert store.query("SELECT count(*) FROM event WHERE kind = 'health.check'") == [(3,)]
    assert store.sweep(older_than="1s").checks == 0
    with pytest.raises(ParameterError, match="checks_older_than"):
        store.sweep(checks_older_than="soon")


def _count(store: Store, table: str) -> int:
    return int(store.query(f"SELECT count(*) FROM {table}")[0][0])


def _relations(store: Store) -> Iterator[tuple[str, set[str]]]:
    """The tables and views, and their columns."""
    rows = store.query(
        "SELECT table_name, list(column_name) FROM duckdb_columns() WHERE NOT internal GROUP BY ALL"
    )
    yield from ((name, set(columns)) for name, columns in rows)


def test_no_table_is_forgotten() -> None:
    """Every table of the history that the ingest fills from events is swept, those of later versions too."""
    filled = {
        sql.split()[2] for sql in statements(script("ingest.sql")) if sql.split()[:2] == ["INSERT", "INTO"]
    }
    assert filled == set(numbered_tables())


def test_a_large_value_stays_as_long_as_somebody_names_it(book: Book) -> None:
    """Whether as an output or, deep in a payload, by its bare hash; with the last of them it goes."""
    book.begin("run_1")
    digest = book.value("run_1", LARGE)
    book.end("run_1")
    book.whole("run_2", code={"f": {"hash": "c", "source": digest}})
    book.later(1)
    assert book.store.sweep(keep=1).large_values == 0
    assert book.store.blob(digest) == LARGE
    assert book.store.sweep(keep=0).large_values == 1


def test_a_large_value_that_was_swept_can_be_put_again(book: Book) -> None:
    """The store that put it before does not take it for known."""
    for _ in range(3):
        book.begin("run_1")
        digest = book.value("run_1", LARGE)
        book.end("run_1")
        assert book.store.events("run_1")[1].payload["output"] == json.loads(LARGE)
        assert book.store.sweep(keep=0).large_values == 1
    assert book.store.query("SELECT count(*) FROM blob WHERE hash = ?", [digest]) == [(0,)]


def test_what_is_left_of_runs_whose_beginning_is_gone(book: Book) -> None:
    """Goes with any sweep, and what happened to keys in them; not what is about no run at all."""
    book.whole("run_1")
    book.event("decision", "run_lost", "a", point="p", decision="d")
    book.event("claim.replayed", None, key="k", name="w", run_id="run_lost")
    book.event("session.created", None, session_id="ses_1", user_id="u")
    book.event("audit", None, note="n")
    report = book.store.sweep()
    assert (report.runs, report.events) == (0, 2)
    kinds = [row[0] for row in book.store.query("SELECT kind FROM events WHERE run_id IS NULL ORDER BY seq")]
    assert kinds == ["session.created", "audit", "store.swept"]
    assert book.store.query("SELECT count(*) FROM decision_traces WHERE run_id = 'run_lost'") == [(0,)]
    assert book.store.query("SELECT session_id, status FROM sessions") == [("ses_1", "open")]


def test_keys_go_with_their_time_and_their_story_with_their_runs(book: Book) -> None:
    """An expired key can be claimed again at once; the record of it stays until the run is swept."""
    book.claim("k", "run_1", ttl_s=DAY_S)
    book.whole("run_1", request_id="k")
    book.later(1)
    report = book.store.sweep()
    assert (report.keys, report.runs, report.events) == (1, 0, 0)
    assert book.store.claims.find("k") is None
    assert book.store.query("SELECT request_id, status FROM idempotency_keys") == [("k", "COMPLETED")]
    assert book.store.sweep(keep=0).events == 10
    assert book.store.query("SELECT * FROM idempotency_keys") == []


def test_decisions_of_a_request_are_counted_without_gaps(book: Book) -> None:
    """Where a request was executed again, the numbers count what is on record."""
    for run in ("run_1", "run_2"):
        book.whole(run, request_id="r")
    numbers = "SELECT run_id, sequence_number FROM decision_traces ORDER BY ALL"
    assert book.store.query(numbers) == [("run_1", 1), ("run_2", 2)]
    book.store.sweep(keep=1)
    assert book.store.query(numbers) == [("run_2", 1)]


# --- what holds them back ---------------------------------------------------------------------


def test_a_run_that_goes_on_is_not_removed(book: Book) -> None:
    """However old, nor the run above it, and the report says why; after its end it goes."""
    book.begin("run_above")
    book.begin("run_below", parent="run_above", open_=True)
    book.whole("run_other")
    book.later(100)
    report = book.store.sweep(older_than="1d")
    assert report.kept == {"run_above": "alive"}
    assert book.runs() == ["run_above", "run_below"]
    book.end("run_below")
    assert book.store.sweep(keep=0).kept == {}
    assert book.runs() == []


@pytest.mark.parametrize("settle", [True, False])
def test_a_run_that_a_key_needs_is_not_removed(book: Book, settle: bool) -> None:
    """As long as the key answers with it, or whoever claimed it is at work; expired, both go."""
    book.claim("k", "run_1", ttl_s=2 * DAY_S, settle=settle)
    book.whole("run_1")
    book.later(1)
    assert book.store.sweep(older_than="0s").kept == {"run_1": "needed by an idempotency key"}
    book.later(1)
    report = book.store.sweep(older_than="0s")
    expected = (1, 1, {}) if settle else (0, 0, {"run_1": "needed by an idempotency key"})
    assert (report.keys, report.runs, report.kept) == expected


def test_a_run_whose_events_are_not_all_in_the_history(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes in between ingest and sweep holds its run back, and the large values that it names."""
    book.begin("run_1")
    digest = book.value("run_1", LARGE)
    book.end("run_1")
    book.whole("run_2")
    log = book.store.log
    read, said = log.read, []

    def read_late(sql: str, params: tuple[Any, ...] = ()) -> list[Any]:
        if "seq > ?" in sql and "payload" in sql and not said:
            said.append(sql)
            book.event("decision", "run_2", "a", point="late", decision="d", output_data={"of": digest})
        return read(sql, params)

    monkeypatch.setattr(log, "read", read_late)
    report = book.store.sweep(keep=0)
    assert said
    assert (report.runs, report.large_values, report.kept) == (1, 0, {"run_2": "still being written"})
    assert book.store.blob(digest) == LARGE
    assert len(book.store.events("run_2")) == 9
    report = book.store.sweep(keep=0)
    assert (report.runs, report.large_values) == (1, 1)


def test_a_run_that_is_taken_up_at_the_last_moment(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is spared: the sweep looks again in the transaction that decides."""
    book.whole("run_1")
    book.whole("run_2")
    transact, taken = book.store.log.transact, []

    def take_up_first(decide: Any, **options: Any) -> Any:
        if not taken:
            taken.append("run_1")
            event = (book.clock.now_us(), "run.resumed", "run_1", None, None, "{}")
            book.store.open_runs.take_up("run_1", "workflow", "w", None, event)
        return transact(decide, **options)

    monkeypatch.setattr(book.store.log, "transact", take_up_first)
    report = book.store.sweep(keep=0)
    assert (report.runs, report.kept) == (1, {"run_1": "alive"})
    assert book.runs() == ["run_1"]
    assert len(book.store.events("run_1")) == 9


def test_reasons_are_few(book: Book) -> None:
    """A run that several things hold back has one reason, the most telling."""
    book.claim("k", "run_1")
    book.begin("run_1", open_=True)
    assert book.store.sweep(keep=0).kept == {"run_1": "alive"}


# --- the trial, the record of it, the words ---------------------------------------------------


def test_a_trial_changes_nothing_and_says_the_same(daily: Book, clock: FakeClock) -> None:
    """Counts and reasons as in earnest; keys, cache, history and log are left as they are."""
    daily.claim("k", "run_1", ttl_s=60)
    daily.cached("c", "run_1")
    clock.advance(60)
    daily.store.ingest()
    before = daily.store.query("SELECT * FROM event ORDER BY seq")
    trial = daily.store.sweep(keep=2, dry_run=True)
    assert trial.dry_run
    assert daily.store.query("SELECT * FROM event ORDER BY seq") == before
    assert daily.store.claims.find("k") is not None
    assert daily.store.log.read("SELECT count(*) FROM cache") == [(1,)]
    assert daily.store.sweep(keep=2).counts == trial.counts
    assert (trial.runs, trial.keys, trial.cache_entries) == (3, 1, 1)


def test_a_sweep_is_on_the_record(daily: Book) -> None:
    """What was asked and how much went, as an event that no sweep removes; of nothing there is none."""
    daily.store.sweep(older_than="3d", keep=["run_4"])
    daily.store.sweep(older_than="3d", keep=["run_4"])
    rows = daily.store.query("SELECT payload FROM events WHERE kind = 'store.swept'")
    (payload,) = (json.loads(row[0]) for row in rows)
    asked = {name: payload.pop(name) for name in ("older_than_s", "keep", "checks_older_than_s")}
    assert asked == {"older_than_s": 3 * DAY_S, "keep": ["run_4"], "checks_older_than_s": None}
    assert payload.pop("pid") > 0
    assert payload.pop("host")
    assert payload == SweepReport(runs=2, events=16, evidence=2).counts
    daily.store.sweep(keep=0)
    assert _count(daily.store, "event") == 2


def test_a_sweep_keeps_the_order_total(daily: Book) -> None:
    """Events that come later have higher numbers than all that were ever given."""
    last = daily.store.log.last_seq()
    daily.store.sweep(keep=0)
    daily.whole("run_5")
    assert [event.seq for event in daily.store.events("run_5")] == list(range(last + 2, last + 10))


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (SweepReport(), "removed nothing"),
        (SweepReport(dry_run=True, bytes_before=7), "would remove nothing"),
        (
            SweepReport(runs=1, events=8, evidence=1, keys=2, bytes_before=12_345_678, bytes_after=2_000_000),
            (
                "removed 1 run, 8 events, 1 piece of evidence, 2 expired keys\n"
                "the store takes 2.0 MB, before 12.3 MB"
            ),
        ),
        (
            SweepReport(
                runs=1200, sub_runs=3, events=9, cache_entries=1, large_values=4, kept={"run_1": "alive"}
            ),
            (
                "removed 1,200 runs (3 more below), 9 events, 4 large values, 1 cached output\n"
                "kept 1 run that was due: run_1 (alive)"
            ),
        ),
        (
            SweepReport(kept={**dict.fromkeys("abc", "alive"), "d": "needed"}, not_compacted="no room"),
            (
                "removed nothing\nkept 4 runs that were due: 3 alive, 1 needed\n"
                "the file was not made smaller: no room"
            ),
        ),
    ],
)
def test_the_words_of_a_report(report: SweepReport, words: str) -> None:
    """Only what there is to say, a sentence a line; the repr on one line."""
    assert str(report) == words
    assert repr(report) == f"<SweepReport: {words.replace(chr(10), '; ')}>"


def test_a_closed_store_is_not_swept(open_store: Callable[..., Store]) -> None:
    """It says so."""
    store = open_store(None)
    store.close()
    with pytest.raises(StoreError, match="is closed"):
        store.sweep(keep=0)
