"""Setting, changing, deleting and rolling back budgets; bad input is refused with what to do."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.budgets.models import Budget
from apps.budgets.selectors import budgets_of
from apps.budgets.services import budget_delete, budget_set
from apps.budgets.snapshot import budgets as section
from apps.contracts.identifiers import uuid7
from apps.contracts.snapshot import BudgetFragment
from apps.keys.models import VirtualKey
from apps.publishing.models import TouchedFragment

pytestmark = pytest.mark.django_db
ACTOR = Actor.command("test")


@pytest.fixture
def organisation() -> Organisation:
    return Organisation.objects.create(name="Acme", slug="acme")


@pytest.fixture
def key(organisation: Organisation) -> VirtualKey:
    return VirtualKey.objects.create(organisation=organisation, name="app", public_id="abcdefghij")


def facts(organisation: Organisation, **changes: Any) -> dict[str, Any]:
    wanted = {"name": "wall", "scope": "organisation", "scope_id": organisation.pk, "window": "day", "timezone": "UTC", "limit_nano": 5}
    return {"actor": ACTOR, "organisation": organisation, **wanted, **changes}


def touched() -> set[str]:
    return set(TouchedFragment.objects.filter(section="budgets").values_list("object_id", flat=True))


def test_a_budget_is_made_audited_and_noted_for_the_next_publish(organisation: Organisation, key: VirtualKey) -> None:
    budget = budget_set(**facts(organisation, scope="key", scope_id=str(key.pk), timezone="Europe/Berlin", window="month"))
    assert touched() == {str(budget.pk)}
    event = AuditEvent.objects.get(action="budget.create", seq=None)
    assert event.after == {
        "scope": "key", "key": "app", "window": "month", "timezone": "Europe/Berlin", "limit": "$0.000000005", "limit_nano": 5,
        "kind": "hard",
    }  # fmt: skip
    assert section.build({str(budget.pk)}) == {
        str(budget.pk): BudgetFragment(
            id=str(budget.pk), name="wall", organisation=str(organisation.pk), scope="key", scope_id=str(key.pk), window="month",
            timezone="Europe/Berlin", limit_nano=5,
        )
    }  # fmt: skip


def test_the_same_again_changes_nothing(organisation: Organisation) -> None:
    first = budget_set(**facts(organisation))
    assert budget_set(**facts(organisation, name=" wall ")).pk == first.pk
    assert AuditEvent.objects.filter(subject_kind="budget").count() == 1


def test_another_limit_is_the_same_wall_another_calendar_is_a_new_one(organisation: Organisation) -> None:
    first = budget_set(**facts(organisation))
    assert budget_set(**facts(organisation, limit_nano=9), reason="more").pk == first.pk
    event = AuditEvent.objects.get(action="budget.update", seq=None)
    assert (event.before["limit_nano"], event.after["limit_nano"], event.reason) == (5, 9, "more")
    second = budget_set(**facts(organisation, window="month"))
    assert second.pk != first.pk
    assert [budget.pk for budget in budgets_of(organisation)] == [second.pk]
    assert touched() == {str(first.pk), str(second.pk)}


def test_a_deleted_budget_leaves_the_config_and_a_second_time_changes_nothing(organisation: Organisation) -> None:
    budget = budget_set(**facts(organisation))
    budget_delete(actor=ACTOR, budget=budget)
    budget_delete(actor=ACTOR, budget=budget)
    assert AuditEvent.objects.filter(action="budget.delete").count() == 1
    assert section.build(None) == {}
    assert budget_set(**facts(organisation)).pk != budget.pk


def test_a_rollback_brings_back_the_same_budget(organisation: Organisation) -> None:
    budget = budget_set(**facts(organisation))
    (fragment,) = section.build(None).values()
    assert section.restore is not None
    budget_set(**facts(organisation, window="month", limit_nano=70))
    section.restore(actor=ACTOR, object_id=str(budget.pk), fragment=fragment, reason="rollback")
    assert section.build(None) == {str(budget.pk): fragment}
    section.restore(actor=ACTOR, object_id=str(budget.pk), fragment=None, reason="rollback")
    section.restore(actor=ACTOR, object_id=str(uuid7()), fragment=None, reason="rollback")
    assert section.build(None) == {}


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"limit_nano": 0}, "limit_nano", "above zero"),
    ({"limit_nano": -1}, "limit_nano", "above zero"),
    ({"limit_nano": 10**18 + 1}, "limit_nano", "largest limit"),
    ({"limit_nano": 2**70}, "limit_nano", "largest limit"),
    ({"limit_nano": float("nan")}, "limit_nano", "whole nano-dollars"),
    ({"limit_nano": Decimal("NaN")}, "limit_nano", "whole nano-dollars"),
    ({"limit_nano": 1.5}, "limit_nano", "whole nano-dollars"),
    ({"limit_nano": "5"}, "limit_nano", "whole nano-dollars"),
    ({"limit_nano": True}, "limit_nano", "whole nano-dollars"),
    ({"limit_nano": None}, "limit_nano", "whole nano-dollars"),
    ({"timezone": "Mars/Olympus"}, "timezone", "Europe/Berlin"),
    ({"timezone": ""}, "timezone", "Europe/Berlin"),
    ({"timezone": "UTC'; DROP TABLE x"}, "timezone", "Europe/Berlin"),
    ({"window": "year"}, "window", "day, week, month, quarter"),
    ({"window": None}, "window", "day, week, month, quarter"),
    ({"scope": "planet"}, "scope", "organisation, team, service"),
    ({"scope_id": "00000000-0000-0000-0000-000000000000"}, "scope_id", "give that one's id"),
    ({"scope": "key", "scope_id": "no-key"}, "scope_id", "choose one that it has"),
    ({"scope": "key", "scope_id": "00000000-0000-0000-0000-000000000000"}, "scope_id", "choose one that it has"),
    ({"name": ""}, "name", "needs a name"),
    ({"name": "x" * 81}, "name", "at most 80"),
    ({"name": "two\nlines"}, "name", "line breaks"),
    ({"name": None}, "name", "needs a name"),
]


@pytest.mark.parametrize(("changes", "field", "says"), BAD)
def test_bad_input_is_refused_with_what_to_do_and_nothing_changed(
    organisation: Organisation, changes: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(ServiceError) as refused:
        budget_set(**facts(organisation, **changes))
    assert refused.value.field == field
    assert says in refused.value.message
    assert not Budget.objects.exists() and not touched()


def test_another_organisations_key_and_a_revoked_key_are_no_scope(organisation: Organisation, key: VirtualKey) -> None:
    other = Organisation.objects.create(name="Other", slug="other")
    with pytest.raises(ServiceError, match="has no key"):
        budget_set(**facts(other, scope="key", scope_id=key.pk))
    VirtualKey.objects.update(state="revoked", revoked_at="2026-01-01T00:00:00Z")
    with pytest.raises(ServiceError, match="revoked"):
        budget_set(**facts(organisation, scope="key", scope_id=key.pk))


def test_a_person_without_the_permission_is_refused(organisation: Organisation) -> None:
    viewer = Actor(kind="user", id=str(uuid7()), name="viewer@example.com")
    with pytest.raises(ServiceError):
        budget_set(**facts(organisation, actor=viewer))
    budget = budget_set(**facts(organisation))
    with pytest.raises(ServiceError):
        budget_delete(actor=viewer, budget=budget)
