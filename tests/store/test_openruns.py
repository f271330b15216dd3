"""Runs that have begun and not ended: who may go on with them, and which cannot by themselves."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orchkit.errors import RunInProgressError, StoreFullError
from orchkit.store.claims import Claims, Wanted
from orchkit.store.holdings import Surroundings
from orchkit.store.log import Row
from orchkit.store.openruns import OpenRuns
from orchkit.store.process import Process, Standing, this_process
from orchkit.store.store import Store
from orchkit.testing import FakeClock, FaultyStore

Popen = subprocess.Popen[str]
Start = Callable[..., Popen]
FIRST, SECOND = Process(1, "here", "boot/namespace/1"), Process(2, "here", "boot/namespace/2")
TAKEN_UP: Row = (1, "run.resumed", "run_1", None, None, "{}")


@dataclass
class World:
    """Open runs of several processes on one log; which of them are gone is said by the test."""

    store: Store
    clock: FakeClock
    stands: dict[Process, Standing] = field(default_factory=dict)
    opened: list[OpenRuns | Claims] = field(default_factory=list)

    def around(self, process: Process) -> Surroundings:
        """What a process sees of the others."""
        return Surroundings(lambda: process, lambda other: self.stands.get(other, Standing.ALIVE))

    def runs(self, process: Process = FIRST) -> OpenRuns:
        """Those of one process."""
        runs = OpenRuns(self.store.log, self.clock, around=self.around(process))
        self.opened.append(runs)
        return runs

    def claims(self, process: Process) -> Claims:
        """The claims of one process."""
        claims = Claims(self.store.log, self.clock, around=self.around(process))
        self.opened.append(claims)
        return claims

    def begin(self, runs: OpenRuns, run_id: str = "run_1", parent: str | None = None) -> None:
        """A run begins, on disk."""
        self.store.append("run.started", "{}", run_id=run_id)
        runs.begin(run_id, "workflow", "letters", parent)
        self.store.commit()

    def end(self, runs: OpenRuns, run_id: str = "run_1") -> None:
        """It ends, on disk."""
        self.store.append("run.finished", "{}", run_id=run_id)
        runs.end(run_id)
        self.store.commit()


@pytest.fixture
def world(memory: Store, clock: FakeClock) -> Iterator[World]:
    """One log in memory, on virtual time."""
    world = World(memory, clock)
    yield world
    for one in world.opened:
        one.close()


def take_up(runs: OpenRuns, run_id: str = "run_1", event: Row | None = TAKEN_UP) -> None:
    """Go on with a run."""
    runs.take_up(run_id, "workflow", "letters", None, event)


def kinds(store: Store) -> list[str]:
    """What was written, in order."""
    return [kind for (kind,) in store.query("SELECT kind FROM events ORDER BY seq")]


def ids(runs: OpenRuns) -> tuple[list[str], list[str], list[str]]:
    """All of them, those that were cut off, and those that go on."""
    return [run.run_id for run in runs.all()], [run.run_id for run in runs.cut_off()], sorted(runs.alive())


def test_a_run_is_open_from_its_beginning_to_its_end(world: World) -> None:
    """It is listed with its process from the commit of its first event to that of its last."""
    runs, others = world.runs(FIRST), world.runs(SECOND)
    runs.begin("run_1", "workflow", "letters")
    assert ids(others) == ([], [], [])
    world.begin(runs, "run_2", "run_1")
    (first, second) = others.all()
    assert (first.run_id, first.process, first.parent_run_id) == ("run_1", FIRST, None)
    assert (second.run_id, second.kind, second.name, second.parent_run_id) == (
        "run_2",
        "workflow",
        "letters",
        "run_1",
    )
    assert ids(others) == (["run_1", "run_2"], [], ["run_1", "run_2"])
    world.store.append("run.finished", "{}", run_id="run_1")
    runs.end("run_1")
    assert ids(runs) == ids(others) == (["run_1", "run_2"], [], ["run_1", "run_2"])
    world.store.commit()
    assert ids(others) == (["run_2"], [], ["run_2"])


@pytest.mark.parametrize("fault", ["fail_before", "fail_after"])
def test_a_run_is_open_exactly_when_its_events_say_so(path: Path, fault: str) -> None:
    """Beginning and end are written in the transaction of their events, or not at all and later."""
    with FaultyStore(path, **{fault: 1}) as store:  # type: ignore[arg-type]
        for step in ("run.started", "run.finished"):
            store.append(step, "{}", run_id="run_1")
            if step == "run.started":
                store.open_runs.begin("run_1", "workflow", "letters")
                with pytest.raises(StoreFullError):
                    store.commit()
                assert (
                    len(store.open_runs.all()) == len(store.log.read_after(0, 10)) == (fault == "fail_after")
                )
            else:
                store.open_runs.end("run_1")
            store.commit()
            assert len(store.open_runs.all()) == (step == "run.started")
        assert kinds(store) == ["run.started", "run.finished"]


def test_a_run_that_begins_and_ends_in_one_transaction(world: World) -> None:
    """It was never open, for anybody."""
    runs = world.runs()
    runs.begin("run_1", "workflow", "letters")
    world.end(runs)
    assert ids(runs) == ([], [], [])


@pytest.mark.parametrize(
    ("standing", "lease", "cut_off"),
    [
        (Standing.ALIVE, "live", False),
        (Standing.ALIVE, "over", False),
        (Standing.GONE, "live", True),
        (Standing.UNKNOWN, "live", False),
        (Standing.UNKNOWN, "over", True),
    ],
)
def test_a_run_is_cut_off_when_its_process_is_gone(
    world: World, standing: Standing, lease: str, cut_off: bool
) -> None:
    """Or, where nobody can tell, has been silent for too long: then others may take it up, and only then."""
    world.begin(world.runs(FIRST))
    world.begin(world.runs(FIRST), "run_below", "run_1")
    others = world.runs(SECOND)
    world.stands[FIRST] = standing
    world.clock.advance(55 if lease == "over" else 54.999)
    assert [run.run_id for run in others.cut_off()] == (["run_1"] if cut_off else [])
    assert others.alive() == (set() if cut_off else {"run_1", "run_below"})
    if not cut_off:
        with pytest.raises(RunInProgressError, match="process 1 on here"):
            take_up(others)
        assert kinds(world.store) == ["run.started"] * 2
        return
    take_up(others)
    assert kinds(world.store) == ["run.started"] * 2 + ["run.resumed"]
    assert [run.process for run in others.all() if run.run_id == "run_1"] == [SECOND]
    with pytest.raises(RunInProgressError):
        take_up(world.runs(SECOND))


def test_who_takes_over_a_claim_can_take_up_its_run(world: World) -> None:
    """The lease of a run is never over later than that of its claim, also when they are renewed."""
    claims, runs = world.claims(FIRST), world.runs(FIRST)
    wanted = Wanted("key", "letters", "same", None, 10**12)
    claims.acquire(wanted, "run_1")
    world.clock.advance(0.5)
    world.begin(runs)
    world.stands[FIRST] = Standing.UNKNOWN
    for renewals in range(2):
        if renewals:
            claims.renew()
            world.clock.advance(0.5)
            runs._holdings.renew()
        world.clock.advance(59.499999)
        assert world.claims(SECOND).acquire(wanted, "run_2").verdict == "in_flight"
    world.clock.advance(0.000001)
    assert world.claims(SECOND).acquire(wanted, "run_2").verdict == "take_over"
    take_up(world.runs(SECOND))


def test_an_ended_run_can_be_taken_up_once(world: World) -> None:
    """A run that failed may go on: in one place at a time, and again after its next end."""
    first, second = world.runs(FIRST), world.runs(SECOND)
    world.begin(first)
    world.end(first)
    take_up(second)
    for runs in (first, second):
        with pytest.raises(RunInProgressError, match="process 2 on here"):
            take_up(runs)
    world.end(second)
    take_up(first)
    assert kinds(world.store)[-2:] == ["run.finished", "run.resumed"]


def test_a_run_that_was_given_back_is_as_it_was(world: World) -> None:
    """Who took it up and did not go on leaves it cut off, or ended; nothing of that is on record."""
    first, second = world.runs(FIRST), world.runs(SECOND)
    for ended in (True, False):
        take_up(second, event=None)
        with pytest.raises(RunInProgressError):
            take_up(first)
        second.give_back("run_1", ended=ended)
        assert ids(first) == (([], [], []) if ended else (["run_1"], ["run_1"], []))
    take_up(first)
    assert kinds(world.store) == ["run.resumed"]


@pytest.mark.parametrize("error", [StoreFullError("full"), KeyboardInterrupt()])
def test_a_run_that_could_not_be_taken_up_is_free(
    open_store: Callable[..., Store], error: BaseException
) -> None:
    """An error while it is taken up leaves it to the next one, in the same process too."""
    store = open_store(None)
    writing = store.log.writing

    @contextmanager
    def failing(*, strict: bool) -> Iterator[sqlite3.Connection]:
        with writing(strict=strict) as connection:
            yield connection
            raise error

    store.log.writing = failing  # type: ignore[method-assign]
    with pytest.raises(type(error)):
        take_up(store.open_runs)
    store.log.writing = writing  # type: ignore[method-assign]
    assert ids(store.open_runs) == ([], [], [])
    take_up(store.open_runs)
    assert store.open_runs.alive() == {"run_1"}


def test_the_runs_of_a_closed_store_are_cut_off(open_store: Callable[..., Store]) -> None:
    """What went on when a store was closed can be taken up at once, in this process and in others."""
    first, second = open_store(), open_store()
    first.append("run.started", "{}", run_id="run_1")
    first.open_runs.begin("run_1", "workflow", "letters")
    first.commit()
    assert ids(second.open_runs) == (["run_1"], [], ["run_1"])
    first.close()
    assert ids(second.open_runs) == (["run_1"], ["run_1"], [])
    (run,) = second.open_runs.all()
    assert (run.process, run.lease_us) == (this_process(), 0)
    take_up(second.open_runs)


def test_runs_whose_record_was_removed_are_not_listed(world: World) -> None:
    """Forgotten runs are gone from the list."""
    runs = world.runs()
    for number in range(3):
        world.begin(runs, f"run_{number}")
    runs.forget(["run_0", "run_2", "run_x"])
    assert ids(runs) == (["run_1"], [], ["run_1"])


@pytest.mark.parametrize("name", ["caf\udce9", "a\0b", "naïve \U0001f389"])
def test_runs_of_every_name(world: World, name: str) -> None:
    """A name that is no valid text keeps nobody from writing."""
    runs = world.runs()
    runs.begin("run_1", "workflow", name)
    world.store.append("x", "{}")
    world.store.commit()
    assert [run.name for run in runs.all()] == [name.encode(errors="replace").decode()]


# --- real processes --------------------------------------------------------------------------------

# Begins a run, as durably as it is told, says so, and waits to be killed.
RUNNER = """
import sys
from orchkit.store.store import Store

