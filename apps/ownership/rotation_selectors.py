"""Reading rotations: their terms, who is on now and next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Exists, OuterRef, Prefetch, QuerySet
from django.utils import timezone

from apps.accounts.models import Membership, Organisation, User
from apps.ownership import choices, rules
from apps.ownership.models import Rotation, RotationMember, RotationOverride, Team
from apps.ui.status import Status


@dataclass(frozen=True, slots=True)
class OnCall:
    """One rotation at one moment. user: None is a gap, or (``covered`` False) hours that it does not cover. until: how long this holds,
    None: until somebody changes it. next_user, next_at: who comes then, None where nobody else does. stands_in: by an override."""

    rotation: Rotation
    user: User | None
    until: datetime | None
    next_user: User | None
    next_at: datetime | None
    stands_in: bool = False
    covered: bool = True

    @property
    def status(self) -> Status:
        """Whether somebody is there, for pages."""
        return choices.ON if self.user else choices.GAP if self.covered else choices.RESTING


@dataclass(frozen=True, slots=True)
class Shift:
    """One line of what comes: a turn or a gap. ends_at: None beyond what was looked at. now: it holds this moment."""

    starts_at: datetime
    ends_at: datetime | None
    user: User | None
    status: Status
    stands_in: bool
    now: bool


def rotations_of(organisation: Organisation, *, team: Team | None = None) -> QuerySet[Rotation]:
    """Rotations by name with their team, members and those who stand in, and whether each of these can be on: three queries in all."""
    there = Membership.objects.filter(organisation=organisation, user_id=OuterRef("user_id"), user__is_active=True)
    rows = Rotation.objects.filter(organisation=organisation).select_related("team", "organisation").order_by("name")
    rows = rows.prefetch_related(
        Prefetch("member_rows", RotationMember.objects.select_related("user").annotate(there=Exists(there)).order_by("position")),
        Prefetch("overrides", RotationOverride.objects.select_related("user").annotate(there=Exists(there)).order_by("created_at", "id")),
    )
    return rows if team is None else rows.filter(team=team)


def rotation_get(organisation: Organisation, rotation_id: UUID) -> Rotation | None:
    """One of the organisation's rotations with its people, or None."""
    return rotations_of(organisation).filter(pk=rotation_id).first()


def people_of(rotation: Rotation) -> dict[str, User]:
    """Everybody who may be on, by id as text."""
    return {str(row.user_id): row.user for row in [*rotation.member_rows.all(), *rotation.overrides.all()]}


def terms_of(rotation: Rotation) -> rules.Terms:
    """What decides who is on; from rows that ``rotations_of`` brought, no query. People who are disabled or left are absent."""
    return terms_with(rotation, rotation.member_rows.all(), rotation.overrides.all())


def terms_with(rotation: Rotation, members: Iterable[RotationMember], overrides: Iterable[RotationOverride]) -> rules.Terms:
    """The same with the people given, each with ``there``: members in the order of their turns, stand-ins in that of being arranged."""
    members, overrides = list(members), list(overrides)
    rows = [*members, *overrides]
    return rules.Terms(
        zone=rotation.zone,
        starts_on=rotation.starts_on,
        minute=rotation.minute,
        every_days=rotation.every_days,
        members=tuple(str(row.user_id) for row in members),
        days=frozenset(day for day in range(7) if rotation.days & 1 << day),
        from_minute=rotation.from_minute,
        to_minute=rotation.to_minute,
        absent=frozenset(str(row.user_id) for row in rows if not row.there),  # type: ignore[attr-defined]
        overrides=tuple(rules.Override(row.starts_at, row.ends_at, str(row.user_id)) for row in overrides),
    )


def standing(rotations: Sequence[Rotation], *, at: datetime) -> list[OnCall]:
    """Who is on in each of these rotations at a moment, by the same order; no query."""
    return [on_at(rotation, rotation.member_rows.all(), rotation.overrides.all(), at=at) for rotation in rotations]


def on_at(rotation: Rotation, members: Iterable[RotationMember], overrides: Iterable[RotationOverride], *, at: datetime) -> OnCall:
    """Who is on in one rotation at a moment, its people given as for ``terms_with``; no query."""
    members, overrides = list(members), list(overrides)
    people = {str(row.user_id): row.user for row in [*members, *overrides]}
    terms = terms_with(rotation, members, overrides)
    now, coming = rules.now_and_next(terms, at)
    return OnCall(
        rotation=rotation,
        user=people.get(now.person),
        until=now.ends_at if now.ends_at < at + rules.horizon(terms) else None,
        next_user=people.get(coming.person) if coming else None,
        next_at=coming.starts_at if coming else None,
        stands_in=now.override,
        covered=now.covered or bool(now.person),
    )


def on_call_now(
    *, organisation: Organisation, team: Team | None = None, at: datetime | None = None, kind: str = choices.ONCALL
) -> list[OnCall]:
    """Who is on call in each rotation of the organisation, or of one team, at ``at`` (default: now): three queries at most.

    A moment in the past is told by the terms of today; what they were, and who changed them, the audit keeps.
    """
    rows = list(rotations_of(organisation, team=team).filter(kind=kind))
    return standing(rows, at=at or timezone.now())


def shifts(rotation: Rotation, *, at: datetime, days: int) -> list[Shift]:
    """What comes in the next ``days``, without hours that are not covered; no query."""
    people, found, end = people_of(rotation), [], at + timedelta(days=days)
    for turn in rules.turns(terms_of(rotation), at, end):
        if turn.person or turn.gap:
            until = turn.ends_at if turn.ends_at < end else None
            state = choices.ON if turn.person else choices.GAP
            now = turn.starts_at <= at < turn.ends_at
            found.append(Shift(turn.starts_at, until, people.get(turn.person), state, turn.override, now))
    return found
