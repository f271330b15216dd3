"""Bearer tokens: when they are needed, where they come from, and that they stay secret."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from orchkit.errors import ParameterError
from orchkit.gateway.auth import AuthSettings, install, is_loopback, read_tokens

SECRET = "s3cret-Token/with+all~signs._=="


def app_with(host: str = "0.0.0.0", environment: dict[str, str] | None = None, **settings: Any) -> FastAPI:
    """An app that tells who came, and what of the request is left."""
    app = FastAPI()

    @app.get("/who")
    def who(request: Request) -> dict[str, Any]:
        return {
            "who": getattr(request.state, "principal", None),
            "authorization": request.headers.get("authorization"),
        }

    @app.get("/health")
    @app.post("/health")
    def health() -> str:
        return "ok"

    @app.post("/echo")
    async def echo(request: Request) -> StreamingResponse:
        return StreamingResponse(request.stream())

    config = SimpleNamespace(auth=AuthSettings.model_validate(settings), host=host)
    install(app, config, environment or {})
    return app


def ask(
    app: FastAPI, path: str = "/who", token: str | None = None, method: str = "GET", **more: Any
) -> httpx.Response:
    """One request."""

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
            headers = {} if token is None else {"Authorization": token.encode()}
            return await client.request(method, path, headers=headers, **more)

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.4", False),
        ("example.com", False),
        ("127.0.0.1.example.com", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, expected: bool) -> None:
    """Only addresses that no other machine can reach count as loopback."""
    assert is_loopback(host) is expected


def test_without_a_token_it_does_not_start_beyond_loopback() -> None:
    """Bound to where others can reach it, the gateway refuses to start without a token."""
    with pytest.raises(ParameterError, match=r"0\.0\.0\.0.*ORCHKIT_GATEWAY_TOKENS"):
        app_with("0.0.0.0")
    with pytest.raises(ParameterError, match="no token"):
        app_with("127.0.0.1", required=True)


@pytest.mark.parametrize(
    ("host", "settings", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("127.0.0.1", {"tokens": {"ci": SECRET}}, 401),
        ("127.0.0.1", {"tokens": {"ci": SECRET}, "required": False}, 200),
        ("0.0.0.0", {"tokens": {"ci": SECRET}}, 401),
        ("0.0.0.0", {"required": False}, 200),
    ],
)
def test_when_a_token_is_needed(host: str, settings: dict[str, Any], status: int) -> None:
    """Beyond loopback, or when there are tokens, each request needs one, unless settings say otherwise."""
    assert ask(app_with(host, **settings)).status_code == status


@pytest.mark.parametrize(
    ("header", "who"),
    [
        (f"Bearer {SECRET}", "ci"),
        (f"bearer {SECRET}", "ci"),
        (f"Bearer  {SECRET} ", "ci"),
        ("Bearer other", "ops"),
        (f"Bearer {SECRET[:-1]}", None),
        (f"Bearer {SECRET}x", None),
        (f"Basic {SECRET}", None),
        (SECRET, None),
        ("Bearer", None),
        ("Bearer ", None),
        (f"Bearer {SECRET} {SECRET}", None),
        ("Bearer ütf", None),
    ],
)
def test_only_a_known_token_is_let_in(header: str, who: str | None) -> None:
    """A request comes in with a known token, under its name; the token goes no further."""
    answer = ask(app_with(tokens={"ci": SECRET, "ops": "other"}), token=header)
    assert answer.status_code == (200 if who else 401)
    if who:
        assert answer.json() == {"who": who, "authorization": None}


def test_refusals_are_problems_that_say_how_to_come_in() -> None:
    """A 401 is problem+json with WWW-Authenticate, which tells a wrong token from a missing one."""
    app = app_with(tokens=["a-token"])
    missing, wrong = ask(app), ask(app, token="Bearer wrong")
    assert missing.headers["content-type"] == wrong.headers["content-type"] == "application/problem+json"
    assert missing.headers["www-authenticate"] == 'Bearer realm="orchkit"'
    assert wrong.headers["www-authenticate"] == 'Bearer realm="orchkit", error="invalid_token"'
    assert missing.json()["status"] == 401
    assert "wrong" not in wrong.text


def test_two_authorizations_are_none() -> None:
    """A request with two tokens is refused, whichever is right."""

    async def ask() -> int:
        transport = httpx.ASGITransport(app_with(tokens=["right"]))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            headers = [("Authorization", "Bearer right"), ("Authorization", "Bearer wrong")]
            return (await client.get("/who", headers=headers)).status_code

    assert asyncio.run(ask()) == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/health", 200), ("POST", "/health", 401), ("GET", "/health/", 401), ("GET", "/who", 401)],
)
def test_open_paths_are_only_read(method: str, path: str, status: int) -> None:
    """A path that the operator leaves open can be read without a token, and nothing else can."""
    app = app_with(tokens=["t"], open_paths=["/health"])
    assert ask(app, path, method=method).status_code == status


def test_tokens_come_from_settings_environment_and_file(tmp_path: Path) -> None:
    """Tokens of all three places are known, with or without names, and work."""
    file = tmp_path / "tokens"
    file.write_text("# for machines\nbuild:t-file  # the build\n\nt-unnamed\n")
    settings = AuthSettings.model_validate(
        {"tokens": ["t-given"], "tokens_file": file, "tokens_variable": "MINE"}
    )
    found = read_tokens(settings, {"MINE": "ops:t-env, t-other=="})
    assert found == {
        "token-1": "t-given",
        "ops": "t-env",
        "env-2": "t-other==",
        "build": "t-file",
        "file-4": "t-unnamed",
    }


@pytest.mark.parametrize(
    ("settings", "environment", "where"),
    [
        ({"tokens": {"ci": "has blank"}}, {}, r"auth\.tokens\.ci"),
        ({"tokens": {"ci": ""}}, {}, r"auth\.tokens\.ci"),
        ({"tokens": {"ci": ["has blank"]}}, {}, r"auth\.tokens\.ci"),
        ({"tokens": {"c i": SECRET}}, {}, r"auth\.tokens\.c i: its name"),
        ({}, {"ORCHKIT_GATEWAY_TOKENS": "a:one,a:two"}, "entry 2: the name 'a' is there twice"),
        ({"tokens_file": "/nowhere/tokens"}, {}, r"auth\.tokens_file: cannot read /nowhere/tokens"),
    ],
)
def test_tokens_that_cannot_be_used_are_named_by_place(
    settings: dict[str, Any], environment: dict[str, str], where: str
) -> None:
    """A token that no client could send, or a file that is not there, is told by its place and not shown."""
    with pytest.raises(ParameterError, match=where) as caught:
        read_tokens(AuthSettings.model_validate(settings), environment)
    assert not any(text in str(caught.value) for text in ("has blank", SECRET, "one", "two"))


def test_tokens_are_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Neither settings nor their dumps, nor logs, nor answers show a token."""
    settings = AuthSettings.model_validate({"tokens": {"ci": SECRET}})
    with caplog.at_level(logging.DEBUG):
        answer = ask(app_with(tokens={"ci": SECRET}), token=f"Bearer {SECRET}")
    shown = (
        repr(settings),
        str(settings),
        settings.model_dump_json(),
        str(settings.model_dump()),
        answer.text,
    )
    assert SECRET not in "".join((*shown, caplog.text))


def test_bodies_pass_through_as_they_come() -> None:
    """Request and answer are streamed through the check, chunk by chunk."""
    sent: list[bytes] = []
    messages: list[dict[str, Any]] = []

    async def scenario() -> None:
        chunks = iter([b"one", b"two", b"three"])

        async def receive() -> dict[str, Any]:
            chunk = next(chunks, b"")
            sent.append(chunk)
            return {"type": "http.request", "body": chunk, "more_body": bool(chunk)}

        async def send(message: Any) -> None:
            messages.append({**message, "received": len(sent)})

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "method": "POST",
            "path": "/echo",
            "raw_path": b"/echo",
            "query_string": b"",
            "headers": [(b"authorization", b"Bearer t")],
            "scheme": "http",
            "server": ("gateway", 80),
        }
        await app_with(tokens=["t"])(scope, receive, send)

    asyncio.run(scenario())
    bodies = [(m["body"], m["received"]) for m in messages if m["type"] == "http.response.body"]
    assert bodies[:3] == [(b"one", 1), (b"two", 2), (b"three", 3)]
