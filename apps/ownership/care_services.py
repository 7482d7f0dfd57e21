"""Changing how a team is reached, what it promises, and its runbooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.ownership import checks
from apps.ownership.models import Contact, Runbook, Service, Sla, Team

MOST_CONTACTS = 20
SLA_FIELDS = (
    "availability", "window_days", "warn_percent", "page_percent", "ttft_ms", "ttft_warn_ms", "ttft_page_ms", "latency_ms",
    "latency_warn_ms", "latency_page_ms",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ContactSpec:
    """A contact as somebody writes it."""

    kind: str
    value: str
    label: str = ""

    @property
    def line(self) -> str:
        """For the audit."""
        return f"{self.kind} {self.value}{f' ({self.label})' if self.label else ''}"


@transaction.atomic
def contacts_set(*, actor: Actor, team: Team, contacts: Sequence[ContactSpec], reason: str = "") -> list[Contact]:
    """A team's contacts, in the order of escalation: exactly these. The same again changes nothing. Raises ServiceError."""
    permission_require(actor=actor, action="team.change", organisation=team.organisation, team=team.pk)
    if len(contacts) > MOST_CONTACTS:
        raise ServiceError(f"A team may have {MOST_CONTACTS} contacts.", field="contacts")
    wanted = [
        ContactSpec(
            contact.kind,
            checks.check_contact(contact.kind, contact.value, f"contacts[{at}].value"),
            checks.check_line(contact.label, what="a label", field=f"contacts[{at}].label", longest=80, required=False),
        )
        for at, contact in enumerate(contacts)
    ]
    team = Team.objects.select_for_update().get(pk=team.pk)
    before = [ContactSpec(row.kind, row.value, row.label) for row in team.contacts.all()]
    if wanted == before:
        return list(team.contacts.all())
    team.contacts.all().delete()
    Contact.objects.bulk_create(
        Contact(team=team, position=at, kind=one.kind, value=one.value, label=one.label) for at, one in enumerate(wanted)
    )
    lines = {"contacts": [one.line for one in before]}, {"contacts": [one.line for one in wanted]}
    change_record(actor, "team.update", team, *lines, reason)
    return list(team.contacts.all())


@transaction.atomic
def sla_set(
    *,
    actor: Actor,
    team: Team,
    service: Service | None = None,
    availability: int,
    window_days: int = 30,
    warn_percent: int = 50,
    page_percent: int = 90,
    ttft_ms: int | None = None,
    ttft_warn_ms: int | None = None,
    ttft_page_ms: int | None = None,
    latency_ms: int | None = None,
    latency_warn_ms: int | None = None,
    latency_page_ms: int | None = None,
    reason: str = "",
) -> Sla:
    """What a team, or one service of it, promises; units as ``Sla``. The same again changes nothing. Raises ServiceError."""
    permission_require(actor=actor, action="sla.change", organisation=team.organisation, team=team.pk)
    if service is not None and service.team_id != team.pk:
        raise ServiceError("The service belongs to another team.", field="service")
    if not 0 < availability < 100_000:
        raise ServiceError("Promise more than 0 and less than 100 percent.", field="availability")
    if not 1 <= window_days <= 366:
        raise ServiceError("An error budget lasts between 1 and 366 days.", field="window_days")
    checks.check_boundaries(warn_percent, page_percent)
    checks.check_times("ttft", ttft_ms, ttft_warn_ms, ttft_page_ms)
    checks.check_times("latency", latency_ms, latency_warn_ms, latency_page_ms)
    wanted = {
        "availability": availability,
        "window_days": window_days,
        "warn_percent": warn_percent,
        "page_percent": page_percent,
        "ttft_ms": ttft_ms,
        "ttft_warn_ms": ttft_warn_ms,
        "ttft_page_ms": ttft_page_ms,
        "latency_ms": latency_ms,
        "latency_warn_ms": latency_warn_ms,
        "latency_page_ms": latency_page_ms,
    }
    Team.objects.select_for_update().get(pk=team.pk)
    row = Sla.objects.filter(team=team, service=service).first()
    before = sla_facts(row) if row else {}
    if before == wanted:
        assert row is not None
        return row
    if row is None:
        row = Sla.objects.create(team=team, service=service, **wanted)
    else:
        for field, value in wanted.items():
            setattr(row, field, value)
        row.save()
    changed = {field: value for field, value in before.items() if wanted[field] != value}
    after = {field: wanted[field] for field in changed} or wanted
    change_record(actor, "sla.update" if before else "sla.create", row, changed, after, reason)
    return row


