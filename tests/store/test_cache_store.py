"""The cache across runs, as the store keeps it: found by one read, written with the step, told, forgotten."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from orchkit.errors import ParameterError, StoreError, UnknownNameError
from orchkit.store import codec
from orchkit.store.cache import Cache, CacheEntry, cache_key
from orchkit.store.store import Store
from orchkit.testing import FakeClock
from orchkit.views import bundle


@dataclass
class Answer:
    """A type that comes back."""

    text: str
    price: Decimal


class Desk:
    """Computes outputs and puts them into the cache, as the engine does."""

    def __init__(self, store: Store) -> None:
        self.store, self.cache = store, store.cache()

    def compute(
        self, method: str, code: str, given: str, output: Any, *, run: str = "run_1", step: str = "a"
    ) -> CacheEntry:
        """A step whose output is put into the cache; both are committed."""
        store, packed = self.store, codec.pack(output)
        payload: dict[str, Any] = {
            "name": method,
            "status": "success",
            "output": packed.value,
            "types": packed.notes,
        }
        text = codec.dumps(packed.value)
        entry = CacheEntry.of(method, code, given, (run, step), packed)
        with store.together():
            if len(text) > codec.BLOB_BYTES:
                payload["output"] = {"$blob": store.put_blob(text), "bytes": len(text)}
            store.append("run.started", '{"kind": "workflow", "name": "w"}', run_id=run)
            store.append(
                "step.scheduled",
                codec.dumps({"name": method, "input": {"of": given}}),
                run_id=run,
                step_id=step,
            )
            store.append("step.finished", codec.dumps(payload), run_id=run, step_id=step)
            self.cache.put(entry)
        store.commit()
        return entry

    def use(self, key: str, times: int = 1) -> None:
        """An entry is used."""
        for _ in range(times):
            self.cache.hit(key)
        self.store.commit()


@pytest.fixture
def desk(memory: Store) -> Desk:
    """In a store in memory, on virtual time."""
    return Desk(memory)


LARGE = [{"text": "x" * 70_000, "price": Decimal("1.5")}]


# --- finding, putting, using --------------------------------------------------------------------


def test_an_output_is_found_by_code_and_input(desk: Desk, clock: FakeClock) -> None:
    """And by nothing else; the entry says where it comes from and when it was made."""
    entry = desk.compute("add", "c1", "i1", 3)
    clock.advance(5)
    found = desk.cache.find(cache_key("c1", "i1"))
    assert found == entry._replace(created_us=clock.now_us() - 5_000_000)
    assert (found.method, found.run_id, found.step_id, found.hits, found.used_us) == (
        "add",
        "run_1",
        "a",
        0,
        None,
    )
    assert [desk.cache.find(cache_key(*pair)) for pair in (("c1", "i2"), ("c2", "i1"), ("c", "1i1"))] == [
        None
    ] * 3
    assert cache_key("c1", "i1") == codec.content_hash("c1\ni1")


@pytest.mark.parametrize(
    "output",
    [None, 3, Answer("ä", Decimal("1.10")), LARGE, "y" * 100_000, {"rows": [1.5] * 20_000}],
    ids=["none", "number", "record", "large record", "large text", "large rows"],
)
def test_an_output_comes_back_as_what_it_was(
    desk: Desk, output: Any, identical: Callable[[Any, Any], bool]
) -> None:
    """Small ones from the log, large ones from the record of their step, and as they are recorded."""
    key = desk.compute("f", "c", "i", output).key
    entry = desk.cache.find(key)
    assert entry is not None
    assert (entry.output is None) == (len(codec.dumps(codec.pack(output).value)) > codec.BLOB_BYTES)
    recalled = desk.cache.recall(entry)
    assert recalled is not None
    assert identical(recalled.value, output) or recalled.value == output
    assert recalled.packed == codec.pack(output)


def test_finding_is_one_read(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction and no look into the history, for entry and small output together."""
    key = desk.compute("f", "c", "i", 3).key
    reads: list[str] = []
    read = desk.store.log.read
    monkeypatch.setattr(
        desk.store.log, "read", lambda sql, params=(): (reads.append(sql), read(sql, params))[1]
    )
    monkeypatch.setattr(desk.store, "query", None)
    monkeypatch.setattr(desk.store.log, "writing", None)
    entry = desk.cache.find(key)
    assert entry is not None
    assert desk.cache.recall(entry) is not None
    assert len(reads) == 1


