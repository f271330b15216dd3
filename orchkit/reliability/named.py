"""What calls share by name: budgets, breakers, bulkheads, each kind a table of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from orchkit.errors import UnknownNameError
from orchkit.model.display import Displayable

if TYPE_CHECKING:
    import pandas as pd

P = TypeVar("P")


class Shared(Protocol[P]):
    """One of them."""

    name: str
    policy: P

    def adopt(self, policy: P) -> None:
        """Go on with other settings."""
        ...


G = TypeVar("G", bound=Shared[Any])


class Named(Mapping[str, G], Displayable, Generic[G]):
    """All of one kind by name, as a table; made at their first use. For any thread."""

    kind = "policy"
    columns: tuple[str, ...] = ("name",)

    def __init__(self, make: Callable[[str, Any], G]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._known: dict[str, G] = {}

    def get_or_make(self, name: str, policy: Any) -> G:
        """The one of this name, made if it is new; it goes on with these settings if they have changed."""
        with self._lock:
            found = self._known.get(name)
            if found is None:
                found = self._known[name] = self._make(name, policy)
            elif found.policy != policy:
                found.adopt(policy)
            return found

    def remembered(self) -> Sequence[str]:
        """The names of those that no call of this process has used yet, but that there are."""
        return ()

    def revive(self, name: str) -> G:
        """One of those."""
        raise UnknownNameError(self.kind, name, self)

    def __getitem__(self, name: str) -> G:
        """The one of this name; `UnknownNameError` when there is none yet."""
        found = self._known.get(name)
        return self.revive(name) if found is None else found

    def __contains__(self, name: object) -> bool:
        return name in self._known or name in self.remembered()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._known, *self.remembered()}))

    def __len__(self) -> int:
        return len({*self._known, *self.remembered()})

    def row(self, shared: G) -> Sequence[Any]:
        """One line of the table, in the order of ``columns``."""
        return (shared.name,)

    def frame(self) -> pd.DataFrame:
        """All of them as a DataFrame with ``columns``."""
        import pandas as pd

        return pd.DataFrame([self.row(self[name]) for name in self], columns=list(self.columns))

    def __repr__(self) -> str:
        if not self:
            return f"<{type(self).__name__}: none used yet>"
        rows = [self.columns, *([_text(value) for value in self.row(self[name])] for name in self)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join(lines)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
