"""Rotations and who stands in, as rows: permissions, refusals, who is on now. Clocks are fixed or given."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from django.utils import timezone

from apps.accounts.models import Organisation, User
from apps.accounts.rules import PermissionRefused, Role
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.ownership import rotation_services as services
from apps.ownership.models import Rotation, RotationOverride, Team
from apps.ownership.rotation_selectors import on_call_now
from tests.ownership.conftest import COMMAND, actor_of, person_of
from tests.people import member

pytestmark = pytest.mark.django_db
MARCH = date(2026, 3, 2)
"""A Monday."""


def at(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


@pytest.fixture
def people(organisation: Organisation) -> list[User]:
    return [member(organisation, "on-call", email=f"{name}@example.test") for name in ("ada", "bo", "cy")]


def rotation(team: Team, people: list[User], **other: object) -> Rotation:
    given = {"name": "payments", "zone": "Europe/Berlin", "starts_on": MARCH, "members": people} | other
    return services.rotation_set(actor=COMMAND, organisation=team.organisation, team=team, **given)  # type: ignore[arg-type]


def test_who_is_on_now_and_next(payments: Team, search: Team, people: list[User]) -> None:
    rotation(payments, people)
    (found,) = on_call_now(organisation=payments.organisation, team=payments, at=at(2026, 3, 4))
    assert (found.user, found.until, found.next_user, found.next_at) == (people[0], at(2026, 3, 9, 8), people[1], at(2026, 3, 9, 8))
    assert on_call_now(organisation=payments.organisation, team=search, at=at(2026, 3, 4)) == []
    rotation(payments, people[:1], name="chaos", kind="chaos-lead")
    assert len(on_call_now(organisation=payments.organisation, at=at(2026, 3, 4))) == 1
    (lead,) = on_call_now(organisation=payments.organisation, kind="chaos-lead", at=at(2026, 3, 4))
    assert (lead.user, lead.next_user, lead.until) == (people[0], None, None), "alone, until somebody changes it"


def test_somebody_who_left_leaves_a_gap(payments: Team, people: list[User]) -> None:
    rotation(payments, people)
    User.objects.filter(pk=people[0].pk).update(is_active=False)
    people[1].memberships.all().delete()
    (found,) = on_call_now(organisation=payments.organisation, at=at(2026, 3, 4))
    assert found.user is None and found.covered and found.next_user == people[2]
    with pytest.raises(ServiceError, match=r"ada@example\.test, bo@example\.test cannot be on call"):
        rotation(payments, [User.objects.get(pk=user.pk) for user in people])


def test_a_change_keeps_whose_turn_it_is_and_is_audited(payments: Team, people: list[User]) -> None:
    row = rotation(payments, people)
    rotation(payments, people)
    assert AuditEvent.objects.filter(subject_id=str(row.pk)).count() == 1, "the same again changes nothing"
    rotation(payments, people, starts_on=None, minute=10 * 60)
    assert Rotation.objects.get().starts_on == MARCH
    event = AuditEvent.objects.get(action="rotation.update")
    assert event.after == {"hand_over": "Monday 10:00"} and event.before == {"hand_over": "Monday 09:00"}
    moved = rotation(payments, people, starts_on=date(2026, 3, 6), weekday=2)
    assert moved.starts_on == date(2026, 3, 4), "on or before the day that was given"


def test_standing_in(payments: Team, people: list[User]) -> None:
    row, now = rotation(payments, people[:1]), timezone.now()
    times = {"starts_at": now - timedelta(hours=1), "ends_at": now + timedelta(days=80)}
    override = services.rotation_override_add(actor=COMMAND, rotation=row, user=people[2], reason="ill", **times)
    (found,) = on_call_now(organisation=payments.organisation)
    assert found.user == people[2] and found.stands_in
    services.rotation_override_remove(actor=COMMAND, override=override)
    services.rotation_override_remove(actor=COMMAND, override=override)
    assert RotationOverride.objects.get().starts_at == override.starts_at, "who was on, was on"
    (found,) = on_call_now(organisation=payments.organisation)
    assert found.user == people[0]
    assert [event.action for event in AuditEvent.objects.filter(subject_id=str(row.pk)).order_by("id")] == [
        "rotation.create", "rotation.override", "rotation.override_end",
    ]  # fmt: skip


def test_what_is_refused_says_what_to_do(payments: Team, people: list[User]) -> None:
    row, now = rotation(payments, people), timezone.now()
    stand_in = {"actor": COMMAND, "rotation": row, "user": people[0]}
    stranger = User.objects.create(email="stranger@example.test")
    for call, match in [
        (lambda: rotation(payments, people, zone="Mars/Phobos"), "no time zone"),
        (lambda: rotation(payments, people, zone="../../etc/passwd"), "no time zone"),
        (lambda: rotation(payments, [people[0], people[0]]), "two turns in a round"),
        (lambda: rotation(payments, people, every_days=0), "1 to 91 days"),
        (lambda: rotation(payments, people, days=0), "at least one weekday"),
        (lambda: services.rotation_override_add(**stand_in, starts_at=now, ends_at=now), "after it begins"),
        (lambda: services.rotation_override_add(**stand_in, starts_at=at(2020, 1, 1), ends_at=at(2020, 1, 2)), "over already"),
        (
            lambda: services.rotation_override_add(
                **stand_in | {"user": stranger}, starts_at=now, ends_at=now + timedelta(hours=1)
            ),
            "cannot be on call",
        ),
    ]:  # fmt: skip
        with pytest.raises(ServiceError, match=match):
            call()


def test_who_may_change_it_and_who_may_stand_in(payments: Team, search: Team, people: list[User]) -> None:
    row, now = rotation(payments, people), timezone.now()
    times = {"starts_at": now, "ends_at": now + timedelta(hours=1)}
    own, other = actor_of(payments, Role.ONCALL), actor_of(search, Role.MANAGER)
    for actor in (own, other):
        with pytest.raises(PermissionRefused, match=r"rotation\.change"):
            services.rotation_delete(actor=actor, rotation=row)
    with pytest.raises(PermissionRefused, match=r"rotation\.override"):
        services.rotation_override_add(actor=other, rotation=row, user=people[1], **times)
    assert services.rotation_override_add(actor=own, rotation=row, user=people[1], **times).by == own.name
    lead = Actor.of_user(person_of(payments, Role.MANAGER))
    with pytest.raises(PermissionRefused):  # into another team's hands
        services.rotation_set(actor=lead, organisation=payments.organisation, name="payments", team=search, members=people)
    services.rotation_delete(actor=lead, rotation=row)
    assert not Rotation.objects.exists() and not RotationOverride.objects.exists()
