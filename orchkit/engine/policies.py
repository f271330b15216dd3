"""Which policy applies to an operation: the exact name, else the longest prefix, else the default."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchkit.errors import PolicyError
from orchkit.model.policy import OperationPolicy


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
          casefile.create: {hooks: [metrics, audit]}
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
                parsed.append(OperationPolicy.model_validate({**(fields or {}), "pattern": pattern}))
            except (ValidationError, TypeError) as error:
                raise PolicyError(repr(pattern), str(error)) from error
        for policy in parsed:
            self.set_policy(policy)

    @classmethod
    def from_yaml(cls, source: str | Path) -> PolicyEngine:
        """Policies from a YAML file (a `Path`) or text. Raises `PolicyError`."""
        import yaml

        text = source.read_text(encoding="utf-8") if isinstance(source, Path) else source
        try:
            data = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise PolicyError("file", f"not YAML: {error}") from error
        engine = cls()
        engine.load(data if isinstance(data, Mapping) else {})
        return engine
