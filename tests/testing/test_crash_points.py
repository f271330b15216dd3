"""A job that is killed at each of its commits: what is left is exactly what was acknowledged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import orchkit as ok
from orchkit.model.event import Event
from orchkit.model.state import fold
from orchkit.store.store import Store
from orchkit.testing import Crash, FaultyStore, crash_points
from orchkit.testing.faults import When

Seen = tuple[str, str | None, int | None]
"""Kind, step and attempt of an event."""


def letters(kit: ok.Kit, folder: Path) -> ok.Workflow:
    """Three steps, one after another, each of which writes a line into a file."""

    def post(letter: str) -> str:
        with (folder / "posted.txt").open("a", encoding="utf-8") as file:
            file.write(f"{letter}\n")
        ok.trace_decision("stamp", "first class")
        return letter

    kit.registry.methods.register_method(post)
    flow = kit.workflow("letters").with_execution_mode("sequential")
    for letter in "abc":
        flow.add_step("post", {"letter": letter}, step_id=letter)
    return flow.build()


def post_letters(store: Store) -> None:
    """The job."""
    with ok.Kit(store) as kit:
        kit.run(letters(kit, store.path.parent)).raise_for_status()  # type: ignore[union-attr]


def seen(events: list[Event]) -> list[Seen]:
    """What can be compared between two processes."""
    return [(event.kind, event.step_id, event.attempt) for event in events]


def posted(folder: Path) -> list[str]:
    """The letters that were really posted."""
    file = folder / "posted.txt"
    return file.read_text(encoding="utf-8").split() if file.exists() else []


@pytest.fixture
def acknowledged(tmp_path: Path) -> list[list[Seen]]:
    """What each commit of the job wrote, in a run that nothing happens to."""
    commits: list[list[Seen]] = []
    (tmp_path / "whole").mkdir()
    store = FaultyStore(tmp_path / "whole" / "runs.duckdb")
    store.subscribe(lambda rows: commits.append([(row[2], row[4], row[5]) for row in rows]))
    post_letters(store)
    assert store.commits == len(commits) >= 4
    return commits


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_record_holds_exactly_what_was_acknowledged(
    tmp_path: Path, acknowledged: list[list[Seen]], when: When
) -> None:
    """For a kill at each commit of the run: all commits up to it and none after, and effects that fit."""
    crashes = 0
    for crash in crash_points(post_letters, tmp_path, when=when):
        crashes += 1
        assert (crash.when, crash.number) == (when, crashes)
        assert "killed on purpose" in crash.output.read_text(encoding="utf-8")
        commits = acknowledged[: crash.number if when == "after" else crash.number - 1]
        with Store(crash.path) as store:
            run_ids = [run_id for (run_id,) in store.query("SELECT run_id FROM runs")]
            events = [event for run_id in run_ids for event in store.events(run_id)]
        assert seen(events) == [event for commit in commits for event in commit], crash
        steps = fold(events).steps
        begun = [name for name in "abc" if name in steps and steps[name].attempts]
        done = [name for name in begun if steps[name].status == "success"]
        # Before a commit all that was begun is done and the record does not know; after it, it does.
        assert posted(crash.path.parent) == (begun if when == "before" else done), crash
    assert crashes == len(acknowledged)


def test_work_is_taken_up_after_each_crash(tmp_path: Path) -> None:
    """A process that looks at the record first loses no letter, and repeats only the one in doubt."""
    for crash in crash_points(post_letters, tmp_path, when="before"):
        with ok.open(crash.path) as kit:
            states = [run.state for run in kit.runs]
            left = [
                letter
                for letter in "abc"
                if not any(state.step(letter).status == "success" for state in states)
            ]
            letters(kit, crash.path.parent)
            flow = kit.workflow("rest").with_execution_mode("sequential")
            for letter in left:
                flow.add_step("post", {"letter": letter}, step_id=letter)
            if left:
                kit.run(flow.build()).raise_for_status()
        there = posted(crash.path.parent)
        assert sorted(set(there)) == ["a", "b", "c"], crash
        assert len(there) <= 4, crash


# --- jobs that do otherwise ----------------------------------------------------------------


def fail_at_once(store: FaultyStore) -> None:
    """A job with a mistake in it."""
    print("on its way")
    raise LookupError("no such letter")


def hang(store: FaultyStore) -> None:
    """A job that waits for nobody."""
    threading.Event().wait()


def hang_with_a_child(store: FaultyStore) -> None:
    """A job that is killed while a process that it has started goes on."""
    child = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait(120)"])
    (store.path.parent / "child").write_text(str(child.pid))  # type: ignore[union-attr]
    store.record("note", {})


def kill_itself(store: FaultyStore) -> None:
    """A job that dies of something else."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_job_that_fails_by_itself_says_how(tmp_path: Path) -> None:
    """Its traceback is in the error, and what it printed in a file."""
    with pytest.raises(
        ok.ExecutionError, match="fail_at_once, to be killed after commit 1, failed"
    ) as failed:
        next(crash_points(fail_at_once, tmp_path))
    assert str(failed.value).endswith("LookupError: no such letter")
    assert "on its way" in (tmp_path / "after-1" / "output.txt").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to be killed by")
