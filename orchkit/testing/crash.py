"""A job that is killed at each of its commits, in a new process each time."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

from orchkit.errors import ExecutionError, TimeoutExceededError
from orchkit.testing.faults import KILLED_ON_PURPOSE, FaultyStore, When

_CHILD = (
    "import json, sys; order = json.loads(sys.argv[1]); sys.path[:] = order.pop('sys_path'); "
    "from orchkit.testing.crash import live; live(**order)"
)
_MAIN = "__mp_main__"  # as `multiprocessing` calls it, so that ``if __name__ == "__main__"`` does not hold

Job = Callable[[FaultyStore], object]


@dataclass(frozen=True, slots=True)
class Crash:
    """What a job left behind that was killed."""

    when: When
    number: int
    """Of the commit, from 1."""
    path: Path
    """Where its store is, in a folder of its own."""

    @property
    def output(self) -> Path:
        """What it printed, on stdout and stderr: a file beside the store."""
        return self.path.with_name("output.txt")

    def __str__(self) -> str:
        return f"killed {self.when} commit {self.number}"


def crash_points(
    job: Job, folder: str | Path, *, when: When = "after", timeout_s: float = 60.0
) -> Iterator[Crash]:
    """Kill a job at its first commit, at its second, and so on; what each of them left behind.

    Each time, a new process imports the job's file and calls the job with a `FaultyStore` on
    ``folder/after-1/runs.duckdb`` (``after-2``, …), which kills the process at that commit. Whatever else
    the job writes, it best writes beside it: into ``store.path.parent``. It ends with the first process
    that gets through. Taking up the work is what you test::

        def job(store):  # at the top of the test file
            with ok.Kit(store) as kit:
                kit.run(import_letters(kit, store.path.parent))

        @pytest.mark.parametrize("when", ["before", "after"])
        def test_a_crash_loses_no_letter(tmp_path, when):
            for crash in crash_points(job, tmp_path, when=when):
                with ok.open(crash.path) as kit:
                    ...  # do what your users would do after a crash
                assert imported(crash.path.parent) == ["a", "b", "c"], crash

    Both moments are worth a test: *before* a commit the work is done and the record does not know;
    *after* it the record knows and nothing further is done.

    Args:
        job: A function of one argument, the store, at the top level of a file.
        folder: Where the stores are to be; one folder serves one call for each ``when``.
        when: Whether to kill ``"before"`` or ``"after"`` each commit.
        timeout_s: Seconds that one process may take.

    Raises:
        ValueError: The job is no function at the top level of a file.
        ExecutionError: A job fails by itself; the message ends with its traceback.
        TimeoutExceededError: A process took longer than ``timeout_s`` and was stopped.
        FileExistsError: The folder holds the stores of an earlier call.
    """
    source = _source(job)
    for number in count(1):
        path = Path(folder).absolute() / f"{when}-{number}" / "runs.duckdb"
        path.parent.mkdir(parents=True)
        crash = Crash(when, number, path)
        if not _killed({**source, "path": str(path), "when": when, "number": number}, crash, timeout_s):
            return
        yield crash


def _source(job: Job) -> dict[str, str]:
    """Where a new process finds the job."""
    name, module = getattr(job, "__qualname__", ""), getattr(job, "__module__", "")
    file = inspect.getsourcefile(job) if inspect.isfunction(job) else None
    if file is None or not Path(file).is_file() or not name.isidentifier():
        raise ValueError(f"{job!r} must be a function at the top level of a file: a new process imports it")
    return {
        "module": _MAIN if module == "__main__" else module,
        "file": str(Path(file).absolute()),
        "name": name,
    }


def _killed(order: Mapping[str, Any], crash: Crash, timeout_s: float) -> bool:
    """Whether the process was killed by its store; False when it got through."""
    command = [sys.executable, "-c", _CHILD, json.dumps({**order, "sys_path": sys.path})]
    # Not through a pipe, which processes that the job itself has started could hold open.
    with crash.output.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)  # noqa: S603
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutExceededError(f"{order['name']}, to be {crash},", timeout_s) from None
        finally:
            process.kill()
            process.wait()
    said = crash.output.read_text(encoding="utf-8", errors="replace").strip()
    if code != 0 and KILLED_ON_PURPOSE not in said:
        raise ExecutionError(f"{order['name']}, to be {crash}, failed by itself:\n{said}")
    return code != 0


def live(module: str, file: str, name: str, path: str, when: When, number: int) -> None:
    """What the new process does: call the job with a store that kills it at this commit."""
    job: Job = getattr(_load(module, file), name)
    with FaultyStore(path, **{f"kill_{when}": number}) as store:  # type: ignore[arg-type]
        job(store)


def _load(name: str, file: str) -> ModuleType:
    """The module of this file under the name that it has in the test."""
    with suppress(ImportError):  # test files are often imported by their path alone
        found = importlib.import_module(name)
        if found.__file__ is not None and Path(found.__file__).samefile(file):
            return found
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
