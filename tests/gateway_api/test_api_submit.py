"""Submitting definitions: what is accepted, what is refused, and that all that is wrong is told at once."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, get_args

import pytest
from pydantic import BaseModel

import orchkit as ok
from orchkit.errors import ParameterError
from orchkit.gateway.workflows import WorkflowSettings
from orchkit.gateway.workflows.exposure import takes_function, tools_named
from orchkit.model.workflow import StepDefinition, Workflow
from orchkit.registry.registry import Registry

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def problems(answer: Any) -> list[tuple[str, str]]:
    """Where and what, of a refusal."""
    return [(problem["where"], problem["cause"]) for problem in answer.json()["problems"]]


# --- accepted ------------------------------------------------------------------------------


def test_a_run_is_accepted_when_it_is_on_the_record(api: Any, step: Any) -> None:
    """The answer is 202 with the run's place; at that moment its beginning can be read by anybody."""
    answer = api.submit(step("hold"), name="intake", context={"a": 1})
    run_id = answer.json()["run_id"]
    assert (answer.status_code, answer.headers["location"]) == (202, f"/runs/{run_id}")
    assert answer.json() == {"run_id": run_id, "name": "intake", "status": "running", "replayed": False}
    assert api.ask("GET", answer.headers["location"]).json()["context"] == {"a": 1}
    api.gate.set()
    assert api.until_over(run_id) == "success"


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_every_durability_is_on_record_at_once(api: Any, step: Any, durability: str) -> None:
    """Whatever durability is asked for, an accepted run is on record before it has ended."""
    answer = api.submit(step("hold"), execution_directives={"durability": durability})
    assert answer.status_code == 202
    assert api.ask("GET", f"/runs/{answer.json()['run_id']}/status").json()["status"] == "running"


def test_whose_run_it_is_and_its_trace_are_on_the_record(api: Any, step: Any, definition: Any) -> None:
    """The record has the name of the token, the correlation id and the trace context of the request."""
    api.app.middleware("http")(_named_ops)
    headers = {"X-Correlation-ID": "abc-1", "traceparent": TRACE, "Authorization": "Bearer secret"}
    answer = api.ask(
        "POST", "/workflows", json={"workflow_definition": definition(step("wait"))}, headers=headers
    )
    run_id = answer.json()["run_id"]
    api.until_over(run_id)
    started = api.kit.store.events(run_id)[0].payload
    assert (started["user_id"], started["request_id"]) == ("ops", "abc-1")
    assert started["trace"]["trace_id"] == TRACE[3:35]
    assert "secret" not in json.dumps([event.payload for event in api.kit.store.events(run_id)])


async def _named_ops(request: Any, call_next: Any) -> Any:
    request.state.principal = "ops"
    return await call_next(request)


def test_directives_are_heeded(api: Any, step: Any) -> None:
    """A dry run calls nothing."""
    answer = api.submit(step("add", params={"a": 1}), execution_directives={"execution_mode": "dry_run"})
    assert api.until_over(answer.json()["run_id"]) == "success"
    assert api.calls == []


def test_a_run_takes_no_longer_than_the_operator_allows(make_api: Any, step: Any) -> None:
    """A run without a timeout of its own gets the operator's, and one with a longer one is refused."""
    api = make_api(max_seconds=0.05)
    answer = api.submit(step("wait", params={"seconds": 10}))
    assert api.until_over(answer.json()["run_id"]) == "failed"
    assert problems(api.submit(step("add", params={"a": 1}), timeout=1)) == [
        ("workflow 'flow'", "its timeout is 1 s, a submitted run may take at most 0.05 s")
    ]


