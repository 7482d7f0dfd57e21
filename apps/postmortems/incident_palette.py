"""Incidents in the command palette, by number and title."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Q
from django.urls import reverse

from apps.accounts.rules import roles_for
from apps.postmortems import incident_choices as choices
from apps.postmortems.incident_models import Incident
from apps.ui.palette import Hit


def incidents_for_palette(user: Any, query: str, limit: int) -> Sequence[Hit]:
    """Incidents of the person's organisations, open ones first, then the newest: one query."""
    roles = [role.value for role in roles_for("incident.view")]
    text = query.strip()
    number = text.casefold().removeprefix("inc").lstrip("-# ")
    named = Q(title__icontains=text)
    if number.isdigit() and len(number) < 10:
        named |= Q(number=int(number))
    rows = Incident.objects.filter(named, organisation__memberships__user=user, organisation__memberships__role__in=roles)
    found = sorted(rows.select_related("organisation").order_by("-number")[: limit * 4], key=lambda row: not row.open)
    return [
        Hit(
            f"{row.reference} {row.title}",
            f"{choices.SEVERITIES[row.severity].label}, {choices.STATES[row.state].label.lower()} · {row.organisation.name}",
            f"{reverse('postmortems:detail', args=[row.pk])}?org={row.organisation.slug}",
            "incidents",
        )
        for row in found[:limit]
    ]
