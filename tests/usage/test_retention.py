"""Retention: what is in force, who may change it, what a shorter one deletes and what it never touches; and how the disk will fill."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connection

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.usage import services, storage
from apps.usage.retention import LEAST, Retention, retention, retention_default, retention_set
from apps.usage.selectors import rows_of
from apps.usage.storage_rules import Held, forecast, full_in, growth_of
from tests.people import member
from tests.usage.hours import hour_add, summaries_add

TODAY = date(2026, 3, 4)
GIB = 2**30


@pytest.mark.django_db
def test_defaults_hold_until_somebody_sets_them(actor: Actor, organisation: Organisation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BULKHEAD_USAGE_RETENTION_DAYS", raising=False)
    assert retention() == Retention(30, 90, 730)
    monkeypatch.setenv("BULKHEAD_USAGE_RETENTION_DAYS", "45")
    assert retention() == retention_default() == Retention(45, 90, 730)
    assert retention_set(actor=actor, request_days=60, minute_days=90, hour_days=730) == retention() == Retention(60, 90, 730)
    event = AuditEvent.objects.filter(action="retention.change").latest("at")
    assert (event.before, event.after) == ({"request_days": 45}, {"request_days": 60})


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"request_days": 0}, "request_days"),
        ({"minute_days": 7}, "minute_days"),
        ({"hour_days": 399}, "hour_days"),
        ({"hour_days": 3_651}, "hour_days"),
        ({"request_days": 10}, "reason"),
        ({"request_days": 10, "reason": "less disk"}, "confirmation"),
    ],
)
def test_what_makes_no_sense_or_deletes_unasked_is_refused(
    actor: Actor, organisation: Organisation, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], field: str
) -> None:
    monkeypatch.delenv("BULKHEAD_USAGE_RETENTION_DAYS", raising=False)
    with pytest.raises(ServiceError) as refused:
        retention_set(actor=actor, **{"request_days": 30, "minute_days": 90, "hour_days": 730, **given})
    assert refused.value.field == field
    assert retention() == Retention()


@pytest.mark.django_db
def test_only_an_admin_of_the_installation_may(organisation: Organisation) -> None:
    manager = Actor.of_user(member(organisation, "manager"))
    with pytest.raises(PermissionRefused):
        retention_set(actor=manager, request_days=60, minute_days=90, hour_days=730)
    assert retention_set(actor=Actor.of_user(member(organisation)), request_days=60, minute_days=90, hour_days=730).request_days == 60


@pytest.mark.django_db
def test_hours_go_with_their_time_and_days_stay() -> None:
    def totals() -> dict[int, int]:
        return dict(rows_of("SELECT seconds, sum(requests)::bigint FROM usage_summary WHERE dimension = '' GROUP BY 1", []))

    organisation = Organisation.objects.create(name="Old", slug="old-tests")
    for days in (10, 500, 800):
        hour_add(organisation, str(TODAY - timedelta(days=days)), requests=4)
    summaries_add()
    before = totals()
    for _ in range(2):  # again does no harm
        services.partitions_maintain(retention_days=30, minute_days=90, hour_days=730, today=TODAY)
    after = totals()
    assert after[86_400] == before[86_400] and after[3_600] == before[3_600] * 2 // 3 == after[10_800]
    [(left,)] = rows_of("SELECT count(DISTINCT bucket) FROM usage_rollup_1h WHERE organisation = %s", [str(organisation.pk)])
    assert left == 2


@pytest.mark.django_db
def test_sizes_are_kept_once_a_day_and_growth_is_told_from_them() -> None:
    assert set(storage.sizes_now()) <= set(storage.LABELS) and storage.group_of("usage_request") == "requests"
    for day in range(4):
        storage.storage_sample(today=TODAY - timedelta(days=day))
    assert storage.storage_sample(today=TODAY) == storage.storage_sample(today=TODAY)
    [(days, names)] = rows_of("SELECT count(DISTINCT day), count(DISTINCT name) FROM usage_storage", [])
    assert (days, names) == (4, len(storage.sizes_now()))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE usage_storage SET bytes = 1000 * (day - %s::date) + 9000 WHERE name = 'audit'", [TODAY])
    audit = next(group for group in storage.held(kept=Retention(), today=TODAY) if group.name == "audit")
    assert audit.growth == pytest.approx(1_000)
    storage.storage_sample(today=TODAY + timedelta(days=storage.KEPT_SAMPLES + 2))
    assert rows_of("SELECT count(DISTINCT day) FROM usage_storage", []) == [(1,)]


def test_growth_takes_days_and_is_never_negative() -> None:
    assert growth_of([]) is None
    assert growth_of([(TODAY, 5), (TODAY - timedelta(days=1), 4)]) is None
    assert growth_of([(TODAY - timedelta(days=day), 100 - 10 * day) for day in range(5)]) == pytest.approx(10)
    assert growth_of([(TODAY - timedelta(days=day), 100 + 10 * day) for day in range(5)]) == 0
    old = [(TODAY - timedelta(days=day), 10**9 * day) for day in range(100, 110)]
    assert growth_of([*old, *((TODAY - timedelta(days=day), 7) for day in range(3))]) == 0, "what is long past says nothing"


def test_what_is_kept_for_so_long_levels_off_and_what_is_kept_for_good_does_not() -> None:
    requests = Held("requests", 10 * GIB, 1, growth=GIB, kept_days=30, per_day=GIB)
    audit = Held("audit", GIB, 1, growth=GIB / 10)
    assert requests.after(5) == 15 * GIB and requests.after(365) == 30 * GIB
    assert Held("requests", 50 * GIB, 1, growth=GIB, kept_days=30, per_day=GIB).after(365) == 50 * GIB, "it shrinks only by the upkeep"
    assert audit.after(100) == pytest.approx(11 * GIB)
    assert forecast([Held("a", 5, 1)], 30) is None and forecast([Held("a", 5, 1), audit], 0) == GIB + 5
    assert full_in([requests, audit], 5 * GIB) == 5
    assert full_in([requests], 100 * GIB) is None
    assert full_in([Held("a", 5, 1)], 100) is None
    assert LEAST.hour_days >= 400