# --- refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "content_type", "status", "kind"),
    [
        (b"", "application/json", 400, "not-json"),
        (b"{", "application/json", 400, "not-json"),
        (b"\xff\xfe", "application/json", 400, "not-json"),
        (b'{"a": NaN}', "application/json", 400, "not-json"),
        (b"[" * 5000, "application/json", 400, "not-json"),
        (b"{}", "text/plain", 415, "not-json"),
        (b"{}", "application/json", 422, "invalid-request"),
        (b"[]", "application/json", 422, "invalid-request"),
        (b"null", "application/json; charset=utf-8", 422, "invalid-request"),
        (b'{"workflow_definition": []}', "application/json", 422, "invalid-request"),
        (b'{"workflow_definition": {"name": "a", "steps": 1}}', "application/json", 422, "invalid-request"),
        (b'{"workflow_definition": {"name": "a", "steps": []}}', "application/json", 422, "invalid-request"),
    ],
)
def test_what_is_no_request_is_a_problem(
    api: Any, body: bytes, content_type: str, status: int, kind: str
) -> None:
    """What cannot be read is answered with problem details that say what it is."""
    answer = api.ask("POST", "/workflows", content=body, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["type"] == f"urn:orchkit:problem:{kind}"
    assert answer.json()["status"] == status


def test_all_faults_of_form_are_told_at_once(api: Any) -> None:
    """Unknown fields and wrong values of payload, directives and definition are told in one answer."""
    body = {
        "workflow_definition": {
            "name": "a",
            "executon_mode": "dag",
            "steps": [{"step_id": "a", "tool": "add", "max_concurrency": 0}, {"tool": "add"}],
        },
        "contxt": {},
        "execution_directives": {"execution_mode": "wet", "ttl": 1},
    }
    answer = api.ask("POST", "/workflows", json=body)
    text = " ".join(f"{where} {cause}" for where, cause in problems(answer))
    assert answer.status_code == 422
    for word in ("executon_mode", "max_concurrency", "step_id is missing", "contxt", "'wet'", "ttl"):
        assert word in text


def test_all_problems_of_a_definition_are_told_at_once(api: Any, step: Any) -> None:
    """What is wrong with steps, references, policies, directives and the key is told in one answer."""
    answer = api.submit(
        step("add", params={"x": 1}),
        step("mail.send", params={"to": "${steps.nobody}"}, retry_policy={"max_attempts": 10_000}),
        step("fail", depends_on=["fail"], breaker="shared", executor="inline"),
        execution_directives={"skip_hooks": ["audit"], "on_in_flight": "wait", "idempotency_key": "one"},
        headers={"Idempotency-Key": "two"},
    )
    assert answer.status_code == 422
    assert [where for where, _ in problems(answer)] == [
        "Idempotency-Key",
        "execution_directives.skip_hooks",
        "execution_directives.on_in_flight",
        "step 'mail.send'",
        "step 'fail'",
        "step 'fail'",
        "step 'add'",
        "step 'add'",
        "step 'mail.send'",
        "step 'fail'",
    ]


def test_of_very_many_problems_some_are_told(api: Any, step: Any) -> None:
    """An answer stays short: of many problems it says how many more there are."""
    answer = api.submit(*(step("add", f"s{n}") for n in range(150)))
    assert len(answer.json()["problems"]) == 100
    assert answer.json()["more_problems"] == 50


@pytest.mark.parametrize(
    ("settings", "change", "cause"),
    [
        ({"max_bytes": 200}, {"metadata": {"a": "x" * 300}}, None),
        ({"max_depth": 8}, {"metadata": {"a": [[[[[[1]]]]]]}}, "nested deeper than 8 levels"),
        (
            {"max_steps": 2},
            {"steps": [{"id": n, "tool": "add"} for n in "abc"]},
            "3 steps, at most 2 are allowed",
        ),
        (
            {"max_sub_workflows": 1},
            {"steps": [{"id": "a", "workflow": {"name": "b", "steps": [{"id": "c", "workflow": {}}]}}]},
            "sub-workflows are nested 2 deep, 1 is allowed",
        ),
    ],
)
def test_what_is_too_large_is_refused(
    make_api: Any, definition: Any, settings: dict[str, Any], change: dict[str, Any], cause: str | None
) -> None:
    """Bytes, depth, steps and sub-workflows have limits, which are told."""
    answer = make_api(**settings).ask(
        "POST", "/workflows", json={"workflow_definition": definition(**change)}
    )
    if cause is None:
        assert answer.status_code == 413
    else:
        assert (answer.status_code, problems(answer)[0][1]) == (422, cause)


# --- tools ---------------------------------------------------------------------------------

EVERYWHERE: list[Callable[[str], dict[str, Any]]] = [
    lambda tool: {"id": "a", "tool": tool},
    lambda tool: {"id": "a", "tool": tool, "over": [1, 2]},
    lambda tool: {"id": "a", "tool": "add", "params": {"a": 1}, "compensate": tool},
    lambda tool: {"id": "a", "tool": "add", "params": {"a": 1}, "compensate": {"tool": tool, "params": {}}},
    lambda tool: {"id": "a", "tool": "add", "params": {"a": 1}, "fallback": tool},
    lambda tool: {
        "id": "a",
        "tool": "add",
        "params": {"a": 1},
        "fallback": [1, {"tool": tool, "params": {}}],
    },
    lambda tool: {"id": "a", "workflow": {"name": "b", "steps": [{"id": "c", "tool": tool}]}},
    lambda tool: {
        "id": "a",
        "workflow": {
            "name": "b",
            "steps": [
                {"id": "c", "workflow": {"name": "d", "steps": [{"id": "e", "tool": tool, "over": [1]}]}}
            ],
        },
    },
]


@pytest.mark.parametrize(
    "tool", ["erase", "no.such", "os:abort", "mail.os:abort", "mail.nothing", "send", "mail."]
)
def test_tools_that_are_not_offered_are_refused_everywhere(api: Any, definition: Any, tool: str) -> None:
    """A tool that is not listed, or not registered under that name, is refused wherever it stands."""
    for make in EVERYWHERE:
        answer = api.ask("POST", "/workflows", json={"workflow_definition": definition(make(tool))})
        assert answer.status_code == 403
        assert f"tool {tool!r} is not offered here" in [cause for _, cause in problems(answer)]
    assert api.calls == []


FUNCTIONS: list[dict[str, Any]] = [
    {"fallback": {"function": "os:abort"}},
    {"fallback": [1, {"function": "os:abort"}]},
    {"retry": {"classifier": "os:abort"}},
    {"retry": {"strategy": "custom", "wait": "os:abort"}},
    {"faults": {"rate": 1, "error": "os:abort"}},
    {"policy": {"retry": {"classifier": "os:abort"}}},
]


@pytest.mark.parametrize("given", FUNCTIONS)
def test_functions_are_never_imported(make_api: Any, definition: Any, given: dict[str, Any]) -> None:
    """A function that a policy names is refused, also where the operator lets clients set that policy."""
    api = make_api(tools=("*",), step_policies=("retry", "fallback", "faults", "timeout"))
    inner = {"name": "b", "steps": [{"id": "c", "tool": "add", "params": {"a": 1}, **given}]}
    answer = api.ask(
        "POST", "/workflows", json={"workflow_definition": definition({"id": "a", "workflow": inner})}
    )
    assert answer.status_code == 403
    assert "function 'os:abort' is not offered here" in [cause for _, cause in problems(answer)]


def test_modules_are_never_imported(make_api: Any, step: Any) -> None:
    """A definition that would import modules is refused, whatever is offered."""
    answer = make_api(tools=("*",)).submit(step("add", params={"a": 1}), imports=["antigravity"])
    assert answer.status_code == 403
    assert "cannot import" in problems(answer)[0][1]


def test_no_field_for_functions_is_overlooked() -> None:
    """The fields of policies that can name a function are known; a new one has to be thought of here."""
    found = {
        f"{model.__name__}.{name}"
        for model in _models(StepDefinition)
        for name, info in model.model_fields.items()
        if takes_function(info.annotation, info.metadata)
    }
    assert found == {
        "RetryPolicy.classifier",
        "RetryPolicy.wait",
        "FallbackOption.function",
        "FaultPolicy.error",
    }


def _models(model: type[BaseModel]) -> set[type[BaseModel]]:
    """A model and all that its fields are made of."""
    found, left = set[type[BaseModel]](), [model]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += [inner for info in one.model_fields.values() for inner in _inside(info.annotation)]
    return found


def _inside(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _inside(inner)]


@pytest.mark.parametrize(
    ("listed", "tool", "has"),
    [
        ((), "add", False),
        (("*",), "add", True),
        (("*",), "mail.send", True),
        (("mail.*",), "mail.send", True),
        (("mail.*",), "add", False),
        (("mail.send",), "mail.send", True),
        (("mail.send",), "mail.unsend", False),
    ],
)
def test_patterns_are_those_of_policies(
    make_api: Any, step: Any, listed: tuple[str, ...], tool: str, has: bool
) -> None:
    """Tools are listed by name, by prefix or all; nothing is offered unless it is."""
    params = (
        {"a": 1}
        if tool == "add"
        else {"to": "client@example.com"}
        if tool == "mail.send"
        else {"message_id": "1"}
    )
    assert (make_api(tools=listed).submit(step(tool, params=params)).status_code == 202) is has


def test_names_that_are_nowhere_are_refused_at_the_start(make_api: Any) -> None:
    """All of them at once, with what was probably meant, or how modules are imported."""
    with ok.open(registry=Registry()) as kit, pytest.raises(ParameterError) as raised:
        make_api(kit, tools=("add", "mail.sned", "nope", "os:remove"))
    told = {problem.cause: problem.hint for problem in raised.value.problems}
    assert "did you mean 'mail.send'?" in told["'mail.sned' is registered nowhere"]
    assert "orchkit serve --import MODULE" in told["'nope' is registered nowhere"]
    assert "'os:remove' is no name of a tool" in next(cause for cause in told if "os" in cause)


def test_a_prefix_that_fits_nothing_is_warned_of(make_api: Any, step: Any) -> None:
    """It may be registered later, and is offered then."""
    with pytest.warns(UserWarning, match=r"nothing is registered under 'later\.\*' yet"):
        api = make_api(tools=("later.*", "mail.*", "*"))
    api.kit.registry.methods.register_method(lambda: "done", name="later.now")
    assert api.submit(step("later.now")).status_code == 202


def test_a_tool_that_is_loaded_lazily_is_not_imported_to_be_offered(make_api: Any) -> None:
    """It is registered by name: whether it can be imported shows when it is asked for."""
    kit = ok.open(registry=Registry())
    kit.registry.tools.register_tool("lazy", "no_such_module:nothing")
    api = make_api(kit, tools=("lazy",))
    assert api.ask("GET", "/tools").json()["tools"][0]["description"].startswith("cannot be used")


@pytest.mark.parametrize(
    "settings", [{"tools": ["ma*l"]}, {"tools": ["mail*"]}, {"step_policies": ["retries"]}]
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, Any]) -> None:
    """A pattern or a part that could never fit is an error of the configuration."""
    with pytest.raises(ValueError, match=r"wildcard|no part"):
        WorkflowSettings.model_validate(settings)


