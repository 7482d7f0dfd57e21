"""Setting, changing, deleting and rolling back limits: audited, noted for the next publish, refused with what to do."""

from __future__ import annotations

from typing import Any

import pytest

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.budgets.limit_models import Limit
from apps.budgets.limit_selectors import limit_line, limits_applying, limits_named, limits_of
from apps.budgets.limit_services import limit_amount_set, limit_delete, limit_set
from apps.budgets.limit_snapshot import limits as section
from apps.contracts.identifiers import uuid7
from apps.contracts.snapshot import LimitFragment
from apps.keys.models import VirtualKey
from apps.ownership.models import Team
from apps.publishing.models import TouchedFragment

pytestmark = pytest.mark.django_db
ACTOR = Actor.command("test")


@pytest.fixture
def organisation() -> Organisation:
    return Organisation.objects.create(name="Acme", slug="acme")


@pytest.fixture
def key(organisation: Organisation) -> VirtualKey:
    return VirtualKey.objects.create(organisation=organisation, name="app", public_id="abcdefghij")


def make(organisation: Organisation, **changes: Any) -> Limit:
    facts: dict[str, Any] = {"name": "calls", "scope": "organisation", "scope_id": "", "kind": "requests_per_minute", "amount": 600}
    return limit_set(actor=ACTOR, organisation=organisation, **{**facts, **changes})


def touched() -> set[str]:
    return set(TouchedFragment.objects.filter(section="limits").values_list("object_id", flat=True))


def test_a_limit_is_made_audited_and_noted_for_the_next_publish(organisation: Organisation, key: VirtualKey) -> None:
    limit = make(organisation, scope="key", scope_id=str(key.pk))
    assert touched() == {str(limit.pk)}
    assert AuditEvent.objects.get(action="limit.create", seq=None).after["amount"] == 600
    id = str(limit.pk)
    assert section.build({id}) == {
        id: LimitFragment(
            id=id,
            name="calls",
            organisation=str(organisation.pk),
            scope="key",
            scope_id=str(key.pk),
            kind="requests_per_minute",
            amount=600,
        )
    }


def test_another_amount_keeps_the_limit_and_another_kind_is_another(organisation: Organisation) -> None:
    first = make(organisation)
    TouchedFragment.objects.all().delete()
    assert make(organisation).pk == first.pk and not touched()
    assert make(organisation, amount=700).pk == first.pk and touched() == {str(first.pk)}
    assert limit_amount_set(actor=ACTOR, limit=first, amount=800).amount == 800
    other = make(organisation, kind="tokens_per_day")
    assert other.pk != first.pk and [row.pk for row in limits_of(organisation)] == [other.pk]


def test_a_teams_limit_reaches_proxies_by_its_slug(organisation: Organisation) -> None:
    team = Team.objects.create(organisation=organisation, name="Search", slug="search")
    limit = make(organisation, scope="team", scope_id=team.pk)
    assert section.build(None)[str(limit.pk)].scope_id == "search"  # type: ignore[attr-defined]
    assert [limit_line(row).subject for row in limits_named(organisation).filter(pk=limit.pk)] == ["Search"]
    assert [line.name for line in limits_applying(organisation, team_id=str(team.pk))] == ["calls"]
    assert limits_applying(organisation, key_id=str(uuid7())) == []


def test_deleted_and_brought_back_by_a_rollback(organisation: Organisation) -> None:
    limit = make(organisation)
    fragment = section.build(None)[str(limit.pk)]
    limit_delete(actor=ACTOR, limit=limit)
    limit_delete(actor=ACTOR, limit=limit)
    assert section.build(None) == {} and AuditEvent.objects.filter(action="limit.delete").count() == 1
    twin = make(organisation, amount=5)
    assert section.restore is not None
    section.restore(actor=ACTOR, object_id=str(limit.pk), fragment=fragment, reason="back")
    assert section.build(None) == {str(limit.pk): fragment}
    assert Limit.objects.get(pk=twin.pk).deleted_at is not None
    section.restore(actor=ACTOR, object_id=str(limit.pk), fragment=None, reason="away")
    assert section.build(None) == {}


@pytest.mark.parametrize(
    ("wrong", "field", "says"),
    [
        ({"name": " "}, "name", "a limit needs a name"),
        ({"name": "a\nb"}, "name", "no control characters"),
        ({"kind": "requests_per_hour"}, "kind", "choose one of requests_per_minute"),
        ({"scope": "planet"}, "scope", "choose one of organisation"),
        ({"amount": 0}, "amount", "at least 1"),
        ({"amount": True}, "amount", "whole number"),
        ({"amount": 1.5}, "amount", "whole number"),
        ({"amount": float("nan")}, "amount", "whole number"),
        ({"amount": 10**13}, "amount", "largest amount"),
        ({"scope": "key", "scope_id": str(uuid7())}, "scope_id", "has no key"),
        ({"scope": "key", "scope_id": "nonsense"}, "scope_id", "has no key"),
        ({"scope": "team", "scope_id": str(uuid7())}, "scope_id", "has no team"),
        ({"scope": "route", "scope_id": str(uuid7())}, "scope_id", "has no route"),
        ({"scope": "model", "scope_id": ""}, "scope_id", "as its provider names it"),
        ({"scope_id": str(uuid7())}, "scope_id", "the one that it is set in"),
    ],
)
def test_bad_input_is_refused(organisation: Organisation, wrong: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(ServiceError) as refused:
        make(organisation, **wrong)
    assert refused.value.field == field and says in refused.value.message
    assert not Limit.objects.exists()


def test_one_of_a_kind_for_each_scope(organisation: Organisation, key: VirtualKey) -> None:
    make(organisation)
    with pytest.raises(ServiceError, match="'calls' is one of requests per minute of the same organisation already"):
        make(organisation, name="again")
    make(organisation, name="again", scope="key", scope_id=key.pk)
    key.state = "revoked"
    key.revoked_at = key.created_at
    key.save()
    with pytest.raises(ServiceError, match="is revoked"):
        make(organisation, name="third", scope="key", scope_id=key.pk, kind="tokens_per_day")
