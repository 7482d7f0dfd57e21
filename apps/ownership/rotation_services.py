"""Changing rotations: who takes turns, when they hand over, who stands in."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from apps.accounts.models import Organisation, User
from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record, change_record
from apps.ownership import checks, choices, rules
from apps.ownership.models import Rotation, RotationMember, RotationOverride, Team

LONGEST_OVERRIDE = timedelta(days=92)


@transaction.atomic
def rotation_set(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    kind: str = choices.ONCALL,
    team: Team | None = None,
    zone: str = "UTC",
    weekday: int = 0,
    minute: int = 9 * 60,
    every_days: int = 7,
    members: Sequence[User] = (),
    days: int = 127,
    from_minute: int = 0,
    to_minute: int = rules.DAY_MINUTES,
    starts_on: date | None = None,
    reason: str = "",
) -> Rotation:
    """The rotation with this name, created where missing, else made as given; units as ``Rotation``, weekday Monday 0.

    starts_on: day of the first hand-over, moved to the weekday on or before it; None keeps it where the weekday stays, else the
    first member is on from the last hand-over on. Raises ServiceError.
    """
    checks.check_slug("Rotation", name, "name")
    row = Rotation.objects.select_for_update(of=("self",)).select_related("team").filter(organisation=organisation, name=name).first()
    held_by = row.team_id if row else team.pk if team else None
    permission_require(actor=actor, action="rotation.change", organisation=organisation, team=held_by)
    if team is not None and team.pk != held_by:
        permission_require(actor=actor, action="rotation.change", organisation=organisation, team=team.pk)
    _check(organisation, kind=kind, team=team, zone=zone, weekday=weekday, minute=minute, every_days=every_days, members=members)
    if not 1 <= days <= 127 or not 0 <= from_minute < rules.DAY_MINUTES or not 0 < to_minute <= rules.DAY_MINUTES:
        raise ServiceError("Name at least one weekday, and hours of one day.", field="days")
    before = rotation_facts(row) if row else {}
    if starts_on is None and row is not None and (every_days == 1 or row.starts_on.weekday() == weekday):
        starts_on = row.starts_on
    if starts_on is None:
        starts_on = rules.started(weekday, minute, zone, timezone.now())
    elif every_days != 1:
        starts_on -= timedelta(days=(starts_on.weekday() - weekday) % 7)
    row = row or Rotation(organisation=organisation, name=name)
    row.kind, row.team, row.zone, row.minute, row.every_days, row.starts_on = kind, team, zone, minute, every_days, starts_on
    row.days, row.from_minute, row.to_minute = days, from_minute, to_minute
    wanted = _facts(row, [user.email for user in members])
    if wanted == before:
        return row
    row.save()
    row.member_rows.all().delete()
    RotationMember.objects.bulk_create(RotationMember(rotation=row, user=user, position=at) for at, user in enumerate(members))
    changed = {field: value for field, value in before.items() if wanted[field] != value}
    after = {field: wanted[field] for field in changed} or {"name": name, **wanted}
    change_record(actor, "rotation.update" if before else "rotation.create", row, changed, after, reason)
    return row


def _check(
    organisation: Organisation,
    *,
    kind: str,
    team: Team | None,
    zone: str,
    weekday: int,
    minute: int,
    every_days: int,
    members: Sequence[User],
) -> None:
    if kind not in choices.ROTATION_KINDS:
        raise ServiceError(f"{kind!r} is no kind of rotation; there are {', '.join(choices.ROTATION_KINDS)}.", field="kind")
    if team is not None and team.organisation_id != organisation.pk:
        raise ServiceError("The team belongs to another organisation.", field="team")
    checks.check_zone(zone)
    if not 0 <= weekday <= 6 or not 0 <= minute < rules.DAY_MINUTES or not 1 <= every_days <= 91:
        raise ServiceError("Hand over on a weekday, at a time of day, after 1 to 91 days.", field="every_days")
    checks.check_people([user.email for user in members])
    belongs = set(User.objects.filter(memberships__organisation=organisation, is_active=True).values_list("pk", flat=True))
    strangers = [user.email for user in members if user.pk not in belongs]
    if strangers:
        raise ServiceError(
            f"{', '.join(strangers)} cannot be on call: no active person with a role in {organisation.name}.", field="members"
        )


@transaction.atomic
def rotation_delete(*, actor: Actor, rotation: Rotation, reason: str = "") -> None:
    """Delete a rotation with who stands in."""
    permission_require(actor=actor, action="rotation.change", organisation=rotation.organisation, team=rotation.team_id)
    change_record(actor, "rotation.delete", rotation, rotation_facts(rotation), {}, reason)
    rotation.delete()


@transaction.atomic
def rotation_override_add(
    *, actor: Actor, rotation: Rotation, user: User, starts_at: datetime, ends_at: datetime, reason: str = ""
) -> RotationOverride:
    """Somebody stands in from ``starts_at`` to ``ends_at``, at most 92 days; of two that overlap the later one counts."""
    permission_require(actor=actor, action="rotation.override", organisation=rotation.organisation, team=rotation.team_id)
    if starts_at >= ends_at or ends_at - starts_at > LONGEST_OVERRIDE:
        raise ServiceError("Let it end after it begins, at most 92 days later.", field="ends_at")
    if ends_at <= timezone.now():
        raise ServiceError("That is over already: who was on call does not change afterwards.", field="ends_at")
    if not user.is_active or not user.memberships.filter(organisation=rotation.organisation).exists():
        raise ServiceError(f"{user.email} cannot be on call: no active person with a role in {rotation.organisation.name}.", field="user")
    row = RotationOverride.objects.create(
        rotation=rotation, user=user, starts_at=starts_at, ends_at=ends_at,
        reason=checks.check_line(reason, what="a reason", field="reason", longest=300, required=False), by=actor.name,
    )  # fmt: skip
    _override_record(actor, "rotation.override", rotation, {}, _override_facts(row), reason)
    return row


@transaction.atomic
def rotation_override_remove(*, actor: Actor, override: RotationOverride, reason: str = "") -> None:
    """Whose turn it is, is on again. One that runs ends now, so that who was on stays what it was; a second time changes nothing."""
    rotation = override.rotation
    permission_require(actor=actor, action="rotation.override", organisation=rotation.organisation, team=rotation.team_id)
    row = RotationOverride.objects.select_for_update(of=("self",)).select_related("user").filter(pk=override.pk).first()
    now = timezone.now()
    if row is None or row.ends_at <= now:
        return
    before = _override_facts(row)
    if row.starts_at < now:
        row.ends_at = now
        row.save(update_fields=["ends_at"])
    else:
        row.delete()
    _override_record(actor, "rotation.override_end", rotation, before, {"ends_at": now}, reason)


def rotation_facts(rotation: Rotation) -> dict[str, Any]:
    """What the audit keeps of a rotation."""
    return _facts(rotation, [row.user.email for row in rotation.member_rows.select_related("user")])


def _facts(row: Rotation, members: list[str]) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "team": row.team.slug if row.team else "",
        "zone": row.zone,
        "starts_on": row.starts_on.isoformat(),
        "hand_over": f"{choices.WEEKDAYS[row.starts_on.weekday()]} {checks.clock_written(row.minute)}",
        "every_days": row.every_days,
        "members": members,
        "days": checks.days_written(row.days) or "every day",
        "hours": f"{checks.clock_written(row.from_minute)}-{checks.clock_written(row.to_minute)}",
    }


def _override_facts(row: RotationOverride) -> dict[str, Any]:
    return {"person": row.user.email, "starts_at": row.starts_at, "ends_at": row.ends_at}


def _override_record(actor: Actor, action: str, rotation: Rotation, before: dict[str, Any], after: dict[str, Any], reason: str) -> None:
    audit_record(
        actor=actor, action=action, subject_kind="rotation", subject_id=rotation.pk, subject_name=rotation.name,
        before=before, after=after, reason=reason,
    )  # fmt: skip
