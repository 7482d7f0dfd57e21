"""Reads of stored responses: how many, how large, whose. Their contents are sealed; nobody here can read them."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from django.db.models import Count, Max, Min, Sum
from django.db.models.functions import Length

from apps.responses.models import StoredResponse


class Kept(NamedTuple):
    """What one key keeps. bytes: sealed."""

    organisation: str
    key_id: str
    responses: int
    bytes: int
    oldest: datetime
    expires_last: datetime


def responses_kept() -> list[Kept]:
    """By key, the largest first."""
    rows = (
        StoredResponse.objects.values_list("organisation", "key_id")
        .annotate(number=Count("response_id"), size=Sum(Length("sealed")), oldest=Min("created_at"), last=Max("expires_at"))
        .order_by("-size", "key_id")
    )
    return [Kept(*row) for row in rows]
