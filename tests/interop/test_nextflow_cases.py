"""Traces written by hand: other columns, other words, tasks that share a name, files that are no traces."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orchkit as ok
from orchkit.errors import WorkflowValidationError
from orchkit.interop import nextflow
from orchkit.interop.nextflow import units
from orchkit.interop.nextflow.tasks import span_of, tasks_of
from orchkit.interop.nextflow.trace import TraceRow
from orchkit.store.store import Store

Load = Callable[..., ok.Run]
COLUMNS = ("task_id", "name", "status", "exit", "submit", "duration", "realtime")
FIRST = ("1", "align (a)", "FAILED", "137", "2024-05-01 10:00:00.000", "1m", "50s")
SECOND = ("2", "align (a)", "COMPLETED", "0", "2024-05-01 10:01:00.200", "30s", "20s")


def text(columns: Sequence[str], *rows: Sequence[str]) -> str:
    """A trace."""
    return "\n".join("\t".join(cells) for cells in (columns, *rows)) + "\n"


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a trace given as text (or bytes) into a store of its own."""

    def load(content: str | bytes, **arguments: Any) -> ok.Run:
        path = tmp_path / "trace.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        store = Store()
        return ok.Run(store, nextflow.load_trace(path, store, **arguments))

    return load


def told(run: ok.Run) -> list[tuple[Any, ...]]:
    """What the attempts of a run are, without what depends on the columns at hand."""
    columns = ["step_id", "attempt", "status", "started_at", "finished_at", "error_type"]
    return list(run.attempts()[columns].itertuples(index=False, name=None))


# --- columns -------------------------------------------------------------------------------


def test_the_order_of_the_columns_is_free(load: Load) -> None:
    """Columns are found by their names; those that nobody knows are evidence all the same."""
    turned = [tuple(reversed(row)) for row in (COLUMNS, FIRST, SECOND)]
    more = [(*row, extra) for row, extra in zip(turned, ("flavour", "sweet", "sour"), strict=True)]
    run = load(text(*more))
    assert told(run) == told(load(text(COLUMNS, FIRST, SECOND)))
    assert [data["flavour"] for data in run.evidence().evidence_data] == ["sweet", "sour"]


@pytest.mark.parametrize(
    ("columns", "cells"),
    [
        (("submit", "duration"), ("2024-05-01 10:00:00", "1m 30s")),
        (("submit", "complete"), ("2024-05-01 10:00:00", "2024-05-01 10:01:30")),
        (("complete", "duration"), ("2024-05-01 10:01:30", "1m 30s")),
        (("start", "complete"), ("2024-05-01 10:00:00", "2024-05-01 10:01:30")),
        (("start", "realtime"), ("2024-05-01 10:00:00", "1m 30s")),
        (("complete", "realtime"), ("2024-05-01 10:01:30", "1m 30s")),
        (("submit", "realtime"), ("2024-05-01 10:00:00", "1m 30s")),
    ],
    ids="+".join,
)
def test_any_two_columns_of_time_will_do(
    load: Load, columns: tuple[str, str], cells: tuple[str, str]
) -> None:
    """Begin and end are worked out from the columns that are there."""
    run = load(text(("process", "tag", "status", *columns), ("align", "a", "COMPLETED", *cells)))
    begin = datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert told(run) == [("align (a)", 1, "success", begin, begin + timedelta(seconds=90), None)]
    assert run.attempts().duration_ms.tolist() == [90_000]


def test_an_unknown_span_is_unknown(load: Load) -> None:
    """A task of which only the submission is known took nobody knows how long."""
    run = load(text(("name", "status", "submit"), ("align", "COMPLETED", "2024-05-01 10:00:00")))
    assert run.attempts().duration_ms.isna().all()
    assert run.status == "success"


