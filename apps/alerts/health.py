"""The dead man's switch: evaluation that stops is told by those who do not depend on it, the web process and the shipper."""

from __future__ import annotations

from typing import Any

from django.db.models import Subquery
from django.http import HttpRequest
from django.utils import timezone as clock

from apps.alerts.models import AlertEvaluation
from apps.alerts.selectors import EvaluationHealth, evaluation_health, health_of
from apps.publishing.selectors import page_facts_of

FACT = "alerts_evaluated"
"""The fact that comes with every page's query of the fleet: when the organisation that is furthest behind was evaluated last."""


def evaluated_last() -> Subquery:
    """For ``apps.publishing.selectors.register_page_fact``."""
    return Subquery(AlertEvaluation.objects.order_by("finished_at").values("finished_at")[:1])


def evaluation_health_of(request: HttpRequest) -> EvaluationHealth:
    """Whether rules are looked at, for a page: no query of its own."""
    found: Any = page_facts_of(request).get(FACT)
    return health_of(found, None, "", now=clock.now())


def watched() -> str:
    """What the shipper warns of; empty where all is well. One query."""
    found = evaluation_health()
    if found.well or found.finished_at is None:
        return ""
    return (
        f"alert rules were evaluated last at {found.finished_at:%Y-%m-%d %H:%M:%S} UTC: no alert can fire until they are again; "
        "is a Celery worker running, and beat?"
    )
