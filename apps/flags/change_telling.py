"""What people are told about requests: who could approve one, who asked for one, and everybody who owns a flag that was flipped alone."""

from __future__ import annotations

from apps.audit.registry import event_record
from apps.flags import change_choices as choices
from apps.flags.change_notices import asker_of, notice_add, owners_of
from apps.flags.models import ChangeRequest, TwoPersonRule


def asked(row: ChangeRequest, rule: TwoPersonRule | None = None) -> None:
    """A request waits: the flag's owners hear of it, and the team that the rule names, which may own only what the flag is about."""
    notice_add(
        organisation=row.organisation,
        kind=choices.REQUEST,
        about=str(row.pk),
        addresses=_owners(row, rule),
        subject=f"{row.asked_by} asks to {_verb(row)} {row.flag_name}",
        lines=[
            f"{row.asked_by} asks to {_verb(row)} the flag {row.flag_name} of {row.organisation.name}.",
            f"Why: {row.reason}",
            f"It takes two persons: {row.rule}." if row.rule else "It takes two persons.",
            f"It can be approved until {row.expires_at:%Y-%m-%d %H:%M} UTC, under Changes: /changes/{row.pk}/",
        ],
    )


def glass_broken(row: ChangeRequest, rule: TwoPersonRule | None = None) -> None:
    """One person did what takes two: a fact on every timeline, and an e-mail to the owners and to the team that the rule names."""
    event_record(
        kind=choices.GLASS_EVENT,
        subject_kind="flag",
        subject_id=str(row.flag_id),
        subject_name=row.flag_name,
        data={
            "organisation": str(row.organisation_id),
            "change": str(row.pk),
            "on": row.turn_on,
            "by": row.asked_by,
            "reason": row.reason,
            "rule": row.rule,
        },
    )
    notice_add(
        organisation=row.organisation,
        kind=choices.GLASS,
        about=str(row.pk),
        addresses=_owners(row, rule),
        subject=f"{row.asked_by} broke glass to {_verb(row)} {row.flag_name}",
        lines=[
            f"{row.asked_by} did alone what takes two persons: {_verb(row)} the flag {row.flag_name} of {row.organisation.name}.",
            f"Why: {row.reason}",
            f"The rule that was passed over: {row.rule}.",
            f"Somebody else has to look at it and close the review, under Changes: /changes/{row.pk}/",
        ],
    )


def came_of(row: ChangeRequest) -> None:
    """Whoever asked hears what became of it, once for each state."""
    status = choices.REVIEWS[row.review] if row.review == choices.CLOSED else choices.STATES[row.state]
    lines = [f"Your request to {_verb(row)} the flag {row.flag_name} of {row.organisation.name}: {status.label.lower()}."]
    if row.decided_by:
        lines.append(f"By {row.decided_by}{': ' + row.decided_reason if row.decided_reason else '.'}")
    if row.detail:
        lines.append(f"Note: {row.detail}.")
    if row.verdict:
        lines.append(f"{row.reviewed_by}: {choices.VERDICTS[row.verdict]}. {row.review_note}")
    lines.append(f"/changes/{row.pk}/")
    notice_add(
        organisation=row.organisation,
        kind=choices.OUTCOME,
        about=f"{row.pk}:{row.state}:{row.review}",
        addresses=asker_of(row),
        subject=f"{row.flag_name}: {status.label.lower()}",
        lines=lines,
    )


def _owners(row: ChangeRequest, rule: TwoPersonRule | None) -> list[str]:
    """Whom to tell: who owns the flag, and the team that the rule names."""
    named = rule.team if rule is not None else None
    return owners_of(row.organisation, row.team) + (owners_of(row.organisation, named) if named not in (None, row.team) else [])


def _verb(row: ChangeRequest) -> str:
    if row.gives:
        return f"change to {row.to_name or 'nobody'} the owner of"
    when = f" at {row.at:%Y-%m-%d %H:%M} UTC" if row.at else ""
    return f"turn {'on' if row.turn_on else 'off'}{when}"
