"""What notebooks show: of definitions, runs, results, registries; whatever is wrong with them."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import pandas as pd
import pytest

from orchkit.model.display import bundle_of
from orchkit.model.event import Event
from orchkit.model.result import StepResult, WorkflowResult
from orchkit.model.workflow import Workflow
from orchkit.store.store import Store
from orchkit.testing import FakeClock
from orchkit.views.bundle import bundle
from orchkit.views.palette import STATUS
from orchkit.views.run import Run
from orchkit.views.runs import Runs

ALLOWED = {
    "div",
    "span",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "details",
    "summary",
    "code",
    "img",
    "br",
}


class _Text(HTMLParser):
    """The text of some HTML; notes every tag and whether they are nested well."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.images: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")
        elif tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.parts.append(data)


def _shown(obj: object) -> _Text:
    """What is seen of the HTML; checks that it is well-formed, harmless and shows valid pictures."""
    markup = bundle(obj)["text/html"]
    text = _Text()
    text.feed(markup)
    text.close()
    assert not text.open
    assert text.tags <= ALLOWED
    assert not re.findall(r"(?:src|href)=[\"'](?!data:image/svg\+xml;base64,)", markup)
    for source in text.images:
        ET.fromstring(base64.b64decode(source.partition(",")[2]))
    return text


def _words(obj: object) -> str:
    return " ".join(" ".join(_shown(obj).parts).split())


@pytest.fixture
def flow() -> Workflow:
    """A workflow with options."""
    return Workflow.from_dict(
        {
            "name": "import",
            "description": "Rows into the warehouse.",
            "execution_mode": "dag",
            "timeout": 90,
            "steps": [
                {"id": "read", "tool": "files.read", "params": {"path": "a.csv"}, "retry": 3, "timeout": 2},
                {"id": "clean", "tool": "rows.clean", "over": "${steps.read.rows}", "max_concurrency": 4},
                {"id": "load", "tool": "db.load", "when": "${steps.read.n} > 0", "compensate": "db.remove"},
                {"id": "sub", "workflow": {"name": "notify", "steps": [{"id": "mail", "tool": "mail.send"}]}},
            ],
        }
    )


def test_a_workflow(flow: Workflow) -> None:
    """Its facts, its picture, and each step with what it comes after and its options."""
    words = _words(flow)
    for part in (
        "import", "Rows into the warehouse.", "4 steps", "mode dag", "on failure stop", "timeout 90 s",
        "read files.read path='a.csv'", "up to 3 attempts, exponential", "timeout attempt 2 s",
        "for each of ${steps.read.rows}, 4 at a time", "if ${steps.read.n} > 0", "undone by db.remove",
        "workflow notify",
    ):  # fmt: skip
        assert part in words
    assert len(_shown(flow).images) == 1
    assert bundle(flow)["text/plain"].splitlines() == [
        "import: 4 steps (5 with sub-workflows), dag",
        "  · read (files.read)",
        "  · clean (rows.clean) ← read ×n",
        "  · load (db.load) ← read",
        "  · sub",
        "    · mail (mail.send)",
        "  · undo: db.remove ← load",
    ]


def test_a_workflow_without_options_has_no_column_for_them() -> None:
    """The table of steps shows the columns that say something."""
    flow = Workflow.from_dict({"name": "w", "steps": [{"id": "a", "tool": "t"}, {"id": "b", "tool": "t"}]})
    assert "Steps step calls comes after a t b t a" in _words(flow)


def test_a_workflow_without_steps() -> None:
    """Nothing to draw is said, not drawn."""
    assert "There are no steps to draw." in _words(Workflow(name="empty"))


@pytest.fixture
def run(flow: Workflow, recording: Any, store: Store, clock: FakeClock) -> Run:
    """A failed run of it."""
    done = recording().start(flow, user_id="u_1", casefile_id="c_9")
    done.ran("read", "files.read", ms=1240, output={"rows": [1, 2], "n": 2}).begin(
        "clean", "rows.clean", "map"
    )
    done.ran("clean[0]", "rows.clean", parent="clean").failed("clean[1]", "ValueError: row 1", parent="clean")
    done.decided("clean", "skip_row", "no", "it is needed", origin="user", input_data={"row": 1},
                 evidence=["ev_1"])  # fmt: skip
    done.add(
        "evidence",
        "clean",
        1,
        evidence_id="ev_1",
        type="row",
        source="a.csv",
        data={"line": 2},
        confidence_score=0.75,
    )
    done.finish("clean", "failed", "rows.clean", 0, error="WorkflowExecutionError: 1 of 2 items failed")
    done.skipped("load", "step 'clean' failed").end("failed", "WorkflowExecutionError: 1 of 2 items failed")
    done.store(store, clock)
    return Run(store, "run_1")


