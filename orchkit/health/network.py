"""Whose fault is it: the service's, or is it the monitor itself that has no network?"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import Final

from orchkit.clock import Clock

Address = tuple[str, int]
Reach = Callable[[Address], Awaitable[object]]
"""Connects to an address; raises `OSError` when it cannot."""

_HERE: Final = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})
_NAMES_HERE: Final = frozenset({socket.EAI_AGAIN})
_NAMES: Final = frozenset(
    {socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_NONAME, getattr(socket, "EAI_NODATA", -5)}
)
KNOWN_FOR_S: Final = 1.0
"""So long an answer about the network serves all who ask."""
PATIENCE_S: Final = 3.0


class Blame(Enum):
    """What an error says of the network of this machine."""

    NONE = "none"
    """Something answered, or it is about something else."""
    EITHER = "either"
    """A name that is not known, a host to which there is no way: theirs or ours."""
    OURS = "ours"
    """There is no way out of here, or nobody who resolves names."""


def blame_of(error: BaseException | None) -> Blame:
    """What an error, or whatever it was caused by, says of our own network."""
    found = Blame.NONE
    for one in causes_of(error):
        if isinstance(one, socket.gaierror):
            if one.errno in _NAMES_HERE:
                return Blame.OURS
            found = Blame.EITHER if one.errno in _NAMES else found
        elif isinstance(one, OSError):
            if one.errno in _HERE:
                return Blame.OURS
            found = Blame.EITHER if one.errno == errno.EHOSTUNREACH else found
    return found


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from, and what is in it when it is a group."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


async def connect(address: Address) -> None:
    """Open a connection and close it again."""
    _, writer = await asyncio.open_connection(*address)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


class Network:
    """Finds out whether there is a network, when a service cannot be reached.

    Args:
        clock: Time.
        others: The addresses that may be asked, those of the services on other machines.
        reach: How they are asked.
    """

    def __init__(
        self, clock: Clock, others: Callable[[], Collection[Address]], reach: Reach = connect
    ) -> None:
        self._clock, self._others, self._reach = clock, others, reach
        self.reference: Callable[[], Awaitable[bool]] | None = None
        """Who is asked instead: whether there is a network."""
        self._asked: dict[Address | None, tuple[float, asyncio.Task[bool | None]]] = {}

    async def missing(self, error: BaseException | None, address: Address | None, *, silent: bool) -> bool:
        """Whether a check failed because this machine has no network.

        Args:
            error: What it failed with.
            address: Where the service is; None: a function that asks something.
            silent: Whether nothing at all came back within its time, which without a reference says nothing.
        """
        blame = blame_of(error)
        if self.reference is not None:
            return (silent or blame is not Blame.NONE) and not await self._known(None, self._by_reference)
        if blame is Blame.NONE:
            return False
        others = frozenset(self._others()) - {address}
        found = await asyncio.gather(*(self._known(one, partial(self._answers, one)) for one in others))
        if True in found:
            return False
        # Nobody answers. Those that are silent say nothing: then it is only excused what is surely ours.
        return blame is Blame.OURS or (bool(found) and None not in found)

    async def _known(self, key: Address | None, ask: Callable[[], Awaitable[bool | None]]) -> bool | None:
        """An answer that is fresh, whoever has asked for it."""
        now = self._clock.monotonic()
        known = self._asked.get(key)
        if known is None or now - known[0] > KNOWN_FOR_S or known[1].cancelled():
            known = self._asked[key] = (now, asyncio.ensure_future(_run(ask)))
        return await asyncio.shield(known[1])

    async def _by_reference(self) -> bool:
        assert self.reference is not None
        try:
            async with self._clock.timeout(PATIENCE_S):
                return await self.reference()
        except (TimeoutError, OSError):
            return False

    async def _answers(self, address: Address) -> bool | None:
        """Whether anything comes back from there, be it a refusal; None: nothing, for whatever reason."""
        try:
            async with self._clock.timeout(PATIENCE_S):
                await self._reach(address)
        except TimeoutError:
            return None
        except OSError as error:
            return blame_of(error) is Blame.NONE
        return True


async def _run(ask: Callable[[], Awaitable[bool | None]]) -> bool | None:
    return await ask()
