"""The SQL functions that proxies and the shipper call: what they give, what they refuse, what they never do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent, Event
from apps.budgets.models import Budget, BudgetWindow, Lease
from apps.budgets.selectors import BudgetStatus, budget_statuses
from apps.budgets.services import budget_set, charges_settle, lease_write_off
from apps.contracts.identifiers import uuid7
from apps.contracts.leases import GONE_SQLSTATE

pytestmark = pytest.mark.django_db
ACTOR = Actor.command("test")
FIELDS = ("budget", "lease", "window", "generation", "granted", "returned", "starts_at_ms", "ends_at_ms", "limit", "spent", "leased")
Make = Callable[..., Budget]


class Proxy:
    """One boot id's calls, as rows with names."""

    def __init__(self) -> None:
        self.boot = uuid7()

    def call(self, query: str, *values: Any) -> list[dict[str, Any]]:
        with connection.cursor() as cursor:
            cursor.execute(query, [self.boot, *values])
            return [dict(zip(FIELDS, row, strict=True)) for row in cursor.fetchall()]

    def grant(self, budget: Budget | str, need: int, want: int = 0) -> dict[str, Any]:
        (row,) = self.grants([{"budget": str(getattr(budget, "pk", budget)), "need": need, "want": want or need}])
        return row

    def grants(self, wants: object) -> list[dict[str, Any]]:
        return self.call("SELECT * FROM proxy_api.lease_grant(%s, %s::jsonb)", json.dumps(wants))

    def give_back(self, row: dict[str, Any], total: int, generation: int | None = None) -> dict[str, Any]:
        wanted = [{"lease": row["lease"], "generation": row["generation"] if generation is None else generation, "returned": total}]
        (answer,) = self.call("SELECT * FROM proxy_api.lease_return(%s, %s::jsonb)", json.dumps(wanted))
        return answer

    def sync(self) -> list[dict[str, Any]]:
        return self.call("SELECT * FROM proxy_api.lease_sync(%s)")


def settle(costs: dict[int, int], ending: tuple[UUID, ...] = ()) -> None:
    with connection.cursor() as cursor:
        charges_settle(cursor=cursor, costs=costs, ending=ending)


def status_of(budget: Budget) -> BudgetStatus:
    return budget_statuses([budget])[0]


def release(boot: UUID) -> None:
    settle({}, (boot,))


def amounts(budget: Budget) -> tuple[int, int, int]:
    window = BudgetWindow.objects.get(budget=budget)
    outstanding = sum(each.granted_nano - each.returned_nano - each.settled_nano for each in window.leases.all())
    assert window.leased_nano == outstanding
    assert window.spent_nano + window.leased_nano <= window.ceiling_nano
    return window.spent_nano, window.leased_nano, window.overrun_nano


@pytest.fixture
def make() -> Make:
    organisation = Organisation.objects.create(name="Acme", slug="acme")

    def budget(limit: int, name: str = "wall", **more: Any) -> Budget:
        return budget_set(
            actor=ACTOR,
            organisation=organisation,
            name=name,
            scope="organisation",
            scope_id=organisation.pk,
            window=more.pop("window", "day"),
            limit_nano=limit,
            **more,
        )

    return budget


def test_a_grant_gives_the_need_and_no_more_than_a_fair_share_of_the_want(make: Make) -> None:
    budget = make(1_000)
    one, two = Proxy(), Proxy()
    first = one.grant(budget, 10, 5_000)
    assert (first["granted"], first["leased"], first["generation"], first["limit"]) == (250, 250, 1, 1_000)
    assert two.grant(budget, 10, 5_000)["granted"] == 750 // 8
    assert one.grant(budget, 400, 400)["granted"] == 650
    assert amounts(budget) == (0, 650 + 93, 0)


def test_slices_shrink_near_the_limit_and_the_last_nano_dollar_can_be_had(make: Make) -> None:
    budget, proxy = make(1_000), Proxy()
    slices = []
    for _ in range(12):
        before = sum(slices)
        slices.append(proxy.grant(budget, 1, 10_000)["granted"] - before)
    assert slices == sorted(slices, reverse=True)
    rest = 1_000 - sum(slices)
    assert proxy.grant(budget, rest)["granted"] == 1_000
    assert proxy.grant(budget, 1)["granted"] == 1_000
    assert amounts(budget) == (0, 1_000, 0)


def test_what_does_not_fit_gets_nothing_but_the_numbers(make: Make) -> None:
    budget, one, two = make(100), Proxy(), Proxy()
    held = one.grant(budget, 60)
    settle({held["lease"]: 25})
    answer = two.grant(budget, 41)
    assert (answer["lease"], answer["granted"], answer["limit"], answer["spent"], answer["leased"]) == (0, 0, 100, 25, 35)
    assert two.grant(budget, 40)["granted"] == 40


