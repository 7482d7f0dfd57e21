"""Alerts: raised once for each window and threshold, told once by each way, tried again where a way fails."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from django.core import mail

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent, Event
from apps.budgets.alerting import alerts_raise
from apps.budgets.models import Budget, BudgetAlert
from apps.budgets.services import budget_set, budget_webhooks_set
from apps.budgets.tasks import budgets_watch
from apps.budgets.telling import MOST_TRIES, alert_tell, untold
from tests.budgets.test_grants import Proxy, settle

pytestmark = pytest.mark.django_db
ACTOR = Actor.command("test")


@pytest.fixture(autouse=True)
def _post_office(settings: Any) -> None:
    settings.EMAIL_HOST = "localhost"


@pytest.fixture
def organisation() -> Organisation:
    return Organisation.objects.create(name="Acme", slug="acme")


def make(organisation: Organisation, **changes: Any) -> Budget:
    facts: dict[str, Any] = {"name": "wall", "scope": "organisation", "scope_id": organisation.pk, "window": "quarter"}
    facts |= {"limit_nano": 1_000, "owner_email": "owner@acme.test"}
    return budget_set(actor=ACTOR, organisation=organisation, **{**facts, **changes})


def spend(budget: Budget, amount: int, name: str = "") -> None:
    row = Proxy().grant(name or budget, amount)
    settle({row["lease"]: amount})


def actual() -> list[tuple[int, str]]:
    return list(BudgetAlert.objects.filter(kind="actual").order_by("share").values_list("share", "told"))


class Posts:
    """An HTTP client that keeps what is posted. status: of its answers."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.got: list[tuple[str, dict[str, Any]]] = []

    def __call__(self) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.got.append((str(request.url), json.loads(request.content)))
        return httpx.Response(self.status)


def test_each_threshold_is_raised_once_however_many_look_and_the_highest_is_told(organisation: Organisation) -> None:
    budget = make(organisation)
    spend(budget, 850)
    first, second = alerts_raise(), alerts_raise()
    assert (len(first) >= 1, second) == (True, [])
    assert actual() == [(50, "passed over: a higher threshold was reached too"), (80, "")]
    spend(budget, 150)
    alerts_raise()
    assert [share for share, _ in actual()] == [50, 80, 100]
    assert Event.objects.filter(kind="budget.alert").count() >= 2


def test_an_untouched_or_deleted_budget_raises_nothing(organisation: Organisation) -> None:
    make(organisation)
    assert alerts_raise() == []


def test_whoever_wants_no_alerts_gets_none(organisation: Organisation) -> None:
    spend(make(organisation, alert_shares=""), 1_000)
    assert alerts_raise() == []


def test_each_users_own_window_alerts_by_itself(organisation: Organisation) -> None:
    budget = make(organisation, scope="user", scope_id="*")
    spend(budget, 900, f"{budget.pk}/ann")
    spend(budget, 100, f"{budget.pk}/bob")
    alerts_raise()
    told = BudgetAlert.objects.filter(kind="actual").values_list("window__subject", flat=True)
    assert set(told) == {"ann"}


def test_the_owner_is_told_by_every_way_that_the_budget_names(organisation: Organisation) -> None:
    budget = make(organisation)
    budget_webhooks_set(actor=ACTOR, budget=budget, webhook="https://hooks.acme.test/x", slack_webhook="https://hooks.slack.test/s3cret")
    assert "s3cret" not in Budget.objects.get().slack_webhook
    assert "s3cret" not in json.dumps(list(AuditEvent.objects.values_list("after", flat=True)))
    spend(budget, 1_000)
    alerts_raise()
    (alert,) = BudgetAlert.objects.filter(kind="actual", share=100)
    posts = Posts()
    assert alert_tell(alert.pk, open_client=posts)
    (message,) = mail.outbox
    assert message.to == ["owner@acme.test"]
    assert message.subject == "[Bulkhead] critical: budget wall has spent 100 % of its limit or more"
    assert "Runway: 0 minutes" in message.body
    (hook, document), (slack, words) = posts.got
    assert (hook, document["percent"], document["critical"], document["value_nano"]) == ("https://hooks.acme.test/x", 100, True, 1_000)
    assert (slack, list(words)) == ("https://hooks.slack.test/s3cret", ["text"])
    alert.refresh_from_db()
    assert (alert.told, alert.told_at is not None) == ("e-mail; webhook; Slack", True)
    assert not alert_tell(alert.pk, open_client=posts)
    assert (len(mail.outbox), len(posts.got)) == (1, 2)


def test_a_way_that_fails_is_tried_again_and_the_others_are_not(organisation: Organisation) -> None:
    budget = make(organisation)
    budget_webhooks_set(actor=ACTOR, budget=budget, webhook="https://hooks.acme.test/x")
    spend(budget, 1_000)
    alerts_raise()
    (alert,) = BudgetAlert.objects.filter(kind="actual", share=100)
    posts = Posts(status=503)
    assert alert_tell(alert.pk, open_client=posts)
    assert alert.pk in untold()
    posts.status = 200
    assert alert_tell(alert.pk, open_client=posts)
    assert (len(mail.outbox), len(posts.got)) == (1, 2)
    assert alert.pk not in untold()


def test_a_way_that_never_works_is_given_up_visibly(organisation: Organisation) -> None:
    budget = make(organisation, owner_email="")
    budget_webhooks_set(actor=ACTOR, budget=budget, webhook="https://hooks.acme.test/x")
    spend(budget, 1_000)
    alerts_raise()
    (alert,) = BudgetAlert.objects.filter(kind="actual", share=100)
    for _ in range(MOST_TRIES):
        assert alert_tell(alert.pk, open_client=Posts(status=500))
    assert not alert_tell(alert.pk, open_client=Posts())
    alert.refresh_from_db()
    assert alert.told == "failed: webhook (HTTPStatusError)"
    assert alert.told_at is not None


def test_the_outbound_guard_keeps_webhooks_away_from_this_host(organisation: Organisation) -> None:
    budget = make(organisation, owner_email="")
    budget_webhooks_set(actor=ACTOR, budget=budget, webhook="http://127.0.0.1:9/x")
    spend(budget, 1_000)
    alerts_raise()
    (alert,) = BudgetAlert.objects.filter(kind="actual", share=100)
    assert alert_tell(alert.pk)
    alert.refresh_from_db()
    assert alert.told == "failed: webhook (ConnectError)"


@pytest.mark.parametrize("url", ["ftp://x.test/", "https://", "https://me:pw@x.test/", "javascript:alert(1)", "https://x.test/\0", 7])
def test_what_is_no_webhook_is_refused(organisation: Organisation, url: object) -> None:
    with pytest.raises(ServiceError, match="a webhook is an address such as"):
        budget_webhooks_set(actor=ACTOR, budget=make(organisation), webhook=url)  # type: ignore[arg-type]


def test_the_watch_raises_and_hands_out(organisation: Organisation, monkeypatch: pytest.MonkeyPatch) -> None:
    from apps.budgets import tasks

    handed: list[int] = []
    monkeypatch.setattr(tasks.alert_tell, "delay", handed.append)
    spend(make(organisation), 1_000)
    budgets_watch()
    assert handed
    assert set(handed) == set(BudgetAlert.objects.filter(told_at=None).values_list("pk", flat=True))
