"""A day on an accelerated clock with a script of faults (``tests.accept.day``), and the same day without them.

Records are settled as the shipper does, minute by minute; each minute is judged when it is over, by the data's clock, with everything that
runs beside it: the watch of keys and of budgets, and who is told. Each default rule must fire for its fault, when it should, once, and for
nothing else; in the clean day none may. What asks Postgres for the time is answered by a function of the same name, earlier on the path.

One run with two weeks of history before the day, one with so little that what is usual is still being learned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models import F, Min

from apps.accounts.models import Organisation
from apps.accounts.services import organisation_ensure
from apps.alerts.channel_models import Delivery
from apps.alerts.escalation import notifications_run
from apps.alerts.evaluation import SETTLES, evaluate
from apps.alerts.models import Alert, AlertEvaluation
from apps.alerts.sources import baselines
from apps.audit.actors import Actor
from apps.budgets.alerting import alerts_raise
from apps.budgets.models import BudgetWindow
from apps.budgets.services import budget_set
from apps.providers.models import Endpoint, Provider, ProviderCheck
from apps.routes.models import Route, RouteTarget
from apps.usage.anomalies import runaways_keep
from apps.usage.gauges import Sample, gauges_record
from tests.accept.conftest import FULL, MATERIAL
from tests.accept.day import DAY, FAULTS, QUEUE, REGION, Day, Expected, Fault, trace_minutes
from tests.alerts.minutes import postgres_clock
from tests.alerts.telling import on_call, person
from tests.budgets import performance_usage
from tests.conftest import FreshDatabase, _point_django_at

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3_600),
    pytest.mark.skipif(not FULL, reason="weeks of traffic and a day by the minute take minutes: make accept (BULKHEAD_ACCEPT=1)"),
]

TRACE = MATERIAL / "traces" / "azure" / "AzureLLMInferenceTrace_conv.csv"
MINUTES = 24 * 60
settle = transaction.atomic(performance_usage.settle)
LONG_AFTER = 60
"""Minutes after a fault in which what it raised may still fire: windows look back."""


class Clock:
    """The data's clock: Django's and Postgres' time follow it."""

    def __init__(self, of_postgres: Callable[[datetime], None]) -> None:
        self.now = DAY
        self._of_postgres = of_postgres

    def to(self, at: datetime) -> None:
        self.now = at
        self._of_postgres(at)


