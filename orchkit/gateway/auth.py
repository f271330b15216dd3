"""Who may use the gateway: bearer tokens, on by default wherever others than this machine can reach it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from hmac import compare_digest
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from pydantic import Field, SecretStr, field_validator
from starlette.responses import JSONResponse

from orchkit.errors import ParameterError, Problem
from orchkit.gateway.problems import MEDIA_TYPE, PROBLEM
from orchkit.model.base import Record
from orchkit.model.manual import documented

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Receive, Scope, Send

TOKENS_VARIABLE: Final = "ORCHKIT_GATEWAY_TOKENS"
_TOKEN: Final = re.compile(r"[A-Za-z0-9\-._~+/]+=*")
"""What can be sent as a bearer token (RFC 6750)."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")
_BEARER: Final = re.compile(rb"bearer +([^ ]+) *", re.IGNORECASE)
_NOT_LET_IN: Final = 401


_REFUSED: Final[dict[str, Any]] = {
    "description": "A token is needed, or the one that came is unknown.",
    "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
    "content": {
        MEDIA_TYPE: {
            "schema": PROBLEM,
            "example": {
                "type": "urn:orchkit:problem:unauthorized",
                "title": "A token is needed",
                "status": 401,
                "detail": "a bearer token is needed",
            },
        }
    },
}
"""For OpenAPI."""


