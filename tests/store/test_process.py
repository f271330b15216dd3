"""Which process is which: numbers that are given again, other machines, other containers, zombies."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
from collections.abc import Callable

import pytest

from orchkit.store.process import Process, Standing, standing, this_process

ALIVE, GONE, UNKNOWN = Standing.ALIVE, Standing.GONE, Standing.UNKNOWN
HERE = this_process()
NO_PROCESS = 2**22 + 1
"""A number above those that Linux gives."""
Popen = subprocess.Popen[str]

pytestmark = pytest.mark.skipif(HERE.born is None, reason="this system does not say when a process began")

SAY = """
import sys
from orchkit.store.process import this_process
here = this_process()
print(here.pid, here.host, here.born, flush=True)
sys.stdin.read()
"""


def described(line: str) -> Process:
    """The process that said this."""
    pid, host, born = line.split()
    return Process(int(pid), host, None if born == "None" else born)


def origin(boot: str | None = None, namespace: str | None = None, start: str | None = None) -> str:
    """Our own birth with some of it replaced."""
    assert HERE.born is not None
    ours = HERE.born.split("/")
    return "/".join(other or own for other, own in zip((boot, namespace, start), ours, strict=True))


@pytest.fixture
def apart(start: Callable[..., Popen]) -> Callable[..., Popen]:
    """Starts code in a process namespace of its own, or in another kind named by ``options``."""

    def apart_(code: str, *options: str) -> Popen:
        probe = ["unshare", *options, "true"]
        if (
            shutil.which("unshare") is None
            or subprocess.run(probe, check=False, capture_output=True).returncode
        ):
            pytest.skip("no namespaces can be made here")
        launch = (
            f"import os, sys; os.execvp('unshare', ['unshare', *{options!r}, sys.executable, '-c', {code!r}])"
        )
        return start(launch)

    return apart_


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        pytest.param(HERE, ALIVE, id="this one"),
        pytest.param(dataclasses.replace(HERE, host="renamed"), ALIVE, id="the machine was renamed since"),
        pytest.param(
            dataclasses.replace(HERE, born=origin(start="1")), GONE, id="the number was given again"
        ),
        pytest.param(Process(NO_PROCESS, HERE.host, HERE.born), GONE, id="there is none"),
        pytest.param(dataclasses.replace(HERE, born=origin("other")), GONE, id="from before a reboot"),
        pytest.param(Process(HERE.pid, "other", origin("other")), UNKNOWN, id="on another machine"),
        pytest.param(dataclasses.replace(HERE, born=origin(None, "1")), UNKNOWN, id="in another container"),
        pytest.param(
            Process(NO_PROCESS, HERE.host, origin(None, "1")), UNKNOWN, id="number only known there"
        ),
        pytest.param(Process(HERE.pid, HERE.host, None), UNKNOWN, id="did not know its own birth"),
        pytest.param(Process(HERE.pid, "other", None), UNKNOWN, id="on another machine that does not say"),
    ],
)
def test_how_a_process_stands(process: Process, expected: Standing) -> None:
    """Only a process of this boot and this namespace is judged by its number, and then by its birth, too."""
    assert standing(process) is expected


def test_a_process_from_its_beginning_to_its_end(
    start: Callable[..., Popen], next_line: Callable[[Popen], str]
) -> None:
    """It is alive while it runs or is stopped, and gone as a zombie and after."""
    child = start(SAY, stdin=subprocess.PIPE)
    process = described(next_line(child))
    assert process.pid == child.pid
    assert standing(process) is ALIVE
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    assert standing(process) is ALIVE
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert standing(process) is GONE
    child.communicate()
    assert standing(process) is GONE


def test_a_forked_child_is_another_process(
    start: Callable[..., Popen], finish: Callable[[Popen], list[str]]
) -> None:
    """A child does not take itself for its parent, and each sees the other."""
    code = """
import os
from orchkit.store.process import standing, this_process
parent = this_process()
child = os.fork()
if child == 0:
    assert this_process() != parent and this_process().pid == os.getpid()
    print(standing(parent).value, standing(this_process()).value, flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(this_process() == parent)
"""
    assert finish(start(code)) == ["alive alive", "True"]


def test_a_process_in_another_container(
    apart: Callable[..., Popen], next_line: Callable[[Popen], str], finish: Callable[[Popen], list[str]]
) -> None:
    """Nothing is claimed of a process with numbers of its own, neither while it runs nor when it is gone.

    Its number 1 is also in use here.
    """
    child = apart(SAY, "--pid", "--fork", "--mount-proc")
    process = described(next_line(child))
    assert (process.pid, process.host) == (1, HERE.host)
    assert standing(process) is UNKNOWN
    child.communicate()
    assert standing(process) is UNKNOWN


def test_a_container_that_sees_the_processes_of_its_host(
    apart: Callable[..., Popen], next_line: Callable[[Popen], str]
) -> None:
    """Where ``/proc`` shows the numbers of others, a process does not take their births for its own."""
    code = """
import os, subprocess, sys
from orchkit.store.process import Process, standing, this_process
here = this_process()
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
other = Process(child.pid, here.host)
found = [standing(here).value, standing(other).value]
child.communicate(b"x")
print(*found, standing(other).value, here.born, flush=True)
"""
    assert next_line(apart(code, "--pid", "--fork")) == "alive alive gone None"


def test_a_number_that_is_given_again(apart: Callable[..., Popen], next_line: Callable[[Popen], str]) -> None:
    """The process that has the number of a dead one is not taken for it."""
    code = f"""
import subprocess, sys, time
from orchkit.store.process import Process, standing, this_process
def child():
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return subprocess.Popen([sys.executable, "-c", {SAY!r}], **pipes)
first = child()
pid, host, born = first.stdout.readline().split()
dead = Process(int(pid), host, born)
before = standing(dead)
first.communicate()
time.sleep(0.02)  # births are told in hundredths of a second
with open("/proc/sys/kernel/ns_last_pid", "w") as file:
    file.write(str(int(pid) - 1))
second = child()
number, host, born = second.stdout.readline().split()
after = standing(dead), standing(Process(int(number), host, born))
print(before.value, number == pid, *(one.value for one in after), flush=True)
second.communicate()
"""
    assert next_line(apart(code, "--pid", "--fork", "--mount-proc")) == "alive True gone alive"


def test_processes_that_the_machine_hides(
    apart: Callable[..., Popen], next_line: Callable[[Popen], str]
) -> None:
    """Where only one's own processes may be looked at, others are not taken for dead."""
    code = f"""
import os, subprocess
from orchkit.store.process import Process, standing, this_process
subprocess.run(["mount", "-t", "proc", "-o", "hidepid=2", "proc", "/proc"], check=True)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
here = this_process()
other = Process({os.getpid()}, here.host, {HERE.born!r})
assert not os.path.exists("/proc/{os.getpid()}")
none = Process({NO_PROCESS}, here.host, here.born)
print(*(standing(one).value for one in (here, other, none)), flush=True)
"""
    assert next_line(apart(code, "--mount")) == "alive unknown gone"


def test_a_process_says_who_it_is() -> None:
    """For people: number and host; for records: its birth as well."""
    assert str(Process(7, "there")) == "process 7 on there"
    assert Process(7, "there").facts == {"pid": 7, "host": "there", "born": None}
