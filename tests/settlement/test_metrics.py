"""What a shipper counts, told once and adding up; its small port; how far behind it is said to be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from apps.contracts.exposition import Family, gauge, rendered
from apps.contracts.identifiers import uuid_text
from apps.contracts.usage import UsageRecord
from apps.settlement.metrics import ShipperMetrics
from apps.settlement.presence import SILENT_SECONDS, lags
from apps.settlement.scrape import ScrapePort
from apps.settlement.services import Settled
from apps.settlement.tally import tally_add
from apps.usage import batch
from apps.usage.rollups import Cells
from tests.settlement.records import ORGANISATION, Traffic

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
MOST = 20
ASK = {"accept": "application/openmetrics-text"}


def settled(*records: UsageRecord) -> Settled:
    cells: Cells = {}
    for _ in batch.encoded(records, cells):
        pass
    found = Settled(records=len(records), stored=records)
    tally_add(found.tally, cells)
    return found


def told(metrics: ShipperMetrics, **more: Any) -> list[Family]:
    return metrics.families(state="running", lag_ms=250, journals=2, opens=1, **more)


def samples(families: list[Family]) -> list[Any]:
    _, body = rendered(families, ASK["accept"])
    return [sample for family in openmetrics(body.decode()) for sample in family.samples]


def total(found: list[Any], name: str, **labels: str) -> float:
    return sum(s.value for s in found if s.name == name and labels.items() <= s.labels.items())


def test_batches_add_up_to_their_records() -> None:
    traffic = Traffic(Traffic.boot(), seed=3)
    records = [traffic.pair()[1] for _ in range(200)]
    for record in records[::10]:
        record.outcome, record.status, record.error_code = "error", 502, "upstream_error"
        record.attempts[0].outcome = "error"
    slower = msgspec.structs.replace(records[7].attempts[0], endpoint="sim-west", role="failover")
    records[7].attempts = [msgspec.structs.replace(records[7].attempts[0], outcome="error", error_code="upstream_timeout"), slower]
    metrics = ShipperMetrics({ORGANISATION: "acme"}.__getitem__)
    for part in (records[:90], records[90:]):
        metrics.count(settled(*part))
    found = samples(told(metrics, traces={"exported": 5, "dropped": 2, "queued": 1}))
    assert total(found, "bulkhead_settled_requests_total", organisation="acme", simulated="true") == 200
    assert total(found, "bulkhead_settled_requests_total", outcome="error") == 20
    assert total(found, "bulkhead_spend_dollars_total") == pytest.approx(sum(record.cost_nano for record in records) / 1e9)
    for kind, name in (("input", "input"), ("output", "output")):
        assert total(found, "gen_ai_client_token_usage_sum", gen_ai_token_type=kind) == sum(getattr(r.tokens, name) for r in records)
    assert total(found, "bulkhead_settled_tokens_of_total", kind="cache_read") == sum(r.tokens.cache_read for r in records)
    assert total(found, "gen_ai_server_request_duration_seconds_count", gen_ai_operation_name="chat") == 200
    assert total(found, "gen_ai_server_request_duration_seconds_sum") == pytest.approx(sum(r.total_us for r in records) / 1e6, rel=0.012)
    assert total(found, "gen_ai_server_time_to_first_token_seconds_count", gen_ai_request_model="sim-large") == 200
    assert 0 < total(found, "gen_ai_server_time_per_output_token_seconds_count") <= 180
    assert total(found, "bulkhead_settled_errors_total", error_type="upstream_error") == 20
    assert total(found, "bulkhead_settled_further_attempts_total", role="failover", outcome="ok", organisation="acme") == 1
    assert total(found, "bulkhead_settled_attempts_total") == 201 and total(found, "bulkhead_settled_attempt_errors_total") == 21
    assert total(found, "bulkhead_settled_attempt_failures_total", error_type="upstream_timeout") == 1
    assert total(found, "bulkhead_shipper_records_total") == 200 and total(found, "bulkhead_shipper_lag_seconds") == 0.25
    assert total(found, "bulkhead_traces_dropped_total") == 2 and total(found, "bulkhead_shipper_running") == 1
    linked = {s.exemplar.labels["request_id"] for s in found if s.exemplar}
    assert linked == {uuid_text(records[89].id), uuid_text(records[-1].id)}


def test_what_is_told_apart_is_bounded_and_says_so() -> None:
    traffic = Traffic(Traffic.boot())
    pattern = traffic.pair()[1]
    records = [msgspec.structs.replace(pattern, route=f"route-{n}", error_code=f"code-{n}", outcome="error") for n in range(MOST + 130)]
    metrics = ShipperMetrics(lambda id: id, most=MOST)
    metrics.count(settled(*records))
    metrics.count(settled(*records[::-1]))
    found = samples(told(metrics))
    series = {tuple(sorted(s.labels.items())) for s in found if s.name == "bulkhead_settled_requests_total"}
    assert len(series) <= MOST + 2
    assert total(found, "bulkhead_settled_requests_total") == 2 * len(records)
    assert total(found, "bulkhead_settled_requests_total", route="route-0") == 2, "told apart from the first batch on"
    assert total(found, "bulkhead_settled_requests_total", route="other") == 2 * 130
    assert total(found, "bulkhead_metrics_folded_values", label="series") >= 130
    assert total(found, "bulkhead_settled_errors_total") == 2 * len(records)
    assert len({s.labels["error_type"] for s in found if s.name == "bulkhead_settled_errors_total"}) <= 101


def test_a_route_that_is_asked_for_both_has_no_operation() -> None:
    pattern = Traffic(Traffic.boot()).pair()[1]
    metrics = ShipperMetrics(lambda id: id)
    metrics.count(settled(pattern))
    metrics.count(settled(msgspec.structs.replace(pattern, kind="embeddings")))
    metrics.count(settled(pattern))
    assert {s.labels["gen_ai_operation_name"] for s in samples(told(metrics)) if s.name == "gen_ai_client_token_usage_sum"} == {""}


def test_requests_that_reached_nobody_count_too() -> None:
    refused = msgspec.structs.replace(
        Traffic(Traffic.boot()).pair()[1], attempts=[], outcome="refused", status=429, error_code="budget_exceeded"
    )
    metrics = ShipperMetrics(lambda id: id)
    metrics.count(settled(refused))
    metrics.count(Settled())
    found = samples(told(metrics))
    assert total(found, "bulkhead_settled_requests_total", outcome="refused", provider="") == 1
    assert total(found, "bulkhead_settled_errors_total", error_type="budget_exceeded") == 1


def test_the_port_serves_and_takes_nothing() -> None:
    port = ScrapePort("127.0.0.1", 0, lambda: [gauge("bulkhead_x", "X.", 1)])
    port.start()
    try:
        with httpx.Client(base_url=port.url, timeout=60) as client:
            assert [family.name for family in plain(client.get("/metrics?x=1").text)] == ["bulkhead_x"]
            answer = client.get("/metrics", headers=ASK)
            assert answer.headers["content-type"].startswith("application/openmetrics-text") and answer.text.endswith("# EOF\n")
            assert client.head("/metrics").content == b"" and client.get("/healthz").json() == {"status": "ok"}
            assert client.get("/../etc/passwd").status_code == 404 and client.post("/metrics").status_code == 501
    finally:
        port.stop()
    with pytest.raises(OSError):
        ScrapePort("192.0.2.1", 0, list)  # not an address of this host


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("journals", "shippers", "behind"),
    [
        ({}, {}, {}),
        ({"a": ago(900)}, {"a": (ago(3), 1500)}, {"a": 1.5}),
        ({}, {"a": (ago(3), 0)}, {"a": 0.0}),
        ({"a": ago(900)}, {"a": (ago(SILENT_SECONDS + 60), 500)}, {"a": SILENT_SECONDS + 60.5}),
        ({}, {"a": (ago(500), 500)}, {}),
        ({"a": ago(40)}, {}, {"a": 40.0}),
        ({"a": ago(40), "b": ago(7)}, {"b": (ago(1), 0)}, {"a": 40.0, "b": 0.0}),
    ],
    ids=["nothing", "heard of", "idle", "silent: grows with time", "silent without a journal", "never was one", "two hosts"],
)
def test_a_shipper_that_is_not_heard_of_is_behind_by_all_that_time(
    journals: dict[str, datetime], shippers: dict[str, tuple[datetime, int]], behind: dict[str, float]
) -> None:
    assert lags(journals, shippers, now=NOW) == behind
