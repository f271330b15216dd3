"""Methods with ``cache="inputs"``: the same code and the same input reuse the recorded output."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from orchkit.engine.recorder import StepScope
from orchkit.errors import CodecError
from orchkit.model import event as ev
from orchkit.registry.target import Target
from orchkit.store import codec
from orchkit.store.cache import CacheEntry, cache_key
from orchkit.store.store import Store


async def reuse_or_compute(
    store: Store,
    target: Target,
    params: Mapping[str, Any],
    scope: StepScope,
    compute: Callable[[], Awaitable[Any]],
) -> Any:
    """The recorded output for this code and input, or else the computed one, which is kept."""
    cache, method = store.cache(), target.method
    packed = codec.pack(dict(params), "input")
    notes = sorted(packed.notes, key=codec.canonical)
    input_hash = codec.content_hash(codec.canonical([packed.value, notes]))
    facts = {"method": method.name, "code": method.code.hash, "input": input_hash}
    entry = cache.find(cache_key(method.code.hash, input_hash))
    if entry is not None:
        # A large output is in the history: reading it must not hold up what else runs on this loop.
        small = entry.output is not None
        found = cache.recall(entry) if small else await asyncio.to_thread(cache.recall, entry)
        if found is not None:
            _note_reuse(scope, entry, facts)
            cache.hit(entry.key)
            return found.value
    scope.decided("cache", "compute", "no output of the same code and input is on record", facts)
    output = await compute()
    with suppress(CodecError):  # the step fails for it, and says so
        step = (scope.recorder.run_id, str(scope.step_id))
        result = codec.pack(output, "output")
        cache.put(CacheEntry.of(method.name, method.code.hash, input_hash, step, result))
    return output


def _note_reuse(scope: StepScope, entry: CacheEntry, facts: Mapping[str, Any]) -> None:
    scope.decided(
        "cache",
        "reuse",
        f"the same code gave this for the same input in {entry.run_id}",
        {**facts, "run_id": entry.run_id, "step_id": entry.step_id},
    )
    reused = {"how": "cache", "run_id": entry.run_id, "step_id": entry.step_id}
    scope.recorder.event(ev.STEP_REUSED, reused, scope.step_id)
