"""What a sweep is asked for, and what it says that it did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple, Protocol

from orchkit.errors import ParameterError, Problem
from orchkit.model.span import seconds_in


class HasId(Protocol):
    """A record that is known by an id, such as a `Run`."""

    @property
    def id(self) -> str:
        """The id of the run."""
        ...


Age = timedelta | str
Keep = int | str | HasId | Iterable[str | HasId]

_NAMED = 3
"""As many kept runs are named one by one."""


class Asked(NamedTuple):
    """Which runs are to go: those that are older, and neither among the newest nor named."""

    runs: bool
    """Whether any are."""
    age_us: int | None = None
    newest: int | None = None
    run_ids: tuple[str, ...] = ()
    checks_us: int | None = None
    """From which age on health checks go as well."""


def asked_of(older_than: Age | None, keep: Keep, checks_older_than: Age | None = None) -> Asked:
    """Read the arguments of a sweep. Raises `ParameterError`."""
    age_us = None if older_than is None else microseconds(older_than, "sweep")
    checks_us = None
    if checks_older_than is not None:
        checks_us = microseconds(checks_older_than, "sweep", "checks_older_than")
    if isinstance(keep, int):
        if isinstance(keep, bool) or keep < 0:
            raise _wrong("keep", f"{keep!r} is no number of runs", "such as 10, or run ids")
        return Asked(True, age_us, keep, checks_us=checks_us)
    run_ids = tuple(_id(run) for run in _each(keep))
    return Asked(age_us is not None or bool(run_ids), age_us, None, run_ids, checks_us)


def _each(keep: object) -> Iterable[object]:
    return keep if isinstance(keep, Iterable) and not isinstance(keep, str) else (keep,)


def _id(run: object) -> str:
    run_id = run if isinstance(run, str) else getattr(run, "id", None)
    if not isinstance(run_id, str):
        raise _wrong("keep", f"{run!r} is no run", "give run ids, or how many of the newest stay")
    return run_id


def microseconds(age: Age, subject: str, where: str = "older_than") -> int:
    """A span of time, given as such or as text: ``30d``. Raises `ParameterError` naming both."""
    seconds = seconds_in(age) if isinstance(age, str) else None
    if seconds is not None:
        with suppress(OverflowError):  # more than a timedelta holds is no span of time either
            age = timedelta(seconds=seconds)
    if isinstance(age, timedelta) and age >= timedelta():
        return age // timedelta(microseconds=1)
    raise _wrong(where, f"{age!r} is no span of time", "such as '30d', '12h' or '90m'", subject)


def _wrong(where: str, cause: str, hint: str, subject: str = "sweep") -> ParameterError:
    return ParameterError(subject, [Problem(where, cause, hint)])


@dataclass(frozen=True, slots=True, repr=False)
class SweepReport:
    """What a sweep removed, or would remove."""

    runs: int = 0
    sub_runs: int = 0
    """Runs of sub-workflows of those."""
    events: int = 0
    evidence: int = 0
    large_values: int = 0
    """Values over 64 KiB, and sources, that nothing names any more."""
    checks: int = 0
    """Health checks; they are among the events."""
    keys: int = 0
    """Idempotency keys whose time was over."""
    cache_entries: int = 0
    kept: Mapping[str, str] = field(default_factory=dict)
    """By id, newest first, the runs that were due and stay, and why."""
    bytes_before: int | None = None
    """Of both files of the store; None in memory."""
    bytes_after: int | None = None
    """None also after a trial run."""
    not_compacted: str | None = None
    """Why the space of what was removed could not be given back; the store uses it for what comes next."""
    dry_run: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """How much of what was removed."""
        names = ("runs", "sub_runs", "events", "evidence", "large_values", "checks", "keys", "cache_entries")
        return {name: getattr(self, name) for name in names}

    @property
    def empty(self) -> bool:
        """Whether there was nothing to remove."""
        return not any(self.counts.values())

    def __str__(self) -> str:
        """In words, one sentence a line."""
        lines = [f"{'would remove' if self.dry_run else 'removed'} {self._removed()}"]
        if self.kept:
            lines.append(
                f"kept {_count(len(self.kept), 'run')} that {'was' if len(self.kept) == 1 else 'were'} "
                f"due: {self._kept()}"
            )
        if self.not_compacted is not None:
            lines.append(f"the file was not made smaller: {self.not_compacted}")
        elif self.bytes_before is not None and self.bytes_after is not None:
            lines.append(f"the store takes {_size(self.bytes_after)}, before {_size(self.bytes_before)}")
        return "\n".join(lines)

    def _removed(self) -> str:
        if self.empty:
            return "nothing"
        parts = [
            _count(self.runs, "run") + (f" ({self.sub_runs:,} more below)" if self.sub_runs else ""),
            _count(self.events, "event"),
            _count(self.evidence, "piece of evidence", "pieces of evidence"),
            _count(self.large_values, "large value"),
            _count(self.checks, "health check"),
            _count(self.keys, "expired key"),
            _count(self.cache_entries, "cached output"),
        ]
        return ", ".join(part for part in parts if not part.startswith("0 "))

    def _kept(self) -> str:
        if len(self.kept) <= _NAMED:
            return ", ".join(f"{run_id} ({why})" for run_id, why in self.kept.items())
        return ", ".join(f"{count:,} {why}" for why, count in Counter(self.kept.values()).most_common())

    def __repr__(self) -> str:
        return f"<SweepReport: {'; '.join(str(self).splitlines())}>"


def _count(number: int, one: str, several: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
