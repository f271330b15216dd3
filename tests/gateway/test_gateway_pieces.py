"""The pure parts of a gateway: paths, headers, configurations."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchkit.errors import ParameterError
from orchkit.gateway.config import GatewayConfig, RouteConfig, ServiceConfig
from orchkit.gateway.gate import Gate
from orchkit.gateway.headers import (
    HOP_BY_HOP,
    Origin,
    correlation_id,
    has_passed,
    is_host,
    to_client,
    to_service,
)
from orchkit.gateway.paths import Rewrite, fault_of
from orchkit.gateway.policies import Policies
from orchkit.gateway.workflows.settings import WorkflowSettings
from orchkit.model.policy import ReliabilityPolicy
from orchkit.model.yamltext import load_yaml
from orchkit.policies import gateway, resilience4j

PIECES = st.sampled_from(
    [
        b"a",
        b"b.c",
        b".",
        b"..",
        b"%2e",
        b"%2E",
        b"%252e",
        b"%2f",
        b"%5c",
        b"%00",
        b";",
        b"/",
        b"//",
        b"%41",
        b"~",
        b"%",
    ]
)
NAMES = st.sampled_from(
    [b"x-a", b"x-b", b"te", b"connection", b"keep-alive", b"cookie", b"host", b"via", b"x_forwarded_for"]
)
VALUES = st.sampled_from([b"x-a", b"x-b, close", b"1", b"keep-alive", b""])


@given(st.lists(PIECES, max_size=8).map(lambda pieces: b"/api/" + b"".join(pieces)))
def test_no_path_leads_above_the_base_however_often_it_is_decoded(raw: bytes) -> None:
    """What is not refused stays below the path of the service for whoever decodes it, any number of times."""
    rewrite = Rewrite.of("/api", "/", "/base/v1")
    if fault_of(raw) is not None or not rewrite.fits(raw):
        return
    path = rewrite.target(raw, b"")
    assert path.startswith(b"/base/v1")
    for _ in range(6):
        parts: list[bytes] = []
        for part in path.replace(b"\\", b"/").split(b"/"):
            name = part.partition(b";")[0]
            if name == b"..":
                parts.pop()
            elif name not in (b"", b"."):
                parts.append(part)
        assert parts[:2] == [b"base", b"v1"]
        path = unquote_to_bytes(path)


@pytest.mark.parametrize(
    ("route", "path", "service", "asked", "target"),
    [
        ("/api/x", None, "", b"/api/x/a", b"/api/x/a?q"),
        ("/api/x", None, "/v2", b"/api/x", b"/v2/api/x?q"),
        ("/api/x", "/", "", b"/api/x", b"/?q"),
        ("/api/x", "/", "/v2", b"/api/x/a/", b"/v2/a/?q"),
        ("/api/x", "/y/", "", b"/api/x/a", b"/y/a?q"),
        ("/", None, "", b"/a", b"/a?q"),
        ("/", "/y", "/v2", b"/", b"/v2/y/?q"),
    ],
)
def test_paths_are_rewritten(route: str, path: str | None, service: str, asked: bytes, target: bytes) -> None:
    """That of the service, then that of the route or what takes its place, then the rest; then the query."""
    rewrite = Rewrite.of(route, path, service)
    assert rewrite.fits(asked)
    assert rewrite.target(asked, b"q") == target


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_nothing_about_a_connection_crosses_the_gateway(headers: list[tuple[bytes, bytes]]) -> None:
    """Neither hop-by-hop headers nor those that Connection names, either way; the rest stays in order."""
    named = {token.strip() for name, value in headers if name == b"connection" for token in value.split(b",")}
    there = to_service(headers, Origin("1.2.3.4", "http"), b"1.1 us", [(b"host", b"service")], [])
    back = to_client(headers, b"1.1 us")
    ours = {b"host", b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
    for passed in (there, back):
        names = [name for name, _ in passed]
        assert not HOP_BY_HOP & set(names)
        assert not {name for name in named if name not in ours} & set(names)
    assert [value for name, value in there if name == b"host"] == [b"service"]
    kept = [pair for pair in headers if pair[0] in (b"x-a", b"x-b", b"cookie") and pair[0] not in named]
    assert [pair for pair in there if pair[0] in (b"x-a", b"x-b", b"cookie")] == kept
    assert b"x_forwarded_for" not in {name for name, _ in there}
    assert has_passed([pair for pair in there if pair[0] == b"via"], b"1.1 us")


@given(st.binary(max_size=40))
def test_any_bytes_give_a_correlation_id_that_can_be_sent(value: bytes) -> None:
    """What the client says, or a new one: visible ASCII, not long, without separators."""
    name = correlation_id([(b"x-correlation-id", value)])
    assert name.isascii()
    assert name.isprintable()
    assert 0 < len(name) <= 128
    assert not set(name) & set(" ,;\"'<>{}")


@pytest.mark.parametrize(
    ("host", "fit"),
    [
        (b"example.com", True),
        (b"example.com:8003", True),
        (b"[::1]:80", True),
        (b"", True),
        (b"a b", False),
        (b"a/b", False),
        (b"a@b", False),
        (b"a:b", False),
        (b"a\xff", False),
    ],
)
def test_hosts(host: bytes, fit: bool) -> None:
    """A host is a name or an address, perhaps with a port."""
    assert is_host(host) is fit


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"services": {"a": "ftp://x"}, "routes": {}}, "should begin with http:// or https://"),
        ({"services": {"a": "http://u:p@x"}, "routes": {}}, "no user"),
        ({"services": {"a": "http://x/?q"}, "routes": {}}, "no query"),
        ({"services": {"a": "http://x/a/../b"}, "routes": {}}, "plain segments"),
        ({"services": {"a": "http://x/%2e"}, "routes": {}}, "plain segments"),
        ({"services": {"a b": "http://x"}, "routes": {}}, "letters, digits"),
        (
            {"services": {"a": {"url": "http://x", "failures": [404]}}, "routes": {}},
            "404 says that the request",
        ),
        (
            {"services": {"a": {"url": "http://x", "policy": {"hedge": 1}}}, "routes": {}},
            "hedge cannot stand",
        ),
        ({"services": {"a": {"url": "http://x", "policy": "nope"}}, "routes": {}}, "no policy is called"),
        (
            {"services": {"a": {"url": "http://x", "headers": {"Host": "evil"}}}, "routes": {}},
            "cannot be sent",
        ),
        ({"routes": {"/x": "nobody"}}, "which is no service"),
        ({"routes": {"x": "writer"}}, "a route is a path"),
        ({"routes": {"/a/../b": "writer"}}, "a route is a path"),
        ({"routes": {"/x": {"service": "writer", "path": "y"}}}, "begins with a slash"),
        ({"routes": {"/x": {"service": "writer", "methods": ["TRACE"]}}}, "methods are"),
        ({"cors": {"origins": ["*"], "credentials": True}}, "name the origins"),
        ({"trusted_proxies": ["nowhere"]}, "does not appear to be"),
        ({"limts": {}}, "did you mean 'limits'"),
        ([], "expected a mapping"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_said(config: Any, words: str) -> None:
    """The place and the cause, before anything is started."""
    with pytest.raises(ParameterError) as raised:
        GatewayConfig.of(config)
    assert words in str(raised.value)


def test_an_error_shows_no_secret() -> None:
    """Neither a header of a service nor a token stands in the error about it."""
    service = {"url": "http://x", "headers": {"X-Key": "topsecret\n"}}
    with pytest.raises(ParameterError) as raised:
        GatewayConfig.of({"services": {"a": service}, "routes": {}})
    assert "topsecret" not in str(raised.value)
    fit = GatewayConfig.of({"services": {"a": {**service, "headers": {"X-Key": "topsecret"}}}, "routes": {}})
    assert "topsecret" not in repr(fit)


def test_a_configuration_can_be_a_file(tmp_path: Path) -> None:
    """The same in YAML, short forms included."""
    file = tmp_path / "gateway.yaml"
    file.write_text(
        "services:\n  a: http://a.test:1\n"
        "  b: {url: 'https://b.test/v2/', policy: {preset: gateway, timeout: 5s}}\n"
        "routes:\n  /a: a\n  /b: {service: b, path: /}\nlimits: {client_idle: 1 min}\n",
        encoding="utf-8",
    )
    config = GatewayConfig.of(file)
    assert (config.services["b"].url, config.routes["/a"].service) == ("https://b.test/v2", "a")
    assert (config.limits.client_idle, config.services["b"].policy.timeout.attempt) == (60.0, 5.0)


def test_the_example_is_three_services_and_two_routes() -> None:
    """Without a configuration: what people find in the documentation."""
    config = GatewayConfig.of(None)
    assert {name: service.url for name, service in config.services.items()} == {
        "writer": "http://localhost:8000",
        "research": "http://localhost:8001",
        "backend": "http://localhost:8002",
    }
    assert {path: route.service for path, route in config.routes.items()} == {
        "/api/enrich": "research",
        "/api/publish": "backend",
    }
    policy = config.services["research"].policy
    assert (policy.retry.max_attempts, policy.retry.delay, policy.timeout.attempt) == (3, 1, 30)


def _policy(policy: Any) -> Any:
    return GatewayConfig.of({"services": {"a": {"url": "http://x", "policy": policy}}}).services["a"].policy


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"timeout": 0.5}, gateway().but(timeout=0.5)),
        ({"timeout": {"total": 9}}, gateway().but(timeout={"total": 9})),
        ({"breaker": {"failure_threshold": 7}}, gateway().but(breaker={"failure_threshold": 7})),
        ({"retry": None, "bulkhead": 4}, gateway().but(retry=None, bulkhead=4)),
        ({}, gateway()),
        ("resilience4j", resilience4j()),
        ({"preset": "resilience4j", "timeout": 2}, resilience4j().but(timeout=2)),
        (ReliabilityPolicy(timeout=3), ReliabilityPolicy(timeout=3)),
    ],
)
def test_a_policy_changes_the_default_part_by_part(policy: Any, expected: ReliabilityPolicy) -> None:
    """A mapping is merged over the default; a preset's name and a whole policy take its place."""
    assert _policy(policy) == expected


