"""The app against its own description."""

from __future__ import annotations

from typing import Any

import numpy as np  # noqa: F401 - Hypothesis looks into it, also while a thread of the kit imports it
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

EXAMPLES = 4


def test_the_routes_are_described(door: Any) -> None:
    """Each route with its methods, problems and headers of its own; and all else that is here."""
    paths = door.get("/openapi.json").json()["paths"]
    assert set(paths["/s"]) == {"get", "head", "post", "put", "patch", "delete"}
    assert {"/", "/health", "/health/status", "/health/status/{service_name}", "/s/{path}"} <= set(paths)
    names = {one["name"] for one in paths["/s/{path}"]["post"]["parameters"]}
    assert names == {"path", "X-Correlation-ID", "Idempotency-Key"}
    assert "application/problem+json" in paths["/s"]["get"]["responses"]["503"]["content"]
    assert {"409", "422"} <= set(paths["/s"]["post"]["responses"])
    assert not {"409", "422"} & set(paths["/s"]["get"]["responses"])


def test_no_request_makes_the_gateway_fail(door: Any) -> None:
    """Whatever fits or does not fit the description is answered, and never with 500."""
    schema = schemathesis.openapi.from_dict(door.get("/openapi.json").json())
    for operation in schema.get_all_operations():
        _try(operation.ok(), door)
    assert door.get("/").status_code == 200


def _try(operation: Any, door: Any) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: Any) -> None:
        if "/events" in operation.path:
            return  # a stream does not end
        answer = case.call(base_url=door.url, timeout=20)
        assert answer.status_code != 500, (operation.label, answer.text)
        assert answer.status_code < 500 or answer.status_code in (501, 502, 503, 504, 508), answer.text

    given(case=operation.as_strategy())(ask)()


@pytest.mark.parametrize("path", ["/s", "/nowhere", "/health/status/x", "/openapi.json"])
def test_unusual_methods_are_answered(door: Any, path: str) -> None:
    """405 or 404 with a problem, not a failure."""
    for method in ("TRACE", "CONNECT", "PROPFIND", "x"):
        status, problem = door.get_raw(path.encode(), method=method.encode())
        assert status in (404, 405)
        assert problem["status"] == status