def test_a_run(run: Run) -> None:
    """Its status, facts, picture, steps with their results; items, decisions, evidence and the story."""
    words = _words(run)
    for part in (
        "✗ failed import run_1", "started 2025-03-12 14:03:22 UTC", "took 1.26 s", "user u_1",
        "case file c_9", "steps 1 succeeded, 1 failed, 1 was skipped and 1 has not begun",
        'read files.read ✓ success 1 1.24 s {"rows": [1, 2], "n": 2}',
        "2 items of maps", "clean[1] tool ✗ failed 1 10 ms ValueError: row 1",
        "1 decision # step point decision made why based on supported by",
        '1 clean skip_row no by the steps it is needed {"row": 1} row from a.csv, confidence 0.75',
        '1 piece of evidence step type source confidence data clean row a.csv 0.75 {"line": 2}',
        "In words import failed after 1.26 s",
    ):  # fmt: skip
        assert part in words
    assert words.index("clean[1]") < words.index("clean[0]")  # what failed comes first
    assert len(_shown(run).images) == 1
    plain = bundle(run)["text/plain"]
    assert plain.startswith("import failed after 1.26 s: of 4 steps,")
    assert "  ✗ clean (rows.clean) ← read failed 1/2 20 ms" in plain


def test_a_decision_without_evidence_or_inputs_has_no_columns_for_them(
    recording: Any, store: Store, clock: FakeClock
) -> None:
    """Columns that would be empty are left out, and who decided is said in words."""
    recording().start("w").ran("a").decided(None, "cancel", "cancel", "late").end().store(store, clock)
    assert "# step point decision made why 1 the run cancel cancel by the engine late" in _words(
        Run(store, "run_1")
    )


def test_a_cancelled_run_is_no_error(recording: Any, store: Store, clock: FakeClock) -> None:
    """The reason of a cancelled run stands beside a bar in the colour of cancelled, not of failed."""
    recording().start("w").end("cancelled", "the shop closes").store(store, clock)
    markup = bundle(Run(store, "run_1"))["text/html"]
    card, _, _ = markup.partition("<details")
    assert "Cancelled: the shop closes" in card
    assert f"border-left:4px solid {STATUS['cancelled'].colour}" in card
    assert STATUS["failed"].colour not in re.sub('base64,[^"]*', "", card)


def test_a_run_that_does_not_exist(store: Store) -> None:
    """The card says what was wrong; nothing raises."""
    run = Run(store, "run_none")
    assert "Run run_none cannot be shown: unknown run 'run_none'" in _words(run)
    assert repr(run) == "<Run run_none: unknown run 'run_none'>"


def test_after_the_store_was_closed(run: Run, store: Store) -> None:
    """A cell that shows an old run after the store was closed says so instead of raising."""
    runs = Runs(store)
    store.close()
    assert "cannot be shown:" in _words(run)
    assert "cannot be shown:" in _words(runs)
    assert "closed" in repr(run)
    assert "closed" in repr(runs)


def _result(**more: Any) -> WorkflowResult:
    steps = {
        "a": StepResult("a", "success", {"n": 1}, attempts=1, started_us=1_000, finished_us=3_500),
        "b": StepResult(
            "b", "failed", error="ValueError: <b>", attempts=2, started_us=3_500, finished_us=9_500
        ),
        "c": StepResult("c", "skipped", reason="step 'b', which it depends on, did not succeed"),
    }
    fields = {"status": "failed", "steps": steps, "started_us": 1_000, "finished_us": 9_500} | more
    return WorkflowResult("run_1", "wf_1", "import", error="ValueError: <b>", **fields)


def test_a_result_without_a_record() -> None:
    """What the result knows itself is shown where there is no store to ask."""
    words = _words(_result(replayed=True))
    for part in (
        "✗ failed import run_1", "took 8.5 ms", "replayed from the record", 'a ✓ success 1 2.5 ms {"n": 1}',
        "b ✗ failed 2 6 ms ValueError: <b>", "c ↷ skipped step 'b', which",
    ):  # fmt: skip
        assert part in words
    assert bundle(_result())["text/plain"] == (
        "import: failed after 8.5 ms (run_1)\n"
        "  a  success\n"
        "  b  failed, 2 attempts: ValueError: <b>\n"
        "  c  skipped: step 'b', which it depends on, did not succeed"
    )