@transaction.atomic
def sla_delete(*, actor: Actor, sla: Sla, reason: str = "") -> None:
    """Promise nothing any more."""
    permission_require(actor=actor, action="sla.change", organisation=sla.team.organisation, team=sla.team_id)
    change_record(actor, "sla.delete", sla, sla_facts(sla), {}, reason)
    sla.delete()


def sla_facts(sla: Sla) -> dict[str, Any]:
    """What the audit keeps, in stored units."""
    return {field: getattr(sla, field) for field in SLA_FIELDS}


@transaction.atomic
def runbook_set(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    title: str,
    text: str = "",
    owner: Team | None = None,
    review_every_days: int = 90,
    reason: str = "",
) -> Runbook:
    """The runbook with this name, created where missing, else made as given. Another text takes the review away: nobody has said yet
    that it is true. Raises ServiceError."""
    checks.check_slug("Runbook", name, "name")
    title = checks.check_line(title, what="the runbook a title", field="title")
    text = checks.check_text(text)
    if owner is not None and owner.organisation_id != organisation.pk:
        raise ServiceError("The team belongs to another organisation.", field="owner")
    if not 0 <= review_every_days <= 3660:
        raise ServiceError("A review holds between 0 (for good) and 3660 days.", field="review_every_days")
    row = Runbook.objects.select_for_update(of=("self",)).select_related("owner").filter(organisation=organisation, name=name).first()
    held_by = row.owner_id if row else owner.pk if owner else None
    permission_require(actor=actor, action="runbook.change", organisation=organisation, team=held_by)
    wanted = {"title": title, "text": text, "owner": owner.slug if owner else "", "review_every_days": review_every_days}
    before = runbook_facts(row) if row else {}
    if before == wanted and row is not None:
        return row
    if row is None:
        row = Runbook(organisation=organisation, name=name)
    elif before["text"] != text:
        row.reviewed_at, row.reviewed_by = None, ""
    row.title, row.text, row.owner, row.review_every_days = title, text, owner, review_every_days
    row.save()
    changed = {field: value for field, value in before.items() if wanted[field] != value}
    after = {field: wanted[field] for field in changed} or {"name": name, **wanted}
    change_record(actor, "runbook.update" if before else "runbook.create", row, changed, after, reason)
    return row


@transaction.atomic
def runbook_review(*, actor: Actor, runbook: Runbook, reason: str = "") -> Runbook:
    """Say that the runbook is true as it stands."""
    permission_require(actor=actor, action="runbook.change", organisation=runbook.organisation, team=runbook.owner_id)
    runbook = Runbook.objects.select_for_update().get(pk=runbook.pk)
    before = {"reviewed_at": runbook.reviewed_at}
    runbook.reviewed_at, runbook.reviewed_by = timezone.now(), actor.name
    runbook.save(update_fields=["reviewed_at", "reviewed_by"])
    change_record(actor, "runbook.review", runbook, before, {"reviewed_at": runbook.reviewed_at}, reason)
    return runbook


@transaction.atomic
def runbook_delete(*, actor: Actor, runbook: Runbook, reason: str = "") -> None:
    """Delete a runbook; flags that name it keep its id, which then leads nowhere and is shown so."""
    permission_require(actor=actor, action="runbook.change", organisation=runbook.organisation, team=runbook.owner_id)
    change_record(actor, "runbook.delete", runbook, runbook_facts(runbook), {}, reason)
    runbook.delete()


def runbook_facts(runbook: Runbook) -> dict[str, Any]:
    """What the audit keeps."""
    return {
        "title": runbook.title,
        "text": runbook.text,
        "owner": runbook.owner.slug if runbook.owner else "",
        "review_every_days": runbook.review_every_days,
    }
