"""Which policy applies to an operation: the exact name, else the longest prefix, else the default."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchkit.errors import PolicyError, Problem
from orchkit.model.base import Record
from orchkit.model.faults import faults_of, not_yaml
from orchkit.model.policy import READERS, OperationPolicy
from orchkit.model.presets import as_policy
from orchkit.model.yamltext import load_yaml


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
          mail.*: {preset: gateway, retry: {delay: 2}, fallback: {value: []}}

    An operation is called ``domain.name`` when its method has a domain, else ``name``. ``hooks`` replaces
    the default list, which is ``metrics`` and ``session_lifecycle``.
    """

    def __init__(self, policies: Iterable[OperationPolicy] = ()) -> None:
        self._policies: dict[str, OperationPolicy] = {"default": OperationPolicy()}
        self._choices: dict[str, PolicyChoice] = {}
        for policy in policies:
            self.set_policy(policy)

    def __repr__(self) -> str:
        held = (f"{policy.pattern} ({', '.join(policy.parts) or 'no parts'})" for policy in self.policies)
        count = len(self.warnings())
        told = f"; {count} warning{'' if count == 1 else 's'}, see warnings()" if count else ""
        return f"<PolicyEngine: {', '.join(held)}{told}>"

    def warnings(self, hooks: Iterable[str] | None = None) -> list[Problem]:
        """What in the policies cannot do what it seems to, and names that stand for several things.

        With ``hooks``, the names that there are (``kit.hooks.names``), also hooks that are not among them;
        an operation that has such a one fails.
        """
        found = [
            replace(problem, where=f"{policy.pattern} > {problem.where}")
            for policy in self.policies
            for problem in policy.warnings()
        ]
        known = None if hooks is None else tuple(hooks)
        return [*found, *self._shared(), *(self._unknown_hooks(known) if known is not None else ())]

    def _shared(self) -> Iterator[Problem]:
        """One name with several settings: calls share what is set first."""
        first: dict[tuple[str, str], tuple[str, Record]] = {}
        for policy in self.policies:
            for what, part in _named(policy):
                pattern, known = first.setdefault((what, part.name), (policy.pattern, part))
                if known != part:
                    cause = f"{what} {part.name!r} has other settings than in {pattern}"
                    yield Problem(policy.pattern, cause, "calls that name the same one share it")

    def _unknown_hooks(self, known: Sequence[str]) -> Iterator[Problem]:
        for policy in self.policies:
            for name in policy.hooks:
                if name not in known:
                    near = get_close_matches(name, known, n=1)
                    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
                    yield Problem(f"{policy.pattern} > hooks", f"there is no hook {name!r}", hint)

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

    def load(self, data: object) -> None:
        """Add policies from a mapping ``{"policies": {pattern: fields}}``.

        Raises `PolicyError` naming the pattern and the field; nothing is added then.
        """
        entries = data.get("policies") if isinstance(data, Mapping) else None
        if not isinstance(entries, Mapping):
            found = f"found {_kinds(data)}"
            raise PolicyError("file", f"expected a mapping under 'policies': {{pattern: fields}}; {found}")
        parsed = []
        for pattern, fields in entries.items():
            try:
                parsed.append(_read(pattern, dict(fields or {})))
            except ValidationError as error:
                raise PolicyError(repr(pattern), "; ".join(faults_of(error))) from error
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
            data = load_yaml(text)
        except yaml.YAMLError as error:
            raise PolicyError("file", str(not_yaml(error))) from error
        engine = cls()
        engine.load(data)
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


def _named(policy: OperationPolicy) -> Iterator[tuple[str, Any]]:
    """The parts of a policy that calls share by name."""
    budget = policy.retry.budget if policy.retry is not None else None
    parts = (
        ("breaker", policy.breaker),
        ("bulkhead", policy.bulkhead),
        ("rate_limit", policy.rate_limit),
        ("faults", policy.faults),
        ("retry budget", budget),
    )
    return ((what, part) for what, part in parts if part is not None and part.name is not None)


def _read(pattern: str, fields: dict[str, Any]) -> OperationPolicy:
    """A policy from its fields, which may change those of a preset."""
    parts = {name: fields.pop(name) for name in READERS if name in fields}
    if "preset" in fields:
        whole = as_policy({"preset": fields.pop("preset"), **parts})
        parts = {} if whole is None else whole.parts
    return OperationPolicy.model_validate({**fields, **parts, "pattern": pattern})


def _kinds(data: object) -> str:
    """What was found instead of policies."""
    if isinstance(data, Mapping):
        held = data.get("policies")
        return (
            f"a {type(held).__name__}"
            if "policies" in data
            else f"only {', '.join(map(repr, data)) or 'nothing'}"
        )
    return "nothing" if data is None else f"a {type(data).__name__}"
