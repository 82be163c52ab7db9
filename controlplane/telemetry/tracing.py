"""OpenTelemetry traces of the requests that a process answers; loaded only where TURNFLEET_TRACING is on (the extra `otel`).

The exporter, the sampler and the resource are set by OpenTelemetry's own variables, OTEL_…. A span says which route, which status,
which region and node; never an address of a client, a path, a query, a body, or any header that was sent but traceparent.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, use_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from controlplane import __version__

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[Any]]
_Send: TypeAlias = Callable[[Any], Awaitable[None]]
_App: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

_CONTEXT = frozenset({b"traceparent", b"tracestate"})
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_TOLD = {
    b"x-turn-region": "turnfleet.region",
    b"x-turn-node": "turnfleet.node",
    b"x-turn-selection": "turnfleet.selection",
}
"""Headers of answers that spans repeat."""
_END_SECONDS = 5.0
_FAULT = 500


class Tracing:
    """One per process: `around` the application; `close` at the end."""

    def __init__(self) -> None:
        resource = Resource.create({SERVICE_VERSION: __version__})
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "turnfleet"}))
        # Its queue is bounded and its exporter is a thread of its own: a collector that is away costs spans, and no request.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("turnfleet", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def around(self, app: _App) -> _App:
        """A span for each request, below the caller's where it sent a traceparent; and its trace's id in each line of the log."""

        async def traced(scope: _Scope, receive: _Receive, send: _Send) -> None:
            method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
            sent = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _CONTEXT}
            span = self._tracer.start_span(
                method,
                context=self._propagator.extract(sent) if sent else None,
                kind=SpanKind.SERVER,
                attributes={"http.request.method": method, "turnfleet.request_id": scope["state"].get("request_id", "")},
            )

            async def send_and_tell(message: Any) -> None:
                if message["type"] == "http.response.start":
                    _tell(span, scope, method, message)
                await send(message)

            with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
                structlog.contextvars.bind_contextvars(trace_id=format(span.get_span_context().trace_id, "032x"))
                await app(scope, receive, send_and_tell)

        return traced

    async def close(self) -> None:
        """Send what is left, for a few seconds."""
        # A thread that the process does not wait for: the exporter tries again for longer than that.
        ending = threading.Thread(target=self._provider.shutdown, name="tracing-end", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, _END_SECONDS)


def _tell(span: Span, scope: _Scope, method: str, start: Any) -> None:
    """What is known when an answer begins."""
    if not span.is_recording():
        return
    route, status = scope.get("path_template"), start["status"]
    if route:
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    for name, value in start["headers"]:
        if name in _TOLD:
            span.set_attribute(_TOLD[name], value.decode("latin-1"))
    if status >= _FAULT:
        span.set_attribute("error.type", str(status))
        span.set_status(Status(StatusCode.ERROR))
