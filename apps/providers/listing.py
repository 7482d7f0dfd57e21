"""The pages' reads of providers: lines and parts of the list, a provider's models with prices, its history."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, Exists, OuterRef, Prefetch, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce, JSONObject

from apps.audit.models import AuditEvent
from apps.audit.selectors import events_about
from apps.contracts.credentials import FORMS
from apps.contracts.limits import MEASURES, LimitKind
from apps.contracts.money import dollars_text
from apps.providers import choices, pricebook, rules
from apps.providers.live import LiveCredential
from apps.providers.models import Credential, Endpoint, PooledCredential, Price, Provider, ProviderCheck, ProviderModel
from apps.providers.prices import list_of, price_id
from apps.providers.rules import PriceSpec
from apps.providers.selectors import price_spec, prices_in_force
from apps.publishing.trail import trail
from apps.ui.status import Status
from apps.ui.timeline import Entry

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

MOST_HISTORY = 100
POOL_LIMITS: tuple[LimitKind, ...] = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
"""Limits that a credential of a pool may have, as its columns are named."""


def check_now(state: str, checked_at: datetime, *, now: datetime) -> str:
    """What a check says now: an old one says that nobody has heard."""
    return "stale" if now - checked_at > timedelta(minutes=choices.CHECK_STALE_MINUTES) else state


Line = tuple[UUID, str, str, bool, bool, bool]
"""id, name, kind, simulated, enabled, private addresses allowed."""


def provider_lines(organisation: Organisation, *, asked: str = "") -> QuerySet[Any, Line]:
    """All providers of an organisation in a few columns, by name; ``model_count`` and ``route_count`` are there to be ordered by.
    asked: a part of a name."""
    rows = Provider.objects.filter(organisation=organisation)
    if asked:
        rows = rows.filter(name__icontains=asked)
    # ``alias``: counted only for an order that asks for it.
    rows = rows.alias(model_count=_models_of(), route_count=_routes_of()).order_by("name")
    return rows.values_list("pk", "name", "kind", "simulated", "enabled", "allow_private_addresses")


def _models_of() -> Coalesce:
    found = ProviderModel.objects.filter(provider=OuterRef("pk")).order_by().values("provider")
    return Coalesce(Subquery(found.annotate(n=Count("pk")).values("n")), 0)


def _routes_of() -> Coalesce:
    # From the provider's side: routes lie above this app.
    found = Provider.objects.filter(pk=OuterRef("pk")).order_by().values("pk")
    return Coalesce(Subquery(found.annotate(n=Count("route_targets__route", distinct=True)).values("n")), 0)


def provider_counts(provider_ids: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
    """How many models some providers have and how many routes use them: one query, none without providers."""
    if not provider_ids:
        return {}
    rows = Provider.objects.filter(pk__in=provider_ids).values_list("pk", _models_of(), _routes_of())
    return {pk: (models, routes) for pk, models, routes in rows}


Said = tuple[str, datetime]
"""What an endpoint's last check said, and when."""


def provider_checks(organisation: Organisation) -> dict[UUID, list[Said]]:
    """The last checks of all providers' endpoints, by provider: one query."""
    rows = ProviderCheck.objects.filter(endpoint__provider__organisation=organisation)
    found: dict[UUID, list[Said]] = {}
    for provider_id, state, at in rows.values_list("endpoint__provider_id", "state", "checked_at"):
        found.setdefault(provider_id, []).append((state, at))
    return found


def provider_endpoints(provider_ids: Sequence[UUID]) -> dict[UUID, list[Endpoint]]:
    """Endpoints of some providers in order, with credentials and checks: one query, none without providers."""
    found: dict[UUID, list[Endpoint]] = {}
    if provider_ids:
        rows = Endpoint.objects.filter(provider__in=provider_ids).select_related("credential", "check_state")
        for endpoint in rows.order_by("position"):
            found.setdefault(endpoint.provider_id, []).append(endpoint)
    return found


def checks_in(endpoints: Iterable[Endpoint]) -> list[Said]:
    """The last checks of endpoints that were read with them."""
    return [(check.state, check.checked_at) for endpoint in endpoints if (check := getattr(endpoint, "check_state", None))]


def provider_of(organisation: Organisation, provider_id: UUID) -> Provider | None:
    """One provider; None where the organisation has none of that id."""
    return Provider.objects.filter(organisation=organisation, pk=provider_id).select_related("organisation").first()