def test_an_entry_is_written_with_the_step_that_computed_it(
    open_store: Callable[..., Store], path: Path
) -> None:
    """In the same transaction: when that fails, neither is there, and both are when it succeeds at last."""
    store = open_store()
    cache, refused = store.cache(), [True]

    def refuse(connection: sqlite3.Connection) -> list[Any]:
        if refused.pop() if refused else False:
            raise sqlite3.OperationalError("not now")
        return []

    entry = CacheEntry.of("f", "c", "i", ("run_1", "a"), codec.pack(1))
    with store.together():
        store.append("step.finished", "{}", run_id="run_1", step_id="a")
        cache.put(entry)
        store.log.attach(refuse)
    with pytest.raises(StoreError, match="not now"):
        store.commit()
    other = open_store()
    assert (other.cache().find(entry.key), other.events("run_1")) == (None, [])
    store.commit()
    assert other.cache().find(entry.key) is not None
    assert len(other.events("run_1")) == 1


def test_a_later_output_replaces_an_earlier_one(desk: Desk, clock: FakeClock) -> None:
    """With its own source, and not used yet."""
    key = desk.compute("f", "c", "i", 1).key
    desk.use(key)
    clock.advance(1)
    desk.compute("f", "c", "i", 2, run="run_2", step="b")
    entry = desk.cache.find(key)
    assert entry is not None
    assert (entry.run_id, entry.step_id, entry.hits, entry.used_us) == ("run_2", "b", 0, None)
    assert len(desk.cache) == 1


def test_uses_are_counted(desk: Desk, clock: FakeClock) -> None:
    """With the time of the last; of an entry that has gone meanwhile there is nothing to count."""
    key = desk.compute("f", "c", "i", 1).key
    clock.advance(60)
    desk.use(key, 3)
    entry = desk.cache.find(key)
    assert entry is not None
    assert (entry.hits, entry.used_us) == (3, clock.now_us())
    desk.cache.forget(key=key)
    desk.use(key)
    assert desk.cache.find(key) is None


def test_what_cannot_be_written_as_it_is(desk: Desk) -> None:
    """A lone surrogate in a name does not keep everything else from being written."""
    desk.compute("caf\udce9", "c", "i", "\udce9")
    (entry,) = desk.cache.entries()
    assert entry.method == "caf?"
    recalled = desk.cache.recall(entry)
    assert recalled is not None
    assert recalled.value == "\udce9"


# --- sources that are gone ----------------------------------------------------------------------


def _entry(desk: Desk, output: Any) -> CacheEntry:
    found = desk.cache.find(desk.compute("f", "c", "i", output).key)
    assert found is not None
    return found


@pytest.mark.parametrize("output", [1, LARGE])
def test_an_entry_goes_with_its_source(desk: Desk, output: Any) -> None:
    """A sweep of the run removes it; a large one that was found just before is not there any more."""
    entry = _entry(desk, output)
    assert desk.store.sweep(keep=0).cache_entries == 1
    assert desk.cache.find(entry.key) is None
    assert (desk.cache.recall(entry) is None) == (entry.output is None)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM event WHERE kind = 'step.finished'",
        "DELETE FROM blob",
        """UPDATE event SET payload = '{"status": "failed"}' WHERE kind = 'step.finished'""",
        """UPDATE event SET payload = '{"status": "success", "output": 1, "types": [[[], "no such tag"]]}'
           WHERE kind = 'step.finished'""",
    ],
)
def test_an_output_that_cannot_be_had_is_dropped(desk: Desk, damage: str) -> None:
    """Its step is gone, or its large value, or does not fit its class any more: it is computed again."""
    entry = _entry(desk, LARGE)
    desk.store.ingest()
    with desk.store.history.borrow() as connection:
        connection.execute(damage)
    assert desk.cache.recall(entry) is None
    assert desk.cache.find(entry.key) is None


