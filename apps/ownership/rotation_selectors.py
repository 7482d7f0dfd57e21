"""Reading rotations: their terms, who is on now and next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Prefetch, QuerySet
from django.utils import timezone

from apps.accounts.models import Membership, Organisation, User
from apps.ownership import choices, rules
from apps.ownership.models import Rotation, RotationMember, RotationOverride, Team


@dataclass(frozen=True, slots=True)
class OnCall:
    """One rotation at one moment. user: None is a gap, or (``covered`` False) hours that it does not cover. until: how long this holds.
    next_user, next_at: who comes then, None where nobody else does. stands_in: by an override."""

    rotation: Rotation
    user: User | None
    until: datetime
    next_user: User | None
    next_at: datetime | None
    stands_in: bool = False
    covered: bool = True


def rotations_of(organisation: Organisation, *, team: Team | None = None) -> QuerySet[Rotation]:
    """Rotations by name with their team, members and those who stand in: four queries in all."""
    rows = Rotation.objects.filter(organisation=organisation).select_related("team", "organisation").order_by("name")
    rows = rows.prefetch_related(
        Prefetch("member_rows", RotationMember.objects.select_related("user").order_by("position")),
        Prefetch("overrides", RotationOverride.objects.select_related("user").order_by("created_at", "id")),
    )
    return rows if team is None else rows.filter(team=team)


def people_of(rotation: Rotation) -> dict[str, User]:
    """Everybody who may be on, by id as text."""
    rows = [*rotation.member_rows.all(), *rotation.overrides.all()]
    return {str(row.user_id): row.user for row in rows}


def absent_of(organisation: Organisation, rotations: Iterable[Rotation]) -> frozenset[str]:
    """Ids of their people who are disabled or belong to the organisation no more: one query."""
    named = {pk for rotation in rotations for pk in people_of(rotation)}
    there = Membership.objects.filter(organisation=organisation, user_id__in=named, user__is_active=True).values_list("user_id", flat=True)
    return frozenset(named - {str(pk) for pk in there})


def terms_of(rotation: Rotation, absent: frozenset[str] = frozenset()) -> rules.Terms:
    """What decides who is on; from rows that ``rotations_of`` brought, no query."""
    return rules.Terms(
        zone=rotation.zone,
        starts_on=rotation.starts_on,
        minute=rotation.minute,
        every_days=rotation.every_days,
        members=tuple(str(row.user_id) for row in rotation.member_rows.all()),
        days=frozenset(day for day in range(7) if rotation.days & 1 << day),
        from_minute=rotation.from_minute,
        to_minute=rotation.to_minute,
        absent=absent,
        overrides=tuple(rules.Override(row.starts_at, row.ends_at, str(row.user_id)) for row in rotation.overrides.all()),
    )


def standing(rotations: Sequence[Rotation], *, absent: frozenset[str], at: datetime) -> list[OnCall]:
    """Who is on in each of these rotations at a moment, by the same order; no query."""
    found = []
    for rotation in rotations:
        people = people_of(rotation)
        now, coming = rules.now_and_next(terms_of(rotation, absent), at)
        found.append(
            OnCall(
                rotation=rotation,
                user=people.get(now.person),
                until=now.ends_at,
                next_user=people.get(coming.person) if coming else None,
                next_at=coming.starts_at if coming else None,
                stands_in=now.override,
                covered=now.covered or bool(now.person),
            )
        )
    return found


def on_call_now(
    *, organisation: Organisation, team: Team | None = None, at: datetime | None = None, kind: str = choices.ONCALL
) -> list[OnCall]:
    """Who is on call in each rotation of the organisation, or of one team, at ``at`` (default: now): five queries at most.

    A moment in the past is told by the terms of today; what they were, and who changed them, the audit keeps.
    """
    rows = list(rotations_of(organisation, team=team).filter(kind=kind))
    return standing(rows, absent=absent_of(organisation, rows), at=at or timezone.now())
