"""The timeline of a run: attempts, waits and gaps, to scale, condensed, and in every form it is shown in."""

from __future__ import annotations

import base64
import random
import re
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.analysis.aligned import Side
from orchkit.analysis.known import NOTHING, Known
from orchkit.analysis.timeline import Gap, timeline_of
from orchkit.model.state import RunState
from orchkit.store.store import Store
from orchkit.testing import FakeClock
from orchkit.views.gantt import HEAD
from orchkit.views.run import Run
from orchkit.views.timeline import MOST_ROWS, Gantt
from orchkit.views.timescale import BREAK, Scale

HOUR = 3_600_000


def gantt(recording: Any, known: Known = NOTHING, later_ms: int = 0, **options: Any) -> Gantt:
    """What is drawn of a recorded run, so long after its last event."""
    now = recording.now_us + later_ms * 1000
    return Gantt(timeline_of(Side(recording.state, known), now), **options)


def spans(found: Gantt) -> list[tuple[Any, ...]]:
    """Step, kind, status, begin and length in ms of every stretch."""
    rows = found.frame()[["step_id", "kind", "status", "start_ms", "duration_ms"]]
    return [tuple(row) for row in rows.to_numpy(object).tolist()]


@pytest.fixture
def retried(recording: Any) -> Any:
    """A step that fails once and is tried again after a wait, then another one."""
    run = recording().start("two steps").begin("fetch", ms=10).attempt("fetch", 1, "failed", 40)
    run.decided("fetch", "retry", "retry", "OSError on attempt 1 of 3", 1)
    run.add("attempt.started", "fetch", 2, ms=200)
    run.add("attempt.finished", "fetch", 2, ms=50, status="success").finish("fetch")
    return run.begin("write", ms=1).attempt("write", 1, ms=100).finish("write").end()


def test_attempts_waits_and_idle_time(retried: Any) -> None:
    """Each attempt, the wait before the next with its reason, and what nothing was done in."""
    found = gantt(retried)
    assert spans(found) == [
        (None, "idle", None, 0, 10),
        ("fetch", "attempt", "failed", 10, 40),
        ("fetch", "wait", None, 50, 200),
        (None, "idle", None, 50, 200),
        ("fetch", "attempt", "success", 250, 50),
        (None, "idle", None, 300, 1),
        ("write", "attempt", "success", 301, 100),
    ]
    frame = found.frame()
    assert frame.query("kind == 'wait'")["reason"].tolist() == ["OSError on attempt 1 of 3"]
    assert frame.dtypes.astype(str).tolist() == [
        "object", "str", "Int64", "object", "datetime64[us, UTC]", "datetime64[us, UTC]", "float64",
        "float64", "bool", "Int64", "object",
    ]  # fmt: skip
    assert found.timeline.idle_us == 211_000
    assert found.caption == "two steps: 2 steps in 401 ms, nothing was going on for 211 ms of it"


def test_the_frame_of_a_run_without_steps(recording: Any) -> None:
    """No rows, the same columns."""
    frame = gantt(recording().start()).frame()
    assert frame.empty
    assert list(frame.columns)[:4] == ["step_id", "kind", "attempt", "status"]
    assert "orchkit_timeline" in gantt(recording().start()).svg


def test_a_run_that_goes_on(recording: Any) -> None:
    """What has no end yet goes up to now, which is marked."""
    found = gantt(recording().start().begin("a").add("attempt.started", "a", 1), later_ms=500)
    assert spans(found) == [("a", "attempt", "running", 0, 500)]
    assert found.frame()["open"].tolist() == [True]
    assert "▶ now" in found.svg


def test_a_run_that_was_cut_off(recording: Any) -> None:
    """It ends with the last that is known of it, and what was running is cut off."""
    run = recording("run_1").start().begin("a").add("attempt.started", "a", 1, ms=20)
    run.add("progress", "a", ms=70, fraction=0.5)
    found = gantt(run, Known(given_up={"run_1"}), later_ms=HOUR)
    assert [row[:3] for row in spans(found)] == [
        ("a", "wait", None),
        (None, "idle", None),
        ("a", "attempt", "cut off"),
    ]
    assert found.timeline.end_us == run.now_us
    assert "cut off" in found.caption
    assert "↯ cut off" in found.svg


def test_a_run_that_was_taken_up_again(recording: Any) -> None:
    """The attempt in doubt ends with its process; the hours until somebody went on are a gap of their own."""
    run = recording().start().begin("a").add("attempt.started", "a", 1)
    run.ran("b", ms=100)
    run.add("run.resumed", ms=9 * HOUR, pid=1, again=["a"])
    run.decided(None, "resume", "resume", "its process had ended", input_data={"in_doubt": ["a"]})
    run.begin("a").attempt("a", 2, ms=100).finish("a").end()
    found = gantt(run)
    assert spans(found) == [
        ("a", "attempt", "in doubt", 0, 100),
        ("b", "attempt", "success", 0, 100),
        (None, "cut off", None, 100, 9 * HOUR),
        ("a", "attempt", "success", 100 + 9 * HOUR, 100),
    ]
    assert 'class="break"' in found.svg
    assert "9 h 00 min" in found.svg


