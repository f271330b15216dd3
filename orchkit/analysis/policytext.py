"""The parts of a recorded policy, each in a few words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from orchkit.analysis.words import listing, plural, value_text
from orchkit.model.breaker import USUAL_FAILURES


def limits(inputs: Mapping[str, Any]) -> dict[str, str]:
    """The parts that a recorded choice of a policy has, by name, in words."""
    said = {
        name: tell(part) for name, tell in _PARTS.items() if isinstance(part := inputs.get(name), Mapping)
    }
    return {name: text for name, text in said.items() if text}


def _retry(retry: Mapping[str, Any]) -> str:
    tries, strategy, delay = retry.get("max_attempts", 1), retry.get("strategy"), retry.get("delay")
    if tries < 2 or strategy == "none":
        return "one attempt"
    waits = ""
    if delay is not None and strategy != "immediate":
        waits = f", {delay:g} s" if strategy == "fixed" else f", from {delay:g} s"
    return f"up to {tries} attempts ({strategy}{waits}){_budget(retry.get('budget'))}"


def _budget(budget: Any) -> str:
    if not isinstance(budget, Mapping):
        return ""
    capacity = budget.get("capacity")
    tokens = f" of {capacity:g} tokens" if isinstance(capacity, int | float) else ""
    return f" out of the budget{_named(budget)}{tokens}"


def _timeout(timeout: Mapping[str, Any]) -> str:
    """In seconds, as people set it."""
    ways = (("attempt", "per attempt"), ("total", "in all"))
    return listing(
        f"at most {timeout[name]:g} s {what}" for name, what in ways if timeout.get(name) is not None
    )


def _breaker(breaker: Mapping[str, Any]) -> str:
    if not breaker.get("enabled", True):
        return "no circuit breaker"
    by_rate = [f"{breaker[key]:.0%} {what}" for key, what in _RATES.items() if breaker.get(key) is not None]
    in_a_row = breaker.get("failure_threshold") or (None if by_rate else USUAL_FAILURES)
    opens = [plural(in_a_row, "failure in a row", "failures in a row")] if in_a_row else []
    return f"the circuit breaker{_named(breaker)} opens after {' or '.join([*opens, *by_rate])}"


_RATES: Final = {"failure_rate": "failed calls", "slow_call_rate": "slow calls"}


def _fallback(fallback: Mapping[str, Any]) -> str:
    chain = fallback.get("chain")
    options = [_option(one) for one in chain if isinstance(one, Mapping)] if isinstance(chain, list) else []
    return f"{', then '.join(options)} when all fails" if options else ""


def _option(option: Mapping[str, Any]) -> str:
    if option.get("tool"):
        return f"the tool {option['tool']}"
    if option.get("function"):
        return f"the function {option['function']}"
    return f"the value {value_text(option.get('value'))}"


def _bulkhead(bulkhead: Mapping[str, Any]) -> str:
    return f"at most {bulkhead.get('max_concurrent', 10)} calls at the same time{_shared(bulkhead)}"


def _rate_limit(limit: Mapping[str, Any]) -> str:
    return f"at most {limit.get('limit', 10)} calls per {limit.get('period', 1):g} s{_shared(limit)}"


def _hedge(hedge: Mapping[str, Any]) -> str:
    more = plural(hedge.get("max_hedges", 1), "more try", "more tries")
    return f"{more} beside it after {hedge.get('delay', 1):g} s"


def _faults(faults: Mapping[str, Any]) -> str:
    return f"{faults.get('rate', 0):.0%} of the attempts fail on purpose"


def _named(part: Mapping[str, Any]) -> str:
    return f" {part['name']!r}" if part.get("name") else ""


def _shared(part: Mapping[str, Any]) -> str:
    return f" (shared as {part['name']!r})" if part.get("name") else ""


_PARTS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "retry": _retry,
    "timeout": _timeout,
    "breaker": _breaker,
    "rate_limit": _rate_limit,
    "bulkhead": _bulkhead,
    "hedge": _hedge,
    "fallback": _fallback,
    "faults": _faults,
}
