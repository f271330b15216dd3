"""Which policy applies to an operation: the exact name, else the longest prefix, else the default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchkit.errors import PolicyError
from orchkit.model.base import Record
from orchkit.model.policy import (
    READERS,
    BreakerPolicy,
    BudgetPolicy,
    BulkheadPolicy,
    FallbackOption,
    FaultPolicy,
    HedgePolicy,
    OperationPolicy,
    RateLimitPolicy,
    RetryPolicy,
    TimeoutPolicy,
)
from orchkit.model.presets import as_policy

_MODELS: tuple[type[Record], ...] = (
    OperationPolicy,
    RetryPolicy,
    BudgetPolicy,
    TimeoutPolicy,
    BreakerPolicy,
    FallbackOption,
    BulkheadPolicy,
    RateLimitPolicy,
    HedgePolicy,
    FaultPolicy,
)


@dataclass(frozen=True, slots=True)
class PolicyChoice:
    """A policy and why it was chosen."""

    policy: OperationPolicy
    reason: str


class PolicyEngine:
    """Operation policies by pattern, from code (`set_policy`), a mapping or YAML.

    The YAML form::

        policies:
          default: {hooks: [metrics]}
          casefile.*: {timeout: 30, retry: {strategy: fixed, delay: 1, max_attempts: 3}}
          casefile.create: {hooks: [metrics, audit], breaker: casefiles, bulkhead: 10}
      mail.*: {preset: gateway, retry: {max_attempts: 5}, fallback: {value: []}}

    An operation is called ``domain.name`` when its method has a domain, else ``name``. ``hooks`` replaces
    the default list, which is ``metrics`` and ``session_lifecycle``.
    """

    def __init__(self, policies: Iterable[OperationPolicy] = ()) -> None:
        self._policies: dict[str, OperationPolicy] = {"default": OperationPolicy()}
        self._choices: dict[str, PolicyChoice] = {}
        for policy in policies:
            self.set_policy(policy)

    def set_policy(self, policy: OperationPolicy) -> None:
        """Add a policy; replaces the one with the same pattern."""
        self._policies[policy.pattern] = policy
        self._choices.clear()

    def get_policy(self, operation: str) -> OperationPolicy:
        """The policy of an operation."""
        return self.choose(operation).policy

    def choose(self, operation: str) -> PolicyChoice:
        """The policy of an operation and why it is that one."""
        choice = self._choices.get(operation)
        if choice is None:
            choice = self._choices[operation] = self._choose(operation)
        return choice

    def _choose(self, operation: str) -> PolicyChoice:
        exact = self._policies.get(operation)
        if exact is not None:
            return PolicyChoice(exact, f"a policy is named exactly {operation!r}")
        prefixes = [
            pattern
            for pattern in self._policies
            if pattern.endswith(".*") and operation.startswith(pattern.removesuffix("*"))
        ]
        if prefixes:
            longest = max(prefixes, key=len)
            return PolicyChoice(self._policies[longest], f"{longest!r} is the longest pattern that fits")
        return PolicyChoice(self._policies["default"], "no name or pattern fits")

    @property
    def policies(self) -> tuple[OperationPolicy, ...]:
        """All policies."""
        return tuple(self._policies.values())

    def load(self, data: Mapping[str, Any]) -> None:
        """Add policies from a mapping ``{"policies": {pattern: fields}}``.

        Raises `PolicyError` naming the pattern and the field; nothing is added then.
        """
        entries = data.get("policies")
        if not isinstance(entries, Mapping):
            raise PolicyError("file", "expected a mapping under 'policies'")
        parsed = []
        for pattern, fields in entries.items():
            try:
                parsed.append(_read(pattern, dict(fields or {})))
            except ValidationError as error:
                raise PolicyError(repr(pattern), "; ".join(map(_said, error.errors()))) from error
            except TypeError as error:
                raise PolicyError(repr(pattern), f"expected a mapping of fields: {error}") from error
            except ValueError as error:  # there is no such preset
                raise PolicyError(repr(pattern), str(error)) from error
        for policy in parsed:
            self.set_policy(policy)

    @classmethod
    def from_yaml(cls, source: str | Path) -> PolicyEngine:
        """Policies from YAML: a text, or a file (a `Path`, or its name that ends in ``.yaml``).

        Raises `PolicyError` naming the pattern and the field.
        """
        import yaml

        if isinstance(source, str) and source.endswith((".yaml", ".yml")):
            source = Path(source)
        try:
            text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        except OSError as error:
            raise PolicyError("file", f"cannot read {source}: {error.strerror or error}") from error
        try:
            data = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise PolicyError("file", f"not YAML: {error}") from error
        engine = cls()
        engine.load(data if isinstance(data, Mapping) else {})
        return engine

    @classmethod
    def of(cls, source: PolicyEngine | Mapping[str, Any] | str | Path | None) -> PolicyEngine:
        """A policy engine from what people have: one, a mapping as in the YAML form, a YAML file, nothing."""
        if isinstance(source, PolicyEngine):
            return source
        if isinstance(source, str | Path):
            return cls.from_yaml(source)
        engine = cls()
        if source is not None:
            engine.load(source)
        return engine


def _read(pattern: str, fields: dict[str, Any]) -> OperationPolicy:
    """A policy from its fields, which may change those of a preset."""
    parts = {name: fields.pop(name) for name in READERS if name in fields}
    if "preset" in fields:
        whole = as_policy({"preset": fields.pop("preset"), **parts})
        parts = {} if whole is None else whole.parts
    return OperationPolicy.model_validate({**fields, **parts, "pattern": pattern})


def _said(error: Any) -> str:
    """One mistake of a policy: the field, what is wrong, and the name that was probably meant."""
    path = ".".join(map(str, error["loc"])) or "it"
    if error["type"] != "extra_forbidden":
        return f"{path} is {error['input']!r}: {error['msg']}"
    known = {"preset", *(name for model in _MODELS for name in model.model_fields)}
    near = get_close_matches(str(error["loc"][-1]), known, n=1)
    return f"{path}: no such field" + (f" (did you mean {near[0]!r}?)" if near else "")
