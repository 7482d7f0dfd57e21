"""Settled requests as spans at a real OTLP receiver: names, parents, sampling, a collector that is away, a queue that is full."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status as WireStatus
from opentelemetry.sdk.trace.export import SpanExportResult

from apps.contracts.env import Reader, SettingError
from apps.contracts.identifiers import uuid7_bytes, uuid_text
from apps.contracts.traceparent import TraceContext, attempt_span, request_span
from apps.contracts.usage import Attempt, Tokens, UsageRecord
from apps.settlement.sampling import Sampling
from apps.settlement.tracing import MAX_QUEUE, Traces, headers_read

STARTED_US = 1_763_000_000_000_000
ALL = Sampling(share=1.0)
CALLER = TraceContext(bytes(range(16)), bytes(range(1, 9)), 1)


def record(**more: Any) -> UsageRecord:
    facts: dict[str, Any] = {
        "id": uuid7_bytes(STARTED_US // 1000), "started_us": STARTED_US, "organisation": "o", "key_id": "k", "kind": "chat",
        "route": "chat", "requested_model": "chat", "stream": True, "outcome": "ok", "status": 200, "first_token_us": 250_000,
        "total_us": 900_000,
        "tokens": Tokens(input=10, output=20, cache_read=4), "cost_nano": 77, "proxy": "boot-1", "user": "ada@example.test",
        "metadata": {"note": "words of the app"}, "tags": ["a", "b"],
    }  # fmt: skip
    return UsageRecord(**{**facts, **more})


FAILED = Attempt(
    provider="east", endpoint="main", model="m-1", outcome="error", status=503, error_code="http_503", sent_us=100, ended_us=200_000
)
ANSWERED = Attempt(
    provider="west", endpoint="main", model="m-2", status=200, sent_us=200_100, first_byte_us=240_100, ended_us=900_000, role="failover",
    number=1, tokens=Tokens(input=10, output=20, cache_read=4), cost_nano=77,
)  # fmt: skip


class Collector(ThreadingHTTPServer):
    """An OTLP receiver on loopback. ``refuse``: so many calls are answered with 503 first."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Collect)
        self.refuse = 0
        self.spans: list[WireSpan] = []
        self.headers: list[dict[str, str]] = []
        self.resources: list[dict[str, str]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/v1/traces"


class _Collect(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.refuse:
            self.server.refuse -= 1
            self.send_response(503)
            self.send_header("retry-after", "0")
            self.end_headers()
            return
        told = ExportTraceServiceRequest.FromString(gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        for resource in told.resource_spans:
            self.server.resources.append({pair.key: pair.value.string_value for pair in resource.resource.attributes})
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def until(holds: Any) -> None:
    deadline = time.monotonic() + 60
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert holds()


def values(span: WireSpan) -> dict[str, Any]:
    found = {}
    for pair in span.attributes:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        found[pair.key] = [item.string_value for item in value.values] if kind == "array_value" else value
    return found


def settings(collector: Collector, **more: str) -> Reader:
    return Reader({"BULKHEAD_TRACES_URL": collector.url, "BULKHEAD_TRACES_SHARE_PERCENT": "100", **more})


def test_spans_as_a_collector_gets_them(collector: Collector) -> None:
    traces = Traces.of_settings(settings(collector, BULKHEAD_TRACES_HEADERS="x-tenant=t-1", BULKHEAD_ENVIRONMENT_NAME="here"))
    assert traces is not None
    traces.start()
    traced = record(attempts=[FAILED, ANSWERED], trace=CALLER.packed())
    alone = record(attempts=[ANSWERED])
    traces.offer([traced, alone])
    until(lambda: traces.exported == 2)
    traces.stop()
    assert traces.state() == {"target": collector.url.removesuffix("/v1/traces"), "exported": 2, "dropped": 0, "queued": 0, "failing": ""}
    assert collector.headers[0]["x-tenant"] == "t-1"
    assert collector.resources[0] == {
        "service.name": "bulkhead-proxy", "service.instance.id": "boot-1", "deployment.environment.name": "here",
    }  # fmt: skip
    server, failed, answered, other, _ = collector.spans
    assert server.trace_id == failed.trace_id == answered.trace_id == CALLER.trace_id and server.parent_span_id == CALLER.parent
    assert server.span_id == failed.parent_span_id == answered.parent_span_id == request_span(traced.id)
    assert (failed.span_id, answered.span_id) == (attempt_span(traced.id, 0), attempt_span(traced.id, 1)), "as upstreams were told"
    assert other.trace_id == alone.id and not other.parent_span_id
    assert [span.kind for span in (server, failed, answered)] == [WireSpan.SPAN_KIND_SERVER, *[WireSpan.SPAN_KIND_CLIENT] * 2]
    assert [span.name for span in (server, failed, answered)] == ["chat chat", "chat m-1", "chat m-2"]
    assert (server.start_time_unix_nano, server.end_time_unix_nano) == (STARTED_US * 1000, (STARTED_US + 900_000) * 1000)
    assert [span.status.code for span in (server, failed, answered)] == [
        WireStatus.STATUS_CODE_UNSET, WireStatus.STATUS_CODE_ERROR, WireStatus.STATUS_CODE_UNSET,
    ]  # fmt: skip
    told = values(server)
    assert {name: value for name, value in told.items() if name.startswith("gen_ai.")} == {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "chat", "gen_ai.request.stream": True, "gen_ai.provider.name": "west",
        "gen_ai.response.model": "m-2", "gen_ai.response.time_to_first_chunk": 0.25, "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 20, "gen_ai.usage.cache_read.input_tokens": 4,
    }  # fmt: skip
    assert told["http.response.status_code"] == 200 and told["bulkhead.request.id"] == uuid_text(traced.id)
    assert told["bulkhead.tags"] == ["a", "b"] and told["bulkhead.cost.nano_usd"] == 77 and told["bulkhead.sampled_by"] == "caller"
    assert values(failed)["error.type"] == "http_503" and values(answered)["gen_ai.response.time_to_first_chunk"] == 0.04
    assert values(answered)["bulkhead.attempt.role"] == "failover" and values(failed)["gen_ai.provider.name"] == "east"
    assert "example.test" not in str(collector.spans) and "words of the app" not in str(collector.spans), "nothing of what an app said"


def test_spans_of_records_without_numbers_differ(collector: Collector) -> None:
    traces = Traces(OTLPSpanExporter(endpoint=collector.url), ALL)
    traces.start()
    traces.offer([record(attempts=[FAILED, FAILED, FAILED])])
    traces.stop(60)
    assert len({span.span_id for span in collector.spans}) == 4


def test_a_collector_that_was_away_gets_them_later(collector: Collector) -> None:
    class Impatient:
        """The real exporter, which alone would wait a second and more before it tried again."""

        def __init__(self) -> None:
            self.real = OTLPSpanExporter(endpoint=collector.url, timeout=0.01)

        def export(self, spans: Any) -> SpanExportResult:
            self.real._client._timeout = 0.01 if collector.refuse else 60  # no time for its own second try
            return self.real.export(spans)

        def shutdown(self) -> None:
            self.real.shutdown()

    collector.refuse = 2
    traces = Traces(Impatient(), ALL, pause=0.0)
    traces.start()
    traces.offer([record()])
    until(lambda: traces.exported == 1)
    traces.stop()
    assert traces.dropped == 0 and traces.failing == ""
    # a call given up after 10 ms may have been taken all the same: it is sent again, and is the same span to the collector
    assert len({(span.trace_id, span.span_id) for span in collector.spans}) == 1


class Stuck:
    """A collector that takes nothing, as long as ``hold`` is unset."""

    def __init__(self) -> None:
        self.hold = threading.Event()
        self.entered = threading.Event()

    def export(self, spans: Any) -> SpanExportResult:
        self.entered.set()
        self.hold.wait(60)
        raise ConnectionError("nobody there")

    def shutdown(self) -> None: ...


def test_what_does_not_fit_is_dropped_and_counted_and_nobody_waits() -> None:
    stuck = Stuck()
    traces = Traces(stuck, ALL, per_second=10 * MAX_QUEUE, queue=100, pause=0.0)
    traces.start()
    traces.offer([record()])
    assert stuck.entered.wait(60), "its thread hangs at the collector"
    traces.offer([record()] * 150)
    assert traces.dropped == 50 and traces.state()["queued"] == 100, "and this one did not"
    stuck.hold.set()
    until(lambda: traces.dropped == 151)
    assert "nobody there" in traces.failing
    traces.stop()


def test_no_more_a_second_than_allowed() -> None:
    now = [100.0]
    traces = Traces(Stuck(), ALL, per_second=3, clock=lambda: now[0])
    traces.offer([record()] * 5)
    now[0] += 1
    traces.offer([record()] * 2)
    assert traces.dropped == 2 and traces.state()["queued"] == 5


@pytest.mark.parametrize(
    ("facts", "rule"),
    [
        ({"outcome": "error"}, "errors"),
        ({"outcome": "refused"}, "errors"),
        ({"outcome": "unknown"}, "errors"),
        ({"total_us": 10_000_000}, "slow"),
        ({"trace": CALLER.packed()}, "caller"),
        ({"trace": CALLER.packed()[:-1] + b"\0"}, ""),
        ({"flags": ["fallback-east"]}, "flagged"),
        ({"flags": ["variant:b", "secret:present"]}, ""),
        ({}, ""),
    ],
)
def test_which_requests_are_kept(facts: dict[str, Any], rule: str) -> None:
    assert Sampling(share=0.0).keeps(record(**facts)) == rule


def test_a_share_is_of_traces_and_about_as_large_as_said() -> None:
    sampling = Sampling(share=0.25)
    kept = [sampling.keeps(record(id=bytes(9) + number.to_bytes(7, "big"))) for number in range(0, 1 << 56, 1 << 46)]
    assert kept.count("share") == 256 and len(kept) == 1024
    one = bytes(9) + bytes(7)
    assert {sampling.keeps(record(trace=TraceContext(one, CALLER.parent, 0).packed())) for _ in range(20)} == {"share"}, "all of a trace"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BULKHEAD_TRACES_KEEP", "errors,slwo"),
        ("BULKHEAD_TRACES_SHARE_PERCENT", "101"),
        ("BULKHEAD_TRACES_SHARE_PERCENT", "all"),
        ("BULKHEAD_TRACES_SLOW_MS", "0"),
        ("BULKHEAD_TRACES_URL", "collector:4318"),
        ("BULKHEAD_TRACES_HEADERS", "no-value"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingError, match=name):
        Traces.of_settings(Reader({"BULKHEAD_TRACES_URL": "http://127.0.0.1:9/v1/traces", name: value}))


def test_settings_as_they_are_meant() -> None:
    assert Traces.of_settings(Reader({})) is None
    assert Sampling.read(Reader({"BULKHEAD_TRACES_KEEP": "none", "BULKHEAD_TRACES_SHARE_PERCENT": "0.5"})) == Sampling(
        False, 0, False, False, 0.005
    )
    assert headers_read("a=1, authorization=Bearer x=") == {"a": "1", "authorization": "Bearer x="}
