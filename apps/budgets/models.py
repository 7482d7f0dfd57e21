"""Budgets, their calendar windows, and the slices of windows that proxies hold. All amounts are nano-dollars.

The rule that the database keeps for every window: ``spent + leased <= ceiling``; ``leased`` is the sum over the window's leases of
``granted - returned - settled``. A lease's row is only ever changed under its window's row lock, windows are locked in
ascending id, and the functions in the migrations are the only writers of windows and leases (``services.py`` calls them).
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from apps.budgets import choices
from apps.budgets.alert_models import BudgetAlert, BudgetDay
from apps.budgets.limit_models import Limit
from apps.budgets.override_models import BudgetOverride
from apps.budgets.performance_models import PerformanceBudget, PerformanceNotice, PerformanceVerdict
from apps.budgets.weekly_models import WeeklyReport
from apps.contracts.identifiers import uuid7

__all__ = [
    "Budget",
    "BudgetAlert",
    "BudgetDay",
    "BudgetOverride",
    "BudgetWindow",
    "Lease",
    "LeaseHolder",
    "Limit",
    "PerformanceBudget",
    "PerformanceNotice",
    "PerformanceVerdict",
    "WeeklyReport",
]


class Budget(models.Model):
    """Money that a scope may spend in each window of the budget's own calendar; kind says what happens to what does not fit.

    scope_ref: id of the team, service, route or provider, or the user, model, feature or tag itself; empty for the organisation and for
    a key, which ``key`` names. open_when_away: a soft budget lets requests pass uncounted where Postgres is away and nothing is held.

    actions: thresholds and what they do, ``80: cheaper, 95: limited``. owner_email, webhook, slack_webhook: who is told, at which
    ``alert_shares`` of the limit; webhooks under the master key, because whoever knows one can write there, with the reference that a
    document took one from.
    A deleted budget keeps its row, so that its windows stay readable and proxies that have not heard yet are still held to it.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.PROTECT, related_name="budgets")
    name = models.CharField(max_length=80)
    scope = models.CharField(max_length=20, choices=list(choices.SCOPES.items()))
    key = models.ForeignKey("keys.VirtualKey", on_delete=models.PROTECT, null=True, blank=True, related_name="budgets")
    scope_ref = models.CharField(max_length=256, blank=True, default="", db_default="")
    kind = models.CharField(max_length=10, choices=list(choices.KINDS.items()), default="hard", db_default="hard")
    open_when_away = models.BooleanField(default=True, db_default=True)
    actions = models.CharField(max_length=200, blank=True, default="", db_default="")
    owner_email = models.CharField(max_length=254, blank=True, default="", db_default="")
    webhook = models.TextField(blank=True, default="", db_default="")
    slack_webhook = models.TextField(blank=True, default="", db_default="")
    webhook_source = models.CharField(max_length=1000, blank=True, default="", db_default="")
    slack_webhook_source = models.CharField(max_length=1000, blank=True, default="", db_default="")
    alert_shares = models.CharField(max_length=60, blank=True, default="50, 80, 100", db_default="50, 80, 100")
    window = models.CharField(max_length=10, choices=list(choices.WINDOWS.items()))
    timezone = models.CharField(max_length=64, default="UTC")
    limit_nano = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], condition=Q(deleted_at=None), name="budget_name_once"),
            models.CheckConstraint(condition=Q(limit_nano__gte=0), name="budget_limit_not_negative"),
            models.CheckConstraint(
                condition=Q(scope="organisation", key=None, scope_ref="")
                | Q(scope="key", key__isnull=False, scope_ref="")
                | (Q(scope__in=[scope for scope in choices.SCOPES if scope not in ("organisation", "key")], key=None) & ~Q(scope_ref="")),
                name="budget_scope_object",
            ),
            models.CheckConstraint(condition=Q(kind__in=list(choices.KINDS)), name="budget_kind_known"),
            models.CheckConstraint(condition=Q(window__in=list(choices.WINDOWS)), name="budget_window_known"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def scope_id(self) -> str:
        """Id of what the budget walls in."""
        return str(self.key_id) if self.scope == "key" else self.scope_ref or str(self.organisation_id)


class BudgetWindow(models.Model):
    """One day, week, month or quarter of a budget, made by the first grant in it.

    subject: the user whose own window it is, where every user has the budget for themselves; else empty.
    limit_nano: what grants are tested against. ceiling_nano: limit, or ``spent + leased`` where a person lowered the limit below it.
    spent_nano: settled. leased_nano: held by proxies, spent or not. overrun_nano: what providers billed beyond reservations.
    """

    id = models.BigAutoField(primary_key=True)
    budget = models.ForeignKey(Budget, on_delete=models.PROTECT, related_name="windows")
    subject = models.CharField(max_length=160, blank=True, default="", db_default="")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    limit_nano = models.BigIntegerField()
    ceiling_nano = models.BigIntegerField()
    spent_nano = models.BigIntegerField(default=0, db_default=0)
    leased_nano = models.BigIntegerField(default=0, db_default=0)
    overrun_nano = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        ordering: ClassVar[list[str]] = ["-starts_at"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["budget", "subject", "starts_at", "ends_at"], name="budget_window_once"),
            models.CheckConstraint(condition=Q(spent_nano__lte=F("ceiling_nano") - F("leased_nano")), name="budget_window_wall"),
            models.CheckConstraint(
                condition=Q(limit_nano__gte=0, ceiling_nano__gte=0, spent_nano__gte=0, leased_nano__gte=0, overrun_nano__gte=0),
                name="budget_window_not_negative",
            ),
            models.CheckConstraint(condition=Q(starts_at__lt=F("ends_at")), name="budget_window_has_length"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["ends_at"], condition=~Q(subject=""), name="budget_window_of_user_ended"),
        ]

    def __str__(self) -> str:
        return f"{self.budget_id} from {self.starts_at:%Y-%m-%d %H:%M}"


