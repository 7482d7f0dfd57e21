"""The weekly e-mail: what it says, once for each owner and week, also when a run comes twice or is killed in between."""

from __future__ import annotations

import smtplib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone as clock

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.budgets import weekly_sending
from apps.budgets.alerting import alerts_raise
from apps.budgets.models import Budget, BudgetAlert, WeeklyReport
from apps.budgets.services import budget_set
from apps.budgets.weekly_content import MOST, owners_of, week_before, weekly_build
from apps.budgets.weekly_sending import CLAIM, MOST_TRIES, weekly_prepare, weekly_send, weekly_send_again
from apps.ownership.models import Team
from tests.budgets.test_grants import Proxy, settle
from tests.people import client_of, member
from tests.usage.hours import hour_add

pytestmark = pytest.mark.django_db
ACTOR = Actor.command("test")
MONDAY = datetime(2031, 3, 10, 7, tzinfo=UTC)
"""In the future of every test: rows are made before it. Its last whole week begins on 2031-03-03."""
WEEK = "2031-03-05"


@pytest.fixture(autouse=True)
def _post_office(settings: Any) -> None:
    settings.EMAIL_HOST = "localhost"


@pytest.fixture
def acme() -> Organisation:
    return Organisation.objects.create(name="Acme <b>", slug="acme-weekly")


@pytest.fixture
def owned(acme: Organisation) -> Budget:
    """One owner of a budget and a team, whose spelling differs; another owner of a team."""
    facts: dict[str, Any] = {"name": "wall", "scope": "organisation", "scope_id": acme.pk, "window": "quarter", "limit_nano": 1_000}
    budget = budget_set(actor=ACTOR, organisation=acme, owner_email="Ada@acme.test", **facts)
    Team.objects.create(organisation=acme, name="Search\nteam", slug="search", contact_email="ada@acme.test")
    Team.objects.create(organisation=acme, name="Shop", slug="shop", contact_email="bob@acme.test")
    hour_add(acme, WEEK, team="search", cost_nano=3 * 10**9)
    hour_add(acme, "2031-02-26", team="search", cost_nano=10**9)
    hour_add(acme, "2031-03-09", hour=23, team="shop", cost_nano=2 * 10**9)
    hour_add(acme, "2031-03-10", hour=0, team="shop", cost_nano=9 * 10**9)
    return budget


def sent_to() -> list[str]:
    return sorted(address for message in mail.outbox for address in message.to)


def run(now: datetime = MONDAY) -> None:
    for report in weekly_prepare(now=now):
        weekly_send(report, now=now)


@pytest.mark.parametrize(
    ("now", "starts"),
    [
        (datetime(2031, 3, 9, 23, 59, tzinfo=UTC), "2031-02-24"),
        (datetime(2031, 3, 10, 0, 0, tzinfo=UTC), "2031-03-03"),
        (datetime(2031, 3, 16, 23, 59, tzinfo=UTC), "2031-03-03"),
        (datetime(2027, 1, 1, tzinfo=UTC), "2026-12-21"),
    ],
)
def test_the_last_whole_week(now: datetime, starts: str) -> None:
    assert str(week_before(now)) == starts


def test_one_email_for_each_owner_with_their_own_figures(owned: Budget) -> None:
    run()
    assert sent_to() == ["ada@acme.test", "bob@acme.test"]
    ada, bob = sorted(mail.outbox, key=lambda message: message.to)
    assert "\n" not in ada.subject and ada.subject.startswith("[Bulkhead] Acme <b>: week of 2031-03-03")
    assert "Everything: $5.00 (week before: $1.00)" in ada.body and "Search" in ada.body and "$3.00 (week before: $1.00)" in ada.body
    assert "Team Shop: $2.00 (week before: $0)" in bob.body and "Everything" not in bob.body and "wall" not in bob.body
    [(html, kind)] = ada.alternatives
    assert kind == "text/html" and "Acme &lt;b&gt;" in html and "wall" in html and "<script" not in html
    assert ada.extra_headers["Message-ID"] != bob.extra_headers["Message-ID"]


def test_of_many_the_fullest_are_named_and_the_rest_counted(owned: Budget, acme: Organisation) -> None:
    weekly = weekly_build(acme, owners_of(acme)["ada@acme.test"], starts=week_before(MONDAY), now=MONDAY)
    [line] = weekly.budgets
    lines = [
        replace(line, budget=Budget(pk=owned.pk, name=f"b{spent}."), standing=line.standing._replace(spent=spent))
        for spent in range(MOST + 2)
    ]
    text, html = replace(weekly, budgets=lines, overdue=[f"due-{at}." for at in range(MOST + 3)]).rendered()
    for told in (text, html):
        assert "b2." in told and "b1." not in told and "and 2 less full" in told
        assert "due-19." in told and "due-20." not in told and "and 3 more" in told


