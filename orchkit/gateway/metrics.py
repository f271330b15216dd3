"""What happens in the gateway and in its kit, in numbers, for Prometheus."""

from __future__ import annotations

import asyncio
import re
import threading
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol

from fastapi import FastAPI, Response
from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client import Counter as PrometheusCounter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pydantic import Field

from orchkit.errors import StoreError
from orchkit.kit import Kit
from orchkit.model import event as ev
from orchkit.model.base import Record
from orchkit.model.health import BY_GRAVITY
from orchkit.model.manual import documented
from orchkit.store.log import StoredRow

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"))
STATES: Final = ("closed", "open", "half_open", "forced_open", "disabled")
MOST_NAMES: Final = 200
"""So many breakers and services are told of at most; names may come from definitions."""
_KINDS: Final = frozenset(
    value for name, value in vars(ev).items() if name.isupper() and isinstance(value, str)
)
_ENDED: Final = {ev.RUN_FINISHED: "runs", ev.STEP_FINISHED: "steps", ev.ATTEMPT_FINISHED: "attempts"}
_STATUS: Final = re.compile(r'\{"status":"([a-z_]{1,20})"')
_RETRY: Final = '{"point":"retry","decision":"retry"'
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@documented
class MetricsSettings(Record):
    """What is measured, and where it is read."""

    enabled: bool = True
    """Whether anything is."""
    path: str = Field(default="/metrics", pattern=r"^/")
    """Where it is read."""
    fresh_s: float = Field(default=15.0, ge=0)
    """What is counted in the record is counted anew after so many seconds at the earliest."""


class Measured(Protocol):
    """What of the configuration of a gateway is asked for here."""

    @property
    def metrics(self) -> MetricsSettings:
        """The settings."""
        ...


def install(app: FastAPI, kit: Kit, config: Measured) -> GatewayMetrics | None:
    """Measure the requests to the app and serve the numbers at ``/metrics``; None when that is not wanted.

    What is added to the app after this stands before it, and what it refuses is not counted here. Routes are
    told apart by their templates, so that no path or id of a client becomes a name of a series.
    """
    settings = config.metrics
    if not settings.enabled:
        return None
    metrics = GatewayMetrics(kit, settings)
    app.add_middleware(_Measuring, metrics=metrics)

    async def read() -> Response:
        """Read the numbers of the gateway and its kit, as Prometheus wants them."""
        return Response(await asyncio.to_thread(metrics.text), media_type=CONTENT_TYPE_LATEST)

    app.add_api_route(
        settings.path,
        read,
        methods=["GET"],
        operation_id="readMetrics",
        tags=["metrics"],
        summary="Read the metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": _EXAMPLE}}}},
    )
    return metrics


_EXAMPLE: Final = 'orchkit_http_requests_total{method="GET",route="/runs/{run_id}",status="200"} 3.0\n'


