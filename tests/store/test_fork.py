"""Forked children and a store that their parent opened."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchkit.store.store import Store

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")

SETUP = """
import gc, os, sys, threading, warnings
from orchkit.errors import ForkedStoreError
from orchkit.store.store import Store

warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forking beside threads
path = sys.argv[1]
store = Store(path)
store.record("x", {}, run_id="run_1")
store.query("SELECT 1")
assert store.history.is_open
"""
REFUSED = """
calls = {
    "append": lambda: store.append("x", "{}"),
    "commit": store.commit,
    "put_blob": lambda: store.put_blob("{}"),
    "record": lambda: store.record("x", {}),
    "get_state": lambda: store.get_state("k", "a"),
    "list_state": lambda: store.list_state("k"),
    "put_state": lambda: store.put_state("k", "a", {}),
    "ingest": store.ingest,
    "ingest_soon": store.ingest_soon,
    "sql": lambda: store.sql("SELECT 1"),
    "query": lambda: store.query("SELECT 1"),
    "sweep": store.sweep,
    "cache": store.cache,
    "events": lambda: store.events("run_1"),
    "blob": lambda: store.blob("hash"),
    "holder": store.holder,
    "claims": lambda: store.claims,
    "open_runs": lambda: store.open_runs,
}
child = os.fork()
if child == 0:
    for name, call in calls.items():
        try:
            call()
        except ForkedStoreError as error:
            assert "'spawn'" in str(error)
            continue
        print(name, "was not refused", flush=True)
    store.close()
    print("child is done", flush=True)
    os._exit(0)
os.waitpid(child, 0)
store.record("x", {}, run_id="run_1")
print(len(store.events("run_1")))
store.close()
"""
AGAIN = """
link = path + "-link"
os.symlink(path, link)
child = os.fork()
if child == 0:
    store = None
    gc.collect()
    for name in (path, link):
        try:
            Store(name)
        except ForkedStoreError:
            print("refused", flush=True)
    with Store(path + "-other") as other:
        other.record("x", {}, run_id="run_1")
        print(len(other.events("run_1")), flush=True)
    sys.exit(0)
print(os.waitpid(child, 0)[1], flush=True)
store.record("x", {}, run_id="run_1")
print(len(store.events("run_1")))
store.close()
"""
CLOSED = """
store.close()
child = os.fork()
if child == 0:
    with Store(path) as own:
        own.record("x", {}, run_id="run_1")
    sys.exit(0)
print(os.waitpid(child, 0)[1])
with Store(path) as own:
    own.record("x", {}, run_id="run_1")
    print(len(own.events("run_1")))
"""
LOCKED = """
locked, go_on = threading.Event(), threading.Event()
def hold():
    with store.log._buffer_lock, store.log._commit_lock:
        locked.set()
        go_on.wait()
threading.Thread(target=hold).start()
locked.wait()
child = os.fork()
if child == 0:
    try:
        store.record("x", {})
    except ForkedStoreError:
        print("refused", flush=True)
    os._exit(0)
os.waitpid(child, 0)
go_on.set()
store.close()
"""


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        pytest.param(REFUSED, ["child is done", "2"], id="refused"),
        pytest.param(AGAIN, ["refused", "refused", "1", "0", "2"], id="again"),
        pytest.param(CLOSED, ["0", "3"], id="closed"),
        pytest.param(LOCKED, ["refused"], id="locked"),
    ],
)
def test_a_forked_child(
    path: Path,
    start: Callable[..., subprocess.Popen[str]],
    finish: Callable[[subprocess.Popen[str]], list[str]],
    open_store: Callable[..., Store],
    code: str,
    lines: list[str],
) -> None:
    """A child that uses its parent's store, or opens it again, is told so; the parent goes on unharmed.

    Whatever it calls, whoever held a lock. Other stores, and those closed before, are as ever.
    """
    assert [line for line in finish(start(SETUP + code, path)) if "nanobind" not in line] == lines
    store = open_store()
    assert len(store.events("run_1")) == int(lines[-1] if lines[-1].isdigit() else 1)
