"""The dead man's switch, where it is told: on every page and in the shipper's log."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from django.db import OperationalError
from django.test import RequestFactory
from pytest_django import DjangoAssertNumQueries

from apps.accounts.models import Organisation
from apps.alerts.health import evaluation_health_of, watched
from apps.alerts.models import AlertEvaluation
from apps.alerts.selectors import health_of
from apps.contracts.identifiers import uuid7
from apps.dashboard.outages import outages
from apps.dashboard.redis_watch import RedisState
from apps.dashboard.selectors import fleet
from apps.publishing.models import ProxyProcess
from apps.publishing.selectors import fleet_status_of
from apps.settlement import watchdogs
from apps.settlement.watchdogs import LOOK_SECONDS, Watchdogs
from tests.alerts.minutes import NOON


@pytest.mark.django_db
def test_every_page_knows_without_a_query_of_its_own_that_rules_are_not_evaluated(
    organisation: Organisation, rf: RequestFactory, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ProxyProcess.objects.create(
        boot_id=uuid7(), name="p", host="h", pid=1, registered_at=NOON, last_seen_at=NOON, state="ready", version=0, detail={}
    )
    assert evaluation_health_of(rf.get("/")).status.value == "never"
    AlertEvaluation.objects.create(organisation=organisation, judged_until=NOON, finished_at=NOON)
    page = rf.get("/")
    fleet_status_of(page)
    with django_assert_num_queries(0):
        assert evaluation_health_of(page).status.value == "stopped"
    assert watched().startswith("alert rules were evaluated last at 2026-03-04 12:00:00 UTC")


@pytest.mark.django_db
@pytest.mark.parametrize(("minutes", "titles"), [(2, []), (5, ["Alert rules are evaluated late"]), (30, ["Alert rules are not evaluated"])])
def test_late_and_stopped_are_two_things(minutes: int, titles: list[str]) -> None:
    found = outages(fleet(), RedisState(watched=False), health_of(NOON, None, "", now=NOON + timedelta(minutes=minutes)))
    assert [outage.title for outage in found] == titles and all(outage.since == NOON for outage in found)


def test_the_shipper_says_what_is_wrong_once_and_that_it_is_over(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    said, asked = ["it is wrong", "it is wrong", "", "it is wrong"], []

    def watchdog() -> str:
        asked.append(1)
        return said.pop(0)

    monkeypatch.setattr(watchdogs, "_watchdogs", {"alerts": watchdog})
    looking = Watchdogs()
    with caplog.at_level(logging.WARNING, logger="bulkhead.shipper"):
        for n in range(3):
            looking.look(n * LOOK_SECONDS)
            looking.look(n * LOOK_SECONDS + 1)
    assert [record.getMessage() for record in caplog.records] == ["it is wrong", "alerts: well again"]
    assert len(asked) == 3 and looking.warnings == {}
    looking.look(3 * LOOK_SECONDS)
    assert looking.warnings == {"alerts": "it is wrong"}


def test_a_watchdog_that_fails_holds_nothing_up_and_a_database_that_is_away_is_the_shippers_to_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaks() -> str:
        raise KeyError("x")

    def away() -> str:
        raise OperationalError("away")

    monkeypatch.setattr(watchdogs, "_watchdogs", {"a": breaks, "b": lambda: "said all the same"})
    looking = Watchdogs()
    looking.look(0)
    assert looking.warnings == {"b": "said all the same"}
    monkeypatch.setattr(watchdogs, "_watchdogs", {"a": away})
    with pytest.raises(OperationalError):
        looking.look(LOOK_SECONDS)
