"""Random numbers that depend on who asks and on nothing else, so that two policies meet the same world."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from statistics import NormalDist
from typing import Final

_NORMAL: Final = NormalDist()
_WIDTH: Final = 2.0**64


@dataclass(frozen=True, slots=True)
class SimulatedCall:
    """One call of a service: which one it is, and when it begins."""

    at: float
    """Seconds since the beginning of the simulation."""
    run: int
    """The number of the run, from 0."""
    step: str
    """The id of the step, of an item of a map with its index; in a sub-workflow after the id of the step
    that runs it: ``notify/send[2]``."""
    attempt: int
    """Its number among the calls of the step, from 1; 0 for the tool of a fallback, which makes none."""


class Luck:
    """A source of random numbers that is asked for the number of a call, not for the next one.

    Sequences would not do: under another policy other calls are made, and all that come after would meet
    another world. Here the k-th attempt of a step of a run is as lucky under one policy as under another.
    (J. K. Salmon and others, "Parallel random numbers: as easy as 1, 2, 3", 2011, name such generators
    counter-based; ours is a keyed hash, BLAKE2b.)
    """

    __slots__ = ("_key",)

    def __init__(self, *names: object) -> None:
        self._key = blake2b("\x1f".join(map(str, names)).encode()).digest()

    def number(self, *names: object) -> float:
        """The number of these names: uniform in the open interval (0, 1), independent of all others."""
        text = "\x1f".join(map(str, names)).encode()
        digest = blake2b(text, digest_size=8, key=self._key).digest()
        # The largest ones would be rounded to 1.
        return min((int.from_bytes(digest, "big") + 0.5) / _WIDTH, 1.0 - 2.0**-53)

    def uniform(self, call: SimulatedCall) -> float:
        """The number of a call; it does not depend on when the call is made."""
        return self.number(call.run, call.step, call.attempt)

    def normal(self, call: SimulatedCall) -> float:
        """The same, normally distributed with mean 0 and variance 1."""
        return _NORMAL.inv_cdf(self.uniform(call))

    def course(self) -> Random:
        """A sequence, for what goes on whether anybody calls or not."""
        return Random(self._key)  # noqa: S311 - to be repeated

    def below(self, name: object) -> Luck:
        """Another source, independent of this one."""
        return Luck(self._key.hex(), name)


class StepLuck(Random):
    """The generator for the jitter of policies: the n-th number that a step of a run draws is its n-th.

    ``who`` names the step of the run that is drawing.
    """

    def __init__(self, luck: Luck, who: Callable[[], tuple[object, ...]]) -> None:
        super().__init__(0)
        self._luck, self._who = luck, who
        self._drawn: Counter[tuple[object, ...]] = Counter()

    def random(self) -> float:
        """The next number of the step."""
        who = self._who()
        self._drawn[who] += 1
        return self._luck.number(*who, self._drawn[who])

    def getrandbits(self, k: int, /) -> int:
        """So many bits; more than 53 are no better than 53."""
        return math.floor(math.ldexp(self.random(), k))
