"""Self-service: members make keys inside their team's bounds, ask for others, and see a secret once."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from django.core import mail

from apps.accounts.models import Membership, Organisation, TeamMembership, User
from apps.accounts.rules import PermissionRefused
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.budgets.models import Budget, Limit
from apps.keys import services
from apps.keys.handovers import handover_fetch, handovers_open
from apps.keys.models import KeyDigest, KeyRequest, KeyTemplate, VirtualKey
from apps.keys.request_services import (
    OutsideBounds,
    key_make,
    key_request,
    key_request_approve,
    key_request_reject,
    key_request_withdraw,
)
from apps.keys.template_services import key_template_delete, key_template_set
from apps.keys.wishes import Wish
from apps.ownership.models import Team


class House(NamedTuple):
    """A team with a template, and people of it."""

    organisation: Organisation
    team: Team
    mia: Actor
    max: Actor
    outsider: Actor
    viewer: Actor


def person(organisation: Organisation, name: str, role: str, team: Team | None = None, team_role: str = "") -> Actor:
    user = User.objects.create(email=f"{name}@example.test", name=name.title())
    membership = Membership.objects.create(user=user, organisation=organisation, role=role)
    if team is not None:
        TeamMembership.objects.create(membership=membership, team_id=team.pk, team_slug=team.slug, role=team_role)
    return Actor.of_user(user)


@pytest.fixture
def house(organisation: Organisation, actor: Actor, settings: object) -> House:
    settings.EMAIL_HOST = "mail.example.test"  # type: ignore[attr-defined]
    team = Team.objects.create(organisation=organisation, name="Payments", slug="payments")
    key_template_set(
        actor=actor,
        team=team,
        routes=["chat"],
        environments=["staging", "development"],
        most_keys=2,
        longest_days=30,
        limits={"requests_per_minute": 60},
        budget_nano=10**10,
        budget_window="day",
    )
    return House(
        organisation,
        team,
        person(organisation, "mia", "viewer", team, "member"),
        person(organisation, "max", "viewer", team, "manager"),
        person(organisation, "otto", "member"),
        person(organisation, "vic", "viewer"),
    )


STAGING = Wish(name="app", environment="staging")


def test_a_member_makes_keys_inside_the_bounds_with_what_they_give(house: House) -> None:
    key, token = key_make(actor=house.mia, team=house.team, wish=STAGING, reason="a spike")
    assert (key.routes, key.team, key.environment) == (["chat"], house.team, "staging") and key.expires_at is not None
    assert KeyDigest.objects.get(key=key).digest == services.key_digest(token)
    assert (Limit.objects.get(scope_id=str(key.pk)).amount, Budget.objects.get(key=key).limit_nano) == (60, 10**10)
    event = AuditEvent.objects.get(action="key.create", subject_id=str(key.pk))
    assert event.actor_name == "mia@example.test" and event.reason == "a spike"
    key_make(actor=house.mia, team=house.team, wish=Wish(name="more", environment="development"))
    with pytest.raises(OutsideBounds, match="at most 2"):
        key_make(actor=house.mia, team=house.team, wish=Wish(name="third", environment="staging"))
    services.key_revoke(actor=house.max, key=key)
    key_make(actor=house.mia, team=house.team, wish=Wish(name="third", environment="staging"))


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (Wish(name="a"), "environment production"),
        (Wish(name="a", environment="staging", routes=("embed",)), "routes embed"),
        (Wish(name="a", environment="staging", limits={"requests_per_minute": 61}), "at most 60"),
        (Wish(name="a", environment="staging", budget_nano=10**11, budget_window="day"), r"at most \$10"),
    ],
)
def test_what_lies_outside_is_said_and_not_made(house: House, wish: Wish, says: str) -> None:
    with pytest.raises(OutsideBounds, match=says):
        key_make(actor=house.mia, team=house.team, wish=wish)
    assert not VirtualKey.objects.exists()
    key_make(actor=house.max, team=house.team, wish=wish)  # a manager of the team is not bound


def test_nobody_else_makes_keys_of_the_team(house: House, actor: Actor) -> None:
    for somebody in (house.outsider, house.viewer):
        with pytest.raises(PermissionRefused):
            key_make(actor=somebody, team=house.team, wish=STAGING)
    with pytest.raises(ServiceError, match="Ask for a key"):
        services.key_create(actor=house.mia, organisation=house.organisation, name="around", team=house.team)
    with pytest.raises(PermissionRefused):
        key_request(actor=house.viewer, team=house.team, wish=STAGING, reason="please")
    key_template_delete(actor=actor, team=house.team)
    assert not KeyTemplate.objects.exists()
    with pytest.raises(OutsideBounds, match="no template"):
        key_make(actor=house.mia, team=house.team, wish=STAGING)


def test_asking_approving_and_fetching_the_secret(house: House, django_capture_on_commit_callbacks: object) -> None:
    wish = Wish(name="batch", routes=("embed",), limits={"tokens_per_day": 9}, budget_nano=5 * 10**9)
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        row = key_request(actor=house.outsider, team=house.team, wish=wish, reason="nightly index")
    assert [(message.to, message.subject) for message in mail.outbox] == [
        (["max@example.test"], "[Bulkhead] otto@example.test asks for a key of Payments")
    ]
    assert "nightly index" in mail.outbox[0].body and "routes embed" in mail.outbox[0].body and not VirtualKey.objects.exists()
    for somebody in (house.mia, house.outsider, house.viewer):
        with pytest.raises(ServiceError):
            key_request_approve(actor=somebody, request=row)
    mail.outbox.clear()
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        row = key_request_approve(actor=house.max, request=row, reason="fine")
    key = row.key
    assert key is not None and (key.name, key.routes, key.team, key.expires_at) == ("batch", ["embed"], house.team, None)
    assert Limit.objects.get(scope_id=str(key.pk)).kind == "tokens_per_day" and Budget.objects.get(key=key).window == "month"
    assert mail.outbox[0].to == ["otto@example.test"] and "approved" in mail.outbox[0].subject
    assert all("bk-" not in message.body for message in mail.outbox)
    (waiting,) = handovers_open(organisation=house.organisation, person_id=house.outsider.id)
    with pytest.raises(ServiceError, match="somebody else"):
        handover_fetch(actor=house.max, handover=waiting)
    (secret,) = handover_fetch(actor=house.outsider, handover=waiting)
    assert KeyDigest.objects.get(key=key).digest == services.key_digest(secret.token)
    assert not handovers_open(organisation=house.organisation, person_id=house.outsider.id).exists()
    kept = repr(list(AuditEvent.objects.filter(reason__in=["fine", "nightly index"]).values())) + repr(list(KeyRequest.objects.values()))
    assert secret.token not in kept
    with pytest.raises(ServiceError, match=r"approved by max@example\.test meanwhile"):
        key_request_reject(actor=house.max, request=row, reason="no")


def test_rejecting_takes_a_reason_and_tells_it(house: House, django_capture_on_commit_callbacks: object) -> None:
    row = key_request(actor=house.mia, team=house.team, wish=Wish(name="big"), reason="load test")
    with pytest.raises(ServiceError, match="say why"):
        key_request_reject(actor=house.max, request=row, reason=" ")
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        row = key_request_reject(actor=house.max, request=row, reason="use staging")
    assert row.state == "rejected" and not VirtualKey.objects.exists()
    assert "use staging" in mail.outbox[0].body and mail.outbox[0].to == ["mia@example.test"]


def test_nobody_decides_about_their_own_and_only_they_withdraw(house: House) -> None:
    row = key_request(actor=house.max, team=house.team, wish=Wish(name="mine"), reason="a test")
    with pytest.raises(ServiceError, match="somebody else decides"):
        key_request_approve(actor=house.max, request=row)
    with pytest.raises(ServiceError, match="only whoever asked"):
        key_request_withdraw(actor=house.mia, request=row)
    assert key_request_withdraw(actor=house.max, request=row).state == "withdrawn"
    assert key_request_withdraw(actor=house.max, request=row).state == "withdrawn"


def test_asking_takes_a_reason_a_free_name_and_no_flood(house: House, actor: Actor) -> None:
    with pytest.raises(ServiceError, match="what the key is for"):
        key_request(actor=house.mia, team=house.team, wish=STAGING, reason="")
    key_request(actor=house.mia, team=house.team, wish=STAGING, reason="x")
    with pytest.raises(ServiceError, match="already"):
        key_request(actor=house.mia, team=house.team, wish=STAGING, reason="x")
    services.key_create(actor=actor, organisation=house.organisation, name="used")
    with pytest.raises(ServiceError, match="exists"):
        key_request(actor=house.mia, team=house.team, wish=Wish(name="used"), reason="x")
    for n in range(19):
        key_request(actor=house.mia, team=house.team, wish=Wish(name=f"n{n}"), reason="x")
    with pytest.raises(ServiceError, match="wait already"):
        key_request(actor=house.mia, team=house.team, wish=Wish(name="one-more"), reason="x")
    with pytest.raises(ServiceError, match="no service"):
        key_request(actor=house.outsider, team=house.team, wish=Wish(name="s", service="lost"), reason="x")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"environments": []}, "environments"),
        ({"most_keys": 0}, "most_keys"),
        ({"longest_days": 0}, "longest_days"),
        ({"routes": []}, "routes"),
        ({"limits": {"requests": 1}}, "limits"),
        ({"budget_window": "year"}, "budget_window"),
    ],
)
def test_a_template_that_means_nothing_is_refused(house: House, actor: Actor, changes: dict, field: str) -> None:
    with pytest.raises(ServiceError) as caught:
        key_template_set(actor=actor, team=house.team, **{"routes": ["*"], "environments": ["staging"], "most_keys": 1, **changes})
    assert caught.value.field == field
    with pytest.raises(PermissionRefused):
        key_template_set(actor=house.max, team=house.team, routes=["*"], environments=["staging"], most_keys=1)
