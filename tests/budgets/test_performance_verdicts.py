"""Verdicts on performance: measured as the requests say, continuous, kept only where they change, never ok by silence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from statistics import quantiles
from typing import Any

import msgspec
import pytest

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import Event
from apps.budgets import performance_services as services
from apps.budgets.models import PerformanceBudget, PerformanceVerdict
from apps.budgets.performance_measure import budgets_measure, scope_of, steps_of
from apps.budgets.performance_selectors import performance_lines, performance_verdict, verdicts_between
from apps.contracts.usage import Attempt, Tokens
from apps.routes.models import Route
from apps.usage import batch, rollups
from apps.usage.performance import gap_points, gaps_in
from tests.budgets.performance_usage import many, request, settle

pytestmark = pytest.mark.django_db
ACTOR = Actor.command("test")
NOW = datetime(2026, 3, 4, 12, 30, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def organisation() -> Organisation:
    return Organisation.objects.create(name="Acme", slug="acme")


@pytest.fixture
def route(organisation: Organisation) -> Route:
    return Route.objects.create(organisation=organisation, name="chat")


def make(
    organisation: Organisation, metric: str, bound: str, *, scope: str = "model", scope_id: object = "m", **more: Any
) -> PerformanceBudget:
    facts = {"name": f"{scope} {metric}", "owner_email": "ada@example.test", "window": "hour", **more}
    return services.performance_budget_set(
        actor=ACTOR, organisation=organisation, scope=scope, scope_id=scope_id, metric=metric, bound=bound, **facts
    )


def measured(row: PerformanceBudget, now: datetime = NOW) -> Any:
    return budgets_measure(row.organisation, [row], now=now)[row.pk]


def test_every_figure_is_what_the_requests_say(organisation: Organisation, route: Route) -> None:
    """Two hundred requests on the route: failures, a refusal, a cancellation, a failover from another model; other routes stay out."""
    firsts = [300_000 + n * 7_000 for n in range(180)]
    rows = [request(organisation, NOW - timedelta(seconds=90 + n), first_token_us=first) for n, first in enumerate(firsts)]
    rows += many(organisation, 12, NOW, outcome="error")
    rows += many(organisation, 5, NOW, outcome="refused") + many(organisation, 3, NOW, outcome="cancelled")
    other = Attempt(provider="q", endpoint="default", model="first", outcome="error", tokens=Tokens(input=100), cost_nano=1_000_000)
    rows += many(organisation, 8, NOW, before=other, first_token_us=firsts[0])
    settle(rows + many(organisation, 50, NOW, route="other", model="n", first_token_us=9_000_000))
    ofs = {"scope": "route", "scope_id": route.pk}

    ttft = measured(make(organisation, "ttft_p95", "5s", **ofs))
    answered = sorted([*firsts, *[firsts[0]] * 8])
    assert ttft.samples == 188 and ttft.measured == pytest.approx(answered[round(0.95 * 188) - 1], rel=0.02) and ttft.state == "ok"
    errors = measured(make(organisation, "error_rate", "1%", **ofs))
    assert (errors.samples, errors.measured, errors.state) == (200, 60_000, "breached")
    cost = measured(make(organisation, "cost_per_request", "0.1", **ofs))
    assert cost.samples == 203 and cost.measured == -(-(203 * 2_000_000 + 8 * 1_000_000) // 203)
    per_token = measured(make(organisation, "cost_per_1k_tokens", "0.1", **ofs))
    assert per_token.measured == -(-(203 * 2_000_000 + 8 * 1_000_000) * 1_000 // (203 * 1_000))

    of_first = measured(make(organisation, "error_rate", "50%", scope_id="first", min_samples=20))
    assert (of_first.samples, of_first.measured, of_first.state) == (8, 1_000_000, "unknown"), "its calls, though others answered"
    of_m = measured(make(organisation, "error_rate", "10%", scope_id="m"))
    assert (of_m.samples, of_m.measured) == (203, -(-12_000_000 // 203))
    assert measured(make(organisation, "ttft_p95", "5s", scope_id="m")).measured == ttft.measured
    assert measured(make(organisation, "cost_per_request", "0.1", scope_id="m")).measured == 2_000_000
    week = measured(make(organisation, "cost_per_request", "0.1", scope_id="n", window="week"))
    assert (week.samples, week.measured) == (50, 2_000_000), "longer windows are read from the hours"


def test_gaps_between_tokens_are_those_of_finished_streams(organisation: Organisation, route: Route) -> None:
    gaps = [10_000 + n * 500 for n in range(120)]
    rows = [request(organisation, NOW - timedelta(seconds=30 + n), gap_us=gap) for n, gap in enumerate(gaps)]
    rows += many(organisation, 9, NOW, tokens=1) + many(organisation, 9, NOW, estimated=True, gap_us=9_000_000)
    rows += many(organisation, 9, NOW, outcome="error", gap_us=9_000_000) + many(organisation, 9, NOW, route="other", model="n", gap_us=1)
    settle(rows)
    for scope, scope_id in (("route", route.pk), ("model", "m")):
        found = measured(make(organisation, "inter_token_p95", "60ms", scope=scope, scope_id=scope_id))
        assert found.samples == 120 and found.measured == pytest.approx(quantiles(gaps, n=20)[-1], rel=0.02)
        assert found.state == "breached" and "the mean gap" in found.how
    scope, start = scope_of(organisation), NOW - timedelta(days=3)
    long = gaps_in(scope, "route", ["chat", "nowhere"], start, NOW, now=NOW)  # read from the hours
    assert (long["chat"].count, long["nowhere"].p95) == (120, None)
    assert long["chat"].p95 == pytest.approx(quantiles(gaps, n=20)[-1], rel=0.02)
    points = gap_points(scope, "model", "m", NOW - timedelta(hours=1), NOW, now=NOW)
    assert sum(point.count for point in points) == 120 and points[0].p95 > points[-1].p95, "the widest gaps came first"


def test_sums_that_an_older_shipper_left_are_added_without_gaps(organisation: Organisation) -> None:
    cells: rollups.Cells = {}
    for _ in batch.encoded([request(organisation, NOW - timedelta(seconds=30))], cells):
        pass
    before = msgspec.msgpack.encode([(key, cell[:3]) for key, cell in cells.items()])
    read: rollups.Cells = {}
    rollups.cells_add(read, before)
    rollups.cells_add(read, rollups.cells_encode(cells))
    (cell,) = read.values()
    assert cell[0][0] == 2 and sum(cell[1].values()) == 2 and sum(cell[3].values()) == 1


def test_only_changes_are_kept_and_every_change_is_a_fact(organisation: Organisation) -> None:
    row = make(organisation, "ttft_p95", "1s")
    slow = {"first_token_us": 3_000_000}

    def look(at: datetime) -> list[str]:
        services.performance_evaluate(now=at)
        return list(PerformanceVerdict.objects.filter(budget=row).order_by("at").values_list("state", flat=True))

    assert look(NOW) == ["unknown"]
    settle(many(organisation, 150, NOW + MINUTE))
    assert look(NOW + MINUTE) == ["unknown", "ok"] == look(NOW + 2 * MINUTE)
    settle(many(organisation, 100, NOW + 4 * MINUTE, **slow))
    assert look(NOW + 4 * MINUTE) == ["unknown", "ok", "breached"] == look(NOW + 5 * MINUTE) == look(NOW + 6 * MINUTE)
    row.refresh_from_db()
    assert row.state == "breached" and row.evaluated_at == NOW + 6 * MINUTE and row.evidence["samples"] == 250
    # An hour and more later nobody asks any more: what was is no evidence of what is.
    assert look(NOW + 90 * MINUTE)[-1] == "unknown"
    verdicts = list(PerformanceVerdict.objects.filter(budget=row).order_by("at"))
    assert [one.until for one in verdicts] == [NOW + MINUTE, NOW + 4 * MINUTE, NOW + 90 * MINUTE, None]
    assert verdicts[2].evidence["measured_text"].endswith("s") and "above the bound of" in verdicts[2].evidence["why"]
    facts = Event.objects.filter(subject_id=str(row.pk)).order_by("at").values_list("kind", "data__owner")
    assert list(facts) == [(f"performance.{state}", "ada@example.test") for state in ("ok", "breached", "unknown")]
    assert [one.pk for one in verdicts_between(organisation, NOW, NOW + 5 * MINUTE)] == [verdicts[2].pk]
    assert verdicts_between(organisation, NOW + 91 * MINUTE, NOW + 99 * MINUTE) == []


def test_a_late_look_and_another_bound_write_nothing(organisation: Organisation) -> None:
    row = make(organisation, "ttft_p95", "1s")
    settle(many(organisation, 150, NOW))
    evidence = measured(row)
    assert services.verdict_record(budget=row, evidence=evidence, now=NOW)
    assert not services.verdict_record(budget=row, evidence=evidence, now=NOW - MINUTE), "a worker that was slow comes too late"
    stale = PerformanceBudget.objects.get(pk=row.pk)
    make(organisation, "ttft_p95", "100ms")
    assert not services.verdict_record(budget=stale, evidence=evidence, now=NOW + MINUTE), "it was measured against another bound"
    services.performance_budget_delete(actor=ACTOR, budget=row)
    assert services.performance_evaluate(now=NOW + 2 * MINUTE) == 0
    assert PerformanceVerdict.objects.get(budget=row).until is not None


def test_each_window_has_its_rhythm(organisation: Organisation) -> None:
    make(organisation, "ttft_p95", "1s")
    make(organisation, "error_rate", "1%", window="week")
    looked = [services.performance_evaluate(now=NOW + n * MINUTE) for n in range(16)]
    assert looked == [2, *[1] * 14, 2]


def test_one_organisation_that_cannot_be_read_holds_up_no_other(organisation: Organisation, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Organisation.objects.create(name="Other", slug="other")
    mine, theirs = make(organisation, "ttft_p95", "1s"), make(other, "ttft_p95", "1s")
    assert services.performance_evaluate(now=NOW) == 2
    whole = services.budgets_measure

    def broken(of: Organisation, *args: Any, **named: Any) -> Any:
        if of.pk == organisation.pk:
            raise RuntimeError("the rollups are being rebuilt")
        return whole(of, *args, **named)

    monkeypatch.setattr(services, "budgets_measure", broken)
    assert services.performance_evaluate(now=NOW + 5 * MINUTE) == 1
    mine.refresh_from_db(), theirs.refresh_from_db()
    assert (mine.evaluated_at, theirs.evaluated_at) == (NOW, NOW + 5 * MINUTE)


def test_silence_is_never_ok(organisation: Organisation) -> None:
    row = make(organisation, "ttft_p95", "1s")
    (line,) = performance_lines(organisation, [row], now=NOW)
    assert line.status.value == "unknown" and "nobody has looked yet" in line.why
    settle(many(organisation, 150, NOW))
    services.performance_evaluate(now=NOW)
    row.refresh_from_db()
    assert performance_lines(organisation, [row], now=NOW + 2 * MINUTE)[0].status.value == "ok"
    (line,) = performance_lines(organisation, [row], now=NOW + 4 * MINUTE)
    assert line.status.value == "unknown" and "nobody has looked since 2026-03-04 12:30 UTC" in line.why


def test_gpu_hours_are_unknown_until_workers_report(organisation: Organisation) -> None:
    settle(many(organisation, 150, NOW))
    row = make(organisation, "gpu_hours", "120")
    found = measured(row)
    assert (found.state, found.measured) == ("unknown", None) and "no GPUs measured" in found.why
    assert steps_of(row, "m", NOW - timedelta(hours=1), NOW, now=NOW) == []


def test_a_route_that_is_gone_is_unknown(organisation: Organisation, route: Route) -> None:
    row = make(organisation, "ttft_p95", "1s", scope="route", scope_id=route.pk)
    settle(many(organisation, 150, NOW))
    assert measured(row).state == "ok"
    route.delete()
    assert measured(row).state == "unknown" and "not there any more" in measured(row).why


def test_simulated_and_other_organisations_traffic_is_not_ours(organisation: Organisation) -> None:
    demo = Organisation.objects.create(name="Demo", slug="demo-perf", simulated=True)
    settle(many(demo, 150, NOW))
    assert measured(make(organisation, "ttft_p95", "1s")).samples == 0
    of_demo = measured(make(demo, "ttft_p95", "1s"))
    assert of_demo.samples == 150 and of_demo.simulated


def test_a_gate_asks_for_the_verdict_of_this_moment(organisation: Organisation, route: Route) -> None:
    nothing = performance_verdict(organisation, route="chat", model="m", now=NOW)
    assert nothing.state == "unknown" and nothing.why == "there is no performance budget for route chat and model m: set one"
    make(organisation, "ttft_p95", "1s", scope="route", scope_id=route.pk)
    make(organisation, "error_rate", "1%", scope="route", scope_id=route.pk)
    make(organisation, "cost_per_request", "0.001")
    settle(many(organisation, 150, NOW))
    passing = performance_verdict(organisation, route="chat", now=NOW)
    assert passing.state == "ok" and {part.subject for part in passing.budgets} == {"chat"}
    both = performance_verdict(organisation, route="chat", model="m", now=NOW).document()
    assert both["verdict"] == "breached" and both["why"] == "breached: model cost_per_request" and len(both["budgets"]) == 3
    evidence = next(one for one in both["budgets"] if one["metric"] == "cost_per_request")
    assert (evidence["measured"], evidence["bound"], evidence["samples"], evidence["needed"]) == (2_000_000, 1_000_000, 150, 100)
    assert evidence["starts_at"] < evidence["ends_at"] <= NOW.isoformat() and evidence["owner"] == "ada@example.test"
    assert not PerformanceVerdict.objects.exists(), "asking writes nothing"
    with pytest.raises(ServiceError, match="has no route 'nowhere'"):
        performance_verdict(organisation, route="nowhere")
    with pytest.raises(ServiceError, match="say which route or model"):
        performance_verdict(organisation)


def test_steps_add_up_to_the_window(organisation: Organisation, route: Route) -> None:
    settle(many(organisation, 200, NOW))
    start = NOW - timedelta(hours=1)
    for scope, scope_id in (("route", route.pk), ("model", "m")):
        for metric, bound in (("ttft_p95", "1s"), ("error_rate", "1%"), ("cost_per_request", "1"), ("inter_token_p95", "1s")):
            row = make(organisation, metric, bound, scope=scope, scope_id=scope_id)
            name = "chat" if scope == "route" else "m"
            assert sum(step.samples for step in steps_of(row, name, start, NOW, now=NOW)) == 200, (scope, metric)


def test_verdicts_long_over_are_forgotten(organisation: Organisation) -> None:
    row = make(organisation, "ttft_p95", "1s")
    old = NOW - timedelta(days=500)
    PerformanceVerdict.objects.create(budget=row, state="ok", at=old, until=old + MINUTE)
    PerformanceVerdict.objects.create(budget=row, state="breached", at=old + MINUTE)
    services.performance_evaluate(now=NOW)
    assert list(PerformanceVerdict.objects.order_by("at").values_list("state", flat=True)) == ["breached", "unknown"]
