"""What deployments show of performance budgets, which know no deployments."""

from __future__ import annotations

from django.urls import reverse

from apps.accounts.models import Organisation
from apps.budgets.performance_selectors import PerformanceLine, performance_budgets_of, performance_lines
from apps.fleet.neighbours import Performance


def performance_of_organisation(organisation: Organisation) -> list[Performance]:
    """As the last looks found them: two queries at most."""
    return [_told(line) for line in performance_lines(organisation, list(performance_budgets_of(organisation)))]


def _told(line: PerformanceLine) -> Performance:
    row = line.budget
    return Performance(
        id=row.pk,
        name=row.name,
        scope=row.scope,
        subject=line.subject,
        metric=line.metric,
        verdict="unknown" if line.late or row.evaluated_at is None else row.state,
        status=line.status,
        measured=line.measured,
        bound=line.bound,
        why=line.why,
        url=reverse("performance:detail", args=[row.pk]),
    )
