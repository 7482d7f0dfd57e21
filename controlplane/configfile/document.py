"""The document's types: every field there is. ``docs/config.md`` explains each; a test holds the two together.

Values are in stored form: dollars as nano-dollars, durations as milliseconds, moments as aware datetimes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal

import msgspec


class Unit(Enum):
    """How a value is written where its type alone does not say."""

    DOLLARS = "dollars"
    DURATION = "duration"
    MOMENT = "moment"
    REFERENCE = "reference"
    PERCENT = "percent"
    CLOCK = "clock"
    AMOUNT = "amount"
    AS_WRITTEN = "as written"
    HOOK = "hook"
    RULES = "rules"


Dollars = Annotated[int, Unit.DOLLARS]
Duration = Annotated[int, Unit.DURATION]
Moment = Annotated[datetime, Unit.MOMENT]
Percent = Annotated[int, Unit.PERCENT]
Clock = Annotated[int, Unit.CLOCK]
Amount = Annotated[int, Unit.AMOUNT]
AsWritten = Annotated[str, Unit.AS_WRITTEN]
"""A number or a text, with or without a unit, that the service reads as forms give it."""
Reference = Annotated[str, Unit.REFERENCE]
Rules = Annotated[dict[str, Any], Unit.RULES]
"""Rules of a flag, as ``apps.contracts.flag_documents`` reads them."""

Hook = Annotated[str, Unit.HOOK]
"""A reference to an address, or ``NONE``."""

NONE = "none"
"""Instead of a reference: there is to be none."""
KEPT = "kept"
"""The reference that means: the value stored already, whose source is not known."""


class Entry(msgspec.Struct, kw_only=True):
    """Something with a name of its own in its list."""

    name: str


class ContactEntry(msgspec.Struct, kw_only=True):
    """One way to reach a team."""

    kind: Literal["email", "chat", "phone", "url"]
    value: str
    label: str = ""


class SlaEntry(msgspec.Struct, kw_only=True):
    """What a team or a service promises, and from where on people are told."""

    availability: AsWritten
    window_days: int = 30
    warn_percent: int = 50
    page_percent: int = 90
    first_token: Duration = 0
    first_token_warn: Duration = 0
    first_token_page: Duration = 0


class ServiceEntry(Entry, kw_only=True):
    """An application of a team."""

    title: str = ""
    sla: SlaEntry | None = None


class TeamEntry(Entry, kw_only=True):
    """Who owns services, keys and flags."""

    title: str = ""
    contact: str = ""
    contacts: list[ContactEntry] = []
    sla: SlaEntry | None = None
    services: list[ServiceEntry] = []
    absent: bool = False


class LayerEntry(Entry, kw_only=True):
    """A column of the ownership map."""

    title: str = ""
    help: str = ""
    position: int = 0
    absent: bool = False


class CellEntry(msgspec.Struct, kw_only=True):
    """The team that answers for one layer in a region."""

    layer: str
    team: str


class RegionEntry(Entry, kw_only=True):
    """A row of the ownership map."""

    title: str = ""
    owners: list[CellEntry] = []
    absent: bool = False


class RotationEntry(Entry, kw_only=True):
    """Who is on call, in turns."""

    kind: Literal["on-call", "chaos-lead"] = "on-call"
    team: str = ""
    members: list[str] = []
    zone: str = "UTC"
    weekday: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"] = "mon"
    time: AsWritten = "09:00"
    every_days: int = 7
    starts_on: AsWritten = ""
    days: str = ""
    from_time: AsWritten = "00:00"
    to_time: AsWritten = "24:00"
    absent: bool = False


class RunbookEntry(Entry, kw_only=True):
    """What to do when something breaks."""

    title: str = ""
    owner: str = ""
    review_every_days: int = 90
    text: AsWritten = ""
    absent: bool = False


class CredentialEntry(Entry, kw_only=True):
    """A provider's secret, by reference."""

    secret: Reference
    absent: bool = False


class EndpointEntry(msgspec.Struct, kw_only=True):
    """One address of a provider."""

    name: str = "default"
    base_url: str
    region: str = ""
    credential: str = ""
    max_connections: int = 4096
    verify_tls: bool = True
    ca_file: str = ""


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
    capabilities: list[Literal["tools", "json_schema", "images"]] | None = None
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


class KeyEntry(Entry, kw_only=True):
    """A virtual key."""

    secret: Reference | None = None
    environment: Literal["production", "staging", "development"] = "production"
    feature: str = ""
    tags: list[str] = []
    routes: list[str] = msgspec.field(default_factory=lambda: ["*"])
    team: str = ""
    service: str = ""
    expires_at: Moment | None = None
    priority: Literal["high", "normal", "low"] = "normal"
    explain: bool = False
    addresses: list[str] = []
    enabled: bool = True
    absent: bool = False


class KeyTemplateEntry(Entry, kw_only=True):
    """What the members of a team, whose name it has, make by themselves."""

    routes: list[str] = msgspec.field(default_factory=lambda: ["*"])
    environments: list[Literal["production", "staging", "development"]]
    most_keys: int = 10
    longest_days: int | None = None
    requests_per_minute: Amount | None = None
    tokens_per_minute: Amount | None = None
    tokens_per_day: Amount | None = None
    concurrent_requests: Amount | None = None
    budget: Dollars | None = None
    budget_window: Literal["day", "week", "month", "quarter"] = "month"
    absent: bool = False


