"""The gateway in the background of a kit: a server in a thread of its own, on this machine."""

from __future__ import annotations

import asyncio
import atexit
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from weakref import WeakMethod

from orchkit.errors import ExecutionError, MissingExtraError, ParameterError, Problem, StoreClosedError
from orchkit.kit import Kit
from orchkit.model.display import Displayable

try:
    import httpx  # noqa: F401
    import uvicorn

    from orchkit.gateway.app import create_app
    from orchkit.gateway.config import GatewayConfig
    from orchkit.gateway.protocol import GatewayProtocol
except ModuleNotFoundError as missing:
    raise MissingExtraError(missing.name or "fastapi", "gateway") from missing

if TYPE_CHECKING:
    from fastapi import FastAPI

START_S: Final = 30.0
GRACE_S: Final = 2
"""Seconds that requests which are under way get when the server stops."""
BACKLOG: Final = 2_048


class _Server(uvicorn.Server):
    """Says when it has started, and does not wait for those who would read for ever."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app
        self.up = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        flows = self._app.state.workflows
        if flows is not None:
            flows.close()
        await super().shutdown(sockets)


class GatewayServer(Displayable):
    """The gateway of a kit; ``kit.gateway``. It stops when the kit is closed.

    It runs on a loop of its own in a thread of its own, and not on the daemon loop on which runs in the
    background live: what blocks one must not hold up the other, neither a step that computes without awaiting
    the requests, nor a burst of requests the steps.
    """

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._lock = threading.RLock()
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._address: tuple[str, int] | None = None
        self._at_exit: Any = None
        self.config: GatewayConfig | None = None
        """What it was started with last."""
        self.app: FastAPI | None = None
        """The application, once it was started."""

    # --- in the background ---------------------------------------------------------------------

    def start(
        self,
        config: GatewayConfig | Mapping[str, Any] | str | Path | None = None,
        *,
        host: str | None = None,
        port: int | None = 0,
    ) -> Self:
        """Serve in the background from now on; returns itself when requests are taken.

        One that runs already goes on with the new configuration, at another port unless one is named.

        Args:
            config: A `GatewayConfig`, a mapping in its form, or a YAML file; None: an example.
            host: Instead of that of the configuration. Beyond this machine a token is needed.
            port: 0: any that is free; None: that of the configuration.

        Raises:
            ParameterError: With everything that is wrong in the configuration, or the port is taken.
            StoreClosedError: The kit is closed.
            ExecutionError: It does not come up.
        """
        settings = chosen(config, host, port)
        with self._lock:
            self.stop()
            listening = self._prepare(settings)
            assert self._server is not None
            self._thread = threading.Thread(
                target=self._run, args=(self._server, listening), name="orchkit-gateway", daemon=True
            )
            self._thread.start()
            try:
                self._wait(self._server)
            except BaseException:  # also Ctrl-C
                self.stop()
                raise
            self._at_exit = partial(_stop_at_exit, WeakMethod(self.stop))
            atexit.register(self._at_exit)
        return self

    def serve(
        self,
        config: GatewayConfig | Mapping[str, Any] | str | Path | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        """The same in this thread, until a signal ends it; see `start`. ``tell`` is told the address."""
        settings = chosen(config, host, port)
        with self._lock:
            self.stop()
            listening = self._prepare(settings)
            server = self._server
        assert server is not None
        assert self._address is not None
        try:
            if tell is not None:
                tell("{}:{}".format(*self._address))
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            pass  # it has ended by then: the server raises the signal that it was ended by once more
        finally:
            listening.close()
            self._server = self._address = None

    def stop(self) -> None:
        """Take no more requests, give those under way a moment, and leave nothing behind; idempotent."""
        with self._lock:
            server, thread = self._server, self._thread
            if server is not None:
                server.should_exit = True
            if thread is not None and thread is not threading.current_thread():
                thread.join()
            self._server = self._thread = self._address = None
            if self._at_exit is not None:
                atexit.unregister(self._at_exit)
                self._at_exit = None

    def _prepare(self, config: GatewayConfig) -> socket.socket:
        """Everything that can be wrong is wrong before a thread is there."""
        if self._kit.store.closed:
            raise StoreClosedError(f"{self._kit.store!r} is closed: there is nothing to serve")
        app = create_app(config, self._kit)
        listening = _listen(config.host, config.port)
        try:
            self._server = _Server(_settings(app, config), app)
        except BaseException:
            listening.close()
            raise
        self.app, self.config, self._failure = app, config, None
        self._address = listening.getsockname()[:2]
        return listening

    def _run(self, server: _Server, listening: socket.socket) -> None:
        try:
            asyncio.run(server.serve(sockets=[listening]))
        except BaseException as error:  # also SystemExit, by which it says that it cannot start
            self._failure = error
        finally:
            listening.close()
            server.up.set()

    def _wait(self, server: _Server) -> None:
        if server.up.wait(START_S) and server.started and self._failure is None:
            return
        failure = self._failure
        raise ExecutionError(f"the gateway did not come up: {failure or 'it takes too long'}") from failure

    # --- what it is --------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether it takes requests."""
        server = self._server
        return server is not None and server.started and not server.should_exit

    @property
    def url(self) -> str | None:
        """Where it is; None when it does not run."""
        if self._address is None or not self.running:
            return None
        host, port = self._address
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - how to reach it from here
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def port(self) -> int | None:
        """Its port; None when it does not run."""
        return None if self._address is None or not self.running else self._address[1]

    @property
    def routes(self) -> dict[str, str]:
        """The service of each route, by path."""
        if self.config is None:
            return {}
        return {path: route.service for path, route in self.config.routes.items()}

    def standing(self) -> dict[str, tuple[str, str, str]]:
        """Of each service its URL, the state of its breaker, and how it is."""
        config, kit = self.config, self._kit
        if config is None:
            return {}
        found: dict[str, tuple[str, str, str]] = {}
        for name, service in config.services.items():
            breaker = service.policy.breaker
            shared = name if breaker is None or breaker.name is None else breaker.name
            state = kit.breakers[shared].state if shared in kit.breakers else "closed"
            health = kit.health[name].status if name in kit.health else "unknown"
            found[name] = (service.url, state.replace("_", " "), health)
        return found

    def __repr__(self) -> str:
        if not self.running:
            return "<GatewayServer: stopped>"
        routes = ", ".join(f"{path} → {service}" for path, service in self.routes.items())
        return f"<GatewayServer at {self.url}: {routes or 'no routes'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def chosen(config: Any, host: str | None, port: int | None) -> GatewayConfig:
    """A configuration with these in place of what it says. Raises `ParameterError`."""
    found = GatewayConfig.of(config)
    changes: dict[str, Any] = {"host": host, "port": port}
    return found.model_copy(update={name: value for name, value in changes.items() if value is not None})


