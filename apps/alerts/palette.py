"""Alerts that are open, rules and SLOs in the command palette."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Q
from django.urls import reverse

from apps.accounts.rules import roles_for
from apps.alerts.choices import FIRED
from apps.alerts.models import Alert, AlertRule, Slo
from apps.ui.palette import Hit


def alerts_for_palette(user: Any, query: str, limit: int) -> Sequence[Hit]:
    """Open alerts of the person's organisations: one query."""
    named = Q(rule__title__icontains=query) | Q(subject__icontains=query)
    rows = Alert.objects.filter(named, _belongs(user), state__in=FIRED).select_related("rule", "organisation").order_by("-started_at")
    return [
        Hit(row.rule.title, f"{row.subject or 'everything'} · {row.organisation.name}", _url("alerts:detail", row), "alerts")
        for row in rows[:limit]
    ]


def rules_for_palette(user: Any, query: str, limit: int) -> Sequence[Hit]:
    """Rules and SLOs of the person's organisations: two queries."""
    found = []
    for model, page in ((AlertRule, "alerts:rule"), (Slo, "alerts:slo")):
        named = Q(title__icontains=query) | Q(name__icontains=query)
        rows = model._default_manager.filter(named, _belongs(user), deleted_at=None).select_related("organisation").order_by("title")
        found += [Hit(row.title, row.organisation.name, _url(page, row), "alerts") for row in rows[:limit]]
    return sorted(found, key=lambda hit: (len(hit.title), hit.title))[:limit]


def _belongs(user: Any) -> Q:
    roles = [role.value for role in roles_for("alert.view")]
    return Q(organisation__memberships__user=user, organisation__memberships__role__in=roles)


def _url(page: str, row: Any) -> str:
    return f"{reverse(page, args=[row.pk])}?org={row.organisation.slug}"
