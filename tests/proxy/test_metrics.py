"""What one process counts and how it stands, as it is told to Prometheus and to the control plane."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

from apps.contracts.exposition import rendered
from apps.contracts.identifiers import uuid7_bytes, uuid_text
from apps.contracts.reports import MAX_QUEUES, gauges_in
from apps.contracts.snapshot import BreakerPolicy
from apps.contracts.usage import Attempt, Tokens, UsageRecord
from apps.proxy.breaker import Breakers
from apps.proxy.fleet.replicas import Fleet
from apps.proxy.gauges import WAIT_LOOKS, Gauges
from apps.proxy.metrics import MOST_ROUTES, Metrics
from apps.proxy.scrape import Scrape
from apps.proxy.state import States
from tests.proxy.fragments import ORG, route

ASK = "application/openmetrics-text"


def record(**more: Any) -> UsageRecord:
    told = {"id": uuid7_bytes(), "route": "chat", "outcome": "ok", "status": 200, "total_us": 30_000, **more}
    return UsageRecord(started_us=0, organisation=ORG, key_id="k", kind="chat", requested_model="chat", stream=True, **told)


def attempt(role: str = "first", outcome: str = "ok") -> Attempt:
    return Attempt(provider="east", endpoint="main", model="m", role=role, outcome=outcome)  # type: ignore[arg-type]


def samples(families: list[Any]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    _, body = rendered(families, ASK)
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in openmetrics(body.decode()) for s in family.samples}


def test_records_add_up() -> None:
    metrics = Metrics()
    last = uuid7_bytes()
    metrics.running = 4
    tokens = Tokens(input=10, output=5, cache_read=4, reasoning=2)
    metrics.count(record(attempts=[attempt()], tokens=tokens, cost_nano=2_000_000_000, first_token_us=20_000))
    metrics.count(record(attempts=[attempt(outcome="error"), attempt("failover"), attempt("hedge", "cancelled")], tokens=tokens))
    metrics.count(record(outcome="error", status=502, error_code="upstream_error", attempts=[attempt(outcome="error")]))
    metrics.count(record(id=last, outcome="refused", status=429, error_code="budget_exceeded", total_us=900))
    found = samples(metrics.families())
    assert metrics.running == 0
    assert found["bulkhead_requests_total", (("outcome", "ok"), ("route", "chat"), ("status", "200"))] == 2
    assert found["bulkhead_errors_total", (("error_type", "upstream_error"), ("route", "chat"))] == 1
    assert found["bulkhead_errors_total", (("error_type", "budget_exceeded"), ("route", "chat"))] == 1
    assert found["bulkhead_attempts_total", ()] == 5
    assert found["bulkhead_further_attempts_total", (("outcome", "ok"), ("role", "failover"))] == 1
    assert found["bulkhead_further_attempts_total", (("outcome", "cancelled"), ("role", "hedge"))] == 1
    assert found["bulkhead_tokens_total", (("direction", "input"),)] == 20
    assert found["bulkhead_tokens_of_total", (("kind", "cache_read"),)] == 8 and found["bulkhead_cost_dollars_total", ()] == 2.0
    assert found["bulkhead_request_duration_seconds_count", ()] == 4 and found["bulkhead_time_to_first_token_seconds_count", ()] == 1
    assert found["bulkhead_request_duration_seconds_bucket", (("le", "0.025"),)] == 1
    _, body = rendered(metrics.families(), ASK)
    assert f'# {{request_id="{uuid_text(last)}"}} 0.0009 '.encode() in body, "the last request stands beside its bucket"
    assert samples(metrics.families()) == found, "telling changes nothing"


def test_more_routes_than_are_told_apart_are_other_and_nothing_is_lost() -> None:
    metrics = Metrics()
    for round_ in range(2):
        for number in range(MOST_ROUTES + 50):
            metrics.count(record(route=f"route-{number if round_ else MOST_ROUTES + 49 - number}"))
        found = {key: value for key, value in samples(metrics.families()).items() if key[0] == "bulkhead_requests_total"}
        assert sum(found.values()) == (MOST_ROUTES + 50) * (round_ + 1) and len(found) == MOST_ROUTES + 1
        other = found["bulkhead_requests_total", (("outcome", "ok"), ("route", "other"), ("status", "200"))]
        assert other == 50 * (round_ + 1), "whom it told apart first it tells apart for good"


class Standing:
    """What ``Scrape`` and ``Gauges`` look at of an engine."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.states = States(lambda: 0.0, Breakers())
        self.fleet = Fleet(lambda: 0.0)
        self.journal = SimpleNamespace(fill=0.125, failed="", records=7)
        self.leases = SimpleNamespace(held=lambda: [("b-1", 5_000_000_000, 4_000_000_000, 1_000_000_000)])
        self.holder = SimpleNamespace(current=SimpleNamespace(version=3), fragments={"routes": {"r-1": route()}})
        self.limits = SimpleNamespace(away=False, proxies=2, view=list)
        self.mirrors = SimpleNamespace(compared={})
        self.recorder = None
        self.loop = SimpleNamespace(time=lambda: 0.0)
        self.offset_us = 0


