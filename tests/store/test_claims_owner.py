"""Owners of claims that are killed, stopped, in other containers: real processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchkit.clock import SystemClock
from orchkit.model.idempotency import RequestStatus
from orchkit.store.claims import Claims, Wanted
from orchkit.store.process import this_process
from orchkit.store.store import Store

Popen = subprocess.Popen[str]
Start = Callable[..., Popen]
WANTED = Wanted("key", "letters", "same", None, 3_600_000_000)

pytestmark = pytest.mark.skipif(this_process().born is None, reason="this system does not say who is who")

# Claims a key, says so, and settles it when it is told to.
OWNER = """
import sys
from orchkit.model.idempotency import RequestStatus
from orchkit.store.claims import Wanted
from orchkit.store.store import Store

store = Store(sys.argv[1])
answer = store.claims.acquire(Wanted("key", "letters", "same", None, 3_600_000_000), sys.argv[2])
print(answer.verdict, answer.claim.run_id, flush=True)
sys.stdin.readline()
store.claims.settle(answer.claim, RequestStatus.COMPLETED, result='"mine"')
store.commit()
print(store.claims.finish(answer.claim), flush=True)
store.close()
"""


class Later(SystemClock):
    """The real time, moved on: as after a machine has slept."""

    def __init__(self, seconds: float) -> None:
        self._ahead_us = int(seconds * 1e6)

    def now_us(self) -> int:
        return super().now_us() + self._ahead_us


@pytest.fixture
def owner(path: Path, start: Start, next_line: Callable[[Popen], str]) -> Popen:
    """A process that has claimed the key for ``run_1``."""
    process = start(OWNER, path, "run_1", stdin=subprocess.PIPE)
    assert next_line(process) == "execute run_1"
    return process


def go_on(owner: Popen) -> str:
    """Let an owner settle; whether it was told that the claim was its own."""
    out, err = owner.communicate("go on\n", timeout=120)
    assert owner.returncode == 0, err
    return out.strip()


def told(store: Store) -> list[tuple[str, str | None]]:
    """What the record says of the key, in order."""
    return store.query("SELECT kind, reason FROM claim_event ORDER BY seq")


def test_the_claim_of_a_killed_process_passes_on_at_once(
    owner: Popen, open_store: Callable[..., Store]
) -> None:
    """The next to ask goes on with the same run, without waiting for the lease, and has the key to itself."""
    store = open_store()
    assert store.claims.acquire(WANTED, "run_2").verdict == "in_flight"
    owner.kill()
    os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)  # still there as a zombie
    answer = store.claims.acquire(WANTED, "run_2")
    assert (answer.verdict, answer.reason, answer.claim.run_id) == ("take_over", "taken over", "run_1")
    assert answer.claim.process == this_process()
    assert store.claims.acquire(WANTED, "run_3").verdict == "in_flight"
    store.claims.settle(answer.claim, RequestStatus.COMPLETED, result='"ours"')
    store.commit()
    assert store.claims.finish(answer.claim)
    assert told(store) == [("acquired", None), ("acquired", "taken over"), ("settled", None)]


def test_of_many_that_see_the_owner_die_one_takes_over(
    path: Path,
    owner: Popen,
    start: Start,
    next_line: Callable[[Popen], str],
    open_store: Callable[..., Store],
) -> None:
    """Four processes ask for the key of a dead one: one goes on, and the others are told that it does."""
    owner.kill()
    owner.communicate()
    heirs = [start(OWNER, path, f"run_x{number}", stdin=subprocess.PIPE) for number in range(4)]
    lines = [next_line(heir) for heir in heirs]
    assert sorted(lines) == ["in_flight run_1"] * 3 + ["take_over run_1"]
    assert go_on(heirs[lines.index("take_over run_1")]) == "True"
    assert told(open_store())[1:] == [("acquired", "taken over"), ("settled", None)]


def test_a_machine_that_slept_does_not_steal(owner: Popen, open_store: Callable[..., Store]) -> None:
    """A process that stands still past its lease keeps its claim, and settles when it goes on."""
    owner.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, owner.pid, os.WSTOPPED | os.WNOWAIT)
    store = open_store(clock=Later(3_000))
    found = store.claims.find("key")
    assert found is not None
    assert found.lease_us < store.clock.now_us()
    assert store.claims.acquire(WANTED, "run_2").verdict == "in_flight"
    owner.send_signal(signal.SIGCONT)
    assert go_on(owner) == "True"
    assert store.claims.acquire(WANTED, "run_2").verdict == "replay"


def test_a_machine_that_slept_past_the_end_of_the_key(owner: Popen, open_store: Callable[..., Store]) -> None:
    """Even when its time is over a key cannot be executed again while the work goes on, nor be swept."""
    owner.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, owner.pid, os.WSTOPPED | os.WNOWAIT)
    store = open_store(clock=Later(10_000))
    assert store.claims.remove_expired() == 0
    assert store.claims.acquire(WANTED, "run_2").verdict == "in_flight"
    owner.send_signal(signal.SIGCONT)
    assert go_on(owner) == "True"
    assert store.claims.acquire(WANTED, "run_2").reason == "expired"


def test_an_owner_that_lost_its_claim_is_told(owner: Popen, open_store: Callable[..., Store]) -> None:
    """Its late settlement changes nothing and leaves no event, and it knows."""
    store = open_store()
    with store.log.exclusive() as connection:  # as seen from another machine, where nobody can tell
        connection.execute("UPDATE claim SET host = 'elsewhere', born = NULL, lease_us = 1")
    answer = store.claims.acquire(WANTED, "run_2")
    assert answer.verdict == "take_over"
    assert go_on(owner) == "False"
    assert store.claims.find("key") == answer.claim
    assert told(store) == [("acquired", None), ("acquired", "taken over")]


def test_a_container_that_is_started_again(
    path: Path, start: Start, next_line: Callable[[Popen], str], open_store: Callable[..., Store]
) -> None:
    """Of a process in another container only its lease can tell; the one that is now number 1 is not it."""
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("no namespaces can be made here")
    command = f"[*{unshare!r}, sys.executable, '-c', {OWNER!r}, *sys.argv[1:]]"
    launch = f"import os, sys; os.execvp('unshare', {command})"
    first = start(launch, path, "run_1", stdin=subprocess.PIPE)
    assert next_line(first) == "execute run_1"
    first.kill()
    assert first.stdout is not None
    assert first.stdout.read() == ""  # until all of the container is gone
    found = open_store().claims.find("key")
    assert found is not None
    assert found.pid == 1
    again = start(launch, path, "run_2", stdin=subprocess.PIPE)
    # Namespaces are numbered, too: one that got the same number tells its processes apart by their birth.
    verdict = next_line(again)
    assert verdict in ("in_flight run_1", "take_over run_1")
    later = open_store(clock=Later(61))
    assert later.claims.acquire(WANTED, "run_3").verdict == (
        "take_over" if "flight" in verdict else "in_flight"
    )


def test_a_process_that_ends_lets_its_claims_go(
    path: Path, start: Start, finish: Callable[[Popen], list[str]], open_store: Callable[..., Store]
) -> None:
    """A process that exits without settling leaves the key to the next one, with nothing said of an end."""
    code = OWNER.replace("sys.stdin.readline()", "sys.exit()")
    assert finish(start(code, path, "run_1")) == ["execute run_1"]
    answer = open_store().claims.acquire(WANTED, "run_2")
    assert (answer.verdict, answer.claim.run_id) == ("take_over", "run_1")


def test_a_forked_child_has_claims_of_its_own(
    path: Path, start: Start, finish: Callable[[Popen], list[str]]
) -> None:
    """A child takes what its parent works on for the work of another process, and its own for its own."""
    code = """
