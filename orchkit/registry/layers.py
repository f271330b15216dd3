"""What a callable is made of, from the outermost wrapper to the function, as data that can be hashed."""

from __future__ import annotations

from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

from orchkit.registry.bytecode import compiled_form, rebound_names
from orchkit.registry.signature import underlying
from orchkit.registry.source import own_functions, source_of_class, source_of_function
from orchkit.registry.valueform import name_form, settled_form, value_form

_WRITTEN_IN_PYTHON = 1 << 9
"""The flag of classes that are made at run time (``Py_TPFLAGS_HEAPTYPE``)."""

_CODE = (FunctionType, BuiltinFunctionType, type)


class Layers(NamedTuple):
    """The layers of a callable, JSON-able, outermost first; and the source of the innermost."""

    forms: list[Any]
    source: str | None


class Form(NamedTuple):
    """One of them."""

    form: list[Any]
    source: str | None


def layers_of(function: Any) -> Layers:
    """Take a callable apart: partials, bound methods and wrappers around a function, class or instance."""
    package, forms = _package(underlying(function)), []
    while True:
        if isinstance(function, partial):
            keywords = {name: value_form(function.keywords[name]) for name in sorted(function.keywords)}
            forms.append(["partial", [value_form(each) for each in function.args], keywords])
            function = function.func
        elif isinstance(function, MethodType):
            forms.append(["bound", *_owner_form(function.__self__)])
            function = function.__func__
        elif hasattr(function, "__wrapped__"):
            forms.append(["wrapper", *_wrapper_form(function, package)])
            function = function.__wrapped__
        else:
            core = _core_form(function, package)
            return Layers([*forms, core.form], core.source)


def _wrapper_form(wrapper: Any, package: str) -> list[Any]:
    """A wrapper counts in full when it is written beside what it wraps; an upgraded library is no edit."""
    call = wrapper if type(wrapper) is FunctionType else type(wrapper).__call__
    if not isinstance(call, FunctionType):
        return [name_form(wrapper)]
    if _package(call) == package:
        return _function_form(call).form
    return [f"{call.__globals__.get('__name__')}:{call.__code__.co_qualname}", _closure_form(call)]


def _core_form(function: Any, package: str) -> Form:
    if type(function) is FunctionType:  # a mock passes for an instance
        found = _function_form(function)
        return Form(["function", *found.form], found.source)
    if isinstance(function, type) and function.__flags__ & _WRITTEN_IN_PYTHON:
        return _class_form("class", function, ("__new__", "__init__"), package)
    if isinstance(type(function).__call__, FunctionType):
        found = _class_form("instance", type(function), ("__call__",), package)
        return Form([*found.form, *_owner_form(function)], found.source)
    return Form(["compiled", *_builtin_form(function)], None)


def _owner_form(owner: Any) -> list[Any]:
    """An object by its value where it cannot change, else by its class and the functions that it holds."""
    held = vars(owner) if not isinstance(owner, type) and hasattr(owner, "__dict__") else {}
    code = {name: value for name, value in held.items() if isinstance(value, _CODE)}
    return [settled_form(owner), {name: name_form(code[name]) for name in sorted(code)}]


def _builtin_form(function: Any) -> list[Any]:
    """By its name: what it does cannot be looked into."""
    kind = type(function)
    owner = getattr(function, "__self__", None)
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", kind.__qualname__)
    module = getattr(function, "__module__", None) or kind.__module__
    return [f"{module}:{name}", None if isinstance(owner, ModuleType) else settled_form(owner)]


# --- functions ---------------------------------------------------------------------------------


def _function_form(function: FunctionType) -> Form:
    source = source_of_function(function)
    code = ["compiled", *compiled_form(function.__code__)] if source is None else ["source", source.form]
    named = function.__kwdefaults__ or {}
    form = [
        code,
        [value_form(each) for each in function.__defaults__ or ()],
        {name: value_form(named[name]) for name in sorted(named)},
        _closure_form(function),
    ]
    return Form(form, None if source is None else source.text)


def _closure_form(function: FunctionType) -> dict[str, Any]:
    """The free variables that hold settings: not those that the function assigns, nor what it wraps."""
    code, cells = function.__code__, function.__closure__
    if not cells:
        return {}
    left_out = rebound_names(code) | {"__class__"}
    held = {name: _held(cell) for name, cell in sorted(zip(code.co_freevars, cells, strict=True))}
    wrapped = getattr(function, "__wrapped__", held)
    return {
        name: settled_form(value)
        for name, value in held.items()
        if name not in left_out and value is not wrapped
    }


def _held(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return "not assigned yet"


# --- classes -----------------------------------------------------------------------------------


def _class_form(what: str, kind: type, entries: tuple[str, ...], package: str) -> Form:
    """A class by its own body, and what it inherits of the methods with which it is called."""
    source = source_of_class(kind)
    body = ["attributes", *_attributes_form(kind)] if source is None else ["source", source.form]
    inherited = [_inherited_form(kind, name, package) for name in entries]
    return Form([what, body, inherited], None if source is None else source.text)


def _inherited_form(kind: type, name: str, package: str) -> Any:
    for base in kind.__mro__[1:]:
        function = vars(base).get(name)
        if isinstance(function, FunctionType):
            return _function_form(function).form if _package(function) == package else name_form(function)
    return None


def _attributes_form(kind: type) -> list[Any]:
    """A class without source: bases, annotations, functions and plain attributes."""
    annotations = vars(kind).get("__annotations__", {})
    functions = [(name, _function_form(function).form) for name, function in own_functions(kind)]
    known = {name for name, _ in functions}
    rest = {name: vars(kind)[name] for name in vars(kind).keys() - known if not name.startswith("__")}
    return [
        kind.__name__,
        [name_form(base) for base in kind.__bases__],
        {name: each if isinstance(each, str) else name_form(each) for name, each in annotations.items()},
        sorted(functions),
        {name: settled_form(rest[name]) for name in sorted(rest)},
    ]


def _package(function: Any) -> str:
    scope = getattr(function, "__globals__", None)
    name = getattr(function, "__module__", None) if scope is None else scope.get("__name__")
    return str(name).partition(".")[0]
