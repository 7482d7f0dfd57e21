"""Routes as things that teams own."""

from __future__ import annotations

from django.db.models import F, QuerySet

from apps.accounts.models import Organisation
from apps.ownership.owned import Owned, column_assign
from apps.routes.models import Route


def _rows(organisation: Organisation) -> QuerySet[Route]:
    return Route.objects.filter(organisation=organisation).annotate(held_by=F("owner_id"))


ROUTES = Owned("route", "Routes", "routes", "routes:detail", _rows, column_assign)
