"""Performance budgets in the document: entries -> the service, and rows -> entries."""

from __future__ import annotations

from collections.abc import Mapping

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.budgets.performance_rules import bound_written
from apps.budgets.performance_selectors import performance_budgets_of
from apps.budgets.performance_services import performance_budget_delete, performance_budget_set
from apps.routes.selectors import route_named
from controlplane.configfile.document import PerformanceEntry

_FIELDS = {"warn_percent": "warn", "owner_email": "owner"}
"""The service's names of fields that the document calls otherwise."""


def entry_apply(organisation: Organisation, entry: PerformanceEntry, *, actor: Actor, reason: str) -> None:
    """Make the performance budget what the entry says. Raises ServiceError with the document's names of fields."""
    if entry.route and entry.model:
        raise ServiceError("name one of route and model: a performance budget is for one of them", "model")
    if not entry.route and not entry.model:
        raise ServiceError("name the route or the model that the performance budget is for", "route")
    scope = "route" if entry.route else "model"
    try:
        performance_budget_set(
            actor=actor,
            organisation=organisation,
            name=entry.name,
            scope=scope,
            scope_id=str(route_named(organisation, entry.route).pk) if entry.route else entry.model,
            metric=entry.metric,
            bound=entry.bound,
            window=entry.window,
            warn_percent=entry.warn,
            min_samples=entry.min_samples,
            owner_email=entry.owner,
            reason=reason,
        )
    except ServiceError as error:
        field = scope if error.field == "scope_id" else _FIELDS.get(error.field or "", error.field)
        raise ServiceError(error.message, field) from None


def entry_remove(organisation: Organisation, name: str, *, actor: Actor, reason: str) -> None:
    """What is gone already stays gone."""
    for row in performance_budgets_of(organisation).filter(name=name):
        performance_budget_delete(actor=actor, budget=row, reason=reason)


def entries_of(organisation: Organisation, routes: Mapping[str, str]) -> list[PerformanceEntry]:
    """Those whose route is still there; ``routes``: names by id."""
    return [
        PerformanceEntry(
            name=row.name,
            route=routes.get(row.scope_id, "") if row.scope == "route" else "",
            model=row.scope_id if row.scope == "model" else "",
            metric=row.metric,
            bound=bound_written(row.metric, row.bound),
            window=row.window,
            warn=str(row.warn_percent),
            min_samples=str(row.min_samples),
            owner=row.owner_email,
        )
        for row in performance_budgets_of(organisation)
        if row.scope == "model" or row.scope_id in routes
    ]
