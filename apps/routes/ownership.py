"""Routes as things that teams own, and the routes that name a runbook."""

from __future__ import annotations

from django.db.models import F, QuerySet
from django.urls import reverse

from apps.accounts.models import Organisation
from apps.ownership.models import Runbook
from apps.ownership.owned import Owned, Thing, column_assign
from apps.routes.models import Route


def _rows(organisation: Organisation) -> QuerySet[Route]:
    return Route.objects.filter(organisation=organisation).annotate(held_by=F("owner_id"))


def runbook_uses(runbook: Runbook) -> list[Thing]:
    """The routes of its organisation that name a runbook."""
    rows = Route.objects.filter(organisation_id=runbook.organisation_id, runbook=str(runbook.pk)).order_by("name")
    return [Thing("route", str(pk), name, reverse("routes:detail", args=[pk])) for pk, name in rows.values_list("pk", "name")]


ROUTES = Owned("route", "Routes", "routes", "routes:detail", _rows, column_assign)
