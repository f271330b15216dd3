"""A recorded Nextflow trace, and what the record makes of it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

import orchkit as ok
from orchkit.interop import nextflow
from orchkit.interop.nextflow.events import events_of
from orchkit.interop.nextflow.tasks import span_of, tasks_of
from orchkit.interop.nextflow.trace import read
from orchkit.store.store import Store

UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}


@pytest.fixture(scope="module")
def path(shared_data: Path) -> Path:
    """The recorded trace."""
    (found,) = (shared_data / "nextflow_trace").glob("*.tsv")
    return found


@pytest.fixture(scope="module")
def rows(path: Path) -> pd.DataFrame:
    """The trace as pandas reads it, with the spans in seconds: counted without any of our code."""
    frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    for column in ("duration", "realtime"):
        frame[f"{column}_s"] = frame[column].map(
            lambda text: sum(float(n) * UNITS[unit] for n, unit in re.findall(r"([\d.]+)(ms|[dhms])", text))
        )
    frame["submitted"] = pd.to_datetime(frame["submit"], utc=True)
    return frame.sort_values("submitted", kind="stable")


@pytest.fixture(scope="module")
def kit() -> Iterator[ok.Kit]:
    """A kit that the trace is loaded into once."""
    with ok.open() as kit:
        yield kit


@pytest.fixture(scope="module")
def run(path: Path, kit: ok.Kit) -> ok.Run:
    """The loaded run."""
    return kit.runs[nextflow.load_trace(path, kit)]


# --- the figures ---------------------------------------------------------------------------


def test_tasks_attempts_and_failures_are_those_of_the_trace(run: ok.Run, rows: pd.DataFrame) -> None:
    """852 tasks, 1,368 attempts, 516 failed, 477 of them with exit 137: as pandas counts them, too."""
    attempts, steps = run.attempts(), run.steps()
    failed = attempts[attempts.status == "failed"]
    assert (len(steps), len(attempts), len(failed)) == (852, 1368, 516)
    assert (len(steps), len(attempts)) == (rows.name.nunique(), len(rows))
    assert len(failed) == (rows.status == "FAILED").sum()
    assert failed.error_type.value_counts().to_dict() == {"exit 137": 477, "no exit code": 39}
    assert rows[rows.status == "FAILED"].exit.value_counts().to_dict() == {"137": 477, "-": 39}


def test_tasks_finish_on_the_attempt_on_which_they_did(run: ok.Run, rows: pd.DataFrame) -> None:
    """591, 74, 130, 46 and 11 tasks finished on their first, second, third, fourth and fifth attempt."""
    attempts = run.attempts()
    won = attempts[attempts.status == "success"].attempt.value_counts().to_dict()
    assert won == {1: 591, 2: 74, 3: 130, 4: 46, 5: 11}
    assert won == rows.groupby("name").size().value_counts().to_dict()
    assert run.steps().attempts.value_counts().to_dict() == won


def test_each_task_has_its_own_attempts_in_their_order(run: ok.Run, rows: pd.DataFrame) -> None:
    """Per task, the statuses of the attempts are those of its lines by the time of submission."""
    words = {"COMPLETED": "success", "FAILED": "failed"}
    theirs = {name: [words[one] for one in lines.status] for name, lines in rows.groupby("name")}
    attempts = run.attempts().sort_values(["step_id", "attempt"])
    ours = {step: lines.status.tolist() for step, lines in attempts.groupby("step_id")}
    assert ours == theirs
    assert all(
        lines.attempt.tolist() == [*range(1, len(lines) + 1)] for _, lines in attempts.groupby("step_id")
    )


def test_times_are_those_of_the_trace(run: ok.Run, rows: pd.DataFrame) -> None:
    """Attempts begin when they were submitted and take what the trace calls duration."""
    ours = run.attempts().sort_values(["step_id", "attempt"])
    theirs = rows.sort_values(["name", "submitted"], kind="stable")
    assert ours.step_id.tolist() == theirs.name.tolist()
    assert (ours.started_at.tolist()) == theirs.submitted.tolist()
    assert ours.duration_ms.tolist() == pytest.approx((theirs.duration_s * 1000).tolist())
    assert run.state.started_us == int(rows.submitted.min().timestamp() * 1e6)


def test_an_attempt_ends_before_the_next_begins(run: ok.Run) -> None:
    """Ends that are worked out from rounded spans are never later than what followed them."""
    attempts = run.attempts().sort_values(["step_id", "attempt"])
    following = attempts.groupby("step_id").started_at.shift(-1)
    later = following.notna()
    assert later.sum() == 516
    assert (attempts.finished_at[later] <= following[later]).all()
    assert (attempts.started_at <= attempts.finished_at).all()


def test_events_are_in_the_order_of_time(run: ok.Run) -> None:
    """The record can be played from its begin to its end."""
    events = run.events()
    assert events.ts.is_monotonic_increasing
    assert [events.kind.iloc[place] for place in (0, -2, -1)] == [
        "run.started",
        "run.finished",
        "run.imported",
    ]


def test_steps_are_called_after_process_and_tag(run: ok.Run, rows: pd.DataFrame) -> None:
    """A step's id is the task's name, its name that of the process, its input the tag."""
    steps = run.steps().set_index("step_id")
    assert steps.name.value_counts().to_dict() == (
        rows.drop_duplicates("name").name.str.split(" ").str[0].value_counts().to_dict()
    )
    assert steps.loc["list_methods (denoising)", "input"] == {"tag": "denoising"}
    assert steps.loc["list_tasks", "input"] == {}


def test_resources_are_evidence_of_the_attempt(run: ok.Run, rows: pd.DataFrame) -> None:
    """Every line is evidence: sizes in bytes, shares in percent, spans in seconds, nothing left out."""
    evidence = run.evidence()
    assert len(evidence) == len(rows)
    first = evidence[evidence.step_id == "get_software_versions"].evidence_data.iloc[0]
    assert first["peak_rss_bytes"] == round(201.2 * 1024**2)
    assert (first["cpu_percent"], first["realtime_s"], first["exit"]) == (46.6, 16.2, 0)
    assert first["hash"] == "2c/42dd16"
    spent = sum(data["realtime_s"] for data in evidence.evidence_data)
    assert spent == pytest.approx(rows.realtime_s.sum())


# --- how it stands in the store ------------------------------------------------------------


def test_the_run_says_that_it_was_imported(run: ok.Run, path: Path) -> None:
    """It names its format, its file and the hash, and no process: nobody takes it for one of this machine."""
    started = run.events().payload.iloc[0]
    assert started["kind"] == "workflow"
    assert started["imported"]["format"] == "nextflow"
    assert started["imported"]["file"] == path.name
    assert len(started["imported"]["hash"]) == 64
    assert not {"pid", "host"} & started.keys()
    assert run.events().payload.iloc[-1] == started["imported"]
    assert (run.status, run.cut_off, run.name) == ("success", False, path.stem)


def test_the_table_of_runs_says_so_too(kit: ok.Kit, run: ok.Run) -> None:
    """It counts neither as one that goes on here nor as one that can be taken up."""
    (row,) = kit.runs.frame().to_dict("records")
    assert (row["run_id"], row["imported"], row["status"]) == (run.id, True, "success")
    assert row["duration_ms"] == run.duration_ms


def test_loading_it_again_adds_nothing(run: ok.Run, kit: ok.Kit, path: Path, tmp_path: Path) -> None:
    """The second load returns the first run, also for a copy under another name, and also from the store."""
    events = len(run.events())
    copy = tmp_path / "copy.txt"
    copy.write_bytes(path.read_bytes())
    assert nextflow.load_trace(path, kit.store) == run.id
    assert nextflow.load_trace(copy, kit, name="another") == run.id
    assert (len(run.events()), len(kit.runs)) == (events, 1)


def test_two_loads_at_once_make_one_run(path: Path, tmp_path: Path) -> None:
    """Whoever comes second waits for the first, in this process or another."""
    with Store(tmp_path / "runs.duckdb") as one, Store(tmp_path / "runs.duckdb") as other:
        threads = [
            threading.Thread(target=nextflow.load_trace, args=(path, store)) for store in (one, other, one)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert one.query(
            "SELECT kind, count(*) FROM event WHERE kind LIKE 'run.%' GROUP BY 1 ORDER BY 1"
        ) == [
            ("run.finished", 1),
            ("run.imported", 1),
            ("run.started", 1),
        ]
        assert one.query("SELECT count(*) FROM attempts") == [(1368,)]


@pytest.mark.parametrize("written", [1, 2, 1000])
def test_a_load_that_was_killed_is_taken_up(path: Path, run: ok.Run, written: int) -> None:
    """What a killed load had written is kept and completed: the same events as from one that was not."""
    trace = read(path)
    span = span_of(trace.rows)
    assert span is not None
    events = events_of(trace, tasks_of(trace.rows, span), span, run.id, path.stem)
    with Store() as store:
        for event in events[:written]:
            store.log.append(event, durable=True)
        store.commit()
        assert nextflow.load_trace(path, store) == run.id
        ours, wanted = (one.events().drop(columns="seq") for one in (ok.Run(store, run.id), run))
        # The last one says when it was imported.
        pd.testing.assert_frame_equal(ours.head(-1), wanted.head(-1))
        assert ours.payload.iloc[-1] == wanted.payload.iloc[-1]


def test_it_shows_and_explains_itself(run: ok.Run) -> None:
    """An imported run is shown and explained like any other."""
    assert "all 852 steps succeeded" in run.explain()
    step = run.attempts().query("attempt == 5").step_id.iloc[0]
    assert "exit 137 (killed by SIGKILL" in run.explain(step)
    shown = run._repr_mimebundle_()
    assert "852" in shown["text/plain"]
    assert "a record of nextflow" in shown["text/html"]
