"""An app with the workflow API on a kit with a few tools."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI

import orchkit as ok
from orchkit.gateway.workflows import WorkflowRouter, WorkflowSettings, router
from orchkit.kit import Kit
from orchkit.registry.registry import Registry

OFFERED = ("mail.*", "add", "fail", "hold", "wait", "split")


def until(there: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait until something is so, but not for ever."""
    deadline = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.005)


class Api:
    """The API on a kit, asked in-process; its tools can be held up with `gate`."""

    def __init__(self, kit: Kit, **settings: Any) -> None:
        self.kit = kit
        self.gate = threading.Event()
        self.calls: list[str] = []
        self._register(kit.registry)
        self.settings = WorkflowSettings(**{"tools": OFFERED, **settings})
        self.router: WorkflowRouter = router(kit, SimpleNamespace(workflows=self.settings))
        self.app = FastAPI()
        self.app.include_router(self.router)

    def _register(self, registry: Registry) -> None:
        methods, tools = registry.methods, registry.tools

        def send(to: Annotated[str, "Whom to write to."], subject: str = "none") -> dict[str, str]:
            """Send a message."""
            self.calls.append(f"send {to}")
            return {"message_id": f"m-{len(self.calls)}"}

        def unsend(message_id: str) -> None:
            """Take it back."""
            self.calls.append(f"unsend {message_id}")

        def add(a: int, b: int = 1) -> int:
            """Add two numbers."""
            self.calls.append(f"add {a} {b}")
            return a + b

        def fail(message: str = "no") -> None:
            """Fail."""
            raise ValueError(message)

        def hold() -> str:
            """Wait until the gate is open."""
            self.calls.append("hold")
            assert self.gate.wait(20)
            return "held"

        async def wait(seconds: float = 0.01) -> str:
            """Wait a little, and say so."""
            ok.report_progress(0.5, "half way")
            ok.trace_decision("patience", "wait", "there is time")
            await asyncio.sleep(seconds)
            return "waited"

        def split(text: str) -> list[str]:
            """Split a text into words."""
            return text.split()

        def erase() -> None:
            """Not to be offered."""
            self.calls.append("erase")

        methods.register_method(send, name="send", domain="mail")
        methods.register_method(unsend, name="unsend", domain="mail")
        tools.register_tool("mail.send", "send", category="mail", domain="mail", tags=("out",))
        tools.register_tool("mail.unsend", "unsend", category="mail", domain="mail")
        for function in (add, fail, hold, wait, split, erase):
            methods.register_method(function)

    def client(self) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        return httpx.AsyncClient(transport=transport, base_url="http://gateway")

    def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """One request, in a loop of its own."""

        async def ask() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, **more)

        return asyncio.run(ask())

    def submit(
        self, *steps: dict[str, Any], headers: dict[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        """Submit a definition of these steps; ``context`` and ``execution_directives`` stand beside it."""
        beside = {name: more.pop(name) for name in ("context", "execution_directives") if name in more}
        body = {"workflow_definition": _definition(*steps, **more), **beside}
        return self.ask("POST", "/workflows", json=body, headers=headers)

    def until_over(self, run_id: str) -> str:
        """Wait until a run has ended; its status."""
        until(lambda: self._status(run_id) not in (None, "running", "paused"))
        return str(self._status(run_id))

    def _status(self, run_id: str) -> str | None:
        rows = self.kit.store.query("SELECT status FROM runs WHERE run_id = ?", [run_id])
        return rows[0][0] if rows else None

    @staticmethod
    def until(there: Callable[[], Any]) -> None:
        """Wait until something is so, but not for ever."""
        until(there)


def _definition(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A definition of these steps."""
    return {"name": "flow", "execution_mode": "dag", "steps": list(steps), **more}


def _step(tool: str, step_id: str | None = None, **more: Any) -> dict[str, Any]:
    """One of them."""
    params = more.pop("params", {})
    return {"step_id": step_id or tool, "tool_name": tool, "parameters": params, **more}


@pytest.fixture
def definition() -> Callable[..., dict[str, Any]]:
    """Makes a definition of steps."""
    return _definition


@pytest.fixture
def step() -> Callable[..., dict[str, Any]]:
    """Makes a step of a tool: ``step("add", params={"a": 1})``."""
    return _step


@pytest.fixture
def make_api() -> Iterator[Callable[..., Api]]:
    """Makes APIs with other settings; all are closed."""
    made: list[Api] = []

    def make(kit: Kit | None = None, **settings: Any) -> Api:
        made.append(Api(kit or ok.open(registry=Registry()), **settings))
        return made[-1]

    yield make
    for api in made:
        api.gate.set()
        api.router.close()
        api.kit.close()


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    """One with the usual settings, and a store in memory."""
    return make_api()
