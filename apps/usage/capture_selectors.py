"""Reads of captures: who is captured, how much is kept, who looked at a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import Count, Sum

from apps.audit.models import AuditEvent
from apps.audit.selectors import audit_events
from apps.usage.capture_models import CapturePatterns, CaptureRule, CaptureSample

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

SHOWN_LOOKS = 20


@dataclass(frozen=True, slots=True)
class Kept:
    """How many samples an organisation has, and how many characters they are."""

    samples: int
    characters: int


def captures_running(organisation: Organisation) -> list[CaptureRule]:
    """Rules in force, newest first."""
    return list(CaptureRule.objects.filter(organisation=organisation, ended_at=None))


def captures_ended(organisation: Organisation, limit: int = 20) -> list[CaptureRule]:
    """The last ones that ended."""
    return list(CaptureRule.objects.filter(organisation=organisation, ended_at__isnull=False).order_by("-ended_at")[:limit])


def captures_kept(organisation: Organisation) -> Kept:
    found = CaptureSample.objects.filter(organisation=organisation).aggregate(samples=Count("pk"), characters=Sum("size"))
    return Kept(found["samples"], found["characters"] or 0)


def samples_newest(organisation: Organisation, limit: int = 50) -> list[CaptureSample]:
    """Without what they hold."""
    return list(CaptureSample.objects.filter(organisation=organisation).defer("body")[:limit])


def capture_patterns(organisation: Organisation) -> list[tuple[str, str]]:
    """(kind, template) of what the organisation wants taken out of its samples."""
    row = CapturePatterns.objects.filter(organisation=organisation).first()
    return [(kind, template) for kind, template in row.patterns] if row is not None else []


def sample_of(request_id: UUID) -> CaptureSample | None:
    """The sample of a request, whatever its organisation: the caller checks who may see it. Its content is read by
    ``capture_services.sample_read`` alone."""
    return CaptureSample.objects.select_related("organisation").filter(pk=request_id).first()


def sample_looks(request_id: UUID) -> list[AuditEvent]:
    """Who looked at a sample, newest first."""
    return list(audit_events(subject_kind="sample", subject_id=request_id, action="sample.view")[:SHOWN_LOOKS])
