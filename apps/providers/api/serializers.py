"""Providers, credentials and prices as the API shows and takes them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from apps.accounts.api.serializers import ReasonSerializer, StrictSerializer
from apps.providers.choices import KINDS
from apps.providers.models import Price, Provider, ProviderModel
from apps.providers.rules import EndpointSpec, PriceSpec
from apps.providers.selectors import price_spec, prices_in_force
from apps.providers.services import pool_of

NANO = "Nano-dollars per million."


class PooledSerializer(StrictSerializer):
    """One of several credentials of an endpoint, with limits of its own over all proxies; null: none."""

    name = serializers.CharField(max_length=80)
    requests_per_minute = serializers.IntegerField(allow_null=True, default=None)
    tokens_per_minute = serializers.IntegerField(allow_null=True, default=None)
    concurrent_requests = serializers.IntegerField(allow_null=True, default=None)


class EndpointSerializer(StrictSerializer):
    """One address of a provider."""

    name = serializers.CharField(max_length=80, default="default")
    base_url = serializers.CharField(max_length=500)
    region = serializers.CharField(max_length=80, allow_blank=True, default="")
    credential = serializers.CharField(max_length=80, allow_blank=True, default="", help_text="Name of a credential; empty: none.")
    max_connections = serializers.IntegerField(default=EndpointSpec._field_defaults["max_connections"])
    verify_tls = serializers.BooleanField(default=True)
    ca_file = serializers.CharField(max_length=500, allow_blank=True, default="")
    credentials = PooledSerializer(many=True, default=list, help_text="Several, used in turn; `credential` is the first of them then.")
    api_version = serializers.CharField(
        max_length=40, allow_blank=True, default="", help_text="Of Azure OpenAI by deployment, such as 2024-10-21; else empty."
    )

    def to_representation(self, instance: Any) -> dict[str, Any]:
        return {
            "name": instance.name,
            "base_url": instance.base_url,
            "region": instance.region,
            "credential": instance.credential.name if instance.credential else "",
            "max_connections": instance.max_connections,
            "verify_tls": instance.verify_tls,
            "ca_file": instance.ca_file,
            "credentials": [member._asdict() for member in pool_of(instance)],
            "api_version": instance.api_version,
        }


class ProviderSerializer(ReasonSerializer):
    """An upstream."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=80)
    kind = serializers.ChoiceField(choices=list(KINDS), default="openai")
    simulated = serializers.BooleanField(default=False)
    enabled = serializers.BooleanField(default=True)
    allow_private_addresses = serializers.BooleanField(default=False)
    price_list = serializers.CharField(
        max_length=80, allow_blank=True, default="", help_text="Of the price book; empty: by its address; none."
    )
    endpoints = EndpointSerializer(many=True)

    def to_representation(self, instance: Provider) -> dict[str, Any]:
        shown = super().to_representation(instance)
        shown["endpoints"] = EndpointSerializer(sorted(instance.endpoints.all(), key=lambda row: row.position), many=True).data
        return shown


class CredentialSerializer(ReasonSerializer):
    """A provider's secret. It is taken and never given back; ``last_four`` tells one from another."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=80)
    value = serializers.CharField(max_length=20_000, write_only=True, trim_whitespace=False)
    form = serializers.CharField(read_only=True, help_text="key, aws, aws-default, google or entra.")
    last_four = serializers.CharField(read_only=True)
    source = serializers.CharField(read_only=True, help_text="The reference it was read from; empty: somebody typed or sent it.")
    changed_at = serializers.DateTimeField(read_only=True)


class DiscountSerializer(ReasonSerializer):
    """What was negotiated with a provider."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=80)
    provider = serializers.CharField(source="provider.name", max_length=80)
    model = serializers.CharField(max_length=200, allow_blank=True, default="", help_text="Empty: all of the provider's.")
    discount = serializers.IntegerField(help_text="Hundredths of a percent: 1250 is 12.5%.")
    valid_from = serializers.DateTimeField(allow_null=True, default=None)
    valid_to = serializers.DateTimeField(allow_null=True, default=None)
    note = serializers.CharField(max_length=300, allow_blank=True, default="")


class PriceSerializer(StrictSerializer):
    """What a model costs during a time."""

    input = serializers.IntegerField(help_text=f"{NANO} Tokens of input.")
    output = serializers.IntegerField(help_text=f"{NANO} Tokens of output.")
    cache_read = serializers.IntegerField(allow_null=True, default=None, help_text=f"{NANO} None: as input.")
    cache_write = serializers.IntegerField(allow_null=True, default=None, help_text=f"{NANO} None: as input.")
    request = serializers.IntegerField(default=0, help_text=f"{NANO} Requests.")
    tiers = serializers.ListField(child=serializers.DictField(child=serializers.IntegerField(allow_null=True)), default=list)
    valid_from = serializers.DateTimeField(allow_null=True, default=None)
    valid_to = serializers.DateTimeField(allow_null=True, default=None)
    reasoning = serializers.IntegerField(allow_null=True, default=None, help_text=f"{NANO} None: as output.")
    audio_input = serializers.IntegerField(allow_null=True, default=None, help_text=NANO)
    audio_output = serializers.IntegerField(allow_null=True, default=None, help_text=NANO)
    image_input = serializers.IntegerField(allow_null=True, default=None, help_text=NANO)
    image_output = serializers.IntegerField(allow_null=True, default=None, help_text=NANO)
    region = serializers.CharField(max_length=80, allow_blank=True, default="")
    batch_discount = serializers.IntegerField(default=0, help_text="Hundredths of a percent.")
    off_peak = serializers.ListField(child=serializers.DictField(child=serializers.IntegerField()), default=list)


class ModelPriceSerializer(ReasonSerializer):
    """A provider's model, and what it costs now and later. Writing prices makes them a person's; none hands it back to the book."""

    id = serializers.UUIDField(read_only=True)
    provider = serializers.CharField(max_length=80)
    model = serializers.CharField(max_length=200)
    like = serializers.CharField(read_only=True, help_text="<provider>/<model> whose price it has while it has none of its own.")
    source = serializers.CharField(read_only=True, help_text="book, manual, or empty where nothing prices it.")
    prices = PriceSerializer(many=True)

    def to_representation(self, instance: ProviderModel) -> dict[str, Any]:
        rows: list[Price] = prices_in_force(instance.prices.all())
        return {
            "id": str(instance.pk),
            "provider": instance.provider.name,
            "model": instance.name,
            "like": str(instance.like) if instance.like else "",
            "source": rows[0].source if rows else "",
            "prices": PriceSerializer([price_spec(row) for row in rows], many=True).data,
        }


def price_specs(given: list[dict[str, Any]]) -> list[PriceSpec]:
    """Prices as services take them."""
    return [PriceSpec(**{**price, "tiers": tuple(price["tiers"]), "off_peak": tuple(price["off_peak"])}) for price in given]
