"""Providers' exports that were imported to be compared with what was recorded."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from apps.contracts.identifiers import uuid7
from apps.usage.reconciliation_shapes import LABELS


class ProviderExport(models.Model):
    """One file, whole. ``digest``: SHA-256 of its bytes, by which the same file is known again. ``provider``: the name of ours that it is
    compared with; of its traffic, real or ``simulated``. ``first_day``, ``last_day``: days (UTC) that it covers. ``part``: it says that
    there is more than it holds. What was recorded is read anew each time that it is shown: late records and corrections are in it."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="provider_exports")
    provider = models.CharField(max_length=80)
    simulated = models.BooleanField()
    shape = models.CharField(max_length=40)
    file_name = models.CharField(max_length=200)
    digest = models.CharField(max_length=64)
    size = models.BigIntegerField()
    rows = models.IntegerField()
    first_day = models.DateField()
    last_day = models.DateField()
    part = models.BooleanField(default=False)
    actor = models.CharField(max_length=300)
    imported_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-imported_at", "-id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "simulated", "digest"], name="provider_export_once"),
            models.CheckConstraint(condition=models.Q(first_day__lte=models.F("last_day")), name="provider_export_days"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def shape_label(self) -> str:
        """What kind of export it is, for people."""
        return LABELS.get(self.shape, self.shape)

    @property
    def name(self) -> str:
        """For people and the audit: ``openai 2026-10-01 to 2026-10-31``."""
        return f"{self.provider} {self.first_day} to {self.last_day}"


class ProviderExportLine(models.Model):
    """What an export says of one day and model; NULL where its shape does not say. Money in nano-dollars, negative for a credit."""

    export = models.ForeignKey(ProviderExport, on_delete=models.CASCADE, related_name="lines")
    day = models.DateField()
    model = models.CharField(max_length=200, blank=True)
    requests = models.BigIntegerField(null=True)
    tokens_input = models.BigIntegerField(null=True)
    tokens_output = models.BigIntegerField(null=True)
    cost_nano = models.BigIntegerField(null=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["day", "model"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["export", "day", "model"], name="provider_export_line_once"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.model}"