def test_parts_that_calls_share_are_the_operators(make_api: Any, definition: Any) -> None:
    """A definition cannot set what calls share by name, unless the operator lets it."""
    shared = {
        "breaker": "mail",
        "bulkhead": 1,
        "rate_limit": 1,
        "retry": {"budget": "mail"},
        "executor": "threads",
    }
    body = {"workflow_definition": definition({"id": "a", "tool": "add", "params": {"a": 1}, **shared})}
    answer = make_api().ask("POST", "/workflows", json=body)
    refused = [cause.split()[0] for _, cause in problems(answer)]
    assert refused == ["breaker", "bulkhead", "rate_limit", "budget", "executor"]
    allowed = make_api(step_policies=("retry", "breaker", "bulkhead", "rate_limit", "budget", "executor"))
    assert allowed.ask("POST", "/workflows", json=body).status_code == 202


def test_maps_and_sub_workflows_of_offered_tools_run(api: Any, step: Any) -> None:
    """What is offered runs in maps, sub-workflows, fallbacks and compensations, too."""
    inner = {"name": "inner", "steps": [step("add", params={"a": "${context.n}"})]}
    steps = (
        step("split", params={"text": "a b c"}),
        step("mail.send", params={"to": "${item}"}, over="${steps.split}"),
        {"step_id": "sub", "workflow": inner, "parameters": {"n": 1}},
        step("fail", fallback={"value": 7}),
    )
    run_id = api.submit(*steps).json()["run_id"]
    assert api.until_over(run_id) == "success"
    assert sorted(api.calls) == ["add 1 1", "send a", "send b", "send c"]


