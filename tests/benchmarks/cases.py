"""Everything that is measured: the workloads, the candidates, the lines of the table, the targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ingest import QUESTIONS
from replay import browser
from task import Guarantee, Task
from uptime import QUESTIONS as UPTIME


@dataclass(frozen=True)
class Target:
    """What a line should come to; ``of`` says whether that is its value or its ratio to the floor."""

    limit: float
    text: str
    of: str = "value"
    at_least: bool = False
    applies: bool = True
    """False: shown, but this measurement is too small to say."""

    def met(self, value: float) -> bool:
        """Whether this number is good enough."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True)
class Line:
    """One number of a measurement as the table shows it: ``number * scale`` in ``unit``."""

    label: str
    key: str = "seconds"
    unit: str = "s"
    scale: float = 1.0
    target: Target | None = None


@dataclass(frozen=True)
class Case:
    """One candidate in one workload, and the lines that come of it."""

    task: Task
    lines: tuple[Line, ...]
    peer: bool = False
    beside: str | None = None
    """For a peer: the variant of orchkit that it is compared with."""


@dataclass(frozen=True)
class Section:
    """The cases that are measured in turn, round after round."""

    id: str
    title: str
    cases: tuple[Case, ...]
    rounds: int | None = None
    """So many rounds, whatever was asked for."""
    at_most: int | None = None
    """Not more than so many: what takes long."""

    def turns(self, asked: int) -> int:
        """How many rounds it gets."""
        return self.rounds or min(asked, self.at_most or asked)


@dataclass(frozen=True)
class Sizes:
    """How much work each workload is."""

    commits: int = 1_000
    chain: int = 1_000
    growth: int = 1_000
    during_ingest: int = 10_000
    fan: int = 1_000
    runs: int = 300
    naps: int = 100
    retries: int = 200
    repeats: int = 1_000
    log: int = 1_000_000
    """Events."""
    ingest: int = 50_000
    """Steps."""
    history: int = 1_000_000
    """Attempts."""
    checks: int = 1_000_000
    """Of services."""
    replay: int = 10_000
    """Events."""
    imports: int = 10
    most_rounds: int = 3
    """Of the measurements that take long."""


LARGE = 10_000_000
"""Attempts in the history that the design speaks of."""
TINY = Sizes(
    commits=20,
    chain=20,
    growth=5,
    during_ingest=50,
    fan=20,
    runs=3,
    naps=5,
    retries=5,
    repeats=5,
    log=400,
    ingest=200,
    history=3_000,
    checks=2_000,
    replay=100,
    imports=1,
    most_rounds=1,
)

ATTEMPTS_FULL = Guarantee("attempts", "power loss")
ORCHKIT: dict[str, Guarantee] = {
    "sync": ATTEMPTS_FULL,
    "async": Guarantee("attempts", "killed process"),
    "exit": Guarantee("run", "killed process"),
}
# (name, module, variant, guarantee, the orchkit that gives the nearest guarantee)
PEERS = (
    ("DBOS", "with_dbos", "default", Guarantee("results", "power loss"), "sync"),
    ("DBOS, WAL", "with_dbos", "wal", Guarantee("results", "power loss"), "sync"),
    ("LangGraph sync", "with_langgraph", "sync", Guarantee("results", "power loss"), "sync"),
    ("LangGraph exit", "with_langgraph", "exit", Guarantee("run", "power loss"), "exit"),
)


@dataclass(frozen=True)
class Race:
    """A workload that orchkit and its peers run side by side."""

    id: str
    title: str
    workload: str
    size: int
    unit: str = "s"
    targets: dict[str, Target] = field(default_factory=dict)
    """By durability."""

    def section(self) -> Section:
        """The candidates in the order in which they take turns."""
        return Section(self.id, self.title, tuple(self._cases()))

    def _cases(self) -> Iterator[Case]:
        scale = 1000 / self.size if self.unit == "ms/step" else 1.0
        for variant, guarantee in ORCHKIT.items():
            line = Line(f"orchkit {variant}", unit=self.unit, scale=scale, target=self.targets.get(variant))
            task = Task("with_orchkit", variant, self.workload, self.size, guarantee)
            yield Case(task, (line,))
        if self.workload == "naps_sync":
            return
        for name, module, variant, guarantee, beside in PEERS:
            task = Task(module, variant, self.workload, self.size, guarantee)
            yield Case(task, (Line(name, unit=self.unit, scale=scale),), peer=True, beside=beside)