import os, sys, warnings
from orchkit.store.claims import Wanted
from orchkit.store.store import Store

warnings.simplefilter("ignore", DeprecationWarning)
wanted = Wanted("key", "letters", "same", None, 3_600_000_000)
closed = Store(sys.argv[1])
closed.claims.acquire(wanted, "run_1")
closed.close()
store = Store(sys.argv[1] + "-other")
store.claims.acquire(wanted, "run_1")
child = os.fork()
if child == 0:
    ours = Store(sys.argv[1])
    answer = ours.claims.acquire(wanted, "run_2")
    print(answer.verdict, answer.claim.pid == os.getpid(), flush=True)
    print(ours.claims.acquire(wanted, "run_3").verdict, flush=True)
    ours.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(store.claims.acquire(wanted, "run_3").verdict)
store.close()
"""
    assert finish(start(code, path)) == ["take_over True", "in_flight", "in_flight"]


def test_claims_of_one_process_through_two_stores(
    open_store: Callable[..., Store],
) -> None:
    """What one store of a process works on is in flight for its other ones, and free once it is closed."""
    first, second = open_store(), open_store()
    first.claims.acquire(WANTED, "run_1")
    assert second.claims.acquire(WANTED, "run_2").verdict == "in_flight"
    assert Claims(second.log, second.clock).acquire(WANTED, "run_2").verdict == "in_flight"
    first.close()
    assert second.claims.acquire(WANTED, "run_2").verdict == "take_over"