def test_a_result_with_a_record(run: Run, store: Store) -> None:
    """With a record behind it, the result shows the run with its picture; after closing, itself."""
    result = _result(_open_run=lambda run_id: Run(store, run_id), replayed=True)
    assert len(_shown(result).images) == 1
    assert "replayed from the record" in _words(result)
    store.close()
    assert not _shown(result).images
    assert "took 8.5 ms" in _words(result)


def test_the_list_of_runs(run: Run, recording: Any, store: Store, clock: FakeClock) -> None:
    """The newest twenty, newest first, and how many more there are."""
    for number in range(25):
        recording(f"run_x{number:02}").start(f"job {number}").end(ms=3).store(store, clock)
    words = _words(Runs(store))
    assert "26 runs" in words
    assert words.index("job 24") < words.index("job 6")
    assert "job 4" not in words.replace("job 24", "")
    assert "… and 6 more" in words
    assert bundle(Runs(store))["text/plain"].splitlines()[:2] == [
        "<Runs: 26>",
        "  run_x24  2025-03-12 14:03:23 UTC  success         3 ms  job 24",
    ]


def test_an_empty_list_of_runs(store: Store) -> None:
    """A new store says that nothing has run yet."""
    assert "No run is on the record yet." in _words(Runs(store))


class _Registry:
    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def frame(self) -> pd.DataFrame:
        return self._frame


def test_anything_with_a_frame_is_shown_as_a_table(storable: str) -> None:
    """A registry shows its table; missing values are empty, texts are escaped."""
    frame = pd.DataFrame({"name": [storable, "b"], "domain": [None, "x"], "n": [1.5, float("nan")]})
    words = _words(_Registry(frame))
    assert "_Registry 2 entries name domain n" in words
    assert words.endswith("b x")
    assert "1.5" in words
    assert "Nothing is registered." in _words(_Registry(frame.head(0)))


def test_what_is_not_known_is_left_alone() -> None:
    """Objects of other kinds keep their own text."""
    assert bundle(object()) == {}
    assert bundle_of(object()).keys() == {"text/plain"}


class _Log:
    """A store that has one run, with texts that a real one would refuse."""

    def __init__(self, events: list[Event]) -> None:
        self._events = events
        self.open_runs = SimpleNamespace(all=list)

    def events(self, run_id: str) -> list[Event]:
        return self._events

    def query(self, query: str, params: object = None) -> list[tuple[Any, ...]]:
        return []


def test_hostile_texts_in_every_card(hostile: str, hostile_workflow: Workflow, hostile_run: Any) -> None:
    """Whatever users write, the cards of definition, run and result are well-formed and harmless."""
    steps = {hostile: StepResult(hostile, "failed", hostile, hostile, hostile, 3, 1, 2)}
    run = Run(_Log(hostile_run.events), hostile)  # type: ignore[arg-type]
    for obj in (hostile_workflow, run, _result(steps=steps)):
        assert len(_words(obj)) > 20
        bundle(obj)["text/plain"].encode()
        assert "\x1b" not in bundle(obj)["text/plain"]
    assert "cannot be shown" not in _words(run)


def test_hostile_texts_in_the_list_of_runs(
    storable: str, recording: Any, store: Store, clock: FakeClock
) -> None:
    """The list of runs is, too."""
    recording(storable).start(storable).end("failed", storable).store(store, clock)
    assert "cannot be shown" not in _words(Runs(store))


def test_records_ask_for_their_picture_by_themselves(flow: Workflow) -> None:
    """A workflow shown in a notebook comes with text and HTML, without anything being set up."""
    shown = flow._repr_mimebundle_()
    assert shown.keys() == {"text/plain", "text/html"}
    assert "data:image/svg+xml;base64," in shown["text/html"]


def test_cards_keep_dollars_from_becoming_formulas(flow: Workflow) -> None:
    """References have dollars: the cards are marked so that notebooks do not typeset them."""
    assert 'class="orchkit tex2jax_ignore mathjax_ignore"' in bundle(flow)["text/html"]
