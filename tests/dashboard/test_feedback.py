"""Feedback where people look: beside its request, and by route and variant on dashboards."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection

from apps.accounts.models import Organisation
from apps.contracts.feedback import FeedbackRecord
from apps.dashboard.feedback_lines import BAD, GOOD, MIXED, UNSCORED, feedback_lines, score_status
from apps.usage.feedback import feedback_store
from apps.usage.models import UsageRequest
from tests.dashboard.generate import usage_generate


@pytest.mark.parametrize(("score", "status"), [(1.0, GOOD), (0.01, GOOD), (0.0, MIXED), (-0.5, BAD), (None, UNSCORED)])
def test_a_score_in_a_word(score: float | None, status: object) -> None:
    assert score_status(score) is status


@pytest.mark.parametrize(("client_ms", "elsewhere_us"), [(None, None), (2_500, 500_000), (2_000, 0), (1_999, None)])
def test_what_of_a_wait_was_spent_elsewhere(client_ms: int | None, elsewhere_us: int | None) -> None:
    record = UsageRequest(total_us=2_000_000, key_id="k")
    said = {"key_id": "k2", "said_us": 5, "score": None, "reason": None, "outcome": None, "tags": None, "client_ms": client_ms}
    record.feedback_told = [said]
    [line] = feedback_lines(record)
    assert (line.elsewhere_us, line.own, list(line.said.tags)) == (elsewhere_us, False, [])
    assert feedback_lines(UsageRequest(total_us=1)) == []


def test_it_stands_beside_its_request_and_on_dashboards(page: Callable[..., str], organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=20)
    record = UsageRequest.objects.filter(organisation=str(organisation.pk), outcome="ok").first()
    assert record is not None
    address, panel = f"/requests/{record.id}/", "/dashboards/panels/feedback/?from=now-2h"
    assert "title-feedback" not in page(address)
    own = {"organisation": str(organisation.pk), "key_id": record.key_id, "team": record.team, "request": record.id.bytes}
    said = FeedbackRecord(at_us=5, score=-1.0, reason="<b>wrong</b>", outcome="escalated", tags=["<i>"], client_ms=60_000, **own)
    with connection.cursor() as cursor:
        feedback_store(cursor=cursor, records=[said])
    shown = page(address)
    assert "title-feedback" in shown and "&lt;b&gt;wrong&lt;/b&gt;" in shown and "<b>wrong" not in shown and "&lt;i&gt;" in shown
    assert "escalated" in shown and "on the way or in the app" in shown
    shown = page(panel)
    assert record.route in shown and "escalated 1" in shown and "100" in shown
    assert "Feedback from apps" in page("/dashboards/?from=now-2h")