def test_many_budgets_in_one_call_and_unknown_ones_left_out(make: Make) -> None:
    day, month, tiny = make(1_000, "day"), make(2_000, "month", window="month"), make(5, "tiny", timezone="Asia/Tokyo")
    wants = [{"budget": str(each.pk), "need": 10, "want": 10} for each in (tiny, month, day)]
    rows = Proxy().grants([*wants, {"budget": str(uuid7()), "need": 1, "want": 1}, {"budget": "no uuid", "need": 1, "want": 1}])
    assert {row["budget"]: row["granted"] for row in rows} == {str(day.pk): 10, str(month.pk): 10, str(tiny.pk): 0}
    assert [row["window"] for row in rows] == sorted(row["window"] for row in rows)


@pytest.mark.parametrize("wants", ["nonsense", {"budget": "x"}, None])
def test_what_is_no_list_of_wants_is_an_error(wants: object) -> None:
    with pytest.raises(Exception, match="array of wants"):
        Proxy().grants(wants)


def test_negative_and_absurd_wants_grant_nothing_that_is_not_there(make: Make) -> None:
    budget, proxy = make(100), Proxy()
    assert proxy.grant(budget, -5, -5)["granted"] == 0
    assert proxy.grant(budget, 2**63 - 1)["granted"] == 0
    assert proxy.grant(budget, 0, 2**63 - 1)["granted"] == 25
    assert amounts(budget) == (0, 25, 0)


def test_a_return_counts_once_and_only_for_the_generation_it_saw(make: Make) -> None:
    budget, proxy = make(100), Proxy()
    row = proxy.grant(budget, 80)
    after = proxy.give_back(row, 30)
    assert (after["returned"], after["leased"], after["generation"]) == (30, 50, 2)
    assert proxy.give_back(row, 30)["leased"] == 50  # said twice
    assert proxy.give_back(row, 60)["leased"] == 50  # an old generation
    assert proxy.give_back(after, 20)["leased"] == 50  # a lower total
    settle({row["lease"]: 45})
    assert proxy.give_back(after, 80)["returned"] == 35  # never what is spent already
    assert amounts(budget) == (45, 0, 0)


def test_nobody_returns_another_proxys_lease(make: Make) -> None:
    budget, one = make(100), Proxy()
    row = one.grant(budget, 80)
    assert (
        Proxy().call(
            "SELECT * FROM proxy_api.lease_return(%s, %s::jsonb)", json.dumps([{"lease": row["lease"], "generation": 1, "returned": 80}])
        )
        == []
    )
    assert amounts(budget) == (0, 80, 0)


def test_a_sync_tells_every_open_lease(make: Make) -> None:
    day, month, proxy = make(100, "day"), make(100, "month", window="month"), Proxy()
    rows = [proxy.grant(day, 10), proxy.grant(month, 20)]
    assert proxy.sync() == sorted(rows, key=lambda row: row["lease"])
    assert Proxy().sync() == []


def test_a_cost_moves_from_leased_to_spent_and_what_was_not_held_is_overrun_and_an_event(make: Make) -> None:
    budget, proxy = make(100), Proxy()
    row = proxy.grant(budget, 60)
    settle({row["lease"]: 50})
    assert amounts(budget) == (50, 10, 0)
    assert not Event.objects.filter(kind="budget.overrun").exists()
    settle({row["lease"]: 25})
    assert amounts(budget) == (60, 0, 15)
    event = Event.objects.get(kind="budget.overrun")
    assert event.subject_id == str(budget.pk) and event.data["overrun_nano"] == 15
    (state,) = proxy.sync()
    assert state["granted"] - state["returned"] == 75  # the holder's own arithmetic comes out even
    assert state["spent"] == 75
    assert proxy.grant(budget, 26)["granted"] == 75  # 75 of 100 are gone, however they went
    assert proxy.grant(budget, 25)["granted"] == 100


def test_one_call_settles_many_leases_of_many_windows(make: Make) -> None:
    day, month = make(1_000, "day"), make(1_000, "month", window="month")
    proxies = [Proxy() for _ in range(4)]
    costs = {proxy.grant(budget, 50)["lease"]: 20 + number for number, proxy in enumerate(proxies) for budget in (day, month)}
    with connection.cursor() as cursor:
        charges_settle(cursor=cursor, costs={**costs, 10**15: 99})  # and one that this database does not know
    assert amounts(day) == amounts(month) == (86, 114, 0)


def test_absurd_costs_are_kept_within_int64(make: Make) -> None:
    budget, proxy = make(100), Proxy()
    row = proxy.grant(budget, 60)
    for _ in range(3):
        settle({row["lease"]: 2**63 - 1})
    assert amounts(budget) == (60, 0, 2**63 - 1)
    settle({row["lease"]: -5})
    assert amounts(budget) == (60, 0, 2**63 - 1)