class BudgetEntry(Entry, kw_only=True):
    """Money that a scope may spend in each window. What its fields may say is the services' to judge, so that forms say the same."""

    scope: str
    team: str = ""
    service: str = ""
    user: str = ""
    key: str = ""
    route: str = ""
    model: str = ""
    provider: str = ""
    feature: str = ""
    tag: str = ""
    window: str
    timezone: str = "UTC"
    limit: Dollars
    kind: str = "hard"
    open_when_away: bool = True
    actions: str = ""
    owner: str = ""
    alerts: str = "50, 80, 100"
    webhook: Hook | None = None
    slack_webhook: Hook | None = None
    owned_by: str = ""
    absent: bool = False


class LimitEntry(Entry, kw_only=True):
    """So many requests or tokens in a while, or requests at once: of a key, a team, a route, a model, or of the whole organisation."""

    key: str = ""
    team: str = ""
    route: str = ""
    model: str = ""
    kind: str
    amount: Amount
    absent: bool = False


class PerformanceEntry(Entry, kw_only=True):
    """What one metric of a route or model may be, and who answers for it."""

    route: str = ""
    model: str = ""
    metric: str
    bound: AsWritten
    window: str = "day"
    warn: AsWritten = "80"
    min_samples: AsWritten = "100"
    owner: str
    absent: bool = False


class FlagEntry(Entry, kw_only=True):
    """A switch that on-call flips. on: None leaves it as it stands, with its reason, end and drill; a new one is off."""

    kind: Literal["fallback", "kill", "degrade", "release"]
    route: str = ""
    provider: str = ""
    key: str = ""
    model: str = ""
    feature: str = ""
    team: str = ""
    region: str = ""
    level: Literal["full", "limited", "cached", "minimal"] = "full"
    rules: Rules = {}
    default: str = "off"
    on: bool | None = None
    reason: str = ""
    until: Moment | None = None
    share: int = 100
    simulated_only: bool = False
    acknowledge: bool = False
    owner: str = ""
    purpose: str = ""
    runbook: str = ""
    expires: Moment | None = None
    stale_after_days: int = 60
    absent: bool = False


class TwoPersonRuleEntry(msgspec.Struct, kw_only=True):
    """Flips that take two persons: those that fit every field given. A rule has no name, it is what it says."""

    kind: str = ""
    subject: str = ""
    environment: str = ""
    team: str = ""
    turning: Literal["on", "off", "either"] = "on"
    reason: str = ""
    absent: bool = False

    IDENTITY: ClassVar[tuple[str, ...]] = ()

    @property
    def name(self) -> str:
        """What it says, for whoever lists entries."""
        parts = (self.kind, self.subject, self.environment, self.team)
        return f"turning {self.turning} {'/'.join(parts) if any(parts) else 'any flag'}"


class ScheduleEntry(msgspec.Struct, kw_only=True):
    """A flip to come. It has no name, it is its flag, its direction and its moment."""

    flag: str
    turn: Literal["on", "off"]
    at: Moment
    zone: str = "UTC"
    until: Moment | None = None
    late: Duration | None = 3_600_000
    share: int = 100
    simulated_only: bool = False
    acknowledge: bool = False
    reason: str
    absent: bool = False

    IDENTITY: ClassVar[tuple[str, ...]] = ("flag", "turn", "at")

    @property
    def name(self) -> str:
        """What it is, for whoever lists entries."""
        return f"{self.flag} {self.turn} {self.at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


class Document(msgspec.Struct, kw_only=True):
    """One organisation's config."""

    organisation: str = ""
    teams: list[TeamEntry] = []
    layers: list[LayerEntry] = []
    regions: list[RegionEntry] = []
    rotations: list[RotationEntry] = []
    runbooks: list[RunbookEntry] = []
    credentials: list[CredentialEntry] = []
    providers: list[ProviderEntry] = []
    discounts: list[DiscountEntry] = []
    gpu_prices: list[GpuPriceEntry] = []
    routes: list[RouteEntry] = []
    keys: list[KeyEntry] = []
    key_templates: list[KeyTemplateEntry] = []
    budgets: list[BudgetEntry] = []
    limits: list[LimitEntry] = []
    performance_budgets: list[PerformanceEntry] = []
    flags: list[FlagEntry] = []
    two_person_rules: list[TwoPersonRuleEntry] = []
    schedules: list[ScheduleEntry] = []


STRUCTS: tuple[type[msgspec.Struct], ...] = (
    Document,
    TeamEntry,
    ContactEntry,
    SlaEntry,
    ServiceEntry,
    LayerEntry,
    RegionEntry,
    CellEntry,
    RotationEntry,
    RunbookEntry,
    CredentialEntry,
    ProviderEntry,
    EndpointEntry,
    PriceEntry,
    TierEntry,
    OffPeakEntry,
    LikeEntry,
    DiscountEntry,
    GpuPriceEntry,
    RouteEntry,
    TargetEntry,
    DeadlinesEntry,
    ResilienceEntry,
    BreakerEntry,
    MirrorEntry,
    KeyEntry,
    KeyTemplateEntry,
    BudgetEntry,
    LimitEntry,
    PerformanceEntry,
    FlagEntry,
    TwoPersonRuleEntry,
    ScheduleEntry,
)
"""Every type of the document, in the order in which the manual explains them."""
