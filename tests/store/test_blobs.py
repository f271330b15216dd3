"""Large values: stored once, put back where they were, never lost on the way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchkit.errors import StoreError
from orchkit.store import codec
from orchkit.store.store import Store

LARGE = codec.dumps({"rows": list(range(20_000))})


def record(store: Store, digest: str, text: str = LARGE, run: str = "run_1") -> None:
    """Commit an event whose output is a large value."""
    store.record("step.finished", {"output": {"$blob": digest, "bytes": len(text)}, "name": "f"}, run_id=run)


def blobs_in_history(store: Store) -> int:
    """How many rows hold large values."""
    return int(store.query("SELECT count(*) FROM blob")[0][0])


def test_a_large_value_is_put_back(store: Store) -> None:
    """Reading the events of a run gives the value itself; SQL shows its hash and size."""
    digest = store.put_blob(LARGE)
    record(store, digest)
    assert store.events("run_1")[0].payload["output"] == codec.loads(LARGE)
    shown = codec.loads(store.query("SELECT output FROM steps")[0][0])
    assert shown == {"$blob": digest, "bytes": len(LARGE)}
    assert store.blob(digest) == LARGE


def test_the_same_value_is_stored_once(open_store: Callable[..., Store]) -> None:
    """However often, by whichever store, before or after an ingest: equal values are one row."""
    store, other = open_store(), open_store()
    for number in range(3):
        for one in (store, other):
            record(one, one.put_blob(LARGE), run=f"run_{number}")
        store.ingest()
    assert blobs_in_history(store) == 1
    assert list(store.log.blobs()) == []
    assert all(len(other.events(f"run_{number}")) == 2 for number in range(3))


def test_a_value_that_is_committed_before_its_event(store: Store) -> None:
    """A large value that went out with another thread's commit waits for its event, through any ingest."""
    store.record("x", {})
    store.ingest()
    digest = store.put_blob(LARGE)
    store.commit()  # another thread's
    for _ in range(2):
        store.record("x", {})
        store.ingest()
    record(store, digest)
    assert store.events("run_1")[0].payload["output"] == codec.loads(LARGE)


def test_a_value_that_comes_while_others_are_ingested(
    open_store: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large value committed with its event in the middle of an ingest comes over with it, or later."""
    store, other = open_store(), open_store()
    insert = store._ingest._insert

    def slow(*args: object) -> None:
        insert(*args)  # type: ignore[arg-type]
        monkeypatch.setattr(store._ingest, "_insert", insert)
        record(other, other.put_blob(LARGE))

    monkeypatch.setattr(store._ingest, "_insert", slow)
    store.record("x", {})
    store.ingest()
    assert store.events("run_1")[0].payload["output"] == codec.loads(LARGE)
    assert blobs_in_history(store) == 1


def test_a_value_whose_commit_failed_is_written_later(store: Store) -> None:
    """A store remembers what it has put; that holds also when the first commit finds no space."""
    writer = store.log._file._writer
    writer.execute(f"PRAGMA max_page_count={writer.execute('PRAGMA page_count').fetchone()[0] + 1}")
    with pytest.raises(StoreError):
        record(store, store.put_blob(LARGE))
    writer.execute("PRAGMA max_page_count=1000000")
    record(store, store.put_blob(LARGE))
    assert [event.payload["output"] for event in store.events("run_1")] == [codec.loads(LARGE)] * 2


def test_an_unknown_hash(store: Store) -> None:
    """Asking for a value that was never stored is an error that names the hash."""
    with pytest.raises(StoreError, match="no stored value has the hash abc"):
        store.blob("abc")


@pytest.mark.parametrize(
    "value", [{"$blob": "abc"}, {"$blob": "abc", "bytes": 3, "more": 1}, {"$blob": 5, "bytes": 3}], ids=repr
)
def test_data_that_only_looks_like_a_large_value(store: Store, value: dict[str, object]) -> None:
    """A step may return an object with the key '$blob': it is data like any other."""
    store.record("step.finished", {"output": value}, run_id="run_1")
    assert store.events("run_1")[0].payload["output"] == value