@pytest.fixture
def clock(
    fresh_database: FreshDatabase, django_db_setup: None, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> Iterator[Clock]:
    """A database of its own, in which each minute is really committed, whose clock stands still until it is moved."""
    settings.EMAIL_HOST = "localhost"
    before = dict(connections["default"].settings_dict)
    with django_db_blocker.unblock():
        _point_django_at(fresh_database.url)
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET synchronous_commit = off")
            with postgres_clock(DAY) as of_postgres:
                held = Clock(of_postgres)
                monkeypatch.setattr("django.utils.timezone.now", lambda: held.now)
                monkeypatch.setattr(baselines, "_found", {})
                yield held
        finally:
            connection.close()
            connections["default"].settings_dict.update(before)


@dataclass
class Stage:
    """One organisation with its providers, routes, budget, somebody on call, and its requests."""

    organisation: Organisation
    day: Day
    usual_nano: int = 0
    budget_id: object = None
    crossed: dict[int, int] = field(default_factory=dict)
    """Percent of the day's money -> minute after which it was spent."""

    def history(self, days: int) -> None:
        """The days before, as the shipper settles them."""
        for day in range(-days, 0):
            for hour in range(24):
                rows = [row for minute in range(60 * hour, 60 * hour + 60) for row in self.day.records(day, minute)]
                self.usual_nano += sum(row.cost_nano for row in rows)
                settle(rows)
        self.usual_nano //= days

    def furnish(self, actor: Actor) -> None:
        """East is asked first and west next, by both routes; a soft budget is a little above what a day usually costs."""
        providers = [Provider.objects.create(organisation=self.organisation, name=name, kind="openai") for name in ("east", "west")]
        for provider in providers:
            endpoint = Endpoint.objects.create(
                provider=provider, position=0, name="main", base_url=f"https://{provider.name}.example.test/v1"
            )
            ProviderCheck.objects.create(endpoint=endpoint, state="up", checked_at=DAY, since=DAY - timedelta(days=1))
        for name in ("chat", "search"):
            route = Route.objects.create(organisation=self.organisation, name=name)
            for place, provider in enumerate(providers):
                RouteTarget.objects.create(route=route, provider=provider, model="m", chain="primary", position=place)
        on_call(self.organisation, person(self.organisation, "ona"), person(self.organisation, "max"))
        budget = budget_set(
            actor=actor, organisation=self.organisation, name="day", scope="organisation", scope_id=self.organisation.pk, window="day",
            limit_nano=int(self.usual_nano * 1.1), kind="soft",
        )  # fmt: skip
        BudgetWindow.objects.create(
            budget=budget, starts_at=DAY, ends_at=DAY + timedelta(days=1), limit_nano=budget.limit_nano, ceiling_nano=1 << 60
        )
        self.budget_id = budget.pk

    def check(self, minute: int, *, faulty: bool) -> None:
        """Every five minutes the providers are checked; east is down while its region is."""
        at = DAY + timedelta(minutes=minute + 1)
        for row in ProviderCheck.objects.select_related("endpoint__provider"):
            state = "down" if faulty and REGION.holds(minute) and row.endpoint.provider.name == "east" else "up"
            row.checked_at, row.since = at, row.since if row.state == state else at
            row.state = state
            row.save()

    def minute(self, minute: int) -> None:
        """One minute's requests are settled."""
        rows = list(self.day.records(0, minute))
        settle(rows)
        windows = BudgetWindow.objects.filter(budget=self.budget_id)
        windows.update(spent_nano=F("spent_nano") + sum(row.cost_nano for row in rows))
        spent, limit = windows.values_list("spent_nano", "limit_nano").get(starts_at=DAY)
        for share in (120, 150):
            if 100 * spent >= share * limit:
                self.crossed.setdefault(share, minute + 1)


def gauges_of(minute: int, organisation: Organisation, *, faulty: bool) -> dict[str, list[Sample]]:
    waiting = 12_000.0 if faulty and QUEUE.holds(minute) else 3.0
    return {
        "queue_depth": [Sample("", "", waiting + 3.0), Sample(str(organisation.pk), "", waiting)],
        "celery_queue_depth": [Sample("", "", waiting), Sample("", "celery", waiting)],
    }


@dataclass(frozen=True)
class Fired:
    """One episode that fired; minutes of the day. told: when the first message about it was decided, None: never."""

    rule: str
    subject: str
    fired: int
    critical: int | None
    over: int | None
    told: int | None
    why_not: str


def minute_of(at: datetime | None) -> int | None:
    return None if at is None else int((at - DAY).total_seconds() // 60)


def all_fired(organisation: Organisation) -> list[Fired]:
    found = []
    for alert in Alert.objects.filter(organisation=organisation, fired_at__isnull=False).select_related("rule").order_by("fired_at", "pk"):
        critical = alert.events.filter(kind__in=["fired", "worsened"], severity="critical").aggregate(at=Min("at"))["at"]
        told = Delivery.objects.filter(notification__members__alert=alert, what="firing", created_at__gte=alert.fired_at)
        why = "" if alert.told else "explained by the provider's" if alert.events.filter(kind="inhibited").exists() else "nobody"
        fired, over = minute_of(alert.fired_at), minute_of(alert.resolved_at)
        assert fired is not None
        first = minute_of(told.aggregate(at=Min("created_at"))["at"]) if alert.told else None
        found.append(Fired(alert.rule.name, alert.subject, fired, minute_of(critical), over, first, why))
    return found


def played(stage: Stage, clock: Clock, *, faulty: bool, until: int = MINUTES) -> None:
    """The day, minute by minute."""
    organisation = stage.organisation
    for minute in range(until):
        end = DAY + timedelta(minutes=minute + 1)
        stage.minute(minute)
        gauges_record(at=end - timedelta(seconds=30), samples=gauges_of(minute, organisation, faulty=faulty))
        clock.to(end + SETTLES)
        if minute % 5 == 4:
            runaways_keep(now=clock.now)
            stage.check(minute, faulty=faulty)
        alerts_raise()
        done = evaluate(clock.now, organisations=[organisation])
        assert (done.minutes, done.failed) == (1, 0)
        clock.to(end + timedelta(seconds=45))
        notifications_run(clock.now)
    assert AlertEvaluation.objects.get(organisation=organisation).error == ""


def said(minutes: int | None, since: int) -> str:
    return "–" if minutes is None else f"{minutes - since} min"


@pytest.mark.parametrize(("history", "faulty"), [(15, True), (15, False), (7, True), (7, False)], ids=lambda value: str(value))
def test_each_default_rule_fires_for_its_fault_and_for_nothing_else(
    clock: Clock, actor: Actor, capsys: pytest.CaptureFixture[str], history: int, faulty: bool
) -> None:
    if not TRACE.is_file():
        pytest.skip(f"LOUD SKIP: it takes the Azure trace at {TRACE}")
    organisation = organisation_ensure(actor=actor, slug="main", name="Main")
    stage = Stage(organisation, Day(trace_minutes(TRACE), str(organisation.pk), faulty=faulty))
    stage.history(history)
    stage.furnish(actor)
    played(stage, clock, faulty=faulty)

    fired = all_fired(organisation)
    if not faulty:
        assert fired == [], "it fired although nothing was wrong"
        assert not Delivery.objects.exists()
        return
    with capsys.disabled():
        print(f"\n{history} days of history; money spent: {stage.crossed}")
        print("| fault | from – to | rule | about | fires after | critical after | somebody is told after | over, after its end |")
        print("|---|---|---|---|---|---|---|---|")
    wrong, left = [], list(fired)
    for fault in FAULTS:
        for expected in fault.expected:
            found = [one for one in left if (one.rule, one.subject) == (expected.rule, expected.subject) and _of(fault, one)]
            left = [one for one in left if one not in found]
            with capsys.disabled():
                for one in found:
                    clocks = f"{fault.begins // 60:02}:{fault.begins % 60:02} – {fault.ends // 60:02}:{fault.ends % 60:02}"
                    told = one.why_not if one.told is None else said(one.told, fault.begins)
                    row = (
                        fault.name, clocks, one.rule, one.subject or "everything", said(one.fired, fault.begins),
                        said(one.critical, fault.begins), told, said(one.over, fault.ends) if one.over else "at midnight",
                    )  # fmt: skip
                    print("| " + " | ".join(row) + " |")
            wrong += complaints(fault, expected, found, stage)
    assert not wrong
    assert not left, "it fired for something else"


def _of(fault: Fault, one: Fired) -> bool:
    return fault.begins < one.fired <= fault.ends + LONG_AFTER


def complaints(fault: Fault, expected: Expected, found: list[Fired], stage: Stage) -> list[str]:
    """What is not as the script says it must be."""
    name = f"{fault.name}: {expected.rule} of {expected.subject or 'everything'}"
    if len(found) != 1:
        return [f"{name}: {len(found)} episodes, one was expected"]
    (one,) = found
    wrong = []
    if one.fired - fault.begins > expected.within:
        wrong.append(f"{name}: fired after {one.fired - fault.begins} minutes, at most {expected.within} were expected")
    if (one.critical is None) != (expected.critical_within is None):
        wrong.append(f"{name}: critical at {one.critical}, expected within {expected.critical_within} minutes")
    elif one.critical is not None and expected.critical_within is not None and one.critical - fault.begins > expected.critical_within:
        wrong.append(f"{name}: critical after {one.critical - fault.begins} minutes, at most {expected.critical_within} were expected")
    if expected.rule == "daily-spend" and (one.fired, one.critical) != (stage.crossed.get(120), stage.crossed.get(150)):
        wrong.append(f"{name}: {one.fired} and {one.critical}, but the money was spent at {stage.crossed}")
    if one.told is None and not one.why_not:
        wrong.append(f"{name}: nobody was told, and nothing says why")
    return wrong
