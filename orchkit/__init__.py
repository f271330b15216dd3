"""Orchkit runs workflows in a notebook and writes down every choice they make, and why.

``import orchkit as ok`` costs next to nothing: each name below is imported at its first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchkit.model.display import use_views
from orchkit.model.gateway import use_gateway

if TYPE_CHECKING:
    from orchkit import errors, policies
    from orchkit.engine.builder import WorkflowBuilder
    from orchkit.engine.chain import ChainExecutor
    from orchkit.engine.dispatch import Orchestrator
    from orchkit.engine.handle import RunHandle
    from orchkit.engine.hooks import Hook, HookManager
    from orchkit.engine.orchestrator import BaseOrchestrator
    from orchkit.engine.policies import PolicyEngine
    from orchkit.engine.recorder import bundle_evidence, report_progress, trace_decision
    from orchkit.engine.reliable import reliable
    from orchkit.engine.runner import WorkflowEngine
    from orchkit.engine.sessions import SessionOrchestrator
    from orchkit.errors import (
        BreakerOpenError,
        BulkheadFullError,
        BundleError,
        CodecError,
        CodeChangedError,
        ConditionError,
        ConditionSyntaxError,
        DefinitionError,
        DuplicateRequestError,
        ExecutionError,
        ForkedStoreError,
        HookError,
        IdempotencyConflictError,
        InjectedFaultError,
        MissingExtraError,
        OperationError,
        OrchestrationError,
        OrchkitError,
        ParameterError,
        PolicyError,
        RateLimitedError,
        ReferenceSyntaxError,
        RegistrationError,
        RejectedError,
        RunInProgressError,
        StoreBusyError,
        StoreClosedError,
        StoreError,
        StoreFullError,
        StoreVersionError,
        TimeoutExceededError,
        UnknownNameError,
        UnresolvedReferenceError,
        WorkflowExecutionError,
        WorkflowValidationError,
    )
    from orchkit.health.monitor import HealthMonitor
    from orchkit.kit import Kit, open
    from orchkit.model.health import HealthResult, ServiceHealth
    from orchkit.model.idempotency import RequestStatus
    from orchkit.model.policy import (
        BreakerPolicy,
        BudgetPolicy,
        BulkheadPolicy,
        FallbackOption,
        FallbackPolicy,
        FaultPolicy,
        HedgePolicy,
        OperationPolicy,
        RateLimitPolicy,
        ReliabilityPolicy,
        RetryPolicy,
        TimeoutPolicy,
    )
    from orchkit.model.request import ExecutionDirective, Request, Response, WorkflowRequestPayload
    from orchkit.model.result import StepResult, WorkflowResult
    from orchkit.model.workflow import Compensation, StepDefinition, Workflow, WorkflowDefinition
    from orchkit.registry.methods import MethodRegistry
    from orchkit.registry.parameters import ParameterValidator
    from orchkit.registry.registration import method, register_method, register_tool
    from orchkit.registry.registry import Registry
    from orchkit.registry.services import ServiceContainer
    from orchkit.registry.tools import ToolRegistry
    from orchkit.simulation.simulate import simulate
    from orchkit.views.comparison import Comparison, compare
    from orchkit.views.run import Run
    from orchkit.views.runs import Runs

__version__ = "0.1.0"

__all__ = [
    "BaseOrchestrator",
    "BreakerOpenError",
    "BreakerPolicy",
    "BudgetPolicy",
    "BulkheadFullError",
    "BulkheadPolicy",
    "BundleError",
    "ChainExecutor",
    "CodeChangedError",
    "CodecError",
    "Comparison",
    "Compensation",
    "ConditionError",
    "ConditionSyntaxError",
    "DefinitionError",
    "DuplicateRequestError",
    "ExecutionDirective",
    "ExecutionError",
    "FallbackOption",
    "FallbackPolicy",
    "FaultPolicy",
    "ForkedStoreError",
    "HealthMonitor",
    "HealthResult",
    "HedgePolicy",
    "Hook",
    "HookError",
    "HookManager",
    "IdempotencyConflictError",
    "InjectedFaultError",
    "Kit",
    "MethodRegistry",
    "MissingExtraError",
    "OperationError",
    "OperationPolicy",
    "OrchestrationError",
    "Orchestrator",
    "OrchkitError",
    "ParameterError",
    "ParameterValidator",
    "PolicyEngine",
    "PolicyError",
    "RateLimitPolicy",
    "RateLimitedError",
    "ReferenceSyntaxError",
    "RegistrationError",
    "Registry",
    "RejectedError",
    "ReliabilityPolicy",
    "Request",
    "RequestStatus",
    "Response",
    "RetryPolicy",
    "Run",
    "RunHandle",
    "RunInProgressError",
    "Runs",
    "ServiceContainer",
    "ServiceHealth",
    "SessionOrchestrator",
    "StepDefinition",
    "StepResult",
    "StoreBusyError",
    "StoreClosedError",
    "StoreError",
    "StoreFullError",
    "StoreVersionError",
    "TimeoutExceededError",
    "TimeoutPolicy",
    "ToolRegistry",
    "UnknownNameError",
    "UnresolvedReferenceError",
    "Workflow",
    "WorkflowBuilder",
    "WorkflowDefinition",
    "WorkflowEngine",
    "WorkflowExecutionError",
    "WorkflowRequestPayload",
    "WorkflowResult",
    "WorkflowValidationError",
    "__version__",
    "bundle_evidence",
    "compare",
    "errors",
    "method",
    "open",
    "policies",
    "register_method",
    "register_tool",
    "reliable",
    "report_progress",
    "simulate",
    "trace_decision",
]

# The imports above for Python itself; a test holds the two and `__all__` together.
_EXPORTS: dict[str, str] = {
    "BaseOrchestrator": "orchkit.engine.orchestrator",
    "BreakerOpenError": "orchkit.errors",
    "BreakerPolicy": "orchkit.model.policy",
    "BudgetPolicy": "orchkit.model.policy",
    "BulkheadFullError": "orchkit.errors",
    "BulkheadPolicy": "orchkit.model.policy",
    "BundleError": "orchkit.errors",
    "ChainExecutor": "orchkit.engine.chain",
    "CodeChangedError": "orchkit.errors",
    "CodecError": "orchkit.errors",
    "Comparison": "orchkit.views.comparison",
    "Compensation": "orchkit.model.workflow",
    "ConditionError": "orchkit.errors",
    "ConditionSyntaxError": "orchkit.errors",
    "DefinitionError": "orchkit.errors",
    "DuplicateRequestError": "orchkit.errors",
    "ExecutionDirective": "orchkit.model.request",
    "ExecutionError": "orchkit.errors",
    "FallbackOption": "orchkit.model.policy",
    "FallbackPolicy": "orchkit.model.policy",
    "FaultPolicy": "orchkit.model.policy",
    "ForkedStoreError": "orchkit.errors",
    "HedgePolicy": "orchkit.model.policy",
    "HealthMonitor": "orchkit.health.monitor",
    "HealthResult": "orchkit.model.health",
    "Hook": "orchkit.engine.hooks",
    "HookError": "orchkit.errors",
    "HookManager": "orchkit.engine.hooks",
    "IdempotencyConflictError": "orchkit.errors",
    "InjectedFaultError": "orchkit.errors",
    "Kit": "orchkit.kit",
    "MethodRegistry": "orchkit.registry.methods",
    "MissingExtraError": "orchkit.errors",
    "OperationError": "orchkit.errors",
    "OperationPolicy": "orchkit.model.policy",
    "OrchestrationError": "orchkit.errors",
    "Orchestrator": "orchkit.engine.dispatch",
    "OrchkitError": "orchkit.errors",
    "ParameterError": "orchkit.errors",
    "ParameterValidator": "orchkit.registry.parameters",
    "PolicyEngine": "orchkit.engine.policies",
    "PolicyError": "orchkit.errors",
    "RateLimitPolicy": "orchkit.model.policy",
    "RateLimitedError": "orchkit.errors",
    "ReferenceSyntaxError": "orchkit.errors",
    "RegistrationError": "orchkit.errors",
    "Registry": "orchkit.registry.registry",
    "RejectedError": "orchkit.errors",
    "ReliabilityPolicy": "orchkit.model.policy",
    "Request": "orchkit.model.request",
    "RequestStatus": "orchkit.model.idempotency",
    "Response": "orchkit.model.request",
    "RetryPolicy": "orchkit.model.policy",
    "Run": "orchkit.views.run",
    "RunHandle": "orchkit.engine.handle",
    "RunInProgressError": "orchkit.errors",
    "Runs": "orchkit.views.runs",
    "ServiceContainer": "orchkit.registry.services",
    "ServiceHealth": "orchkit.model.health",
    "SessionOrchestrator": "orchkit.engine.sessions",
    "StepDefinition": "orchkit.model.workflow",
    "StepResult": "orchkit.model.result",
    "StoreBusyError": "orchkit.errors",
    "StoreClosedError": "orchkit.errors",
    "StoreError": "orchkit.errors",
    "StoreFullError": "orchkit.errors",
    "StoreVersionError": "orchkit.errors",
    "TimeoutExceededError": "orchkit.errors",
    "TimeoutPolicy": "orchkit.model.policy",
    "ToolRegistry": "orchkit.registry.tools",
    "UnknownNameError": "orchkit.errors",
    "UnresolvedReferenceError": "orchkit.errors",
    "Workflow": "orchkit.model.workflow",
    "WorkflowBuilder": "orchkit.engine.builder",
    "WorkflowDefinition": "orchkit.model.workflow",
    "WorkflowEngine": "orchkit.engine.runner",
    "WorkflowExecutionError": "orchkit.errors",
    "WorkflowRequestPayload": "orchkit.model.request",
    "WorkflowResult": "orchkit.model.result",
    "WorkflowValidationError": "orchkit.errors",
    "bundle_evidence": "orchkit.engine.recorder",
    "compare": "orchkit.views.comparison",
    "errors": "orchkit.errors",
    "method": "orchkit.registry.registration",
    "open": "orchkit.kit",
    "policies": "orchkit.policies",
    "register_method": "orchkit.registry.registration",
    "register_tool": "orchkit.registry.registration",
    "reliable": "orchkit.engine.reliable",
    "report_progress": "orchkit.engine.recorder",
    "simulate": "orchkit.simulation.simulate",
    "trace_decision": "orchkit.engine.recorder",
}

# Hidden from type checkers, for which it would make every misspelt name a valid one.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name at its first use, and keep it."""
        if name not in _EXPORTS:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = import_module(_EXPORTS[name])
        value = module if module.__name__ == f"{__name__}.{name}" else getattr(module, name)
        globals()[name] = value
        return value


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext orchkit``: the magics ``%orchkit``, ``%%orchkit_sql`` and ``%%step``."""
    import_module("orchkit.cli.magics").load(shell)


def __dir__() -> list[str]:
    return sorted(__all__)


# Records ask for their pictures by this name only, so that drawing stays out of the model.
use_views("orchkit.views.bundle")
# And a kit for its gateway, which knows the kit.
use_gateway("orchkit.gateway.server")
