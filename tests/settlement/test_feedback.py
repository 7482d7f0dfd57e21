"""Feedback takes the records' way: through a journal, settled once, and never in their way."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from django.db import connection

from apps.contracts.feedback import FeedbackRecord, encode_feedback
from apps.contracts.usage import encode_record
from apps.settlement.metrics import ShipperMetrics
from apps.settlement.models import SettlementJournal, SettlementReject, SettlementShipper
from apps.settlement.shipper import Shipper
from apps.usage.feedback_selectors import feedback_told
from apps.usage.models import UsageRequest
from apps.usage.requests import request_get
from tests.settlement.records import ORGANISATION
from tests.settlement.test_services import create

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("empty_usage")]


def settle(root: Path) -> Shipper:
    shipper = Shipper(root, metrics=ShipperMetrics(lambda id: id))
    while any(shipper.round(force=True)):
        pass
    shipper.close()
    return shipper


def test_it_is_settled_once_and_what_cannot_be_stored_is_set_aside(tmp_path: Path) -> None:
    journal, traffic = create(tmp_path)
    opened, record = traffic.pair()
    said = FeedbackRecord(
        request=record.id, at_us=record.started_us + 1, organisation=ORGANISATION, key_id=record.key_id, team=record.team, score=1.0
    )
    poison = FeedbackRecord(request=record.id, at_us=1, organisation=ORGANISATION, key_id="k", reason="a\0b")
    running, _ = traffic.pair()
    for payload in (encode_record(opened), encode_feedback(said), encode_feedback(poison), encode_record(record), encode_record(running)):
        journal.append(payload)
    shipper = settle(tmp_path)
    settle(tmp_path)  # another shipper, from the watermark
    row = request_get(UUID(bytes=record.id))
    assert row is not None and [each.score for each in feedback_told(row.feedback_told)] == [1.0]  # type: ignore[attr-defined]
    assert UsageRequest.objects.count() == 1 and SettlementJournal.objects.get().records == 1
    rejected = SettlementReject.objects.get()
    assert bytes(rejected.payload) == encode_feedback(poison)
    assert shipper.metrics is not None and (shipper.metrics.feedback, shipper.metrics.rejected, shipper.metrics.records) == (1, 1, 1)
    assert SettlementShipper.objects.get().records == 0, "the first word comes before the first batch, the next ten seconds later"

    journal.append(
        encode_feedback(FeedbackRecord(request=record.id, at_us=2, organisation=ORGANISATION, key_id=record.key_id, outcome="x"))
    )
    journal.close()
    settle(tmp_path)  # a journal that ends in feedback, with an open that never closes
    assert UsageRequest.objects.filter(outcome="unknown").count() == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT state, score, outcome FROM usage_feedback")
        assert cursor.fetchall() == [("kept", 1.0, "x")]
    assert list(tmp_path.glob("*/*.seg")) == []
