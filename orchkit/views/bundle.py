"""What notebooks show of a record: the module that records name to be drawn by."""

from __future__ import annotations

from collections.abc import Callable

from orchkit.model.health import ServiceHealth
from orchkit.model.policy import ReliabilityPolicy
from orchkit.model.policywords import Explanation
from orchkit.model.result import WorkflowResult
from orchkit.model.workflow import Workflow
from orchkit.store.cache import Cache
from orchkit.views import (
    cachecards,
    comparecards,
    gatewaycards,
    healthcards,
    kitcards,
    policycards,
    runcards,
    simulationcards,
    verifycards,
    whatifcards,
    workflowcards,
)
from orchkit.views.comparison import Comparison
from orchkit.views.healthview import HealthView, Watching
from orchkit.views.monitor import Monitor, Watched
from orchkit.views.run import Run
from orchkit.views.runs import Runs

Draw = Callable[[object], dict[str, str]]

_DRAWERS: tuple[tuple[type, Draw], ...] = (
    (Run, runcards.of_run),
    (Runs, runcards.of_runs),
    (WorkflowResult, runcards.of_result),
    (Workflow, workflowcards.of_workflow),
    (Cache, cachecards.of_cache),
    (ReliabilityPolicy, policycards.of_policy),
    (Explanation, policycards.of_explanation),
    (Comparison, comparecards.of_comparison),
    (ServiceHealth, healthcards.of_service),
)
# Of the layers above this one: known by what they have.
_DRAWERS_BY_NAMES: tuple[tuple[tuple[str, ...], Draw], ...] = (
    (("store", "runs", "registry"), kitcards.of_kit),
    (("run_id", "status", "done", "result"), kitcards.of_handle),
    (("run_id", "checked", "mismatches", "skipped"), verifycards.of_verification),
    (("watch", "status", "overall", "check_now"), healthcards.of_monitor),
    (("kit", "seed", "summary", "frame"), simulationcards.of_simulation),
    (("policy", "assumed", "estimate", "summary"), whatifcards.of_replay),
    (("policy", "reasons", "split_at", "table"), whatifcards.of_suggestion),
    (("running", "url", "routes", "standing"), gatewaycards.of_gateway),
)


def bundle(obj: object) -> dict[str, str]:
    """The MIME bundle of a record: ``text/html`` and, where there is a better one, ``text/plain``.

    Anything with a ``frame()`` is shown as a table; of what is not known there is nothing to show.
    """
    for kind, draw in _DRAWERS:
        if isinstance(obj, kind):
            return draw(obj)
    for names, draw in _DRAWERS_BY_NAMES:
        if all(hasattr(obj, name) for name in names):
            return draw(obj)
    if callable(getattr(obj, "frame", None)):
        return workflowcards.of_frame(obj)
    return {}


def health(monitor: Watching) -> HealthView:
    """The card of watched services, as it changes."""
    return HealthView(monitor)


def monitor(handle: Watched) -> Monitor:
    """The monitor of a run that goes on."""
    return Monitor(handle)
