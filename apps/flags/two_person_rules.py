"""Writes of the rules that ask for a second person. A new one holds at once; one that is removed holds on for a day, and everybody who
could have set it is told: nobody lifts a rule, flips alone and puts it back unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone as clock

from apps.accounts.selectors import admins_of, permission_require
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record
from apps.flags import change_choices as choices
from apps.flags.change_notices import notice_add
from apps.flags.change_rules import LOOSENING, rule_words
from apps.flags.choices import SUBJECTS, SUBJECTS_OF
from apps.flags.four_eyes import rule_of
from apps.flags.models import TwoPersonRule

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.audit.actors import Actor
    from apps.ownership.models import Team


@transaction.atomic
def two_person_rule_add(
    *,
    actor: Actor,
    organisation: Organisation,
    kind: str = "",
    subject_kind: str = "",
    environment: str = "",
    team: Team | None = None,
    turning: str = "on",
    reason: str = "",
) -> TwoPersonRule:
    """From now on flips that fit every field given take two persons; the same again changes nothing, and keeps one that was to end.

    Raises ServiceError for what is no kind, subject, environment or direction, or for a team of another organisation.
    """
    permission_require(actor=actor, action="organisation.change", organisation=organisation)
    if kind and kind not in SUBJECTS_OF:
        raise ServiceError(f"{kind!r} is no kind of flag: use {', '.join(SUBJECTS_OF)}, or none for all", "kind")
    if subject_kind and subject_kind not in (SUBJECTS_OF[kind] if kind else dict(SUBJECTS)):
        raise ServiceError(f"a flag {f'of the kind {kind} ' if kind else ''}is never about a {subject_kind!r}", "subject_kind")
    if environment and environment not in choices.ENVIRONMENTS:
        raise ServiceError(f"{environment!r} is no environment: use {', '.join(choices.ENVIRONMENTS)}, or none for all", "environment")
    if turning not in choices.TURNING:
        raise ServiceError(f"{turning!r} is no direction: use {', '.join(choices.TURNING)}", "turning")
    if team is not None and team.organisation_id != organisation.pk:
        raise ServiceError("the team belongs to another organisation", "team")
    wanted: dict[str, Any] = {
        "organisation": organisation, "kind": kind, "subject_kind": subject_kind, "environment": environment, "team": team,
        "turning": turning,
    }  # fmt: skip
    same = TwoPersonRule.objects.select_for_update(of=("self",)).filter(**wanted)
    row = same.filter(ends_at=None).first()
    if row is not None:
        return row
    row = same.filter(ends_at__gt=clock.now()).first()
    if row is not None:
        row.ends_at, row.ended_by = None, ""
        row.save(update_fields=["ends_at", "ended_by"])
    else:
        row = TwoPersonRule.objects.create(**wanted, reason=reason.strip()[:500], created_by=actor.name)
    _record(actor, "two_person_rule.add", row, {}, rule_facts(row), reason)
    return row


@transaction.atomic
def two_person_rule_remove(*, actor: Actor, rule: TwoPersonRule, reason: str) -> TwoPersonRule:
    """The rule ends a day from now; a second time changes nothing. Raises ServiceError without a reason."""
    permission_require(actor=actor, action="organisation.change", organisation=rule.organisation)
    if not reason.strip():
        raise ServiceError("say why: whoever asks later why one person was enough reads it", "reason")
    row = TwoPersonRule.objects.select_for_update(of=("self",)).select_related("organisation", "team").get(pk=rule.pk)
    if row.ends_at is not None:
        return row
    row.ends_at, row.ended_by = clock.now() + LOOSENING, actor.name
    row.save(update_fields=["ends_at", "ended_by"])
    words = two_person_words(row)
    notice_add(
        organisation=row.organisation,
        kind=choices.LOOSENED,
        about=f"{row.pk}:{row.ends_at.isoformat()}",
        addresses=admins_of(row.organisation),
        subject=f"from {row.ends_at:%Y-%m-%d %H:%M} UTC on one person is enough for {words}",
        lines=[
            f"{actor.name} removed a rule of {row.organisation.name}: {words} took two persons.",
            f"Why: {reason.strip()}",
            f"It holds until {row.ends_at:%Y-%m-%d %H:%M} UTC. Until then an admin can keep it: /changes/rules/",
        ],
    )
    _record(actor, "two_person_rule.remove", row, {"ends_at": None}, {"ends_at": row.ends_at}, reason)
    return row


def two_person_words(row: TwoPersonRule) -> str:
    """A rule for people."""
    return rule_words(rule_of(row), team=row.team.name if row.team else "")


def rule_facts(row: TwoPersonRule) -> dict[str, Any]:
    """What the audit keeps of a rule."""
    return {
        "kind": row.kind,
        "subject_kind": row.subject_kind,
        "environment": row.environment,
        "team": row.team.slug if row.team else "",
        "turning": row.turning,
        "ends_at": row.ends_at,
    }


def _record(actor: Actor, action: str, row: TwoPersonRule, before: dict[str, Any], after: dict[str, Any], reason: str) -> None:
    audit_record(
        actor=actor,
        action=action,
        subject_kind="two_person_rule",
        subject_id=row.pk,
        subject_name=two_person_words(row)[:300],
        before=before,
        after=after,
        reason=reason,
    )