def endpoints_of(organisation: Organisation, provider_id: UUID) -> list[Endpoint]:
    """A provider's endpoints in order, with the provider itself, credentials and checks: one query. ``pooled``: as ``credential_rows``
    reads it."""
    found = Endpoint.objects.filter(provider__organisation=organisation, provider_id=provider_id)
    fields = {"id": "credential_id", "name": "credential__name", "last_four": "credential__last_four", "source": "credential__source"}
    pool = PooledCredential.objects.filter(endpoint=OuterRef("pk")).order_by("position")
    rows = pool.values(row=JSONObject(**fields, form="credential__form", **{kind: kind for kind in POOL_LIMITS}))
    found = found.annotate(pooled=ArraySubquery(rows))
    return list(found.select_related("provider", "credential", "check_state").order_by("position"))


class CredentialRow(NamedTuple):
    """One of an endpoint's credentials. form: in words, empty for a key. limits: in words; empty: none. live: what proxies say of it."""

    name: str
    last_four: str
    source: str
    form: str
    limits: str
    live: LiveCredential | None


def credential_rows(endpoint: Endpoint, live: Mapping[tuple[str, str], LiveCredential]) -> list[CredentialRow]:
    """The credentials of an endpoint that ``endpoints_of`` gave, in order."""
    rows: list[Mapping[str, Any]] = getattr(endpoint, "pooled", [])
    only = endpoint.credential
    if not rows and only is not None:
        rows = [{"id": str(only.pk), "name": only.name, "last_four": only.last_four, "source": only.source, "form": only.form}]
    return [
        CredentialRow(
            row["name"],
            row["last_four"],
            row["source"],
            "" if row["form"] == "key" else FORMS.get(row["form"], row["form"]),
            ", ".join(f"{row[kind]:,} {MEASURES[kind].words}" for kind in POOL_LIMITS if row.get(kind) is not None),
            # a proxy knows the only credential of an endpoint by its id alone
            live.get((endpoint.name, row["name"])) or live.get((endpoint.name, row["id"])),
        )
        for row in rows
    ]


def endpoint_status(endpoint: Endpoint, *, now: datetime | None = None) -> Status:
    """The status of an endpoint's last check."""
    check = getattr(endpoint, "check_state", None)
    if check is None:
        return choices.PROVIDER_STATES["unchecked"]
    state = check_now(check.state, check.checked_at, now=now or datetime.now(UTC))
    return choices.PROVIDER_STATES["stale"] if state == "stale" else choices.CHECK_STATES[check.state]


def routes_using(provider: Provider, *, models: Iterable[str] | None = None) -> list[Any]:
    """Targets at this provider with their routes, by route, chain and position; of some models, where given."""
    targets = provider.route_targets.select_related("route", "endpoint").order_by("route__name", "chain", "position")
    return list(targets if models is None else targets.filter(model__in=list(models)))


# --- models and prices -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelRow:
    """A model of a provider. ``price``: in force now; ``coming``: the next one that has a date."""

    model: ProviderModel
    price: Price | None
    coming: Price | None
    facts: pricebook.ModelFacts
    routes: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """Who says what it costs."""
        if self.price is None:
            return "none"
        return "yours" if self.price.source == choices.SOURCE_MANUAL else "price book"


def models_found(provider: Provider, *, query: str = "", priced: str = "") -> QuerySet[ProviderModel]:
    """A provider's models: whose name contains ``query``; ``priced``: ``yours``, ``book``, ``none`` or all."""
    models = ProviderModel.objects.filter(provider=provider)
    if query:
        models = models.filter(name__icontains=query)
    held = Price.objects.filter(model=OuterRef("pk"), retired_at=None)
    yours = Exists(held.filter(source=choices.SOURCE_MANUAL))
    if priced == "yours":
        models = models.filter(yours)
    elif priced == "book":
        models = models.filter(Exists(held)).exclude(yours)
    elif priced == "none":
        models = models.exclude(Exists(held))
    return models


def model_rows(provider: Provider, models: Sequence[ProviderModel], *, now: datetime | None = None) -> list[ModelRow]:
    """Models with what they cost, can do and serve: two queries, whatever their number."""
    now = now or datetime.now(UTC)
    prices: dict[UUID, list[Price]] = {}
    for price in Price.objects.filter(model__in=[model.pk for model in models]):
        prices.setdefault(price.model_id, []).append(price)
    names: dict[str, list[str]] = {}
    for target in routes_using(provider, models=[model.name for model in models]):
        if target.route.name not in names.setdefault(target.model, []):
            names[target.model].append(target.route.name)
    book = list_of(provider)
    rows = []
    for model in models:
        ordered = prices_in_force(prices.get(model.pk, []))
        now_held = rules.price_in_force([price_spec(price) for price in ordered], now)
        rows.append(
            ModelRow(
                model=model,
                price=next((price for price in ordered if now_held is not None and price_spec(price) == now_held), None),
                coming=next((price for price in ordered if price.valid_from and price.valid_from > now), None),
                facts=pricebook.model_facts(book, model.name) if book else pricebook.ModelFacts(),
                routes=tuple(names.get(model.name, ())),
            )
        )
    return rows


