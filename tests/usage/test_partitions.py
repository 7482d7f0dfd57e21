"""Day partitions and retention, and the SQL functions of the tables."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.contracts.histogram import merge
from apps.usage import services
from apps.usage.models import UsageRequest, UsageRollup1m, UsageRollup10s
from tests.scale import examples
from tests.settlement.records import Traffic

pytestmark = pytest.mark.django_db

histograms = st.dictionaries(st.integers(-50, 900), st.integers(1, 10**9), max_size=20)


def today() -> dt.date:
    with connection.cursor() as cursor:
        cursor.execute("SELECT (now() AT TIME ZONE 'UTC')::date")
        found: dt.date = cursor.fetchone()[0]
    return found


def partitions() -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'usage_request'::regclass")
        return {row[0] for row in cursor.fetchall()}


def ensure(day: dt.date) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_partition_ensure(%s)", [day])
        return bool(cursor.fetchone()[0])


def settle(days_ago: float) -> None:
    now_us = int(dt.datetime.now(dt.UTC).timestamp() * 1e6)
    record = Traffic(Traffic.boot()).pair(started_us=now_us - int(days_ago * services.DAY_US))[1]
    with connection.cursor() as cursor:
        services.partitions_ensure(cursor=cursor, days=[services.record_day(record)])
        services.usage_settle(cursor=cursor, records=[record])


def test_partitions_are_made_ahead_and_old_ones_dropped() -> None:
    day = today()
    old = day - dt.timedelta(days=40)
    assert ensure(old)
    made, dropped = services.partitions_maintain(days_ahead=3, retention_days=30)
    wanted = {services.partition_name(day + dt.timedelta(days=offset)) for offset in range(-1, 4)}
    assert wanted <= partitions()
    assert services.partition_name(old) in dropped
    assert services.partition_name(old) not in partitions()
    assert services.partitions_maintain(days_ahead=3, retention_days=30) == ([], [])
    assert set(made) <= wanted


def test_the_retention_keeps_its_own_last_day() -> None:
    kept, gone = (today() - dt.timedelta(days=days) for days in (30, 31))
    ensure(kept)
    ensure(gone)
    _, dropped = services.partitions_maintain(retention_days=30)
    assert dropped == [services.partition_name(gone)]


def test_a_retention_of_no_day_is_refused() -> None:
    with pytest.raises(ValueError, match="BULKHEAD_USAGE_RETENTION_DAYS"):
        services.partitions_maintain(retention_days=0)


def test_a_second_maker_changes_nothing() -> None:
    day = today() + dt.timedelta(days=400)
    assert ensure(day)
    assert not ensure(day)


def test_a_partition_holds_exactly_its_utc_day() -> None:
    settle(0)
    settle(1)
    assert UsageRequest.objects.count() == 2
    with connection.cursor() as cursor:
        for offset in (0, 1):
            cursor.execute(f"SELECT count(*) FROM {services.partition_name(today() - dt.timedelta(days=offset))}")
            assert cursor.fetchone()[0] == 1


def test_live_rollups_are_compacted_after_two_days() -> None:
    settle(0)
    settle(3)
    assert services.rollups_compact() == 1
    assert UsageRollup10s.objects.count() == 1
    assert UsageRollup1m.objects.count() == 2
    assert services.rollups_compact() == 0


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histograms, histograms)
def test_histograms_merge_in_sql_as_in_python(left: dict[int, int], right: dict[int, int]) -> None:
    expected = dict(left)
    merge(expected, right)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT usage_histogram_merge(%s::jsonb, %s::jsonb)::text, "
            "(SELECT usage_histogram_sum(h)::text FROM (VALUES (%s::jsonb), (%s::jsonb)) AS v (h))",
            [json.dumps(left), json.dumps(right)] * 2,
        )
        for text in cursor.fetchone():
            assert {int(index): count for index, count in json.loads(text).items()} == expected


def test_an_unknown_request_has_no_record() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT proxy_api.request_record('ffffffff-ffff-4fff-8fff-ffffffffffff', 'k') IS NULL")
        assert cursor.fetchone()[0]
        cursor.execute("SELECT has_function_privilege('bulkhead_proxy', 'proxy_api.request_record(uuid, text)', 'EXECUTE')")
        assert cursor.fetchone()[0]
        cursor.execute("SELECT has_table_privilege('bulkhead_proxy', 'usage_request', 'SELECT')")
        assert not cursor.fetchone()[0]
