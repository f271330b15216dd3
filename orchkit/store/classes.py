"""Instances of classes to their fields and back: pydantic models, dataclasses, enums, named tuples."""

from __future__ import annotations

import dataclasses
import datetime as dt
import sys
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel, RootModel, TypeAdapter
from pydantic.dataclasses import is_pydantic_dataclass

from orchkit.store.notes import Packer, Path, type_name


def pack_instance(packer: Packer, value: Any, path: Path) -> tuple[Any] | None:
    """The packed fields in a one-tuple; None when it is not an instance of a class of this kind."""
    kind = type(value)
    if isinstance(value, BaseModel):
        packer.note(path, "model", type_name(kind))
        return (_pack_model(packer, value, path),)
    if dataclasses.is_dataclass(kind):
        packer.note(path, "dataclass", type_name(kind))
        return (_pack_dataclass(packer, value, path),)
    if isinstance(value, Enum):
        packer.note(path, "enum", type_name(kind))
        return (packer.pack(value.value, path),)
    if isinstance(value, tuple) and hasattr(kind, "_fields") and hasattr(kind, "_make"):
        packer.note(path, "namedtuple", type_name(kind))
        return (packer.pack(list(value), path),)
    return None


def _pack_model(packer: Packer, model: BaseModel, path: Path) -> Any:
    """An object of the fields, each by pydantic's own JSON where that brings it back, else by ours."""
    plain, restored = _through_json(model)
    if isinstance(model, RootModel):
        root = restored.get("root", _MISSING)
        return plain if _same(root, model.root) else packer.pack(model.root, path)
    known = type(model).model_fields
    extra = model.model_extra or {}
    shown = [name for name in known if not known[name].exclude and name in model.__dict__]
    return _merge(packer, path, {**{name: model.__dict__[name] for name in shown}, **extra}, plain, restored)


def _pack_dataclass(packer: Packer, value: Any, path: Path) -> Any:
    names = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
    plain, restored = _through_json(value) if is_pydantic_dataclass(type(value)) else ({}, {})
    return _merge(packer, path, {name: getattr(value, name) for name in names}, plain, restored)


def _merge(
    packer: Packer,
    path: Path,
    fields: Mapping[str, Any],
    plain: Mapping[str, Any],
    restored: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        name: plain[name]
        if name in plain and _same(restored.get(name, _MISSING), value)
        else packer.pack(value, (*path, name))
        for name, value in fields.items()
    }


_MISSING = object()


def _through_json(value: Any) -> tuple[Any, Mapping[str, Any]]:
    """What pydantic makes of it, and the fields that come back from that; nothing where it cannot."""
    kind = type(value)
    try:
        if isinstance(value, BaseModel):
            plain = value.model_dump(mode="json", by_alias=False, warnings=False)
            again: Any = kind.model_validate(plain, by_name=True, by_alias=False)
        else:
            adapter = TypeAdapter(kind)
            plain = adapter.dump_python(value, mode="json", by_alias=False, warnings=False)
            again = adapter.validate_python(plain, by_name=True, by_alias=False)
        return plain, {**vars(again), **(getattr(again, "model_extra", None) or {})}
    except Exception:  # whatever the validators of the class say to its own JSON
        return {}, {}


def _same(found: Any, value: Any) -> bool:
    """Whether a value came back as it was, types included."""
    if type(found) is not type(value):
        return False
    if isinstance(value, list | tuple):
        return len(found) == len(value) and all(map(_same, found, value))
    if isinstance(value, dict):
        return found.keys() == value.keys() and all(_same(found[key], item) for key, item in value.items())
    if isinstance(value, dt.datetime | dt.time) and str(found.tzinfo) != str(value.tzinfo):
        return False
    try:
        equal = found == value
    except Exception:  # a comparison that fails proves nothing, nor does an array's, which is no bool
        return False
    return equal is True


def find_class(name: str) -> type | None:
    """A class by ``module:QualName`` among the modules that are loaded; None when it is gone.

    Nothing is imported: reading a record must not run code that the record names.
    """
    module_name, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module_name)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) else None


def _decode_model(value: Any, name: str) -> Any:
    kind = find_class(name)
    if kind is None or not issubclass(kind, BaseModel):
        return value
    return kind.model_validate(value, by_name=True, by_alias=False)


def _decode_dataclass(value: Any, name: str) -> Any:
    kind = find_class(name)
    if kind is None or not dataclasses.is_dataclass(kind):
        return value
    fields = {field.name: field.init for field in dataclasses.fields(kind)}
    try:
        made: Any = kind(**{key: item for key, item in value.items() if fields.get(key)})
    except TypeError:
        if fields.keys() != value.keys():
            raise
        made = object.__new__(kind)  # its constructor takes something that is not a field
    if not is_pydantic_dataclass(kind):
        for key in fields.keys() & value.keys():
            object.__setattr__(made, key, value[key])
    return made


def _decode_enum(value: Any, name: str) -> Any:
    kind = find_class(name)
    try:
        return kind(value) if kind is not None and issubclass(kind, Enum) else value
    except ValueError:
        return value  # the member is gone


def _decode_namedtuple(value: Any, name: str) -> Any:
    make: Callable[[Any], Any] = getattr(find_class(name), "_make", tuple)
    return make(value)


DECODERS: Mapping[str, Callable[[Any, Any], Any]] = {
    "model": _decode_model,
    "dataclass": _decode_dataclass,
    "enum": _decode_enum,
    "namedtuple": _decode_namedtuple,
}
