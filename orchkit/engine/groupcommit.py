"""Group commit: everything appended in one turn of an event loop goes to disk in one transaction."""

from __future__ import annotations

import asyncio
import weakref

from orchkit.store.store import Store

_commits: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.WeakKeyDictionary[Store, GroupCommit]]
_commits = weakref.WeakKeyDictionary()


class GroupCommit:
    """The barrier of one store on one loop."""

    def __init__(self, store: Store) -> None:
        # Neither the store nor the loop: it is their weak entry in `_commits`, and must not keep them alive.
        self._store = weakref.ref(store)
        self._waiting: list[asyncio.Future[None]] = []

    def barrier(self) -> asyncio.Future[None]:
        """A future that is done when all that was appended so far is committed.

        The commit runs behind the callbacks that are already scheduled, so that a thousand steps
        that become ready together share one transaction. It runs on the loop, not in a thread:
        handing over would cost more than the commit itself.
        """
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._flush)
        self._waiting.append(future)
        return future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        failure: BaseException | None = None
        try:
            store = self._store()
            if store is not None:
                store.commit()
        except BaseException as error:  # also Ctrl-C: nobody may be left waiting
            failure = error
        for future in waiting:
            if future.done():
                continue  # its waiter was cancelled
            if failure is not None:
                future.set_exception(failure)
            else:
                future.set_result(None)
        if failure is not None and not isinstance(failure, Exception):
            raise failure


def group_commit(store: Store) -> GroupCommit:
    """The barrier of this store on the running loop."""
    loop = asyncio.get_running_loop()
    of_loop = _commits.setdefault(loop, weakref.WeakKeyDictionary())
    found = of_loop.get(store)
    if found is None:
        found = of_loop[store] = GroupCommit(store)
    return found
