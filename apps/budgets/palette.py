"""Budgets, limits and performance budgets in the command palette."""

from __future__ import annotations

from django.db.models import Q

from apps.accounts.palette_objects import Objects, objects_source
from apps.budgets.models import Budget, Limit, PerformanceBudget

_LIVE = Q(deleted_at=None)

budgets_for_palette = objects_source(
    Objects("budget", Budget, "budget.view", "budgets:detail", "spend", ("name",), only=_LIVE),
    Objects("limit", Limit, "limit.view", "limits:detail", "stop", ("name",), only=_LIVE),
    Objects("performance budget", PerformanceBudget, "performance_budget.view", "performance:detail", "progress", ("name",), only=_LIVE),
)
