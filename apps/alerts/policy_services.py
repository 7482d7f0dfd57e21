"""Changing who is told of what: notification policies with their ladders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Max

from apps.accounts.models import Organisation
from apps.accounts.selectors import permission_require
from apps.alerts import channel_checks as checks
from apps.alerts import channel_choices as choices
from apps.alerts.channel_models import AlertChannel, EscalationStep, NotificationPolicy
from apps.alerts.rule_checks import check_labels
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.ownership.checks import check_zone
from apps.ownership.choices import ONCALL
from apps.ownership.models import Rotation, Team

ACTION = "notification_policy.change"


@transaction.atomic
def policy_set(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    steps: Sequence[checks.StepWords],
    position: int | None = None,
    team: Team | None = None,
    severity: str = "",
    labels: Mapping[str, str] | None = None,
    zone: str = "UTC",
    days: int = 127,
    from_minute: int = 0,
    to_minute: int = 1440,
    group_wait_s: int = 15,
    repeat_minutes: int = 60,
    enabled: bool = True,
    reason: str = "",
) -> NotificationPolicy:
    """The policy with this name, created where missing, else made as given; units as ``NotificationPolicy``. position None: where it is, or
    last. Raises ServiceError."""
    checks.check_name(name, "Policy")
    rows = NotificationPolicy.objects.select_for_update(of=("self",)).select_related("team")
    row = rows.filter(organisation=organisation, name=name).first()
    held_by = row.team_id if row else team.pk if team else None
    permission_require(actor=actor, action=ACTION, organisation=organisation, team=held_by)
    if (team.pk if team else None) != held_by:
        permission_require(actor=actor, action=ACTION, organisation=organisation, team=team.pk if team else None)
    if team is not None and team.organisation_id != organisation.pk:
        raise ServiceError("The team belongs to another organisation.", "team")
    if severity not in ("", *choices.LEVELS):
        raise ServiceError(f"A severity is one of {', '.join(choices.LEVELS)}, or nothing for all.", "severity")
    check_zone(zone)
    checks.check_between(days, 1, 127, "days", "Days")
    checks.check_between(from_minute, 0, 1439, "from_minute", "Minutes of a day")
    checks.check_between(to_minute, 1, 1440, "to_minute", "Minutes of a day")
    checks.check_between(group_wait_s, 0, 600, "group_wait_s", "Seconds to wait for others of the group")
    checks.check_between(repeat_minutes, 0, 1440, "repeat_minutes", "Minutes until it begins again")
    found = _steps(organisation, steps)
    before = policy_facts(row) if row else {}
    row = row or NotificationPolicy(organisation=organisation, name=name)
    row.team, row.severity, row.labels = team, severity, check_labels(labels or {})
    row.zone, row.days, row.from_minute, row.to_minute = zone, days, from_minute, to_minute
    row.group_wait_s, row.repeat_minutes, row.enabled = group_wait_s, repeat_minutes, enabled
    if position is not None:
        row.position = checks.check_between(position, 0, 999, "position", "Place")
    elif not before:
        last = NotificationPolicy.objects.filter(organisation=organisation).aggregate(last=Max("position"))["last"]
        row.position = 0 if last is None else min(last + 1, 999)
    wanted = _facts(row, found)
    if wanted == before:
        return row
    row.save()
    row.steps.all().delete()
    EscalationStep.objects.bulk_create(
        EscalationStep(policy=row, position=at, after_minutes=words.after_minutes, target=words.target, channel=channel, rotation=rotation)
        for at, (words, channel, rotation) in enumerate(found)
    )
    changed = {field: value for field, value in before.items() if wanted[field] != value}
    after = {field: wanted[field] for field in changed} if before else wanted
    change_record(actor, "notification_policy.update" if before else "notification_policy.create", row, changed, after, reason)
    return row


@transaction.atomic
def policy_delete(*, actor: Actor, policy: NotificationPolicy, reason: str = "") -> None:
    """Delete a policy; what it tells of at this moment goes on by the built-in one."""
    permission_require(actor=actor, action=ACTION, organisation=policy.organisation, team=policy.team_id)
    change_record(actor, "notification_policy.delete", policy, policy_facts(policy), {}, reason)
    policy.delete()


def steps_of(row: NotificationPolicy) -> list[checks.StepWords]:
    """Its ladder as people write it."""
    rows = row.steps.select_related("channel", "rotation").order_by("after_minutes", "position")
    return [
        checks.StepWords(
            step.after_minutes, step.target, step.channel.name if step.channel else step.rotation.name if step.rotation else ""
        )
        for step in rows
    ]


def policy_facts(row: NotificationPolicy) -> dict[str, Any]:
    """What the audit keeps."""
    return _facts(row, [(words, None, None) for words in steps_of(row)])


Found = tuple[checks.StepWords, AlertChannel | None, Rotation | None]


def _steps(organisation: Organisation, steps: Sequence[checks.StepWords]) -> list[Found]:
    """Each with the channel or rotation that it names. Raises ServiceError for one that is not there."""
    words = checks.steps_read([checks.step_written(step) for step in steps])
    channels = {row.name: row for row in AlertChannel.objects.filter(organisation=organisation, person=None)}
    rotations = {row.name: row for row in Rotation.objects.filter(organisation=organisation, kind=ONCALL)}
    found: list[Found] = []
    for step in words:
        channel = rotation = None
        if step.target == choices.CHANNEL:
            channel = channels.get(step.name)
            if channel is None:
                raise ServiceError(f"There is no channel {step.name[:60]!r}: add it first, or write one of {_some(channels)}.", "steps")
        elif step.name:
            rotation = rotations.get(step.name)
            if rotation is None:
                raise ServiceError(f"There is no on-call rotation {step.name[:60]!r}: write one of {_some(rotations)}.", "steps")
        found.append((step, channel, rotation))
    return found


def _some(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names)[:8]) or "those that you add"


def _facts(row: NotificationPolicy, steps: Sequence[Found]) -> dict[str, Any]:
    return {
        "position": row.position,
        "enabled": row.enabled,
        "team": row.team.slug if row.team else "",
        "severity": row.severity,
        "labels": dict(row.labels),
        "zone": row.zone,
        "days": row.days,
        "from_minute": row.from_minute,
        "to_minute": row.to_minute,
        "group_wait_s": row.group_wait_s,
        "repeat_minutes": row.repeat_minutes,
        "steps": [checks.step_written(words) for words, _, _ in steps],
    }
