"""Ranges and the summaries that cover them: every moment once; totals equal to the requests', whatever the ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.usage.covering import DAY, HOUR, MINUTE, aligned, cover, step_for
from apps.usage.models import UsageRequest
from apps.usage.selectors import traffic_by, traffic_series
from tests.dashboard.generate import usage_generate
from tests.scale import examples

NOW = datetime(2026, 3, 29, 14, 37, 21, 654321, tzinfo=UTC)
moments = st.integers(0, 60 * 86_400).map(lambda seconds: NOW - timedelta(seconds=seconds))


@settings(max_examples=examples(300), deadline=None)
@given(moments, moments)
def test_a_range_is_covered_once_by_few_whole_buckets(one: datetime, two: datetime) -> None:
    start, end = aligned(min(one, two), max(one, two) + timedelta(seconds=1), now=NOW)
    segments = cover(start, end, now=NOW)
    assert segments[0].start == start
    for before, after in pairwise(segments):
        assert before.end == after.start
    assert segments[-1].end == end or (end >= NOW - timedelta(minutes=1) and segments[-1].end >= end)
    for segment in segments:
        assert segment.start.timestamp() % segment.seconds == segment.end.timestamp() % segment.seconds == 0
        if segment.start < NOW - timedelta(days=8, hours=1):
            assert segment.seconds >= HOUR
    buckets = sum((segment.end - segment.start).total_seconds() / segment.seconds for segment in segments if segment.seconds < DAY)
    assert buckets <= 2 * (9 + 5 + 2 + 7)


@settings(max_examples=examples(200), deadline=None)
@given(moments, moments)
def test_a_series_has_no_more_points_than_a_plot_can_show(one: datetime, two: datetime) -> None:
    start, end = aligned(min(one, two), max(one, two) + timedelta(seconds=1), now=NOW)
    bucket, step = step_for(start, end, now=NOW)
    assert step % bucket == 0
    assert (end - start).total_seconds() / step <= 400
    if start < NOW - timedelta(days=9):
        assert bucket >= HOUR


@pytest.mark.django_db
def test_totals_of_any_range_are_the_requests_totals() -> None:
    organisation = Organisation.objects.create(name="Cover", slug="cover-tests", simulated=True)
    now = datetime.now(UTC)
    usage_generate(organisation=organisation, count=900, over=timedelta(hours=50), end=now - timedelta(seconds=3))
    scope = Scope(str(organisation.pk), True)

    @settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.integers(0, 52 * 3600), st.integers(1, 52 * 3600))
    def check(ago: int, length: int) -> None:
        start = now - timedelta(seconds=ago + length)
        end = now if ago < 600 else now - timedelta(seconds=ago)
        series = traffic_series(scope, start, end, now=now)
        rows = UsageRequest.objects.filter(organisation=scope.organisation, started_at__gte=series.start, started_at__lt=series.end)
        expected = (rows.count(), sum(rows.values_list("cost_nano", flat=True)))
        assert series.end - series.start < end - start + timedelta(seconds=2 * MINUTE)
        assert (series.totals.requests, series.totals.cost_nano) == expected
        for groups in traffic_by(scope, start, end, ("route", "provider", "key_id"), now=now).values():
            assert (sum(group.totals.requests for group in groups), sum(group.totals.cost_nano for group in groups)) == expected

    check()


@pytest.mark.django_db
def test_a_late_request_changes_what_was_remembered() -> None:
    organisation = Organisation.objects.create(name="Late", slug="late-tests", simulated=True)
    now = datetime.now(UTC)
    window = (now - timedelta(hours=6), now)
    scope = Scope(str(organisation.pk), True)
    usage_generate(organisation=organisation, count=60, over=timedelta(hours=3))
    before = traffic_series(scope, *window, now=now)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE usage_summary SET requests = requests + 7, ok = ok + 7, h_total = usage_histogram_merge(h_total, '{\"900\": 7}') "
            "WHERE organisation = %s AND seconds = 60 AND dimension = '' AND bucket = (SELECT min(bucket) FROM usage_summary "
            "WHERE organisation = %s AND seconds = 60)",
            [scope.organisation, scope.organisation],
        )
    after = traffic_series(scope, *window, now=now)
    changed = [(a, b) for a, b in zip(before.points, after.points, strict=True) if a != b]
    assert len(changed) == 1
    assert changed[0][1].total.count == changed[0][0].total.count + 7
    assert changed[0][1].total.p99 != changed[0][0].total.p99