def test_a_process_tells_how_it_stands() -> None:
    engine: Any = Standing()
    breaker = engine.states.of(f"{ORG}/east/main/m", BreakerPolicy()).breaker
    engine.states.breakers.force(f"{ORG}/east/main/m", "open", 0.0)
    slots = engine.states.bulkheads.of("route r-1", 1, 5)
    assert slots.take() and slots.wait(1, 10.0, 0.0) is not None
    slots.waited(0.3)
    found = samples(Scrape(engine, None, None).families(ready=True))
    target = ("target", f"{ORG}/east/main/m")
    assert breaker.state != "closed" and found["bulkhead_breaker_open", (target,)] == 1
    assert found["bulkhead_breaker_state", (("state", breaker.state), target)] == 1
    assert found["bulkhead_breaker_state", (("state", "closed"), target)] == 0
    assert found["bulkhead_slots_waiting", (("bulkhead", "route r-1"),)] == 1
    assert found["bulkhead_queue_wait_seconds_count", ()] == 1
    assert found["bulkhead_lease_available_dollars", (("budget", "b-1"),)] == 4.0
    assert found["bulkhead_journal_fill_ratio", ()] == 0.125 and found["bulkhead_journal_frames_total", ()] == 7
    assert found["bulkhead_ready", ()] == 1 and found["bulkhead_database_connected", ()] == 0 and found["bulkhead_config_version", ()] == 3
    engine.states.bulkheads.keep(())
    slots.give()  # nobody runs or waits there any more once the waiter has left
    found = samples(Scrape(engine, None, None).families(ready=False))
    assert found["bulkhead_queue_wait_seconds_count", ()] == 1, "what was counted stays counted"


def test_heartbeats_tell_the_deepest_queue_and_the_waits_of_a_minute() -> None:
    engine: Any = Standing()
    gauges = Gauges(engine)
    slots = engine.states.bulkheads.of("route r-1", 1, 5)
    strange = engine.states.bulkheads.of("route gone", 1, 5)
    assert slots.take() and strange.take()
    assert gauges.report().waiting == 0
    waiter = slots.wait(1, 100.0, 0.0)
    gauges.sample()
    assert waiter is not None
    waiter.leave()
    slots.waited(0.2)
    gauges.sample()
    report = gauges_in(gauges.detail())
    assert report is not None and (report.waiting, report.lease_room_nano, report.journal_fill) == (1, 4_000_000_000, 0.125)
    [queue] = report.queues  # the other has no route in the config
    assert (queue.organisation, queue.subject, queue.running, queue.waiting) == (ORG, f"route:{route().name}", 1, 1)
    assert queue.wait_p95_ms is not None and abs(queue.wait_p95_ms - 200) < 5 and report.wait_p95_ms == queue.wait_p95_ms
    for _ in range(WAIT_LOOKS + 10):
        gauges.sample()
    later = gauges.report()
    assert later.waiting == 0 and later.wait_p95_ms is None and later.queues[0].wait_p95_ms is None


def test_many_queues_are_the_longest_ones() -> None:
    engine: Any = Standing()
    for number in range(MAX_QUEUES + 5):
        slots = engine.states.bulkheads.of(f"{ORG}/east/main/m{number:02}", 1, 100)
        slots.take()
        for _ in range(number):
            slots.wait(1, 100.0, 0.0)
    gauges = Gauges(engine)
    gauges.sample()
    report = gauges.report()
    assert [queue.waiting for queue in report.queues] == list(range(MAX_QUEUES + 4, 4, -1))
    assert report.waiting == sum(range(MAX_QUEUES + 5)) and report.queues[0].subject == f"target:east/main/m{MAX_QUEUES + 4}"
