"""Which policy an operation gets, and policies from text."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from pydantic import ValidationError

from orchkit.engine.policies import PolicyEngine
from orchkit.errors import PolicyError
from orchkit.model.policy import OperationPolicy, RetryPolicy, TimeoutPolicy

TEXT = """
policies:
  default: {hooks: [metrics]}
  casefile.*:
    timeout: 30
    retry: {strategy: fixed, delay: 1, max_attempts: 4, retry_on: [ConnectionError]}
  casefile.create: {hooks: [metrics, audit], retry: 2}
  empty.*:
"""


@pytest.mark.parametrize(
    ("operation", "pattern", "reason"),
    [
        ("casefile.create", "casefile.create", "a policy is named exactly 'casefile.create'"),
        ("casefile.close", "casefile.*", "'casefile.*' is the longest pattern that fits"),
        ("casefile.mail.send", "casefile.mail.*", "'casefile.mail.*' is the longest pattern that fits"),
        ("casefile.mail", "casefile.*", "'casefile.*' is the longest pattern that fits"),
        ("casefile.mailing.send", "casefile.*", "'casefile.*' is the longest pattern that fits"),
        ("casefile", "default", "no name or pattern fits"),
        ("casefiles.create", "default", "no name or pattern fits"),
        ("create", "default", "no name or pattern fits"),
        ("", "default", "no name or pattern fits"),
    ],
)
def test_the_exact_name_wins_then_the_longest_prefix_then_the_default(
    operation: str, pattern: str, reason: str
) -> None:
    """Whatever the order in which the policies were given; the reason says which rule it was."""
    names = ["casefile.*", "casefile.mail.*", "casefile.create", "case.*"]
    for order in (names, names[::-1]):
        engine = PolicyEngine([OperationPolicy(pattern=name) for name in order])
        choice = engine.choose(operation)
        assert (choice.policy.pattern, choice.reason) == (pattern, reason)
        assert engine.get_policy(operation) is choice.policy


def test_a_later_policy_replaces_one_of_the_same_pattern() -> None:
    """Also the default, and also after operations have been looked up."""
    engine = PolicyEngine()
    assert engine.get_policy("a.b").hooks == ("metrics", "session_lifecycle")
    engine.set_policy(OperationPolicy(hooks=("audit",)))
    assert engine.get_policy("a.b").hooks == ("audit",)
    engine.set_policy(OperationPolicy(pattern="a.*", retry=RetryPolicy(max_attempts=7)))
    assert engine.get_policy("a.b").retry == RetryPolicy(max_attempts=7)
    assert len(engine.policies) == 2


def test_policies_from_yaml() -> None:
    """Short forms are the ones of the builder: seconds, a number of attempts, a mapping."""
    engine = PolicyEngine.from_yaml(TEXT)
    assert engine.get_policy("casefile.close") == OperationPolicy(
        pattern="casefile.*",
        timeout=TimeoutPolicy(attempt=30),
        retry=RetryPolicy(strategy="fixed", delay=1, max_attempts=4, retry_on=("ConnectionError",)),
    )
    assert engine.get_policy("casefile.create").retry == RetryPolicy(max_attempts=2)
    assert engine.get_policy("casefile.create").hooks == ("metrics", "audit")
    assert engine.get_policy("empty.x") == OperationPolicy(pattern="empty.*")
    assert engine.get_policy("anything").hooks == ("metrics",)


def test_policies_from_a_file(tmp_path: Path) -> None:
    """A path is read, a text is parsed."""
    path = tmp_path / "policies.yaml"
    path.write_text(TEXT, encoding="utf-8")
    assert PolicyEngine.from_yaml(path).policies == PolicyEngine.from_yaml(TEXT).policies


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("policies: {shop.*: {timeout: fast}}", ["shop.*", "timeout"]),
        ("policies: {shop.*: {retry: {strategy: quadratic}}}", ["shop.*", "strategy"]),
        ("policies: {shop.*: {retry: {max_attempts: 0}}}", ["shop.*", "max_attempts"]),
        ("policies: {shop.*: {retires: 3}}", ["shop.*", "retires"]),
        ("policies: {shop.*: {hooks: audit}}", ["shop.*", "hooks"]),
        ("policies: {shop*: {timeout: 3}}", ["shop*", "only a trailing '.*' is a wildcard"]),
        ("policies: {'*.create': {timeout: 3}}", ["*.create", "only a trailing '.*' is a wildcard"]),
        ("policies: {shop.*: [1, 2]}", ["shop.*"]),
        ("policies: {5: {timeout: 3}}", ["5"]),
        ("policies: [shop]", ["file", "'policies'"]),
        ("polices: {}", ["file", "'policies'"]),
        ("- a\n- b", ["file", "'policies'"]),
        ("\n", ["file", "'policies'"]),
        ("policies: {a: [", ["file", "not YAML"]),
        (
            "policies:\n  a: {retry: 3}\n  a: {retry: 4}",
            ["file", "line 3", "'a' stands twice, also in line 2"],
        ),
        ("policies: {shop.*: {prest: gateway}}", ["shop.*", "no field 'prest'", "did you mean 'preset'?"]),
    ],
)
def test_a_mistake_in_a_text_is_named(text: str, parts: list[str]) -> None:
    """The error says which pattern and which field."""
    with pytest.raises(PolicyError) as caught:
        PolicyEngine.from_yaml(text)
    for part in parts:
        assert part in str(caught.value)


def test_a_text_with_a_mistake_changes_nothing() -> None:
    """Also its sound entries are not taken."""
    engine = PolicyEngine()
    with pytest.raises(PolicyError):
        engine.load({"policies": {"a.*": {"timeout": 3}, "b.*": {"timeout": -3}}})
    assert len(engine.policies) == 1


@pytest.mark.parametrize("pattern", ["*", "a*", "a.*.b", "**", "a.*.*"])
def test_a_pattern_has_one_wildcard_at_its_end(pattern: str) -> None:
    """Anything else would be ambiguous."""
    with pytest.raises(ValidationError, match="only a trailing"):
        OperationPolicy(pattern=pattern)


def test_a_policy_of_a_domain_holds_for_its_methods(make_lab: Any) -> None:
    """The operation of a method is its domain and name; a method without a domain has its name alone."""
    lab = make_lab(policies=[OperationPolicy(pattern="shop.*", timeout=2)])

    async def slow() -> None:
        await lab.clock.sleep(5)

    lab.tool(slow, "inside", domain="shop")
    lab.tool(slow, "outside")
    flow = lab.flow().with_error_handling("continue_on_failure").add_step("inside").add_step("outside")
    result = lab.execute(flow)
    assert (result.steps["inside"].status, result.steps["outside"].status) == ("failed", "success")


def test_the_example_in_the_help_is_one() -> None:
    """What `help(PolicyEngine)` shows can be read, and every policy in it works."""
    text = dedent((PolicyEngine.__doc__ or "").split("form::\n")[1].split("An operation is")[0])
    engine = PolicyEngine.from_yaml(text)
    mail = engine.get_policy("mail.send").retry
    assert mail is not None
    assert (mail.delay, mail.strategy) == (2, "fixed")
    assert engine.get_policy("casefile.create").hooks == ("metrics", "audit")
    assert [policy.warnings() for policy in engine.policies] == [[]] * 4


@pytest.mark.parametrize("source", [[1], {"shop.*": {"retry": 3}}, 7])
def test_what_are_no_policies_is_refused(source: Any) -> None:
    """The error says which form they have, and what was found."""
    with pytest.raises(PolicyError, match=r"expected a mapping under 'policies'.*found"):
        PolicyEngine.of(source)


def test_what_cannot_work_among_policies_is_told() -> None:
    """Contradictions by pattern, one name with two settings, and hooks that are not there."""
    engine = PolicyEngine.of(
        {
            "policies": {
                "web.*": {"breaker": {"name": "b", "failure_threshold": 3}, "hooks": ["metrcs"]},
                "mail.*": {"breaker": {"name": "b", "failure_threshold": 5}, "hooks": ["metrics"]},
                "shop.*": {"retry": {"retry_on": ["ValuError"]}, "hooks": []},
            }
        }
    )
    hooks = ("metrics", "audit", "session_lifecycle")
    assert [str(problem) for problem in engine.warnings(hooks)] == [
        "shop.* > retry.retry_on: no known error is called 'ValuError' (did you mean 'ValueError'?)",
        "mail.*: breaker 'b' has other settings than in web.* (calls that name the same one share it)",
        "web.* > hooks: there is no hook 'metrcs' (did you mean 'metrics'?)",
    ]
    assert repr(engine) == (
        "<PolicyEngine: default (no parts), web.* (breaker), mail.* (breaker), shop.* (retry); "
        "2 warnings, see warnings()>"
    )