def test_tools_named_are_found_in_all_places() -> None:
    """Every place in which a definition can name a tool is looked at."""
    for make in EVERYWHERE:
        workflow = Workflow.from_dict({"name": "a", "steps": [make("secret")]})
        assert "secret" in [named.tool for named in tools_named(workflow)]


# --- once ----------------------------------------------------------------------------------


def test_the_same_request_gets_the_same_run(api: Any, step: Any) -> None:
    """A request with the key and the content of a run that succeeded is answered with that run."""
    key = {"Idempotency-Key": '"k 1"'}
    first = api.submit(step("add", params={"a": 1}), headers=key)
    api.until_over(first.json()["run_id"])
    again = api.submit(step("add", params={"a": 1}), headers=key)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == {**first.json(), "status": "success", "replayed": True}
    directed = api.submit(step("add", params={"a": 1}), execution_directives={"idempotency_key": "k 1"})
    assert directed.json()["replayed"] is True
    assert api.calls == ["add 1 1"]


def test_another_request_with_the_key_is_a_conflict(api: Any, step: Any) -> None:
    """The same key with another content is 422, with each field that differs."""
    key = {"Idempotency-Key": "k"}
    first = api.submit(step("add", params={"a": 1}), context={"x": 1, "y": 1}, headers=key).json()
    api.until_over(first["run_id"])
    answer = api.submit(step("add", params={"a": 2}), context={"x": 2}, headers=key)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:orchkit:problem:idempotency-conflict"
    assert answer.json()["run_id"] == first["run_id"]
    assert {difference["path"]: difference for difference in answer.json()["differences"]} == {
        "context.x": {"path": "context.x", "recorded": 1, "given": 2},
        "context.y": {"path": "context.y", "recorded": 1},
        "definition.steps[0].parameters.a": {
            "path": "definition.steps[0].parameters.a",
            "recorded": 1,
            "given": 2,
        },
    }


