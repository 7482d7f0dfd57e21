"""Overrides as people make them: at once, audited, one at a time, with an approver who may."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone as clock

from apps.accounts.models import Membership, Organisation, User
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.budgets.models import Budget, BudgetWindow
from apps.budgets.override_services import override_end, override_grant
from apps.budgets.services import budget_set
from tests.budgets.test_grants import Proxy

pytestmark = pytest.mark.django_db
ACTOR = Actor.command("test")


@pytest.fixture
def budget() -> Budget:
    organisation = Organisation.objects.create(name="Acme", slug="acme")
    boss = User.objects.create(email="boss@acme.test")
    Membership.objects.create(user=boss, organisation=organisation, role="admin")
    Membership.objects.create(user=User.objects.create(email="guest@acme.test"), organisation=organisation, role="viewer")
    return budget_set(
        actor=ACTOR, organisation=organisation, name="wall", scope="organisation", scope_id=organisation.pk, window="day", limit_nano=1_000
    )


def facts(budget: Budget, **changes: Any) -> dict[str, Any]:
    wanted = {"amount_nano": 500, "expires_at": clock.now() + timedelta(hours=2), "approver": "Boss@acme.test", "reason": "launch day"}
    return {"actor": ACTOR, "budget": budget, **wanted, **changes}


def test_an_override_acts_at_once_and_says_who_allowed_it(budget: Budget) -> None:
    proxy = Proxy()
    assert proxy.grant(budget, 1_200)["granted"] == 0
    override = override_grant(**facts(budget))
    assert BudgetWindow.objects.get().limit_nano == 1_500
    assert proxy.grant(budget, 1_200)["granted"] == 1_200
    event = AuditEvent.objects.get(action="budget.override", seq=None)
    assert event.after["approver"] == "boss@acme.test"
    assert (event.after["amount"], event.after["reason"]) == ("$0.0000005", "launch day")
    override_end(actor=ACTOR, override=override, reason="over")
    override_end(actor=ACTOR, override=override, reason="over")
    window = BudgetWindow.objects.get()
    assert (window.limit_nano, window.ceiling_nano) == (1_000, 1_200)
    assert proxy.grant(budget, 1)["granted"] == 1_200
    assert AuditEvent.objects.filter(action="budget.override_end").count() == 1


def test_one_at_a_time(budget: Budget) -> None:
    override = override_grant(**facts(budget))
    with pytest.raises(ServiceError, match=r"runs until .* UTC: end it first"):
        override_grant(**facts(budget))
    override_end(actor=ACTOR, override=override)
    override_grant(**facts(budget))


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"amount_nano": 0}, "amount_nano", "above zero"),
        ({"amount_nano": -5}, "amount_nano", "above zero"),
        ({"amount_nano": float("nan")}, "amount_nano", "is not an override's amount"),
        ({"amount_nano": 10**19}, "amount_nano", "beyond the largest"),
        ({"reason": "  "}, "reason", "say why"),
        ({"expires_at": None}, "expires_at", "ends in the future"),
        ({"expires_at": clock.now() - timedelta(days=1)}, "expires_at", "ends in the future"),
        ({"expires_at": clock.now() + timedelta(days=400)}, "expires_at", "within 92 days"),
        ({"approver": ""}, "approver", "may not allow this"),
        ({"approver": "nobody@acme.test"}, "approver", "may not allow this"),
        ({"approver": "guest@acme.test"}, "approver", "may not allow this"),
    ],
)
def test_bad_input_is_refused_with_what_to_do(budget: Budget, changes: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(ServiceError, match=message) as refused:
        override_grant(**facts(budget, **changes))
    assert refused.value.field == field
    assert not budget.overrides.exists()