def sections(sizes: Sizes) -> list[Section]:
    """All of them, in the order of the table."""
    return [
        _floor(sizes),
        *(race.section() for race in _chains(sizes)),
        _growth(sizes),
        _during_ingest(sizes),
        *(race.section() for race in _others(sizes)),
        _repeats(sizes),
        _imports(sizes),
        _ingest(sizes),
        _reopen(sizes),
        _history(sizes),
        _uptime(sizes),
        *([_replay(sizes)] if browser() else []),
    ]


def _floor(sizes: Sizes) -> Section:
    labels = {
        "full": "one SQLite FULL commit of one row",
        "full_in_place": "the same, with the WAL file at full size before",
        "fdatasync": "one fdatasync of an appended 200-byte record",
        "normal": "one SQLite NORMAL commit of one row",
    }
    cases = tuple(
        Case(Task("floor", "", workload, sizes.commits), (Line(label, "value", "ms"),))
        for workload, label in labels.items()
    )
    return Section("floor", f"Floor: bare SQLite, bare file (mean of {sizes.commits:,})", cases)


def _chains(sizes: Sizes) -> Iterator[Race]:
    targets = {
        "sync": Target(2.0, "≤ 2 × floor", of="ratio"),
        "async": Target(0.08, "≤ 0.08 ms/step"),
    }
    size = sizes.chain
    yield Race("W1", f"W1  chain of {size:,} steps, async functions", "chain", size, "ms/step", targets)
    yield Race("W1", f"W1  chain of {size:,} steps, sync functions", "chain_sync", size, "ms/step")


def _others(sizes: Sizes) -> Iterator[Race]:
    yield Race(
        "W2",
        f"W2  source → {sizes.fan:,} parallel → join",
        "fan",
        sizes.fan,
        targets={"sync": Target(0.1, "≤ 0.1 s")},
    )
    runs = {"sync": Target(0.5, "≤ 0.5 s")}
    yield Race(
        "W3", f"W3  {sizes.runs:,} runs × 5 steps, one after the other", "runs", sizes.runs, targets=runs
    )
    napping = {"sync": Target(0.06, "≤ 0.06 s")}
    naps = f"W4  {sizes.naps:,} parallel sleeps of 50 ms"
    yield Race("W4", f"{naps}, async functions", "naps", sizes.naps, targets=napping)
    yield Race("W4", f"{naps}, sync functions", "naps_sync", sizes.naps)
    retries = {"sync": Target(0.2, "≤ 0.2 s")}
    yield Race(
        "W5",
        f"W5  {sizes.retries:,} steps that fail twice, then succeed",
        "retries",
        sizes.retries,
        targets=retries,
    )


def _repeats(sizes: Sizes) -> Section:
    warm, cold = Target(30.0, "≤ 30 µs"), Target(60.0, "≤ 60 µs")
    lines = (
        Line("orchestrator.execute, the same key", "pipeline_warm", "µs", target=warm),
        Line("   … another key each time", "pipeline_cold", "µs", target=cold),
        Line("kit.run, the same key", "run_warm", "µs", target=warm),
        Line("   … another key each time", "run_cold", "µs", target=cold),
        Line("await kit.execute, the same key", "await_warm", "µs", target=warm),
    )
    cases = [Case(Task("repeats", "", "repeats", sizes.repeats), lines)]
    for name, variant in (("DBOS", "default"), ("DBOS, WAL", "wal")):
        task = Task("with_dbos", variant, "repeats", sizes.repeats)
        cases.append(Case(task, (Line(name, unit="µs", scale=1e6 / sizes.repeats),), peer=True))
    title = f"W6  {sizes.repeats:,} repeats of a completed key"
    return Section("W6", title, tuple(cases))


def _reopen(sizes: Sizes) -> Section:
    lines = (
        Line("open", "open_ms", "ms"),
        Line("the first question, all ingested before", "first_s", "s"),
        Line("open again, the log empty", "emptied_ms", "ms"),
    )
    case = Case(Task("reopen", "", "reopen", sizes.log), lines)
    return Section(
        "reopen", f"A store with {sizes.log:,} events in its log", (case,), at_most=sizes.most_rounds
    )