def test_a_line_without_times_stands_where_it_was_written(load: Load) -> None:
    """Lines are written as tasks end: what failed before it was submitted, failed after the line above."""
    lost = ("3", "sort (b)", "FAILED", "-", "-", "-", "-")
    later = ("4", "sort (c)", "COMPLETED", "0", "2024-05-01 10:00:30", "5m", "4m")
    run = load(text(COLUMNS, FIRST, SECOND, lost, later))
    failed = run.attempts().set_index("step_id").loc["sort (b)"]
    assert failed.started_at == failed.finished_at == datetime(2024, 5, 1, 10, 1, 30, 200_000, tzinfo=UTC)
    assert (failed.error_type, run.status) == ("no exit code", "partial")


# --- how values are written ----------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        "2024-05-01 08:00:00.250",
        "2024-05-01T08:00:00,250",
        "2024/05/01 08:00:00.250",
        "2024-05-01T10:00:00.250+02:00",
        "2024-05-01T08:00:00.250Z",
        "1714550400250",
    ],
)
def test_times_are_read_as_nextflow_writes_them(written: str) -> None:
    """ISO with its variants, and milliseconds since the epoch."""
    wanted = int(datetime(2024, 5, 1, 8, tzinfo=UTC).timestamp() * 1e6) + 250_000
    assert units.time_reader(UTC, None)(written) == wanted


def test_times_are_in_the_given_zone(load: Load) -> None:
    """A trace does not say where it was written; whoever loads it can."""
    run = load(text(COLUMNS, FIRST), timezone="Europe/Berlin")
    assert told(run)[0][3] == datetime(2024, 5, 1, 8, tzinfo=UTC)


def test_other_layouts_of_times_can_be_named(load: Load) -> None:
    """What is not ISO is read in the layout that is given."""
    row = ("1", "align", "COMPLETED", "0", "01.05.2024 10:00:00", "1m", "50s")
    assert told(load(text(COLUMNS, row), date_format="%d.%m.%Y %H:%M:%S"))[0][3] == datetime(
        2024, 5, 1, 10, tzinfo=UTC
    )


def test_raw_numbers_and_decimal_commas_say_the_same(load: Load) -> None:
    """``trace.raw`` and another locale change how a value is written, not what it is."""
    columns = ("name", "status", "submit", "duration", "realtime", "%cpu", "peak_rss", "memory", "cpus")
    plain = ("a", "COMPLETED", "2024-05-01 10:00:00", "1m 30s", "16.5s", "46.6%", "1.5 GB", "2 GB", "4")
    comma = ("a", "COMPLETED", "2024-05-01 10:00:00", "1m 30s", "16,5s", "46,6%", "1,5 GB", "2 GB", "4")
    raw = ("a", "COMPLETED", "1714557600000", "90000", "16500", "46.6", "1610612736", "2147483648", "4")
    runs = [load(text(columns, row)) for row in (plain, comma, raw)]
    facts = [run.evidence().evidence_data[0] for run in runs]
    assert facts[0] == facts[1] == facts[2]
    assert (facts[0]["peak_rss_bytes"], facts[0]["memory_bytes"]) == (1.5 * 1024**3, 2 * 1024**3)
    assert (facts[0]["realtime_s"], facts[0]["cpu_percent"], facts[0]["cpus"]) == (16.5, 46.6, 4)
    assert told(runs[0]) == told(runs[1]) == told(runs[2])


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        *(("0ms", 0), ("250ms", 0.25), ("16.2s", 16.2), ("1m 4s", 64), ("18m", 1080), ("2h 30s", 7230)),
        *(("1d 2h 3m 4s", 93784), ("1h4m", 3840), ("3 days", 259200), ("1500", 1.5)),
    ],
)
def test_spans_are_read(written: str, seconds: float) -> None:
    """Days to milliseconds, in any combination."""
    assert units.span(written) == pytest.approx(seconds * 1e6)


@given(st.integers(0, 10**10))
def test_spans_as_nextflow_writes_them_come_back(milliseconds: int) -> None:
    """Whatever it rounds a span to is what we read."""
    written, rounded = _duration(milliseconds)
    assert units.span(written) == rounded * 1000


