"""Traffic of single routes and keys, and of a route's targets, says the same as the requests do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.usage.models import UsageRequest
from apps.usage.recency import first_request, last_requests
from apps.usage.selectors import traffic_by, traffic_of, traffic_series
from apps.usage.targets import traffic_by_target
from tests.dashboard.generate import usage_generate


def test_one_value_and_one_target_sum_up_to_the_requests(db: None) -> None:
    organisation = Organisation.objects.create(name="Sums", slug="sums", simulated=True)
    scope, now = Scope(str(organisation.pk), True), datetime.now(UTC)
    usage_generate(organisation=organisation, count=900, over=timedelta(minutes=40), keys=("key-a", "key-b"))
    window = (now - timedelta(hours=1), now)
    rows = UsageRequest.objects.filter(organisation=scope.organisation, started_at__gte=window[0])
    everything = {group.value: group for group in traffic_by(scope, *window, ("route",), now=now)["route"]}
    some = traffic_of(scope, *window, "route", ["demo-chat", "summaries", "none"], now=now)
    assert {group.value for group in some} == {"demo-chat", "summaries"}
    assert all(group.totals == everything[group.value].totals and group.total == everything[group.value].total for group in some)
    assert traffic_of(scope, *window, "route", []) == []
    assert {g.value: g.totals for g in traffic_of(scope, *window, "key_id", None, latency=False, now=now)}["key-a"].requests == 450

    mine = rows.filter(route="demo-chat")
    series = traffic_series(scope, *window, dimension="route", value="demo-chat", now=now)
    assert series.totals.requests == mine.count() == sum(point.totals.requests for point in series.points)
    assert series.total == everything["demo-chat"].total
    assert traffic_series(scope, *window, dimension="key_id", value="key-b", latency=False, now=now).totals.requests == 450
    for length in (timedelta(hours=1), timedelta(days=2)):
        targets = traffic_by_target(scope, "demo-chat", now - length, now, now=now)
        assert sum(target.totals.requests for target in targets) == mine.count()
        assert sum(target.totals.cost_nano for target in targets) == sum(mine.values_list("cost_nano", flat=True))
        assert {target.provider for target in targets} == {"sim-east", "sim-west", ""}
        assert len({len(target.points) for target in targets}) == 1
    assert traffic_by_target(scope, "nowhere", *window, now=now) == []


def test_last_and_first_use_of_keys(db: None) -> None:
    organisation = Organisation.objects.create(name="Uses", slug="uses", simulated=True)
    scope, now = Scope(str(organisation.pk), True), datetime.now(UTC)
    usage_generate(organisation=organisation, count=40, keys=("key-a", "key-b"))
    rows = UsageRequest.objects.filter(organisation=scope.organisation, key_id="key-a").order_by("started_at")
    first, last = rows.first(), rows.last()
    assert first is not None and last is not None
    since = now - timedelta(days=3)
    assert last_requests(scope, ["key-a", "key-c"], since=since) == {"key-a": last.started_at}
    assert last_requests(Scope(scope.organisation, False), ["key-a"], since=since) == {} == last_requests(scope, [], since=since)
    found = first_request("key-a", since=since)
    assert found is not None and found.id == first.id
    assert first_request("key-a", since=now + timedelta(minutes=1)) is None