def test_a_dead_proxys_slice_is_free_again_and_never_its_own(make: Make) -> None:
    budget, dead, other = make(100), Proxy(), Proxy()
    row = dead.grant(budget, 90)
    settle({row["lease"]: 30})
    release(dead.boot)
    release(dead.boot)
    assert amounts(budget) == (30, 0, 0)
    assert Lease.objects.get(pk=row["lease"]).state == "released"
    assert other.grant(budget, 70)["granted"] == 70


@pytest.mark.parametrize("call", ["grant", "return", "sync"])
def test_a_proxy_declared_gone_by_mistake_gets_no_money(make: Make, call: str) -> None:
    budget, zombie = make(100), Proxy()
    row = zombie.grant(budget, 90)
    release(zombie.boot)
    acts = {"grant": lambda: zombie.grant(budget, 1), "return": lambda: zombie.give_back(row, 1), "sync": zombie.sync}
    with pytest.raises(Exception, match="declared gone") as refused:
        acts[call]()
    assert isinstance(refused.value.__cause__, psycopg.Error)
    assert refused.value.__cause__.sqlstate == GONE_SQLSTATE


def test_a_proxy_that_never_asked_can_be_declared_gone_too(make: Make) -> None:
    budget, proxy = make(100), Proxy()
    release(proxy.boot)
    with pytest.raises(Exception, match="declared gone"):
        proxy.grant(budget, 1)


def test_the_last_charges_and_the_release_go_in_one_statement(make: Make) -> None:
    budget, proxy = make(100), Proxy()
    row = proxy.grant(budget, 90)
    settle({row["lease"]: 40}, ending=(proxy.boot,))
    assert amounts(budget) == (40, 0, 0)
    settle({}, ending=(proxy.boot,))
    with pytest.raises(Exception, match="declared gone"):
        proxy.sync()


def test_a_charge_on_a_released_lease_is_real_money_and_takes_room(make: Make) -> None:
    budget, proxy = make(100), Proxy()
    row = proxy.grant(budget, 90)
    release(proxy.boot)
    settle({row["lease"]: 30})
    assert amounts(budget) == (0, 0, 30)
    assert Proxy().grant(budget, 71)["granted"] == 0
    assert Proxy().grant(budget, 70)["granted"] == 70


def test_a_lost_journal_is_written_off_in_full_and_its_late_charges_count_once(make: Make) -> None:
    budget, lost = make(100), Proxy()
    row = lost.grant(budget, 90)
    settle({row["lease"]: 30})
    with pytest.raises(ServiceError, match="say why"):
        lease_write_off(actor=ACTOR, boot_id=lost.boot, reason=" ")
    assert lease_write_off(actor=ACTOR, boot_id=lost.boot, reason="the disk burned") == 60
    assert amounts(budget) == (90, 0, 0)
    audited = AuditEvent.objects.get(action="lease.write_off")
    assert audited.reason == "the disk burned" and audited.subject_id == str(lost.boot)
    settle({row["lease"]: 45})
    assert amounts(budget) == (90, 0, 0)
    settle({row["lease"]: 20})
    assert amounts(budget) == (90, 0, 5)
    with pytest.raises(ServiceError, match="no open lease"):
        lease_write_off(actor=ACTOR, boot_id=lost.boot, reason="again")


def test_a_lowered_limit_acts_at_once_and_a_raised_one_too(make: Make) -> None:
    budget, proxy = make(100), Proxy()
    row = proxy.grant(budget, 80)
    settle({row["lease"]: 30})
    make(40)
    window = BudgetWindow.objects.get(budget=budget)
    assert (window.limit_nano, window.ceiling_nano) == (40, 80)
    assert proxy.grant(budget, 1)["granted"] == 80
    (state,) = proxy.sync()
    proxy.give_back(state, 50)
    window.refresh_from_db()
    assert (window.spent_nano, window.leased_nano, window.ceiling_nano) == (30, 0, 40)
    assert proxy.grant(budget, 10)["granted"] == 90
    make(200)
    assert proxy.grant(budget, 160)["granted"] == 250
    assert amounts(budget) == (30, 170, 0)


def test_status_tells_where_a_budget_stands(make: Make) -> None:
    budget, proxy = make(1_000), Proxy()
    assert status_of(budget)[3:] == (1_000, 0, 0, 0, 1_000, 0, "within", "")
    row = proxy.grant(budget, 950)
    settle({row["lease"]: 100})
    status = status_of(budget)
    assert (status.spent, status.leased, status.remaining, status.holders, status.state) == (100, 850, 50, 1, "near")
    assert status.starts_at < status.ends_at
    settle({row["lease"]: 900})
    assert status_of(budget).state == "exhausted"
    settle({row["lease"]: 5})
    assert (status_of(budget).state, status_of(budget).shown.label) == ("overrun", "Overrun")


def test_the_wall_is_a_constraint_of_the_table(make: Make) -> None:
    budget = make(100)
    Proxy().grant(budget, 60)
    with pytest.raises(Exception, match="budget_window_wall"):
        BudgetWindow.objects.filter(budget=budget).update(spent_nano=41)
