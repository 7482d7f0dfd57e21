"""``gpu-prices`` and ``unit-prices`` of an organisation."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework import serializers

from apps.accounts.api.serializers import ReasonSerializer
from apps.audit.errors import ServiceError
from apps.contracts.metering import UNITS
from apps.prices.models import GpuPrice, UnitPrice
from apps.prices.selectors import gpu_prices_of
from apps.prices.services import gpu_price_delete, gpu_price_set
from apps.prices.units import unit_price_delete, unit_price_set, unit_prices_of
from apps.providers.selectors import provider_named
from apps.publishing.api.resources import CreatableView, ObjectView, Resource


class GpuPriceSerializer(ReasonSerializer):
    """What an hour of one GPU costs."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=80)
    gpu = serializers.CharField(max_length=80, help_text="As workers report it, such as NVIDIA H200.")
    region = serializers.CharField(max_length=80, allow_blank=True, default="")
    per_hour = serializers.IntegerField(help_text="Nano-dollars.")
    valid_from = serializers.DateTimeField(allow_null=True, default=None)
    valid_to = serializers.DateTimeField(allow_null=True, default=None)


class UnitPriceSerializer(ReasonSerializer):
    """What a thousand units that are no tokens cost."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=80)
    provider = serializers.CharField(source="provider.name", max_length=80)
    model = serializers.CharField(max_length=200)
    unit = serializers.ChoiceField(choices=list(UNITS.items()))
    quality = serializers.CharField(max_length=40, allow_blank=True, default="")
    size = serializers.CharField(max_length=40, allow_blank=True, default="")
    per_thousand = serializers.IntegerField(help_text="Nano-dollars for a thousand.")
    valid_from = serializers.DateTimeField(allow_null=True, default=None)
    valid_to = serializers.DateTimeField(allow_null=True, default=None)


class UnitPriceResource(Resource):
    permission: ClassVar[str] = "budget.view"
    serializer_class = UnitPriceSerializer
    kind, object_name, argument = "unit_price", "unit-price", "unit_price_id"

    def rows(self) -> QuerySet[UnitPrice]:
        return unit_prices_of(self.organisation)

    def made(self, values: dict[str, Any]) -> UnitPrice:
        provider = provider_named(self.organisation, values.pop("provider")["name"])
        return unit_price_set(actor=self.actor, organisation=self.organisation, provider=provider, reason=self.reason, **values)


class UnitPricesView(UnitPriceResource, CreatableView):
    """Prices of units that are no tokens."""

    def create(self, values: dict[str, Any]) -> UnitPrice:
        if self.rows().filter(name=values["name"]).exists():
            raise ServiceError(f"there is a price {values['name']!r} already: edit that one, or choose another name", "name")
        return self.made(dict(values))


class UnitPriceView(UnitPriceResource, ObjectView):
    """One of them."""

    def change(self, row: UnitPrice, values: dict[str, Any]) -> UnitPrice:
        return self.made(dict(values))

    def remove(self, row: UnitPrice) -> None:
        unit_price_delete(actor=self.actor, price=row, reason=self.reason)


class GpuPriceResource(Resource):
    permission: ClassVar[str] = "budget.view"
    serializer_class = GpuPriceSerializer
    kind, object_name, argument = "gpu_price", "gpu-price", "price_id"

    def rows(self) -> QuerySet[GpuPrice]:
        return gpu_prices_of(self.organisation)


class GpuPricesView(GpuPriceResource, CreatableView):
    """Prices of GPU hours."""

    def create(self, values: dict[str, Any]) -> GpuPrice:
        if self.rows().filter(name=values["name"]).exists():
            raise ServiceError(f"there is a price {values['name']!r} already: edit that one, or choose another name", "name")
        return gpu_price_set(actor=self.actor, organisation=self.organisation, reason=self.reason, **values)


class GpuPriceView(GpuPriceResource, ObjectView):
    """One of them."""

    def change(self, row: GpuPrice, values: dict[str, Any]) -> GpuPrice:
        return gpu_price_set(actor=self.actor, organisation=self.organisation, reason=self.reason, **values)

    def remove(self, row: GpuPrice) -> None:
        gpu_price_delete(actor=self.actor, price=row, reason=self.reason)