def test_breaches_forecast_and_what_is_overdue(acme: Organisation, owned: Budget) -> None:
    settle({Proxy().grant(owned, 1_000)["lease"]: 1_000})
    alerts_raise()
    now = datetime.now(UTC)
    starts = now.date() - timedelta(days=now.weekday())
    BudgetAlert.objects.filter(window__budget=owned).update(
        raised_at=datetime(starts.year, starts.month, starts.day, 12, tzinfo=UTC), told="failed: webhook (ConnectError)"
    )
    weekly = weekly_build(acme, owners_of(acme)["ada@acme.test"], starts=starts, now=now)
    assert [(breach.budget, breach.share) for breach in weekly.breaches if breach.what == "Spent"] == [("wall", 100)]
    assert "Budget wall is used up, and nobody has raised it or given an override." in weekly.overdue
    assert any("could not be told: failed: webhook" in due for due in weekly.overdue)
    text, html = weekly.rendered()
    assert "exhausted" in text and "Spent 100 %" in text and "OVERDUE\n- Budget wall" in text and "breached" in weekly.subject
    assert "<li>Budget wall is used up" in html
    earlier = weekly_build(acme, owners_of(acme)["ada@acme.test"], starts=starts - timedelta(days=7), now=now)
    assert earlier.breaches == []


def test_a_month_that_nobody_compared_is_overdue(acme: Organisation, owned: Budget) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_summary_rebuild()")
    build = {"starts": week_before(MONDAY)}
    late = weekly_build(acme, owners_of(acme)["ada@acme.test"], now=MONDAY, **build)
    assert "Last month of provider openai is not compared with its export." in late.overdue
    early = weekly_build(acme, owners_of(acme)["ada@acme.test"], now=datetime(2031, 3, 3, tzinfo=UTC), **build)
    assert not any("provider" in due for due in early.overdue)


def test_a_task_that_runs_twice_sends_once(owned: Budget) -> None:
    first, second = weekly_prepare(now=MONDAY), weekly_prepare(now=MONDAY)
    assert sorted(first) == sorted(second) and len(first) == 2
    for report in [*first, *second, *first]:
        weekly_send(report, now=MONDAY)
    run(MONDAY + timedelta(days=1))
    assert sent_to() == ["ada@acme.test", "bob@acme.test"]
    run(MONDAY + timedelta(days=7))
    assert len(mail.outbox) == 4