store = Store(sys.argv[1])
store.append("run.started", "{}", run_id="run_1", durable=sys.argv[2] == "sync")
store.open_runs.begin("run_1", "workflow", "letters")
if sys.argv[2] != "exit":
    store.commit()
print("begun", flush=True)
sys.stdin.readline()
"""
# Takes the run up as soon as it is told.
HEIR = """
import sys, time
from orchkit.errors import RunInProgressError
from orchkit.store.store import Store

store = Store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
event = (1, "run.resumed", "run_1", None, None, "{}")
try:
    store.open_runs.take_up("run_1", "workflow", "letters", None, event)
except RunInProgressError as error:
    print(error.holder, flush=True)
else:
    print("taken up by", store.open_runs.all()[0].process, flush=True)
sys.stdin.readline()
"""


def tell(process: Popen) -> None:
    """Let it go on."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_right_after_a_kill_the_run_is_cut_off(
    path: Path,
    start: Start,
    next_line: Callable[[Popen], str],
    open_store: Callable[..., Store],
    durability: str,
) -> None:
    """As far as anything of it is on record: with ``exit`` nothing is before its end, and no run is open."""
    runner = start(RUNNER, path, durability, stdin=subprocess.PIPE)
    assert next_line(runner) == "begun"
    runs = open_store().open_runs
    there = [] if durability == "exit" else ["run_1"]
    assert ids(runs) == (there, [], there)
    runner.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, runner.pid, os.WSTOPPED | os.WNOWAIT)
    assert ids(runs) == (there, [], there)
    runner.kill()
    os.waitid(os.P_PID, runner.pid, os.WEXITED | os.WNOWAIT)
    assert ids(runs) == (there, there, [])