def _duration(milliseconds: int) -> tuple[str, int]:
    """The text of a span, and the milliseconds that it stands for."""
    if milliseconds < 1000:
        return f"{milliseconds}ms", milliseconds
    if milliseconds < 60_000:
        tenths = milliseconds // 100
        return f"{tenths / 10:g}s", tenths * 100
    seconds = milliseconds // 1000
    parts = zip(
        (seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60, seconds % 60), "dhms", strict=True
    )
    return " ".join(f"{count}{unit}" for count, unit in parts if count), seconds * 1000


@pytest.mark.parametrize(
    ("written", "count"),
    [("0", 0), ("512 B", 512), ("1 KB", 1024), ("1.2 GB", 1288490189), ("3 TB", 3 * 1024**4), ("7", 7)],
)
def test_sizes_are_read(written: str, count: int) -> None:
    """Steps of 1,024, as Nextflow counts."""
    assert units.size(written) == count


# --- what became of a task -----------------------------------------------------------------


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(load: Load) -> None:
    """A trace that went through another system reads the same."""
    plain = text(COLUMNS, FIRST, SECOND)
    assert told(load(b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode())) == told(load(plain))


def test_a_cached_task_was_not_executed(load: Load) -> None:
    """Its result was taken over: a success without attempts, in this run and not when it was computed."""
    old = ("1", "fetch (a)", "CACHED", "0", "2024-04-01 10:00:00", "1m", "50s")
    run = load(text(COLUMNS, old, SECOND))
    steps = run.steps().set_index("step_id")
    assert steps.loc["fetch (a)", ["status", "attempts"]].tolist() == ["success", 0]
    assert "cached" in steps.loc["fetch (a)", "reason"]
    assert run.attempts().step_id.tolist() == ["align (a)"]
    assert run.state.started_us == int(datetime(2024, 5, 1, 10, 1, tzinfo=UTC).timestamp() * 1e6) + 200_000
    assert len(run.evidence()) == 2


def test_a_run_of_cached_tasks_alone_is_a_run(load: Load) -> None:
    """Nothing was executed; it cannot have begun before what it took over was there."""
    run = load(text(COLUMNS, ("1", "a", "CACHED", "0", "2024-04-01 10:00:00", "1m", "50s")))
    assert (run.status, run.duration_ms) == ("success", 0)
    assert run.state.started_us == int(datetime(2024, 4, 1, 10, 1, tzinfo=UTC).timestamp() * 1e6)


def test_tasks_that_the_end_of_the_workflow_found_on_their_way_are_cancelled(load: Load) -> None:
    """Aborted, running and submitted tasks end with the run; what was never submitted has no attempt."""
    run = load(
        text(
            COLUMNS,
            ("1", "a", "FAILED", "1", "2024-05-01 10:00:00", "10m", "9m"),
            ("2", "b", "ABORTED", "-", "2024-05-01 10:01:00", "-", "-"),
            ("3", "c", "RUNNING", "-", "2024-05-01 10:02:00", "-", "-"),
            ("4", "d", "NEW", "-", "-", "-", "-"),
        )
    )
    steps = run.steps().set_index("step_id")
    assert steps.status.to_dict() == {"a": "failed", "b": "cancelled", "c": "cancelled", "d": "cancelled"}
    assert steps.attempts.to_dict() == {"a": 1, "b": 1, "c": 1, "d": 0}
    assert steps.reason.to_dict() == {
        "a": None,
        "b": "aborted",
        "c": "still RUNNING when the workflow ended",
        "d": "still NEW when the workflow ended",
    }
    end = datetime(2024, 5, 1, 10, 10, tzinfo=UTC)
    assert run.attempts().finished_at.tolist() == [end, end, end]
    assert (run.status, run.state.error) == ("failed", "step 'a' failed: exit 1")


