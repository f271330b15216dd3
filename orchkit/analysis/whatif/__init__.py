"""What another policy would have done to the calls on record: bounds, and how many cases rest on them.

A *case* is a call with all that was tried of it: a step of a run, an item of a map, a single operation. It is
followed under another policy for as long as the record says what comes next: an attempt that was made at that
moment ends as it did, one that is cut off earlier fails then. Where the record cannot tell, because nobody
made the attempt, each number has a least and a most, and the case counts among those *on bounds*. The truth
lies within the bounds as long as the world would have been the same: services that would fare better or worse
with more or fewer calls are not foreseen.

What circuit breakers and budgets would have done depends on all calls that share them; a case that is not
known makes that less certain for the others. When a step ends otherwise, its run may go another way, and what
comes after it, or runs beside it, is not known from then on.

Assumptions (``assume=``) close bounds where one believes in them:

============  ==========================================================================================
``begins``    every case begins when it did on record, whatever became of what was before it
``steady``    the n-th call of a case ends as it did on record, whenever it is made
``longest``   no call takes longer than the longest of its tool on record
``unasked``   no service asks to wait (``Retry-After``) that has not done so on record
============  ==========================================================================================

An estimate (``estimate=``) is one number beside the bounds. ``nearby`` takes a call that is not on record for
a recorded one of the same tool that began at about that time; ``steady`` takes the n-th call of a case for
its own n-th one first. Estimates are guesses, and hopeful ones when a service is down while few call it.

Sources, ``runs=`` and ``origins=`` are those of `orchkit.analysis.retries`; a bulkhead, a rate limit and
faults cannot be asked about. `orchkit.views.plots.whatif` draws a comparison.
"""

from __future__ import annotations

from orchkit.analysis.whatif.answer import Replay
from orchkit.analysis.whatif.asking import compare, replay
from orchkit.analysis.whatif.suggesting import Suggestion, suggest

__all__ = ["Replay", "Suggestion", "compare", "replay", "suggest"]


def __dir__() -> list[str]:
    return sorted(__all__)