class LeaseHolder(models.Model):
    """A proxy process that ever asked for money. released_at: it was declared gone; it is never granted anything again."""

    boot_id = models.UUIDField(primary_key=True)
    released_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return str(self.boot_id)


class Lease(models.Model):
    """A slice of a window, held by one proxy process. All amounts are totals; outstanding = granted - returned - settled.

    written_off_nano: the part of ``settled`` that an operator's write-off assumed and no journal has proved since.
    """

    id = models.BigAutoField(primary_key=True)
    window = models.ForeignKey(BudgetWindow, on_delete=models.PROTECT, related_name="leases")
    boot_id = models.UUIDField()
    generation = models.IntegerField(default=0, db_default=0)
    granted_nano = models.BigIntegerField(default=0, db_default=0)
    returned_nano = models.BigIntegerField(default=0, db_default=0)
    settled_nano = models.BigIntegerField(default=0, db_default=0)
    written_off_nano = models.BigIntegerField(default=0, db_default=0)
    state = models.CharField(
        max_length=12, choices=[(value, state.label) for value, state in choices.LEASE_STATES.items()], default="open", db_default="open"
    )

    class Meta:
        ordering: ClassVar[list[str]] = ["id"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["window", "boot_id"], condition=Q(state="open"), name="lease_open_once"),
            models.CheckConstraint(
                condition=Q(granted_nano__gte=F("returned_nano") + F("settled_nano")), name="lease_outstanding_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(generation__gte=0, granted_nano__gte=0, returned_nano__gte=0, settled_nano__gte=0, written_off_nano__gte=0),
                name="lease_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(state="open") | Q(granted_nano=F("returned_nano") + F("settled_nano")), name="lease_closed_holds_nothing"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [models.Index(fields=["boot_id"], condition=Q(state="open"), name="lease_open_by_boot")]

    def __str__(self) -> str:
        return f"{self.boot_id} in window {self.window_id}"
