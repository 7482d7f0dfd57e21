"""A team's and a service's requests by calendar month, as SLAs are measured by them, and the page that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.audit.actors import Actor
from apps.contracts.identifiers import uuid7_bytes
from apps.contracts.usage import UsageRecord
from apps.ownership import sla_views
from apps.ownership.attainment import months_back
from apps.ownership.care_services import sla_set
from apps.ownership.services import service_ensure, team_ensure
from apps.usage import services
from apps.usage.promises import months_measured
from tests.people import client_of, member

pytestmark = pytest.mark.django_db
ACTOR = Actor.command("test")
FEBRUARY, MARCH = date(2026, 2, 1), date(2026, 3, 1)


def record(organisation: Organisation, at: datetime, outcome: str = "ok", **facts: Any) -> UsageRecord:
    return UsageRecord(
        id=uuid7_bytes(int(at.timestamp() * 1_000)), started_us=int(at.timestamp() * 1_000_000), organisation=str(organisation.pk),
        key_id="key", kind="chat", route="chat", requested_model="chat", stream=True, outcome=outcome, status=200, total_us=2_000_000,
        **({"team": "payments", "first_token_us": 400_000 if outcome == "ok" else -1} | facts),
    )  # type: ignore[arg-type]  # fmt: skip


def settle(records: Sequence[UsageRecord]) -> None:
    with connection.cursor() as cursor:
        services.partitions_ensure(cursor=cursor, days=sorted({services.record_day(one) for one in records}))
        services.usage_settle(cursor=cursor, records=records)


def test_months_by_utc_and_what_counts(organisation: Organisation) -> None:
    scope, other = Scope(str(organisation.pk), False), Organisation.objects.create(name="Other", slug="other")
    last, first = datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
    settle(
        [
            *(record(organisation, last, service="checkout") for _ in range(3)),
            record(organisation, last, "error"),
            *(record(organisation, first, one) for one in ("ok", "unknown", "refused", "cancelled")),
            record(organisation, first, service="checkout", first_token_us=900_000),
            record(organisation, first, team="search"),
            record(organisation, first, simulated=True),
            record(other, first),
        ]
    )
    asked = {"team": "payments", "now": datetime(2026, 3, 20, tzinfo=UTC)}
    with CaptureQueriesContext(connection) as queries:
        march, february = months_measured(scope, [MARCH, FEBRUARY], **asked)  # type: ignore[arg-type]
    assert len(queries) == 1
    assert (february.ok, february.failed, february.over) == (3, 1, True)
    assert (march.ok, march.failed, march.over) == (2, 1, False), "what was refused or broken off is neither"
    assert february.first_token_us == pytest.approx(400_000, rel=0.02) and march.first_token_us == pytest.approx(900_000, rel=0.02)
    assert march.total_us == pytest.approx(2_000_000, rel=0.02)
    march, february = months_measured(scope, [MARCH, FEBRUARY], service="checkout", **asked)  # type: ignore[arg-type]
    assert (february.ok, february.failed, march.ok, march.failed) == (3, 0, 1, 0)
    (empty,) = months_measured(scope, [date(2025, 12, 1)], **asked)  # type: ignore[arg-type]
    assert (empty.ok, empty.failed, empty.first_token_us, empty.total_us, empty.over) == (0, 0, None, None, True)


def test_the_page_shows_the_promise_and_how_it_was_kept(organisation: Organisation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sla_views, "months_back", lambda today, count: months_back(date(2026, 3, 20), count))
    team = team_ensure(actor=ACTOR, organisation=organisation, slug="payments", name="Payments")
    service = service_ensure(actor=ACTOR, team=team, slug="checkout", name="Checkout")
    sla = sla_set(
        actor=ACTOR,
        team=team,
        availability=99_900,
        ttft_ms=800,
        ttft_warn_ms=600,
        ttft_page_ms=900,
        latency_ms=3_000,
        latency_warn_ms=2_000,
        latency_page_ms=4_000,
    )
    own = sla_set(actor=ACTOR, team=team, service=service, availability=50_000)
    settle([record(organisation, datetime(2026, 3, 4, tzinfo=UTC), one, service="checkout") for one in ("ok", "ok", "error")])
    client = client_of(member(organisation, "viewer"))
    for row, words in ((sla, ("Broken", "66.666 %", "p95 answer", "whole answer within 3000 ms")), (own, ("Kept", "66.666 %", "67 %"))):
        url = f"/ownership/slas/{row.pk}/"
        client.get(url)
        with CaptureQueriesContext(connection) as queries:
            text = client.get(url).content.decode()
        assert all(word in text for word in words) and len(queries) <= 8
        assert text.count("<tr>") == 2, "a head and the latest month: nothing came before"
        panel = client.get(url, headers={"HX-Request": "true"}).content.decode()
        assert "<html" not in panel and panel.count("<tr>") == 2
    settle([record(organisation, datetime(2026, 1, 4, tzinfo=UTC))])
    assert client.get(f"/ownership/slas/{sla.pk}/").content.decode().count("<tr>") == 4, "a month without requests lies between"
    assert f'hx-get="/ownership/slas/{sla.pk}/"' in client.get(f"/ownership/teams/{team.pk}/").content.decode()
    assert f'hx-get="/ownership/slas/{own.pk}/"' in client.get(f"/ownership/services/{service.pk}/").content.decode()
    other = Organisation.objects.create(name="Other", slug="other")
    assert client_of(member(other)).get(f"/ownership/slas/{sla.pk}/").status_code == 404
