"""Methods, tools and services by name, and the parameters that they take."""

from orchkit.registry.code import Code, changes, code_of
from orchkit.registry.definition import MethodDefinition
from orchkit.registry.fields import NO_FIELD, UNKNOWN, field_type
from orchkit.registry.fitting import compatible
from orchkit.registry.methods import MethodRegistry
from orchkit.registry.parameters import ParameterValidator
from orchkit.registry.registration import default_registry, method, register_method, register_tool
from orchkit.registry.registry import Registry
from orchkit.registry.services import ServiceContainer
from orchkit.registry.signature import MISSING, ParameterSpec
from orchkit.registry.target import Target
from orchkit.registry.tools import ToolDefinition, ToolRegistry

__all__ = [
    "MISSING",
    "NO_FIELD",
    "UNKNOWN",
    "Code",
    "MethodDefinition",
    "MethodRegistry",
    "ParameterSpec",
    "ParameterValidator",
    "Registry",
    "ServiceContainer",
    "Target",
    "ToolDefinition",
    "ToolRegistry",
    "changes",
    "code_of",
    "compatible",
    "default_registry",
    "field_type",
    "method",
    "register_method",
    "register_tool",
]
