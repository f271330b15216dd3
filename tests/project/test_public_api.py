"""The public names: which they are, that they are there, and that asking for them is all they cost."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import orchkit

NAMES = {
    "doors": ["Comparison", "Kit", "Run", "RunHandle", "Runs", "compare", "open"],
    "definitions": [
        "BreakerPolicy",
        "BudgetPolicy",
        "BulkheadPolicy",
        "Compensation",
        "FallbackOption",
        "FallbackPolicy",
        "FaultPolicy",
        "HedgePolicy",
        "OperationPolicy",
        "RateLimitPolicy",
        "ReliabilityPolicy",
        "RetryPolicy",
        "StepDefinition",
        "TimeoutPolicy",
        "Workflow",
        "WorkflowBuilder",
        "WorkflowDefinition",
        "policies",
        "reliable",
    ],
    "requests and results": [
        "ExecutionDirective",
        "Request",
        "RequestStatus",
        "Response",
        "StepResult",
        "WorkflowRequestPayload",
        "WorkflowResult",
    ],
    "health": ["HealthMonitor", "HealthResult", "ServiceHealth"],
    "engine": [
        "BaseOrchestrator",
        "ChainExecutor",
        "Hook",
        "HookManager",
        "Orchestrator",
        "PolicyEngine",
        "SessionOrchestrator",
        "WorkflowEngine",
    ],
    "registry": [
        "MethodRegistry",
        "ParameterValidator",
        "Registry",
        "ServiceContainer",
        "ToolRegistry",
        "method",
        "register_method",
        "register_tool",
    ],
    "simulation": ["simulate"],
    "record": ["bundle_evidence", "report_progress", "trace_decision"],
    "errors": [
        "BundleError",
        "BreakerOpenError",
        "BulkheadFullError",
        "InjectedFaultError",
        "RateLimitedError",
        "RejectedError",
        "CodeChangedError",
        "CodecError",
        "DuplicateRequestError",
        "IdempotencyConflictError",
        "OrchestrationError",
        "RunInProgressError",
        "ConditionError",
        "ConditionSyntaxError",
        "DefinitionError",
        "ExecutionError",
        "ForkedStoreError",
        "HookError",
        "MissingExtraError",
        "OperationError",
        "OrchkitError",
        "ParameterError",
        "PolicyError",
        "ReferenceSyntaxError",
        "RegistrationError",
        "StoreBusyError",
        "StoreClosedError",
        "StoreError",
        "StoreFullError",
        "StoreVersionError",
        "TimeoutExceededError",
        "UnknownNameError",
        "UnresolvedReferenceError",
        "WorkflowExecutionError",
        "WorkflowValidationError",
        "errors",
    ],
}
PUBLIC = sorted(name for names in NAMES.values() for name in names)

HEAVY = {
    "anywidget",
    "duckdb",
    "graphviz",
    "IPython",
    "ipywidgets",
    "matplotlib",
    "networkx",
    "numpy",
    "pandas",
    "pydantic",
    "rich",
    "simpleeval",
    "typer",
    "yaml",
}


def _modules_after(statement: str) -> set[str]:
    """The modules that a new interpreter has loaded after this statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(json.loads(answer.stdout))


def _imports_for_type_checkers() -> dict[str, str]:
    """Name to module, as the ``if TYPE_CHECKING:`` block of the package says."""
    tree = ast.parse(Path(orchkit.__file__).read_text(encoding="utf-8"))
    found = {}
    for block in tree.body:
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            for node in block.body:
                assert isinstance(node, ast.ImportFrom)
                for alias in node.names:
                    whole = node.module == "orchkit"
                    found[alias.name] = f"orchkit.{alias.name}" if whole else str(node.module)
    return found


def test_the_public_names_are_these() -> None:
    """Adding or removing a public name is a decision, made here as well."""
    assert sorted(orchkit.__all__) == sorted([*PUBLIC, "__version__"])
    assert dir(orchkit) == sorted(orchkit.__all__)


def test_python_and_type_checkers_see_the_same_names() -> None:
    """Each name comes from the same module for an editor and at run time."""
    assert _imports_for_type_checkers() == orchkit._EXPORTS
    assert sorted(orchkit._EXPORTS) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_each_name_is_there(name: str) -> None:
    """Every public name can be had, is documented, and is the very object of its module."""
    value = getattr(orchkit, name)
    module = import_module(orchkit._EXPORTS[name])
    assert value is (module if isinstance(value, ModuleType) else getattr(module, name))
    assert value.__doc__


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """A misspelt name fails as it does in any module, by its name."""
    with pytest.raises(AttributeError, match="no attribute 'WorkflowBilder'"):
        _ = orchkit.WorkflowBilder
    assert not hasattr(orchkit, "__wrapped__")


def test_import_loads_nothing_heavy() -> None:
    """`import orchkit` loads none of the third parties and, of its own, only the port for pictures."""
    loaded = _modules_after("import orchkit")
    assert not loaded & HEAVY
    ours = {name for name in loaded if name.split(".")[0] == "orchkit"}
    assert ours == {"orchkit", "orchkit.model", "orchkit.model.display", "orchkit.model.gateway"}


def test_opening_a_kit_loads_no_frames_and_no_pictures() -> None:
    """`ok.open()` needs neither pandas nor widgets nor drawing; they come with the first use."""
    loaded = _modules_after("import orchkit as ok\nok.open()")
    assert not loaded & {"anywidget", "graphviz", "IPython", "ipywidgets", "matplotlib", "networkx", "pandas"}


def test_the_version_is_that_of_the_package(repository: Path) -> None:
    """`__version__` and the packaging metadata say the same."""
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert orchkit.__version__ == project["version"]


@pytest.mark.parametrize("name", ["analysis.retries", "analysis.uptime", "analysis.whatif", "views.plots"])
def test_packages_of_functions_list_these_alone(name: str) -> None:
    """Completion offers what is meant to be called, not the modules that it is made of."""
    package = import_module(f"orchkit.{name}")
    assert dir(package) == sorted(package.__all__)
