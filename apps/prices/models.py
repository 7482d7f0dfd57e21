"""GPU hours, what followed an upgrade of the base prices, and re-pricings of the past."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from apps.contracts.identifiers import uuid7
from apps.prices import choices
from apps.prices.unit_models import UnitPrice

__all__ = ["BookRefresh", "GpuPrice", "Repricing", "RepricingLine", "UnitPrice"]


class GpuPrice(models.Model):
    """What an hour of one GPU of our own costs during ``[valid_from, valid_to)``, in nano-dollars. region: empty, everywhere that no price
    of the region itself holds."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="gpu_prices")
    name = models.CharField(max_length=80)
    gpu = models.CharField(max_length=80)
    region = models.CharField(max_length=80, blank=True, default="")
    per_hour = models.BigIntegerField()
    valid_from = models.DateTimeField(null=True, blank=True)
    valid_to = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["gpu", "region", F("valid_from").asc(nulls_first=True)]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="gpu_price_name_once"),
            models.CheckConstraint(condition=Q(per_hour__gte=0), name="gpu_price_not_negative"),
        ]

    def __str__(self) -> str:
        return self.name


class BookRefresh(models.Model):
    """One time that base prices were taken from ``genai-prices`` again. changed: models whose price differs since.
    published: the config version that told the proxies, None where nothing differed."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    book = models.CharField(max_length=80)
    before = models.CharField(max_length=80, blank=True, default="")
    changed = models.JSONField(default=list)
    published = models.BigIntegerField(null=True, blank=True)
    actor = models.CharField(max_length=300)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-at", "-id"]

    def __str__(self) -> str:
        return self.book


class Repricing(models.Model):
    """A past period priced again with the price book as it was when that was asked for. What requests were booked at never changes:
    the difference is a correction beside it, and counts while the state is ``done``.

    provider, model: names, empty for all. requests: attempts that were looked at; kept: of them, those that keep their figure because
    nothing prices them or their outcome is unknown. Amounts are nano-dollars.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="repricings")
    provider = models.CharField(max_length=80, blank=True, default="")
    model = models.CharField(max_length=200, blank=True, default="")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    reason = models.CharField(max_length=2000)
    actor = models.CharField(max_length=300)
    state = models.CharField(max_length=20, choices=[(key, state.label) for key, state in choices.STATES.items()], default=choices.PENDING)
    detail = models.CharField(max_length=300, blank=True, default="")
    requests = models.BigIntegerField(default=0)
    kept = models.BigIntegerField(default=0)
    original_nano = models.BigIntegerField(default=0)
    corrected_nano = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["-created_at", "-id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(starts_at__lt=F("ends_at")), name="repricing_period_not_empty")
        ]

    def __str__(self) -> str:
        return f"{'/'.join(part for part in (self.provider, self.model) if part) or 'everything'} {self.starts_at:%Y-%m-%d}"

    @property
    def difference_nano(self) -> int:
        """What the correction adds to the booked figures; negative where less should have been booked."""
        return self.corrected_nano - self.original_nano


class RepricingLine(models.Model):
    """What a re-pricing corrects, by day (UTC) and by whom it belongs to; only where there is a difference."""

    repricing = models.ForeignKey(Repricing, on_delete=models.CASCADE, related_name="lines")
    day = models.DateField()
    simulated = models.BooleanField()
    provider = models.TextField()
    model = models.TextField()
    route = models.TextField()
    key_id = models.TextField()
    team = models.TextField()
    service = models.TextField()
    feature = models.TextField()
    price_before = models.TextField()
    price_after = models.TextField()
    requests = models.BigIntegerField()
    original_nano = models.BigIntegerField()
    corrected_nano = models.BigIntegerField()

    class Meta:
        ordering: ClassVar = ["day", "provider", "model", "id"]
        indexes: ClassVar = [models.Index(fields=["repricing", "day"], name="repricing_line_day")]

    def __str__(self) -> str:
        return f"{self.day} {self.provider}/{self.model}"