def test_another_death_is_not_taken_for_the_store(tmp_path: Path) -> None:
    """Else a job that is always killed (for want of memory, say) would be tried for ever."""
    with pytest.raises(ok.ExecutionError, match="failed by itself"):
        next(crash_points(kill_itself, tmp_path))


def test_a_job_that_hangs_is_stopped(tmp_path: Path) -> None:
    """After the time it was given."""
    with pytest.raises(
        ok.TimeoutExceededError, match=r"hang, to be killed after commit 1, exceeded .* 0\.1 s"
    ):
        next(crash_points(hang, tmp_path, timeout_s=0.1))


@pytest.mark.skipif(sys.platform == "win32", reason="the child is ended by a signal")
def test_a_child_of_the_job_holds_nothing_up(tmp_path: Path) -> None:
    """The crash is seen at once, although a process that the job started lives on."""
    crash = next(crash_points(hang_with_a_child, tmp_path))
    child = int((crash.path.parent / "child").read_text())
    os.kill(child, signal.SIGKILL)  # fails if it is gone
    assert crash == Crash("after", 1, tmp_path / "after-1" / "runs.duckdb")
    assert str(crash) == "killed after commit 1"


def write_nothing(store: FaultyStore) -> None:
    """A job without a commit."""


def test_a_job_without_commits_has_no_crash_points(tmp_path: Path) -> None:
    """The first process gets through, and that is all."""
    assert list(crash_points(write_nothing, tmp_path)) == []


def test_a_folder_serves_once(tmp_path: Path) -> None:
    """Stores of an earlier call are not taken for new ones."""
    assert list(crash_points(write_nothing, tmp_path)) == []
    with pytest.raises(FileExistsError, match="after-1"):
        next(crash_points(write_nothing, tmp_path))


class Jobs:
    """Things that a new process cannot import."""

    def method(self, store: FaultyStore) -> None:
        """Not without an instance."""


@pytest.mark.parametrize(
    "job",
    [lambda store: None, Jobs().method, print, eval("lambda store: None")],
    ids=["lambda", "method", "built-in", "eval"],
)
def test_a_job_must_be_importable(tmp_path: Path, job: Callable[[FaultyStore], object]) -> None:
    """What is no function at the top of a file is refused before anything is started."""
    with pytest.raises(ValueError, match="must be a function at the top level of a file"):
        next(crash_points(job, tmp_path))
    assert list(tmp_path.iterdir()) == []


SCRIPT = """
import sys
from pathlib import Path
from orchkit.testing import crash_points

def job(store):
    store.record("note", {})
    store.record("note", {})

if __name__ == "__main__":
    print(*crash_points(job, Path(sys.argv[1])), sep=", ")
"""


def test_a_script_can_kill_its_own_functions(tmp_path: Path, repository: Path) -> None:
    """What stands under ``if __name__ == "__main__"`` is not run again in the new processes."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(tmp_path / "crashes")]
    env = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, env=env)
    assert (done.stdout, done.stderr) == ("killed after commit 1, killed after commit 2\n", "")
