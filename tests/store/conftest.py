"""What the tests of the store share: stores that get closed, real processes, strict comparison."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

import pytest

from orchkit.store import codec
from orchkit.store.store import Store
from orchkit.testing import FakeClock

PATIENCE_S = 120.0


class SmallDisk:
    """A file system of a few megabytes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._mount("-t", "tmpfs", "-o", "size=8m", "tmpfs")

    def fill(self, leave: int = 0) -> None:
        """Take all of the space but so many bytes."""
        with (self.folder / "other").open("wb") as file:
            file.write(bytes(max(0, shutil.disk_usage(self.folder).free - leave)))

    def grow(self) -> None:
        """Make room."""
        self._mount("-o", "remount,size=256m")

    def remove(self) -> None:
        """Take it away again."""
        subprocess.run(["umount", "--lazy", self.folder], check=True)

    def _mount(self, *options: str) -> None:
        subprocess.run(["mount", *options, self.folder], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path, require: Callable[[str], str]) -> Iterator[SmallDisk]:
    """A small disk; only root may make one."""
    require("mount")
    try:
        disk = SmallDisk(tmp_path)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no small file system can be mounted here: {error.stderr.decode().strip()}")
    yield disk
    disk.remove()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a store of this test would be."""
    return tmp_path / "runs.duckdb"


@pytest.fixture
def open_store(path: Path) -> Iterator[Callable[..., Store]]:
    """Opens a store on ``path``, or what else is asked for; all are closed at the end."""
    opened: list[Store] = []

    def open_(where: Path | None = path, **options: Any) -> Store:
        opened.append(Store(where, **options))
        return opened[-1]

    yield open_
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., Store]) -> Store:
    """A store on ``path``."""
    return open_store()


@pytest.fixture
def clock() -> FakeClock:
    """Virtual time."""
    return FakeClock()


@pytest.fixture
def memory(open_store: Callable[..., Store], clock: FakeClock) -> Store:
    """A store in memory, on virtual time."""
    return open_store(None, clock=clock)


@pytest.fixture
def emit(memory: Store, clock: FakeClock) -> Callable[..., None]:
    """``emit(kind, run, step, attempt, **payload)`` appends an event one second after the one before."""

    def emit_(
        kind: str,
        run: str | None = "run_1",
        step: str | None = None,
        attempt: int | None = None,
        /,
        **payload: Any,
    ) -> None:
        memory.append(kind, codec.dumps(payload), run_id=run, step_id=step, attempt=attempt)
        clock.advance(1)

    return emit_


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``python -c code args``; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start_(code: str, *args: object, stdin: int | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-c", code, *map(str, args)]
        process = subprocess.Popen(
            command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start_
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def finish() -> Callable[[subprocess.Popen[str]], list[str]]:
    """Waits for a process that must succeed; the lines it printed."""

    def finish_(process: subprocess.Popen[str]) -> list[str]:
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err
        return out.splitlines()

    return finish_


@pytest.fixture
def next_line() -> Callable[[subprocess.Popen[str]], str]:
    """The next line that a process prints; its errors when it prints none."""

    def next_line_(process: subprocess.Popen[str]) -> str:
        stdout, stderr = process.stdout, process.stderr
        assert stdout is not None
        line = stdout.readline().strip()
        assert line, stderr and _rest(stderr)
        return line

    return next_line_


def _rest(stream: IO[str]) -> str:
    return stream.read()


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Waits until something holds that another thread or process does."""

    def until_(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, "it never came"
            time.sleep(0.005)

    return until_


@pytest.fixture(scope="session")
def through() -> Callable[[Any], Any]:
    """A value through pack, JSON text and unpack."""

    def through_(value: Any) -> Any:
        packed = codec.pack(value)
        text, notes = codec.dumps(packed.value), codec.dumps(packed.notes)
        return codec.unpack(codec.loads(text), codec.loads(notes))

    return through_


@pytest.fixture(scope="session")
def identical() -> Callable[[Any, Any], bool]:
    """Equality that tells 1 from True and 1.0, 0.0 from -0.0, and calls NaN the same as NaN."""
    return _identical


def _identical(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return len(left) == len(right) and all(map(_identical, left.items(), right.items()))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(_identical, left, right))
    if isinstance(left, set | frozenset):
        return {(type(item), item) for item in left} == {(type(item), item) for item in right}
    if isinstance(left, float):
        return (math.isnan(left) and math.isnan(right)) or (
            left == right and math.copysign(1, left) == math.copysign(1, right)
        )
    if isinstance(left, complex):
        return _identical(left.real, right.real) and _identical(left.imag, right.imag)
    return str(left) == str(right) if isinstance(left, Decimal) else bool(left == right)
