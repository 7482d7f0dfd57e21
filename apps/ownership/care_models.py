"""What a team promises and how it is reached: contacts in the order of escalation, SLAs, runbooks."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import ClassVar

from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from apps.contracts.identifiers import uuid7
from apps.ownership import choices


class Contact(models.Model):
    """One way to reach a team; the lowest ``position`` is tried first, after whoever is on call."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    team = models.ForeignKey("ownership.Team", on_delete=models.CASCADE, related_name="contacts")
    position = models.PositiveSmallIntegerField()
    kind = models.CharField(max_length=10, choices=list(choices.CONTACT_KINDS.items()))
    value = models.CharField(max_length=254)
    label = models.CharField(max_length=80, blank=True, default="")

    class Meta:
        ordering: ClassVar[list[str]] = ["position"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["team", "position"], name="ownership_contact_order"),
            models.CheckConstraint(condition=Q(kind__in=list(choices.CONTACT_KINDS)), name="ownership_contact_kind"),
        ]

    def __str__(self) -> str:
        return self.value


class Sla(models.Model):
    """What is promised of a team's requests (``service`` empty) or of one service's, and the boundaries at which people are told.

    availability: share of requests answered well, in 1/100,000 (99.9 % is 99,900). window_days: over how long; what may fail in
    it is the error budget. warn_percent, page_percent: of that budget used up. ttft_ms: p95 of the time to first token that is
    promised, and ``ttft_warn_ms``, ``ttft_page_ms``, from which on people are told; None: nothing is promised of it. latency_ms and its
    boundaries: the same of the time to the whole answer.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    team = models.ForeignKey("ownership.Team", on_delete=models.CASCADE, related_name="slas")
    service = models.ForeignKey("ownership.Service", on_delete=models.CASCADE, null=True, blank=True, related_name="slas")
    availability = models.PositiveIntegerField()
    window_days = models.PositiveSmallIntegerField(default=30)
    warn_percent = models.PositiveSmallIntegerField(default=50)
    page_percent = models.PositiveSmallIntegerField(default=90)
    ttft_ms = models.PositiveIntegerField(null=True, blank=True)
    ttft_warn_ms = models.PositiveIntegerField(null=True, blank=True)
    ttft_page_ms = models.PositiveIntegerField(null=True, blank=True)
    latency_ms = models.PositiveIntegerField(null=True, blank=True)
    latency_warn_ms = models.PositiveIntegerField(null=True, blank=True)
    latency_page_ms = models.PositiveIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["team"], condition=Q(service=None), name="ownership_sla_team"),
            models.UniqueConstraint(fields=["service"], name="ownership_sla_service"),
            models.CheckConstraint(condition=Q(availability__gt=0, availability__lt=100_000), name="ownership_sla_availability"),
            models.CheckConstraint(
                condition=Q(warn_percent__gt=0, warn_percent__lt=F("page_percent")) & Q(page_percent__lte=100),
                name="ownership_sla_boundaries",
            ),
        ]

    def __str__(self) -> str:
        return f"SLA of {self.service or self.team}"

    @property
    def name(self) -> str:
        """What the audit calls it."""
        return f"{self.team.slug}/{self.service.slug}" if self.service else self.team.slug

    @property
    def availability_text(self) -> str:
        """``99.9``."""
        return f"{self.availability / 1000:.3f}".rstrip("0").rstrip(".")

    @property
    def budget_minutes(self) -> int:
        """The error budget as minutes of complete failure in the window, rounded down."""
        return (100_000 - self.availability) * self.window_days * 24 * 60 // 100_000


class Runbook(models.Model):
    """What to do when something breaks, as Markdown. reviewed_at: when somebody last said that it is true; by whom, as the audit
    names them. review_every_days: how long that holds, 0: for good."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="runbooks")
    name = models.SlugField(max_length=60)
    title = models.CharField(max_length=200)
    text = models.TextField(blank=True, default="")
    owner = models.ForeignKey("ownership.Team", on_delete=models.SET_NULL, null=True, blank=True, related_name="runbooks")
    review_every_days = models.PositiveSmallIntegerField(default=90)
    reviewed_at = models.DateTimeField(null=True, blank=True)
    reviewed_by = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["title"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="ownership_runbook_once"),
        ]

    def __str__(self) -> str:
        return self.title

    def overdue(self, at: datetime | None = None) -> bool:
        """Whether the last review no longer holds; never reviewed is overdue, too."""
        if not self.review_every_days:
            return False
        return self.reviewed_at is None or self.reviewed_at + timedelta(days=self.review_every_days) < (at or timezone.now())
