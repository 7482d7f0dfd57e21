"""What people do to alerts: acknowledge, resolve, note, silence; and what they say of providers. All audited.

Rules and SLOs are written by ``rule_services``. Evaluation moves alerts, too (``apps.alerts.evaluation``): both lock an alert's row.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require
from apps.alerts import choices
from apps.alerts.events import event_add
from apps.alerts.models import Alert, ProviderNote, Silence
from apps.alerts.rule_checks import check_matcher, check_note, check_until
from apps.alerts.rule_services import rule_create, rule_delete, rule_update, slo_create, slo_delete, slo_update
from apps.alerts.silencing import silences_alert
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record
from apps.ownership.owned import owner_of

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.audit.actors import Actor
    from apps.providers.models import Provider

__all__ = [
    "alert_acknowledge",
    "alert_note",
    "alert_resolve",
    "alert_silence",
    "provider_note_end",
    "provider_note_set",
    "rule_create",
    "rule_delete",
    "rule_update",
    "silence_end",
    "slo_create",
    "slo_delete",
    "slo_update",
]


@transaction.atomic
def alert_acknowledge(*, actor: Actor, alert: Alert, note: str = "", now: datetime | None = None) -> Alert:
    """Say that one looks after it: it is told to nobody further along, until it worsens. A second time changes nothing.

    Raises ServiceError where it does not fire (yet, or any more).
    """
    row = _locked(actor, alert, "alert.acknowledge")
    text = check_note(note)
    if row.state == choices.ACKNOWLEDGED:
        return row
    if row.state == choices.RESOLVED:
        raise ServiceError("this alert is over: there is nothing left to look after", "alert")
    if row.state == choices.PENDING:
        raise ServiceError("this alert has not fired yet: wait until it does, or silence its rule", "alert")
    row.state, row.acked_by, row.acked_at = choices.ACKNOWLEDGED, actor.name[:500], now or clock.now()
    row.save(update_fields=["state", "acked_by", "acked_at"])
    _audit(actor, "alert.acknowledge", row, {"state": choices.FIRING}, {"state": choices.ACKNOWLEDGED}, text)
    event_add(row, "acknowledged", at=row.acked_at, actor=actor.name, note=text)
    return row


@transaction.atomic
def alert_resolve(*, actor: Actor, alert: Alert, note: str, now: datetime | None = None) -> Alert:
    """End an episode by hand; where its rule holds on, the next one begins with the next minutes. A second time changes nothing."""
    row = _locked(actor, alert, "alert.acknowledge")
    text = check_note(note, needed=True)
    if row.state == choices.RESOLVED:
        return row
    before, at = row.state, now or clock.now()
    row.state, row.resolved_at, row.resolved_by = choices.RESOLVED, at, actor.name[:500]
    row.save(update_fields=["state", "resolved_at", "resolved_by"])
    _audit(actor, "alert.resolve", row, {"state": before}, {"state": choices.RESOLVED}, text)
    fired = row.fired_at is not None
    event_add(row, "resolved" if fired else "cleared", at=at, actor=actor.name, note=text, muted=not (fired and row.told))
    return row


@transaction.atomic
def alert_note(*, actor: Actor, alert: Alert, note: str, now: datetime | None = None) -> Alert:
    """Write something into an alert's timeline, also after its end."""
    row = _locked(actor, alert, "alert.acknowledge")
    text = check_note(note, needed=True)
    _audit(actor, "alert.note", row, {}, {"note": text}, "")
    event_add(row, "note", at=now or clock.now(), actor=actor.name, note=text)
    return row


@transaction.atomic
def alert_silence(
    *,
    actor: Actor,
    until: datetime,
    reason: str,
    alert: Alert | None = None,
    organisation: Organisation | None = None,
    matcher: Mapping[str, Any] | None = None,
    now: datetime | None = None,
) -> Silence:
    """Tell nobody of one alert, or of those that a matcher names (``Silence.matcher``), until a moment. Raises ServiceError.

    They fire and resolve all the same; what still fires then is told as soon as the silence is over, and whoever was told that something
    fired is told that it ended, silence or not. Give ``alert``, or ``organisation`` and ``matcher``.
    """
    at = now or clock.now()
    if alert is None and (organisation is None or matcher is None):
        raise TypeError("alert_silence takes an alert, or an organisation and a matcher")
    if alert is not None:
        row = _locked(actor, alert, "silence.change")
        text, end = check_note(reason, needed=True, field="reason"), check_until(until, now=at)
        if row.state == choices.RESOLVED:
            raise ServiceError("this alert is over: silence its rule, if the next one is not to be told", "alert")
        silence = Silence(organisation=row.organisation, alert=row, starts_at=at, until=end, reason=text, by=actor.name[:500])
        found = [row]
    else:
        assert organisation is not None
        permission_require(actor=actor, action="silence.change", organisation=organisation)
        text, end = check_note(reason, needed=True, field="reason"), check_until(until, now=at)
        said = check_matcher(matcher)
        silence = Silence(organisation=organisation, matcher=said, starts_at=at, until=end, reason=text, by=actor.name[:500])
        open_ones = Alert.objects.select_for_update(of=("self",), no_key=True).select_related("rule").filter(organisation=organisation)
        found = [row for row in open_ones.exclude(state=choices.RESOLVED).order_by("pk") if silences_alert(silence, row)]
    silence.save(force_insert=True)
    audit_record(
        actor=actor,
        action="silence.create",
        subject_kind="silence",
        subject_id=silence.pk,
        subject_name=str(silence),
        before={},
        after={"alert": str(alert.pk) if alert else "", "matcher": silence.matcher, "until": end.isoformat(), "silences": len(found)},
        reason=text,
    )
    for row in found:
        before, row.silenced_until = row.silenced_until, max(end, row.silenced_until or end)
        row.save(update_fields=["silenced_until"])
        if before is None and row.state in choices.FIRED:
            event_add(row, "silenced", at=at, actor=actor.name, note=text)
    return silence


