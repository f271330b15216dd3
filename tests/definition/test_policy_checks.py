"""Policies in definitions: what people write, what comes back from files, what cannot work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import orchkit as ok
from orchkit.engine.builder import WorkflowBuilder
from orchkit.errors import WorkflowValidationError
from orchkit.model.policy import (
    BreakerPolicy,
    BulkheadPolicy,
    FallbackOption,
    FallbackPolicy,
    FaultPolicy,
    HedgePolicy,
    RateLimitPolicy,
)
from orchkit.model.workflow import Workflow
from orchkit.registry.registry import Registry


def fetch(url: str) -> str:
    """A call that may fail."""
    return url


def cached(url: str, age: int = 0) -> str:
    """What is known of it."""
    return url


def nothing() -> str:
    """Takes nothing."""
    return ""


def told(error: Exception) -> str:
    """A function for fallbacks."""
    return str(error)


@pytest.fixture
def registry() -> Registry:
    """Three tools; one of them may be called twice."""
    registry = Registry()
    registry.methods.register_method(fetch)
    registry.methods.register_method(cached, idempotent=True)
    registry.methods.register_method(nothing)
    return registry


@pytest.fixture
def builder(registry: Registry) -> WorkflowBuilder:
    """A builder over them."""
    return WorkflowBuilder("flow", registry=registry)


def _problems(builder: WorkflowBuilder) -> list[str]:
    with pytest.raises(WorkflowValidationError) as failed:
        builder.build()
    return [str(problem) for problem in failed.value.problems]


EVERYTHING: dict[str, Any] = {
    "breaker": 5,
    "fallback": [told, {"tool": "cached", "on": ["timeout", 503]}, {"value": ""}],
    "bulkhead": 4,
    "rate_limit": "100/min",
    "hedge": 0.5,
    "faults": {"rate": 0.1, "error": ConnectionError, "seed": 1},
}


def test_short_forms_are_read(builder: WorkflowBuilder) -> None:
    """Numbers, texts, functions and mappings become the records that they stand for."""
    step = builder.add_step("cached", {"url": "x"}, **EVERYTHING).build().steps[0]
    assert step.breaker == BreakerPolicy(failure_threshold=5)
    assert step.fallback == FallbackPolicy(
        chain=(
            FallbackOption(function=told),
            FallbackOption(tool="cached", on=("timeout", "503")),
            FallbackOption(value=""),
        )
    )
    assert step.bulkhead == BulkheadPolicy(max_concurrent=4)
    assert step.rate_limit == RateLimitPolicy(limit=100, period=60)
    assert step.hedge == HedgePolicy(delay=0.5)
    assert step.faults == FaultPolicy(rate=0.1, error=ConnectionError, seed=1)


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_they_survive_their_text(builder: WorkflowBuilder, form: str) -> None:
    """A definition that was written and read is the same; functions are names then."""
    flow = builder.add_step("cached", {"url": "x"}, retry="fixed", timeout=2, **EVERYTHING).build()
    text = getattr(flow, f"to_{form}")()
    read = getattr(Workflow, f"from_{form}")(text)
    assert getattr(read, f"to_{form}")() == text
    step = read.steps[0]
    assert step.fallback.chain[0].function == f"{__name__}:told"
    assert step.faults.error == "builtins:ConnectionError"
    assert step.breaker == BreakerPolicy(failure_threshold=5)


def test_files_use_the_same_short_forms(registry: Registry, tmp_path: Path) -> None:
    """A YAML step has the options of `add_step`."""
    path = tmp_path / "flow.yaml"
    path.write_text(
        """
name: flow
steps:
  - {id: a, tool: fetch, params: {url: x}, breaker: mail, bulkhead: 2, rate_limit: 5/s, fallback: cached}
  - {id: b, tool: fetch, params: {url: x}, policy: gateway, retry: {max_attempts: 5}, timeout: 3}
  - {id: c, tool: fetch, params: {url: x}, policy: {preset: gateway, breaker: {failure_threshold: 9}}}
  - {id: d, tool: cached, params: {url: x}, hedge: 2, faults: 0.5, retry: circuit_breaker, breaker: true}
