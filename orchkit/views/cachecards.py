"""How the cache of a store shows itself."""

from __future__ import annotations

from typing import Any

from orchkit.analysis.words import plural
from orchkit.store.cache import Cache, CacheEntry
from orchkit.views.cards import Cell, card, code, moment, muted, table

_MOST = 20
_COLUMNS = ("method", "computed by", "of run", "on", "used", "last used", "key")


def of_cache(cache: Any) -> dict[str, str]:
    """How many outputs of how many methods can be used again, and the newest of them."""
    assert isinstance(cache, Cache)
    entries = cache.entries()
    methods = {entry.method for entry in entries}
    used = sum(entry.hits for entry in entries)
    facts: list[tuple[str, Cell]] = [
        ("", plural(len(entries), "output")),
        ("of", plural(len(methods), "method") if methods else None),
        ("used", plural(used, "time") if used else None),
    ]
    rows = [_row(entry) for entry in reversed(entries[-_MOST:])]
    nothing = muted('No method with cache="inputs" has recorded an output yet.')
    body = table(rows, _COLUMNS, total=len(entries), drop_empty=True) if rows else nothing
    return {"text/html": card("Cache", facts, body)}


def _row(entry: CacheEntry) -> list[Cell]:
    used = plural(entry.hits, "time") if entry.hits else "never"
    last = moment(entry.used_us) if entry.used_us is not None else ""
    made = moment(entry.created_us)
    return [entry.method, entry.step_id, code(entry.run_id), made, used, last, code(entry.key[:12])]
