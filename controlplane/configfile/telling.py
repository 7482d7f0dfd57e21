"""Who is told of alerts and how, in the document: channels with their secrets by reference, and policies; entries <-> services and rows."""

from __future__ import annotations

from typing import Any, cast

from django.db.models import QuerySet

from apps.accounts.models import Organisation
from apps.alerts.channel_checks import step_written, steps_read
from apps.alerts.channel_choices import EMAIL, KINDS, PAGERDUTY, PAGERDUTY_ADDRESS, WEBHOOK
from apps.alerts.channel_models import AlertChannel, NotificationPolicy
from apps.alerts.channel_services import channel_create, channel_delete, channel_update
from apps.alerts.policy_services import policy_delete, policy_set, steps_of
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.ownership.checks import clock_read, clock_written, days_read, days_written
from controlplane.configfile.document import KEPT, AlertChannelEntry, NotificationPolicyEntry
from controlplane.configfile.ownership import team_named
from controlplane.configfile.references import ReferenceRefused, References
from controlplane.masterkey import decrypt

_POLICY = {"from_minute": "from_time", "to_minute": "to_time", "group_wait_s": "group_wait", "repeat_minutes": "repeat"}
"""The service's names of fields that the document calls otherwise."""


def channel_apply(organisation: Organisation, entry: AlertChannelEntry, *, references: References, actor: Actor, reason: str) -> str:
    """Make a channel what the entry says. Returns what the diff says of a secret or an address that has a new value, empty for nothing."""
    team = team_named(organisation, entry.team, "team")
    row = AlertChannel.objects.select_related("organisation", "team", "person").filter(organisation=organisation, name=entry.name).first()
    _same_kind(row, entry, team.pk if team is not None else None)
    if entry.kind == EMAIL:
        if entry.address is not None:
            raise ServiceError("an e-mail channel has emails: list the addresses there", "address")
        if not entry.emails:
            raise ServiceError("list the e-mail addresses that it sends to", "emails")
        address, sources = ", ".join(entry.emails), {"address_source": ""}
    else:
        if entry.emails:
            raise ServiceError("only e-mail channels have emails: write where it sends as address, a reference", "emails")
        if row is None and entry.address is None and entry.kind != PAGERDUTY:
            example = KINDS[entry.kind].example
            raise ServiceError(f"say where it sends: env:NAME or file:path of an address such as {example}", "address")
        address, sources = _value(entry.address, "address", row is not None, references), _source("address", entry.address)
    if row is None and entry.kind == WEBHOOK and entry.secret is None:
        raise ServiceError("give its signing secret (whsec_…) by a reference, env:NAME or file:path: none is made for a document", "secret")
    secret = _value(entry.secret, "secret", bool(row is not None and row.secret), references)
    sources |= _source("secret", entry.secret)
    facts: dict[str, Any] = {
        "address": address,
        "secret": secret,
        "enabled": entry.enabled,
        "allow_private": entry.allow_private,
        **sources,
    }
    try:
        if row is None:
            channel_create(actor=actor, organisation=organisation, name=entry.name, kind=entry.kind, team=team, reason=reason, **facts)
            return ""
        now = channel_update(actor=actor, channel=row, reason=reason, **facts)
    except ServiceError as error:
        field = "emails" if error.field == "address" and entry.kind == EMAIL else error.field
        raise ServiceError(error.message, field) from None
    hidden = ("secret",) if entry.kind == EMAIL else ("address", "secret")
    new = [name for name in hidden if getattr(now, name) != getattr(row, name)]
    return "; ".join(f"{name}: has a new value" for name in new)


def channel_remove(organisation: Organisation, name: str, *, actor: Actor, reason: str) -> None:
    """What is gone already stays gone."""
    for row in channels_written(organisation).filter(name=name):
        channel_delete(actor=actor, channel=row, reason=reason)


def channels_written(organisation: Organisation) -> QuerySet[AlertChannel]:
    """Channels of the organisation and of teams: those of people are their own."""
    return AlertChannel.objects.select_related("organisation", "team", "person").filter(organisation=organisation, person=None)