@pytest.mark.parametrize("before", ["cut off", "ended"])
def test_one_of_eight_processes_takes_a_run_up(
    path: Path,
    start: Start,
    next_line: Callable[[Popen], str],
    open_store: Callable[..., Store],
    before: str,
) -> None:
    """All of them try at the same time; the others are told by whom it goes on."""
    store = open_store()
    if before == "cut off":
        runner = start(RUNNER, path, "sync", stdin=subprocess.PIPE)
        assert next_line(runner) == "begun"
        runner.kill()
        runner.communicate()
    else:
        store.append("run.finished", "{}", run_id="run_1")
        store.commit()
    heirs = [start(HEIR, path, stdin=subprocess.PIPE) for _ in range(8)]
    assert [next_line(heir) for heir in heirs] == ["ready"] * 8
    for heir in heirs:
        tell(heir)
    said = [next_line(heir) for heir in heirs]
    (winner,) = [line.removeprefix("taken up by ") for line in said if line.startswith("taken up by")]
    assert said.count(winner) == 7
    assert int(winner.split()[1]) in [heir.pid for heir in heirs]
    assert ids(store.open_runs) == (["run_1"], [], ["run_1"])
    assert kinds(store).count("run.resumed") == 1
    for heir in heirs:
        heir.kill()
        heir.communicate()
    assert ids(store.open_runs) == (["run_1"], ["run_1"], [])
