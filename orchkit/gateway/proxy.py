"""A route as an ASGI application: each request goes through the policies of its service, on the record."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from hashlib import sha256
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from orchkit.engine.idempotency import Replay
from orchkit.engine.recorder import RunRecorder, StepScope, current_scope
from orchkit.engine.single import Single, SingleRun, output_of
from orchkit.errors import DuplicateRequestError, IdempotencyConflictError, StoreError
from orchkit.gateway.client import Body, Client
from orchkit.gateway.config import GatewayConfig, RouteConfig
from orchkit.gateway.exchange import Asked, Exchange
from orchkit.gateway.faults import ClientGoneError
from orchkit.gateway.headers import (
    CORRELATION,
    Origin,
    RawHeaders,
    has_passed,
    is_trusted,
    to_service,
    values_of,
)
from orchkit.gateway.keys import key_of, salt_of, sender_of
from orchkit.gateway.outcomes import answer_of, key_problem, problem_of
from orchkit.gateway.paths import Rewrite
from orchkit.gateway.policies import Policies
from orchkit.gateway.problems import HttpProblem, RefusedError
from orchkit.gateway.service import Service
from orchkit.gateway.tracecontext import carried
from orchkit.gateway.unhurried import Batch, Unhurried
from orchkit.ids import new_id
from orchkit.kit import Kit
from orchkit.model.idempotency import IdempotencyKey
from orchkit.model.request import Request
from orchkit.model.result import StepResult
from orchkit.model.state import RunState
from orchkit.registry.definition import MethodDefinition
from orchkit.reliability.call import Call, Handler
from orchkit.reliability.pipeline import build_pipeline

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

log = logging.getLogger("orchkit.gateway")
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
MOST_PENDING: Final = 50_000
"""Events that wait to be written; with more, requests are turned away."""


async def forward(exchange: Exchange) -> dict[str, Any]:
    """Ask the service once and pass its answer on."""
    return await exchange.try_once()


class Hub:
    """What all routes of a gateway share.

    Attributes:
        kit, config: On what it works, and how.
        via: How it calls itself: anew each time, so that nobody can pretend that a request has passed it.
        active: How many proxied requests are being worked on.
        trusted: The networks of proxies that are believed.
        salt: What digests on the record are made with.
        batch: Writes what requests record.
    """

    def __init__(self, kit: Kit, config: GatewayConfig) -> None:
        self.kit, self.config = kit, config
        self.via = b"1.1 orchkit-" + new_id("gw").encode()[-12:]
        self.active = 0
        self.trusted = tuple(ip_network(text) for text in config.trusted_proxies)
        self.salt = salt_of(kit.store)
        self.batch = Batch(kit.store)


class Proxy:
    """One route: everything below a path, for one service."""

    def __init__(self, hub: Hub, path: str, route: RouteConfig, service: Service) -> None:
        self._hub, self.path, self.route, self.service = hub, path, route, service
        self.rewrite = Rewrite.of(path, route.path, service.path)
        self._policies = Policies.of(service.config.policy)
        guards = hub.kit.orchestrator.guards
        self._full = build_pipeline(self._policies.full, guards, service.name)
        self._careful = build_pipeline(self._policies.careful, guards, service.name)
        self._operation = f"gateway.{service.name}"
        self._method = MethodDefinition(self._operation, forward)
        allowed = ", ".join(route.methods).encode()
        self._allowed = ((b"allow", allowed),)
        self._told = {careful: self._policy_facts(careful) for careful in (False, True)}

    def _policy_facts(self, careful: bool) -> dict[str, Any]:
        policy = self._policies.careful if careful else self._policies.full
        return {"operation": self._operation, "silence_s": self._policies.silence, **policy.described}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer back; whatever happens, the client gets an answer or an end."""
        hub, config = self._hub, self._hub.config
        client = Client(receive, send, hub.kit.store.clock, config.limits.client_idle)
        name = scope["state"]["correlation_id"]
        problem = self._overload()
        if problem is not None:
            await client.problem(problem, name)
            return
        hub.active += 1
        try:
            with carried(scope["headers"]):
                await self._serve(scope, receive, client, name)
        except RefusedError as refused:
            await client.problem(refused.problem, name)
        except ClientGoneError:
            pass  # there is nobody to answer
        except asyncio.CancelledError:
            if not client.gone:
                raise
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        finally:
            client.leave()
            hub.active -= 1

    def _overload(self) -> HttpProblem | None:
        """Why there is no room for one more request; None when there is."""
        hub, limits = self._hub, self._hub.config.limits
        more = {"service": self.service.name}
        if hub.active >= limits.concurrent:
            detail = "as many requests as allowed are under way"
            return HttpProblem("overloaded", detail, limits.retry_after_s, more=more)
        if hub.kit.store.log.pending > MOST_PENDING:  # the disk is full, say: memory must not be next
            detail = "the record of the gateway cannot be written"
            return HttpProblem("not-recorded", detail, limits.retry_after_s, more=more)
        return None

    # --- what comes in -----------------------------------------------------------------------

    async def _serve(self, scope: Scope, receive: Receive, client: Client, name: str) -> None:
        hub, config = self._hub, self._hub.config
        headers: RawHeaders = scope["headers"]
        self._check(scope, headers)
        length = _length(headers)
        if length is not None and length > config.limits.body_bytes:
            detail = f"a body may have {config.limits.body_bytes:,} bytes"
            raise RefusedError(HttpProblem("body-too-large", detail))
        clock = hub.kit.store.clock
        exchange = Exchange(self.service, self.rewrite, config, clock, hub.via, self._policies.silence)
        exchange.client = client
        exchange.body = Body(receive, clock, config.limits, length)
        key = key_of(headers, scope["method"], config.idempotency)
        chunked = bool(values_of(headers, b"transfer-encoding"))
        if not chunked and not length:
            exchange.body.complete = True
        exchange.asked = self._asked(scope, headers, name, key, chunked)
        if key is None:
            client.watch(exchange.body)
        elif not exchange.body.complete:
            await self._read_whole(exchange, client, name)
        await self._run(exchange, scope, name)

    def _check(self, scope: Scope, headers: RawHeaders) -> None:
        """Refuse what is not for this route."""
        if scope["method"] not in self.route.methods:
            detail = f"{self.path} takes {', '.join(self.route.methods)}"
            raise RefusedError(HttpProblem("method-not-allowed", detail, headers=self._allowed))
        if not self.rewrite.fits(_path(scope)):  # it only does when it is decoded
            raise RefusedError(HttpProblem("not-found", "no route leads from here"))
        if has_passed(headers, self._hub.via):
            raise RefusedError(HttpProblem("loop-detected", "the services lead back to this gateway"))

    def _asked(self, scope: Scope, headers: RawHeaders, name: str, key: str | None, chunked: bool) -> Asked:
        client = scope["client"][0] if scope.get("client") else None
        origin = Origin(client, scope["scheme"], is_trusted(client, self._hub.trusted))
        length = _length(headers)
        more = [(CORRELATION, name.encode())]
        if chunked and key is None:
            more.append((b"transfer-encoding", b"chunked"))
        elif length is not None and not chunked:
            more.append((b"content-length", str(length).encode()))
        method: str = scope["method"]
        return Asked(
            method,
            self.rewrite.target(_path(scope), scope["query_string"]),
            to_service(headers, origin, self._hub.via, self.service.fixed, more),
            has_body=chunked or bool(length),
            repeats=method in IDEMPOTENT or key is not None,
            key=key,
        )

    async def _read_whole(self, exchange: Exchange, client: Client, name: str) -> None:
        """A request with a key has to be known as a whole before anything is done."""
        body = exchange.body
        try:
            whole = await body.whole(self._hub.config.idempotency.request_bytes)
        except ClientGoneError:
            raise
        except Exception as error:
            raise RefusedError(problem_of(error, self.service.name, 0)) from error
        asked = exchange.asked
        if not any(header == b"content-length" for header, _ in asked.headers):
            asked = Asked(
                asked.method,
                asked.target,
                [*asked.headers, (b"content-length", str(len(whole)).encode())],
                bool(whole),
                asked.repeats,
                asked.key,
            )
        exchange.asked = asked

    # --- on the record -----------------------------------------------------------------------

    async def _run(self, exchange: Exchange, scope: Scope, name: str) -> None:
        client, asked = exchange.client, exchange.asked
        run = SingleRun(self._hub.kit.store, self._single(exchange, scope, name))

        async def perform(step: StepScope, before: RunState | None) -> dict[str, Any]:
            return await self._perform(exchange, step)

        try:
            result = await run.execute(perform)
        except (DuplicateRequestError, IdempotencyConflictError) as error:
            if client.begun:  # the answer was too long to be kept, and somebody else took the claim over
                return
            raise RefusedError(key_problem(error, self._hub.config.limits.retry_after_s)) from None
        except Exception as error:
            await self._answer_error(exchange, error, name)
            return
        if isinstance(result, Replay):
            await self._replay(client, result)
        elif result.success:
            if asked.key is not None and exchange.answer is not None:
                answer = exchange.answer
                await client.whole(answer.status, answer.headers, answer.body)
            elif not client.begun:  # done by a process that died before it could say so
                await self._recorded(client, result.output)
        else:
            await self._answer_failure(exchange, result, name)

    def _single(self, exchange: Exchange, scope: Scope, name: str) -> Single:
        asked, config = exchange.asked, self._hub.config
        principal = scope["state"].get("principal")
        given = self._input(scope, asked)
        key = None
        if asked.key is not None:
            body = exchange.body
            given["body"] = {"bytes": body.size, "sha256": body.digest}
            given["sender"] = sender_of(scope["headers"], principal, config.idempotency, self._hub.salt)
            key = IdempotencyKey(f"{self._operation}:{asked.key}", config.idempotency.ttl_hours)
        request = Request(self._operation, {}, principal, request_id=name)
        return Single(
            "operation",
            self._operation,
            self.service.name,
            request,
            given,
            config.durability,
            key,
            self._method,
            self._hub.batch.written if self._unhurried(asked) else RunRecorder.barrier,
        )

    def _input(self, scope: Scope, asked: Asked) -> dict[str, Any]:
        """What the record says of the request."""
        found: dict[str, Any] = {
            "method": asked.method,
            "route": self.path,
            "path": _path(scope).decode("latin-1"),
        }
        query: bytes = scope["query_string"]
        if query and self._hub.config.record.query:
            found["query"] = query.decode("latin-1")
        elif query:
            found["query_names"] = _names(query)
        if query:
            found["query_sha256"] = sha256(query).hexdigest()
        return found

    async def _perform(self, exchange: Exchange, step: StepScope) -> dict[str, Any]:
        """The request through the policies of its service."""
        careful = not exchange.asked.repeats
        reason = (
            "another attempt could do it twice: only when it never reached the service"
            if careful
            else "another attempt does no harm"
        )
        step.decided("policy.selected", "careful" if careful else "full", reason, self._told[careful])
        kit = self._hub.kit
        record = Unhurried(step, self._hub.batch) if self._unhurried(exchange.asked) else step
        call = Call(
            exchange.try_once,
            record,
            kit.store.clock,
            kit.orchestrator.rng,
            attempt=step.attempt or 0,
            forgiven=step.forgiven,
        )
        exchange.call = call
        pipeline: Handler = self._careful if careful else self._full
        token = current_scope.set(record)
        try:
            output: dict[str, Any] = await pipeline(call)
        finally:
            current_scope.reset(token)
            step.attempt = record.attempt
        return output

    def _unhurried(self, asked: Asked) -> bool:
        """Whether nobody waits for its record; what a key stands for must be there before it is done."""
        return asked.key is None and self._hub.config.durability == "async"

    # --- what goes back ----------------------------------------------------------------------

    async def _answer_failure(self, exchange: Exchange, result: StepResult, name: str) -> None:
        error = result.exception
        if error is None:
            error = RuntimeError(result.error or "it failed")
        await self._answer_error(exchange, error, name)

    async def _answer_error(self, exchange: Exchange, error: BaseException, name: str) -> None:
        """Tell the client, as far as it has not been told: an answer that has begun is cut."""
        client = exchange.client
        if isinstance(error, StoreError):
            log.warning("a request to %s cannot be recorded: %s", self.service.name, error)
        if client.begun or isinstance(error, ClientGoneError):
            return
        answer = answer_of(error)
        if answer is not None:
            await client.whole(answer.status, answer.headers, answer.body)
            return
        limits = self._hub.config.limits
        problem = problem_of(error, self.service.name, limits.retry_after_s, self._reopens_in())
        if problem.kind == "internal-error":
            log.error("a request to %s failed in the gateway", self.service.name, exc_info=error)
        await client.problem(problem, name)

    def _reopens_in(self) -> float | None:
        breaker = self._policies.full.breaker
        if breaker is None or not breaker.enabled:
            return None
        breakers = self._hub.kit.breakers
        name = breaker.name or self.service.name
        return breakers[name].reopens_in() if name in breakers else None

    async def _replay(self, client: Client, replay: Replay) -> None:
        """Give the recorded answer once more."""
        if replay.claim.result is not None:
            output = output_of(self._hub.kit.store, replay)
        else:  # a large one is read from the history, which must not hold up the others on this loop
            output = await asyncio.to_thread(output_of, self._hub.kit.store, replay)
        await self._recorded(client, output)

    async def _recorded(self, client: Client, output: Any) -> None:
        if not output.get("kept"):
            detail = f"it was answered {output['status']} with {output['bytes']:,} bytes"
            more = {"service": self.service.name, "answered": output["status"]}
            raise RefusedError(HttpProblem("answer-not-kept", detail, more=more))
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in output["headers"]]
        headers += [(b"via", self._hub.via), (b"idempotency-replayed", b"true")]
        await client.whole(output["status"], headers, output["body"])


def _path(scope: Scope) -> bytes:
    """The path as it came, below where the app is mounted."""
    raw: bytes = scope["raw_path"]
    root = scope.get("root_path", "").encode()
    return raw[len(root) :] if root and raw.startswith(root + b"/") else raw


def _length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """What Content-Length says; the server has seen to it that it is a number."""
    values = values_of(headers, b"content-length")
    if not values:
        return None
    if len(set(values)) > 1 or not values[0].isdigit():
        raise RefusedError(HttpProblem("bad-request", "Content-Length is not one number"))
    return int(values[0])


def _names(query: bytes) -> list[str]:
    """The names of the parameters of a query, in order."""
    pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    return list(dict.fromkeys(name for name, _ in pairs))