def test_two_workers_at_once_send_once(owned: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of one is the moment at which the other begins."""
    report = weekly_prepare(now=MONDAY)[0]
    build = weekly_sending.weekly_build

    def meanwhile(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(weekly_sending, "weekly_build", build)
        assert not weekly_send(report, now=MONDAY)  # claimed
        assert weekly_send(report, now=MONDAY + CLAIM * 2)  # the claim has gone stale: this one sends
        return build(*args, **kwargs)

    monkeypatch.setattr(weekly_sending, "weekly_build", meanwhile)
    assert not weekly_send(report, now=MONDAY)  # and the slow one finds that out
    assert len(mail.outbox) == 1


class Killed(BaseException):
    """A process that ends here: nothing catches it."""


def killed(*args: Any, **kwargs: Any) -> None:
    raise Killed


@pytest.mark.parametrize("place", ["weekly_build", "get_connection"])
def test_killed_before_the_handover_it_is_sent_by_the_next_run(owned: Budget, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    report = weekly_prepare(now=MONDAY)[0]
    with monkeypatch.context() as broken:
        broken.setattr(weekly_sending, place, killed)
        with pytest.raises(Killed):
            weekly_send(report, now=MONDAY)
    assert not weekly_send(report, now=MONDAY + timedelta(minutes=1)) and not mail.outbox  # still claimed
    run(MONDAY + CLAIM * 2)
    assert sent_to() == ["ada@acme.test", "bob@acme.test"]


@pytest.mark.parametrize("after", [False, True])
def test_killed_inside_the_handover_it_is_never_sent_twice_by_itself(owned: Budget, monkeypatch: pytest.MonkeyPatch, after: bool) -> None:
    report = weekly_prepare(now=MONDAY)[0]
    send = EmailBackend.send_messages

    def dies(self: Any, messages: Any) -> None:
        if after:
            send(self, messages)
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(EmailBackend, "send_messages", dies)
        with pytest.raises(Killed):
            weekly_send(report, now=MONDAY)
    for days in range(4):
        run(MONDAY + timedelta(days=days))
    assert len(mail.outbox) == (2 if after else 1)  # the other owner's, and this one's if the server had it
    row = WeeklyReport.objects.get(pk=report)
    assert (row.sent_at, row.sending_at is not None) == (None, True)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (smtplib.SMTPRecipientsRefused({}), True),
        (smtplib.SMTPDataError(550, b"no"), True),
        (smtplib.SMTPServerDisconnected("gone"), False),
        (TimeoutError(), False),
    ],
)
def test_a_server_that_says_no_is_asked_again_and_one_that_says_nothing_is_not(
    owned: Budget, monkeypatch: pytest.MonkeyPatch, error: Exception, again: bool
) -> None:
    def refuses(self: Any, messages: Any) -> None:
        raise error

    report = weekly_prepare(now=MONDAY)[0]
    with monkeypatch.context() as broken:
        broken.setattr(EmailBackend, "send_messages", refuses)
        assert not weekly_send(report, now=MONDAY)
    assert weekly_send(report, now=MONDAY) is again


def test_a_server_that_is_away_is_tried_so_often_and_then_shown(acme: Organisation, owned: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: Any) -> None:
        raise ConnectionRefusedError

    report = weekly_prepare(now=MONDAY)[0]
    with monkeypatch.context() as broken:
        broken.setattr(EmailBackend, "open", away)
        assert not any(weekly_send(report, now=MONDAY) for _ in range(MOST_TRIES + 2))
    row = WeeklyReport.objects.get(pk=report)
    assert (row.tries, row.told) == (MOST_TRIES, "failed: the mail server: ConnectionRefusedError")
    assert report not in weekly_prepare(now=MONDAY)
    with pytest.raises(PermissionRefused):
        weekly_send_again(actor=Actor.of_user(member(acme, "viewer")), report=row)
    weekly_send_again(actor=ACTOR, report=row, reason="it is back")
    assert AuditEvent.objects.filter(action="weekly.send", subject_id=str(report), reason="it is back").exists()
    run()
    assert sent_to() == ["ada@acme.test", "bob@acme.test"]
    row.refresh_from_db()
    with pytest.raises(ServiceError, match="was sent"):
        weekly_send_again(actor=ACTOR, report=row)


def test_who_gets_none(acme: Organisation, owned: Budget, settings: Any) -> None:
    assert weekly_prepare(now=MONDAY - timedelta(hours=2)) == []  # the night's records still arrive
    assert weekly_prepare(now=MONDAY + timedelta(days=5)) == []
    settings.EMAIL_HOST = ""
    assert weekly_prepare(now=MONDAY) == []
    settings.EMAIL_HOST = "localhost"
    Organisation.objects.filter(pk=acme.pk).update(simulated=True)
    assert not WeeklyReport.objects.filter(organisation=acme, pk__in=weekly_prepare(now=MONDAY)).exists()
    Organisation.objects.filter(pk=acme.pk).update(simulated=False)
    Team.objects.filter(slug="shop").update(created_at=MONDAY)  # an owner since today
    made = WeeklyReport.objects.filter(pk__in=weekly_prepare(now=MONDAY), organisation=acme)
    assert [row.owner for row in made] == ["ada@acme.test"]
    Budget.objects.filter(pk=owned.pk).update(owner_email="")
    Team.objects.filter(slug="search").update(contact_email="")
    assert not weekly_send(made[0].pk, now=MONDAY)
    assert not mail.outbox and WeeklyReport.objects.get(pk=made[0].pk).told == "failed: owns nothing any more"


def test_the_task_hands_out_one_task_each(owned: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    from apps.budgets import tasks

    asked: list[str] = []
    monkeypatch.setattr(weekly_sending, "weekly_prepare", lambda: [UUID(int=1), UUID(int=2)])
    monkeypatch.setattr(tasks.weekly_send, "delay", asked.append)
    tasks.weekly_watch()
    assert asked == [str(UUID(int=1)), str(UUID(int=2))]


def test_pages(acme: Organisation, owned: Budget) -> None:
    client, viewer = client_of(member(acme)), client_of(member(acme, "viewer"))
    with CaptureQueriesContext(connection) as queries:
        shown = viewer.get("/costs/weekly/").content.decode()
    assert len(queries) <= 12 and "ada@acme.test" in shown and "None yet" in shown and "Send again" not in shown
    with CaptureQueriesContext(connection) as queries:
        preview = viewer.get("/costs/weekly/preview/?owner=ada@acme.test").content.decode()
    assert len(queries) <= 12, "\n".join(query["sql"][:120] for query in queries)
    assert "wall" in preview and "Acme &lt;b&gt;, week" in preview and "Acme <b>" not in preview and "BUDGETS NOW" in preview
    assert viewer.get("/costs/weekly/preview/?owner=eve@acme.test").status_code == 404
    starts = week_before(clock.now())
    report = WeeklyReport.objects.create(
        organisation=acme, owner="ada@acme.test", week_starts=starts, tries=1, sending_at=clock.now() - timedelta(days=1)
    )
    sent = "/costs/weekly/preview/?owner=ada@acme.test&sent=1"
    WeeklyReport.objects.filter(pk=report.pk).update(subject="About <i>last</i> week", text="SPEND of then")
    assert "SPEND of then" in viewer.get(sent).content.decode()
    shown = client.get("/costs/weekly/").content.decode()
    assert "&amp;sent=1" in shown
    assert "Delivery unknown" in shown and "they may get it twice" in shown
    assert viewer.post("/costs/weekly/send/", {"owner": report.owner, "reason": "x"}).status_code == 403
    client.post("/costs/weekly/send/", {"owner": report.owner})
    report.refresh_from_db()
    assert report.sending_at is not None
    assert client.post("/costs/weekly/send/", {"owner": report.owner, "reason": "they asked"}).status_code == 302
    report.refresh_from_db()
    assert (report.sending_at, report.told) == (None, "asked for again")
    assert viewer.get(sent).status_code == 404
    assert client.post("/costs/weekly/send/", {"owner": "eve@acme.test", "reason": "x"}).status_code == 404
