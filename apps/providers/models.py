"""Upstreams: providers, their endpoints, credentials at rest, models and what they cost."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from apps.contracts.credentials import FORMS
from apps.contracts.identifiers import uuid7
from apps.providers import choices


class Credential(models.Model):
    """A provider's secret, encrypted under the master key (MultiFernet); never shown again but for its last four characters.

    last_four: by which people tell one secret from another; empty for secrets too short to give any of it away.
    form: what it is: a key as it is sent, or what tokens and signatures are made from (``apps.contracts.credentials``).
    source: the reference it was read from (``env:NAME``, ``file:path``), empty where a person typed it.
    digest: hex HMAC of the value under a key derived from the master key; tells whether a value changed.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.PROTECT, related_name="credentials")
    name = models.CharField(max_length=80)
    encrypted = models.TextField()
    digest = models.CharField(max_length=64)
    last_four = models.CharField(max_length=4, blank=True, default="")
    form = models.CharField(max_length=20, default="key")
    source = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="credential_name_once")
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def used_by(self) -> list[Endpoint]:
        """The endpoints that use it, alone or with others."""
        found = {endpoint.pk: endpoint for endpoint in self.endpoints.all()} | {row.endpoint_id: row.endpoint for row in self.pooled.all()}
        return sorted(found.values(), key=str)

    @property
    def form_words(self) -> str:
        """What it is, where that is more than a key."""
        return "" if self.form == "key" else FORMS.get(self.form, self.form)


class Provider(models.Model):
    """An upstream. ``kind`` names its wire format; ``price_list`` the page of the price book that applies
    (empty: found by the endpoints' addresses; ``none``: only manual prices).

    allow_private_addresses: calls may go to loopback, private and other special addresses (``apps.contracts.addresses``).
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.PROTECT, related_name="providers")
    name = models.CharField(max_length=80)
    kind = models.CharField(max_length=40, choices=[(key, kind.label) for key, kind in choices.KINDS.items()])
    price_list = models.CharField(max_length=80, blank=True, default="")
    simulated = models.BooleanField(default=False)
    enabled = models.BooleanField(default=True)
    allow_private_addresses = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="provider_name_once")
        ]

    def __str__(self) -> str:
        return self.name


class Endpoint(models.Model):
    """One regional address of a provider; the one with the lowest position is the provider's first.

    credential: the only one, or the first of ``pool``. api_version: of kinds that are ``versioned``.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="endpoints")
    position = models.PositiveSmallIntegerField()
    name = models.CharField(max_length=80)
    base_url = models.CharField(max_length=500)
    region = models.CharField(max_length=80, blank=True, default="")
    credential = models.ForeignKey(Credential, on_delete=models.PROTECT, null=True, blank=True, related_name="endpoints")
    max_connections = models.PositiveIntegerField(default=4096)
    verify_tls = models.BooleanField(default=True)
    ca_file = models.CharField(max_length=500, blank=True, default="")
    api_version = models.CharField(max_length=40, blank=True, default="")

    class Meta:
        ordering: ClassVar = ["position"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["provider", "name"], name="endpoint_name_once")
        ]

    def __str__(self) -> str:
        return f"{self.provider.name}/{self.name}"


class PooledCredential(models.Model):
    """One of several credentials that an endpoint uses in turn, with limits of its own (None: none). An endpoint with a single credential
    and no limits has no such rows."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="pool")
    credential = models.ForeignKey(Credential, on_delete=models.PROTECT, related_name="pooled")
    position = models.PositiveSmallIntegerField()
    requests_per_minute = models.BigIntegerField(null=True, blank=True)
    tokens_per_minute = models.BigIntegerField(null=True, blank=True)
    concurrent_requests = models.BigIntegerField(null=True, blank=True)

    class Meta:
        ordering: ClassVar = ["position"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["endpoint", "credential"], name="pooled_credential_once")
        ]

    def __str__(self) -> str:
        return f"{self.endpoint}: {self.credential}"


class ProviderModel(models.Model):
    """A model as its provider names it: known because a route targets it or a person priced it. like: the model whose price it has
    while none of its own is in force."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="models")
    name = models.CharField(max_length=200)
    like = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="alike")

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["provider", "name"], name="provider_model_once")
        ]

    def __str__(self) -> str:
        return f"{self.provider.name}/{self.name}"