@documented
class AuthSettings(Record):
    """Bearer tokens. They never stand in a record, a log or an error: only their names do."""

    required: bool | None = None
    """Whether every request needs a token; None: when the gateway is bound beyond loopback, or has tokens."""
    tokens: dict[str, SecretStr] = Field(default_factory=dict)
    """By name, under which its runs are recorded. Also a list; then the names are ``token-1`` and so on."""
    tokens_variable: str = TOKENS_VARIABLE
    """An environment variable with more of them: ``name:token`` or ``token``, separated by commas."""
    tokens_file: Path | None = None
    """A file with more of them, one in a line, in the same form; ``#`` begins a comment."""
    open_paths: tuple[str, ...] = ()
    """Paths, such as ``/health``, that may be read (GET, HEAD) without a token."""

    @field_validator("tokens", mode="before")
    @classmethod
    def _tokens(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            several = value if isinstance(value, list | tuple) else [value]
            value = {f"token-{number}": token for number, token in enumerate(several, 1)}
        return {str(name): _secret(token) for name, token in value.items()}

    @field_validator("open_paths", mode="after")
    @classmethod
    def _absolute(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for path in value:
            if not path.startswith("/"):
                raise ValueError(f"{path!r} is no path: it begins with a slash")
        return value


def _secret(value: Any) -> SecretStr:
    """A secret in any case: an error of validation would show it. `read_tokens` refuses what is none."""
    if isinstance(value, SecretStr):
        return value
    return SecretStr(str(value) if isinstance(value, str | int) else "")


class Guarded(Protocol):
    """What of the configuration of a gateway is asked for here."""

    @property
    def auth(self) -> AuthSettings:
        """The settings."""
        ...

    @property
    def host(self) -> str:
        """The address that it is bound to."""
        ...


def install(app: Starlette, config: Guarded, environment: Mapping[str, str] = os.environ) -> bool:
    """Let in only who has a token, where that is asked for; whether it is.

    What is added to the app after this (CORS, say) stands before it.

    Raises:
        ParameterError: A token is needed and there is none, or one cannot be used; no token is named.
    """
    settings = config.auth
    tokens = read_tokens(settings, environment)
    required = settings.required
    if required is None:
        required = bool(tokens) or not is_loopback(config.host)
    if not required:
        return False
    if not tokens:
        raise ParameterError("gateway", [_no_token(config)])
    app.add_middleware(BearerAuth, tokens=tokens, open_paths=settings.open_paths)
    app.state.auth = settings
    return True


def _no_token(config: Guarded) -> Problem:
    """Why one is needed, and where it is looked for."""
    settings = config.auth
    places = f"set {settings.tokens_variable}, auth.tokens or auth.tokens_file"
    if settings.required:
        return Problem("auth", "auth.required is set, and no token is given", places)
    cause = f"bound to {config.host!r}, which others can reach, and there is no token"
    return Problem("auth", cause, f"{places}; or bind to 127.0.0.1")


def describe(app: Starlette, document: dict[str, Any]) -> None:
    """Put what `install` has added into the app's OpenAPI document."""
    settings = getattr(app.state, "auth", None)
    if settings is None:
        return
    schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["bearer"] = {"type": "http", "scheme": "bearer", "description": "A token of this gateway."}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if path not in settings.open_paths or method not in ("get", "head"):
                operation["security"] = [{"bearer": []}]
                operation.setdefault("responses", {})["401"] = _REFUSED


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what is bound to this address; names other than localhost: no."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_tokens(settings: AuthSettings, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """All tokens by name: from the settings, the environment and the file.

    Raises `ParameterError` naming the place of each that cannot be used, and a file that cannot be read.
    """
    problems: list[Problem] = []
    found: dict[str, str] = {}
    for where, name, token in _written(settings, environment, problems):
        if not _TOKEN.fullmatch(token):
            problems.append(Problem(where, "is no bearer token", "letters, digits and -._~+/ only"))
        elif not _NAME.fullmatch(name):
            problems.append(Problem(where, "its name is not made of letters, digits and _.@-"))
        elif found.setdefault(name, token) != token:
            problems.append(Problem(where, f"the name {name!r} is there twice", "give each its own"))
    if problems:
        raise ParameterError("gateway", problems)
    return found


def _written(
    settings: AuthSettings, environment: Mapping[str, str], problems: list[Problem]
) -> Iterator[tuple[str, str, str]]:
    """Where, name and token of each."""
    for name, secret in settings.tokens.items():
        yield f"auth.tokens.{name}", name, secret.get_secret_value().strip()
    variable = settings.tokens_variable
    yield from _named(variable, "env", environment.get(variable, "").split(","))
    if settings.tokens_file is not None:
        try:
            text = settings.tokens_file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            cause = getattr(error, "strerror", None) or type(error).__name__
            problems.append(Problem("auth.tokens_file", f"cannot read {settings.tokens_file}: {cause}"))
            return
        lines = (line.partition("#")[0] for line in text.splitlines())
        yield from _named(str(settings.tokens_file), "file", lines)


def _named(where: str, kind: str, entries: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    # A colon is in no token, so that what stands before one can only be a name.
    for number, entry in enumerate(entries, 1):
        name, colon, token = entry.strip().rpartition(":")
        if token or colon:
            yield f"{where}, entry {number}", name.strip() if colon else f"{kind}-{number}", token.strip()


class BearerAuth:
    """ASGI middleware; bodies pass through it untouched, both ways."""

    def __init__(self, app: ASGIApp, *, tokens: Mapping[str, str], open_paths: Iterable[str] = ()) -> None:
        self._app = app
        # Digests are of one length, and any bytes have one: neither tells anything of the token by its time.
        self._digests = {name: sha256(token.encode()).digest() for name, token in tokens.items()}
        self._open = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, the name of its token as ``request.state.principal``, or answer 401."""
        if scope["type"] not in ("http", "websocket") or self._is_open(scope):
            await self._app(scope, receive, send)
            return
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        principal = self._principal(given[0]) if len(given) == 1 else None
        if principal is None:
            await self._refuse(scope, receive, send, given=bool(given))
            return
        # It was for the gateway: what it passes on must not carry it.
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
        scope["state"] = {**scope.get("state", {}), "principal": principal}
        await self._app(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        return scope["path"] in self._open and scope.get("method") in ("GET", "HEAD")

    def _principal(self, header: bytes) -> str | None:
        """The name of the token; all are compared, whichever it is."""
        found = None
        sent = _BEARER.fullmatch(header)
        digest = sha256(sent[1] if sent else b"").digest()
        for name, known in self._digests.items():
            if compare_digest(known, digest):
                found = name
        return found if sent else None

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, *, given: bool) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "a bearer token is needed"})
            return
        error = ', error="invalid_token"' if given else ""
        body: dict[str, Any] = {
            "type": "urn:orchkit:problem:unauthorized",
            "title": "A token is needed",
            "status": _NOT_LET_IN,
            "detail": "the token is not one of this gateway" if given else "a bearer token is needed",
        }
        if instance := scope.get("state", {}).get("correlation_id"):
            body["instance"] = f"urn:orchkit:request:{instance}"
        answer = JSONResponse(
            body,
            _NOT_LET_IN,
            headers={"WWW-Authenticate": f'Bearer realm="orchkit"{error}'},
            media_type=MEDIA_TYPE,
        )
        await answer(scope, receive, send)
