"""Whoever was shown a key's secret replaces it and revokes the key alone, while the key lies inside what they could make."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from apps.accounts.models import Membership, Organisation, TeamMembership, User
from apps.accounts.rules import PermissionRefused
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.keys import services
from apps.keys.models import KeyDigest, VirtualKey
from apps.keys.request_services import key_make, key_request, key_request_approve
from apps.keys.template_services import key_template_set
from apps.keys.wishes import Bounds, Wish, outgrown
from apps.ownership.models import Team
from tests.people import client_of

NOW = datetime(2031, 3, 10, 12, tzinfo=UTC)
BOUNDS = Bounds(("chat",), ("staging",), 2, 30, {"requests_per_minute": 60}, None, "day")
INSIDE = Wish("app", environment="staging", routes=("chat",), expires_at=NOW + timedelta(days=30))
STAGING = Wish(name="app", environment="staging")


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (INSIDE, []),
        (Wish("app", environment="staging", routes=("chat",), limits={"requests_per_minute": 99}, expires_at=NOW), []),
        (Wish("app", environment="production", routes=("chat",), expires_at=NOW), ["environment production"]),
        (Wish("app", environment="staging", routes=("chat", "embed"), expires_at=NOW), ["routes embed"]),
        (Wish("app", environment="staging", expires_at=NOW), ["every route"]),
        (Wish("app", environment="staging", routes=("chat",)), ["never expires"]),
        (Wish("app", environment="staging", routes=("chat",), expires_at=NOW + timedelta(days=31)), ["longer than 30 days"]),
    ],
)
def test_what_a_key_has_outgrown(key: Wish, says: list[str]) -> None:
    found = outgrown(BOUNDS, key, now=NOW)
    assert len(found) == len(says) and all(words in reason for words, reason in zip(says, found, strict=True))
    assert outgrown(None, INSIDE, now=NOW), "without a template nothing is anybody's own"


@pytest.fixture
def team(organisation: Organisation, actor: Actor) -> Team:
    team = Team.objects.create(organisation=organisation, name="Payments", slug="payments")
    key_template_set(actor=actor, team=team, routes=["chat"], environments=["staging"], most_keys=3, longest_days=30)
    return team


def person(team: Team, name: str, role: str) -> User:
    user = User.objects.create(email=f"{name}@example.test", name=name.title())
    membership = Membership.objects.create(user=user, organisation=team.organisation, role="viewer")
    TeamMembership.objects.create(membership=membership, team_id=team.pk, team_slug=team.slug, role=role)
    return user


@pytest.fixture
def mia(team: Team) -> Actor:
    return Actor.of_user(person(team, "mia", "member"))


@pytest.fixture
def max_(team: Team) -> Actor:
    return Actor.of_user(person(team, "max", "manager"))


def fresh(key: VirtualKey) -> VirtualKey:
    return VirtualKey.objects.select_related("organisation", "team", "service").get(pk=key.pk)


def test_a_member_replaces_the_secret_with_overlap_and_revokes(team: Team, mia: Actor) -> None:
    key, token = key_make(actor=mia, team=team, wish=STAGING)
    assert key.holder_id == mia.id
    until = timezone.now() + timedelta(hours=1)
    _, second = services.key_rotate(actor=mia, key=key, old_until=until)
    assert second != token and KeyDigest.objects.filter(key=key).count() == 2
    with pytest.raises(PermissionRefused, match=r"key\.change"):
        services.key_disable(actor=mia, key=key)
    assert services.key_revoke(actor=mia, key=key, reason="done with it").state == "revoked"
    assert services.key_revoke(actor=mia, key=key).state == "revoked", "a second time changes nothing"


def test_nobody_elses(team: Team, mia: Actor, max_: Actor) -> None:
    key, _ = key_make(actor=max_, team=team, wish=STAGING)
    for act in (services.key_rotate, services.key_revoke):
        with pytest.raises(PermissionRefused):
            act(actor=mia, key=key)
    assert fresh(key).state == "active" and KeyDigest.objects.filter(key=key).count() == 1


@pytest.mark.parametrize("how", ["replaced by a manager", "widened", "moved", "left the team"])
def test_what_takes_a_key_out_of_its_holders_hands(how: str, team: Team, mia: Actor, max_: Actor, actor: Actor) -> None:
    key, _ = key_make(actor=mia, team=team, wish=STAGING)
    if how == "replaced by a manager":
        services.key_rotate(actor=max_, key=key)
    elif how == "widened":
        services.key_update(actor=max_, key=key, routes=["*"])
    elif how == "moved":
        services.key_update(actor=actor, key=key, team=Team.objects.create(organisation=team.organisation, name="B", slug="b"))
    else:
        TeamMembership.objects.filter(membership__user_id=mia.id).delete()
    digests = set(KeyDigest.objects.filter(key=key).values_list("digest", flat=True))
    for act in (services.key_rotate, services.key_revoke):
        with pytest.raises(ServiceError, match="more than you may make alone: every route" if how == "widened" else "You may not"):
            act(actor=mia, key=fresh(key))
    assert set(KeyDigest.objects.filter(key=key).values_list("digest", flat=True)) == digests and fresh(key).state == "active"


def test_whoever_asked_holds_what_was_approved(team: Team, mia: Actor, max_: Actor) -> None:
    row = key_request(actor=mia, team=team, wish=STAGING, reason="a spike")
    key = key_request_approve(actor=max_, request=row).key
    assert key is not None and key.holder_id == mia.id
    services.key_token_replace(actor=max_, key=key, token="sk-kept-elsewhere-0123456789")
    assert fresh(key).holder_id == "", "nobody knows who has a token that was made elsewhere"


def test_the_page_offers_it_to_its_holder_alone(team: Team) -> None:
    mia, tom = person(team, "mia", "member"), person(team, "tom", "member")
    key, _ = key_make(actor=Actor.of_user(mia), team=team, wish=STAGING)
    url = f"/keys/{key.pk}/"
    own, others = client_of(mia).get(url).content.decode(), client_of(tom).get(url).content.decode()
    assert "Replace secret" in own and "Revoke this key" in own and "/edit/" not in own
    assert "Replace secret" not in others and "Revoke this key" not in others
    assert client_of(mia).get(f"{url}rotate/").status_code == 200
    client_of(tom).post(f"{url}revoke/", {"reason": "x", "confirmation": key.name})
    assert fresh(key).state == "active"
    client_of(mia).post(f"{url}revoke/", {"reason": "done with it", "confirmation": key.name})
    assert fresh(key).state == "revoked"