class Price(models.Model):
    """What a model costs during ``[valid_from, valid_to)``; fields and units as ``apps.contracts.snapshot.PriceVersion``.

    tiers: list of ``{"from_input_tokens", "input", "output", ...}`` in the same unit. off_peak: list of ``{"from_minute", "to_minute",
    "discount"}``. retired_at: when it was replaced; the row stays, because records name its version.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    model = models.ForeignKey(ProviderModel, on_delete=models.CASCADE, related_name="prices")
    version = models.CharField(max_length=120)
    source = models.CharField(max_length=20, choices=choices.SOURCES)
    input = models.BigIntegerField()
    output = models.BigIntegerField()
    cache_read = models.BigIntegerField(null=True, blank=True)
    cache_write = models.BigIntegerField(null=True, blank=True)
    reasoning = models.BigIntegerField(null=True, blank=True)
    audio_input = models.BigIntegerField(null=True, blank=True)
    audio_output = models.BigIntegerField(null=True, blank=True)
    image_input = models.BigIntegerField(null=True, blank=True)
    image_output = models.BigIntegerField(null=True, blank=True)
    request = models.BigIntegerField(default=0)
    region = models.CharField(max_length=80, blank=True, default="")
    batch_discount = models.PositiveIntegerField(default=0)
    off_peak = models.JSONField(default=list, blank=True)
    retired_at = models.DateTimeField(null=True, blank=True)
    tiers = models.JSONField(default=list, blank=True)
    valid_from = models.DateTimeField(null=True, blank=True)
    valid_to = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = [F("valid_from").asc(nulls_first=True)]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["model", "version"], name="price_version_once"),
            models.CheckConstraint(condition=Q(input__gte=0, output__gte=0, request__gte=0), name="price_not_negative"),
        ]

    def __str__(self) -> str:
        return self.version


class Discount(models.Model):
    """What was negotiated with a provider. discount: hundredths of a percent off every price of ``model``, empty: of all its models that
    have no discount of their own at the time."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    organisation = models.ForeignKey("accounts.Organisation", on_delete=models.PROTECT, related_name="discounts")
    provider = models.ForeignKey(Provider, on_delete=models.CASCADE, related_name="discounts")
    name = models.CharField(max_length=80)
    model = models.CharField(max_length=200, blank=True, default="")
    discount = models.PositiveIntegerField()
    valid_from = models.DateTimeField(null=True, blank=True)
    valid_to = models.DateTimeField(null=True, blank=True)
    note = models.CharField(max_length=300, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["organisation", "name"], name="discount_name_once"),
            models.CheckConstraint(condition=Q(discount__lte=10_000), name="discount_at_most_all"),
        ]

    def __str__(self) -> str:
        return self.name


class ProviderCheck(models.Model):
    """The latest check of one endpoint. latency_us: microseconds until the answer's headers; None without an answer."""

    endpoint = models.OneToOneField(Endpoint, on_delete=models.CASCADE, primary_key=True, related_name="check_state")
    state = models.CharField(max_length=20, choices=[(key, state.label) for key, state in choices.CHECK_STATES.items()])
    status = models.PositiveSmallIntegerField(null=True, blank=True)
    latency_us = models.BigIntegerField(null=True, blank=True)
    detail = models.CharField(max_length=300, blank=True, default="")
    checked_at = models.DateTimeField()
    since = models.DateTimeField()
    """When the endpoint entered this state."""

    def __str__(self) -> str:
        return f"{self.endpoint}: {self.state}"