class GatewayMetrics:
    """The numbers of one app, in a registry of their own."""

    def __init__(self, kit: Kit, settings: MetricsSettings) -> None:
        self.registry = CollectorRegistry()
        self.requests = PrometheusCounter(
            "orchkit_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "orchkit_http_request_duration_seconds",
            "Seconds from a request to the end of its answer; streams of events are left out.",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.in_progress = Gauge(
            "orchkit_http_requests_in_progress", "Requests being answered.", registry=self.registry
        )
        self._tally = _Tally()
        self.registry.register(_KitNumbers(kit, self._tally, settings.fresh_s))
        stop = kit.store.subscribe(self._tally.listen)
        self._finalizer = weakref.finalize(self, stop)

    def text(self) -> bytes:
        """All of them in the text format. May wait for the record: call it in a thread."""
        return generate_latest(self.registry)

    def close(self) -> None:
        """Listen to the kit no more."""
        self._finalizer()


# --- requests ------------------------------------------------------------------------------


class _Measuring:
    """ASGI middleware; bodies pass through it untouched."""

    def __init__(self, app: ASGIApp, *, metrics: GatewayMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        metrics, began = self._metrics, perf_counter()
        answer = _Answer()

        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.begin(message)
            await send(message)

        metrics.in_progress.inc()
        try:
            await self._app(scope, receive, watch)
        except Exception:
            answer.status = answer.status or "500"
            raise
        finally:
            metrics.in_progress.dec()
            method = scope["method"] if scope["method"] in METHODS else "other"
            route = route_of(scope)
            metrics.requests.labels(method, route, answer.status or "none").inc()
            if not answer.is_stream:
                metrics.seconds.labels(method, route).observe(perf_counter() - began)


class _Answer:
    def __init__(self) -> None:
        self.status = ""
        self.is_stream = False

    def begin(self, message: Message) -> None:
        self.status = str(message["status"])
        self.is_stream = any(
            name == b"content-type" and value.startswith(b"text/event-stream")
            for name, value in message.get("headers", ())
        )


def route_of(scope: Mapping[str, Any]) -> str:
    """The template of the route that was taken; ``unmatched`` for none."""
    for found in (scope.get("route"), scope.get("endpoint")):
        path = getattr(found, "path", None)
        if isinstance(path, str):
            return path
    return "unmatched"


# --- the kit -------------------------------------------------------------------------------


class _Tally:
    """What is committed in this process, counted as it comes; outputs are not looked at."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.ended: Counter[tuple[str, str]] = Counter()
        self.retries = 0

    def listen(self, rows: list[StoredRow]) -> None:
        """Of one commit; they come one after the other."""
        for _, _, kind, _, _, _, payload in rows:
            self.kinds[kind if kind in _KINDS else "other"] += 1
            what = _ENDED.get(kind)
            if what is not None:
                status = _STATUS.match(payload)
                self.ended[what, status[1] if status else "unknown"] += 1
            elif kind == ev.DECISION and payload.startswith(_RETRY):
                self.retries += 1


class _KitNumbers:
    """Collects, when it is asked, what the kit knows."""

    def __init__(self, kit: Kit, tally: _Tally, fresh_s: float) -> None:
        self._kit, self._tally, self._fresh_s = kit, tally, fresh_s
        self._lock = threading.Lock()
        self._runs: dict[str, int] = {}
        self._counted_at: float | None = None

    def describe(self) -> Iterable[Metric]:
        """None: that registering it asks the kit for nothing."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All of them; what cannot be read (the store is closed, say) is left out."""
        yield from self._counted()
        if self._kit.store.closed:
            return
        for part in (self._log, self._breakers, self._services, self._recorded):
            try:
                found = list(part())
            except StoreError:
                continue
            yield from found

    def _counted(self) -> Iterator[Metric]:
        tally = self._tally
        events = CounterMetricFamily(
            "orchkit_events", "Events recorded by this process since it serves.", labels=["kind"]
        )
        for kind, count in sorted(tally.kinds.items()):
            events.add_metric([kind], count)
        yield events
        for what in ("runs", "steps", "attempts"):
            ended = CounterMetricFamily(
                f"orchkit_{what}_finished", f"{what.capitalize()} that ended, by outcome.", labels=["status"]
            )
            for (kind, status), count in sorted(tally.ended.items()):
                if kind == what:
                    ended.add_metric([status], count)
            yield ended
        yield CounterMetricFamily("orchkit_retries", "Attempts made because one had failed.", tally.retries)

    def _log(self) -> Iterator[Metric]:
        store = self._kit.store
        yield GaugeMetricFamily("orchkit_log_buffered_events", "Events not committed yet.", store.log.pending)
        # Before anything is asked of the history, which moves them.
        yield GaugeMetricFamily(
            "orchkit_ingest_backlog_events", "Events not moved into the history yet.", store.backlog
        )

    def _breakers(self) -> Iterator[Metric]:
        breakers = self._kit.breakers
        state = GaugeMetricFamily(
            "orchkit_breaker_state", "1 for the state of a circuit breaker.", labels=["breaker", "state"]
        )
        rejected = CounterMetricFamily(
            "orchkit_breaker_rejected", "Calls that it has kept from being made.", labels=["breaker"]
        )
        for name in list(breakers)[:MOST_NAMES]:
            breaker = breakers[name]
            now = breaker.snapshot.state
            for one in STATES:
                state.add_metric([name, one], float(one == now))
            rejected.add_metric([name], breaker.rejected)
        yield state
        yield rejected

    def _services(self) -> Iterator[Metric]:
        state = GaugeMetricFamily(
            "orchkit_service_health", "1 for the status of a service.", labels=["service", "status"]
        )
        uptime = GaugeMetricFamily(
            "orchkit_service_uptime_ratio", "Share of the last checks that found it up.", labels=["service"]
        )
        seconds = GaugeMetricFamily(
            "orchkit_service_response_seconds", "How long the last check took.", labels=["service"]
        )
        failures = GaugeMetricFamily(
            "orchkit_service_consecutive_failures", "Checks in a row that failed.", labels=["service"]
        )
        for name, health in sorted(self._kit.health.status().items())[:MOST_NAMES]:
            for one in BY_GRAVITY:
                state.add_metric([name, one], float(one == health.status))
            if health.uptime_percentage is not None:
                uptime.add_metric([name], health.uptime_percentage / 100)
            if health.response_time_ms is not None:
                seconds.add_metric([name], health.response_time_ms / 1000)
            failures.add_metric([name], health.consecutive_failures)
        yield from (state, uptime, seconds, failures)

    def _recorded(self) -> Iterator[Metric]:
        runs = GaugeMetricFamily(
            "orchkit_runs", "Runs on record, without those of sub-workflows.", labels=["status"]
        )
        for status, count in sorted(self._standings().items()):
            runs.add_metric([status.replace(" ", "_")], count)
        yield runs

    def _standings(self) -> dict[str, int]:
        now = self._kit.store.clock.monotonic()
        with self._lock:
            if self._counted_at is None or now - self._counted_at >= self._fresh_s:
                self._runs = self._kit.runs.standings()
                self._counted_at = now
            return self._runs
