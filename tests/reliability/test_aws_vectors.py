"""The standard retry mode of the AWS SDKs: given and expected, case by case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from orchkit import policies
from orchkit.model.policy import ReliabilityPolicy

OUTCOMES = {
    "max_attempts": "max_attempts_exceeded",
    "budget": "retry_quota_exceeded",
    "retry": "retry_request",
}

CASES = [
    "Retry eventually succeeds",
    "Fail due to max attempts reached",
    "Retry Quota reached after a single retry",
    "No retries at all if retry quota is 0",
    "Verifying exponential backoff timing",
    "Verify max backoff time",
]


class ResponseError(Exception):
    """What clients raise for a response that is no success."""

    def __init__(
        self, status_code: int, headers: dict[str, str] | None = None, code: str | None = None
    ) -> None:
        self.status_code, self.headers, self.code = status_code, headers or {}, code
        super().__init__(f"status {status_code}")


def play(bench: Any, policy: ReliabilityPolicy, responses: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What came of each response: outcome, tokens left and, before a retry, the delay."""
    answers = [
        "ok" if given["status_code"] < 300 else ResponseError(**given)
        for given in (response["response"] for response in responses)
    ]
    tokens: list[float] = []
    body = bench.service(*answers)
    _, record = bench.call(body, policy)
    observed: list[dict[str, Any]] = []
    for decision in record.decisions:
        inputs = decision.inputs
        left = inputs.get("tokens_left", tokens[-1] if tokens else None)
        tokens.append(left)
        seen = {"outcome": OUTCOMES[inputs["rule"]], "retry_quota": left}
        if decision.decision == "retry":
            seen["delay"] = inputs["delay_s"]
        observed.append(seen)
    if not body.answers and answers[-1] == "ok":
        observed.append({"outcome": "success", "retry_quota": bench.guards.budgets["aws"].tokens})
    return observed


def test_no_case_is_left_out(shared_data: Path) -> None:
    """The list above is what the file holds."""
    assert list(_cases(shared_data)) == CASES


@pytest.mark.parametrize("case", CASES)
def test_a_case_of_the_standard_mode(bench: Any, shared_data: Path, case: str) -> None:
    """Outcome, remaining quota and delay of every response are those that the SDKs expect."""
    table = _cases(shared_data)[case]
    given = table["given"]
    policy = policies.aws_standard(
        max_attempts=given["max_attempts"],
        quota=given["initial_retry_tokens"],
        base_delay=given["exponential_base"],
        multiplier=given["exponential_power"],
        max_delay=given["max_backoff_time"],
        jitter="none",
    )
    assert play(bench, policy, table["responses"]) == [line["expected"] for line in table["responses"]]


def _cases(shared_data: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((shared_data / "aws_retry" / "StandardRetry.yaml").read_text())
    return loaded


def _line(response: dict[str, Any], outcome: str, quota: float, delay: float | None = None) -> dict[str, Any]:
    expected: dict[str, Any] = {"outcome": outcome, "retry_quota": quota}
    if delay is not None:
        expected["delay"] = delay
    return {"response": response, "expected": expected}


REVISED = policies.aws_2026().but(retry={"jitter": "none"})

FAMILY = {
    "costs and bases per error": (
        REVISED.but(retry={"max_attempts": 5}),
        [
            _line({"status_code": 500}, "retry_request", 486, 0.05),
            _line({"status_code": 429}, "retry_request", 481, 2.0),
            _line({"status_code": 400, "code": "Throttling"}, "retry_request", 476, 4.0),
            _line({"status_code": 503}, "retry_request", 462, 0.4),
            _line({"status_code": 200}, "success", 476),
        ],
    ),
    "timeouts cost what the standard mode says": (
        policies.aws_standard(jitter="none", quota=12),
        [
            _line({"status_code": 408}, "retry_request", 2, 1.0),
            _line({"status_code": 408}, "retry_quota_exceeded", 2),
        ],
    ),
    "a success at the first try gives one token back": (
        policies.aws_standard(quota=500).but(retry={"budget": {"initial": 499}}),
        [_line({"status_code": 200}, "success", 500)],
    ),
    "the bucket does not overflow": (
        policies.aws_standard(quota=500),
        [_line({"status_code": 200}, "success", 500)],
    ),
    "what the service asks for lies between the delay and five seconds more": (
        REVISED.but(retry={"max_attempts": 5}),
        [
            _line({"status_code": 500, "headers": {"x-amz-retry-after": "1500"}}, "retry_request", 486, 1.5),
            _line({"status_code": 500, "headers": {"x-amz-retry-after": "0"}}, "retry_request", 472, 0.1),
            _line({"status_code": 500, "headers": {"X-Amz-Retry-After": "10000"}}, "retry_request", 458, 5.2),
            _line({"status_code": 500, "headers": {"x-amz-retry-after": "soon"}}, "retry_request", 444, 0.4),
            _line({"status_code": 200}, "success", 458),
        ],
    ),
    "the cap of delays does not hold for what the service asks": (
        REVISED.but(retry={"max_attempts": 2, "delay": 8, "max_delay": 4}),
        [
            _line({"status_code": 500, "headers": {"x-amz-retry-after": "7000"}}, "retry_request", 486, 7.0),
            _line({"status_code": 500}, "max_attempts_exceeded", 486),
        ],
    ),
    "other bases, powers and caps": (
        policies.aws_standard(
            max_attempts=6,
            base_delay=0.025,
            multiplier=3,
            max_delay=0.5,
            retry_cost=7,
            quota=30,
            jitter="none",
        ),
        [
            _line({"status_code": 502}, "retry_request", 23, 0.025),
            _line({"status_code": 502}, "retry_request", 16, 0.075),
            _line({"status_code": 504}, "retry_request", 9, 0.225),
            _line({"status_code": 500}, "retry_request", 2, 0.5),
            _line({"status_code": 500}, "retry_quota_exceeded", 2),
        ],
    ),
}


@pytest.mark.parametrize("case", FAMILY)
def test_other_numbers_are_parameters(bench: Any, case: str) -> None:
    """Costs per error, bounds of Retry-After, bases and caps other than the usual ones."""
    policy, lines = FAMILY[case]
    assert play(bench, policy, lines) == [line["expected"] for line in lines]


def test_a_request_that_was_wrong_is_not_retried(bench: Any) -> None:
    """A 400 that says nothing of throttling costs no tokens and no second attempt."""
    _, record = bench.call(bench.service(ResponseError(400)), policies.aws_standard())
    assert [decision.inputs["rule"] for decision in record.decisions] == ["give_up_on"]
    assert bench.guards.budgets["aws"].tokens == 500


def test_the_quota_is_shared_by_name(bench: Any) -> None:
    """Calls of different operations drain one bucket, and a new policy of that name goes on with it."""
    policy = policies.aws_standard(quota=15, jitter="none")
    for name in ("read", "write"):
        bench.call(bench.service(*[ResponseError(500) for _ in range(9)]), policy, name=name)
    assert bench.guards.budgets["aws"].tokens == 0
    wider = policies.aws_standard(quota=500, jitter="none")
    _, record = bench.call(bench.service(ResponseError(500)), wider)
    assert record.decisions[0].inputs["rule"] == "budget"
    assert "0 tokens left and a retry costs 5" in record.decisions[0].rationale