def channels_of(organisation: Organisation) -> list[AlertChannelEntry]:
    """Channels with the references of what opens them; never a secret."""
    return [
        AlertChannelEntry(
            name=row.name,
            kind=cast(Any, row.kind),
            emails=_emails(row) if row.kind == EMAIL else [],
            address=None if row.kind == EMAIL or row.shown == PAGERDUTY_ADDRESS else row.address_source or KEPT,
            secret=(row.secret_source or KEPT) if row.secret else None,
            team=row.team.slug if row.team else "",
            allow_private=row.allow_private,
            enabled=row.enabled,
        )
        for row in channels_written(organisation).order_by("name")
    ]


def policy_apply(organisation: Organisation, entry: NotificationPolicyEntry, *, actor: Actor, reason: str) -> None:
    """Make a policy what the entry says."""
    if entry.group_wait % 1_000:
        raise ServiceError("write whole seconds, such as 15s", "group_wait")
    if entry.repeat % 60_000:
        raise ServiceError("write whole minutes, such as 60m; 0s: it does not begin again", "repeat")
    try:
        policy_set(
            actor=actor,
            organisation=organisation,
            name=entry.name,
            steps=steps_read(entry.steps),
            position=entry.position,
            team=team_named(organisation, entry.team, "team"),
            severity=entry.severity,
            labels=entry.labels,
            zone=entry.zone,
            days=days_read(entry.days),
            from_minute=clock_read(entry.from_time, "from_time"),
            to_minute=clock_read(entry.to_time, "to_time", end=True),
            group_wait_s=entry.group_wait // 1_000,
            repeat_minutes=entry.repeat // 60_000,
            enabled=entry.enabled,
            reason=reason,
        )
    except ServiceError as error:
        raise ServiceError(error.message, _POLICY.get(error.field or "", error.field)) from None


def policy_remove(organisation: Organisation, name: str, *, actor: Actor, reason: str) -> None:
    """What is gone already stays gone."""
    for row in NotificationPolicy.objects.select_related("organisation", "team").filter(organisation=organisation, name=name):
        policy_delete(actor=actor, policy=row, reason=reason)


def policies_of(organisation: Organisation) -> list[NotificationPolicyEntry]:
    """Policies in the order in which they are asked."""
    rows = NotificationPolicy.objects.filter(organisation=organisation).select_related("team").order_by("position", "name")
    return [
        NotificationPolicyEntry(
            name=row.name,
            position=row.position,
            team=row.team.slug if row.team else "",
            severity=cast(Any, row.severity),
            labels=dict(row.labels),
            steps=[step_written(step) for step in steps_of(row)],
            zone=row.zone,
            days=days_written(row.days),
            from_time=clock_written(row.from_minute),
            to_time=clock_written(row.to_minute),
            group_wait=row.group_wait_s * 1_000,
            repeat=row.repeat_minutes * 60_000,
            enabled=row.enabled,
        )
        for row in rows
    ]


def _same_kind(row: AlertChannel | None, entry: AlertChannelEntry, team_id: object) -> None:
    """Raises ServiceError where the entry is of another channel than the one with its name."""
    if row is None:
        return
    if row.person_id is not None:
        raise ServiceError("somebody has a channel of their own by that name: choose another name", "name")
    if row.kind != entry.kind:
        raise ServiceError(f"a channel's kind never changes, and this one is {row.kind}: add the new one under another name", "kind")
    if row.team_id != team_id:
        raise ServiceError("whose a channel is never changes: add the new one under another name, and take this one out", "team")


def _value(reference: str | None, field: str, stored: bool, references: References) -> str:
    """What a reference stands for; empty for what stays as it is. Raises ServiceError."""
    if reference == KEPT and not stored:
        raise ServiceError(f"there is no {field} to keep: give a reference, env:NAME or file:path", field)
    if reference is None or reference == KEPT:
        return ""
    try:
        return references.value(reference)
    except ReferenceRefused as error:
        raise ServiceError(str(error), field) from None


def _source(field: str, reference: str | None) -> dict[str, str]:
    """Where a value came from, for the service; nothing for one that stays."""
    return {} if reference is None or reference == KEPT else {f"{field}_source": reference}


def _emails(row: AlertChannel) -> list[str]:
    written = row.shown if "@" in row.shown else decrypt(row.address)  # many of them are shown by their number alone
    return written.split(", ")
