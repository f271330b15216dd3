"""Several processes that all want to execute the same keys at the same time, through one of the doors.

`check` starts them and looks at what came of it. Each runs this file with DOOR STORE EFFECTS NUMBER KEYS: it
waits for a line on stdin, so that all begin together, and prints its outcomes as JSON. Each execution appends
a line to the file EFFECTS.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchkit.engine.orchestrator import BaseOrchestrator
from orchkit.errors import DuplicateRequestError
from orchkit.ids import new_id
from orchkit.kit import Kit
from orchkit.model.idempotency import RequestStatus
from orchkit.store import codec
from orchkit.store.claims import Wanted, fingerprint
from orchkit.store.store import Store

THREADS = 2
Call = Callable[[str], str]
"""Executes a key, or gets its recorded result; raises `DuplicateRequestError` while another executes it."""


class Effects:
    """Side effects, counted in a file; the result of each tells who did it."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def happen(self, key: str) -> str:
        """Do it; returns something that no other execution returns."""
        result = f"{key} by {os.getpid()}, {new_id('effect')}"
        os.write(self._file, f"{result}\n".encode())
        return result


def by_claims(store: Store, effects: Effects) -> Call:
    """Through the claims themselves."""
    claims = store.claims

    def call(key: str) -> str:
        packed = codec.pack({"key": key})
        wanted = Wanted(key, "race", fingerprint("race", packed), None, 3_600_000_000)
        answer = claims.acquire(wanted, new_id("run"))
        if answer.verdict == "in_flight":
            raise DuplicateRequestError("race", key, str(answer.claim.process))
        if answer.verdict == "replay":
            claims.replayed(answer.claim)
            return str(codec.loads(answer.claim.result or "null"))
        assert answer.verdict == "execute", answer
        result = effects.happen(key)
        claims.settle(answer.claim, RequestStatus.COMPLETED, result=codec.dumps(result))
        store.commit()
        assert claims.finish(answer.claim)
        return result

    return call


def by_orchestrator(store: Store, effects: Effects) -> Call:
    """Through `BaseOrchestrator.execute`."""

    class Race(BaseOrchestrator[str]):
        @property
        def orchestrator_name(self) -> str:
            return "race"

        def _execute_pipeline(self, context: dict[str, Any]) -> str:
            return effects.happen(context["input"]["key"])

    race = Race(Kit(store), user_id="u_1")
    return lambda key: race.execute(key, {"key": key})


def check(door: str, path: Path, *, processes: int, keys: int) -> Counter[str]:
    """Race; each key must have been executed once, and all others have that result or know it in flight.

    Gives how often each of these happened: ``executed``, ``answered``, ``in flight``.
    """
    effects = path.with_name(f"effects of {door}.txt")
    said = race(door, path, effects, processes, keys)
    lines = effects.read_text().splitlines()
    executed = {line.split(" by ")[0]: line for line in lines}
    assert sorted(executed) == sorted(f"key_{number}" for number in range(keys))
    assert len(lines) == keys
    counts: Counter[str] = Counter(executed=keys)
    for one in said:
        counts.update(one["outcomes"])
        for key, results in one["results"].items():
            assert set(results) == {executed[key]}, (key, results, executed[key])
            counts["answered"] += len(results)
    counts["answered"] -= keys
    assert set(counts) <= {"executed", "answered", "in flight"}, counts
    assert counts.total() == processes * THREADS * keys
    return counts


def race(door: str, path: Path, effects: Path, processes: int, keys: int) -> list[Any]:
    """What each of the processes printed."""
    with _racers(door, path, effects, processes, keys) as racers:
        lines = [_line(racer) for racer in racers]
        assert lines == ["ready"] * processes, lines
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        said = [racer.communicate(timeout=300) for racer in racers]
        assert [racer.returncode for racer in racers] == [0] * processes, [err for _, err in said]
        return [json.loads(out) for out, _ in said]


@contextmanager
def _racers(
    door: str, path: Path, effects: Path, processes: int, keys: int
) -> Iterator[list[subprocess.Popen[str]]]:
    run_this = f"import runpy; runpy.run_path({__file__!r}, run_name='__main__')"
    command = [sys.executable, "-W", "error", "-c", run_this, door, str(path), str(effects)]
    pipe = subprocess.PIPE
    racers = [
        subprocess.Popen([*command, str(number), str(keys)], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        for number in range(processes)
    ]
    try:
        yield racers
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()


def _line(racer: subprocess.Popen[str]) -> str:
    assert racer.stdout is not None
    assert racer.stderr is not None
    return racer.stdout.readline().strip() or racer.stderr.read()


DOORS: dict[str, Callable[[Store, Effects], Call]] = {"claims": by_claims, "orchestrator": by_orchestrator}


def main(door: str, path: str, effects: str, number: int, keys: int) -> None:
    """Ask for every key once from each thread: half of them in the same order as everybody else."""
    outcomes: Counter[str] = Counter()
    results: dict[str, list[str]] = {}
    order = [f"key_{n}" for n in range(keys)]
    shuffled = order[::2]
    random.Random(number).shuffle(shuffled)
    order[::2] = shuffled
    with Store(path) as store:
        call = DOORS[door](store, Effects(effects))

        def work() -> None:
            for key in order:
                try:
                    result = call(key)
                    results.setdefault(key, []).append(result)
                except DuplicateRequestError:
                    outcomes["in flight"] += 1
                except BaseException as error:
                    outcomes[f"{type(error).__name__}: {error}"] += 1

        print("ready", flush=True)
        sys.stdin.readline()
        threads = [threading.Thread(target=work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(json.dumps({"results": results, "outcomes": outcomes}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
