"""The thresholds of a budget's day: a rule tells them by routing and by the budget's own ways, or the budget does by itself; never both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from django.core import mail

from apps.accounts.models import Organisation, User
from apps.alerts import budget_days, services
from apps.alerts.channel_models import Delivery, Notification
from apps.alerts.deliveries import deliveries_due, delivery_send
from apps.alerts.escalation import notifications_run
from apps.alerts.evidence import evidence_pairs
from apps.alerts.models import Alert, AlertRule
from apps.alerts.remedies import flips_for
from apps.alerts.subjects import subject_of
from apps.audit.actors import Actor
from apps.budgets.alerting import alerts_raise
from apps.budgets.models import Budget, BudgetAlert, BudgetWindow
from apps.budgets.services import budget_delete, budget_set, budget_webhooks_set
from apps.budgets.telling import alert_tell, untold
from tests.alerts.minutes import NOON, judged, minute, only, postgres_clock
from tests.alerts.telling import COMMAND, on_call, person

pytestmark = pytest.mark.django_db
MARCH = (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
DAY_NANO = 1_000_000
"""What one day of the budgets here may spend."""


class Post:
    """Takes every POST. status: its answer."""

    def __init__(self) -> None:
        self.status = 200
        self.got: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, allow_private: bool) -> httpx.Client:
        assert not allow_private, "a budget's address leads to no private network"
        return httpx.Client(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.got.append((str(request.url), json.loads(request.content)))
        return httpx.Response(self.status)


@pytest.fixture
def post() -> Post:
    return Post()


@pytest.fixture(autouse=True)
def clock(db: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], datetime]]:
    """Django's clock and Postgres': ten seconds past noon, until a test says how many minutes later it is."""
    settings.EMAIL_HOST = "localhost"
    held = [minute(0)]
    with postgres_clock(held[0]) as of_postgres:

        def to(minutes: int) -> datetime:
            held[0] = minute(minutes)
            of_postgres(held[0])
            return held[0]

        monkeypatch.setattr("django.utils.timezone.now", lambda: held[0])
        yield to


@pytest.fixture
def ona(organisation: Organisation) -> User:
    user = person(organisation, "ona")
    on_call(organisation, user)
    only(organisation, "daily-spend")
    return user


def make(organisation: Organisation, name: str = "chat", *, owner: str = "owner@example.test", hooks: bool = True, **more: Any) -> Budget:
    facts = {"scope": "feature", "scope_id": name, "window": "month", "limit_nano": 31 * DAY_NANO, "kind": "soft"}
    budget = budget_set(actor=COMMAND, organisation=organisation, name=name, owner_email=owner, **{**facts, **more})
    if hooks:
        hook, slack = "https://hooks.example.test/x", "https://slack.example.test/s3cret"
        budget_webhooks_set(actor=COMMAND, budget=budget, webhook=hook, slack_webhook=slack)
    BudgetWindow.objects.create(budget=budget, starts_at=MARCH[0], ends_at=MARCH[1], limit_nano=budget.limit_nano, ceiling_nano=1 << 60)
    return budget


def spent(budget: Budget, share: int) -> None:
    """So many percent of a day's money, today."""
    alerts_raise()  # what the day began with
    BudgetWindow.objects.filter(budget=budget).update(spent_nano=share * DAY_NANO // 100)


def told(now: datetime, post: Post) -> list[str]:
    """What workers hand over at one moment: to whom."""
    notifications_run(now)
    done = deliveries_due(now)
    for pk in done:
        delivery_send(pk, now=now, open_client=post)
    return sorted(Delivery.objects.filter(pk__in=done).values_list("name", flat=True))


def history() -> list[tuple[int, str]]:
    return list(BudgetAlert.objects.filter(kind="pace").order_by("share").values_list("share", "told"))


def test_a_rule_tells_on_call_and_the_budgets_own_ways_once_and_its_page_says_so(
    organisation: Organisation, ona: User, post: Post, clock: Callable[[int], datetime]
) -> None:
    budget = make(organisation)
    spent(budget, 125)
    assert alerts_raise() == [] and untold() == [], "the rule tells it"
    assert history() == [(120, "")] and BudgetAlert.objects.get(kind="pace").rule == "daily-spend"
    judged(organisation, 0)
    assert told(clock(1), post) == ["Ona (e-mail)", "Slack of chat", "owner@example.test", "webhook of chat"]
    assert told(clock(2), post) == [] and sorted(to for sent in mail.outbox for to in sent.to) == ["ona@example.test", "owner@example.test"]
    documents = dict(post.got)
    document = documents["https://hooks.example.test/x"]
    assert (document["event"], document["kind"], document["percent"], document["critical"]) == ("budget.alert", "pace", 120, False)
    assert (document["value_nano"], document["day_nano"], document["budget"]["id"]) == (1_250_000, DAY_NANO, str(budget.pk))
    assert document["window"]["starts_at"] == MARCH[0].isoformat() and "attachments" in documents["https://slack.example.test/s3cret"]
    [(share, ways)] = history()
    assert share == 120 and sorted(ways.split("; ")) == ["Ona (e-mail)", "Slack of chat", "owner@example.test", "webhook of chat"]
    alert = Alert.objects.get(organisation=organisation)
    pairs = dict(evidence_pairs(alert))
    assert pairs["Spent"] == "$0.001250" and pairs["Also told"].startswith("E-mail, ") and "Budget id" not in pairs

    BudgetWindow.objects.filter(budget=budget).update(spent_nano=155 * DAY_NANO // 100)
    judged(organisation, 3)
    assert len(told(clock(4), post)) == 4, "it is critical now"
    assert [share for share, ways in history() if "Ona (e-mail)" in ways] == [120, 150], "the rule was faster than the watch"
    alert.refresh_from_db()
    services.alert_acknowledge(actor=Actor.of_user(ona), alert=alert)
    told(clock(5), post)
    assert [document["event"] for url, document in post.got if "hooks" in url] == ["budget.alert", "budget.alert", "budget.alert.taken"]
    assert alerts_raise() == [] and untold() == [], "and the budget itself has nothing to tell"


@pytest.mark.parametrize("why", ["the rule is off", "it names others", "there is no rule"])
def test_where_no_rule_looks_at_it_the_budget_tells_it_itself(organisation: Organisation, ona: User, post: Post, why: str) -> None:
    rules = AlertRule.objects.filter(organisation=organisation, name="daily-spend")
    if why == "it names others":
        rules.update(scope={"by": "budget", "values": ["other"]})
    elif why == "the rule is off":
        rules.update(enabled=False)
    else:
        rules.update(deleted_at=NOON)
    budget = make(organisation, hooks=False)
    spent(budget, 125)
    [alert] = alerts_raise()
    assert alert_tell(alert) and [sent.to for sent in mail.outbox] == [["owner@example.test"]]
    assert history() == [(120, "e-mail")]


def test_who_is_told_already_is_not_told_again_and_who_wants_no_alerts_is_not_told(
    organisation: Organisation, ona: User, post: Post, clock: Callable[[int], datetime]
) -> None:
    for name, more in (("hers", {"owner": "Ona@example.test"}), ("quiet", {"alert_shares": ""})):
        spent(make(organisation, name, hooks=False, **more), 130)
    judged(organisation, 0)
    assert told(clock(1), post) == ["Ona (e-mail)", "Ona (e-mail)"], "of two budgets, and no address twice"


def test_owners_read_of_their_own_budgets_only(organisation: Organisation, ona: User, post: Post, clock: Callable[[int], datetime]) -> None:
    for name, owner in (("one", "one@example.test"), ("two", "two@example.test"), ("three", ""), ("four", "")):
        spent(make(organisation, name, owner=owner, hooks=False), 130)
    judged(organisation, 0)
    assert told(clock(1), post) == ["Ona (e-mail)"] * 3 + ["one@example.test", "two@example.test"]
    assert Notification.objects.count() == 3, "those without ways of their own are told together"
    [mine] = [sent.body for sent in mail.outbox if sent.to == ["one@example.test"]]
    assert "budget one" in mine and "two" not in mine


def test_a_way_that_fails_is_on_the_page_and_a_heads_up_is_not_somebody_who_comes(
    organisation: Organisation, post: Post, clock: Callable[[int], datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    person(organisation, "boss", "admin")
    only(organisation, "daily-spend")
    budget = make(organisation, owner="")
    spent(budget, 130)
    judged(organisation, 0)
    post.status = 410
    assert told(clock(1), post) == ["Boss (e-mail)", "Slack of chat", "webhook of chat"], "nobody is on call: the leads are told at once"
    [(_, ways)] = history()
    assert sorted(ways.split("; ")) == [
        "Boss (e-mail)",
        "failed: Slack of chat (it answered 410)",
        "failed: webhook of chat (it answered 410)",
    ]
    post.status = 200
    BudgetWindow.objects.filter(budget=budget).update(spent_nano=2 * DAY_NANO)
    monkeypatch.setattr(budget_days, "day_told", lambda **_: 1 / 0)
    judged(organisation, 2)
    told(clock(3), post)
    assert Delivery.objects.filter(name="webhook of chat").order_by("-created_at")[0].state == "sent", "what is on the page is less"
    budget_webhooks_set(actor=COMMAND, budget=budget, webhook="")
    budget_delete(actor=COMMAND, budget=budget)
    row = Delivery.objects.filter(name="webhook of chat", state="failed").get()
    Delivery.objects.filter(pk=row.pk).update(state="waiting")
    assert delivery_send(row.pk, now=clock(4), open_client=post) == "failed"
    row.refresh_from_db()
    assert row.told == "the budget was deleted"


def test_flags_that_help_are_those_of_what_the_budget_walls_in(organisation: Organisation, ona: User) -> None:
    from apps.flags.models import Flag
    from apps.ownership.services import team_ensure

    team = team_ensure(actor=COMMAND, organisation=organisation, slug="payments", name="Payments")
    flag = Flag.objects.create(
        organisation=organisation, name="spare-payments", kind="degrade", subject_kind="team", subject_id="payments", level="cached"
    )
    spent(make(organisation, scope="team", scope_id=str(team.pk)), 130)
    judged(organisation, 0)
    alert = Alert.objects.get(organisation=organisation)
    assert [(flip.name, flip.why) for flip in flips_for(alert, subject_of(alert))] == [(flag.name, "degrades the team")]