@pytest.mark.parametrize(
    ("statuses", "action", "wanted"),
    [
        (("COMPLETED", "COMPLETED"), "-", "success"),
        (("COMPLETED", "CACHED"), "-", "success"),
        (("COMPLETED", "FAILED"), "-", "partial"),
        (("COMPLETED", "FAILED"), "IGNORE", "partial"),
        (("COMPLETED", "FAILED"), "TERMINATE", "failed"),
        (("COMPLETED", "FAILED"), "FINISH", "failed"),
        (("FAILED", "FAILED"), "-", "failed"),
        (("FAILED", "ABORTED"), "-", "failed"),
        (("COMPLETED", "ABORTED"), "-", "cancelled"),
    ],
)
def test_the_status_of_the_run_is_told_by_its_tasks(
    load: Load, statuses: tuple[str, str], action: str, wanted: str
) -> None:
    """The trace itself says nothing about the run."""
    rows = [
        (name, status, "2024-05-01 10:00:00", "1m", action if status == "FAILED" else "-")
        for name, status in zip("ab", statuses, strict=True)
    ]
    assert load(text(("name", "status", "submit", "duration", "error_action"), *rows)).status == wanted


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("1", "exit 1", "exit 1"),
        ("137", "exit 137", "exit 137 (killed by SIGKILL, as when memory runs out)"),
        ("143", "exit 143", "exit 143 (killed by SIGTERM)"),
        ("255", "exit 255", "exit 255"),
        ("2147483647", "no exit code", "failed without an exit code"),
        ("-", "no exit code", "failed without an exit code"),
    ],
)
def test_the_exit_code_is_the_error(load: Load, code: str, kind: str, message: str) -> None:
    """The error's type is the code, so that it can be counted; its text says what the code means."""
    attempt = load(text(COLUMNS, (*FIRST[:3], code, *FIRST[4:]))).attempts().iloc[0]
    assert (attempt.error_type, attempt.error) == (kind, message)


def test_what_nextflow_chose_after_a_failure_is_a_decision(load: Load) -> None:
    """Where the trace has the column, the choice to retry or to give up is on the record."""
    columns = (*COLUMNS, "attempt", "error_action")
    run = load(
        text(columns, (*FIRST, "1", "RETRY"), (*SECOND[:2], "FAILED", "1", *SECOND[4:], "2", "IGNORE"))
    )
    decisions = run.decisions()
    assert decisions.decision.tolist() == ["retry", "give_up"]
    assert decisions.attempt.tolist() == [1, 2]
    assert set(decisions.origin) == {"nextflow"}
    assert set(decisions.decision_point) == {"retry"}


# --- tasks that share a name ---------------------------------------------------------------


def test_different_tasks_of_one_name_are_told_apart(load: Load) -> None:
    """Two tasks with the same tag ran side by side; the retry belongs to the one that had failed."""
    run = load(
        text(
            COLUMNS,
            ("1", "align (a)", "FAILED", "137", "2024-05-01 10:00:00", "10m", "9m"),
            ("2", "align (a)", "COMPLETED", "0", "2024-05-01 10:00:01", "15m", "9m"),
            ("3", "align (a)", "COMPLETED", "0", "2024-05-01 10:10:00", "1m", "50s"),
            ("4", "align (a)", "COMPLETED", "0", "2024-05-01 10:30:00", "1m", "50s"),
        )
    )
    assert sorted(one[:3] for one in told(run)) == [
        ("align (a)", 1, "failed"),
        ("align (a)", 2, "success"),
        ("align (a)_2", 1, "success"),
        ("align (a)_3", 1, "success"),
    ]


def test_a_step_id_that_is_the_name_of_another_task_is_passed_over(load: Load) -> None:
    """Ids are unique whatever tasks are called."""
    rows = [
        (str(number), name, "COMPLETED", "0", f"2024-05-01 10:00:0{number}", "1m", "50s")
        for number, name in enumerate(["a", "a_2", "a", "a_2", "a"], start=1)
    ]
    assert sorted(load(text(COLUMNS, *rows)).steps().step_id) == ["a", "a_2", "a_2_2", "a_3", "a_4"]


