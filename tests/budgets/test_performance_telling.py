"""Owners of performance budgets are told of a breach and of the recovery, each once, whoever looks and however the figure flaps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import mail

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.budgets import performance_services as services
from apps.budgets.models import PerformanceBudget, PerformanceNotice
from apps.budgets.performance_measure import Evidence, budgets_measure
from apps.budgets.performance_telling import notice_tell, notice_words, untold
from apps.budgets.tasks import performance_tell
from apps.budgets.telling import MOST_TRIES

pytestmark = pytest.mark.django_db
ACTOR = Actor.command("test")
NOW = datetime(2026, 3, 4, 12, 30, 20, tzinfo=UTC)


@pytest.fixture
def budget(settings: Any) -> PerformanceBudget:
    settings.EMAIL_HOST = "localhost"
    organisation = Organisation.objects.create(name="Acme", slug="acme-notices")
    facts = {"name": "m answers fast", "scope": "model", "scope_id": "m", "metric": "ttft_p95", "bound": "1s"}
    return services.performance_budget_set(actor=ACTOR, organisation=organisation, owner_email="ada@example.test", **facts)


class Looks:
    """Looks at a budget, minute by minute, that find what they are told to find."""

    def __init__(self, budget: PerformanceBudget) -> None:
        self.budget = budget
        self.at = NOW
        self.evidence: Evidence = budgets_measure(budget.organisation, [budget], now=NOW)[budget.pk]

    def find(self, *states: str) -> list[str]:
        """The kinds of all notices so far, after these verdicts."""
        for state in states:
            self.at += timedelta(minutes=1)
            found = replace(self.evidence, state=state, why=f"it is {state}", samples=1_234)
            assert services.verdict_record(budget=self.budget, evidence=found, now=self.at)
            assert not services.verdict_record(budget=self.budget, evidence=found, now=self.at), "a second worker comes too late"
        return list(PerformanceNotice.objects.order_by("pk").values_list("kind", flat=True))


def test_a_breach_and_a_recovery_make_one_row_each_however_the_verdict_flaps(budget: PerformanceBudget) -> None:
    looks = Looks(budget)
    assert looks.find("unknown", "ok", "warning", "ok") == []
    assert looks.find("breached", "breached", "warning", "breached", "unknown", "breached") == ["breached"]
    assert looks.find("warning", "unknown", "ok", "warning", "ok") == ["breached", "recovered"]
    assert looks.find("breached") == ["breached", "recovered", "breached"]


def test_each_is_told_once(budget: PerformanceBudget) -> None:
    Looks(budget).find("breached", "ok")
    first, second = untold()
    assert notice_tell(first) and not notice_tell(first)
    performance_tell(second)
    performance_tell(second)
    assert [message.to for message in mail.outbox] == [["ada@example.test"]] * 2
    assert mail.outbox[0].subject == "[Bulkhead] breached: performance budget m answers fast, Time to first token, p95 of model m"
    assert "it is breached." in mail.outbox[0].body and "1,234 requests with a first token" in mail.outbox[0].body
    assert mail.outbox[1].subject.startswith("[Bulkhead] recovered:") and "holds again" in mail.outbox[1].body
    assert untold() == []
    assert PerformanceNotice.objects.get(pk=first).told == "e-mail to ada@example.test"


def test_what_fails_is_tried_again_and_ends_visibly(budget: PerformanceBudget, monkeypatch: pytest.MonkeyPatch) -> None:
    Looks(budget).find("breached")
    (pk,) = untold()

    def refused(*args: Any) -> None:
        raise ConnectionRefusedError

    with monkeypatch.context() as broken:
        broken.setattr("apps.budgets.performance_telling.mail_send", refused)
        assert notice_tell(pk)
    assert PerformanceNotice.objects.get(pk=pk).told == "failed: e-mail (ConnectionRefusedError)"
    assert untold() == [pk] and notice_tell(pk) and len(mail.outbox) == 1 and untold() == []
    PerformanceNotice.objects.filter(pk=pk).update(told_at=None, tries=MOST_TRIES - 1)
    monkeypatch.setattr("apps.budgets.performance_telling.mail_send", refused)
    assert notice_tell(pk) and untold() == []


def test_a_claim_that_nobody_finished_is_free_again(budget: PerformanceBudget) -> None:
    Looks(budget).find("breached")
    (pk,) = untold()
    PerformanceNotice.objects.filter(pk=pk).update(claimed_at=datetime.now(UTC))
    assert untold() == [] and not notice_tell(pk)
    PerformanceNotice.objects.filter(pk=pk).update(claimed_at=datetime.now(UTC) - timedelta(minutes=11))
    assert notice_tell(pk) and len(mail.outbox) == 1


def test_a_deleted_budget_tells_nobody(budget: PerformanceBudget) -> None:
    Looks(budget).find("breached")
    services.performance_budget_delete(actor=ACTOR, budget=budget)
    (pk,) = untold()
    assert notice_tell(pk) and mail.outbox == []
    notice = PerformanceNotice.objects.select_related("verdict__budget__organisation").get(pk=pk)
    assert notice.told.startswith("passed over") and "model m" in notice_words(notice)[0]
