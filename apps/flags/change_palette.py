"""Requests for flips, and for owners of flags, in the command palette."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Case, Q, When
from django.urls import reverse

from apps.accounts.rules import roles_for
from apps.flags import change_choices as choices
from apps.flags.models import ChangeRequest
from apps.ui.palette import Hit
from apps.ui.status import Status


def changes_for_palette(user: Any, query: str, limit: int) -> Sequence[Hit]:
    """Requests of the person's organisations by their flag, those first that wait, are scheduled or have a review open: one query."""
    roles = [role.value for role in roles_for("change.view")]
    rows = (
        ChangeRequest.objects.filter(organisation__memberships__user=user, organisation__memberships__role__in=roles)
        .filter(flag_name__icontains=query)
        .select_related("organisation")
        .annotate(over=Case(When(Q(state__in=choices.OPEN_STATES) | Q(review=choices.OPEN), then=False), default=True))
        .order_by("over", "-asked_at")[:limit]
    )
    return [
        Hit(
            row.title,
            f"{row.organisation.name}, {_state(row).label.lower()}",
            f"{reverse('changes:detail', args=[row.pk])}?org={row.organisation.slug}",
            "clock",
        )
        for row in rows
    ]


def _state(row: ChangeRequest) -> Status:
    return choices.REVIEWS[choices.OPEN] if row.review == choices.OPEN else choices.STATES[row.state]
