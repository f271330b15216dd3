"""What a gateway is told: services, the routes that lead to them, limits, and who may use it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import SplitResult, urlsplit

import yaml
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from orchkit.errors import MissingExtraError, ParameterError, Problem
from orchkit.model.base import Record
from orchkit.model.faults import faults_of, not_yaml
from orchkit.model.manual import documented
from orchkit.model.policy import ReliabilityPolicy
from orchkit.model.presets import as_policy, gateway
from orchkit.model.request import Durability
from orchkit.model.span import Seconds
from orchkit.model.yamltext import load_yaml

try:
    from orchkit.gateway.auth import AuthSettings
    from orchkit.gateway.metrics import MetricsSettings
    from orchkit.gateway.workflows.settings import WorkflowSettings
except ModuleNotFoundError as missing:
    raise MissingExtraError(missing.name or "fastapi", "gateway") from missing

METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
TRANSIENT: Final = (500, 502, 503, 504)
NOT_NOW: Final = (408, 425, 429)
"""The only answers below 500 that may count as failures of a service: they say nothing of the request."""
_PATH: Final = re.compile(r"(/[A-Za-z0-9_~.\-]+)*/?")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_FRAMING: Final = ("host", "connection", "content-length", "transfer-encoding")
_HEADER: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SECRET: Final = re.compile(r"^((?:services\.\S+\.headers|auth\.tokens)\S*) is .*: ", re.DOTALL)
"""The begin of an error that would show a value which nobody should see."""
_UNFIT: Final = ("hedge", "fallback")
"""Parts of a policy that make no sense around a request that is passed on while it comes in."""

EXAMPLE_SERVICES: Final = {
    "writer": "http://localhost:8000",
    "research": "http://localhost:8001",
    "backend": "http://localhost:8002",
}
EXAMPLE_ROUTES: Final = {"/api/enrich": "research", "/api/publish": "backend"}


@documented
class ServiceConfig(Record):
    """One service behind the gateway; a text is its ``url``."""

    url: str
    """Where it is, such as ``http://localhost:8001/v2``: nothing outside of that path is ever asked."""
    health: str | None = "/health"
    """The path, below that of ``url``, at which it tells how it is; None: it is not watched."""
    policy: ReliabilityPolicy = Field(default_factory=gateway)
    """By default three tries one second apart, 30 s each, and a breaker that opens for a minute after three
    failed tries in a row: one request whose tries all fail opens it. A mapping changes that default part by
    part, as `ReliabilityPolicy.but` does, and None takes a part away: ``{timeout: 5s, breaker: null}``. The
    name of a preset, a mapping with a ``preset``, and a whole `ReliabilityPolicy` take its place. The limit
    on an attempt is how long the service may be silent, before its answer and in the midst of it; slow
    clients do not count."""
    failures: tuple[int, ...] = TRANSIENT
    """Answers that count as failures: tried again where that is safe, and counted by the breaker. All others
    are passed on as they are; 429 may be added."""
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    """Set on every request to it, such as a key of its own; never recorded."""
    connect_timeout: Seconds | None = Field(default=None, gt=0)
    """Seconds for a connection to come about. None: it counts as silence; a shorter limit of its own may take
    a burst of requests on a busy machine for a service that is away."""
    max_connections: int = Field(default=1_000, ge=1)
    """Requests that are with it at the same time; one more waits its turn."""
    queue_time: Seconds = Field(default=10.0, gt=0)
    """Seconds that a request waits for its turn: then 503."""
    keep_alive: Seconds = Field(default=4.0, ge=0)
    """Seconds that an idle connection is kept: fewer than the service keeps it."""
    verify: bool | Path = True
    """For https: whether its certificate is checked, or the file of who vouches for it."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"url": value} if isinstance(value, str) else value

    @field_validator("url", mode="after")
    @classmethod
    def _base(cls, value: str) -> str:
        cause = _unfit_url(value)
        if cause is not None:
            raise ValueError(cause)
        return value.rstrip("/")

    @field_validator("health", mode="after")
    @classmethod
    def _below(cls, value: str | None) -> str | None:
        if value is not None and not (value.startswith("/") and value.isascii() and value.isprintable()):
            raise ValueError("it should be a path that begins with a slash")
        return value

    @field_validator("policy", mode="before")
    @classmethod
    def _policy(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "preset" not in value:
            return gateway().but(**value)
        return as_policy(value)

    @field_validator("policy", mode="after")
    @classmethod
    def _fit(cls, value: ReliabilityPolicy) -> ReliabilityPolicy:
        unfit = [name for name in _UNFIT if name in value.parts]
        if unfit:
            raise ValueError(f"{' and '.join(unfit)} cannot stand around a request that is passed on")
        return value

    @field_validator("failures", mode="after")
    @classmethod
    def _failures(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        wrong = [status for status in value if not (500 <= status <= 599 or status in NOT_NOW)]
        if wrong:
            allowed = ", ".join(map(str, NOT_NOW))
            raise ValueError(
                f"{wrong[0]} says that the request was wrong: only 5xx and {allowed} may stand here"
            )
        return value

    @field_validator("headers", mode="after")
    @classmethod
    def _headers(cls, value: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, secret in value.items():
            text = secret.get_secret_value()
            fit = _HEADER.fullmatch(name) and name.lower() not in _FRAMING
            if not fit or not text.isascii() or not text.isprintable():
                raise ValueError(f"{name!r} cannot be sent as a header")
        return value

    @property
    def parts(self) -> SplitResult:
        """The parts of the URL."""
        return urlsplit(self.url)


def _unfit_url(text: str) -> str | None:
    """Why this cannot be where a service is; None when it can."""
    if not text.isascii() or not text.isprintable() or " " in text:
        return "a URL is made of visible ASCII characters"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "it should begin with http:// or https:// and name a host"
    if parts.username is not None or parts.query or parts.fragment or port == 0:
        return "it should have no user, no query and no fragment"
    if not _PATH.fullmatch(parts.path) or any(part in (".", "..") for part in parts.path.split("/")):
        return "its path should be made of plain segments"
    return None


@documented
class RouteConfig(Record):
    """Where the requests below a path go; a text is the name of the ``service``."""

    service: str
    """The name of one of the services."""
    path: str | None = Field(default=None, validate_default=False)
    """What takes the place of the route's own path: ``/`` takes it away; None: it is passed on as it came."""
    methods: tuple[str, ...] = METHODS
    """What is passed on; anything else is answered 405."""

    @model_validator(mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"service": value} if isinstance(value, str) else value

    @field_validator("path", mode="after")
    @classmethod
    def _plain(cls, value: str | None) -> str | None:
        if value is not None and not (value.startswith("/") and _is_plain(value)):
            raise ValueError("it should be a path of plain segments that begins with a slash")
        return value

    @field_validator("methods", mode="after")
    @classmethod
    def _methods(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        given = tuple(name.upper() for name in value)
        unknown = [name for name in given if name not in METHODS]
        if unknown or not given:
            raise ValueError(f"methods are {', '.join(METHODS)}")
        return given


def _is_plain(path: str) -> bool:
    return bool(_PATH.fullmatch(path)) and not any(part in (".", "..") for part in path.split("/"))


@documented
class CorsSettings(Record):
    """What pages of other origins may do; nothing unless ``origins`` names them."""

    origins: tuple[str, ...] = ()
    """Such as ``https://app.example.com``; ``*`` for all, without credentials."""
    methods: tuple[str, ...] = METHODS
    """What such a page may ask."""
    headers: tuple[str, ...] = ("Authorization", "Content-Type", "Idempotency-Key", "X-Correlation-ID")
    """What it may send."""
    expose: tuple[str, ...] = ("X-Correlation-ID", "Idempotency-Replayed", "Retry-After")
    """What it may read of an answer."""
    credentials: bool = False
    """Whether it may send cookies and the like."""
    max_age: int = Field(default=600, ge=0)
    """Seconds that a browser may remember the answer."""

    @model_validator(mode="after")
    def _not_everybody(self) -> Self:
        if self.credentials and "*" in self.origins:
            raise ValueError("credentials cannot be allowed to every origin: name the origins")
        return self


@documented
class LimitSettings(Record):
    """How much is too much."""

    concurrent: int = Field(default=2_000, ge=1)
    """Proxied requests at the same time; one more is answered 503 with ``Retry-After``."""
    connections: int = Field(default=5_000, ge=1)
    """Open connections of clients; one more is answered 503 and closed."""
    header_bytes: int = Field(default=32_768, ge=1_024)
    """Request line and headers together: more is answered 431."""
    url_bytes: int = Field(default=8_192, ge=64)
    """Path and query: more is answered 414."""
    body_bytes: int = Field(default=1_073_741_824, ge=0)
    """The body of a request: more is answered 413."""
    buffer_bytes: int = Field(default=262_144, ge=0)
    """As much of a request body is remembered, to be sent again; a longer one is sent once. Also as much of
    an answer that counts as a failure is held back while there is another try."""
    header_time: Seconds = Field(default=10.0, gt=0)
    """Seconds that a client may take to send the headers."""
    client_idle: Seconds = Field(default=30.0, gt=0)
    """Seconds that a client may be silent while it sends a body (then 408), or leave an answer unread."""
    half_closed: Seconds = Field(default=3.0, ge=0)
    """Seconds after which a client that has closed its side of the connection is taken for gone."""
    keep_alive: Seconds = Field(default=15.0, gt=0)
    """Seconds that an idle connection of a client is kept."""
    retry_after_s: int = Field(default=1, ge=0)
    """After how many seconds somebody who was turned away should come back."""


@documented
class HealthSettings(Record):
    """How the services are watched."""

    watch: bool = True
    """Whether the kit's health monitor watches those of the services that have a path for it."""
    interval: Seconds = Field(default=30.0, gt=0)
    """Seconds from one check of a service to the next."""
    timeout: Seconds = Field(default=5.0, gt=0)
    """Seconds that a check may take."""


@documented
class IdempotencySettings(Record):
    """What becomes of requests with an ``Idempotency-Key``.

    Such a request is recorded and answered once. Towards the service a try that got no answer may be
    repeated: the key is passed on, so that the service can tell.
    """

    enabled: bool = True
    """False: the header is passed on like any other, and such a request is not tried again."""
    ttl_hours: float = Field(default=24.0, gt=0)
    """How long the recorded answer answers."""
    request_bytes: int = Field(default=1_048_576, ge=0)
    """The longest body of such a request, which has to be known whole before anything is sent: else 413."""
    answer_bytes: int = Field(default=1_048_576, ge=0)
    """The longest answer that is kept. A longer one is passed on, and is not given again: then 409."""
    vary: tuple[str, ...] = ("authorization", "content-type", "cookie")
    """Headers that make it another request: nobody is given the answer that was meant for somebody else."""

    @field_validator("vary", mode="after")
    @classmethod
    def _lower(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted({name.lower() for name in value}))


@documented
class RecordSettings(Record):
    """What of a request stands on the record, beside how it was tried and decided. Never: bodies, headers."""

    query: bool = False
    """The query in full; else the names of its parameters and a hash."""


def _read_all(kind: type[Any], given: Mapping[str, str]) -> dict[str, Any]:
    return {name: kind.model_validate(value) for name, value in given.items()}


@documented
class GatewayConfig(Record):
    """All of it; without arguments, three services on this machine and two routes, as an example.

    A file for ``orchkit serve`` and ``kit.gateway.start``, of which only the services are needed::

        services:
          research:
            url: http://localhost:8001
            policy: {timeout: 10s, breaker: {failure_threshold: 5}}
          backend: http://localhost:8002
        routes:
          /api/enrich: research
          /api/publish: {service: backend, path: /v2/publish, methods: [POST]}
        auth:
          tokens_file: tokens.txt
          open_paths: [/health]
        workflows:
          tools: [mail.*, measure]
    """

    services: dict[str, ServiceConfig] = Field(
        default_factory=lambda: _read_all(ServiceConfig, EXAMPLE_SERVICES)
    )
    """By name; a text is the URL. By default an example: ``writer``, ``research`` and ``backend`` at the
    ports 8000 to 8002 of this machine."""
    routes: dict[str, RouteConfig] = Field(default_factory=lambda: _read_all(RouteConfig, EXAMPLE_ROUTES))
    """By path; everything below it is meant, too. The longest that fits counts. Where only services are
    given, ``/api/NAME`` leads to each of them, and is taken away: ``/api/mail/outbox`` is ``/outbox`` of
    ``mail``."""
    host: str = "127.0.0.1"
    """The address to listen at; beyond this machine tokens are needed."""
    port: int = Field(default=8003, ge=0, le=65_535)
    """0: any that is free."""
    store: Path | None = None
    """Where an app that is made without a kit keeps its record; None: in memory."""
    durability: Durability = "async"
    """What the record of a request survives: ``async`` a killed process, ``sync`` also a loss of power."""
    auth: AuthSettings = Field(default_factory=AuthSettings)
    """Who may use it: bearer tokens, and what is open without one."""
    cors: CorsSettings = Field(default_factory=CorsSettings)
    """What pages of other origins may do."""
    limits: LimitSettings = Field(default_factory=LimitSettings)
    """Sizes, times, and how many at once."""
    health: HealthSettings = Field(default_factory=HealthSettings)
    """How the services are watched."""
    idempotency: IdempotencySettings = Field(default_factory=IdempotencySettings)
    """Requests with an ``Idempotency-Key``."""
    record: RecordSettings = Field(default_factory=RecordSettings)
    """What of a request stands on the record."""
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    """Numbers for Prometheus."""
    workflows: WorkflowSettings = Field(default_factory=WorkflowSettings)
    """Definitions over HTTP: what they may name, and how much of it."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose ``X-Forwarded-*`` are continued; those of others are replaced."""
    docs: bool = True
    """Whether ``/docs`` and ``/openapi.json`` are there."""

    @model_validator(mode="before")
    @classmethod
    def _own_routes(cls, value: Any) -> Any:
        """The routes of the example are for its services only."""
        given = value.get("services") if isinstance(value, Mapping) else None
        if not isinstance(given, Mapping) or "routes" in value:
            return value
        fit = [name for name in given if isinstance(name, str) and _NAME.fullmatch(name)]
        return {**value, "routes": {f"/api/{name}": {"service": name, "path": "/"} for name in fit}}

    @field_validator("routes", mode="after")
    @classmethod
    def _paths(cls, value: dict[str, RouteConfig]) -> dict[str, RouteConfig]:
        for path in value:
            if not path.startswith("/") or not _is_plain(path) or (path != "/" and path.endswith("/")):
                raise ValueError(f"{path!r}: a route is a path of plain segments, such as /api/enrich")
        return value

    @field_validator("services", mode="after")
    @classmethod
    def _names(cls, value: dict[str, ServiceConfig]) -> dict[str, ServiceConfig]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r}: a service is named with letters, digits and _.-")
        return value

    @field_validator("trusted_proxies", mode="after")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for text in value:
            ip_network(text)
        return value

    @model_validator(mode="after")
    def _known(self) -> Self:
        for path, route in self.routes.items():
            if route.service not in self.services:
                there = ", ".join(self.services) or "none"
                raise ValueError(
                    f"route {path} leads to {route.service!r}, which is no service (there are {there})"
                )
        return self

    @classmethod
    def of(cls, value: GatewayConfig | Mapping[str, Any] | str | Path | None) -> GatewayConfig:
        """A configuration from what people give: one, a mapping, a YAML file; None: the example.

        Raises `ParameterError` with everything that is wrong in it, and where.
        """
        if isinstance(value, GatewayConfig):
            return value
        data = _from_file(Path(value)) if isinstance(value, str | Path) else value
        if not isinstance(data, Mapping | None):
            cause = f"expected a mapping, got a {type(data).__name__}"
            raise ParameterError("gateway", [Problem("the configuration", cause)])
        try:
            return cls.model_validate(dict(data or {}))
        except ValidationError as error:
            where = str(value) if isinstance(value, str | Path) else "the configuration"
            faults = [_SECRET.sub(r"\1: ", fault) for fault in faults_of(error)]
            raise ParameterError("gateway", [Problem(where, fault) for fault in faults]) from None


def _from_file(path: Path) -> Any:
    try:
        return load_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        problem = Problem(str(path), f"cannot be read: {error.strerror or error}")
    except UnicodeDecodeError:
        problem = Problem(str(path), "is not UTF-8")
    except yaml.YAMLError as error:
        fault = not_yaml(error)
        problem = replace(fault, where=f"{path}, {fault.where}")
    raise ParameterError("gateway", [problem])
