"""What is asked: a policy in one of its forms, assumptions, an estimate."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal, get_args

from pydantic import ValidationError

from orchkit.errors import ParameterError, Problem, UnknownNameError
from orchkit.model.breaker import BreakerPolicy
from orchkit.model.limits import HedgePolicy, TimeoutPolicy
from orchkit.model.policy import NO_POLICY, ReliabilityPolicy
from orchkit.model.presets import PRESETS, preset
from orchkit.model.retry import RetryPolicy

Assumption = Literal["begins", "steady", "longest", "unasked"]
Estimate = Literal["nearby", "steady"]

_PARTS: Final[Mapping[type, str]] = {
    RetryPolicy: "retry",
    TimeoutPolicy: "timeout",
    BreakerPolicy: "breaker",
    HedgePolicy: "hedge",
}
UNTOLD: Final = ("bulkhead", "rate_limit", "faults")


def as_policy(value: Any, where: str = "policy") -> ReliabilityPolicy:
    """A policy from what people have: one, a part, a mapping of fields, the name of a preset, None.

    Raises `ParameterError` for what is none, and for parts of which a record tells nothing;
    `UnknownNameError` for a preset that does not exist.
    """
    if value is None:
        return NO_POLICY
    if isinstance(value, str):
        if value not in PRESETS:
            raise UnknownNameError("preset", value, PRESETS)
        value = preset(value)
    part = _PARTS.get(type(value))
    if part is not None:
        value = {part: value}
    try:
        policy = value if isinstance(value, ReliabilityPolicy) else ReliabilityPolicy.model_validate(value)
    except ValidationError as error:
        problems = [Problem(".".join(map(str, one["loc"])) or where, one["msg"]) for one in error.errors()]
        raise ParameterError(where, problems) from error
    untold = [name for name in UNTOLD if getattr(policy, name) is not None]
    if untold:
        hint = f"leave it out: policy.but({', '.join(f'{name}=None' for name in untold)})"
        cause = "what it would do depends on more than is on record"
        raise ParameterError(where, [Problem(name, cause, hint) for name in untold])
    return policy


def as_policies(value: Any) -> dict[str, ReliabilityPolicy]:
    """Policies by name, from a mapping of such, a list of policies, or a single one.

    Those of a list are called by the name of their preset, or by their place in it. Raises as `as_policy`.
    """
    if isinstance(value, Mapping):
        return {name: as_policy(policy, str(name)) for name, policy in value.items()}
    several = isinstance(value, list | tuple)
    found: dict[str, ReliabilityPolicy] = {}
    for number, one in enumerate(value if several else [value], 1):
        place = f"policy {number}" if several else "policy"
        policy = as_policy(one, place)
        name = _preset_of(policy)
        found[place if name is None or name in found else name] = policy
    return found


def _preset_of(policy: ReliabilityPolicy) -> str | None:
    """The name of the preset that it is."""
    return next((name for name in PRESETS if preset(name).parts == policy.parts), None)


def checked(assume: Collection[str] | str, estimate: str | None) -> frozenset[str]:
    """The assumptions. Raises `UnknownNameError` for one that is none, and for an unknown estimate."""
    given = frozenset((assume,) if isinstance(assume, str) else assume)
    for name in sorted(given - set(get_args(Assumption))):
        raise UnknownNameError("assumption", name, get_args(Assumption))
    if estimate is not None and estimate not in get_args(Estimate):
        raise UnknownNameError("estimate", estimate, get_args(Estimate))
    return given
