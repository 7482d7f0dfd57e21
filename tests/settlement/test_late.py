"""Days: records on both sides of midnight, records that come after their day is gone, the upkeep that runs between them."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from apps.accounts.scope import Scope
from apps.contracts.usage import UsageRecord, encode_record
from apps.proxy.journal import MIN_SEGMENT_BYTES, Journal
from apps.settlement.models import SettlementReject
from apps.settlement.shipper import Shipper
from apps.usage import services as usage
from apps.usage.detail import traffic_detail
from apps.usage.models import UsageRequest, UsageRollup1h, UsageRollup1m, UsageRollup10s
from apps.usage.selectors import traffic_series
from tests.settlement.records import ORGANISATION, Traffic

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_usage")]

DAY = dt.date(2027, 3, 1)
RETENTION = 30


def micros(day: dt.date, offset_us: int = 0) -> int:
    return (day - dt.date(1970, 1, 1)).days * usage.DAY_US + offset_us


class Late:
    """A journal whose records start whenever a test wants."""

    def __init__(self, root: Path) -> None:
        self.root = root
        boot = Traffic.boot()
        self.traffic = Traffic(boot)
        self.journal = Journal.create(
            root, boot_id=boot, name="p", max_bytes=64 * MIN_SEGMENT_BYTES, segment_bytes=MIN_SEGMENT_BYTES, fsync_ms=1000
        )
        self.shipper = Shipper(root)

    def settle(self, *started_us: int) -> list[UsageRecord]:
        records = [self.traffic.pair(started_us=at)[1] for at in started_us]
        for record in records:
            self.journal.append(encode_record(record))
        while any(self.shipper.round(force=True)):
            pass
        return records

    def close(self) -> None:
        self.shipper.close()
        self.journal.close()


def partitions() -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage_request'::regclass")
        names = [row[0] for row in cursor.fetchall()]
        found = {}
        for name in names:
            cursor.execute(f"SELECT count(*) FROM {name}")
            found[name] = cursor.fetchone()[0]
    return found


def drop_all() -> None:
    with connection.cursor() as cursor:
        for name in partitions():
            cursor.execute(f"DROP TABLE {name}")


@pytest.fixture
def late(tmp_path: Path) -> Late:
    drop_all()
    found = Late(tmp_path)
    yield found  # type: ignore[misc]
    found.close()
    drop_all()
    usage.partitions_maintain(retention_days=RETENTION)


def name(days: int) -> str:
    return usage.partition_name(DAY + dt.timedelta(days=days))


def test_midnight_parts_records_and_their_rollups(late: Late) -> None:
    usage.partitions_maintain(retention_days=RETENTION, today=DAY)
    late.settle(micros(DAY, -1), micros(DAY), micros(DAY, 1))
    assert (partitions()[name(-1)], partitions()[name(0)]) == (1, 2)
    midnight = dt.datetime.combine(DAY, dt.time(), tzinfo=dt.UTC)
    for model, step in ((UsageRollup10s, 10), (UsageRollup1m, 60), (UsageRollup1h, 3600)):
        sums: dict[dt.datetime, int] = {}
        for bucket, requests in model.objects.values_list("bucket", "requests"):
            sums[bucket] = sums.get(bucket, 0) + requests
        assert sums == {midnight - dt.timedelta(seconds=step): 1, midnight: 2}


def test_the_days_upkeep_goes_with_the_day(late: Late) -> None:
    made, _ = usage.partitions_maintain(retention_days=RETENTION, today=DAY, days_ahead=2)
    assert made == [name(days) for days in range(-1, 3)]
    assert usage.partitions_maintain(retention_days=RETENTION, today=DAY, days_ahead=2) == ([], [])
    assert usage.partitions_maintain(retention_days=RETENTION, today=DAY + dt.timedelta(days=1), days_ahead=2) == ([name(3)], [])
    late.settle(micros(DAY))
    after = DAY + dt.timedelta(days=RETENTION)
    assert name(0) not in usage.partitions_maintain(retention_days=RETENTION, today=after)[1]
    assert UsageRequest.objects.count() == 1
    _, dropped = usage.partitions_maintain(retention_days=RETENTION, today=after + dt.timedelta(days=1))
    assert name(0) in dropped
    assert UsageRequest.objects.count() == UsageRollup1m.objects.count() == 0
    assert UsageRollup1h.objects.count() == 1  # bills outlive requests


def test_a_day_that_was_never_prepared_is_made_by_its_first_record(late: Late) -> None:
    late.settle(micros(DAY + dt.timedelta(days=200)))
    assert partitions() == {name(200): 1}


def test_records_later_than_their_partition_are_stored_and_counted_once(late: Late) -> None:
    """A shipper that remembers a day whose partition was dropped meanwhile: nothing is set aside, nothing is lost."""
    early = late.settle(micros(DAY), micros(DAY, 5))
    usage.partitions_maintain(retention_days=1, today=DAY + dt.timedelta(days=40))
    assert UsageRequest.objects.count() == 0
    more = late.settle(micros(DAY, 9), micros(DAY + dt.timedelta(days=40)))
    assert UsageRequest.objects.count() == 2
    assert not SettlementReject.objects.exists()
    assert sum(UsageRollup1h.objects.values_list("cost_nano", flat=True)) == sum(r.cost_nano for r in early + more)
    assert name(0) in usage.partitions_maintain(retention_days=1, today=DAY + dt.timedelta(days=40))[1]
    assert UsageRequest.objects.count() == 1


def test_records_that_come_hours_late_land_in_their_minute_and_correct_what_pages_said(late: Late) -> None:
    """Through the journal and the shipper, after the series was read and remembered: that minute's counts, cost and quantiles change."""
    usage.partitions_maintain(retention_days=RETENTION, today=DAY)
    now = dt.datetime.combine(DAY, dt.time(12, 30), tzinfo=dt.UTC)
    minute = dt.datetime.combine(DAY, dt.time(3, 17), tzinfo=dt.UTC)
    scope, window = Scope(ORGANISATION, True), (minute - dt.timedelta(minutes=20), minute + dt.timedelta(minutes=20))
    early = late.settle(*(micros(DAY, (3 * 60 + 17) * 60_000_000 + n * 1_000_000) for n in range(5)))
    late.settle(micros(DAY, 12 * 3_600_000_000))

    def told() -> tuple[Any, Any]:
        series = traffic_series(scope, *window, dimension="route", value=early[0].route, now=now)
        detail = traffic_detail(scope, *window, now=now)
        assert [point.totals.requests for point in detail.points if point.at == minute] == [detail.totals.requests]
        return series, detail

    before = told()
    more = late.settle(*(micros(DAY, (3 * 60 + 17) * 60_000_000 + 30_000_000 + n) for n in range(9)))
    after = told()
    assert after[1].totals.requests == before[1].totals.requests + 9 == 14
    assert after[1].totals.cost_nano == sum(record.cost_nano for record in early + more)
    assert after[1].total.count == before[1].total.count + 9
    mine = sum(record.route == early[0].route for record in more)
    assert after[0].totals.requests == before[0].totals.requests + mine
    at_minute = [next(point for point in series.points if point.at == minute) for series in (before[0], after[0])]
    assert at_minute[1].total.count == at_minute[0].total.count + mine
    assert [point for point in before[1].points if point.at != minute] == [point for point in after[1].points if point.at != minute]


def test_a_clock_that_jumped_moves_only_its_own_records(late: Late) -> None:
    """Records that say they come from days ahead and from years ago are kept where they say; today is told as if there were none."""
    usage.partitions_maintain(retention_days=RETENTION, today=DAY)
    now = dt.datetime.combine(DAY, dt.time(12), tzinfo=dt.UTC)
    noon = 12 * 3_600_000_000
    late.settle(*(micros(DAY, noon - 60_000_000 + n) for n in range(4)))
    before = traffic_detail(Scope(ORGANISATION, True), now - dt.timedelta(hours=1), now, now=now)
    late.settle(micros(DAY + dt.timedelta(days=3), noon), micros(DAY - dt.timedelta(days=900), noon), micros(DAY + dt.timedelta(days=1), 1))
    after = traffic_detail(Scope(ORGANISATION, True), now - dt.timedelta(hours=1), now, now=now)
    assert (after.totals, after.points) == (before.totals, before.points) and after.totals.requests == 4
    assert not SettlementReject.objects.exists()
    assert sum(UsageRollup1h.objects.values_list("requests", flat=True)) == 7 == UsageRequest.objects.count()