def model_prices(model: ProviderModel) -> list[PriceSpec]:
    """What a model costs over time, oldest first."""
    return [price_spec(price) for price in prices_in_force(model.prices.all())]


def known_price(price_list: str | None, model: str, *, now: datetime | None = None) -> PriceSpec | None:
    """What the price book says a model costs now; None where it says nothing."""
    return rules.price_in_force(pricebook.book_prices(price_list, model), now or datetime.now(UTC)) if price_list else None


# --- credentials -----------------------------------------------------------------------------------------------------------


def credentials_found(organisation: Organisation, *, query: str = "") -> QuerySet[Credential]:
    """An organisation's credentials with the endpoints that use them."""
    found = Credential.objects.filter(organisation=organisation).prefetch_related(
        Prefetch("endpoints", queryset=Endpoint.objects.select_related("provider").order_by("provider__name", "position")),
        Prefetch("pooled", queryset=PooledCredential.objects.select_related("endpoint__provider")),
    )
    return found.filter(name__icontains=query) if query else found


# --- history ---------------------------------------------------------------------------------------------------------------


def check_history(provider: Provider, *, limit: int = MOST_HISTORY) -> list[Entry]:
    """Every change of an endpoint's state, and what proxies told of its targets, newest first: one query."""
    entries = []
    known = (choices.CHECK_EVENT, *choices.TARGET_EVENTS)
    for event in events_about(subject_kind="provider", subject_id=provider.pk).filter(kind__in=known).order_by("-at", "-id")[:limit]:
        data: Mapping[str, Any] = event.data
        if event.kind in choices.TARGET_EVENTS:
            title, state = choices.TARGET_EVENTS[event.kind]
            said = f"HTTP {data['status']} of {data.get('target', '')}" if data.get("status") else str(data.get("target", ""))
            said += f", credential {data['credential']}" if data.get("credential") else ""
            entries.append(Entry(at=event.at, title=title, text=said, tone=state.tone, icon=state.icon_name))
            continue
        after = choices.CHECK_STATES.get(str(data.get("to")), choices.PROVIDER_STATES["unchecked"])
        before = choices.CHECK_STATES.get(str(data.get("from")))
        entries.append(
            Entry(
                at=event.at,
                title=f"{data.get('endpoint', '')}: {after.label}",
                text=" · ".join(filter(None, (f"was {before.label.lower()}" if before else "first check", str(data.get("detail") or "")))),
                tone=after.tone,
                icon=after.icon_name,
            )
        )
    return entries


def changes_of(provider: Provider, *, limit: int = MOST_HISTORY) -> list[Entry]:
    """Who changed what: the provider itself and its models' prices, newest first: one query."""
    own = Q(subject_kind="provider", subject_id=str(provider.pk)) | Q(subject_kind="price", subject_id__startswith=f"{provider.pk}/")
    entries = []
    for event in AuditEvent.objects.filter(own).order_by("-seq")[:limit]:
        event.before, event.after = _by_endpoint(event.before), _by_endpoint(event.after)
        [entry] = trail([event])
        if event.subject_kind == "price":
            entry = replace(entry, title=f"Price of {event.subject_name.partition('/')[2]}: {entry.title.lower()}", text=_price_text(event))
        entries.append(entry)
    return entries


def _by_endpoint(facts: Any) -> Any:
    """What the audit keeps of a provider with each endpoint's fields by themselves: ``default.region``."""
    if not isinstance(facts, dict) or not isinstance(facts.get("endpoints"), list):
        return facts
    flat = {name: value for name, value in facts.items() if name != "endpoints"}
    for endpoint in facts["endpoints"]:
        if isinstance(endpoint, dict):
            flat |= {f"{endpoint.get('name', '')}.{name}": value for name, value in endpoint.items() if name != "name"}
    return flat


def _price_text(event: AuditEvent) -> str:
    """Input and output in dollars per million, before and after: what an audit event says of prices."""

    def said(facts: Any) -> str:
        prices = [price for price in (facts or {}).values() if isinstance(price, dict)]
        return ", ".join(f"${dollars_text(price.get('input') or 0)} in, ${dollars_text(price.get('output') or 0)} out" for price in prices)

    return f"{said(event.before) or 'no price'} → {said(event.after) or 'no price'}" + (f" “{event.reason}”" if event.reason else "")


def price_subject(model: ProviderModel) -> str:
    """What the audit calls a model's prices."""
    return price_id(model)
