"""``providers``, ``credentials``, ``discounts`` and ``prices`` of an organisation."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import Prefetch, QuerySet
from rest_framework import serializers

from apps.audit.errors import ServiceError
from apps.providers.api.serializers import (
    CredentialSerializer,
    DiscountSerializer,
    ModelPriceSerializer,
    ProviderSerializer,
    price_specs,
)
from apps.providers.discounts import discount_delete, discount_set
from apps.providers.models import Credential, Discount, Price, Provider, ProviderModel
from apps.providers.prices import prices_set
from apps.providers.rules import EndpointSpec, PoolSpec
from apps.providers.selectors import credentials_of, discounts_of, provider_named, providers_of
from apps.providers.services import credential_delete, credential_set, provider_delete, provider_ensure, provider_update
from apps.publishing.api.resources import CreatableView, EditableView, ObjectView, Resource


def _endpoint(given: dict[str, Any]) -> EndpointSpec:
    return EndpointSpec(**{**given, "credentials": tuple(PoolSpec(**member) for member in given["credentials"])})


class ProviderResource(Resource):
    permission: ClassVar[str] = "provider.view"
    serializer_class = ProviderSerializer
    kind, object_name, argument = "provider", "provider", "provider_id"

    def rows(self) -> QuerySet[Provider]:
        return providers_of(self.organisation)

    def facts(self, values: dict[str, Any]) -> dict[str, Any]:
        """As services take them."""
        return {**values, "endpoints": [_endpoint(each) for each in values["endpoints"]], "reason": self.reason}


class ProvidersView(ProviderResource, CreatableView):
    """Providers of an organisation."""

    def create(self, values: dict[str, Any]) -> Provider:
        if self.rows().filter(name=values["name"]).exists():
            raise ServiceError(f"there is a provider {values['name']!r} already: edit that one, or choose another name", "name")
        return provider_ensure(actor=self.actor, organisation=self.organisation, **self.facts(values))


class ProviderView(ProviderResource, ObjectView):
    """One provider."""

    def change(self, row: Provider, values: dict[str, Any]) -> Provider:
        facts = self.facts(values)
        facts.pop("name")
        return provider_update(actor=self.actor, provider=row, **facts)

    def remove(self, row: Provider) -> None:
        provider_delete(actor=self.actor, provider=row, reason=self.reason)


class CredentialResource(Resource):
    permission: ClassVar[str] = "provider.view"
    serializer_class = CredentialSerializer
    kind, object_name, argument = "credential", "credential", "credential_id"

    def rows(self) -> QuerySet[Credential]:
        return credentials_of(self.organisation)


class CredentialsView(CredentialResource, CreatableView):
    """Credentials of an organisation. Values go in and never come out."""

    def create(self, values: dict[str, Any]) -> Credential:
        if self.rows().filter(name=values["name"]).exists():
            raise ServiceError(f"there is a credential {values['name']!r} already: replace its value, or choose another name", "name")
        return credential_set(actor=self.actor, organisation=self.organisation, reason=self.reason, **values)


class CredentialView(CredentialResource, ObjectView):
    """One credential; writing it replaces the value."""

    def change(self, row: Credential, values: dict[str, Any]) -> Credential:
        return credential_set(actor=self.actor, organisation=self.organisation, name=row.name, value=values["value"], reason=self.reason)

    def remove(self, row: Credential) -> None:
        credential_delete(actor=self.actor, credential=row, reason=self.reason)


class DiscountResource(Resource):
    permission: ClassVar[str] = "budget.view"
    serializer_class = DiscountSerializer
    kind, object_name, argument = "discount", "discount", "discount_id"

    def rows(self) -> QuerySet[Discount]:
        return discounts_of(self.organisation)

    def made(self, values: dict[str, Any]) -> Discount:
        provider = provider_named(self.organisation, values.pop("provider")["name"])
        return discount_set(actor=self.actor, organisation=self.organisation, provider=provider, reason=self.reason, **values)


class DiscountsView(DiscountResource, CreatableView):
    """Discounts of an organisation."""

    def create(self, values: dict[str, Any]) -> Discount:
        if self.rows().filter(name=values["name"]).exists():
            raise ServiceError(f"there is a discount {values['name']!r} already: edit that one, or choose another name", "name")
        return self.made(dict(values))


class DiscountView(DiscountResource, ObjectView):
    """One discount."""

    def change(self, row: Discount, values: dict[str, Any]) -> Discount:
        return self.made(dict(values))

    def remove(self, row: Discount) -> None:
        discount_delete(actor=self.actor, discount=row, reason=self.reason)


class PriceResource(Resource):
    permission: ClassVar[str] = "budget.view"
    serializer_class = ModelPriceSerializer
    kind, object_name, argument, ordering = "price", "price", "model_id", ("name", "pk")
    shown_as = "model"

    def rows(self) -> QuerySet[ProviderModel]:
        prices = Price.objects.filter(retired_at=None)
        rows = ProviderModel.objects.filter(provider__organisation=self.organisation)
        return rows.select_related("provider", "like", "like__provider").prefetch_related(Prefetch("prices", queryset=prices))

    def priced(self, provider: Provider, values: dict[str, Any]) -> ProviderModel:
        return prices_set(
            actor=self.actor, provider=provider, model=values["model"], prices=price_specs(values["prices"]), reason=self.reason
        )


class PricesView(PriceResource, CreatableView):
    """Every model that a route targets or a person priced, with what it costs."""

    def create(self, values: dict[str, Any]) -> ProviderModel:
        provider = provider_named(self.organisation, values["provider"])
        if self.rows().filter(provider=provider, name=values["model"]).exists():
            raise ServiceError(f"{values['model']!r} is known already: change its prices with PUT", "model")
        return self.priced(provider, values)


class PriceView(PriceResource, EditableView):
    """One model's prices."""

    def change(self, row: ProviderModel, values: dict[str, Any]) -> ProviderModel:
        if values["provider"] != row.provider.name:
            raise serializers.ValidationError({"provider": ["A model's provider never changes."]})
        return self.priced(row.provider, values)
