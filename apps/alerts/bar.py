"""What every page shows of alerts without a query of its own: how many are open, and where nobody can be reached."""

from __future__ import annotations

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import CharField
from django.db.models.functions import Cast, JSONObject
from django.http import HttpRequest
from django.urls import reverse

from apps.accounts.scope import scope_choose
from apps.alerts.choices import CRITICAL, FIRED
from apps.alerts.models import Alert
from apps.alerts.reachability import Gap, unreachable_told
from apps.publishing.selectors import fleet_status_of, page_facts_of
from apps.ui.bar import Count

FACT = "open_alerts"
MOST = 500
"""Open alerts, of all organisations together, that are counted one by one."""


def open_alerts_fact() -> ArraySubquery:
    """Alerts that fire or are acknowledged, of all organisations, for ``register_page_fact``."""
    told = JSONObject(organisation=Cast("organisation_id", CharField()), severity="severity", state="state")
    return ArraySubquery(Alert.objects.filter(state__in=FIRED).order_by("-started_at").annotate(bar=told).values("bar")[:MOST])


def gaps_shown(request: HttpRequest) -> list[Gap]:
    """Rotations of the organisation that a page shows on which nobody can be reached; no query of its own."""
    fleet_status_of(request)
    return unreachable_told(page_facts_of(request), str(scope_choose(request).organisation.pk))


def alerts_count(request: HttpRequest) -> Count:
    """For the bar: open alerts of the organisation that a page shows; whether nobody can be reached."""
    fleet_status_of(request)
    facts, organisation = page_facts_of(request), str(scope_choose(request).organisation.pk)
    rows = [row for row in facts.get(FACT) or () if row["organisation"] == organisation]
    gaps = gaps_shown(request)
    taken = sum(row["state"] != "firing" for row in rows)
    hints = [f"{taken} acknowledged"] if taken else []
    if gaps:
        hints.append(f"nobody can be reached on {', '.join(gap.rotation for gap in gaps[:3])}")
    bad = bool(gaps) or any(row["severity"] == CRITICAL for row in rows)
    return Count(
        len(rows), "open alert", "open alerts", "alerts", url=reverse("alerts:list"), hint="; ".join(hints), tone="bad" if bad else "warn"
    )