@pytest.mark.parametrize("action", ["IGNORE", "FINISH", "TERMINATE"])
def test_what_was_given_up_is_not_continued(load: Load, action: str) -> None:
    """A later task of the same name is another one when the trace says that there was no retry."""
    columns = (*COLUMNS, "error_action")
    run = load(text(columns, (*FIRST, action), (*SECOND, "-")))
    assert run.steps().step_id.tolist() == ["align (a)", "align (a)_2"]


def test_the_attempt_column_tells_whose_retry_it_is(load: Load) -> None:
    """A first attempt is never the retry of another, and numbers stay as they are where lines are missing."""
    columns = (*COLUMNS, "attempt")
    run = load(text(columns, (*FIRST, "2"), (*SECOND, "1")))
    assert {(step, number) for step, number, *_ in told(run)} == {("align (a)", 2), ("align (a)_2", 1)}


def _trace_row(line: int, name: str, ok: bool, begin: int, end: int, attempt: int | None) -> TraceRow:
    return TraceRow(
        line=line,
        name=name,
        process=name,
        tag=None,
        status="COMPLETED" if ok else "FAILED",
        exit=0 if ok else 1,
        attempt=attempt,
        error_action=None,
        submit=begin,
        start=None,
        complete=end,
        duration=end - begin,
        realtime=None,
        cells={},
    )


_SECONDS = st.integers(1, 50).map(lambda seconds: seconds * 1_000_000)
_TASK = st.tuples(_SECONDS, st.lists(st.tuples(_SECONDS, _SECONDS), min_size=1, max_size=4))


@given(st.lists(_TASK, min_size=1, max_size=6), st.booleans(), st.randoms(use_true_random=False))
def test_lines_are_put_together_to_the_tasks_that_they_were(
    made: list[tuple[int, list[tuple[int, int]]]], numbered: bool, rng: Any
) -> None:
    """Tasks of different names come back with all their attempts, in whatever order the lines stand."""
    lines: list[TraceRow] = []
    wanted: dict[str, list[int]] = {}
    for index, (start, tries) in enumerate(made):
        begin = start
        for number, (wait, took) in enumerate(tries, start=1):
            begin += wait
            last = number == len(tries)
            row = _trace_row(
                len(lines) + 2, f"t{index}", last, begin, begin + took, number if numbered else None
            )
            wanted.setdefault(f"t{index}", []).append(row.line)
            lines.append(row)
            begin += took
    rng.shuffle(lines)
    span = span_of(lines)
    assert span is not None
    tasks = tasks_of(lines, span)
    assert {task.step_id: [one.row.line for one in task.tries] for task in tasks} == wanted
    assert all([one.number for one in task.tries] == [*range(1, len(task.tries) + 1)] for task in tasks)


@given(st.lists(_TASK, min_size=1, max_size=6))
def test_no_line_is_lost_when_all_tasks_share_one_name(
    made: list[tuple[int, list[tuple[int, int]]]],
) -> None:
    """Whichever task they are given to, its tries follow each other, and only failures are followed."""
    lines = [
        _trace_row(line, "t", line % 3 == 0, start + wait, start + wait + took, None)
        for line, (start, wait, took) in enumerate(
            ((start, wait, took) for start, tries in made for wait, took in tries), start=2
        )
    ]
    span = span_of(lines)
    assert span is not None
    tasks = tasks_of(lines, span)
    assert sorted(one.row.line for task in tasks for one in task.tries) == [row.line for row in lines]
    assert len({task.step_id for task in tasks}) == len(tasks)
    for task in tasks:
        assert all(one.outcome == "failed" for one in task.tries[:-1])
        ends = [(one.begin, one.end) for one in task.tries]
        assert all(begin <= end for begin, end in ends)
        assert all(ends[i][1] <= ends[i + 1][0] for i in range(len(ends) - 1))


# --- files that are none -------------------------------------------------------------------

