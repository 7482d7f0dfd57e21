"""Changing channels, and trying one. What opens a receiver (addresses, keys) is kept under the master key and never shown again."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import ProtectedError
from django.utils import timezone as clock

from apps.accounts.models import Membership, Organisation, User
from apps.accounts.selectors import permission_require
from apps.alerts import channel_checks as checks
from apps.alerts import channel_choices as choices
from apps.alerts.channel_models import AlertChannel, Delivery
from apps.alerts.wording import test_message
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record, change_record
from apps.contracts.identifiers import uuid7
from apps.contracts.webhooks import secret_made
from apps.ownership.models import Team
from controlplane.masterkey import decrypt, encrypt

ACTION, OWN = "alert_channel.change", "alert_channel.own"


@transaction.atomic
def channel_create(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    kind: str,
    address: str = "",
    secret: str = "",
    team: Team | None = None,
    person: User | None = None,
    allow_private: bool = False,
    enabled: bool = True,
    address_source: str = "",
    secret_source: str = "",
    reason: str = "",
) -> tuple[AlertChannel, str]:
    """A new channel, and the signing secret that was made for it, which is shown this once (empty where none was made).

    person: it is that person's own; everybody makes their own only. address_source, secret_source: references that they were read from.
    Raises ServiceError.
    """
    _allowed(actor, organisation, team, person)
    if allow_private:  # where it leads is everybody's matter, whoever's it is
        permission_require(actor=actor, action=ACTION, organisation=organisation, team=team.pk if team else None)
    checks.check_name(name, "Channel")
    facts = checks.check_kind(kind)
    if team is not None and team.organisation_id != organisation.pk:
        raise ServiceError("The team belongs to another organisation.", "team")
    if AlertChannel.objects.filter(organisation=organisation, name=name).exists():
        raise ServiceError(f"There is a channel {name!r} already: edit that one, or choose another short name.", "name")
    where = checks.check_address(kind, address, allow_private=allow_private)
    made = "" if secret or kind != choices.WEBHOOK else secret_made()
    opened = checks.check_secret(kind, secret or made)
    row = AlertChannel.objects.create(
        organisation=organisation,
        team=team,
        person=person,
        name=name,
        kind=kind,
        address=encrypt(where.kept),
        address_source=address_source,
        secret=encrypt(opened) if opened else "",
        secret_source=secret_source,
        shown=where.shown,
        allow_private=allow_private,
        enabled=enabled,
    )
    change_record(actor, "alert_channel.create", row, {}, {**channel_facts(row), "what": facts.label}, reason)
    return row, made


@transaction.atomic
def channel_update(
    *,
    actor: Actor,
    channel: AlertChannel,
    address: str = "",
    secret: str = "",
    allow_private: bool | None = None,
    enabled: bool | None = None,
    address_source: str | None = None,
    secret_source: str | None = None,
    reason: str = "",
) -> AlertChannel:
    """Change a channel; what is empty or None stays, but a new value that is typed comes from no reference any more. Kind, name and whose
    it is never change. Raises ServiceError."""
    row = AlertChannel.objects.select_for_update(of=("self",)).select_related("organisation", "team", "person").get(pk=channel.pk)
    _allowed(actor, row.organisation, row.team, row.person)
    before = channel_facts(row)
    private = row.allow_private if allow_private is None else allow_private
    if private and (not row.allow_private or address.strip()):
        permission_require(actor=actor, action=ACTION, organisation=row.organisation, team=row.team_id)
    if address.strip() or private != row.allow_private:  # a narrower channel must still be able to call where it calls
        where = checks.check_address(row.kind, address.strip() or decrypt(row.address), allow_private=private)
        if where.kept != decrypt(row.address):
            row.address, row.shown, row.address_source = encrypt(where.kept), where.shown, ""
            before["address"] = "another"
    if secret.strip() and checks.check_secret(row.kind, secret) != (decrypt(row.secret) if row.secret else ""):
        row.secret, row.secret_source = encrypt(checks.check_secret(row.kind, secret)), ""
        before["secret_changed"] = False
    row.address_source = row.address_source if address_source is None else address_source
    row.secret_source = row.secret_source if secret_source is None else secret_source
    row.allow_private, row.enabled = private, row.enabled if enabled is None else enabled
    after = channel_facts(row) | ({"address": "changed"} if "address" in before else {})
    after |= {"secret_changed": True} if "secret_changed" in before else {}
    changed = {name: value for name, value in before.items() if after[name] != value}
    if changed:
        row.save()
        change_record(actor, "alert_channel.update", row, changed, {name: after[name] for name in changed}, reason)
    return row


@transaction.atomic
def channel_delete(*, actor: Actor, channel: AlertChannel, reason: str = "") -> None:
    """Delete a channel that no policy uses; its deliveries stay readable. Raises ServiceError."""
    _allowed(actor, channel.organisation, channel.team, channel.person)
    used = sorted(set(channel.steps.values_list("policy__name", flat=True)))
    if used:
        raise ServiceError(f"Routing uses it: take it out of {', '.join(used[:5])} first.")
    change_record(actor, "alert_channel.delete", channel, channel_facts(channel), {}, reason)
    try:
        channel.delete()
    except ProtectedError:  # somebody named it in between
        raise ServiceError("Routing uses it since a moment ago: take it out there first.") from None


@transaction.atomic
def channel_test(*, actor: Actor, channel: AlertChannel) -> Delivery:
    """The row of a test; whoever calls hands it over once this is committed (``deliveries.delivery_send``)."""
    _allowed(actor, channel.organisation, channel.team, channel.person)
    now, test_id = clock.now(), uuid7()
    key = f"test:{test_id}"
    message = test_message(name=channel.name, key=key, organisation=channel.organisation.slug, by=actor.name, at=now)
    audit_record(
        actor=actor, action="alert_channel.test", subject_kind="alert_channel", subject_id=channel.pk, subject_name=channel.name,
        after={"kind": channel.kind},
    )  # fmt: skip
    return Delivery.objects.create(
        organisation=channel.organisation,
        channel=channel,
        about=key,
        receiver=f"channel:{channel.pk}",
        name=channel.name,
        kind=channel.kind,
        what=choices.TEST,
        message=message.document(),
        due_at=now,
        created_at=now,
    )


def channel_facts(row: AlertChannel) -> dict[str, Any]:
    """What the audit keeps; no secret."""
    return {
        "kind": row.kind,
        "sends_to": row.shown,
        "team": row.team.slug if row.team else "",
        "person": row.person.email if row.person else "",
        "allow_private": row.allow_private,
        "enabled": row.enabled,
        "address_source": row.address_source,
        "secret_source": row.secret_source,
    }


def _allowed(actor: Actor, organisation: Organisation, team: Team | None, person: User | None) -> None:
    if person is None:
        permission_require(actor=actor, action=ACTION, organisation=organisation, team=team.pk if team else None)
        return
    if actor.kind == "user" and actor.id != str(person.pk):
        raise ServiceError("Everybody sets their own channels: ask them.", "person")
    permission_require(actor=actor, action=OWN, organisation=organisation)
    if not Membership.objects.filter(organisation=organisation, user=person).exists():
        raise ServiceError(f"{person.email} does not belong to {organisation.name}.", "person")
