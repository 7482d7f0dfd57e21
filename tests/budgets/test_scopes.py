"""Budgets for every scope, weeks and quarters, budgets that only count, and overrides: what the SQL functions give for them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import Event
from apps.budgets.models import Budget, BudgetOverride, BudgetWindow
from apps.budgets.selectors import budget_bars, budget_statuses
from apps.budgets.services import budget_set
from apps.budgets.snapshot import budgets as section
from apps.contracts.snapshot import EACH, BudgetFragment
from apps.ownership.models import Service, Team
from apps.providers.models import Provider
from tests.budgets.test_grants import Proxy, settle
from tests.scale import examples

pytestmark = pytest.mark.django_db
ACTOR = Actor.command("test")


@pytest.fixture
def organisation() -> Organisation:
    return Organisation.objects.create(name="Acme", slug="acme")


def make(organisation: Organisation, **changes: Any) -> Budget:
    facts: dict[str, Any] = {"name": "wall", "scope": "organisation", "scope_id": organisation.pk, "window": "day", "limit_nano": 1_000}
    return budget_set(actor=ACTOR, organisation=organisation, **{**facts, **changes})


def fragment(budget: Budget) -> BudgetFragment:
    (found,) = section.build({str(budget.pk)}).values()
    assert isinstance(found, BudgetFragment)
    return found


# --- scopes ----------------------------------------------------------------------------------------------------------


def test_teams_and_services_travel_by_slug_and_come_back_by_it(organisation: Organisation) -> None:
    team = Team.objects.create(organisation=organisation, name="Search", slug="search")
    service = Service.objects.create(team=team, name="Chat", slug="chat")
    by_team = make(organisation, name="a", scope="team", scope_id=team.pk)
    by_service = make(organisation, name="b", scope="service", scope_id=str(service.pk), window="quarter")
    assert (fragment(by_team).scope_id, fragment(by_service).scope_id) == ("search", "search/chat")
    for budget in (by_team, by_service):
        then = fragment(budget)
        section.restore(actor=ACTOR, object_id=str(budget.pk), fragment=None, reason="back")
        assert not Budget.objects.filter(pk=budget.pk, deleted_at=None).exists()
        section.restore(actor=ACTOR, object_id=str(budget.pk), fragment=then, reason="back")
        assert fragment(Budget.objects.get(pk=budget.pk)) == then


@pytest.mark.parametrize(("scope", "name"), [("user", "u-17"), ("user", EACH), ("model", "gpt-4o"), ("feature", "chat"), ("tag", "beta")])
def test_names_that_apps_use_need_no_row(organisation: Organisation, scope: str, name: str) -> None:
    then = fragment(make(organisation, scope=scope, scope_id=f" {name} "))
    assert (then.scope, then.scope_id) == (scope, name)


@pytest.mark.parametrize("scope", ["team", "service", "key", "route", "provider"])
@pytest.mark.parametrize("scope_id", ["", "nobody", "00000000-0000-7000-8000-00000000dead", None])
def test_what_does_not_exist_is_refused(organisation: Organisation, scope: str, scope_id: str | None) -> None:
    with pytest.raises(ServiceError, match=f"has no {scope} .*choose one that it has, or create it first") as refused:
        make(organisation, scope=scope, scope_id=scope_id)
    assert refused.value.field == "scope_id"


@pytest.mark.parametrize(("scope", "name"), [("user", " "), ("user", "x" * 257), ("tag", "a\nb"), ("feature", "x" * 65), ("model", None)])
def test_names_that_no_request_can_have_are_refused(organisation: Organisation, scope: str, name: str | None) -> None:
    with pytest.raises(ServiceError, match=f"name the {scope} as requests name it"):
        make(organisation, scope=scope, scope_id=name)


def test_another_organisations_objects_are_not_ours(organisation: Organisation) -> None:
    other = Organisation.objects.create(name="Other", slug="other")
    team = Team.objects.create(organisation=other, name="Search", slug="search")
    provider = Provider.objects.create(organisation=other, name="p", kind="openai")
    for scope, row in (("team", team), ("provider", provider), ("organisation", other)):
        with pytest.raises(ServiceError):
            make(organisation, scope=scope, scope_id=row.pk)


def test_a_budget_that_overlaps_another_wholly_is_refused(organisation: Organisation) -> None:
    make(organisation)
    with pytest.raises(ServiceError, match="the hard budget 'wall' is for the same organisation and day already: change its limit"):
        make(organisation, name="another")
    make(organisation, name="another", kind="soft")
    make(organisation, name="third", window="week")


# --- windows ---------------------------------------------------------------------------------------------------------

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Africa/Cairo", "America/Havana", "Australia/Lord_Howe", "Asia/Kathmandu"]


def window_at(kind: str, zone: str, at: datetime) -> tuple[datetime, datetime]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT starts_at, ends_at FROM budgets_window_at(%s, %s, %s)", [kind, zone, at])
        return cursor.fetchone()


@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["day", "week", "month", "quarter"]),
    zone=st.sampled_from(ZONES),
    at=st.datetimes(min_value=datetime(2024, 1, 1), max_value=datetime(2027, 12, 31), timezones=st.just(ZoneInfo("UTC"))),
)
def test_windows_hold_their_instant_follow_one_another_and_begin_on_the_calendars_first_day(kind: str, zone: str, at: datetime) -> None:
    starts, ends = window_at(kind, zone, at)
    assert starts <= at < ends
    assert window_at(kind, zone, ends)[0] == ends
    assert window_at(kind, zone, starts - timedelta(microseconds=1))[1] == starts
    first = starts.astimezone(ZoneInfo(zone))
    before = (starts - timedelta(microseconds=1)).astimezone(ZoneInfo(zone))
    assert before.date() < first.date()
    longest = {"day": timedelta(hours=25), "week": timedelta(days=7, hours=1), "month": timedelta(days=31, hours=1)}
    assert ends - starts <= longest.get(kind, timedelta(days=92, hours=1))
    if kind == "week":
        assert first.weekday() == 0
        assert ends - starts >= timedelta(days=6, hours=23)
    if kind in ("month", "quarter"):
        assert first.day == 1
    if kind == "quarter":
        assert first.month in (1, 4, 7, 10)


@pytest.mark.parametrize(
    ("zone", "at", "days", "hours"),
    [
        ("Europe/Berlin", "2026-03-25T12:00:00+00:00", 7, -1),
        ("Europe/Berlin", "2026-10-22T12:00:00+00:00", 7, 1),
        ("America/New_York", "2026-03-05T12:00:00+00:00", 7, -1),
        ("Asia/Kathmandu", "2026-03-25T12:00:00+00:00", 7, 0),
    ],
)
def test_a_week_on_which_clocks_change_is_as_long_as_it_is(zone: str, at: str, days: int, hours: int) -> None:
    starts, ends = window_at("week", zone, datetime.fromisoformat(at))
    assert ends - starts == timedelta(days=days, hours=hours)


def test_a_window_that_there_is_not_is_named(organisation: Organisation) -> None:
    with pytest.raises(ServiceError, match="'year' is not a budget's window: choose one of day, week, month, quarter"):
        make(organisation, window="year")


# --- users by themselves ---------------------------------------------------------------------------------------------


def test_each_user_has_a_window_and_a_wall_of_their_own(organisation: Organisation) -> None:
    budget, proxy = make(organisation, scope="user", scope_id=EACH), Proxy()
    names = [f"{budget.pk}/{user}" for user in ("ann", "bob/☃")]
    rows = proxy.grants([{"budget": name, "need": 900, "want": 900} for name in names])
    assert {row["budget"]: row["granted"] for row in rows} == {names[0]: 900, names[1]: 900}
    assert proxy.grant(names[0], 200)["granted"] == 900, "ann's wall"
    assert sorted(BudgetWindow.objects.values_list("subject", "leased_nano")) == [("ann", 900), ("bob/☃", 900)]
    assert {row["budget"] for row in proxy.sync()} == set(names)
    settle({rows[0]["lease"]: 900})
    (status,) = budget_statuses([budget])
    assert (status.subject, status.spent) == ("ann", 900)
    (bar,) = budget_bars(organisation, now=status.starts_at)
    assert (bar.scope, bar.user, bar.status.value) == ("each user", "ann", "near")


def test_one_batch_opens_many_users_at_once_whatever_else_is_in_it(organisation: Organisation) -> None:
    budget = make(organisation, scope="user", scope_id=EACH)
    wants = [{"budget": f"{budget.pk}/{n}", "need": 1, "want": 5} for n in range(200)]
    wants += [{"budget": f"{budget.pk}/7", "need": 3, "want": 3}, {"budget": "nonsense", "need": 1, "want": 1}]
    wants += [{"budget": f"{budget.pk}x", "need": 1, "want": 1}, {"budget": str(uuid4()), "need": 1, "want": 1}]
    rows = Proxy().grants(wants)
    assert len(rows) == len({row["budget"] for row in rows}) == 200
    assert all(row["granted"] >= 1 for row in rows)


# --- budgets that only count -----------------------------------------------------------------------------------------


def test_a_soft_budget_gives_whatever_is_asked_and_counts_it(organisation: Organisation) -> None:
    budget, proxy = make(organisation, kind="soft"), Proxy()
    row = proxy.grant(budget, 5_000)
    assert (row["granted"], row["limit"]) == (5_000, 1_000)
    settle({row["lease"]: 4_000})
    window = BudgetWindow.objects.get()
    assert (window.spent_nano, window.leased_nano, window.ceiling_nano >= 5_000) == (4_000, 1_000, True)
    settle({row["lease"]: 3_000})
    assert BudgetWindow.objects.get().overrun_nano == 2_000, "spent while nothing was held"
    assert not Event.objects.filter(kind="budget.overrun").exists()
    (status,) = budget_statuses([budget])
    assert status.state == "over"


def test_a_soft_budget_made_hard_keeps_its_spend_and_stops_grants(organisation: Organisation) -> None:
    budget, proxy = make(organisation, kind="soft"), Proxy()
    row = proxy.grant(budget, 1_500)
    settle({row["lease"]: 1_500})
    same = make(organisation, kind="hard")
    assert same.pk == budget.pk
    assert proxy.grant(budget, 1)["granted"] == 1_500
    make(organisation, kind="hard", limit_nano=2_000)
    assert proxy.grant(budget, 500)["granted"] == 2_000
    assert proxy.grant(budget, 1)["granted"] == 2_000


# --- overrides -------------------------------------------------------------------------------------------------------


def in_seconds(budget: Budget, seconds: float, amount: int = 500, since: float = -60) -> BudgetOverride:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (now,) = cursor.fetchone()
    return BudgetOverride.objects.create(
        budget=budget,
        amount_nano=amount,
        starts_at=now + timedelta(seconds=since),
        expires_at=now + timedelta(seconds=seconds),
        reason="launch",
        approver="cfo@acme.test",
    )


def test_an_override_raises_the_limit_until_it_runs_out_with_nobody_ending_it(organisation: Organisation) -> None:
    budget, proxy = make(organisation), Proxy()
    assert proxy.grant(budget, 1_000)["granted"] == 1_000
    override = in_seconds(budget, 3_600)
    row = proxy.grant(budget, 400)
    assert (row["granted"], row["limit"]) == (1_400, 1_500)
    BudgetOverride.objects.filter(pk=override.pk).update(expires_at=override.starts_at + timedelta(seconds=1))
    row = proxy.grant(budget, 1)
    assert (row["granted"], row["limit"]) == (1_400, 1_000)
    window = BudgetWindow.objects.get()
    assert (window.limit_nano, window.ceiling_nano) == (1_000, 1_400)
    proxy.give_back(row, 600)
    assert proxy.grant(budget, 201)["granted"] == 1_400
    assert proxy.grant(budget, 200)["granted"] == 1_600


def test_an_override_of_the_future_or_that_was_ended_adds_nothing(organisation: Organisation) -> None:
    budget, proxy = make(organisation), Proxy()
    in_seconds(budget, 3_600, since=1_800)
    ended = in_seconds(budget, 3_600)
    BudgetOverride.objects.filter(pk=ended.pk).update(ended_at=ended.starts_at)
    assert proxy.grant(budget, 1_001)["granted"] == 0


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_asked_settled_lowered_and_overridden_grants_stay_below_the_limit_of_the_moment(data: st.DataObject) -> None:
    """The invariant: what a grant of a hard budget adds never lifts spent + leased + overrun above the limit in force."""
    organisation = Organisation.objects.create(name="P", slug=f"p-{uuid4().hex[:12]}")
    budget = make(organisation, scope="user", scope_id=EACH)
    proxies = [Proxy(), Proxy()]
    leases: dict[int, int] = {}
    override: BudgetOverride | None = None
    for _ in range(data.draw(st.integers(3, 12))):
        does = data.draw(st.sampled_from(["grant", "grant", "settle", "limit", "override", "expire"]))
        if does == "grant":
            user, need = data.draw(st.sampled_from(["a", "b"])), data.draw(st.integers(1, 900))
            before = _window(budget, user)
            row = data.draw(st.sampled_from(proxies)).grant(f"{budget.pk}/{user}", need, need + data.draw(st.integers(0, 500)))
            after = _window(budget, user)
            assert after is not None
            if row["lease"]:
                leases[row["lease"]] = row["granted"]
            if before is None or after.leased_nano > before.leased_nano:
                assert after.spent_nano + after.leased_nano + after.overrun_nano <= row["limit"] or after.leased_nano == 0
        elif does == "settle" and leases:
            settle({data.draw(st.sampled_from(sorted(leases))): data.draw(st.integers(0, 700))})
        elif does == "limit":
            make(organisation, scope="user", scope_id=EACH, limit_nano=data.draw(st.integers(1, 2_000)))
        elif does == "override" and override is None:
            override = in_seconds(budget, 3_600, amount=data.draw(st.integers(1, 1_000)))
        elif does == "expire" and override is not None:
            BudgetOverride.objects.filter(pk=override.pk).update(ended_at=override.starts_at)
            override = None
        for window in BudgetWindow.objects.filter(budget=budget):
            assert window.spent_nano + window.leased_nano <= window.ceiling_nano
            held = sum(each.granted_nano - each.returned_nano - each.settled_nano for each in window.leases.all())
            assert held == window.leased_nano


def _window(budget: Budget, user: str) -> BudgetWindow | None:
    return BudgetWindow.objects.filter(budget=budget, subject=user).first()
