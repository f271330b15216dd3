"""The OpenAPI document, and that no request that it allows, or nearly allows, brings the server down."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from orchkit.gateway.metrics import MetricsSettings, install

CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
RARELY = settings(
    max_examples=12,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)
OPERATIONS = {
    "submitWorkflow",
    "listRuns",
    "readRun",
    "readRunStatus",
    "readRunResult",
    "cancelRun",
    "followRun",
    "listTools",
    "readMetrics",
}


@pytest.fixture
def api(make_api: Any) -> Any:
    """An API with metrics, whose tools do nothing much."""
    api = make_api(tools=("add", "split", "mail.*"), max_running=1_000, heartbeat_s=0.1, poll_s=0.05)
    install(api.app, api.kit, SimpleNamespace(metrics=MetricsSettings()))
    return api


def every(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The operations of a document."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_every_operation_is_documented(api: Any) -> None:
    """Each operation has a stable id, a summary, examples of its answers, and problems as problem+json."""
    document = api.app.openapi()
    assert {operation["operationId"] for _, _, operation in every(document)} == OPERATIONS
    for path, _, operation in every(document):
        assert operation["summary"]
        assert operation["description"]
        for status, answer in operation["responses"].items():
            for kind, content in answer.get("content", {}).items():
                assert (kind == "application/problem+json") == (int(status) >= 400)
                assert "example" in content or "$ref" in content["schema"], (path, status)
        for parameter in operation.get("parameters", ()):
            assert parameter["description"]


def test_the_example_of_a_request_is_sound(api: Any) -> None:
    """The example in the document is a request that is understood; only its tools are not offered here."""
    body = api.app.openapi()["paths"]["/workflows"]["post"]["requestBody"]["content"]["application/json"]
    answer = api.ask("POST", "/workflows", json=body["examples"]["intake"]["value"])
    assert answer.status_code == 403
    assert [problem["cause"] for problem in answer.json()["problems"]] == [
        "tool 'casefile.create' is not offered here"
    ]


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_no_request_brings_the_server_down(api: Any, name: str, mode: GenerationMode) -> None:
    """Whatever is asked, by the document or against it, the answer is one that the document describes."""
    known = api.kit.run(api.kit.workflow("known").add_step("add", {"a": 1}).build()).run_id
    api.app.openapi = lambda: _with_tools(type(api.app).openapi(api.app))
    schema = schemathesis.openapi.from_asgi("/openapi.json", api.app)
    operation = next(
        found.ok()
        for found in schema.get_all_operations()
        if found.ok().definition.raw["operationId"] == name
    )
    if mode is GenerationMode.NEGATIVE and name in ("listTools", "readMetrics"):
        return  # there is nothing in such a request that could be wrong

    @given(operation.as_strategy(generation_mode=mode), st.booleans())
    @RARELY
    def ask(case: Any, of_known: bool) -> None:
        if of_known and case.path_parameters:
            case.path_parameters = {"run_id": known}
        case.call_and_validate(checks=CHECKS)

    ask()


def _with_tools(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the tools that are offered, so that some of what is generated is accepted."""
    content = document["paths"]["/workflows"]["post"]["requestBody"]["content"]["application/json"]
    step = content["schema"]["properties"]["workflow_definition"]["properties"]["steps"]["items"]
    step["required"] = ["step_id", "tool_name", "parameters"]
    step["properties"] = {
        "step_id": {"type": "string", "minLength": 1, "maxLength": 3},
        "tool_name": {"enum": ["add", "split"]},
        "parameters": {"enum": [{"a": 1}, {"text": "a b"}]},
        "over": {"enum": [[1], [], "${context.items}"]},
        "when": {"enum": ["true", "${context.x} > 1", None]},
    }
    return document
