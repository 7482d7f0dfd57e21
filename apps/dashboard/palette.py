"""A request in the command palette, by its id: whoever pastes one goes to its page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.urls import reverse

from apps.accounts.rules import roles_for
from apps.ui.palette import Hit
from apps.usage.choices import OUTCOMES
from apps.usage.requests import request_get


def requests_for_palette(user: Any, query: str, limit: int) -> Sequence[Hit]:
    """The request of that id, if it is one of the person's organisations; anything that is no id finds nothing and asks nothing."""
    try:
        wanted = UUID(query)
    except ValueError:
        return []
    record = request_get(wanted)
    roles = [role.value for role in roles_for("request.view")]
    if record is None or not user.memberships.filter(organisation=record.organisation, role__in=roles).exists():
        return []
    outcome = OUTCOMES[record.outcome].label if record.outcome in OUTCOMES else record.outcome
    name = record.route or record.requested_model or "Request"
    return [Hit(name, f"{outcome}, {record.started_at:%Y-%m-%d %H:%M:%S} UTC", reverse("dashboard:request", args=[record.id]), "requests")][
        :limit
    ]