def test_only_the_entry_that_was_found_is_dropped(desk: Desk) -> None:
    """Not one that has taken its place meanwhile."""
    entry = _entry(desk, LARGE)
    desk.compute("f", "c", "i", 2, run="run_2")
    desk.store.sweep(keep=1)
    assert desk.cache.recall(entry) is None
    found = desk.cache.find(entry.key)
    assert found is not None
    assert found.run_id == "run_2"


# --- looking -------------------------------------------------------------------------------------


def test_the_frame(desk: Desk, clock: FakeClock) -> None:
    """One row per entry, the oldest first, with times, uses and sizes in dtypes that say what they are."""
    empty = desk.cache.frame()
    key = desk.compute("add", "c1", "i1", 3).key
    clock.advance(1)
    desk.compute("read", "c2", "i2", "z" * 70_000, run="run_2", step="b")
    desk.compute("read", "c2", "i3", "z" * 70_000, run="run_3", step="b")
    desk.use(key, 2)
    frame = desk.cache.frame()
    assert dict(empty.dtypes) == dict(frame.dtypes)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        **dict.fromkeys(("method", "run_id", "step_id"), "str"),
        **dict.fromkeys(("created_at", "used_at"), "datetime64[us, UTC]"),
        "hits": "int64",
        "bytes": "Int64",
        **dict.fromkeys(("code_hash", "input_hash", "key"), "str"),
    }
    assert frame["method"].tolist() == ["add", "read", "read"]
    assert frame["hits"].tolist() == [2, 0, 0]
    assert frame["bytes"].tolist() == [len('{"value":3,"types":[]}'), 70_002, 70_002]
    assert frame["used_at"].isna().tolist() == [False, True, True]
    assert frame["created_at"][0] == pd.Timestamp("2025-01-01", tz="UTC")
    assert (len(desk.cache), [entry.run_id for entry in desk.cache.entries("read")]) == (
        3,
        ["run_2", "run_3"],
    )


def test_explaining_in_words(desk: Desk, clock: FakeClock) -> None:
    """Which input and code, which run and step, how often used; by method, key or the begin of a key."""
    entry = desk.compute("add", "c" * 64, "i1", 3)
    clock.advance(90)
    desk.use(entry.key)
    said = desk.cache.explain(entry.key)
    assert said == (
        'add: computed on 2025-01-01 at 00:00:00 UTC by step \'a\' of run_1, of the input {"of":"i1"}, '
        "with its code of that time (hash cccccccccccc); used once since, "
        f"the last time on 2025-01-01 at 00:01:30 UTC. Key {entry.key[:12]}."
    )
    assert desk.cache.explain("add") == desk.cache.explain(entry.key[:8]) == said
    desk.use(entry.key)
    assert "used 2 times since" in desk.cache.explain("add")
    desk.compute("read", "c", "i" * 2_000, "z" * 70_000, run="run_2")
    text = desk.cache.explain("read")
    assert "never used since" in text
    assert "… (2,009 characters)" in text
    assert text.endswith("It is large, so it is kept in the record of that run.")
    for number in range(22):
        desk.compute("many", "c", str(number), number, run=f"run_m{number}")
        clock.advance(1)
    lines = desk.cache.explain("many").splitlines()
    assert len(lines) == 21
    assert "run_m21" in lines[0]
    assert lines[-1] == "And 2 older ones."


