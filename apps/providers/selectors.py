"""Reads of providers, credentials, models and prices."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from django.db.models import Prefetch, QuerySet

from apps.audit.errors import ServiceError
from apps.contracts.fleet import REPLICAS_URL
from apps.providers import choices
from apps.providers.models import Credential, Discount, Endpoint, Price, Provider, ProviderModel
from apps.providers.rules import PriceSpec

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


def providers_of(organisation: Organisation) -> QuerySet[Provider]:
    """An organisation's providers by name, with endpoints, their credentials and their latest checks."""
    endpoints = Endpoint.objects.select_related("credential", "check_state").prefetch_related("pool__credential")
    return Provider.objects.filter(organisation=organisation).prefetch_related(Prefetch("endpoints", queryset=endpoints))


def provider_named(organisation: Organisation, name: str, *, field: str = "provider") -> Provider:
    """The provider of that name. Raises ServiceError that lists the names there are."""
    found = providers_of(organisation).filter(name=name).first()
    if found is None:
        names = ", ".join(Provider.objects.filter(organisation=organisation).values_list("name", flat=True)[:20]) or "none yet"
        raise ServiceError(f"there is no provider {name!r}; there are: {names}", field)
    return found


def credentials_of(organisation: Organisation) -> QuerySet[Credential]:
    """An organisation's credentials by name."""
    return Credential.objects.filter(organisation=organisation)


def credential_named(organisation: Organisation, name: str, *, field: str = "credential") -> Credential:
    """The credential of that name. Raises ServiceError that lists the names there are."""
    found = credentials_of(organisation).filter(name=name).first()
    if found is None:
        names = ", ".join(credentials_of(organisation).values_list("name", flat=True)[:20]) or "none yet"
        raise ServiceError(f"there is no credential {name!r}; there are: {names}", field)
    return found


def manual_prices_of(organisation: Organisation) -> QuerySet[Price]:
    """Prices that people set, by provider, model and start."""
    return (
        Price.objects.filter(model__provider__organisation=organisation, source=choices.SOURCE_MANUAL, retired_at=None)
        .select_related("model", "model__provider")
        .order_by("model__provider__name", "model__name", "region", "valid_from")
    )


def alike_of(organisation: Organisation) -> QuerySet[ProviderModel]:
    """Models that are priced like another, by provider and name."""
    models = ProviderModel.objects.filter(provider__organisation=organisation, like__isnull=False)
    return models.select_related("provider", "like__provider").order_by("provider__name", "name")


def discounts_of(organisation: Organisation) -> QuerySet[Discount]:
    """What an organisation negotiated, by name."""
    return Discount.objects.filter(organisation=organisation).select_related("provider")


def models_with_prices(models: QuerySet[ProviderModel]) -> QuerySet[ProviderModel]:
    """Models with their provider and all their prices."""
    return models.select_related("provider", "like__provider").prefetch_related("prices")


def prices_in_force(prices: Iterable[Price]) -> list[Price]:
    """The rows that count: a person's prices hide the book's, replaced ones are left out; oldest first, and of those that
    begin together always in the same order: what is published must not differ because the database gave rows in another one."""
    rows = [row for row in prices if row.retired_at is None]
    manual = [row for row in rows if row.source == choices.SOURCE_MANUAL]
    return sorted(manual or rows, key=lambda row: (row.valid_from.timestamp() if row.valid_from else float("-inf"), row.region, row.pk))


def price_spec(row: Price) -> PriceSpec:
    """A row's numbers and validity, without its label."""
    return PriceSpec(
        input=row.input,
        output=row.output,
        cache_read=row.cache_read,
        cache_write=row.cache_write,
        request=row.request,
        tiers=tuple(row.tiers),
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        reasoning=row.reasoning,
        audio_input=row.audio_input,
        audio_output=row.audio_output,
        image_input=row.image_input,
        image_output=row.image_output,
        region=row.region,
        batch_discount=row.batch_discount,
        off_peak=tuple(row.off_peak),
    )


def price_of(provider: Provider, model: str, at: datetime) -> Price | None:
    """The price of a model at a moment; None where it is unpriced."""
    rows = prices_in_force(Price.objects.filter(model__provider=provider, model__name=model))
    for row in reversed(rows):
        if not row.region and (row.valid_from is None or row.valid_from <= at) and (row.valid_to is None or at < row.valid_to):
            return row
    return None


def endpoints_to_check() -> QuerySet[Endpoint]:
    """Endpoints of enabled providers, with what a check needs."""
    return (
        Endpoint.objects.filter(provider__enabled=True)
        .exclude(base_url=REPLICAS_URL)  # our own workers say how their replicas are
        .select_related("provider", "credential", "check_state")
        .order_by("provider_id", "position")
    )


def model_named(organisation: Organisation, text: str, *, field: str) -> ProviderModel:
    """The model that ``<provider>/<model>`` names. Raises ServiceError where the price book does not know it."""
    provider, _, name = text.partition("/")
    models = ProviderModel.objects.filter(provider__organisation=organisation).select_related("provider")
    found = models.filter(provider__name=provider, name=name).first()
    if found is None:
        raise ServiceError(
            f"the price book knows no model {text!r}: write <provider>/<model>, of a model that a route targets or that has a price", field
        )
    return found


def models_of(organisation: Organisation, *, limit: int = 500) -> list[str]:
    """Names of the models that an organisation's providers are known to have, each once: what a form offers."""
    rows = ProviderModel.objects.filter(provider__organisation=organisation).order_by("name").values_list("name", flat=True)
    return list(rows.distinct()[:limit])
