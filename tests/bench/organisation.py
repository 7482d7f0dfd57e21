"""An organisation of its own for measurements: who calls, what they call, what holds them, and more of everything than fits a page.

Made through the services, as people would; simulated, so that no total of real money ever has any of it.
"""

from __future__ import annotations

from django.db import transaction

from apps.accounts.models import Organisation
from apps.accounts.selectors import organisation_get
from apps.accounts.services import organisation_ensure
from apps.alerts.models import Slo
from apps.alerts.rule_services import slo_create
from apps.audit.actors import Actor
from apps.budgets.limit_services import limit_set
from apps.budgets.performance_services import performance_budget_set
from apps.budgets.selectors import budgets_of
from apps.budgets.services import budget_set
from apps.contracts.money import NANO
from apps.keys.selectors import keys_of
from apps.keys.services import key_create
from apps.ownership.models import Service, Team
from apps.ownership.services import service_ensure, team_ensure
from apps.providers.models import Provider
from apps.providers.prices import prices_set
from apps.providers.rules import EndpointSpec, PriceSpec
from apps.providers.services import provider_ensure
from apps.publishing.services import publish
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from tests.bench.usage import ROUTES, TARGETS, Caller

NAME = "Generated (simulated)"
REASON = "a measurement"
TEAMS, KEYS, BUDGETS, PRICED_MODELS = 5, 20, 60, 120
PRICE = PriceSpec(input=150, output=600, cache_read=15)
ENDPOINTS = {
    "east": (("eu-1", "eu"),),
    "west": (("us-1", "us"), ("us-2", "us")),
    "north": (("eu-2", "eu"),),
}
"""Provider -> its endpoints with their regions."""


def organisation_made(slug: str) -> tuple[Organisation, list[Caller]]:
    """The organisation of that slug with everything above, made where it is missing, and its callers in the order of their names.

    Raises ServiceError where the organisation is there and real.
    """
    actor = Actor.command("bench")
    with transaction.atomic():
        known = organisation_get(slug=slug)
        organisation = organisation_ensure(actor=actor, slug=slug, name=known.name if known else NAME, simulated=True)
        services = _services(actor, organisation)
        _providers(actor, organisation)
        _routes(actor, organisation, services)
        callers = _callers(actor, organisation, services)
        _budgets(actor, organisation, callers)
        _promises(actor, organisation)
        publish(actor=actor, reason=REASON)
    return organisation, callers


def _services(actor: Actor, organisation: Organisation) -> list[Service]:
    made = []
    for at in range(TEAMS):
        team: Team = team_ensure(actor=actor, organisation=organisation, slug=f"team-{at}")
        made.append(service_ensure(actor=actor, team=team, slug=f"service-{at}"))
    return made


def _providers(actor: Actor, organisation: Organisation) -> None:
    for name, endpoints in ENDPOINTS.items():
        if Provider.objects.filter(organisation=organisation, name=name).exists():
            continue
        specs = [
            EndpointSpec(name=endpoint, base_url=f"https://{endpoint}.example.test/v1", region=region) for endpoint, region in endpoints
        ]
        given = {"name": name, "kind": "openai", "endpoints": specs, "simulated": True, "reason": REASON}
        provider = provider_ensure(actor=actor, organisation=organisation, **given)
        models = [model for owner, _, _, model in TARGETS if owner == name]
        if name == "north":
            models += [f"model-{at:03d}" for at in range(PRICED_MODELS)]
        for model in dict.fromkeys(models):
            prices_set(actor=actor, provider=provider, model=model, prices=[PRICE], reason=REASON)


def _routes(actor: Actor, organisation: Organisation, services: list[Service]) -> None:
    for at, name in enumerate(ROUTES):
        if not Route.objects.filter(organisation=organisation, name=name).exists():
            targets = list(dict.fromkeys(TargetSpec(provider, model) for provider, _, _, model in (*TARGETS[at % 4 :], *TARGETS[: at % 4])))
            owner = services[at % len(services)].team
            route_ensure(actor=actor, organisation=organisation, name=name, targets=targets, owner=owner, reason=REASON)


def _callers(actor: Actor, organisation: Organisation, services: list[Service]) -> list[Caller]:
    held = {key.name: key for key in keys_of(organisation)}
    callers = []
    for at in range(KEYS):
        name, service = f"key-{at:02d}", services[at % len(services)]
        key = (
            held[name] if name in held else key_create(actor=actor, organisation=organisation, name=name, service=service, reason=REASON)[0]
        )
        callers.append(Caller(str(key.pk), service.team.slug, service.slug))
    return callers


def _budgets(actor: Actor, organisation: Organisation, callers: list[Caller]) -> None:
    held = set(budgets_of(organisation).values_list("name", flat=True))
    windows = ("day", "week", "month")
    wanted = [("whole", "organisation", str(organisation.pk), "month")]
    wanted += [(f"{window}-{at:02d}", "key", caller.key_id, window) for window in windows for at, caller in enumerate(callers)]
    for name, scope, scope_id, window in wanted[:BUDGETS]:
        if name not in held:
            given = {"scope": scope, "scope_id": scope_id, "window": window, "limit_nano": 10_000 * NANO, "reason": REASON}
            budget_set(actor=actor, organisation=organisation, name=name, **given)


def _promises(actor: Actor, organisation: Organisation) -> None:
    """Limits, performance budgets in windows of every length, and SLOs."""
    given = {"actor": actor, "organisation": organisation, "reason": REASON}
    routes = {route.name: route for route in Route.objects.filter(organisation=organisation)}
    metrics = {
        "ttft_p95": ("5s", "6h"),
        "inter_token_p95": ("60ms", "6h"),
        "error_rate": ("5%", "week"),
        "cost_per_request": ("0.1", "day"),
    }
    for name, route in routes.items():
        limit_set(name=f"{name} a minute", scope="route", scope_id=route.pk, kind="requests_per_minute", amount=100_000, **given)
        for metric, (bound, window) in metrics.items():
            of = {"scope": "route", "scope_id": route.pk, "metric": metric, "bound": bound, "window": window}
            performance_budget_set(name=f"{name} {metric}", owner_email="owner@example.test", **of, **given)
    for model in dict.fromkeys(model for _, _, _, model in TARGETS):
        of = {"scope": "model", "scope_id": model, "metric": "ttft_p95", "bound": "5s", "window": "6h"}
        performance_budget_set(name=f"{model} first token", owner_email="owner@example.test", **of, **given)
    held = set(Slo.objects.filter(organisation=organisation, deleted_at=None).values_list("name", flat=True))
    for name in routes:
        if f"{name}-available" not in held:
            of = {"title": f"{name} answers", "indicator": "availability", "objective": "99.0", "by": "route", "subject": name}
            slo_create(name=f"{name}-available", **of, **given)
