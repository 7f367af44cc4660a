"""Laws of traces: they are sent as OTLP, continue the caller's, and never say who was asked for."""

import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, groupby

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from pipelines.processes import free_port
from serving.http.envelope import Envelope
from serving.http.tracing import STOP_S, Tracing
from serving.keys import KeyFile, Scope
from tests.serving.observed import N_BATCH, exercise, served

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
ALLOWED = {"http.request.method", "http.route", "http.response.status_code"}
STAGES = ["read", "score", "decide", "write"]


class Collector(ThreadingHTTPServer):
    """A receiver of OTLP over HTTP, as a collector is one."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Receive)
        self.bodies, self.paths, self.headers = [], [], []

    @property
    def requests(self):
        return [ExportTraceServiceRequest.FromString(body) for body in self.bodies]

    def spans(self):
        return [
            span for told in self.requests for resource in told.resource_spans
            for scope in resource.scope_spans for span in scope.spans
        ]  # fmt: skip


class Receive(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.server.paths.append(self.path)
        self.server.headers.append(dict(self.headers))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextmanager
def collecting(**environment):
    with Collector() as collector, pytest.MonkeyPatch.context() as patch:
        thread = threading.Thread(target=collector.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{collector.server_port}"
        told = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=mail"}
        for name, value in (told | environment).items():
            patch.setenv(name, value)
        try:
            yield collector
        finally:
            collector.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def traced(small_world, tmp_path_factory):
    """What a collector got of a service after calls of every kind, and what nobody may tell it."""
    world = small_world.copy(tmp_path_factory.mktemp("traces") / "var")
    key = KeyFile(world.data_dir / "keys.json").add("mailer", frozenset(Scope), now=world.now)
    body = {"recipient_key": world.people[5]}
    with collecting(FASTAPI_OTEL_AUTO_CONFIGURE="true") as collector:
        with served(world, traces=True, trace_share=1.0) as http:  # its end sends what waits
            http.headers.update({"x-api-key": key, "user-agent": "agent-of-mine"})
            exercise(http, world)
            http.get(f"/v1/recipients/{world.people[3]}", params={"secret": "in-the-query"})
            http.get(f"/made-up/{world.people[4]}", headers={"tracestate": "v=in-the-state"})
            parent = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "v=in-the-state"}
            http.post("/v1/score", json=body, headers=parent)
            unwanted = {"traceparent": f"00-{TRACE[::-1]}-{PARENT}-00"}
            http.post("/v1/score", json=body, headers=unwanted)
        texts = {
            *world.people[:N_BATCH], *world.items, key, key.split("_")[1], "agent-of-mine",
            "secret", "in-the-query", "in-the-state", "testclient", "127.0.0.1", "nobody-1",
            "send-1", "observed-1", "made-up",
        }  # fmt: skip
        return collector, texts


def named(spans):
    return {span.span_id: span for span in spans}


def test_nothing_that_is_sent_says_who_what_or_with_which_key(traced):
    collector, texts = traced
    spans = collector.spans()
    assert len(spans) > 30
    sent = b"\n".join(collector.bodies)
    assert [text for text in texts if text.encode() in sent] == []
    for span in spans:
        assert {one.key for one in span.attributes} <= ALLOWED
        assert not span.events
        assert not span.links
        assert not span.trace_state


def test_a_span_is_named_by_its_route_and_has_its_times_and_status(traced):
    collector, _ = traced
    servers = [span for span in collector.spans() if span.kind == Span.SPAN_KIND_SERVER]
    names = {span.name for span in servers}
    assert names == {
        "POST /v1/score", "POST /v1/score:batch", "POST /v1/events", "GET other",
        "GET /v1/render/{recipient_key:key}", "GET /v1/recipients/{recipient_key:key}",
    }  # fmt: skip
    for span in servers:
        told = {one.key: one.value for one in span.attributes}
        assert told.keys() == ALLOWED
        route = told["http.route"].string_value
        assert span.name == f"{told['http.request.method'].string_value} {route}"
        assert span.start_time_unix_nano < span.end_time_unix_nano
    statuses = [one.value.int_value for s in servers for one in s.attributes if "status" in one.key]
    assert {200, 400, 404} <= set(statuses)


def test_stages_are_children_of_their_call_within_its_time(traced):
    collector, _ = traced
    spans = named(collector.spans())
    children = {}
    for span in spans.values():
        if span.kind == Span.SPAN_KIND_INTERNAL:
            children.setdefault(span.parent_span_id, []).append(span)
    found = {}
    for parent, mine in children.items():
        whole = spans[parent]
        mine.sort(key=lambda span: span.start_time_unix_nano)
        # A batch reads and scores by turns, then answers and writes by turns.
        turns = (span.name for span in mine)
        pairs = [pair for pair, _ in groupby(zip(turns, turns, strict=True))]
        found.setdefault(whole.name, set()).add(tuple(chain(*pairs)))
        assert {span.trace_id for span in mine} == {whole.trace_id}
        slack = 1_000_000  # two clocks are read one after the other
        assert mine[0].start_time_unix_nano > whole.start_time_unix_nano - slack
        assert mine[-1].end_time_unix_nano < whole.end_time_unix_nano + slack
    assert found == {
        "POST /v1/score": {
            tuple(STAGES),
            tuple(STAGES[2:]),
        },  # the priors neither read nor score
        "POST /v1/score:batch": {tuple(STAGES)},
        "GET /v1/render/{recipient_key:key}": {tuple(STAGES)},
    }


def test_the_callers_trace_goes_on_and_the_callers_no_is_heard(traced):
    collector, _ = traced
    continued = [span for span in collector.spans() if span.trace_id.hex() == TRACE]
    assert sorted(span.name for span in continued) == sorted(["POST /v1/score", *STAGES])
    (whole,) = [span for span in continued if span.kind == Span.SPAN_KIND_SERVER]
    assert whole.parent_span_id.hex() == PARENT
    assert not [span for span in collector.spans() if span.trace_id.hex() == TRACE[::-1]]


def test_it_is_otlp_under_our_name_with_the_headers_of_the_environment(traced):
    collector, _ = traced
    assert set(collector.paths) == {"/v1/traces"}
    assert {headers["x-tenant"] for headers in collector.headers} == {"mail"}
    for told in collector.requests:
        for resource in told.resource_spans:
            names = {one.key: one.value.string_value for one in resource.resource.attributes}
            assert names["service.name"] == "opportune"


async def fails(_request):
    raise ValueError("somebody@example.org")


async def leaves(_request):
    raise ClientDisconnect


def small(share):
    """A few routes, traced."""
    tracing = Tracing(share)
    tracing.start()
    ends = Route("/fails", fails), Route("/leaves", leaves)
    app = Starlette(routes=[*ends, Route("/", lambda _: PlainTextResponse("ok"))])
    tracing.around(app)
    app.add_middleware(Envelope, drain=type("Stays", (), {"is_ending": False}))
    return tracing, TestClient(app)


def test_an_error_is_told_without_its_text():
    with collecting(OTEL_SERVICE_NAME="ours") as collector:
        tracing, http = small(1.0)
        assert http.get("/fails").status_code == 500
        tracing.stop()
        (span,) = collector.spans()
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert b"somebody" not in b"".join(collector.bodies)
        assert b"ours" in b"".join(collector.bodies)


def test_a_caller_who_left_is_no_error_of_ours():
    with collecting() as collector:
        tracing, http = small(1.0)
        with pytest.raises(AssertionError, match="did not receive any response"):
            http.get("/leaves")
        tracing.stop()
        (span,) = collector.spans()
        assert span.status.code == Status.STATUS_CODE_UNSET
        (status,) = [one for one in span.attributes if one.key == "http.response.status_code"]
        assert status.value.int_value == 499


def test_a_share_is_traced():
    with collecting() as collector:
        tracing, http = small(0.3)
        for _ in range(120):
            http.get("/")
        tracing.stop()
        assert 12 < len(collector.spans()) < 65
        tracing, http = small(0.0)
        for _ in range(20):
            http.get("/", headers={"traceparent": "00-somebody-01"})  # none
        tracing.stop()
        assert 12 < len(collector.spans()) < 65


def test_a_collector_that_is_away_holds_nobody_up(caplog):
    with collecting(OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{free_port(0)}"):
        tracing, http = small(1.0)
        assert {http.get("/").status_code for _ in range(20)} == {200}
        began = time.monotonic()
        tracing.stop()
        assert time.monotonic() - began < STOP_S + 1.0
    assert "somebody" not in caplog.text


OFF = """
import sys, tempfile
from pathlib import Path
from serving.http.app import create_app
from serving.settings import ServingSettings

folder = Path(tempfile.mkdtemp())
app = create_app(ServingSettings(data_dir=folder))
# FastAPI brings the interfaces, but neither what makes spans nor what sends them.
made = ("opentelemetry.sdk", "opentelemetry.exporter", "opentelemetry.proto", "google.protobuf")
print([name for name in sys.modules if name.startswith(made)])
print([one.cls.__name__ for one in app.user_middleware])
sys.modules["opentelemetry.sdk"] = None  # as where the extra is not installed
create_app(ServingSettings(data_dir=folder, traces=True))
"""


def test_off_it_is_not_there_and_asked_for_in_vain_it_says_what_to_install():
    done = subprocess.run([sys.executable, "-c", OFF], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["[]", "['Envelope', 'Limits']"]
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert re.search(r"TracingMissingError: .*OPPORTUNE_TRACES=true.*'opportune\[tracing\]'", last)
