"""The document's types: every field there is. ``docs/config.md`` explains each; a test holds the two together.

Values are in stored form: dollars as nano-dollars, durations as milliseconds, moments as aware datetimes.
"""

from __future__ import annotations

from datetime import UTC
from typing import ClassVar, Literal

import msgspec

from controlplane.configfile.document_fleet import DeploymentEntry
from controlplane.configfile.document_ownership import (
    CellEntry,
    ContactEntry,
    LayerEntry,
    RegionEntry,
    RotationEntry,
    RunbookEntry,
    ServiceEntry,
    SlaEntry,
    TeamEntry,
)
from controlplane.configfile.document_routing import (
    BreakerEntry,
    CredentialEntry,
    DeadlinesEntry,
    DiscountEntry,
    EndpointEntry,
    GpuPriceEntry,
    LikeEntry,
    MirrorEntry,
    ModelEntry,
    OffPeakEntry,
    PooledEntry,
    PriceEntry,
    ProviderEntry,
    ResilienceEntry,
    RouteEntry,
    TargetEntry,
    TierEntry,
    UnitPriceEntry,
)
from controlplane.configfile.document_watching import (
    AlertChannelEntry,
    AlertRuleEntry,
    CaptureEntry,
    NotificationPolicyEntry,
    RedactionEntry,
    SavedViewEntry,
    SloEntry,
)
from controlplane.configfile.values import (
    KEPT,
    NONE,
    Amount,
    AsWritten,
    Dollars,
    Duration,
    Entry,
    Hook,
    Moment,
    Reference,
    Rules,
    Unit,
)

__all__ = [
    "KEPT",
    "NONE",
    "STRUCTS",
    "AlertChannelEntry",
    "AlertRuleEntry",
    "BreakerEntry",
    "BudgetEntry",
    "CaptureEntry",
    "CellEntry",
    "ContactEntry",
    "CredentialEntry",
    "DeadlinesEntry",
    "DeploymentEntry",
    "DiscountEntry",
    "Document",
    "EndpointEntry",
    "FlagEntry",
    "GpuPriceEntry",
    "KeyEntry",
    "KeyTemplateEntry",
    "LayerEntry",
    "LikeEntry",
    "LimitEntry",
    "MirrorEntry",
    "ModelEntry",
    "NotificationPolicyEntry",
    "OffPeakEntry",
    "PerformanceEntry",
    "PooledEntry",
    "PriceEntry",
    "ProviderEntry",
    "RedactionEntry",
    "RegionEntry",
    "ResilienceEntry",
    "RotationEntry",
    "RouteEntry",
    "RunbookEntry",
    "SavedViewEntry",
    "ScheduleEntry",
    "ServiceEntry",
    "SlaEntry",
    "SloEntry",
    "TargetEntry",
    "TeamEntry",
    "TierEntry",
    "TwoPersonRuleEntry",
    "Unit",
    "UnitPriceEntry",
]


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
    owned_by: str = ""
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
    unit_prices: list[UnitPriceEntry] = []
    gpu_prices: list[GpuPriceEntry] = []
    deployments: list[DeploymentEntry] = []
    routes: list[RouteEntry] = []
    keys: list[KeyEntry] = []
    key_templates: list[KeyTemplateEntry] = []
    budgets: list[BudgetEntry] = []
    limits: list[LimitEntry] = []
    performance_budgets: list[PerformanceEntry] = []
    flags: list[FlagEntry] = []
    two_person_rules: list[TwoPersonRuleEntry] = []
    schedules: list[ScheduleEntry] = []
    alert_rules: list[AlertRuleEntry] = []
    slos: list[SloEntry] = []
    alert_channels: list[AlertChannelEntry] = []
    notification_policies: list[NotificationPolicyEntry] = []
    captures: list[CaptureEntry] = []
    redactions: list[RedactionEntry] = []
    saved_views: list[SavedViewEntry] = []


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
    PooledEntry,
    PriceEntry,
    TierEntry,
    OffPeakEntry,
    LikeEntry,
    ModelEntry,
    DiscountEntry,
    UnitPriceEntry,
    GpuPriceEntry,
    DeploymentEntry,
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
    AlertRuleEntry,
    SloEntry,
    AlertChannelEntry,
    NotificationPolicyEntry,
    CaptureEntry,
    RedactionEntry,
    SavedViewEntry,
)
"""Every type of the document, in the order in which the manual explains them."""
