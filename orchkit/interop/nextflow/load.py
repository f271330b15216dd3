"""Bringing a Nextflow execution trace into a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

from orchkit.errors import Problem, StoreBusyError
from orchkit.interop.nextflow.events import events_of, origin_of
from orchkit.interop.nextflow.tasks import span_of, tasks_of
from orchkit.interop.nextflow.trace import read, refused
from orchkit.model import event as ev
from orchkit.store import codec
from orchkit.store.lease import Lease
from orchkit.store.log import Row
from orchkit.store.store import Store

_LEASE_S = 60.0
_POLL_S = 0.02


class HasStore(Protocol):
    """A kit, or whatever else has a store."""

    @property
    def store(self) -> Store:
        """The store."""
        ...


def load_trace(
    path: str | Path,
    kit: HasStore | Store,
    *,
    name: str | None = None,
    timezone: str | tzinfo = UTC,
    date_format: str | None = None,
) -> str:
    """Bring an execution trace (``nextflow run -with-trace``) into a store; returns the run id.

    ============================  ==========================================================================
    in the trace                  on the record
    ============================  ==========================================================================
    the file                      a run, ``imported``, that began when the first task was submitted
    a task                        a step: its id is the name of the task, its name that of the process
    a line                        an attempt, from submission to completion: ``duration_ms`` is ``duration``
    status FAILED, exit 137       ``failed``, error type ``exit 137``; ``no exit code`` where there is none
    status ABORTED, RUNNING …     ``cancelled``, at the end of the run where the trace has no end of it
    status CACHED                 a step with success and without attempts: nothing was executed
    error_action                  a decision ``retry``: ``retry`` or ``give_up``
    all that a line says          evidence ``nextflow.task`` of the attempt, with units in the names:
                                  ``peak_rss_bytes``, ``cpu_percent``, ``realtime_s``, ``memory_bytes`` …
    ============================  ==========================================================================

    Which lines are tries of the same task is told by `orchkit.interop.nextflow.tasks.tasks_of`. The run is
    ``partial`` when tasks failed and the others went on, ``failed`` when the others were stopped.

    The run id is made from the content of the file: loading it again, under whatever name, adds nothing and
    returns the same id; a load that was killed is taken up where it ended.

    Args:
        path: The trace. Needed are the columns ``status``, ``name`` or ``process``, and one of ``submit``,
            ``start`` and ``complete``; the order is free, others may be missing, ``trace.raw`` is understood.
        kit: A kit, or a store.
        name: Name of the run; by default that of the file, without its ending.
        timezone: Where the times were written, which the trace does not say: a name such as
            ``Europe/Berlin``, or a tzinfo.
        date_format: How times are written, where they are not ISO (`datetime.strptime`).

    Raises:
        WorkflowValidationError: It is no trace, or some of it cannot be read; each problem names its line
            and column.
        OSError: The file cannot be opened.
        ZoneInfoNotFoundError: There is no time zone of this name.
        StoreError: The store cannot be written.
    """
    path = Path(path)
    store = kit if isinstance(kit, Store) else kit.store
    trace = read(path, zone=ZoneInfo(timezone) if isinstance(timezone, str) else timezone, layout=date_format)
    span = span_of(trace.rows)
    if span is None:
        raise refused(path, [Problem("the file", "has no task that says when it ran")])
    run_id = f"run_{trace.hash[:32]}"
    events = events_of(trace, tasks_of(trace.rows, span), span, run_id, name or path.stem)
    # Said of the record, and so at the time at which it was made.
    origin = codec.dumps(origin_of(trace))
    events.append((store.clock.now_us(), ev.RUN_IMPORTED, run_id, None, None, origin))
    with _alone(store, run_id):
        _write(store, run_id, events)
    return run_id


@contextmanager
def _alone(store: Store, run_id: str, wait: Callable[[float], None] = time.sleep) -> Iterator[None]:
    """Let one load of a file work at a time; raises `StoreBusyError` after waiting for a minute."""
    lease = Lease(store.log, f"import:{run_id}", store.clock, ttl_s=_LEASE_S)
    waited = 0.0
    while (holder := lease.acquire()) is not None:
        if waited > _LEASE_S:
            raise StoreBusyError(f"the import of {run_id}", str(holder), waited)
        wait(_POLL_S)
        waited += _POLL_S
    try:
        yield
    finally:
        lease.release()


def _write(store: Store, run_id: str, events: Sequence[Row]) -> None:
    """Write what is not on record yet: events are written in order, so that is the tail of them."""
    found, whole = store.query(
        "SELECT count(*), count(*) FILTER (kind = ?) FROM event WHERE run_id = ?", [ev.RUN_IMPORTED, run_id]
    )[0]
    if whole:
        return
    for event in events[found:]:
        store.log.append(event, durable=True)
    store.commit()
    store.ingest_soon()