def _listen(host: str, port: int) -> socket.socket:
    """A socket that is bound, so that the port is known, and taken, before anything else begins."""
    try:
        family, kind, number, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, number)
    except OSError as error:
        raise _unfit(host, port, error) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise _unfit(host, port, error) from error
    return listening


def _unfit(host: str, port: int, error: OSError) -> ParameterError:
    cause = f"{host}:{port} cannot be listened at: {error.strerror or error}"
    return ParameterError("gateway", [Problem("port", cause, "port=0 takes any that is free")])


def _settings(app: FastAPI, config: GatewayConfig) -> uvicorn.Config:
    limits = config.limits
    # Faster ways to read HTTP are not there everywhere, and answer what is no HTTP in ways of their own.
    return uvicorn.Config(
        app,
        http=partial(GatewayProtocol, limits),  # type: ignore[arg-type]
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # who is believed stands in the configuration
        server_header=False,
        timeout_keep_alive=max(1, round(limits.keep_alive)),
        timeout_graceful_shutdown=GRACE_S,
        h11_max_incomplete_event_size=limits.header_bytes + limits.url_bytes,
        backlog=BACKLOG,
    )


def _stop_at_exit(stop: WeakMethod[Any]) -> None:
    method = stop()
    if method is not None:
        method()


logging.getLogger("orchkit.gateway").addHandler(logging.NullHandler())