def test_what_is_wrong_in_a_merged_policy_is_said_with_its_place() -> None:
    """The path of the field that does not fit, as for any other."""
    with pytest.raises(ParameterError, match=r"services\.a\.policy\.timeout\.attempt is -1"):
        _policy({"timeout": -1})
    with pytest.raises(ParameterError, match=r"services\.a\.policy\.retry\.delai.*did you mean 'delay'"):
        _policy({"retry": {"delai": 1}})


def test_a_configuration_survives_being_written_down() -> None:
    """What a configuration is as a mapping gives the same configuration, a removed part included."""
    config = GatewayConfig.of(
        {"services": {"a": {"url": "http://x", "policy": {"breaker": None, "timeout": 2}}, "b": "http://y"}}
    )
    assert GatewayConfig.of(config.model_dump()) == config


def test_the_example_in_the_documentation_can_be_used() -> None:
    """The YAML that ``help(GatewayConfig)`` shows is a configuration."""
    _, _, after = str(GatewayConfig.__doc__).partition("::\n\n")
    config = GatewayConfig.of(load_yaml(dedent(after.partition("\n\n")[0])))
    policy = config.services["research"].policy
    assert (policy.timeout.attempt, policy.breaker.failure_threshold, policy.retry.max_attempts) == (10, 5, 3)
    assert config.routes["/api/publish"].path == "/v2/publish"
    assert (config.auth.open_paths, config.workflows.tools) == (("/health",), ("mail.*", "measure"))