@transaction.atomic
def silence_end(*, actor: Actor, silence: Silence, reason: str = "", now: datetime | None = None) -> Silence:
    """End a silence before its time: what still fires is told with the next minute. A second time changes nothing."""
    owner = silence.alert.rule.owner_id if silence.alert is not None else None
    permission_require(actor=actor, action="silence.change", organisation=silence.organisation, team=owner)
    row = Silence.objects.select_for_update(of=("self",)).select_related("organisation").get(pk=silence.pk)
    at = now or clock.now()
    if row.ended_at is not None or row.until <= at:
        return row
    row.ended_at, row.ended_by = at, actor.name[:500]
    row.save(update_fields=["ended_at", "ended_by"])
    audit_record(
        actor=actor,
        action="silence.end",
        subject_kind="silence",
        subject_id=row.pk,
        subject_name=str(row),
        before={"until": row.until.isoformat()},
        after={"until": at.isoformat()},
        reason=check_note(reason),
    )
    return row


@transaction.atomic
def provider_note_set(
    *, actor: Actor, provider: Provider, state: str, text: str, until: datetime | None = None, now: datetime | None = None
) -> ProviderNote:
    """Say that a provider is degraded or down before any figure shows it; a note that held is over with it. Raises ServiceError."""
    organisation = provider.organisation
    permission_require(
        actor=actor, action="provider_note.change", organisation=organisation, team=owner_of(kind="provider", object_id=provider.pk)
    )
    at = now or clock.now()
    if state not in choices.NOTE_WORDS:
        raise ServiceError(f"say how it is: one of {', '.join(choices.NOTE_WORDS)}", "state")
    said = check_note(text, needed=True, field="text")
    end = None if until is None else check_until(until, now=at)
    type(provider).objects.select_for_update().get(pk=provider.pk)  # two people at once: one note holds
    ProviderNote.objects.filter(provider=provider, ended_at=None).update(ended_at=at, ended_by=actor.name[:500])
    note = ProviderNote.objects.create(
        organisation=organisation, provider=provider, state=state, text=said, by=actor.name[:500], at=at, until=end
    )
    audit_record(
        actor=actor,
        action="provider_note.set",
        subject_kind="provider",
        subject_id=provider.pk,
        subject_name=provider.name,
        before={},
        after={"state": state, "until": end.isoformat() if end else ""},
        reason=said,
    )
    return note


@transaction.atomic
def provider_note_end(*, actor: Actor, note: ProviderNote, reason: str = "", now: datetime | None = None) -> ProviderNote:
    """Take back what was said of a provider. A second time changes nothing."""
    owner = owner_of(kind="provider", object_id=note.provider_id)
    permission_require(actor=actor, action="provider_note.change", organisation=note.organisation, team=owner)
    row = ProviderNote.objects.select_for_update(of=("self",)).select_related("provider").get(pk=note.pk)
    if row.ended_at is not None:
        return row
    row.ended_at, row.ended_by = now or clock.now(), actor.name[:500]
    row.save(update_fields=["ended_at", "ended_by"])
    audit_record(
        actor=actor,
        action="provider_note.end",
        subject_kind="provider",
        subject_id=row.provider_id,
        subject_name=row.provider.name,
        before={"state": row.state},
        after={"state": ""},
        reason=check_note(reason),
    )
    return row


def _locked(actor: Actor, alert: Alert, action: str) -> Alert:
    """The alert's row, locked, where the person may."""
    permission_require(actor=actor, action=action, organisation=alert.organisation, team=alert.rule.owner_id)
    rows = Alert.objects.select_for_update(of=("self",), no_key=True).select_related("rule__owner", "organisation")
    return rows.get(pk=alert.pk)


def _audit(actor: Actor, action: str, alert: Alert, before: Mapping[str, Any], after: Mapping[str, Any], reason: str) -> None:
    audit_record(
        actor=actor,
        action=action,
        subject_kind="alert",
        subject_id=alert.pk,
        subject_name=f"{alert.rule.name} {alert.subject}".strip(),
        before=before,
        after=after,
        reason=reason,
    )
