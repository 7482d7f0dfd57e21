"""How many incidents are open, on every page, without a query of its own."""

from __future__ import annotations

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import CharField
from django.db.models.functions import Cast, JSONObject
from django.http import HttpRequest
from django.urls import reverse

from apps.accounts.scope import scope_choose
from apps.postmortems import incident_choices as choices
from apps.postmortems.incident_models import Incident
from apps.publishing.selectors import fleet_status_of, page_facts_of
from apps.ui.bar import Count

FACT = "open_incidents"
MOST = 200
"""Open incidents, of all organisations together, that are counted one by one."""


def open_incidents_fact() -> ArraySubquery:
    """Incidents that somebody works on, of all organisations, for ``register_page_fact``."""
    told = JSONObject(
        organisation=Cast("organisation_id", CharField()), id=Cast("id", CharField()), severity="severity", number="number", title="title"
    )
    return ArraySubquery(
        Incident.objects.filter(state__in=choices.OPEN).order_by("severity", "-number").annotate(bar=told).values("bar")[:MOST]
    )


def incidents_count(request: HttpRequest) -> Count:
    """For the bar: open incidents of the organisation that a page shows; one alone leads to its page."""
    fleet_status_of(request)
    organisation = str(scope_choose(request).organisation.pk)
    rows = [row for row in page_facts_of(request).get(FACT) or () if row["organisation"] == organisation]
    url = reverse("postmortems:detail", args=[rows[0]["id"]]) if len(rows) == 1 else reverse("postmortems:list")
    hint = ", ".join(f"INC-{row['number']} {str(row['severity']).upper()} {str(row['title'])[:80]}" for row in rows[:3])
    bad = any(row["severity"] in (choices.SEV1, choices.SEV2) for row in rows)
    return Count(len(rows), "open incident", "open incidents", "incidents", url=url, hint=hint, tone="bad" if bad else "warn")