def test_the_example_of_the_readme_can_be_used(repository: Path) -> None:
    """The file that the README shows means what its comments say."""
    text = (repository / "README.md").read_text(encoding="utf-8")
    (block,) = [one for one in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "services:" in one]
    config = GatewayConfig.of(load_yaml(block))
    research, backend = config.services["research"].policy, config.services["backend"].policy
    assert research == gateway().but(timeout=10, breaker={"failure_threshold": 5})
    assert backend == resilience4j()
    assert config.auth.open_paths == ("/health",)
    assert GatewayConfig.of({"services": load_yaml(block)["services"]}).routes == {
        "/api/research": RouteConfig(service="research", path="/"),
        "/api/backend": RouteConfig(service="backend", path="/"),
    }


def test_one_request_whose_tries_all_fail_opens_the_breaker(opened: Any, service: Any) -> None:
    """As the default is described: three tries, and a breaker of three failures."""
    policy = {"retry": {"delay": 0.01}}
    door = opened({"s": {"url": service.url, "policy": policy}}, {"/s": "s"})
    service.plan[:] = [503] * 3
    assert (door.get("/s").status_code, len(service.seen)) == (503, 3)
    refused = door.get("/s")
    assert (refused.json()["detail"], len(service.seen)) == ("s failed repeatedly", 3)


@pytest.mark.parametrize(
    "record",
    [
        GatewayConfig,
        *(type(getattr(GatewayConfig.of(None), name)) for name in ("auth", "cors", "limits", "health")),
        *(type(getattr(GatewayConfig.of(None), name)) for name in ("idempotency", "record", "metrics")),
        WorkflowSettings,
        ServiceConfig,
        RouteConfig,
    ],
)
def test_help_tells_what_each_field_means(record: Any) -> None:
    """Each field stands in the docstring with its default, and has a meaning."""
    for name, field in record.model_fields.items():
        assert f"\n    {name}" in record.__doc__
        assert field.description, name


def test_only_what_never_arrived_is_repeated_carefully() -> None:
    """The two policies of a service differ in what they try again, and in nothing else."""
    found = Policies.of(gateway())
    assert found.silence == 30
    assert found.careful.retry.retry_on == ("orchkit.gateway.faults.NotReachedError",)
    assert found.careful.but(retry={"retry_on": ("Exception",)}) == found.full.but(
        retry={"retry_on": ("Exception",)}
    )
    assert "rejected" in found.full.retry.give_up_on
    waits = Policies.of(gateway().but(retry={"strategy": "circuit_breaker"}))
    assert "rejected" not in waits.full.retry.give_up_on


async def _through(server: str | None) -> int:
    config = GatewayConfig.of(None)
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [],
        "server": None if server is None else (server, 80),
    }
    await Gate(app, limits=config.limits, only_local=True)(scope, None, send)  # type: ignore[arg-type]
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    ("server", "status"),
    [
        ("127.0.0.1", 200),
        ("::1", 200),
        ("testserver", 200),
        (None, 200),
        ("0.0.0.0", 403),
        ("192.0.2.7", 403),
    ],
)
def test_without_tokens_only_this_machine_is_answered(server: str | None, status: int) -> None:
    """Also under a server of the user's own, which may bind the app wherever it likes."""
    assert asyncio.run(_through(server)) == status
