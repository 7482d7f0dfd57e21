"""What models charge for beside tokens."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from apps.contracts.identifiers import uuid7
from apps.contracts.metering import UNITS


class UnitPrice(models.Model):
    """What a thousand units that are no tokens cost at a provider's model during ``[valid_from, valid_to)``, in nano-dollars.

    unit: of ``apps.contracts.metering.UNITS``. quality, size: of images, empty for all that have no price of their own.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.CASCADE, related_name="unit_prices")
    name = models.CharField(max_length=80)
    provider = models.ForeignKey("providers.Provider", on_delete=models.CASCADE, related_name="unit_prices")
    model = models.CharField(max_length=200)
    unit = models.CharField(max_length=40, choices=list(UNITS.items()))
    quality = models.CharField(max_length=40, blank=True, default="")
    size = models.CharField(max_length=40, blank=True, default="")
    per_thousand = models.BigIntegerField()
    valid_from = models.DateTimeField(null=True, blank=True)
    valid_to = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["model", "unit", "quality", "size", F("valid_from").asc(nulls_first=True)]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="unit_price_name_once"),
            models.CheckConstraint(condition=Q(per_thousand__gte=0), name="unit_price_not_negative"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def words(self) -> str:
        """What is priced, for people."""
        of = " ".join(part for part in (self.quality, self.size) if part)
        words = UNITS.get(self.unit, self.unit)
        return f"{words}, {of}" if of else words
