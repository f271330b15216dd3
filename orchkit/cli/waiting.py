"""Saying for whom we wait while somebody else has the history open."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from orchkit.cli.failure import note
from orchkit.errors import StoreClosedError
from orchkit.store.store import Store

PATIENCE_S = 1.0
"""A wait shorter than this is not worth a word."""


@contextmanager
def telling_who_we_wait_for(store: Store, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """While the block waits for the history file, name on stderr who has it, once for each holder."""
    over = threading.Event()
    thread = threading.Thread(
        target=_tell, args=(store, over, patience_s), name="orchkit-waiting", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _tell(store: Store, over: threading.Event, patience_s: float) -> None:
    told = ""
    while not over.wait(patience_s):
        holder = _holder(store)
        if holder and holder != told:
            note(f"waiting for {holder}, which has {store.path} open …")
            told = holder


def _holder(store: Store) -> str:
    """Who has the file instead of us; empty when nobody has, or when we have it ourselves."""
    if store.history.is_open:
        return ""
    try:
        holder = store.holder()
    except StoreClosedError:
        return ""
    if holder is None:
        return ""
    # The lease is ours and the file is not: its lock is with somebody who knows nothing of leases.
    return "another program" if holder.pid == os.getpid() else str(holder)