def _replay(sizes: Sizes) -> Section:
    """Where there is a browser to measure in."""
    quick = Target(50.0, "≤ 50 ms")
    lines = (
        Line("write the file", "written_s", "s"),
        Line("open it, until the first event is shown", "opened_s", "s", target=Target(2.0, "≤ 2 s")),
        Line("a step, 95 of 100 below", "step_ms", "ms", target=quick),
        Line("a jump", "jump_ms", "ms", target=quick),
        Line("a jump, with the list of events open", "listed_ms", "ms", target=quick),
        Line("size of the file", "file_mb", "MB"),
    )
    case = Case(Task("replay", "", "replay", sizes.replay), lines)
    title = f"Replay of {sizes.replay:,} events, in Chromium"
    return Section("replay", title, (case,), at_most=sizes.most_rounds)


def _growth(sizes: Sizes) -> Section:
    short, long = f"{sizes.growth:,}", f"{sizes.growth * 100:,}"
    target = Target(1.3, "≤ 1.3")
    cases = tuple(
        Case(
            Task("with_orchkit", variant, "growth", sizes.growth),
            (
                Line(f"orchkit {variant}, run", "long_ms", "ms/step"),
                Line("   … checking and compiling it", "compile_s", "s"),
                Line(f"   … a step, over one of {short}", "ratio", "×", target=target),
                Line("   … the same with compiling", "ratio_compiling", "×", target=target),
            ),
        )
        for variant in ("sync", "async")
    )
    return Section("W1", f"W1  chain of {long} steps, async functions", cases, at_most=sizes.most_rounds)


def _during_ingest(sizes: Sizes) -> Section:
    cases = tuple(
        Case(
            Task("with_orchkit", variant, "during_ingest", sizes.during_ingest),
            (
                Line(f"orchkit {variant}, nothing else going on", "alone_ms", "ms/step"),
                Line(f"orchkit {variant}, as the last run is ingested", "busy_ms", "ms/step"),
                Line("   … over nothing else going on", "cost", "×"),
                Line("   … measurements that the ingest took part in", "begun", "%", 100.0),
            ),
        )
        for variant in ("sync", "async")
    )
    title = f"W1  chain of {sizes.during_ingest:,} steps, background ingest on"
    return Section("W1", title, cases, at_most=sizes.most_rounds)


def _imports(sizes: Sizes) -> Section:
    target = Target(200.0, "≤ 200 ms")
    labels = {
        "floor": ("floor: pydantic and asyncio", None),
        "orchkit": ("import orchkit", target),
        "orchkit.open": ("import orchkit; orchkit.open", target),
        "orchkit.open()": ("import orchkit; orchkit.open()", target),
        "dbos": ("import dbos", None),
        "langgraph": ("import langgraph.graph", None),
    }
    cases = tuple(
        Case(
            Task("import_time", variant, "import", 1),
            (Line(label, "value", "ms", target=goal),),
            peer=variant in ("dbos", "langgraph"),
            beside="orchkit.open" if variant in ("dbos", "langgraph") else None,
        )
        for variant, (label, goal) in labels.items()
    )
    return Section("W7", "W7  time to import, above that of bare Python", cases, sizes.imports)


def _ingest(sizes: Sizes) -> Section:
    lines = (
        Line("ingest, one thread", "ingest", "events/s", target=_INGEST),
        *(Line(question, question, "ms") for question in QUESTIONS),
        Line("size of the history", "size of the history", "bytes/event"),
    )
    case = Case(Task("ingest_rows", "", "ingest", sizes.ingest), lines)
    return Section("ingest", f"Ingest of {sizes.ingest:,} steps, and the history asked", (case,))


def _history(sizes: Sizes) -> Section:
    size = sizes.history
    goal = Target(0.5, "< 0.5 s at 10 M", applies=size >= LARGE)
    lines = (
        Line("ingest of the events on the way", "events_per_s", "events/s", target=_INGEST),
        Line("attempts by step with retry count", "by_step_s", "s", target=goal),
        Line("   … the first time, after opening the file", "first_s", "s"),
        Line("steps of one run", "one_run_s", "s"),
        Line("size of the history", "file_mb", "MB"),
    )
    case = Case(Task("history_query", "", "history", size), lines)
    return Section("history", f"History of {size:,} attempts", (case,), 1)


def _uptime(sizes: Sizes) -> Section:
    size = sizes.checks
    goal = Target(0.5, "< 0.5 s at 1 M", applies=size >= 1_000_000)
    lines = tuple(
        Line(f"{name.replace('_', ' ')}, asked of a {where}", f"{where}_{name}", "s", target=goal)
        for where in ("store", "frame")
        for name in UPTIME
    )
    case = Case(Task("uptime", "", "uptime", size), lines)
    return Section("uptime", f"Uptime of {size:,} checks of 10 services", (case,), 1)


_INGEST = Target(200_000, "≥ 200,000/s", at_least=True)
