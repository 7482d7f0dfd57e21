"""Performance budgets, and the verdicts on them: a row for each change, the one that holds without an end."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from apps.budgets import performance_choices as choices
from apps.contracts.identifiers import uuid7


class PerformanceBudget(models.Model):
    """What one metric of a route or model may be, and who answers for it.

    scope_id: the route's id, or the model's name at its provider; no foreign key, because routes live above this app. bound: in the
    metric's unit (``performance_rules``). state, evidence, evaluated_at: of the last look; without one nothing is known. A deleted
    budget keeps its row, so that its verdicts stay readable.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.PROTECT, related_name="performance_budgets")
    name = models.CharField(max_length=80)
    scope = models.CharField(max_length=20, choices=list(choices.SCOPES.items()))
    scope_id = models.CharField(max_length=200)
    metric = models.CharField(max_length=30, choices=[(value, metric.label) for value, metric in choices.METRICS.items()])
    bound = models.BigIntegerField()
    window = models.CharField(max_length=10, choices=[(value, window.label) for value, window in choices.WINDOWS.items()])
    warn_percent = models.IntegerField(default=choices.DEFAULT_WARN)
    min_samples = models.IntegerField(default=choices.DEFAULT_SAMPLES)
    owner_email = models.CharField(max_length=254)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    state = models.CharField(max_length=10, default="unknown")
    evidence = models.JSONField(default=dict)
    evaluated_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], condition=Q(deleted_at=None), name="performance_name_once"),
            models.UniqueConstraint(
                fields=["organisation", "scope", "scope_id", "metric"], condition=Q(deleted_at=None), name="performance_metric_once"
            ),
            models.CheckConstraint(condition=Q(bound__gt=0), name="performance_bound_positive"),
            models.CheckConstraint(condition=Q(metric__in=list(choices.METRICS)), name="performance_metric_known"),
            models.CheckConstraint(condition=Q(window__in=list(choices.WINDOWS)), name="performance_window_known"),
            models.CheckConstraint(condition=Q(scope__in=list(choices.SCOPES)) & ~Q(scope_id=""), name="performance_scope_object"),
            models.CheckConstraint(condition=Q(warn_percent__gte=1, warn_percent__lte=100), name="performance_warn_sensible"),
            models.CheckConstraint(condition=Q(state__in=list(choices.VERDICTS)), name="performance_state_known"),
        ]

    def __str__(self) -> str:
        return self.name


class PerformanceVerdict(models.Model):
    """A verdict from the look that found it until the look that found another one. evidence: of the look that found it."""

    id = models.BigAutoField(primary_key=True)
    budget = models.ForeignKey(PerformanceBudget, on_delete=models.PROTECT, related_name="verdicts")
    state = models.CharField(max_length=10, choices=[(value, status.label) for value, status in choices.VERDICTS.items()])
    at = models.DateTimeField()
    until = models.DateTimeField(null=True, blank=True)
    evidence = models.JSONField(default=dict)

    class Meta:
        ordering: ClassVar[list[str]] = ["-at", "-id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["budget"], condition=Q(until=None), name="performance_verdict_holds_once"),
            models.CheckConstraint(condition=Q(until=None) | Q(until__gte=F("at")), name="performance_verdict_in_order"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["budget", "-at"], name="performance_verdict_of"),
            models.Index(fields=["until"], name="performance_verdict_over"),
        ]

    def __str__(self) -> str:
        return f"{self.state} from {self.at:%Y-%m-%d %H:%M}"


class PerformanceNotice(models.Model):
    """A verdict whose owner is told of it: the row is made once, with the verdict, so nobody is told twice.

    kind: ``breached``, or ``recovered`` after that. claimed_at: somebody is telling it. told_at: it was told, ``told`` says how. tries:
    so far; after five it stays untold, visibly.
    """

    id = models.BigAutoField(primary_key=True)
    verdict = models.OneToOneField(PerformanceVerdict, on_delete=models.CASCADE, related_name="notice")
    kind = models.CharField(max_length=10, choices=[(kind, kind) for kind in (choices.BREACHED, choices.RECOVERED)])
    made_at = models.DateTimeField(auto_now_add=True)
    claimed_at = models.DateTimeField(null=True, blank=True)
    told_at = models.DateTimeField(null=True, blank=True)
    told = models.CharField(max_length=300, blank=True, default="")
    tries = models.IntegerField(default=0)

    class Meta:
        ordering: ClassVar[list[str]] = ["-id"]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["id"], condition=Q(told_at=None), name="performance_notice_untold"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} by verdict {self.verdict_id}"
