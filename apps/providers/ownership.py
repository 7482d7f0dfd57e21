"""Providers as things that teams own, and the regions that their endpoints run in."""

from __future__ import annotations

from django.db.models import QuerySet

from apps.accounts.models import Organisation
from apps.ownership.owned import Owned, held_by, holding_assign
from apps.providers.models import Endpoint, Provider


def _rows(organisation: Organisation) -> QuerySet[Provider]:
    return Provider.objects.filter(organisation=organisation).select_related("organisation").annotate(held_by=held_by("provider"))


def regions_in_use(organisation: Organisation) -> set[str]:
    """Names of regions, as endpoints say them."""
    rows = Endpoint.objects.filter(provider__organisation=organisation).exclude(region="")
    return set(rows.values_list("region", flat=True).distinct())


PROVIDERS = Owned("provider", "Providers", "providers", "providers:detail", _rows, holding_assign)