def test_a_request_in_flight_is_a_conflict(api: Any, step: Any) -> None:
    """While the run goes on the same request is 409, and names it; other content is 422."""
    key = {"Idempotency-Key": "k"}
    first = api.submit(step("hold"), headers=key).json()
    same, other = api.submit(step("hold"), headers=key), api.submit(step("wait"), headers=key)
    assert (same.status_code, other.status_code) == (409, 422)
    assert same.json()["type"] == "urn:orchkit:problem:in-flight"
    assert same.json()["run_id"] == first["run_id"]
    assert same.headers["retry-after"] == "1"
    assert other.json()["type"] == "urn:orchkit:problem:idempotency-conflict"
    assert api.calls == ["hold"]


def test_a_failed_request_is_run_again_unless_told_otherwise(api: Any, step: Any) -> None:
    """What failed is executed again under its key, or refused with ``on_failed``."""
    key = {"Idempotency-Key": "k"}
    first = api.submit(step("fail"), headers=key).json()
    api.until_over(first["run_id"])
    again = api.submit(step("fail"), headers=key)
    assert again.status_code == 202
    assert again.json()["run_id"] != first["run_id"]
    api.until_over(again.json()["run_id"])
    refused = api.submit(step("fail"), headers=key, execution_directives={"on_failed": "raise"})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:orchkit:problem:failed-before")