BROKEN: Mapping[str, tuple[str | bytes, tuple[str, ...]]] = {
    "another file": ("# Notes\n\nsome text\n", ("line 1", "not the header of a Nextflow trace")),
    "empty": ("", ("line 1", "not the header")),
    "commas": ("task_id,name,status\n1,a,COMPLETED\n", ("line 1", "with tabs between them")),
    "binary": (b"task_id\tname\n\xff\xfe\x00", ("line 2", "not UTF-8")),
    "header alone": (text(COLUMNS), ("no tasks",)),
    "no status": (text(("name", "submit"), ("a", "2024-05-01")), ("line 1", "no column 'status'")),
    "no name": (
        text(("status", "submit"), ("COMPLETED", "2024-05-01")),
        ("line 1", "neither column 'name' nor 'process'"),
    ),
    "no times": (
        text(("name", "status"), ("a", "COMPLETED")),
        ("line 1", "no column of times", "trace.fields"),
    ),
    "twice": (text(("name", "name", "status", "submit")), ("line 1", "column 'name' 2 times")),
    "scripts": (text((*COLUMNS, "script")), ("line 1, column 'script'", "several lines")),
    "cells": (text(COLUMNS, FIRST[:3]), ("line 2", "3 cells under 7 columns")),
    "status": (
        text(COLUMNS, FIRST, (*FIRST[:2], "DONE", *FIRST[3:])),
        ("line 3, column 'status'", "'DONE' is no status", "COMPLETED"),
    ),
    "no status in a line": (
        text(COLUMNS, (*FIRST[:2], "-", *FIRST[3:])),
        ("line 2, column 'status'", "empty"),
    ),
    "nameless": (text(COLUMNS, ("1", "-", *FIRST[2:])), ("line 2, column 'name'", "is empty")),
    "time": (
        text(COLUMNS, (*FIRST[:4], "yesterday", *FIRST[5:])),
        ("line 2, column 'submit'", "'yesterday' is no time such as"),
    ),
    "span": (text(COLUMNS, (*FIRST[:5], "long", "1s")), ("line 2, column 'duration'", "'long' is no span")),
    "unit": (text(COLUMNS, (*FIRST[:5], "3 weeks", "1s")), ("line 2, column 'duration'", "no span of time")),
    "exit": (text(COLUMNS, (*FIRST[:3], "oops", *FIRST[4:])), ("line 2, column 'exit'", "no whole number")),
    "far away": (
        text(COLUMNS, (*FIRST[:4], "9" * 30, *FIRST[5:])),
        ("line 2, column 'submit'", "out of range"),
    ),
    "no time at all": (
        text(COLUMNS, (*FIRST[:4], "-", "-", "-")),
        ("no task that says when it ran",),
    ),
}


@pytest.mark.parametrize(("content", "wanted"), BROKEN.values(), ids=BROKEN.keys())
def test_a_file_that_is_no_trace_is_refused(
    load: Load, content: str | bytes, wanted: tuple[str, ...]
) -> None:
    """The error names the file, the line and the column, and what is wrong there."""
    with pytest.raises(WorkflowValidationError) as caught:
        load(content)
    assert all(part in str(caught.value) for part in ("trace.txt", *wanted)), str(caught.value)


def test_all_problems_are_reported_at_once(load: Load) -> None:
    """Several in one line, and no more than can be read."""
    bad = ("1", "a", "LOST", "x", "never", "long", "1s")
    with pytest.raises(WorkflowValidationError) as caught:
        load(text(COLUMNS, bad))
    assert len(caught.value.problems) == 4
    with pytest.raises(WorkflowValidationError, match="380 more problems"):
        load(text(COLUMNS, *[bad] * 100))


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    """What is not there is not a broken trace."""
    with Store() as store, pytest.raises(FileNotFoundError):
        nextflow.load_trace(tmp_path / "nothing.txt", store)


def test_a_refused_file_leaves_nothing_behind(tmp_path: Path) -> None:
    """Nothing is written before everything is read."""
    path = tmp_path / "trace.txt"
    path.write_text(text(COLUMNS, FIRST, (*SECOND[:4], "never", *SECOND[5:])), encoding="utf-8")
    with Store() as store:
        with pytest.raises(WorkflowValidationError):
            nextflow.load_trace(path, store)
        assert store.query("SELECT count(*) FROM event") == [(0,)]
