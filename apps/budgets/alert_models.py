"""Who was told what of a budget's window, and what was spent by the beginning of each of its days."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from apps.budgets import choices


class BudgetAlert(models.Model):
    """One threshold of one window that was reached: the row is made once, by whoever comes first, so nobody is told twice.

    kind: of what ``share`` is a percentage (``choices.ALERT_KINDS``). value_nano: what was spent or forecast then. claimed_at: somebody
    is telling it. told_at: it was told, ``told`` says how. tries: attempts so far; after five it stays untold, visibly.
    rule: short name of the alert rule that tells of it (``neighbours``), of ``pace`` only; empty: the budget tells it itself.
    """

    id = models.BigAutoField(primary_key=True)
    window = models.ForeignKey("budgets.BudgetWindow", on_delete=models.CASCADE, related_name="alerts")
    kind = models.CharField(max_length=10, choices=list(choices.ALERT_KINDS.items()))
    share = models.IntegerField()
    critical = models.BooleanField(default=False)
    value_nano = models.BigIntegerField()
    limit_nano = models.BigIntegerField()
    raised_at = models.DateTimeField(auto_now_add=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    told_at = models.DateTimeField(null=True, blank=True)
    told = models.CharField(max_length=300, blank=True, default="")
    tries = models.IntegerField(default=0)
    rule = models.CharField(max_length=60, blank=True, default="", db_default="")

    class Meta:
        ordering: ClassVar[list[str]] = ["-raised_at", "-share"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["window", "kind", "share"], name="budget_alert_once"),
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["id"], condition=models.Q(told_at=None), name="budget_alert_untold")]

    def __str__(self) -> str:
        return f"{self.kind} {self.share} % of window {self.window_id}"


class BudgetDay(models.Model):
    """What a window had spent when one of its days began, by the budget's calendar; the first look at that day writes it."""

    id = models.BigAutoField(primary_key=True)
    window = models.ForeignKey("budgets.BudgetWindow", on_delete=models.CASCADE, related_name="days")
    starts_at = models.DateTimeField()
    seen_at = models.DateTimeField()
    spent_nano = models.BigIntegerField()

    class Meta:
        ordering: ClassVar[list[str]] = ["starts_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["window", "starts_at"], name="budget_day_once")
        ]

    def __str__(self) -> str:
        return f"window {self.window_id} on {self.starts_at:%Y-%m-%d}"