@pytest.mark.parametrize("key", ["", " ", "x" * 300])
def test_keys_that_mean_nothing_are_refused(api: Any, step: Any, key: str) -> None:
    """An empty or endless key is 422."""
    answer = api.submit(step("wait"), headers={"Idempotency-Key": key})
    assert answer.status_code == 422


def test_one_of_many_at_once_is_run(api: Any, step: Any) -> None:
    """Of equal requests at the same time one is run; the others are in flight, or replayed."""
    answers: list[Any] = []

    def submit() -> None:
        answers.append(api.submit(step("add", params={"a": 1}), headers={"Idempotency-Key": "k"}))

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(202) == 1
    assert set(statuses) <= {200, 202, 409}
    assert len({answer.json()["run_id"] for answer in answers}) == 1
    api.until_over(answers[0].json()["run_id"])
    assert api.calls == ["add 1 1"]


# --- how many ------------------------------------------------------------------------------


def test_no_more_runs_than_allowed_go_on(make_api: Any, step: Any) -> None:
    """One run too many is 429 with Retry-After; when one has ended there is a place again."""
    api = make_api(max_running=2, retry_after_s=7)
    first, second = api.submit(step("hold")), api.submit(step("hold"))
    refused = api.submit(step("hold"))
    assert (first.status_code, second.status_code, refused.status_code) == (202, 202, 429)
    assert refused.headers["retry-after"] == "7"
    assert api.router.running == 2
    api.gate.set()
    for answer in (first, second):
        api.until_over(answer.json()["run_id"])
    assert api.submit(step("wait")).status_code == 202


def test_refused_requests_take_no_place(make_api: Any, step: Any) -> None:
    """A request that comes to nothing does not count as a run."""
    api = make_api(max_running=1)
    for _ in range(3):
        assert api.submit(step("add")).status_code == 422
    first = api.submit(step("hold"), headers={"Idempotency-Key": "k"})
    assert first.status_code == 202
    api.gate.set()
    api.until_over(first.json()["run_id"])
    for _ in range(3):
        assert api.submit(step("wait"), headers={"Idempotency-Key": "k"}).status_code == 422


def test_a_closed_store_is_a_problem(api: Any, step: Any) -> None:
    """When the record is not there, nothing is run, and that is said."""
    api.kit.close()
    answer = api.submit(step("wait"))
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert api.ask("GET", "/runs").status_code == 503


HOSTILE: dict[str, Callable[[], Any]] = {
    "each step names an unknown one": lambda: {
        "steps": [
            {
                "id": f"step_{n:04d}_abc",
                "tool": "add",
                "depends_on": [f"step_{n:04d}_x{m}" for m in range(20)],
            }
            for n in range(900)
        ]
    },
    "parameters that nobody knows": lambda: {
        "steps": [
            {"id": str(n), "tool": "add", "params": {f"a{m}": 1 for m in range(50)}} for n in range(300)
        ]
    },
    "fields that nobody knows": lambda: {f"stepss{n}": n for n in range(40_000)},
    "steps of other fields": lambda: {"steps": [{f"stepp_{n}": 1} for n in range(1_000)]},
    "tools that are nearly offered": lambda: {
        "steps": [{"id": str(n), "tool": f"mail.sned{n}"} for n in range(1_000)]
    },
    "long names that are alike": lambda: {
        "steps": [
            {"id": "ab" * 100_000 + str(n), "tool": "mail.send", "depends_on": "ab" * 100_000} for n in (1, 2)
        ]
    },
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_very_wrong_definitions_are_refused_soon(api: Any, name: str) -> None:
    """A definition that is wrong in very many places costs little: only some are told what was meant."""
    body = {"workflow_definition": {"name": "a", "execution_mode": "dag", "steps": [], **HOSTILE[name]()}}
    began = time.process_time()
    answer = api.ask("POST", "/workflows", json=body)
    assert answer.status_code in (403, 422)
    assert time.process_time() - began < 6
