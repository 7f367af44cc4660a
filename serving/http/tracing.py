"""A share of the requests as spans of OpenTelemetry, their stages as children, sent over OTLP/HTTP.

What a span may hold is written out here: method, the route's pattern, status, times. The usual
ASGI instrumentation records path, query, host, user agent and the caller's address, and as many
headers as its environment asks for; but recipient keys stand in paths, signatures in queries, API
keys in headers. Therefore nothing is recorded and taken out again, it never gets in.

The SDK reads where to send from OTEL_EXPORTER_OTLP_*. One thread of its own sends; what finds no
room or no collector is lost.
"""

import time
from threading import Thread
from typing import Final

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.arrival import ARRIVED
from serving.http.limits import GONE, pattern_of
from serving.stages import Laps

NAME: Final = "opportune"
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
STOP_S: Final = 1.0  # for what waits to be sent at the end
_PROPAGATOR: Final = TraceContextTextMapPropagator()


class Tracing:
    """Makes spans of one process and sends them between `start` and `stop`.

    Args:
        share: Of the requests that come without a trace; a caller's own decision stands.
    """

    def __init__(self, share: float) -> None:
        named = {SERVICE_NAME: NAME} | dict(OTELResourceDetector().detect().attributes)
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(share)),
            resource=Resource.create(named),
            shutdown_on_exit=False,
        )
        self._exporter = OTLPSpanExporter()
        self.tracer = self._provider.get_tracer(NAME)

    def around(self, app: Starlette) -> None:
        """Make a span of each request of an application."""
        app.add_middleware(Traced, tracing=self)

    def start(self) -> None:
        """Begin to send."""
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))

    def stop(self) -> None:
        """Send what waits, for a moment, and end: a collector that is away holds nobody up."""
        ending = Thread(target=self._provider.shutdown, name="opportune-traces", daemon=True)
        ending.start()
        ending.join(STOP_S)

    def stages(self, laps: Laps) -> None:
        """The stages of a scoring call as children of the request's span, where it has one."""
        if not trace.get_current_span().is_recording():
            return
        apart = time.time_ns() - time.perf_counter_ns()
        for stage, began, ended in laps.parts():
            self.tracer.start_span(stage.value, start_time=began + apart).end(ended + apart)


class Traced:
    """Pure ASGI middleware: one span from the arrival of a request to the end of its answer."""

    def __init__(self, app: ASGIApp, *, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass one request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        waited_ns = round((time.monotonic() - scope[ARRIVED]) * 1e9)
        span = self._tracing.tracer.start_span(
            "other",
            context=_PROPAGATOR.extract(_carried(scope)),
            kind=trace.SpanKind.SERVER,
            start_time=time.time_ns() - waited_ns,
        )
        if not span.is_recording():
            await self._app(scope, receive, send)
            return
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            # The text of an error may hold anything, so it is not recorded.
            with trace.use_span(span, record_exception=False, set_status_on_exception=False):
                await self._app(scope, receive, watched)
        except ClientDisconnect:
            status = GONE
            raise
        finally:
            _describe(span, scope, status)
            span.end()


def _carried(scope: Scope) -> dict[str, str]:
    """The caller's trace; not the `tracestate` beside it, which may hold any text."""
    found = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
    return {"traceparent": found.decode("latin-1")}


def _describe(span: trace.Span, scope: Scope, status: int) -> None:
    method = scope["method"] if scope["method"] in METHODS else "_OTHER"
    route = pattern_of(scope)
    span.update_name(f"{method} {route}")
    span.set_attribute("http.request.method", method)
    span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(trace.StatusCode.ERROR)
