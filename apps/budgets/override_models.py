"""Overrides: more money for a while, with who allowed it and why."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from apps.contracts.identifiers import uuid7


class BudgetOverride(models.Model):
    """``amount_nano`` more in each window of the budget from ``starts_at`` to ``expires_at``, or until ``ended_at`` where somebody ends it.

    Grants read it by the database's clock: nothing has to happen for it to run out. approver: e-mail address of who allowed it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    budget = models.ForeignKey("budgets.Budget", on_delete=models.PROTECT, related_name="overrides")
    amount_nano = models.BigIntegerField()
    starts_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)
    reason = models.CharField(max_length=500)
    approver = models.CharField(max_length=254)

    class Meta:
        ordering: ClassVar[list[str]] = ["-starts_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(condition=Q(amount_nano__gt=0), name="override_amount_above_zero"),
            models.CheckConstraint(condition=Q(starts_at__lt=F("expires_at")), name="override_has_length"),
            models.CheckConstraint(condition=~Q(reason="") & ~Q(approver=""), name="override_reasoned_and_approved"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["budget", "expires_at"], condition=Q(ended_at=None), name="override_in_force"),
        ]

    def __str__(self) -> str:
        return f"override of {self.budget_id} until {self.expires_at:%Y-%m-%d %H:%M}"
