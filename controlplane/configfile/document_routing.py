"""The document's types of where requests go and what that costs: credentials, providers with their prices, discounts, routes."""

from __future__ import annotations

from typing import Literal

import msgspec

from controlplane.configfile.values import Clock, Dollars, Duration, Entry, Moment, Percent, Reference


class CredentialEntry(Entry, kw_only=True):
    """A provider's secret, by reference."""

    secret: Reference
    absent: bool = False


class PooledEntry(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One of several credentials of an endpoint, by name, with limits of its own."""

    name: str
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent_requests: int | None = None


class EndpointEntry(msgspec.Struct, kw_only=True):
    """One address of a provider. credentials: several, used in turn, instead of ``credential``."""

    name: str = "default"
    base_url: str
    region: str = ""
    credential: str = ""
    max_connections: int = 4096
    verify_tls: bool = True
    ca_file: str = ""
    credentials: list[PooledEntry] = []
    api_version: str = ""


class TierEntry(msgspec.Struct, kw_only=True):
    """Prices that replace the base ones for a whole request from a number of input tokens on."""

    from_input_tokens: int
    input: Dollars | None = None
    output: Dollars | None = None
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None
    reasoning: Dollars | None = None
    audio_input: Dollars | None = None
    audio_output: Dollars | None = None
    image_input: Dollars | None = None
    image_output: Dollars | None = None


class OffPeakEntry(msgspec.Struct, kw_only=True):
    """Hours of every day at which a price is lower."""

    start: Clock
    end: Clock
    discount: Percent


class PriceEntry(msgspec.Struct, kw_only=True):
    """What a model costs, in dollars per million tokens; wins over the price book."""

    model: str
    input: Dollars
    output: Dollars = 0
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None
    reasoning: Dollars | None = None
    audio_input: Dollars | None = None
    audio_output: Dollars | None = None
    image_input: Dollars | None = None
    image_output: Dollars | None = None
    request: Dollars = 0
    tiers: list[TierEntry] = []
    region: str = ""
    batch_discount: Percent = 0
    off_peak: list[OffPeakEntry] = []
    valid_from: Moment | None = None
    valid_to: Moment | None = None
    absent: bool = False


class LikeEntry(msgspec.Struct, kw_only=True):
    """A model that costs as another one while it has no price of its own."""

    model: str
    like: str
    absent: bool = False


Capability = Literal[
    "tools",
    "json_schema",
    "images",
    "parallel_tools",
    "documents",
    "audio",
    "reasoning",
    "logprobs",
    "seed",
    "n",
    "prefill",
    "caching",
    "streaming",
]


class ModelEntry(msgspec.Struct, kw_only=True):
    """What you know of a model better than packages and the provider's own list."""

    model: str
    window: int = 0
    max_output: int = 0
    can: list[Capability] = []
    cannot: list[Capability] = []
    deprecated: bool | None = None
    ends_on: str = ""
    note: str = ""
    absent: bool = False


class ProviderEntry(Entry, kw_only=True):
    """An upstream."""

    kind: str = "openai"
    simulated: bool = False
    enabled: bool = True
    allow_private_addresses: bool = False
    price_list: str = ""
    endpoints: list[EndpointEntry]
    prices: list[PriceEntry] = []
    priced_like: list[LikeEntry] = []
    models: list[ModelEntry] = []
    owner: str = ""
    absent: bool = False


class DiscountEntry(Entry, kw_only=True):
    """What was negotiated with a provider."""

    provider: str
    model: str = ""
    discount: Percent
    valid_from: Moment | None = None
    valid_to: Moment | None = None
    note: str = ""
    absent: bool = False


class UnitPriceEntry(Entry, kw_only=True):
    """What a thousand units that are no tokens cost at a provider's model."""

    provider: str
    model: str
    unit: str
    quality: str = ""
    size: str = ""
    per_thousand: Dollars
    valid_from: Moment | None = None
    valid_to: Moment | None = None
    absent: bool = False


class GpuPriceEntry(Entry, kw_only=True):
    """What an hour of one GPU of your own costs."""

    gpu: str
    region: str = ""
    per_hour: Dollars
    valid_from: Moment | None = None
    valid_to: Moment | None = None
    absent: bool = False


class TargetEntry(msgspec.Struct, kw_only=True):
    """One place a route can send a request."""

    provider: str
    model: str
    endpoint: str = ""
    weight: int = 100
    priority: int = 0
    window: int = 0
    max_concurrency: int = 0
    prefill: bool = False
    reasoning: bool = False
    expensive: bool = False
    variant: str = ""
    capabilities: list[Capability] | None = None
    connect: Duration = 0
    first_byte: Duration = 0
    first_token: Duration = 0
    idle: Duration = 0
    total: Duration = 0


class DeadlinesEntry(msgspec.Struct, kw_only=True):
    """How long a request may take."""

    connect: Duration = 2_000
    first_byte: Duration = 6_000
    idle: Duration = 30_000
    total: Duration = 120_000


class BreakerEntry(msgspec.Struct, kw_only=True):
    """When a target's circuit breaker opens, and for how long."""

    enabled: bool = True
    consecutive: int = 5
    failure_percent: int = 50
    minimum: int = 20
    window: Duration = 10_000
    open: Duration = 2_000


class MirrorEntry(msgspec.Struct, kw_only=True):
    """Where copies of requests go."""

    target: TargetEntry
    percent: int = 100


class ResilienceEntry(msgspec.Struct, kw_only=True):
    """How a route keeps answering."""

    strategy: Literal["priority", "weighted", "least_latency", "least_cost", "region"] = "priority"
    region: str = ""
    sticky: Literal["", "user", "session", "key"] = ""
    first_token: Duration = 0
    reasoning_first_byte: Duration = 60_000
    retry_budget_percent: int = 20
    max_concurrency: int = 0
    queue_size: int = 64
    queue: Duration = 2_000
    hedge_percent: int = 0
    hedge_after: Duration = 0
    rescue: Literal["off", "same_model", "any"] = "same_model"
    context: Literal["off", "larger", "trim", "refuse"] = "larger"
    level: Literal["full", "limited", "cached", "minimal"] = "full"
    limited_max_output: int = 1_024
    canned: str = ""
    breaker: BreakerEntry = msgspec.field(default_factory=BreakerEntry)
    mirror: MirrorEntry | None = None


class RouteEntry(Entry, kw_only=True):
    """What apps name as ``model``."""

    aliases: list[str] = []
    targets: list[TargetEntry]
    fallback: list[TargetEntry] = []
    deadlines: DeadlinesEntry = msgspec.field(default_factory=DeadlinesEntry)
    resilience: ResilienceEntry = msgspec.field(default_factory=ResilienceEntry)
    max_output_tokens: int = 4096
    max_attempts: int = 3
    unpriced: Literal["refuse", "zero"] = "refuse"
    default_price: str = ""
    owner: str = ""
    runbook: str = ""
    enabled: bool = True
    absent: bool = False