@pytest.mark.parametrize("what", ["ad", "", "c", "%", "f" * 64])
def test_there_is_nothing_to_explain(desk: Desk, what: str) -> None:
    """An error that says what there is."""
    desk.compute("add", "c", "i", 3)
    with pytest.raises(UnknownNameError, match="unknown cached method or key"):
        desk.cache.explain(what)


def test_an_input_that_is_not_on_record(desk: Desk) -> None:
    """Is said to be gone; the rest is told as ever."""
    entry = CacheEntry.of("f", "c", "i", ("run_0", "a"), codec.pack(1))
    desk.cache.put(entry)
    desk.store.commit()
    assert "of an input that is not on record any more" in desk.cache.explain("f")


def test_the_cache_shows_itself(desk: Desk) -> None:
    """As a line of text, and as a card with the newest entries; also when there are none, or it is closed."""
    assert repr(desk.cache) == "<Cache: 0 outputs of 0 methods, used 0 times>"
    assert "has recorded an output yet" in desk.cache._repr_mimebundle_()["text/html"]
    entry = desk.compute("<add>", "c", "i", 3)
    desk.use(entry.key, 2)
    assert repr(desk.cache) == "<Cache: 1 output of 1 method, used 2 times>"
    html = bundle.bundle(desk.cache)["text/html"]
    for part in ("&lt;add&gt;", "run_1", entry.key[:12], "1 output", "2 times"):
        assert part in html
    desk.store.close()
    assert "is closed" in repr(desk.cache)
    assert "is closed" in desk.cache._repr_mimebundle_()["text/plain"]


# --- forgetting ----------------------------------------------------------------------------------


@pytest.fixture
def several(desk: Desk, clock: FakeClock) -> Desk:
    """Entries of two methods, made an hour after one another; the first was used a moment ago."""
    for number, method in enumerate(("add", "add", "read")):
        desk.compute(method, "c", str(number), number, run=f"run_{number}")
        clock.advance(3600)
    desk.use(cache_key("c", "0"))
    return desk


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ({}, []),
        ({"method": "add"}, ["2"]),
        ({"method": "nobody"}, ["0", "1", "2"]),
        ({"key": cache_key("c", "1")}, ["0", "2"]),
        ({"key": cache_key("c", "1"), "method": "read"}, ["0", "1", "2"]),
        ({"older_than": "2h"}, ["0", "2"]),
        ({"older_than": timedelta(hours=1)}, ["0"]),
        ({"older_than": "3h"}, ["0", "1", "2"]),
        ({"older_than": "0s", "method": "add"}, ["2"]),
    ],
)
def test_what_is_forgotten(several: Desk, arguments: dict[str, Any], left: list[str]) -> None:
    """Entries to which all that is given applies; a use makes one young again. The runs stay."""
    assert several.cache.forget(**arguments) == 3 - len(left)
    assert [entry.input_hash for entry in several.cache.entries()] == left
    assert several.store.query("SELECT count(*) FROM runs") == [(3,)]


def test_an_age_that_is_none(desk: Desk) -> None:
    """Says what was wrong."""
    with pytest.raises(ParameterError, match="forget: older_than: 'old' is no span of time"):
        desk.cache.forget(older_than="old")


def test_two_processes_worth_of_handles(open_store: Callable[..., Store], path: Path) -> None:
    """What one puts the other finds, large outputs too; what one forgets the other does not find."""
    one, other = Desk(open_store()), Desk(open_store())
    small = one.compute("f", "c", "1", {"n": 1})
    large = one.compute("f", "c", "2", LARGE, run="run_2")
    for entry, output in ((small, {"n": 1}), (large, LARGE)):
        found = other.cache.find(entry.key)
        assert found is not None
        recalled = other.cache.recall(found)
        assert recalled is not None
        assert recalled.value == output
    other.use(small.key)
    assert json.loads(json.dumps([entry.hits for entry in one.cache.entries()])) == [1, 0]
    assert other.cache.forget("f") == 2
    assert one.cache.find(small.key) is None
    assert isinstance(one.cache, Cache)
