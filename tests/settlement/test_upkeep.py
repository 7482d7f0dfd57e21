"""Users' windows that ended long ago are forgotten, and never one that a journal could still name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.budgets.forgetting import KEPT, MARGIN, windows_forget
from apps.budgets.models import Budget, BudgetAlert, BudgetDay, BudgetWindow, Lease
from apps.budgets.services import budget_set, lease_write_off
from apps.settlement import upkeep
from apps.settlement.choices import DRAINED
from apps.settlement.models import SettlementJournal
from apps.settlement.tasks import windows_forget as task
from tests.budgets.test_grants import Proxy, release, settle

pytestmark = pytest.mark.django_db
ACTOR = Actor.command("test")
NOW = datetime(2026, 11, 1, tzinfo=UTC)
ENDED = NOW - KEPT - timedelta(days=1)


@pytest.fixture
def budget() -> Budget:
    acme = Organisation.objects.create(name="Acme", slug="acme-forgetting")
    facts = {"name": "each", "scope": "user", "scope_id": "*", "window": "day", "limit_nano": 1_000}
    return budget_set(actor=ACTOR, organisation=acme, **facts)


def held(budget: Budget, user: str, proxy: Proxy, *, settled: bool = True, ended: datetime = ENDED) -> int:
    """A window of that user which ended then, with one lease of the proxy; its id."""
    name = f"{budget.pk}/{user}" if user else budget
    row = proxy.grant(name, 100)
    if settled:
        settle({row["lease"]: 100})
    BudgetWindow.objects.filter(pk=row["window"]).update(starts_at=ended - timedelta(days=1), ends_at=ended)
    return int(row["window"])


def forgotten(windows: list[int], *proxies: Proxy, until: datetime = NOW) -> list[bool]:
    windows_forget(settled_until={proxy.boot: until for proxy in proxies}, now=NOW)
    left = set(BudgetWindow.objects.values_list("pk", flat=True))
    return [window not in left for window in windows]


def test_what_no_journal_can_name_any_more_goes_with_all_that_hangs_on_it(budget: Budget) -> None:
    gone, running = Proxy(), Proxy()
    drained, settled = held(budget, "ann", gone), held(budget, "bob", running)
    recent = held(budget, "cid", gone, ended=NOW - KEPT + timedelta(days=1))
    BudgetAlert.objects.create(window_id=drained, kind="actual", share=50, value_nano=1, limit_nano=2)
    BudgetDay.objects.create(window_id=drained, starts_at=ENDED, seen_at=ENDED, spent_nano=1)
    release(gone.boot)
    assert forgotten([drained, settled, recent], running) == [True, True, False]
    assert list(Lease.objects.values_list("window_id", flat=True)) == [recent]
    assert not BudgetAlert.objects.exists() and not BudgetDay.objects.exists()
    assert windows_forget(settled_until={running.boot: NOW}, now=NOW) == 0


def test_what_settlement_may_still_need_stays(budget: Budget) -> None:
    lost, late, busy, unheard = Proxy(), Proxy(), Proxy(), Proxy()
    written_off = held(budget, "lost", lost, settled=False)
    lease_write_off(actor=ACTOR, boot_id=lost.boot, reason="the disk is gone")
    behind = held(budget, "late", late)
    unsettled = held(budget, "busy", busy, settled=False)
    unknown = held(budget, "unheard", unheard)
    windows = [written_off, behind, unsettled, unknown]
    windows_forget(settled_until={late.boot: ENDED + MARGIN, busy.boot: NOW}, now=NOW)
    assert BudgetWindow.objects.filter(pk__in=windows).count() == 4
    settle({Lease.objects.get(window_id=unsettled).pk: 70})  # the journal is read at last: nothing of it was lost
    assert BudgetWindow.objects.get(pk=unsettled).spent_nano == 70
    release(busy.boot)
    assert forgotten(windows, late, unheard) == [False, True, True, True]


def test_a_window_of_a_whole_budget_is_history_and_stays(budget: Budget) -> None:
    acme = budget.organisation
    whole = budget_set(actor=ACTOR, organisation=acme, name="all", scope="organisation", scope_id=acme.pk, window="day", limit_nano=1_000)
    proxy = Proxy()
    window = held(whole, "", proxy)
    release(proxy.boot)
    assert forgotten([window]) == [False]


def test_journals_say_until_when_they_are_settled(budget: Budget) -> None:
    running, ended = Proxy(), Proxy()
    at = NOW - timedelta(hours=1)
    for proxy, state in ((running, "live"), (ended, DRAINED)):
        SettlementJournal.objects.create(
            boot_id=proxy.boot, name="p", host="h", state=state, segment=1, offset=0, first_segment=1, lag_ms=60_000, started_at=at,
            updated_at=at,
        )  # fmt: skip
    found: dict[UUID, datetime] = upkeep.settled_until()
    assert found == {running.boot: at - timedelta(minutes=1)}
    old = held(budget, "ann", running, ended=datetime.now(UTC) - timedelta(days=4_000))
    task()
    assert not BudgetWindow.objects.filter(pk=old).exists()