"""
    )
    a, b, c, d = Workflow.from_file(path).steps
    assert (a.breaker, a.bulkhead) == (BreakerPolicy(name="mail"), BulkheadPolicy(max_concurrent=2))
    assert a.fallback == FallbackPolicy(chain=(FallbackOption(tool="cached"),))
    assert b.retry_policy is not None
    assert (b.retry_policy.strategy, b.retry_policy.max_attempts) == ("fixed", 5)
    assert (b.timeout.attempt, b.breaker.reset_timeout) == (3, 60)  # type: ignore[union-attr]
    assert (c.timeout.attempt, c.breaker.failure_threshold) == (30, 9)  # type: ignore[union-attr]
    assert (d.hedge, d.faults) == (HedgePolicy(delay=2), FaultPolicy(rate=0.5))


def test_a_whole_policy_and_what_changes_it(builder: WorkflowBuilder) -> None:
    """Parts given beside it win; a mapping changes single fields of what is there."""
    step = (
        builder.add_step(
            "fetch",
            {"url": "x"},
            policy=ok.policies.gateway(),
            retry={"max_attempts": 2},
            timeout=7,
            breaker={"name": "mail"},
        )
        .build()
        .steps[0]
    )
    assert step.retry_policy is not None
    assert (step.retry_policy.max_attempts, step.retry_policy.delay) == (2, 1)
    assert step.timeout == ok.TimeoutPolicy(attempt=7)
    assert step.breaker == BreakerPolicy(name="mail", failure_threshold=3, reset_timeout=60)
    assert step.reliability.parts.keys() == {"retry", "timeout", "breaker"}


def test_items_of_a_map_have_policies_too(builder: WorkflowBuilder) -> None:
    """`add_map` takes what `add_step` takes."""
    step = (
        builder.add_map("fetch", ["a"], bulkhead=2, policy="gateway", fallback={"value": None})
        .build()
        .steps[0]
    )
    assert (step.bulkhead, step.is_map) == (BulkheadPolicy(max_concurrent=2), True)
    assert step.fallback is not None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"breaker": {"failure_treshold": 3}},
            ["breaker: no such field 'failure_treshold'", "did you mean 'failure_threshold'"],
        ),
        ({"breaker": {"failure_rate": 50}}, ["breaker: failure_rate", "less than or equal to 1"]),
        ({"bulkhead": 0}, ["bulkhead: max_concurrent"]),
        ({"rate_limit": "fast"}, ["rate_limit: no such rate: write '10/s'", "'fast'"]),
        (
            {"fallback": lambda error, call: 0},
            [
                "fallback: ",
                "(error, call) cannot be a fallback: it is called with the error alone, or with noth",
            ],
        ),
        (
            {"fallback": {"function": "json:JSONDecodeError"}},
            ["fallback: JSONDecodeError(msg, doc, pos) cannot be a fallback"],
        ),
        ({"fallback": {"vlaue": 1}}, ["fallback: no such field 'vlaue', did you mean 'value'?"]),
        ({"fallback": "chached"}, ["fallback unknown tool or method 'chached'", "write {'value': …}"]),
        ({"fallback": "nothing"}, ["fallback 'nothing' cannot be given the parameters of its step", "'url'"]),
        ({"fallback": {"tool": "cached", "params": {}}}, ["fallback parameter 'url': missing"]),
        (
            {"fallback": {"tool": "cached", "params": {"url": "${context.u}"}}},
            ["fallback parameter 'url': a fallback cannot refer to anything"],
        ),
        ({"fallback": {"function": "no.such:thing"}}, ["fallback", "no.such"]),
        ({"retry": {"classifier": f"{__name__}:gone"}}, ["retry classifier", "'gone'"]),
        (
            {"retry": {"wait": "json:dumpz"}},
            ["retry wait: its target 'json:dumpz' has no 'dumpz'"],
        ),
        ({"faults": {"rate": 1, "error": "NoSuchError"}}, ["faults error", "NoSuchError"]),
        ({"hedge": 1}, ["hedge: 'fetch' is not declared idempotent", "idempotent=True"]),
        ({"policy": "gatewya"}, ["policy: no policy is called 'gatewya': did you mean 'gateway'?"]),
        ({"policy": {"retries": 3}}, ["policy: no such field 'retries', did you mean 'retry'?"]),
        ({"policy": "gateway", "retry": {"max_attempts": 0}}, ["retry", "max_attempts"]),
    ],
)
def test_what_cannot_work_is_a_problem(builder: WorkflowBuilder, options: Any, said: list[str]) -> None:
    """Each mistake is reported with its step, by the name that was written, with a way out."""
    problems = _problems(builder.add_step("fetch", {"url": "x"}, **options))
    assert len(problems) == 1
    assert problems[0].startswith("step 'fetch': ")
    for part in said:
        assert part in problems[0]


def test_one_name_stands_for_one_thing(builder: WorkflowBuilder) -> None:
    """Steps that share a breaker, a bulkhead or a budget by name must set it alike."""
    shared = {"breaker": {"name": "mail"}, "bulkhead": {"name": "mail"}, "retry": {"budget": "mail"}}
    builder.add_step("fetch", {"url": "x"}, step_id="a", **shared)
    builder.add_step("fetch", {"url": "x"}, step_id="b", **shared)
    builder.add_step("fetch", {"url": "x"}, step_id="c", breaker={"name": "mail", "failure_threshold": 9})
    builder.add_step("fetch", {"url": "x"}, step_id="d", retry={"budget": {"name": "mail", "capacity": 7}})
    builder.add_step("fetch", {"url": "x"}, step_id="e", breaker={"failure_threshold": 9})
    hint = "(calls that name the same one share it)"
    assert _problems(builder) == [
        f"step 'c': breaker 'mail' has other settings than in step 'a' {hint}",
        f"step 'd': retry budget 'mail' has other settings than in step 'a' {hint}",
    ]


def test_policies_have_no_effect_on_a_sub_workflow(registry: Registry) -> None:
    """In a file they could be written there; it is said where they belong."""
    flow = Workflow.from_dict(
        {
            "name": "outer",
            "steps": [
                {
                    "id": "inner",
                    "breaker": 3,
                    "workflow": {"name": "w", "steps": [{"id": "a", "tool": "nothing"}]},
                }
            ],
        }
    )
    from orchkit.engine.validation import check

    causes = [problem.cause for problem in check(flow, registry)]
    assert causes == ["breaker has no effect on a sub-workflow"]


def test_a_stack_that_makes_no_sense_can_be_built(builder: WorkflowBuilder) -> None:
    """A warning is no problem: it is there for who asks."""
    step = builder.add_step("fetch", {"url": "x"}, timeout={"attempt": 9, "total": 5}).build().steps[0]
    assert [problem.where for problem in step.reliability.warnings()] == ["timeout"]


def test_a_workflow_tells_of_all_such_stacks(builder: WorkflowBuilder, registry: Registry) -> None:
    """Each with its step, those of sub-workflows too."""
    inner = WorkflowBuilder("inner", registry=registry).add_step("nothing", retry="circuit_breaker").build()
    builder.add_step("fetch", {"url": "x"}, timeout={"attempt": 9, "total": 5}).add_workflow(inner)
    assert [problem.where for problem in builder.build().warnings()] == [
        "step 'fetch' > timeout",
        "step 'inner' > step 'nothing' > retry",
    ]
