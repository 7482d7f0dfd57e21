"""Reads of captures: who is captured, how much is kept, who looked at a sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Count, JSONField, Sum
from django.db.models.expressions import RawSQL

from apps.audit.models import AuditEvent
from apps.audit.selectors import audit_events
from apps.usage.capture_models import CapturePatterns, CaptureRule, CaptureSample

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

SHOWN_LOOKS = 20
CAPTURED = RawSQL(
    "(SELECT jsonb_build_object('found', kept.found, 'cut', kept.cut, 'until', extract(epoch FROM kept.expires_at)) FROM "
    "usage_capturesample AS kept WHERE kept.request_id = usage_request.id AND kept.organisation_id::text = usage_request.organisation)",
    [],
    output_field=JSONField(),
)
"""For a query of requests: what ``captured`` reads, with the request itself."""


@dataclass(frozen=True, slots=True)
class Captured:
    """That a request has a sample: what was taken out of it, by kind, whether it was cut, when it is deleted."""

    found: Mapping[str, int]
    cut: bool
    expires_at: datetime


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


def captured(told: Mapping[str, Any] | None) -> Captured | None:
    """What ``CAPTURED`` read; None where the request has no sample."""
    return Captured(told["found"], told["cut"], datetime.fromtimestamp(told["until"], UTC)) if told else None


def sample_looks(request_id: UUID) -> list[AuditEvent]:
    """Who looked at a sample, newest first."""
    return list(audit_events(subject_kind="sample", subject_id=request_id, action="sample.view")[:SHOWN_LOOKS])
