"""Budgets and limits in the document: entries -> services."""

from __future__ import annotations

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.budgets.choices import SCOPES as BUDGET_SCOPES
from apps.budgets.limit_services import limit_set
from apps.budgets.models import Budget, Limit
from apps.budgets.services import budget_set, budget_webhooks_set
from apps.keys.selectors import key_named
from apps.providers.selectors import provider_named
from apps.routes.selectors import route_named
from controlplane.configfile.document import KEPT, NONE, BudgetEntry, LimitEntry
from controlplane.configfile.finding import fields_of, service_of, team_of
from controlplane.configfile.ownership import owner_apply
from controlplane.configfile.references import ReferenceRefused, References


def budget_apply(
    organisation: Organisation, entry: BudgetEntry, *, references: References, actor: Actor, reason: str
) -> tuple[Budget, str]:
    """Make a budget what the entry says. Returns it, and what the diff says of an address that is another one, empty for nothing."""
    scopes = [scope for scope in BUDGET_SCOPES if scope != "organisation"]
    stray = [scope for scope in scopes if getattr(entry, scope) and scope != entry.scope]
    if stray:
        raise ServiceError(f"a budget with scope: {entry.scope} is for no {stray[0]}: leave it out, or use scope: {stray[0]}", stray[0])
    if entry.scope in scopes and not getattr(entry, entry.scope):
        raise ServiceError(f"name the {entry.scope} that the budget is for", entry.scope)
    scope_id: object = {
        "team": lambda: team_of(organisation, entry.team).pk,
        "service": lambda: service_of(organisation, entry.service).pk,
        "key": lambda: key_named(organisation, entry.key).pk,
        "route": lambda: route_named(organisation, entry.route).pk,
        "provider": lambda: provider_named(organisation, entry.provider).pk,
    }.get(entry.scope, lambda: getattr(entry, entry.scope, organisation.pk) if entry.scope in scopes else organisation.pk)()
    field = entry.scope if entry.scope in scopes else "scope"
    with fields_of({"limit_nano": "limit", "scope_id": field, "owner_email": "owner", "alert_shares": "alerts"}):
        budget = budget_set(
            actor=actor,
            organisation=organisation,
            name=entry.name,
            scope=entry.scope,
            scope_id=str(scope_id),
            window=entry.window,
            timezone=entry.timezone,
            limit_nano=entry.limit,
            kind=entry.kind,
            open_when_away=entry.open_when_away,
            actions=entry.actions,
            owner_email=entry.owner,
            alert_shares=entry.alerts,
            reason=reason,
        )
    owner_apply(organisation, budget, entry.owned_by, "owned_by", actor=actor, reason=reason)
    return budget, _webhooks(budget, entry, references=references, actor=actor)


def _webhooks(budget: Budget, entry: BudgetEntry, *, references: References, actor: Actor) -> str:
    """Those that the entry says something of; the others stay as they are."""
    said = ""
    for field, reference in (("webhook", entry.webhook), ("slack_webhook", entry.slack_webhook)):
        before: str = getattr(budget, field)
        if reference == KEPT and not before:
            raise ServiceError("there is no address to keep: give a reference, env:NAME or file:path", field)
        if reference is None or reference == KEPT:
            continue
        try:
            url = "" if reference == NONE else references.value(reference)
        except ReferenceRefused as error:
            raise ServiceError(str(error), field) from None
        source = "" if reference == NONE else reference
        budget_webhooks_set(actor=actor, budget=budget, **{field: url}, sources={field: source})
        budget.refresh_from_db(fields=[field])
        if before and url and getattr(budget, field) != before:
            said = f"{field}: is another address"
    return said


def limit_apply(organisation: Organisation, entry: LimitEntry, *, actor: Actor, reason: str) -> Limit:
    """Make a limit what the entry says."""
    named = [scope for scope in ("key", "team", "route", "model") if getattr(entry, scope)]
    if len(named) > 1:
        raise ServiceError("name at most one of key, team, route and model; none: the whole organisation", named[1])
    scope = named[0] if named else "organisation"
    scope_id: object = {
        "key": lambda: key_named(organisation, entry.key).pk,
        "team": lambda: team_of(organisation, entry.team).pk,
        "route": lambda: route_named(organisation, entry.route).pk,
        "model": lambda: entry.model,
        "organisation": lambda: organisation.pk,
    }[scope]()
    with fields_of({"scope_id": scope if named else "name"}):
        limit = limit_set(
            actor=actor,
            organisation=organisation,
            name=entry.name,
            scope=scope,
            scope_id=scope_id,
            kind=entry.kind,
            amount=entry.amount,
            reason=reason,
        )
    owner_apply(organisation, limit, entry.owned_by, "owned_by", actor=actor, reason=reason)
    return limit