def test_maps_and_sub_workflows_are_nested(recording: Any) -> None:
    """Items stand under their map, the steps of a sub-workflow under its step, further to the right."""
    inner = recording("run_2").start("inner").ran("x").end().state
    run = (
        recording().start().begin("m", "t", "map").ran("m[0]", parent="m").ran("m[1]", parent="m").finish("m")
    )
    run.begin("sub", "inner", "workflow", child_run_id="run_2").finish("sub", ms=0).end()
    found = gantt(run, Known(below={("sub",): inner}))
    assert [(row.step_id, row.depth) for row in found.timeline.rows] == [
        ("m", 0),
        ("m[0]", 1),
        ("m[1]", 1),
        ("sub", 0),
        ("sub/x", 1),
    ]
    assert {"step", "attempt"} <= set(found.frame()["kind"])
    assert "\n✓   x" in repr(found)


def _many(recording: Any, count: int) -> Any:
    chance = random.Random(1)
    run = recording().start(f"{count} steps")
    for number in range(count):
        step = f"step_{number}"
        run.begin(step, f"tool_{number % 4}", ms=chance.random()).attempt(step, 1, ms=chance.random() * 50)
        run.finish(step, tool=f"tool_{number % 4}")
    return run.end()


@pytest.mark.parametrize("count", [1, 5, 24, 25, 50, 60, 61, 500, MOST_ROWS])
def test_few_and_many_steps(recording: Any, count: int) -> None:
    """Up to some hundreds each has its row; the more, the smaller they are; no two overlap."""
    svg = gantt(_many(recording, count)).svg
    assert svg.count('class="row ') == count
    marks = [float(y) for y in re.findall(r'class="label" x="[\d.]+" y="([\d.]+)"', svg)]
    assert len(marks) == count
    apart = [after - before for before, after in pairwise(marks)]
    assert all(one >= 12.9 for one in apart)
    assert marks[0] > HEAD


def test_too_many_steps_share_rows(recording: Any) -> None:
    """Above that, steps that call the same tool are in one row, and the caption says so."""
    found = gantt(_many(recording, MOST_ROWS + 1))
    assert [(row.label, row.count) for row in found.drawn.rows] == [
        ("tool_0", 151),
        ("tool_1", 150),
        ("tool_2", 150),
        ("tool_3", 150),
    ]
    assert "condensed to 4 rows" in found.caption
    assert "×151" in found.svg
    assert len(found.frame().query("kind == 'attempt'")) == MOST_ROWS + 1


def test_items_share_the_row_of_their_map(recording: Any) -> None:
    """Where that is enough, only the items of maps are put together."""
    run = recording().start().ran("a").begin("m", "t", "map")
    for place in range(30):
        run.ran(f"m[{place}]", "t", parent="m")
    found = gantt(run.finish("m", tool="t").end(), most_rows=10)
    assert [(row.label, row.count) for row in found.drawn.rows] == [("a", 1), ("m", 30)]


def test_what_a_notebook_is_given(retried: Any, store: Store, clock: FakeClock) -> None:
    """An image, its words and a table of the longest stretches; no scripts, styles or SVG elements."""
    retried.store(store, clock)
    bundle = Run(store, "run_1").timeline()._repr_mimebundle_()
    page = bundle["text/html"]
    assert not any(tag in page for tag in ("<script", "<style", "<svg"))
    found = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert found is not None
    root = ET.fromstring(base64.b64decode(found[1]))
    titles = [one.text for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert "wait of 200 ms before attempt 2: OSError on attempt 1 of 3" in titles
    assert "fetch: attempt 1 failed, 40 ms" in titles
    assert "OSError on attempt 1 of 3" in page
    assert bundle["text/plain"].split("\n")[1].startswith("✓ fetch |")


def test_saving(retried: Any, tmp_path: Any) -> None:
    """An SVG file; another ending is refused by name."""
    path = gantt(retried).save(tmp_path / "run.svg")
    assert path.read_text(encoding="utf-8").startswith("<svg")
    with pytest.raises(ValueError, match=r"run.png"):
        gantt(retried).save(tmp_path / "run.png")


def test_hostile_names_are_inert(hostile_run: Any) -> None:
    """The SVG stays well-formed and the page clean, whatever steps are called."""
    found = gantt(hostile_run)
    ET.fromstring(found.svg)
    assert "<script" not in found._repr_mimebundle_()["text/html"]
    assert "\x1b" not in repr(found)


# --- the scale -----------------------------------------------------------------------------


def test_long_gaps_are_cut_short_only_where_they_fill_the_line() -> None:
    """An hour of nothing takes a little room; a gap of half the run keeps its length."""
    half = Scale(0, 100, [Gap("idle", 20, 70)], 1000)
    assert (half.breaks, half.x(70)) == ([], 700)
    most = Scale(0, 1000, [Gap("idle", 20, 980)], 1000)
    assert len(most.breaks) == 1
    assert most.x(980) - most.x(20) == pytest.approx(BREAK)


@given(
    st.lists(st.integers(0, 10**9), min_size=2, max_size=12, unique=True),
    st.lists(st.integers(0, 10**9), min_size=2, max_size=20),
)
def test_places_keep_the_order_of_times(edges: list[int], times: list[int]) -> None:
    """Whatever is cut short, later is never further left, and everything is on the line."""
    edges.sort()
    gaps = [Gap("idle", *pair) for pair in zip(edges[::2], edges[1::2], strict=False)]
    scale = Scale(edges[0], edges[-1], gaps, 800)
    places = [scale.x(time) for time in sorted(times)]
    assert places == sorted(places)
    assert all(-0.001 <= place <= 800.001 for place in places)
    assert scale.x(edges[0]) == pytest.approx(0)
    assert scale.x(edges[-1]) == pytest.approx(800)


def test_an_empty_state() -> None:
    """A state without any event can be drawn."""
    assert Gantt(timeline_of(Side(RunState(), NOTHING), 5)).svg
