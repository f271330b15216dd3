"""A store that is closed while other threads read."""

from __future__ import annotations

import threading
from collections.abc import Callable

from orchkit.errors import StoreClosedError
from orchkit.store.store import Store


def test_a_store_that_closes_answers_first(open_store: Callable[..., Store]) -> None:
    """Who reads at that moment gets the whole answer, who comes later hears that it is closed."""
    store = open_store()
    store.query("SELECT 1")
    begun, answers, refusals = threading.Event(), [], []

    def read() -> None:
        try:
            while True:
                begun.set()
                answers.append(store.query("SELECT sum(hash(range)) FROM range(300_000)"))
        except StoreClosedError as error:
            refusals.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    assert begun.wait(30)
    store.close()
    for reader in readers:
        reader.join(30)
    assert len(refusals) == 3
    assert len(set(map(str, answers))) <= 1
